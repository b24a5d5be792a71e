# SPDX-License-Identifier: Apache-2.0
"""Images as codes: the features of a run's own images or of named ones, with their names, classes and thumbnails."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from pellucid.errors import UsageError
from pellucid.lenses._contract import Subject
from pellucid.lenses._layers import CONVOLUTIONS, layers_in_order

__all__ = ["Coded", "chosen_layer", "fingerprint", "joined", "of_images", "of_split", "thumbnails"]

_SIDE = 64  # px: of the largest thumbnail
_NARROW = 8  # numbers: a layer of fewer says too little about an image where another has more
_ACTIVATIONS = 200.0  # floats that a model keeps for one of an image, roughly


@final
@dataclass(frozen=True)
class Coded:
    """Images as a model codes them."""

    codes: NDArray[np.float32]  # (N, D)
    names: NDArray[np.str_]
    splits: NDArray[np.str_]  # "given" where they are from no split
    labels: NDArray[np.int64]  # classes, -1: none
    truth: bool  # whether labels are the data's own rather than the model's
    thumbs: NDArray[np.uint8]  # (N, side, side, 1 or 3), white beyond the image
    where: str  # the layer, in words
    places: NDArray[np.int64]  # positions in the split, or among the images that were given

    def __len__(self) -> int:
        return len(self.codes)


def chosen_layer(subject: Subject, image: Tensor, layer: str | None) -> str | None:
    """The layer that is asked for; else, where a model without dense layers ends in few planes, its widest convolution.

    >>> model = nn.Sequential(nn.Conv2d(1, 32, 3), nn.ReLU(), nn.Conv2d(32, 1, 3))
    >>> chosen_layer(Subject(model=model), torch.zeros(1, 8, 8), None)
    '0'
    """
    if layer is not None:
        return layer
    assert subject.model is not None
    with torch.no_grad():
        codes, where = subject.features(image[None].to(subject.device))
    if not where.startswith("the output") or codes.shape[1] >= _NARROW:
        return None
    passed = layers_in_order(subject.model, image.to(subject.device))
    # planes, and of layers with as many the smallest map: the bottleneck; of equals the later one
    wide = {name: (shape[1], -math.prod(shape[2:])) for name, part, shape in passed if isinstance(part, CONVOLUTIONS)}
    most = max(wide.values(), default=(0, 0))
    return [name for name, size in wide.items() if size == most][-1] if most[0] > codes.shape[1] else None


def of_split(subject: Subject, split: str, layer: str | None, limit: int | None = None, side: int = _SIDE) -> Coded:
    """Codes of a run's own images."""
    assert subject.batches is not None and subject.images is not None
    count = subject.counts.get(split, 0) if limit is None else min(limit, subject.counts.get(split, 0))
    size = _at_once(subject, subject.images[0])
    parts: list[Coded] = []
    for batch in subject.progress(_Known(subject.batches(split, size, limit), -(-count // size)), f"coding {split}"):
        codes, where = _codes(subject, batch.images, layer)
        labels = _guessed(subject, batch.images) if batch.labels is None else batch.labels.cpu().numpy()
        made = thumbnails(batch.images, side)
        names, splits = np.array(batch.names, np.str_), np.full(len(batch), split)
        parts.append(
            Coded(
                codes,
                names,
                splits,
                labels.astype(np.int64),
                batch.labels is not None,
                made,
                where,
                batch.index.cpu().numpy(),
            )
        )
    return joined(parts)


def of_images(subject: Subject, layer: str | None, side: int = _SIDE) -> Coded:
    """Codes of the images that were named, or of the few that a run shows of its own; their classes are the model's answer."""
    assert subject.images is not None
    parts: list[Coded] = []
    for places in subject.progress(list(_alike(subject)), "coding images"):
        images = torch.stack([subject.images[i] for i in places])
        codes, where = _codes(subject, images, layer)
        labels = _guessed(subject, images)
        names, splits = np.array([subject.name(i) for i in places], np.str_), np.full(len(places), "given")
        made = thumbnails(images, side)
        parts.append(Coded(codes, names, splits, labels.astype(np.int64), False, made, where, np.array(places)))
    return joined(parts)


def joined(parts: Sequence[Coded]) -> Coded:
    """Several lots of coded images as one.

    Raises:
        UsageError: their codes differ in length, since the images differ in size.
    """
    lengths = sorted({part.codes.shape[1] for part in parts})
    if len(lengths) > 1:
        raise UsageError(
            f"layer=None: images of several sizes have codes of {lengths[0]} to {lengths[-1]} numbers here; "
            "give images of one size, or name a layer."
        )
    side = max(part.thumbs.shape[1] for part in parts)
    planes = max(part.thumbs.shape[3] for part in parts)
    thumbs = []
    for one in parts:
        short = side - one.thumbs.shape[1]
        thumbs.append(np.pad(one.thumbs, ((0, 0), (0, short), (0, short), (0, 0)), constant_values=255))
    return Coded(
        np.concatenate([one.codes for one in parts]),
        np.concatenate([one.names for one in parts]),
        np.concatenate([one.splits for one in parts]),
        np.concatenate([one.labels for one in parts]),
        all(one.truth for one in parts),
        np.concatenate([np.repeat(t, planes, 3) if t.shape[3] < planes else t for t in thumbs]),
        parts[0].where,
        np.concatenate([one.places for one in parts]),
    )


def thumbnails(images: Tensor, side: int = _SIDE) -> NDArray[np.uint8]:
    """(B, s, s, 1 or 3) small copies of images (B, C, H, W) in [0, 1], s at most `side` px, white beyond the image.

    >>> thumbnails(torch.zeros(1, 1, 4, 8))[0, :, :, 0].tolist()[0][:2], thumbnails(torch.zeros(2, 3, 300, 100)).shape
    ([255, 255], (2, 64, 64, 3))
    """
    kept = images[:, :3] if images.shape[1] >= 3 else images[:, :1]
    tall, wide = images.shape[2:]
    if max(tall, wide) > side:
        scale = side / max(tall, wide)
        tall, wide = max(1, round(tall * scale)), max(1, round(wide * scale))
        kept = F.interpolate(kept, (tall, wide), mode="bilinear", antialias=True)
    whole = max(tall, wide)
    top, left = (whole - tall) // 2, (whole - wide) // 2
    framed = np.full((len(kept), whole, whole, kept.shape[1]), 255, np.uint8)
    pixels = (kept.clamp(0, 1) * 255).round().to(torch.uint8).permute(0, 2, 3, 1)
    framed[:, top : top + tall, left : left + wide] = pixels.cpu().numpy()
    return framed


def fingerprint(model: nn.Module, where: str) -> str:
    """A digest of a model's weights and the layer that codes are from: the same for the same codes.

    >>> fingerprint(nn.Linear(1, 1), "a") == fingerprint(nn.Linear(1, 1), "a")
    False
    """
    digest = hashlib.sha256(where.encode())
    for name, values in sorted(model.state_dict().items()):
        digest.update(f"{name} {values.dtype} {tuple(values.shape)}".encode())
        digest.update(values.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


@torch.no_grad()
def _codes(subject: Subject, images: Tensor, layer: str | None) -> tuple[NDArray[np.float32], str]:
    """(B, D) codes of images (B, C, H, W), and where they are from."""
    codes, where = subject.features(images.to(subject.device), layer)
    return codes.float().cpu().numpy(), where


@torch.no_grad()
def _guessed(subject: Subject, images: Tensor) -> NDArray[np.int64]:
    """(B,) the model's answer, -1 where that is no class."""
    if subject.evidence is not None and not subject.classes:
        return np.full(len(images), -1, np.int64)  # a run of a task without classes
    assert subject.model is not None
    shares = subject.probabilities(subject.model(images.to(subject.device)))
    return np.full(len(images), -1, np.int64) if shares is None else shares.argmax(1).cpu().numpy().astype(np.int64)


def _at_once(subject: Subject, image: Tensor) -> int:
    return subject.room(_ACTIVATIONS * 4 * image.numel(), most=256)


def _alike(subject: Subject) -> Iterator[list[int]]:
    """Places of consecutive images of one size, as many as there is room for."""
    assert subject.images is not None
    lot: list[int] = []
    shape: Any = None
    for i in range(len(subject.images)):
        image = subject.images[i]
        if lot and (image.shape != shape or len(lot) >= _at_once(subject, image)):
            yield lot
            lot = []
        shape = image.shape
        lot.append(i)
    if lot:
        yield lot


@final
class _Known:
    """An iterator of which the length is known beforehand, for those who watch."""

    def __init__(self, items: Iterator[Any], length: int) -> None:
        self._items, self._length = items, length

    def __iter__(self) -> Iterator[Any]:
        return self._items

    def __len__(self) -> int:
        return self._length
