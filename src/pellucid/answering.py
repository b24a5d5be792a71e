# SPDX-License-Identifier: Apache-2.0
"""From images to a model's answers, a batch at a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress
from torch import Tensor, nn

from pellucid import viewing
from pellucid._contact import as_bytes
from pellucid._coupling import together
from pellucid.data.batches import own_size_batches, store
from pellucid.data.colour import to_channels, unit
from pellucid.data.dataset import Batch, Split
from pellucid.data.fits import Fit
from pellucid.data.fitting import fit_floats, placements
from pellucid.data.given import UserImages, decodable
from pellucid.data.scales import Scale
from pellucid.data.targets import Picture, Target
from pellucid.errors import DataError
from pellucid.predictions import Answers, answer_names
from pellucid.run import Run
from pellucid.tasks import AnswersParts, AnyTask, DrawsAnswers, PredictOptions, WritesForms, through_planes

__all__ = [
    "Within",
    "answer",
    "few",
    "image_by_image",
    "in_own_px",
    "inputs",
    "own_device",
    "own_sizes",
    "run_batches",
    "sound_inputs",
]

_AT_ONCE = 150_000  # px that go through a model together: larger maps do not stay in a processor's caches


class Within(Protocol):
    """Boxes in images, of which parts around these are answered; see `boxed.Boxed`."""

    @property
    def given(self) -> UserImages:
        """The parts, under the positions of their images."""

    @property
    def boxes(self) -> Mapping[int, tuple[float, float, float, float]]:
        """What each part is around, in px of the whole image."""

    def back(self, prediction: Any, places: Sequence[int]) -> Any:
        """Answers for parts, in px of the whole images."""


def image_by_image(
    run: Run,
    model: nn.Module,
    given: UserImages,
    answers: Answers,
    batch_size: int,
    progress: bool,
    options: PredictOptions,
    boxed: Within | None = None,
    others: Mapping[int, dict[str, Any]] | None = None,
    checked: bool = False,
) -> list[dict[str, Any]]:
    """A row for each image, in the order given, with its file where there is one; a damaged image has an "error" instead.

    `checked` says that it is known already that so many images can be answered together.

    With boxes, the parts of images around them are answered; images without a part have the rows of `others`, by position.
    """
    whole, given = given, given if boxed is None else boxed.given
    if not checked:
        batch_size = together(model, (run.planes, *run.size), batch_size, len(given.names))
    faults = dict(given.faults)
    rows: dict[int, dict[str, Any]] = dict(others or {})
    forms = {"": ".png", **(run.task.forms(options) if isinstance(run.task, WritesForms) else {})}
    titles = _titles(given.names, forms) if answers.out is not None else [{} for _ in given.names]
    answers.begin(run.task.tables(options) if isinstance(run.task, WritesForms) else {})
    own = own_sizes(given)
    drawing = isinstance(run.task, DrawsAnswers) and answers.takes_pictures
    total = len(given.names) - len(faults) - len(rows)
    checked, views = False, viewing.described(run)

    def rows_of(
        input: Tensor | None, prediction: Any, names: Sequence[str], places: Sequence[int]
    ) -> list[dict[str, Any]]:
        if isinstance(run.task, WritesForms):
            assert input is not None, "a task that answers in parts writes its forms itself"
            scales = [given.scales.get(place) for place in places]
            return run.task.written(input, prediction, names, run.classes, options, scales)
        return run.task.write(prediction, names, run.classes)

    columns = (*Progress.get_default_columns(), MofNCompleteColumn())
    with Progress(*columns, console=Console(stderr=True), disable=not progress or not total) as bar:
        line = bar.add_task("predicting", total=total)
        coloured = given.by_channels().get(3) if progress and run.channels == 1 and not run.task.restores else None
        if coloured is not None:
            count = len(coloured.split) + len(coloured.floats)
            bar.console.print(f"images in colour: {count:,}; the run takes grey ones and sees their brightness.")
        if isinstance(run.task, AnswersParts) and run.task.in_parts(options):
            found: Iterator[tuple[list[int], Tensor | None, Any]] = _in_parts(
                run, run.task, model, given, options, faults
            )
        else:
            batches = sound_inputs(run, given, batch_size, faults)
            found = (
                (
                    places[rows],
                    input[rows],
                    in_own_px(_restored(run, model, input[rows]), input[rows], own, places[rows], run.task.fitting),
                )
                for places, input in batches
                for rows in few(input)
            )
        for places, input, prediction in found:
            names = [given.names[place] for place in places]
            if boxed is not None:
                prediction = boxed.back(prediction, places)
            written = [
                _with_depth(row, prediction, k, given.scales.get(place), given.pages.get(place))
                for k, (place, row) in enumerate(zip(places, rows_of(input, prediction, names, places), strict=True))
            ]
            if boxed is not None:
                written = [_with_box(row, boxed.boxes[place]) for place, row in zip(places, written, strict=True)]
            written = [
                {**row, "tile": as_bytes(input[k])}
                if input is not None and "group" in row and answers.lacks(row["group"])
                else row
                for k, row in enumerate(written)
            ]
            if views is not None:
                written = [{**row, "views": views["count"]} for row in written]
            if drawing:
                written = _drawn(run, whole, places, prediction, written)
            files = answers.takes_pictures and ("picture" in written[0] or "content" in written[0])
            if not checked and (files or len(forms) > 1):
                sound = [own for place, own in enumerate(titles) if place not in faults and place not in (others or {})]
                answers.check(len(titles) * len(forms), [title for own in sound for title in own.values()])
                checked = True
            kept = answers.keep(written, [titles[place] for place in places])
            rows |= dict(zip(places, kept, strict=True))
            bar.advance(line, len(places))
    rows |= {place: {"name": given.names[place], "error": fault} for place, fault in faults.items()}
    ordered = [rows[place] for place in sorted(rows)]  # images of one size were answered together
    answers.finish(ordered)
    return ordered


@torch.no_grad()
def _in_parts(
    run: Run, task: AnswersParts, model: nn.Module, given: UserImages, options: PredictOptions, faults: dict[int, str]
) -> Iterator[tuple[list[int], None, Any]]:
    """The answer for each image at its own size, one at a time: it may be as large as the memory."""
    device = own_device()
    for row, place in enumerate(given.places):
        try:
            pixels = given.split.images.read(row, run.channels)  # (C, H, W) uint8
        except DataError as fault:
            faults[place] = str(fault)
            continue
        image = torch.from_numpy(pixels if pixels.flags.writeable else pixels.copy())
        yield [place], None, task.answer_parts(model, image, options)
    for place, floats in given.floats.items():
        yield [place], None, task.answer_parts(model, to_channels(floats.to(device), run.channels), options)


def few(images: Tensor) -> list[slice]:
    """The rows of a batch (B, C, H, W) that go through a model together: on a processor no more than its caches hold.

    >>> few(torch.zeros(5, 1, 200, 300))
    [slice(0, 2, None), slice(2, 4, None), slice(4, 6, None)]
    """
    if images.device.type != "cpu":
        return [slice(0, len(images))]
    step = max(1, _AT_ONCE // max(1, images.shape[2] * images.shape[3]))
    return [slice(start, start + step) for start in range(0, len(images), step)]


def _titles(names: Sequence[str], forms: Mapping[str, str]) -> list[dict[str, str]]:
    """The names of the files of each image, by form; no two are the same, whatever the images are called."""
    suffixes = [suffix for suffix in forms.values() for _ in names]
    every = answer_names([*names] * len(forms), suffixes)
    return [dict(zip(forms, every[place :: len(names)], strict=True)) for place in range(len(names))]


def own_sizes(given: UserImages) -> dict[int, tuple[int, int]]:
    """(H, W) of each image that can be read, by its position."""
    sizes: dict[int, tuple[int, int]] = {}
    if len(given.split):
        sizes |= {place: (h, w) for place, (h, w) in zip(given.places, given.split.images.sizes.tolist(), strict=True)}
    return sizes | {place: (image.shape[-2], image.shape[-1]) for place, image in given.floats.items()}


def in_own_px(
    prediction: Any, input: Tensor, own: Mapping[int, tuple[int, int]], places: Sequence[int], fit: Fit = "squash"
) -> Any:
    """The answers with their coordinates in the px of the images themselves, which the model may have seen fitted to its size."""
    if not isinstance(prediction, Target):
        return prediction
    seen = torch.tensor(input.shape[2:], device=input.device)
    sizes = torch.tensor([own[place] for place in places], dtype=torch.float32, device=input.device)  # (B, 2) H, W
    if bool((sizes == seen).all()):
        return prediction
    if fit == "squash":
        return prediction.scaled((sizes / seen).flip(1))
    size = (input.shape[2], input.shape[3])
    parts = placements(np.array([own[place] for place in places]), size, fit)
    scale, offset = (torch.from_numpy(part).to(input.device) for part in parts)
    return prediction.unfitted(scale, offset, sizes.flip(1))


def _drawn(
    run: Run, given: UserImages, places: Sequence[int], prediction: Any, written: Sequence[dict[str, Any]]
) -> list[dict[str, Any]]:
    """The rows with pictures of the answers on their images."""
    assert isinstance(run.task, DrawsAnswers)
    stored = {place: row for row, place in enumerate(given.places)}
    rows = []
    for k, (place, row) in enumerate(zip(places, written, strict=True)):
        if place in stored:
            image = given.split.images.read(stored[place], 3)
        else:
            image = (to_channels(given.floats[place], 3).clamp(0, 1) * 255).round().to(torch.uint8).cpu().numpy()
        rows.append({**row, "picture": run.task.drawn(image, prediction[[k]].to("cpu"), run.classes)})
    return rows


def _with_box(row: dict[str, Any], box: tuple[float, float, float, float]) -> dict[str, Any]:
    """A row with the box in which its answer was looked for, after the name."""
    sides = {end: round(place, 2) for end, place in zip(("x0", "y0", "x1", "y1"), box, strict=True)}
    return {"name": row["name"], "box": sides, **row}


def _with_depth(row: dict[str, Any], prediction: Any, k: int, scale: Scale | None, pages: int | None) -> dict[str, Any]:
    """The row of an image of more than 8 bits: which values were black and white, and a picture with as many as it had.

    Where only the first page of a file was read, the row says so.
    """
    if pages is not None:
        row = {**row, "page": f"first of {pages:,}"}
    if scale is None:
        return row
    if isinstance(prediction, Picture) and "picture" in row:
        row = {**row, "picture": scale.values(prediction.pixels[k].cpu().numpy())}
    return {**row, "range": [scale.low, scale.high]}


def sound_inputs(
    run: Run, given: UserImages, batch_size: int, faults: dict[int, str]
) -> Iterator[tuple[list[int], Tensor]]:
    """Batches of positions and inputs; an image that turns out to be damaged is left out, and joins `faults`."""
    device = own_device()
    parts = given.by_channels() if run.task.restores else {run.channels: given}
    for channels, part in parts.items():
        done: set[int] = set()
        try:
            for places, input in inputs(run, part, batch_size, device, channels):
                done.update(places)
                yield places, input
        except DataError:
            left = part.only({*part.places, *part.floats} - done)
            sound = decodable(left, channels, None if run.task.keeps_size else run.size)
            if sound.faults.keys() == left.faults.keys():
                raise
            faults |= sound.faults
            yield from inputs(run, sound, batch_size, device, channels)


def _restored(run: Run, model: nn.Module, input: Tensor) -> Any:
    """The answer; for tasks that restore images, with as many planes as the images have."""
    if not run.task.restores or input.shape[1] == run.channels:
        return answer(run.task, model, input)
    return Picture(through_planes(lambda planes: answer(run.task, model, planes).pixels, input, run.channels))


def inputs(
    run: Run,
    given: UserImages,
    batch_size: int,
    device: torch.device,
    channels: int | None = None,
    *,
    seen: bool = False,
) -> Iterator[tuple[list[int], Tensor]]:
    """Batches of positions and inputs (B, C, H, W) float32 in [0, 1]; float arrays come one by one and are not rounded.

    Which images come together follows from their positions, `batch_size` after `batch_size`, with gaps where some are missing: the
    last bits of an answer may depend on it, and then those of a part of the images are the same as those of all.

    C is that of the model's images, or the number of channels that is asked for. With `seen`, images are as the model itself
    sees them.
    """
    if len(given.split):
        groups = np.asarray(given.places, np.int64) // batch_size
        for batch in run_batches(run, given.split, batch_size, device, channels=channels, seen=seen, groups=groups):
            yield [given.places[int(i)] for i in batch.index], unit(batch.images)
    for place, image in given.floats.items():
        input = to_channels(image[None].to(device), channels or run.channels)  # (1, C, H, W)
        if not _own_size(run.task, seen):
            input = fit_floats(input, run.size, run.task.fitting)
        yield [place], input


def run_batches(
    run: Run,
    split: Split,
    batch_size: int,
    device: torch.device,
    fingerprint: str | None = None,
    channels: int | None = None,
    *,
    seen: bool = False,
    groups: NDArray[np.int64] | None = None,
) -> Iterator[Batch]:
    """A split's images as the run's task takes them: fitted to its model's size, or at their own for tasks that keep it.

    Without a fingerprint, no store is kept for later. Images of two groups (N,) are in no batch together. With `seen`, images are as
    the model itself sees them: a task that answers at their own size may resize them for it.
    """
    if _own_size(run.task, seen):
        own, deep = channels or run.channels, run.task.restores
        return own_size_batches(split, own, batch_size, device, deep=deep, groups=groups)
    memory, disk = (0.25, 0.5) if fingerprint is not None else (0.0, 0.0)
    kept = store(
        split,
        run.size,
        channels or run.channels,
        fit=run.task.fitting,
        deep=run.task.restores,
        memory_share=memory,
        disk_share=disk,
        fingerprint=fingerprint or "",
    )
    return kept.batches(batch_size, device, groups=groups)


def _own_size(task: AnyTask, seen: bool) -> bool:
    return task.keeps_size and (task.crops or not seen)


@torch.no_grad()
def answer(task: AnyTask, model: nn.Module, input: Tensor) -> Any:
    """The model's answer for inputs (B, C, H, W) float32 in [0, 1]."""
    return task.predict(model, input)


def own_device() -> torch.device:
    """The first GPU, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
