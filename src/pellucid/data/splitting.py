# SPDX-License-Identifier: Apache-2.0
"""Splits by content, and the fingerprint: an image's hash decides where it goes, whatever else is there."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from pellucid.data.dataset import Dataset, Split
from pellucid.data.targets import Boxes, Label, Target

__all__ = ["cut", "fingerprint", "finish", "straddling"]

VAL_SHARE, TEST_SHARE = 0.1, 0.2


def cut(split: Split, share: float, salt: str) -> tuple[Split, Split]:
    """The split without a share of its images, and that share: chosen by content hash.

    The choice for an image depends on its content alone: it stays when images are added, and exact duplicates go together.
    """
    limit = int(share * 2**32)
    chosen = np.array([_number(digest, salt) < limit for digest in split.images.digests], bool)
    return split.select(np.flatnonzero(~chosen)), split.select(np.flatnonzero(chosen))


def _number(digest: bytes, salt: str) -> int:
    return int.from_bytes(hashlib.blake2b(digest, digest_size=4, salt=salt.encode()).digest(), "big")


def finish(
    name: str, splits: Mapping[str, Split], classes: tuple[str, ...] = (), problems: Sequence[str] = ()
) -> Dataset:
    """A dataset out of what a reader found: missing splits are cut from train, duplicates over splits are named.

    Without a test split, 20 % of train becomes test, and 10 % val; with one, 10 % of train becomes val.
    """
    found = dict(splits)
    train = found.get("train")
    assert train is not None, "every reader gives a train split"
    nothing = train.select([])
    if not len(found.get("test", ())):
        train, found["test"] = cut(train, TEST_SHARE, "test")
    if not len(found.get("val", ())):
        train, found["val"] = cut(train, VAL_SHARE, "val")
    found["train"] = train
    ordered = {part: found.get(part, nothing) for part in ("train", "val", "test")}
    told = [*problems, *straddling(ordered), *_thin(ordered, classes)]
    return Dataset(name, ordered, classes, tuple(told), fingerprint(ordered, classes))


def straddling(splits: Mapping[str, Split]) -> list[str]:
    """A sentence for each pair of splits that share exact duplicates."""
    digests = {part: set(split.images.digests) for part, split in splits.items()}
    parts, told = list(splits), []
    for i, one in enumerate(parts):
        for other in parts[i + 1 :]:
            shared = digests[one] & digests[other]
            if shared:
                names = [splits[other].names[k] for k, d in enumerate(splits[other].images.digests) if d in shared][:3]
                more = ", …" if len(shared) > 3 else ""
                told.append(
                    f"{len(shared)} images of {other} stand in {one} too, byte for byte ({', '.join(names)}{more}): "
                    f"what is measured on {other} is too good."
                )
    return told


def _thin(splits: Mapping[str, Split], classes: tuple[str, ...]) -> list[str]:
    told = []
    for part, split in splits.items():
        label = split.targets.get("label")
        if not len(split):
            told.append(f"The {part} split is empty.")
        elif isinstance(label, Label) and len(classes) > 1:
            present = torch.bincount(label.index, minlength=len(classes)) > 0
            if int(present.sum()) == 1:
                told.append(f"The {part} split holds a single class, {classes[int(present.int().argmax())]!r}.")
            elif part == "train" and not bool(present.all()):
                absent = [c for c, here in zip(classes, present.tolist(), strict=True) if not here]
                told.append(
                    f"The train split has no image of {', '.join(absent[:5])}{' …' if len(absent) > 5 else ''}."
                )
    return told


def fingerprint(splits: Mapping[str, Split], classes: Sequence[str]) -> str:
    """A hash of contents, targets, splits and class names, hex; the order of the images counts, their names do not."""
    total = hashlib.blake2b("\0".join(classes).encode(), digest_size=16)
    for part, split in splits.items():
        total.update(part.encode())
        for digest in split.images.digests:
            total.update(digest)
        for kind, target in sorted(split.targets.items()):
            total.update(kind.encode())
            for block in _blocks(target):
                total.update(block)
    return total.hexdigest()


def _blocks(target: Target) -> list[bytes]:
    if isinstance(target, Label):
        return [target.index.numpy().tobytes()]
    if isinstance(target, Boxes):
        return [t.numpy().tobytes() for t in (*target.corners, *target.labels)]
    blocks = []
    for value in vars(target).values():
        if isinstance(value, torch.Tensor):
            blocks.append(np.ascontiguousarray(value.numpy()).tobytes())
        elif value is not None:
            blocks.append("\0".join(map(str, value)).encode())
    return blocks


def order(names: Sequence[str]) -> NDArray[np.int64]:
    """Positions that sort names as a person would: 2 before 10."""
    import re

    def key(name: str) -> list[tuple[int, int, str]]:
        return [
            (0, int(part), "") if part.isdigit() else (1, 0, part.lower()) for part in re.split(r"(\d+)", name) if part
        ]

    return np.array(sorted(range(len(names)), key=lambda i: key(names[i])), np.int64)
