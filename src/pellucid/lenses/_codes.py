# SPDX-License-Identifier: Apache-2.0
"""Images as feature vectors ("codes"): a run's own or named ones, with their names, classes and thumbnails."""

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
from pellucid.lenses._images import Counted
from pellucid.lenses._layers import CONVOLUTIONS, layers_in_order
from pellucid.lenses._parts import Network, Splits

__all__ = ["Coded", "at_once", "chosen_layer", "fingerprint", "joined", "of_images", "of_split", "thumbnails"]

_SIDE = 64  # px: of the largest thumbnail
_NARROW = 8  # numbers: a layer of fewer says too little about an image where another has more
_ACTIVATIONS = 200.0  # floats that a model keeps for each float of an image, roughly


@final
@dataclass(frozen=True)
class Coded:
    """Images with their codes."""

    codes: NDArray[np.float32]  # (N, D)
    names: NDArray[np.str_]  # (N,)
    splits: NDArray[np.str_]  # (N,) "given": images that were named, from no split
    labels: NDArray[np.int64]  # (N,) classes, -1: none
    truth: bool  # whether labels are the data's own rather than the model's answers
    thumbs: NDArray[np.uint8]  # (N, side, side, 1 or 3), white beyond the image
    where: str  # the layer, in words
    places: NDArray[np.int64]  # (N,) positions in the split, or among the named images

    def __len__(self) -> int:
        return len(self.codes)


def chosen_layer(network: Network, layer: str | None) -> str | None:
    """The named layer; else, where a model without dense layers ends in few planes, its widest convolution.

    >>> model = nn.Sequential(nn.Conv2d(1, 32, 3), nn.ReLU(), nn.Conv2d(32, 1, 3))
    >>> chosen_layer(Network(model, torch.zeros(1, 1, 8, 8)), None)
    '0'
    """
    if layer is not None:
        return layer
    image = network.images[0].to(network.device)
    with torch.no_grad():
        codes, where = network.features(image[None])
    if not where.startswith("the output") or codes.shape[1] >= _NARROW:
        return None
    passed = layers_in_order(network.model, image)
    # planes, then the smallest map: the bottleneck of an autoencoder; of equals the later one
    wide = {name: (shape[1], -math.prod(shape[2:])) for name, part, shape in passed if isinstance(part, CONVOLUTIONS)}
    most = max(wide.values(), default=(0, 0))
    return [name for name, size in wide.items() if size == most][-1] if most[0] > codes.shape[1] else None


def of_split(
    network: Network, splits: Splits, split: str, layer: str | None, limit: int | None = None, side: int = _SIDE
) -> Coded:
    """Codes of a run's own images."""
    count, size = splits.count(split, limit), at_once(network, network.images[0])
    parts: list[Coded] = []
    batches = Counted(splits.batches(split, size, limit), -(-count // size))
    for batch in network.progress(batches, f"coding {split}"):
        codes, where = _codes(network, batch.images, layer)
        labels = _answers(network, batch.images) if batch.labels is None else batch.labels.cpu().numpy()
        parts.append(
            Coded(
                codes,
                np.array(batch.names, np.str_),
                np.full(len(batch), split),
                labels.astype(np.int64),
                batch.labels is not None,
                thumbnails(batch.images, side),
                where,
                batch.index.cpu().numpy(),
            )
        )
    return joined(parts)


def of_images(network: Network, layer: str | None, side: int = _SIDE) -> Coded:
    """Codes of the named images, or of the few that a run shows of its own; their classes are the model's answers."""
    parts: list[Coded] = []
    for places in network.progress(list(_of_one_size(network)), "coding images"):
        images = torch.stack([network.images[i] for i in places])  # (B, C, H, W)
        codes, where = _codes(network, images, layer)
        parts.append(
            Coded(
                codes,
                np.array([network.name(i) for i in places], np.str_),
                np.full(len(places), "given"),
                _answers(network, images),
                False,
                thumbnails(images, side),
                where,
                np.array(places),
            )
        )
    return joined(parts)


def joined(parts: Sequence[Coded]) -> Coded:
    """Several groups of coded images as one.

    Raises:
        UsageError: their codes differ in length because the images differ in size.
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
    for part in parts:
        missing = side - part.thumbs.shape[1]
        framed = np.pad(part.thumbs, ((0, 0), (0, missing), (0, missing), (0, 0)), constant_values=255)
        thumbs.append(np.repeat(framed, planes, 3) if framed.shape[3] < planes else framed)
    return Coded(
        np.concatenate([part.codes for part in parts]),
        np.concatenate([part.names for part in parts]),
        np.concatenate([part.splits for part in parts]),
        np.concatenate([part.labels for part in parts]),
        all(part.truth for part in parts),
        np.concatenate(thumbs),
        parts[0].where,
        np.concatenate([part.places for part in parts]),
    )


def thumbnails(images: Tensor, side: int = _SIDE) -> NDArray[np.uint8]:
    """(B, s, s, 1 or 3) small copies of images (B, C, H, W) in [0, 1], square, s at most `side` px, white beyond the image.

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
    """A digest of a model's weights and of the layer: equal where codes are comparable.

    >>> fingerprint(nn.Linear(1, 1), "a") == fingerprint(nn.Linear(1, 1), "a")
    False
    """
    digest = hashlib.sha256(where.encode())
    for name, values in sorted(model.state_dict().items()):
        digest.update(f"{name} {values.dtype} {tuple(values.shape)}".encode())
        digest.update(values.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def at_once(network: Network, image: Tensor, most: int = 256) -> int:
    """How many images of this size pass the model together within the memory budget."""
    return network.at_once(_ACTIVATIONS * 4 * image.numel(), most)


@torch.no_grad()
def _codes(network: Network, images: Tensor, layer: str | None) -> tuple[NDArray[np.float32], str]:
    """(B, D) codes of images (B, C, H, W), and the layer that they are from."""
    codes, where = network.features(images.to(network.device), layer)
    return codes.float().cpu().numpy(), where


@torch.no_grad()
def _answers(network: Network, images: Tensor) -> NDArray[np.int64]:
    """(B,) the model's top classes, -1 where it does not classify."""
    if network.evidence is not None and not network.classes:
        return np.full(len(images), -1, np.int64)  # a run of a task without classes
    shares = network.probabilities(network.model(images.to(network.device)))
    return np.full(len(images), -1, np.int64) if shares is None else shares.argmax(1).cpu().numpy().astype(np.int64)


def _of_one_size(network: Network) -> Iterator[list[int]]:
    """Places of consecutive images of one size, as many as fit into memory."""
    group: list[int] = []
    shape: Any = None
    for place, image in enumerate(network.images):
        if group and (image.shape != shape or len(group) >= at_once(network, image)):
            yield group
            group = []
        shape = image.shape
        group.append(place)
    if group:
        yield group
