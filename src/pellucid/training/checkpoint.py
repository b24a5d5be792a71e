# SPDX-License-Identifier: Apache-2.0
"""The state of a training in one file, from which it resumes bit for bit, without pickle.

Random numbers are functions of (seed, step), so the state is tensors and a few numbers: weights, their average, optimisers
and counters. A single file that is replaced atomically is never half written and never mixes two steps.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from pellucid.errors import RunError
from pellucid.files import write_atomically

__all__ = ["digest", "restore", "save", "save_weights"]


def save_weights(path: Path, model: nn.Module) -> None:
    """Write a model's tensors as safetensors, atomically."""
    with write_atomically(path) as draft:
        save_file({name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()}, draft)


def save(
    path: Path, modules: Mapping[str, nn.Module], optimizers: Mapping[str, Any], numbers: Mapping[str, Any]
) -> None:
    """Write modules, optimisers and JSON-able numbers into one safetensors file, atomically."""
    tensors: dict[str, Tensor] = {}
    for name, module in modules.items():
        tensors |= {f"module/{name}/{key}": value for key, value in module.state_dict().items()}
    for name, optimizer in optimizers.items():
        for position, entry in optimizer.state_dict()["state"].items():
            tensors |= {
                f"optimizer/{name}/{position}/{key}": torch.as_tensor(v) for key, v in entry.items() if v is not None
            }
    # copies: safetensors takes neither tensors that share storage nor channels-last ones
    owned = {key: value.detach().cpu().clone(memory_format=torch.contiguous_format) for key, value in tensors.items()}
    with write_atomically(path) as draft:
        save_file(owned, draft, metadata={"numbers": json.dumps(dict(numbers))})


def restore(path: Path, modules: Mapping[str, nn.Module], optimizers: Mapping[str, Any]) -> dict[str, Any]:
    """Put a saved state back into modules and optimisers; returns the numbers.

    Raises:
        RunError: the file is damaged, or does not fit the modules.
    """
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118  (not a dict)
            numbers: dict[str, Any] = json.loads(file.metadata()["numbers"])
        for name, module in modules.items():
            prefix = f"module/{name}/"
            module.load_state_dict({key[len(prefix) :]: v for key, v in tensors.items() if key.startswith(prefix)})
    except Exception as fault:
        raise RunError(
            f"run={str(path.parent.parent)!r}: cannot be resumed from {path.name} ({fault}); delete the run and train again."
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
    return numbers


def digest(modules: list[nn.Module]) -> str | None:
    """A hash over all tensors of some modules, buffers included; None for no modules."""
    import hashlib

    if not modules:
        return None
    total = hashlib.sha256()
    for module in modules:
        for name, value in module.state_dict().items():
            total.update(
                name.encode() + value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes()
            )
    return total.hexdigest()
