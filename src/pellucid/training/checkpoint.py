# SPDX-License-Identifier: Apache-2.0
"""The state of a training in one file, from which it goes on bit for bit; no pickle.

Everything random derives from (seed, step), so that the state is tensors and a few numbers: the players' weights, their
optimisers, the average, and the counters. One file, replaced atomically, can be neither torn nor of two moments.
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
    # a copy each: safetensors refuses tensors that share storage, and channels_last ones
    owned = {key: value.detach().cpu().clone(memory_format=torch.contiguous_format) for key, value in tensors.items()}
    with write_atomically(path) as draft:
        save_file(owned, draft, metadata={"numbers": json.dumps(dict(numbers))})


def restore(path: Path, modules: Mapping[str, nn.Module], optimizers: Mapping[str, Any]) -> dict[str, Any]:
    """Put a saved state back into modules and optimisers; returns the numbers.

    Raises:
        RunError: the file does not fit, e.g. it was damaged.
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
            f"run={str(path.parent.parent)!r}: {path.name} cannot be resumed from ({fault}); delete the run."
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
                # a fused step walks weights and moments through memory: they must lie alike (channels_last)
                if isinstance(value, Tensor) and value.shape == parameter.shape:
                    kept[entry] = torch.empty_like(parameter, dtype=value.dtype, requires_grad=False).copy_(value)
    return numbers


def digest(modules: list[nn.Module]) -> str | None:
    """A hash over every tensor of some modules, buffers included; None where there are none."""
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
