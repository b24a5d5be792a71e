# SPDX-License-Identifier: Apache-2.0
"""Boxes in which a run looks for its answers: found by another run, or given in a table."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeAlias, final

import numpy as np
import torch
from torch import Tensor, nn

from pellucid.answering import in_own_px, own_sizes, sound_inputs
from pellucid.data.cropping import LEAST, Crops, cropped, squares
from pellucid.data.given import UserImages
from pellucid.data.targets import Target
from pellucid.errors import UsageError
from pellucid.run import Run
from pellucid.tasks import AnswersInBoxes, FindsBoxes

__all__ = ["Boxed", "boxed", "boxes_found", "boxes_given", "looked_into"]

Corners: TypeAlias = tuple[float, float, float, float]
_COLUMNS = ("x0", "y0", "x1", "y1")


@final
@dataclass(frozen=True)
class Boxed:
    """The parts of images in which a run looks, and what they are parts of."""

    given: UserImages  # the parts, under the positions of their images
    boxes: Mapping[int, Corners]  # position -> the box that was found or given, in px of the whole image
    starts: Mapping[int, tuple[int, int]]  # position -> x, y of the part's upper left corner
    without: Mapping[int, str] = field(default_factory=dict)  # position -> why there is nothing to look into

    def back(self, prediction: Any, places: Sequence[int]) -> Any:
        """Answers for parts, in their px, in px of the whole images."""
        if not isinstance(prediction, Target):
            return prediction
        start = torch.tensor([self.starts[place] for place in places], dtype=torch.float32)
        return prediction.to("cpu").resized(torch.ones_like(start), start, (0, 0))


def looked_into(
    task: AnswersInBoxes, options: Any, given: UserImages, batch_size: int, device: torch.device
) -> Boxed | None:
    """The boxes that the options `crop` or `boxes` ask for; None where neither is given, and images are seen whole.

    Raises:
        UsageError: both are given, or one that cannot be used.
    """
    if options.crop and options.boxes:
        raise UsageError("crop, boxes: both say where to look; give one of them.")
    if options.crop:
        found = boxes_found(options.crop, given, batch_size, device)
        return boxed(given, found, task.around, "no object was found")
    if options.boxes:
        return boxed(given, boxes_given(options.boxes, given), task.around, "no box was given")
    return None


def boxed(given: UserImages, boxes: Mapping[int, Corners], around: float, lacking: str) -> Boxed:
    """Squares around one box of each image, as the images to answer.

    Args:
        given: the images.
        boxes: by the positions of the images, in px.
        around: how much is seen around a box, in shares of its longer side.
        lacking: why an image has no box.
    """
    sizes = own_sizes(given)
    without: dict[int, str] = {}
    for place, (height, width) in sizes.items():
        if place not in boxes:
            without[place] = lacking
            continue
        x0, y0, x1, y1 = boxes[place]
        if max(x1 - x0, y1 - y0) < LEAST:
            without[place] = f"the box is below {LEAST} px"
        elif x0 >= width or y0 >= height or x1 <= 0 or y1 <= 0:
            without[place] = "the box lies beside the image"
    kept = {place: boxes[place] for place in sizes if place not in without}
    corners = dict(zip(kept, squares(np.array([*kept.values()], np.float64), around), strict=True))
    own = given.only(kept)
    stored = np.array([corners[place] for place in own.places], np.int64).reshape(-1, 4)
    split = replace(own.split, images=Crops(own.split.images, stored))
    floats = {place: torch.from_numpy(cropped(image.numpy(), corners[place])) for place, image in own.floats.items()}
    starts = {place: (int(ends[0]), int(ends[1])) for place, ends in corners.items()}
    return Boxed(replace(own, split=split, floats=floats), kept, starts, without)


def boxes_found(crop: str | Path, given: UserImages, batch_size: int, device: torch.device) -> dict[int, Corners]:
    """The most certain box of each image, by a run that finds boxes; none for an image in which it finds nothing.

    Raises:
        UsageError: the run finds no boxes.
    """
    finder = Run(crop)
    if not isinstance(finder.task, FindsBoxes):
        name = finder.info["task"]["name"]
        raise UsageError(
            f"crop={str(crop)!r}: is a run of {name}, which finds no boxes; name a run of localize or detect."
        )
    model: nn.Module = finder.model().to(device)
    found: dict[int, Corners] = {}
    sizes, faults = own_sizes(given), dict(given.faults)
    for places, input in sound_inputs(finder, given, batch_size, faults):
        with torch.no_grad():
            found_in = finder.task.predict(model, input)
            prediction = in_own_px(found_in, input, sizes, places, finder.task.fitting)
        boxes = finder.task.boxes_of(prediction.to("cpu"))
        for k, place in enumerate(places):
            own: Tensor = boxes.corners[k]
            if len(own):
                best = 0 if boxes.scores is None else int(boxes.scores[k].argmax())
                x0, y0, x1, y1 = own[best].tolist()
                found[place] = x0, y0, x1, y1
    return found


def boxes_given(table: str | Path, given: UserImages) -> dict[int, Corners]:
    """The boxes in a CSV table with the columns name, x0, y0, x1 and y1, by the images' names or the names of their files.

    Raises:
        UsageError: the table cannot be read, has other columns or a cell that is no number, or names an image twice.
    """
    title = f"boxes={str(table)!r}"
    try:
        with open(Path(table).expanduser(), newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            columns, rows = list(reader.fieldnames or ()), list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as fault:
        raise UsageError(f"{title}: cannot be read ({type(fault).__name__}); name a CSV file.") from fault
    # of the table that `predict` writes too, whose columns are box.x0 …
    ends = next(
        (names for names in (_COLUMNS, tuple(f"box.{end}" for end in _COLUMNS)) if {*names} <= {*columns}), None
    )
    if ends is None or "name" not in columns:
        raise UsageError(f"{title}: has the columns {', '.join(columns) or 'none'}; give name, x0, y0, x1 and y1.")
    known: dict[str, Corners] = {}
    for line, row in enumerate(rows, 2):
        cells = [(row[end] or "").strip() for end in ends]
        name = (row["name"] or "").strip()
        if not any(cells):  # nothing was found there
            continue
        try:
            x0, y0, x1, y1 = map(float, cells)
        except ValueError:
            raise UsageError(f"{title}: line {line} has a side of a box that is no number; correct it.") from None
        if not np.isfinite([x0, y0, x1, y1]).all():
            raise UsageError(f"{title}: line {line} has a side of a box that is not finite; correct it.")
        if name in known:
            raise UsageError(f"{title}: line {line} has a second box of {name}; give one box for each image.")
        known[name] = x0, y0, x1, y1
    found = {}
    for place, name in enumerate(given.names):
        for own in (name, name.rpartition("/")[2]):
            if own in known:
                found[place] = known[own]
                break
    if not found:
        raise UsageError(f"{title}: names none of the images; write their names as predict prints them.")
    return found
