# SPDX-License-Identifier: Apache-2.0
"""Splits by content hash, and the fingerprint of a dataset."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import replace
from operator import itemgetter

import numpy as np
import torch
from numpy.typing import NDArray

from pellucid.data import problems as said
from pellucid.data.copies import picture_digests
from pellucid.data.dataset import Dataset, Split
from pellucid.data.masks import Masks
from pellucid.data.scaling import fitted
from pellucid.data.targets import Boxes, Label, Target
from pellucid.errors import check_choice

__all__ = ["CUTS", "FORMER_CUT", "SPLITS", "cutting", "fingerprint", "finish", "order", "split_word"]

SPLITS = {
    "train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val", "dev": "val",
    "test": "test", "testing": "test", "eval": "test",
}  # fmt: skip
"""Words in the names of folders, files and arrays that mean a split."""

CUTS = ("stratified", "threshold")
"""The rules by which missing splits are cut from train: class by class, or every image by its own hash alone."""

FORMER_CUT = "threshold"
"""The rule of the runs whose record names none."""

VAL_SHARE, TEST_SHARE = 0.1, 0.2
# contents in two independent orders, by either half of their digests
_PLACES = {"test": itemgetter(slice(None)), "val": itemgetter(slice(8, None))}
_LEAST = 3  # distinct images of a class, from which each split gets one

# the rule is the caller's choice; a context spares every reader of a format from handing it on
_cut_rule: ContextVar[str] = ContextVar("cut", default=CUTS[0])


@contextmanager
def cutting(rule: str) -> Iterator[None]:
    """Cut the missing splits of datasets opened in this block by one of `CUTS`."""
    check_choice("cut", rule, CUTS)
    token = _cut_rule.set(rule)
    try:
        yield
    finally:
        _cut_rule.reset(token)


def split_word(name: str) -> str | None:
    """The word in a name that means a split, in lower case, if there is one.

    >>> split_word("X_train.npz"), split_word("Valid-00000-of-00002"), split_word("trains")
    ('train', 'valid', None)
    """
    return next((word for word in re.split(r"[\W_]+", name.lower()) if word in SPLITS), None)


def finish(
    name: str,
    splits: Mapping[str, Split],
    classes: tuple[str, ...] = (),
    problems: Sequence[str] = (),
    *,
    cut: str | None = None,
    mask_classes: tuple[str, ...] = (),
    point_names: tuple[str, ...] = (),
    by_objects: bool = False,
    notes: Sequence[str] = (),
) -> Dataset:
    """A dataset from what a reader found: missing splits are taken from train, and problems are described in words.

    Without a test split, 20 % of train becomes test; without val, 10 % of the rest becomes val. Where an image goes depends
    on content alone, and copies, in files of any format, stay together. The shares hold for each class, and a class with at least three
    distinct images has one in every split; an image that is added moves at most one other of its class in each split. Images
    that all belong to one class get no labels.

    Args:
        name: the dataset's name.
        splits: what was found, train among them.
        classes: the names of the classes.
        problems: what the reader has to say already.
        cut: the rule by which missing splits are cut, one of `CUTS`; by default that of `cutting`.
        mask_classes: the name of each number in the masks.
        point_names: the name of each keypoint.
        by_objects: let missing splits of images without labels have objects of each class; runs on tables with objects know another cut.
        notes: how the data are read, a sentence each.

    Raises:
        DataError: val or test has a class that train lacks.
    """
    sentences = list(problems)
    present = {part: splits[part] for part in ("train", "val", "test") if part in splits}
    labels = _labels(present)
    if labels and len(classes) == 1:
        sentences.append(f"All images belong to a single class, {classes[0]!r}: they are read without labels.")
        kinds = {kind for split in present.values() for kind in split.targets if kind != "label"}
        present = {
            part: replace(split, targets={kind: split.targets[kind] for kind in kinds & set(split.targets)})
            for part, split in present.items()
        }
        labels, classes = {}, (classes if "boxes" in kinds else ())
    said.check_known(name, labels, classes)
    said.check_known(name, _labels_of_objects(present), classes)
    digests = {part: list(split.images.digests) for part, split in present.items()}
    pictures = picture_digests(present, digests)
    shares = {part: share for part, share in (("test", TEST_SHARE), ("val", VAL_SHARE)) if not digests.get(part)}
    sentences += [
        f"The {part} split is empty: {share:.0%} of train is used for it."
        for part, share in shares.items()
        if part in present
    ]
    rule = (cut or _cut_rule.get()) if shares else ""
    if shares:
        whole, whole_digests = present["train"], digests["train"]
        own = labels["train"].numpy() if "train" in labels else _rarest(whole) if by_objects else None
        whole_pictures = pictures["train"]
        keys = _of_first_copies(whole_digests, whole_pictures) if rule == "stratified" else whole_digests
        for part, places in _cut(keys, own, shares, rule).items():
            present[part] = whole.select(places)
            digests[part] = [whole_digests[i] for i in places]
            pictures[part] = [whole_pictures[i] for i in places]
    ordered = {part: present[part] for part in ("train", "val", "test")}
    sentences += said.sentences(ordered, pictures, classes)
    mark = fingerprint(ordered, classes, digests)
    return fitted(
        Dataset(name, ordered, classes, tuple(sentences), mark, tuple(notes), rule, mask_classes, point_names)
    )


def _labels(splits: Mapping[str, Split]) -> dict[str, torch.Tensor]:
    return {
        part: label.index for part, split in splits.items() if isinstance(label := split.targets.get("label"), Label)
    }


def _labels_of_objects(splits: Mapping[str, Split]) -> dict[str, torch.Tensor]:
    """The classes of all boxes of each split that has boxes, crowds left out."""
    return {
        part: torch.cat(boxes.counting) if len(boxes) else torch.zeros(0, dtype=torch.int64)
        for part, split in splits.items()
        if isinstance(boxes := split.targets.get("boxes"), Boxes)
    }


def _rarest(split: Split) -> NDArray[np.int64] | None:
    """(N,) of images with boxes, the class of an object that fewest images hold; images without objects have one of their own."""
    boxes = split.targets.get("boxes")
    if not isinstance(boxes, Boxes):
        return None
    count = boxes.holders(0)
    return np.array([int(own[count[own].argmin()]) if len(own) else len(count) for own in boxes.counting], np.int64)


# -- the cut


def _of_first_copies(digests: Sequence[bytes], pictures: Sequence[bytes]) -> list[bytes]:
    """For each image the smallest digest of all files with its pixels: copies stay together, and others where they were."""
    first: dict[bytes, bytes] = {}
    for digest, picture in zip(digests, pictures, strict=True):
        first[picture] = min(digest, first.get(picture, digest))
    return [first[picture] for picture in pictures]


def _cut(
    digests: Sequence[bytes], labels: NDArray[np.int64] | None, shares: Mapping[str, float], rule: str
) -> dict[str, NDArray[np.int64]]:
    """Positions of each split that is cut, and of train, in their order.

    Args:
        digests: content hashes.
        labels: (N,) class of each image.
        shares: of each split that is cut; each is a share of what the one before leaves.
        rule: one of `CUTS`.
    """
    by_class = rule == "stratified" and labels is not None
    owner: dict[bytes, int] = {}
    for digest, label in zip(
        digests, labels.tolist() if labels is not None and by_class else [0] * len(digests), strict=True
    ):
        owner[digest] = min(label, owner.get(digest, label))  # of a content in two classes, whatever the files' order
    sizes = np.bincount(np.fromiter(owner.values(), np.int64, len(owner)))
    left = sorted(owner)  # distinct contents
    split_of: dict[bytes, str] = {}
    for done, (part, share) in enumerate(shares.items()):
        if by_class:
            taken = _of_each_class(sorted(left, key=_PLACES[part]), owner, sizes, share)
        else:
            hashes = {digest: _number(digest, part) for digest in left}
            taken = [digest for digest in left if hashes[digest] < int(share * 2**32)]  # uniform in [0, 2³²)
            if rule == "stratified":  # one image for each split, as far as there are enough
                spare = max(0, len(left) - (len(shares) - done))
                taken = sorted(left, key=hashes.__getitem__)[: min(max(1, len(taken)), spare)]
        split_of.update(dict.fromkeys(taken, part))
        left = [digest for digest in left if digest not in split_of]
    parts = np.array([split_of.get(digest, "train") for digest in digests], object)
    return {part: np.flatnonzero(parts == part) for part in ("train", *shares)}


def _of_each_class(
    ordered: Sequence[bytes], owner: Mapping[bytes, int], sizes: NDArray[np.int64], share: float
) -> list[bytes]:
    """A share of each class's contents: the first in this order, and at least one where the class has enough."""
    by_class: dict[int, list[bytes]] = {}
    for digest in ordered:
        by_class.setdefault(owner[digest], []).append(digest)
    taken = []
    for label, own in by_class.items():
        count = max(1, round(share * len(own))) if sizes[label] >= _LEAST else 0
        taken += own[: min(count, len(own) - 1)]  # train keeps one
    return taken


def _number(digest: bytes, salt: str) -> int:
    # salted with the split's name, so that the choices for val and for test are independent
    return int.from_bytes(hashlib.blake2b(digest, digest_size=4, salt=salt.encode()).digest(), "big")


# -- the fingerprint


def fingerprint(
    splits: Mapping[str, Split], classes: Sequence[str], digests: Mapping[str, Sequence[bytes]] | None = None
) -> str:
    """A hexadecimal hash of contents, targets, splits and class names; it depends on the images' order, not on their names."""
    total = hashlib.blake2b("\0".join(classes).encode(errors="surrogatepass"), digest_size=16)
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
        ignored = target.ignored or []
        return [shape.tobytes(), *(t.numpy().tobytes() for t in (*target.corners, *target.labels, *ignored))]
    if isinstance(target, Masks):
        return [source.digest for source in target.sources]
    blocks = []
    for value in target.rows.values():
        if isinstance(value, torch.Tensor):
            blocks.append(np.ascontiguousarray(value.numpy()).tobytes())
        else:
            blocks.append("\0".join(map(str, value)).encode(errors="surrogatepass"))
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
