# SPDX-License-Identifier: Apache-2.0
"""Pixels as feature vectors: some of each image, as many of every class, with the surroundings of each as its thumbnail."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from pellucid.errors import UsageError
from pellucid.lenses._codes import Coded, at_once, joined
from pellucid.lenses._images import Counted
from pellucid.lenses._layers import last_convolution, recorded
from pellucid.lenses._parts import Labelled, Network, Splits

__all__ = ["WHERE", "of_pixels"]

WHERE = "the pixels of"
"""How the name of a layer begins whose codes are of pixels."""
_IMAGES = 200  # from which pixels are taken, at most
_AROUND = 16  # px on each side of a pixel, in its thumbnail
_VOID = 255  # the class of pixels that count for nothing


def of_pixels(network: Network, splits: Splits, split: str, layer: str | None, count: int) -> Coded:
    """Codes of about `count` pixels of a run's own images: the output of a layer there, or the input of the last convolution.

    The labels are the true classes. Each image gives as many pixels of every class that it shows, at random by the seed.

    Raises:
        UsageError: the task has no class for each pixel, or the layer no place for them.
    """
    images = splits.count(split, min(_IMAGES, count))
    size = at_once(network, network.images[0])
    parts: list[Coded] = []
    batches = Counted(splits.batches(split, size, images), -(-images // size))
    for batch in network.progress(batches, f"coding pixels of {split}"):
        parts += _of_batch(network, batch, split, layer, -(-count // max(1, images)))
    if not parts:
        raise UsageError(f"split={split!r}: has no pixel of a class; choose another split.")
    return joined(parts)


@torch.no_grad()
def _of_batch(network: Network, batch: Labelled, split: str, layer: str | None, each: int) -> list[Coded]:
    truth = getattr(batch.target, "classes", None)
    if not isinstance(truth, Tensor) or truth.ndim != 3:
        raise UsageError("pixels=True: the task has no class for each pixel; leave it out.")
    images = batch.images.to(network.device)
    name, part = last_convolution(network.model, images[0], layer)
    side = "input" if layer is None else "output"
    with recorded({name: part}, "input" if layer is None else "output") as seen:
        network.model(images)
    features = seen[name][-1] if seen else images
    if not seen or features.ndim != 4:
        raise UsageError(f"layer={name!r}: gives no map of features; name a convolution.")
    scale = [have / whole for have, whole in zip(features.shape[2:], images.shape[2:], strict=True)]
    found = []
    for k, (mask, place) in enumerate(zip(truth.cpu().numpy(), batch.index.tolist(), strict=True)):
        at = _chosen(mask, each, np.random.default_rng([network.seed, place]))  # (n, 2) rows and columns
        if not len(at):
            continue
        rows, columns = ((at[:, axis] * scale[axis]).astype(np.int64) for axis in (0, 1))
        codes = features[k][:, torch.from_numpy(rows), torch.from_numpy(columns)].T.float().cpu().numpy()  # (n, C)
        found.append(
            Coded(
                np.ascontiguousarray(codes),
                np.array([f"{batch.names[k]}@{row},{column}" for row, column in at.tolist()], np.str_),
                np.full(len(at), split),
                mask[at[:, 0], at[:, 1]].astype(np.int64),
                True,
                _around(batch.images[k].cpu(), at),
                f"{WHERE} the {side} of {name}",
                np.full(len(at), place),
            )
        )
    return found


def _chosen(mask: NDArray[np.uint8], count: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """(n, 2): pixels of a mask (H, W), at most `count`: one of each class in turn, as far as there are any, in a random order of classes.

    >>> mask = np.array([[0, 0, 0, 0], [0, 0, 1, 2]], np.uint8)
    >>> at = _chosen(mask, 5, np.random.default_rng(0))
    >>> sorted(mask[at[:, 0], at[:, 1]].tolist())
    [0, 0, 0, 1, 2]
    """
    shown = [np.argwhere(mask == kind) for kind in np.unique(mask) if kind != _VOID]
    if not shown:
        return np.zeros((0, 2), np.int64)
    some = [shown[kind][rng.permutation(len(shown[kind]))[:count]] for kind in rng.permutation(len(shown))]
    turns = np.concatenate([np.arange(len(own)) for own in some])
    return np.concatenate(some)[np.argsort(turns, kind="stable")[:count]]


def _around(image: Tensor, at: NDArray[np.int64]) -> NDArray[np.uint8]:
    """(n, s, s, 1 or 3): the surroundings of pixels of an image (C, H, W), white beyond it."""
    planes = image[:3] if len(image) >= 3 else image[:1]
    framed = F.pad(planes, (_AROUND,) * 4, value=1.0)
    side = 2 * _AROUND + 1
    crops = torch.stack([framed[:, y : y + side, x : x + side] for y, x in at.tolist()])
    return (crops.clamp(0, 1) * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
