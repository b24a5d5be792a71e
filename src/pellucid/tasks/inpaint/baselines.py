# SPDX-License-Identifier: Apache-2.0
"""The classical ways to fill holes in pictures, measured on the holes that the model is measured on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pellucid._spread import evenly_spread
from pellucid.data.batches import own_size_batches, store
from pellucid.data.colour import unit
from pellucid.data.dataset import Batch, Split
from pellucid.data.decoding import workers
from pellucid.data.draws import Draws
from pellucid.data.targets import Picture
from pellucid.tasks._records import Records
from pellucid.tasks.inpaint import distances
from pellucid.tasks.inpaint.exemplar import exemplar
from pellucid.tasks.inpaint.fill import diffused, mean_filled
from pellucid.tasks.inpaint.metrics import columns
from pellucid.tasks.inpaint.regression import Ridge

__all__ = ["METHODS", "REGRESSION", "fill", "measured"]

_RADIUS = 3  # px, the neighbourhood of OpenCV's methods, as in its own examples
_IMAGES = 300  # test images that are measured, at most: biharmonic inpainting takes a second each
_LEARNED = 1000  # training images from which the regression learns, at most
_FEW = 20  # and at least
_PIXELS = 6_000_000  # and pixels of them

Image = NDArray[np.float32]  # (C, H, W) in [0, 1]
Hole = NDArray[np.bool_]  # (H, W)
REGRESSION = "ridge regression"
"""What is added to them where all holes have one place."""
METHODS = ("mean fill", "diffusion", "biharmonic", "Telea", "Navier–Stokes", "exemplar")
"""The methods of `fill`."""


def measured(
    prepare: Callable[[Batch, Draws], tuple[Tensor, Picture]],
    train: Split,
    test: Split,
    size: tuple[int, int] | None,
    seed: int,
    place: Tensor | None = None,
    mirrored: bool = False,
) -> dict[str, Records]:
    """The records of each method on (some of the) test images, with the holes of evaluation.

    Args:
        prepare: the task's inputs (B, C + 1, H, W) and truths for a batch.
        train: training images, whose channels count.
        test: the images to fill.
        size: to which images are resized; None: their own size.
        seed: of the holes.
        place: the mask (1, 1, H, W) of the hole that all pictures have, if there is one: then a regression learns it too.
        mirrored: let it learn from mirrored pictures as well, as the training did.
    """
    channels = max(part.images.channels for part in (train, test) if len(part))
    pixels = int(np.prod(size) if size else test.images.sizes.prod(1).mean())
    count = min(len(test), _IMAGES, max(2, _PIXELS // pixels))
    index = evenly_spread(count, len(test))
    part = test.select(index)
    learned = _regression(train, size, channels, place, mirrored)
    names = (*METHODS, *([REGRESSION] if learned is not None else []))
    tables: dict[str, dict[str, list[NDArray[Any]]]] = {method: {} for method in names}
    places = []
    batches = (
        store(part, size, channels, deep=True).batches(64) if size else own_size_batches(part, channels, 64, deep=True)
    )
    for batch in batches:
        own = torch.from_numpy(index)[batch.index]  # positions among all test images, which fix the holes
        input, whole = prepare(Batch(batch.images, {}, own), Draws.images(seed, own))
        places.append(batch.index.numpy())
        mask = input[:, -1:]
        truth, holes = list(whole.pixels.numpy()), list(mask[:, 0].numpy() > 0)
        for method, table in tables.items():
            if method == REGRESSION and learned is not None:
                answer = learned(whole.pixels)
            else:
                answer = torch.from_numpy(np.stack(fill(method, truth, holes)))
            measures = columns(answer, whole.pixels, mask) | distances.columns(answer, whole.pixels, mask)
            for name, column in measures.items():
                table.setdefault(name, []).append(column)
    order = np.argsort(np.concatenate(places), kind="stable")  # batches group images by size
    some = f" (on {count} test images)" if count < len(test) else ""
    return {
        method + some: {**{name: np.concatenate(parts)[order] for name, parts in table.items()}, "index": index}
        for method, table in tables.items()
    }


def _regression(
    train: Split, size: tuple[int, int] | None, channels: int, place: Tensor | None, mirrored: bool
) -> Ridge | None:
    """The regression for holes at a fixed place, from up to a thousand training pictures; None for others, and for few pictures."""
    if place is None or size is None or len(train) < _FEW:
        return None
    part = train.select(evenly_spread(min(len(train), _LEARNED), len(train)))
    images = torch.cat([unit(batch.images) for batch in store(part, size, channels, deep=True).batches(64)])
    return Ridge.fit(torch.cat([images, images.flip(3)]) if mirrored else images, place)


def fill(method: str, images: Sequence[Image], holes: Sequence[Hole]) -> list[Image]:
    """Pictures with their holes filled by a classical method, in parallel; values in [0, 1].

    biharmonic: scikit-image's (Damelin & Hoang 2018); Telea (2004) and Navier–Stokes (Bertalmio et al. 2001): OpenCV's, on
    8 bits; diffusion: Laplace's equation, which is also what fills the hole of a network's input; exemplar: patches of the known
    part (Criminisi et al. 2004).

    >>> image, hole = np.full((1, 9, 9), 0.5, np.float32), np.zeros((9, 9), bool)
    >>> hole[3:5, 3:6] = True
    >>> [round(float(fill(method, [image], [hole])[0][0, 4, 4]), 2) for method in METHODS]
    [0.5, 0.5, 0.5, 0.5, 0.5, 0.5]
    """
    with ThreadPoolExecutor(workers()) as pool:
        answers = pool.map(_FILLS[method], images, holes)
        return [
            np.where(hole, np.clip(answer, 0, 1), image).astype(np.float32)
            for answer, image, hole in zip(answers, images, holes, strict=True)
        ]


def _on_one(rule: Callable[[Tensor, Tensor], Tensor]) -> Callable[[Image, Hole], Image]:
    """A rule for batches of tensors as one for a single array."""

    def run(image: Image, hole: Hole) -> Image:
        filled: Image = rule(torch.from_numpy(image)[None], torch.from_numpy(hole).float()[None, None])[0].numpy()
        return filled

    return run


def _biharmonic(image: Image, hole: Hole) -> Image:
    from skimage.restoration import inpaint_biharmonic

    filled: Image = inpaint_biharmonic(image, hole, channel_axis=0, split_into_regions=True)
    return filled


def _opencv(flag: str) -> Callable[[Image, Hole], Image]:
    def run(image: Image, hole: Hole) -> Image:
        import cv2

        pixels = np.ascontiguousarray((image * 255).round().astype(np.uint8).transpose(1, 2, 0))  # (H, W, C)
        filled: NDArray[Any] = cv2.inpaint(pixels, hole.astype(np.uint8), _RADIUS, getattr(cv2, flag))
        # OpenCV drops the axis of a single channel
        return (filled.reshape(pixels.shape).transpose(2, 0, 1) / 255).astype(np.float32)

    return run


_FILLS: dict[str, Callable[[Image, Hole], Image]] = {
    "mean fill": _on_one(mean_filled),
    "diffusion": _on_one(diffused),
    "biharmonic": _biharmonic,
    "Telea": _opencv("INPAINT_TELEA"),
    "Navier–Stokes": _opencv("INPAINT_NS"),
    "exemplar": exemplar,
}
