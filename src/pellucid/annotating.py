# SPDX-License-Identifier: Apache-2.0
"""Answers as annotations: the images with what was found on them, as a dataset that can be opened, mended and trained on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from pellucid.data.annotations.records import Annotated, Instance
from pellucid.data.dataset import Dataset, Images, Split
from pellucid.data.given import Arrays, UserImages
from pellucid.predictions import Answers
from pellucid.run import Run
from pellucid.tasks import AnnotatesAnswers

__all__ = ["annotated", "beside"]

_RESULTS = "coco-results.json"
_PART = "train"  # who mends answers wants to train on them; other splits are cut from it when it is opened


def beside(forms: Sequence[str]) -> list[str]:
    """The files that are written beside the folders of these forms."""
    return [_RESULTS] if "coco" in forms else []


def annotated(
    run: Run, given: UserImages, rows: Sequence[Mapping[str, Any]], answers: Answers, form: str
) -> Sequence[str]:
    """Write the answered images with their objects into the folder `form` of the answers; returns what the form cannot hold.

    Beside COCO's lie the same boxes in its form for results, with their scores.

    Args:
        run: whose task annotates.
        given: the images.
        rows: the answers, in the order of the images.
        answers: where.
        form: coco, voc or yolo.
    """
    from pellucid.data.annotations.converting import write_files
    from pellucid.data.annotations.writing import coco

    task = run.task
    assert isinstance(task, AnnotatesAnswers)
    places = [place for place, row in enumerate(rows) if "error" not in row]
    if not places:
        return []
    images = _images(given, places)
    names = [given.names[place] for place in places]
    records = [
        Annotated(name, _as_held(task.annotations(rows[place]), form), (int(height), int(width)), _PART)
        for name, place, (height, width) in zip(names, places, images.sizes.tolist(), strict=True)
    ]
    empty = Split(images.select([]))
    dataset = Dataset("answers", {_PART: Split(images, names=names), "val": empty, "test": empty}, run.classes)
    with answers.folder(form) as folder:
        said = write_files(dataset, {_PART: records}, form, folder)
        scored = coco.results(folder / f"{_PART}.json") if form == "coco" else None
    if scored is not None:
        answers.write(_RESULTS, scored)
    return said[1:]  # the first says what was written


def _as_held(objects: Sequence[Instance], form: str) -> tuple[Instance, ...]:
    """The objects as a form holds them: YOLO has no place for scores, which the table of the answers has."""
    return tuple(one.replace(more=None) if form == "yolo" else one for one in objects)


def _images(given: UserImages, places: Sequence[int]) -> Images:
    """The images at these positions."""
    stored = {place: row for row, place in enumerate(given.places)}
    if not given.floats:
        return given.split.images.select([stored[place] for place in places])
    arrays = []
    for place in places:
        if place in stored:
            own = given.split.images.select([stored[place]])
            arrays.append(own.read(0, own.channels))
        else:
            arrays.append((given.floats[place].clamp(0, 1) * 255).round().to(torch.uint8).numpy())
    return Arrays([np.ascontiguousarray(array) for array in arrays])
