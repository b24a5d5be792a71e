# SPDX-License-Identifier: Apache-2.0
"""Tensors in safetensors files with a digest of their own, so that a byte that changed on the disk is noticed."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
import xxhash
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from pellucid.errors import brief
from pellucid.files import write_atomically

__all__ = ["Damaged", "Held", "Loaded", "digest", "digest_of", "found", "in_state", "load", "save"]


class Damaged(Exception):
    """A file of tensors that is missing, or is not what was written; the message says which of these."""


class Loaded(NamedTuple):
    """The content of a file of tensors."""

    tensors: dict[str, Tensor]
    numbers: dict[str, Any]
    digest: str  # of both
    marked: bool  # whether the file holds its digest: those of version 0.1.0 do not


def save(path: Path, tensors: Mapping[str, Tensor], numbers: Mapping[str, Any] | None = None) -> str:
    """Write tensors and JSON-able numbers with their digest, atomically, and return the digest.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     written = save(Path(folder) / "a.safetensors", {"x": torch.ones(2)}, {"step": 3})
    ...     found = load(Path(folder) / "a.safetensors")
    >>> found.digest == written, found.tensors["x"], found.numbers
    (True, tensor([1., 1.]), {'step': 3})
    """
    # copies where need be: safetensors takes neither tensors that share storage nor channels-last ones
    owned = {key: _owned(value) for key, value in tensors.items()}
    about = {"numbers": json.dumps(dict(numbers))} if numbers is not None else {}
    about["digest"] = digest(owned, about.get("numbers", ""))
    with write_atomically(path) as draft:
        save_file(owned, draft, metadata=about)
    return about["digest"]


def load(path: Path) -> Loaded:
    """Read tensors and numbers.

    Raises:
        Damaged: the file is missing, cannot be read, or its content is not of its digest.
    """
    try:
        with safe_open(path, framework="pt") as file:
            about: dict[str, str] = file.metadata() or {}
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118  (not a dict)
        numbers: dict[str, Any] = json.loads(about.get("numbers", "{}"))
    except FileNotFoundError:
        raise Damaged("is missing") from None
    except Exception as fault:  # safetensors has errors of its own for each kind of damage
        raise Damaged(f"is damaged ({brief(fault)})") from fault
    found = digest(tensors, about.get("numbers", ""))
    if about.get("digest", found) != found:
        raise Damaged("is damaged (its content is not of its digest)")
    return Loaded(tensors, numbers, found, "digest" in about)


def found(path: Path) -> dict[str, Tensor] | None:
    """The tensors in a file; None if it is missing or damaged."""
    try:
        return load(path).tensors
    except Damaged:
        return None


def in_state(path: Path, step: int) -> dict[str, Tensor] | None:
    """The weights in a training's state, their average where there is one; None if it is damaged or of another step."""
    try:
        state = load(path)
    except Damaged:
        return None
    if state.numbers.get("step") != step:
        return None
    averaged = any(key.startswith("module/average/") for key in state.tensors)
    own = "module/average/" if averaged else "module/model/"
    return {key[len(own) :]: value for key, value in state.tensors.items() if key.startswith(own)}


class Held(NamedTuple):
    """The digest of a file of tensors, and whether the file holds it."""

    digest: str
    marked: bool


def digest_of(path: Path) -> Held | None:
    """The digest that a file holds, or that of its content where it holds none; None if it cannot be read.

    The content is not compared with the digest: `load` does that.
    """
    try:
        state = path.stat()
        return _digest_of(path, state.st_mtime_ns, state.st_size, state.st_ino)
    except (OSError, Damaged):
        return None


@functools.lru_cache(maxsize=64)
def _digest_of(path: Path, *unchanged: int) -> Held:
    try:
        with safe_open(path, framework="pt") as file:
            held = (file.metadata() or {}).get("digest")
    except Exception as fault:
        raise Damaged(f"is damaged ({brief(fault)})") from fault
    return Held(held, True) if held else Held(load(path).digest, False)


def _owned(value: Tensor) -> Tensor:
    return value.detach().cpu().clone(memory_format=torch.contiguous_format)


def digest(tensors: Mapping[str, Tensor], numbers: str = "") -> str:
    """A hash of tensors, of their names and shapes, and of numbers as text (XXH3, 128 bits)."""
    total = xxhash.xxh3_128(numbers.encode())
    for name in sorted(tensors):
        value = tensors[name]
        total.update(f"{name} {value.dtype} {tuple(value.shape)} ".encode())
        total.update(_bytes(value))
    return total.hexdigest()


def _bytes(value: Tensor) -> Any:
    """The bytes of a tensor, without a copy where it is contiguous."""
    return value.contiguous().flatten().view(torch.uint8).numpy().data
