# SPDX-License-Identifier: Apache-2.0
"""The images that a network is shown: named ones, or a few of a run's own, as its model takes them."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pellucid._spread import evenly_spread
from pellucid.answering import inputs, run_batches
from pellucid.data.colour import to_channels, unit
from pellucid.data.dataset import Batch, Dataset, Split
from pellucid.data.draws import Draws
from pellucid.data.given import UserImages, gather
from pellucid.data.targets import Label
from pellucid.errors import UsageError
from pellucid.lenses import Labelled
from pellucid.run import Run
from pellucid.tasks import AnyTask, ReadsPages

__all__ = ["Later", "Shown", "examples", "labelled", "middle", "named", "nothing", "of_ready_model", "readable"]

_EXAMPLES = 6  # test images that are shown if none are named
_CHUNK = 32  # images that are decoded together


@final
@dataclass(frozen=True)
class Shown:
    """Images with their names."""

    names: Sequence[str]
    images: Sequence[Tensor]  # each (C, H, W) float32 in [0, 1]
    unread: Sequence[str] = ()  # a sentence for each named file that holds no image
    truth: Sequence[Any] = ()  # the task's, of each image alone, where it is known


@final
class Later(Sequence[Tensor]):
    """Images (C, H, W) float32 in [0, 1] that are decoded when they are read, some at a time."""

    def __init__(self, count: int, read: Callable[[Sequence[int]], Sequence[Tensor]], chunk: int = _CHUNK) -> None:
        self._count, self._read, self._chunk = count, read, chunk
        self._kept: tuple[int, Sequence[Tensor]] = (-1, ())  # the last chunk, and where it starts

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, place: Any) -> Any:
        if isinstance(place, slice):
            return [self[i] for i in range(*place.indices(self._count))]
        at = place + self._count if place < 0 else place
        if not 0 <= at < self._count:
            raise IndexError(place)
        start = at - at % self._chunk
        if self._kept[0] != start:
            self._kept = start, self._read(range(start, min(start + self._chunk, self._count)))
        return self._kept[1][at - start]


def nothing(images: Any) -> bool:
    """Whether no image was named."""
    return images is None or (isinstance(images, (list, tuple)) and not images)


def examples(task: AnyTask, run: Run, dataset: Dataset) -> Shown:
    """A few images spread evenly over the test split, as evaluation sees them."""
    splits = dataset.splits
    test = next(splits[part] for part in ("test", "val", "train") if len(splits[part]))
    images: dict[int, Tensor] = {}
    truth: dict[int, Any] = {}
    for batch in labelled(task, run, test, _EXAMPLES, _EXAMPLES, torch.device("cpu")):
        images |= dict(zip(batch.index.tolist(), batch.images, strict=True))
        truth |= {index: batch.target[[row]] for row, index in enumerate(batch.index.tolist())}
    order = sorted(images)
    names = [test.names[i] if test.names else f"image_{i}" for i in order]
    return Shown(names, [images[i] for i in order], truth=[truth[i] for i in order])


def named(run: Run, images: Any) -> Shown:
    """Named images as the run's model takes them, decoded when they are read.

    Raises:
        UsageError: none of them is an image.
    """
    given = gather(images, run.scale, noisy=run.task.restores)
    places = readable(given)
    row = {place: i for i, place in enumerate(given.places)}
    planes = int(run.info["model"]["channels"])

    def read(chunk: Sequence[int]) -> Sequence[Tensor]:
        chosen = [places[i] for i in chunk]
        stored = [place for place in chosen if place in row]
        part = UserImages(
            given.names,
            given.split.select([row[place] for place in stored]),
            stored,
            {place: given.floats[place] for place in chosen if place in given.floats},
        )
        prepared: dict[int, Tensor] = {}
        letters = isinstance(run.task, ReadsPages)  # brought to one size by their preparation, which keeps their shape
        for at, batch in inputs(run, part, _CHUNK, torch.device("cpu"), seen=not letters):
            # the task may add planes of its own, such as a mask, when it prepares a batch
            if batch.shape[1] != planes or letters:
                pixels = (batch * 255).round().to(torch.uint8)
                positions = torch.tensor(at)
                draws = Draws.images(int(run.info["seed"]), positions)
                batch, _ = run.task.prepare(Batch(pixels, {}, positions), draws, training=False)
            prepared |= dict(zip(at, batch, strict=True))
        return [prepared[place] for place in chosen]

    return Shown([given.names[place] for place in places], Later(len(places), read), list(given.faults.values()))


def of_ready_model(model: nn.Module, images: Any, size: tuple[int, ...] | None = None) -> Shown:
    """Named images at the size that a ready model was made for (`model.size`), cut to their middle; else at their own.

    Raises:
        UsageError: none of them is an image.
    """
    asked = size or getattr(model, "size", None)
    wanted = None if asked is None else (int(asked[0]), int(asked[-1]))
    given = gather(images)
    places = readable(given)
    row = {place: i for i, place in enumerate(given.places)}

    def shown(place: int, planes: int) -> Tensor:
        if place in row:
            image = unit(torch.from_numpy(np.array(given.split.images.read(row[place], planes))))
        else:
            image = to_channels(given.floats[place], planes)
        return image if wanted is None else middle(image, wanted)

    planes = _planes(model, lambda planes: shown(places[0], planes))

    def read(chunk: Sequence[int]) -> Sequence[Tensor]:
        return [shown(places[i], planes) for i in chunk]

    return Shown([given.names[place] for place in places], Later(len(places), read), list(given.faults.values()))


def middle(image: Tensor, size: tuple[int, int]) -> Tensor:
    """(C, *size) of (C, H, W): the shorter side scaled to size / 0.875, then the middle, as ImageNet models are tested.

    An image of this very size is left alone, so that a picture written at the model's size is the same when it is read again.
    """
    if tuple(image.shape[1:]) == size:
        return image
    scale = max(side / have for side, have in zip(size, image.shape[1:], strict=True)) / 0.875
    tall, wide = (max(side, round(have * scale)) for side, have in zip(size, image.shape[1:], strict=True))
    scaled = F.interpolate(image[None], (tall, wide), mode="bilinear", antialias=True)[0]
    top, left = (tall - size[0]) // 2, (wide - size[1]) // 2
    return scaled[:, top : top + size[0], left : left + size[1]]


def labelled(
    task: AnyTask,
    run: Run,
    split: Split,
    size: int,
    limit: int | None,
    device: torch.device,
    places: Sequence[int] | None = None,
) -> Iterator[Labelled]:
    """Batches of a split as evaluation sees them: all images, `limit` of them spread evenly, or those at `places`."""
    spread = evenly_spread(len(split) if limit is None else limit, len(split))
    chosen = spread if places is None else np.unique(np.asarray(places, np.int64))
    own = torch.from_numpy(chosen)
    fewer = split if len(chosen) == len(split) else split.select(chosen)
    for batch in run_batches(run, fewer, size, device, seen=not isinstance(task, ReadsPages)):
        at = own[batch.index]  # positions in the whole split, on which the noise of evaluation depends
        draws = Draws.images(int(run.info["seed"]), at, device)
        input, target = task.prepare(Batch(batch.images, batch.targets, at), draws, training=False)
        label = batch.targets.get("label")
        names = [split.names[int(i)] if split.names else f"image_{int(i)}" for i in at]
        yield Labelled(input, label.index if isinstance(label, Label) else None, names, at, target)


def readable(given: UserImages) -> list[int]:
    """The positions of the named images that could be read."""
    places = sorted([*given.places, *given.floats])
    if not places:
        raise UsageError(next(iter(given.faults.values())))
    return places


def _planes(model: nn.Module, first: Callable[[int], Tensor]) -> int:
    """3 or 1: what the model's first convolution takes; of a model without one, with how many it answers its first image."""
    convolution = next((part for part in model.modules() if isinstance(part, nn.Conv2d)), None)
    if convolution is not None:
        return 1 if convolution.in_channels == 1 else 3
    asked, weight = copy.deepcopy(model).eval(), next(model.parameters(), torch.zeros(()))
    with torch.no_grad():
        for planes in (3, 1):
            with contextlib.suppress(RuntimeError):  # torch's for shapes that do not fit
                asked(first(planes)[None].to(weight))
                return planes
    return 3
