# SPDX-License-Identifier: Apache-2.0
"""Pages that a run reads: named ones, those of a data set with texts, or one made of the run's own letters; and their letters."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pellucid._spread import evenly_spread
from pellucid.data.colour import to_channels, unit
from pellucid.data.dataset import Dataset
from pellucid.data.given import gather
from pellucid.data.targets import Text, target_of
from pellucid.errors import PellucidWarning, UsageError
from pellucid.lenses import Evaluation, Network, Pages
from pellucid.looking.images import Later, nothing, readable
from pellucid.run import Run
from pellucid.tasks import AnyTask, ReadsPages, joined

__all__ = ["are_pages", "confusions", "letters", "pages", "warn_of_pages"]

_EXAMPLES = 6  # pages that are shown if none are named
_LARGE, _CHECKED, _SEVERAL = (
    120,
    3,
    3,
)  # px of an image that may be a page, how many are read, and letters that make one


def are_pages(dataset: Dataset) -> bool:
    """Whether a data set's images have whole texts, and no labels."""
    full = [split for split in dataset.splits.values() if len(split)]
    return bool(full) and all("text" in split.targets and "label" not in split.targets for split in full)


def pages(
    run: Run,
    task: AnyTask,
    model: nn.Module,
    images: Any,
    dataset: Dataset | None,
    asked: Sequence[int] = (),
    **common: Any,
) -> Pages | None:
    """The pages that are looked at; None where the task reads none.

    Args:
        run: whose model reads them.
        task: its task.
        model: its model.
        images: named ones.
        dataset: pages with texts, or letters of which a page is made, if no images are named.
        asked: numbers of letters, from 1.
        common: fields that all parts share.
    """
    if not isinstance(task, ReadsPages):
        return None
    if not nothing(images):
        return _named(run, task, model, images, asked, common)
    assert dataset is not None, "a run has data"
    if not are_pages(dataset):
        return _made(task, model, dataset, asked, common)
    part = next(part for part in ("test", "val", "train") if len(dataset.splits[part]))
    split = dataset.splits[part]
    split = split.select(evenly_spread(_EXAMPLES, len(split)))

    def read(places: Sequence[int]) -> Sequence[Tensor]:
        return [_unit(split.images.read(place, run.channels)) for place in places]

    texts = target_of(split.targets, "text", Text).lines
    shown = Later(len(split), read, 1)
    return Pages(model, shown, list(split.names), task.page_steps, texts, asked, **common)


def _unit(pixels: NDArray[np.uint8]) -> Tensor:
    return unit(torch.from_numpy(np.array(pixels)))


def _named(
    run: Run, task: ReadsPages, model: nn.Module, images: Any, asked: Sequence[int], common: dict[str, Any]
) -> Pages:
    given = gather(images, run.scale)
    places = readable(given)
    row = {place: i for i, place in enumerate(given.places)}

    def read(chunk: Sequence[int]) -> Sequence[Tensor]:
        return [
            _unit(given.split.images.read(row[place], run.channels))
            if place in row
            else to_channels(given.floats[place], run.channels)
            for place in (places[i] for i in chunk)
        ]

    names, unread = [given.names[place] for place in places], list(given.faults.values())
    return Pages(model, Later(len(places), read, 1), names, task.page_steps, (), asked, unread=unread, **common)


def _made(task: ReadsPages, model: nn.Module, dataset: Dataset, asked: Sequence[int], common: dict[str, Any]) -> Pages:
    """A page of a run that was trained on letters alone, made of letters that it has not learned."""
    part = next(part for part in ("test", "val", "train") if len(dataset.splits[part]))
    picture, text = task.page_of_letters(dataset.splits[part], common["seed"])
    made = f"a page made of letters of the {part} split"
    return Pages(model, [_unit(picture[None])], [made], task.page_steps, [text], asked, made, **common)


def letters(network: Network, found: Pages) -> Network:
    """The letters that were asked for on each page, as the network is shown them.

    Raises:
        UsageError: no page has any of them.
    """
    images: list[Tensor] = []
    names: list[str] = []
    parts: list[str] = []
    lacking: list[str] = []
    for place, page in enumerate(found.images):
        steps = found.steps(found.model, page)
        lacking += filter(None, [found.lacking(place, steps)])
        for k in found.chosen(steps):
            images.append(steps.letters[k].seen)
            parts.append(f"letter {k + 1}")
            names.append(f"{found.names[place]}, letter {k + 1}")
    if not images:
        raise UsageError(lacking[0])
    return replace(network, images=images, names=names, parts=parts, truth=(), unread=[*found.unread, *lacking])


def warn_of_pages(run: Run, model: nn.Module, images: Any) -> None:
    """Say it if one of the first large images that are looked at as letters reads as a page."""
    task = run.task
    if not isinstance(task, ReadsPages):
        return
    given = gather(images, run.scale)
    sizes = given.split.images.sizes.tolist() if len(given.split) else []
    large = [row for row, (height, width) in enumerate(sizes) if max(height, width) > _LARGE][:_CHECKED]
    for row in large:
        count = len(task.page_steps(model, _unit(given.split.images.read(row, run.channels))).letters)
        if count >= _SEVERAL:
            name = given.names[given.places[row]]
            sentence = f"{name} is looked at as a single letter, and reads as a page of {count:,}; --letter N looks at one of these."
            warnings.warn(sentence, PellucidWarning, stacklevel=2)
            return


def confusions(run: Run, model: nn.Module, dataset: Dataset, **common: Any) -> Evaluation:
    """What the letters of pages with texts were taken for, along the fewest edits from the read text to the true one.

    Raises:
        UsageError: the data have no text.
    """
    task = run.task
    if not isinstance(task, ReadsPages) or not are_pages(dataset):
        raise UsageError(f"data={dataset.name!r}: has no pages with texts; leave it out.")
    part = next(part for part in ("test", "val", "train") if len(dataset.splits[part]))
    split = dataset.splits[part]
    truth = target_of(split.targets, "text", Text)
    columns: dict[str, list[Any]] = {}
    cells: dict[tuple[int, int], list[tuple[float, NDArray[np.float32]]]] = {}
    none = len(run.classes)
    for place in range(len(split)):
        image = _unit(split.images.read(place, run.channels))
        steps = task.page_steps(model, image)
        records = task.score(image[None], steps.answer, truth[[place]])
        for name, column in records.items():
            columns.setdefault(name, []).append(column)
        for (true, read), at in zip(records["confused"][0].tolist(), records["place"][0].tolist(), strict=True):
            if at >= 0:
                letter = steps.letters[at]
                own = cells.setdefault((true % (none + 1), read % (none + 1)), [])
                own.append((letter.probability, letter.seen[:3].mean(0).numpy()))

    def pictures(true: int, read: int) -> list[NDArray[np.float32]]:
        return [picture for _, picture in sorted(cells.get((true, read), ()), key=lambda one: -one[0])]

    names = [*run.classes, "none"]
    every = {name: joined(parts) for name, parts in columns.items()}
    return Evaluation(every, names, part, None, "letter", pictures, **common)
