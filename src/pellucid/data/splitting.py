# SPDX-License-Identifier: Apache-2.0
"""Splits by content hash, the fingerprint of a dataset, and the problems that it has."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from pellucid.data.dataset import Dataset, Split
from pellucid.data.decoding import Files
from pellucid.data.scaling import fitted
from pellucid.data.targets import Boxes, Label, Target
from pellucid.errors import DataError

__all__ = ["SPLITS", "fingerprint", "finish", "order", "split_word"]

SPLITS = {
    "train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val", "dev": "val",
    "test": "test", "testing": "test", "eval": "test",
}  # fmt: skip
"""Words in the names of folders, files and arrays that mean a split."""

VAL_SHARE, TEST_SHARE = 0.1, 0.2


def split_word(name: str) -> str | None:
    """The word in a name that means a split, in lower case, if there is one.

    >>> split_word("X_train.npz"), split_word("Valid-00000-of-00002"), split_word("trains")
    ('train', 'valid', None)
    """
    return next((word for word in re.split(r"[\W_]+", name.lower()) if word in SPLITS), None)


def finish(
    name: str, splits: Mapping[str, Split], classes: tuple[str, ...] = (), problems: Sequence[str] = ()
) -> Dataset:
    """A dataset from what a reader found: missing splits are taken from train, and problems are described in words.

    Without a test split, 20 % of train becomes test; without val, 10 % of the rest becomes val. Where an image goes depends
    on its content alone: it stays there when images are added, and exact duplicates stay together. Images that all belong to
    one class get no labels.

    Raises:
        DataError: val or test has a class that train lacks.
    """
    sentences = list(problems)
    present = {part: splits[part] for part in ("train", "val", "test") if part in splits}
    labels = {
        part: label.index for part, split in present.items() if isinstance(label := split.targets.get("label"), Label)
    }
    if labels and len(classes) == 1:
        sentences.append(f"All images belong to a single class, {classes[0]!r}: they are read without labels.")
        kinds = {kind for split in present.values() for kind in split.targets if kind != "label"}
        present = {
            part: Split(split.images, {kind: split.targets[kind] for kind in kinds & set(split.targets)}, split.names)
            for part, split in present.items()
        }
        labels, classes = {}, (classes if "boxes" in kinds else ())
    _known(name, labels, classes)
    digests = {part: list(split.images.digests) for part, split in present.items()}
    for part, share in (("test", TEST_SHARE), ("val", VAL_SHARE)):  # val is a share of what test leaves
        if not digests.get(part):
            if part in present:
                sentences.append(f"The {part} split is empty: {share:.0%} of train is used for it.")
            kept, taken = _cut(digests["train"], share, part)
            present[part], present["train"] = present["train"].select(taken), present["train"].select(kept)
            digests[part] = [digests["train"][i] for i in taken]
            digests["train"] = [digests["train"][i] for i in kept]
    ordered = {part: present[part] for part in ("train", "val", "test")}
    sentences += [*_straddling(ordered, digests), *_contradicting(ordered, digests, classes)]
    sentences += [*_mixed(ordered), *_thin(ordered, classes)]
    return fitted(Dataset(name, ordered, classes, tuple(sentences), fingerprint(ordered, classes, digests)))


def _cut(digests: Sequence[bytes], share: float, salt: str) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Positions that stay, and those of a share that is chosen by content hash."""
    limit = int(share * 2**32)  # hashes are uniform in [0, 2³²)
    chosen = np.array([_number(digest, salt) < limit for digest in digests], bool)
    return np.flatnonzero(~chosen), np.flatnonzero(chosen)


def _number(digest: bytes, salt: str) -> int:
    # salted with the split's name, so that the choices for val and for test are independent
    return int.from_bytes(hashlib.blake2b(digest, digest_size=4, salt=salt.encode()).digest(), "big")


# -- problems, one sentence each


def _known(name: str, labels: Mapping[str, torch.Tensor], classes: Sequence[str]) -> None:
    if "train" not in labels or not len(labels["train"]):
        return
    present = torch.bincount(labels["train"], minlength=len(classes)) > 0
    for part in ("val", "test"):
        strange = [i for i in sorted(set(labels[part].tolist() if part in labels else ())) if not present[i]]
        if strange:
            raise DataError(
                f"data={name!r}: class {classes[strange[0]]!r} of {part} is missing from train; add images of it there, or remove it."
            )


def _count(n: int, word: str = "image") -> str:
    return f"{n:,} {word}" if n == 1 else f"{n:,} {word}s"


def _few(names: Sequence[str], most: int = 3) -> str:
    return ", ".join(names[:most]) + (", …" if len(names) > most else "")


def _straddling(splits: Mapping[str, Split], digests: Mapping[str, Sequence[bytes]]) -> list[str]:
    """A sentence for each pair of splits that share exact duplicates."""
    sets, parts, sentences = {part: set(own) for part, own in digests.items()}, list(splits), []
    for i, one in enumerate(parts):
        for other in parts[i + 1 :]:
            shared = sets[one] & sets[other]
            if shared:
                places = [k for k, digest in enumerate(digests[other]) if digest in shared]
                names = [splits[other].names[k] for k in places[:4]]
                sentences.append(
                    f"{_count(len(places))} of {other} {'is' if len(places) == 1 else 'are'} duplicated in {one}, bit for bit "
                    f"({_few(names)}): measures on {other} are too optimistic."
                )
    return sentences


def _contradicting(
    splits: Mapping[str, Split], digests: Mapping[str, Sequence[bytes]], classes: Sequence[str]
) -> list[str]:
    """A sentence if identical images have different labels."""
    seen: dict[bytes, tuple[int, str]] = {}
    pairs: list[tuple[str, str, int, int]] = []
    for part, split in splits.items():
        label = split.targets.get("label")
        if isinstance(label, Label):
            for digest, own, name in zip(digests[part], label.index.tolist(), split.names, strict=True):
                other, title = seen.setdefault(digest, (own, name))
                if other != own:
                    pairs.append((title, name, other, own))
    if not pairs:
        return []
    title, name, other, own = pairs[0]
    return [
        f"{_count(len(pairs))} occur{'s' if len(pairs) == 1 else ''} in two classes, bit for bit; the first: {title} "
        f"({classes[other]}) and {name} ({classes[own]})."
    ]


def _mixed(splits: Mapping[str, Split]) -> list[str]:
    grey = total = 0
    for split in splits.values():
        if isinstance(split.images, Files):
            grey += int((split.images.scanned.channels == 1).sum())
            total += len(split)
    if 0 < grey < total:
        return [
            f"{grey:,} of {total:,} images {'is' if grey == 1 else 'are'} grey, the others in colour: all are read in colour."
        ]
    return []


def _thin(splits: Mapping[str, Split], classes: tuple[str, ...]) -> list[str]:
    sentences = []
    for part, split in splits.items():
        label = split.targets.get("label")
        if not len(split):
            sentences.append(f"The {part} split is empty.")
        elif isinstance(label, Label) and len(classes) > 1:
            present = torch.bincount(label.index, minlength=len(classes)) > 0
            if int(present.sum()) == 1:
                sentences.append(f"The {part} split has a single class, {classes[int(present.int().argmax())]!r}.")
            elif part == "train" and not bool(present.all()):
                absent = [c for c, here in zip(classes, present.tolist(), strict=True) if not here]
                sentences.append(f"The train split has no images of {_few(absent, 5)}.")
    return sentences


# -- the fingerprint


def fingerprint(
    splits: Mapping[str, Split], classes: Sequence[str], digests: Mapping[str, Sequence[bytes]] | None = None
) -> str:
    """A hexadecimal hash of contents, targets, splits and class names; it depends on the images' order, not on their names."""
    total = hashlib.blake2b("\0".join(classes).encode(), digest_size=16)
    for part, split in splits.items():
        total.update(part.encode())
        for digest in split.images.digests if digests is None else digests[part]:
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
        shape = np.array([len(own) for own in target.labels], np.int64)  # which boxes belong to which image
        return [shape.tobytes(), *(t.numpy().tobytes() for t in (*target.corners, *target.labels))]
    blocks = []
    for value in vars(target).values():
        if isinstance(value, torch.Tensor):
            blocks.append(np.ascontiguousarray(value.numpy()).tobytes())
        elif value is not None:
            blocks.append("\0".join(map(str, value)).encode())
    return blocks


def order(names: Sequence[str]) -> NDArray[np.int64]:
    """Positions that sort names in natural order: 2 before 10.

    >>> order(["10.png", "2.png", "a.png"]).tolist()
    [1, 0, 2]
    """

    def key(name: str) -> tuple[list[tuple[int, int, str]], str]:
        parts = [part for part in re.split(r"(\d+)", name) if part]
        return [(0, int(part), "") if part.isdecimal() else (1, 0, part.lower()) for part in parts], name

    return np.array(sorted(range(len(names)), key=lambda i: key(names[i])), np.int64)
