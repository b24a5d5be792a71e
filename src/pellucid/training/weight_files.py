# SPDX-License-Identifier: Apache-2.0
"""Files of weights that somebody has: safetensors, or torch's with tensors only, taken out of what other programs wrap them in."""

from __future__ import annotations

import json
import re
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from pellucid.errors import UsageError, brief

__all__ = ["Checkpoint", "read"]

# where training programs keep a state dict, the average of the weights first: it is what they evaluate
_WRAPPERS = (
    "state_dict_ema", "model_ema", "ema_state_dict", "ema", "params_ema", "state_dict", "model_state_dict", "model_state",
    "model", "net", "network", "module", "params", "weights",
)  # fmt: skip
_DEPTH = 4  # wrappers within each other, at most
_FORMS = "a file of weights (.safetensors, .pth, .pt, .bin) or a run's folder"


class Checkpoint(NamedTuple):
    """The content of a file of weights."""

    tensors: dict[str, Tensor]  # by name, in the order of the file
    notes: tuple[str, ...]  # what was chosen in reading it
    config: Mapping[str, Any]  # what timm wrote of them in a config.json beside the file; {} where it did not


def read(path: Path) -> Checkpoint:
    """The tensors in a file, or in the one file of weights of a folder.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     torch.save({"epoch": 3, "state_dict": {"fc.bias": torch.ones(2)}}, Path(folder) / "a.pth")
    ...     read(Path(folder) / "a.pth").tensors
    {'fc.bias': tensor([1., 1.])}

    Raises:
        UsageError: there is no such file, it is damaged, or it holds something other than tensors.
    """
    file = _one_file(path)
    try:
        content = _of_torch(file) if _is_torch(file) else _of_safetensors(file)
    except UsageError:
        raise
    except Exception as fault:  # a damaged file: torch, zipfile and safetensors each have errors of their own for it
        if (code := _code(fault)) is not None:
            raise UsageError(
                f"weights={str(path)!r}: holds {code}, and only tensors are read; load the file where it was made, and "
                "save its tensors with torch.save(model.state_dict(), FILE)."
            ) from fault
        raise UsageError(
            f"weights={str(path)!r}: cannot be read as weights ({brief(fault)}); name {_FORMS}."
        ) from fault
    tensors, inside = _unwrapped(content)
    if not tensors:
        raise UsageError(f"weights={str(path)!r}: holds no tensors by name; name {_FORMS}.")
    for name, value in tensors.items():
        if value.is_floating_point() and not bool(_plain(value).isfinite().all()):
            raise UsageError(
                f"weights={str(path)!r}: {name} holds values that are not finite; name a file of a sound training."
            )
    notes = (f"of the weights in {file.name}, those under {inside!r} are taken.",) if inside else ()
    return Checkpoint(tensors, notes, _config(file))


def _one_file(path: Path) -> Path:
    if path.is_dir():
        for name in ("model.safetensors", "pytorch_model.bin"):  # a model's folder of the Hugging Face hub
            if (path / name).is_file():
                return path / name
        raise UsageError(
            f"weights={str(path)!r}: is neither a run's folder nor holds model.safetensors; name {_FORMS}."
        )
    if not path.is_file():
        raise UsageError(f"weights={str(path)!r}: there is no such file or run; name {_FORMS}.")
    return path


def _is_torch(file: Path) -> bool:
    """Whether it is a file of torch.save; names need not say so."""
    with file.open("rb") as opened:
        return opened.read(1) == b"\x80" or zipfile.is_zipfile(file)


def _of_torch(file: Path) -> Any:
    # weights_only: of a pickle, tensors and plain containers are read, and no code is run
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of old forms, which are read or refused below
        return torch.load(file, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(file))


def _of_safetensors(file: Path) -> dict[str, Tensor]:
    from safetensors import safe_open

    with safe_open(file, framework="pt") as opened:
        return {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118  (not a dict)


def _code(fault: Exception) -> str | None:
    """What a file holds beside tensors, as torch names it in its refusal."""
    named = re.search(r"GLOBAL ([\w.]+)", str(fault))
    if named is not None:
        return f"{named[1]}, which is code"
    if "TorchScript" in str(fault):
        return "a TorchScript program, which is code"
    return "a pickle that torch.save did not write" if "Weights only load failed" in str(fault) else None


def _unwrapped(content: Any) -> tuple[dict[str, Tensor], str]:
    """The tensors in what a program saved, and the names of the wrappers that other sets of weights lie beside."""
    chosen = ""
    for _ in range(_DEPTH):
        if not isinstance(content, Mapping):
            return {}, ""
        held = {str(name): value for name, value in content.items()}
        inner = {name: value for name, value in held.items() if isinstance(value, Mapping) and _holds_tensors(value)}
        known = [name for name in _WRAPPERS if name in inner] or ([*inner] if len(inner) == 1 else [])
        own = {name: value for name, value in held.items() if _dense(value)}
        if not known or len(own) > len(inner[known[0]]):
            return own, chosen
        if len(known) > 1:
            chosen = known[0]
        content = inner[known[0]]
    return {}, ""


def _holds_tensors(value: Any, depth: int = _DEPTH) -> bool:
    if isinstance(value, Mapping) and depth:
        return any(_holds_tensors(inner, depth - 1) for inner in value.values())
    return _dense(value)


def _plain(value: Tensor) -> Tensor:
    return value.float() if value.dtype.itemsize == 1 else value  # torch compares no numbers of 8 bits


def _dense(value: Any) -> bool:
    return isinstance(value, Tensor) and value.layout == torch.strided and not value.is_quantized


def _config(file: Path) -> Mapping[str, Any]:
    try:
        found: Any = json.loads((file.parent / "config.json").read_text(encoding="utf-8"))
        return found if isinstance(found["pretrained_cfg"], dict) else {}
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return {}
