# SPDX-License-Identifier: Apache-2.0
"""The state of a training in one file, from which it resumes bit for bit, without pickle.

Random numbers are functions of (seed, step), so the state is tensors and a few numbers: weights, their average, optimisers
and counters. A single file that is replaced atomically is never half written and never mixes two steps.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pellucid import weights
from pellucid.errors import RunError, brief

__all__ = ["restore", "save", "save_weights"]

_NUMBERS = {"step", "seconds", "best", "history", "sums", "summed"}


def save_weights(path: Path, model: nn.Module) -> str:
    """Write a model's tensors as safetensors, atomically; returns their digest."""
    return weights.save(path, model.state_dict())


def save(
    path: Path, modules: Mapping[str, nn.Module], optimizers: Mapping[str, Any], numbers: Mapping[str, Any]
) -> str:
    """Write modules, optimisers and JSON-able numbers into one safetensors file, atomically; returns its digest."""
    tensors: dict[str, Tensor] = {}
    for name, module in modules.items():
        tensors |= {f"module/{name}/{key}": value for key, value in module.state_dict().items()}
    for name, optimizer in optimizers.items():
        for position, entry in optimizer.state_dict()["state"].items():
            tensors |= {
                f"optimizer/{name}/{position}/{key}": torch.as_tensor(v) for key, v in entry.items() if v is not None
            }
    return weights.save(path, tensors, numbers)


def restore(
    path: Path, modules: Mapping[str, nn.Module], optimizers: Mapping[str, Any], written: str | None = None
) -> tuple[dict[str, Any], str]:
    """Put a saved state back into modules and optimisers; returns the numbers and the digest.

    Args:
        path: of the state.
        modules: by name, as they were saved.
        optimizers: by name, as they were saved.
        written: the digest that the file must have, if it is known.

    Raises:
        RunError: the file is damaged, or does not fit the modules.
    """
    try:
        loaded = weights.load(path)
        if written not in (None, loaded.digest):
            raise weights.Damaged("is not the file that the training wrote")
        tensors, numbers = loaded.tensors, _numbers(loaded.numbers)
        for name, module in modules.items():
            prefix = f"module/{name}/"
            module.load_state_dict({key[len(prefix) :]: v for key, v in tensors.items() if key.startswith(prefix)})
    except Exception as fault:
        raise RunError(
            f"run={str(path.parent.parent)!r}: cannot be resumed, since its state/{path.name} {_why(fault)}; "
            f"delete that file to train from the first step again, or name another folder."
        ) from fault
    for name, optimizer in optimizers.items():
        state: dict[int, dict[str, Tensor]] = {}
        for key, value in tensors.items():
            if key.startswith(f"optimizer/{name}/"):
                position, entry = key.split("/")[2:]
                state.setdefault(int(position), {})[entry] = value
        optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
        for parameter, kept in optimizer.state.items():
            for entry, value in kept.items():
                # a fused step reads weights and moments in the order of memory, so both need the same layout (channels-last)
                if isinstance(value, Tensor) and value.shape == parameter.shape:
                    kept[entry] = torch.empty_like(parameter, dtype=value.dtype, requires_grad=False).copy_(value)
    return numbers, loaded.digest


def _numbers(numbers: dict[str, Any]) -> dict[str, Any]:
    """The numbers of a state, each of them there."""
    if missing := _NUMBERS - numbers.keys():
        raise weights.Damaged(f"has no {', '.join(sorted(missing))}")
    return numbers


def _why(fault: Exception) -> str:
    return str(fault) if isinstance(fault, weights.Damaged) else f"does not fit the model ({brief(fault)})"
