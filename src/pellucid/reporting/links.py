# SPDX-License-Identifier: Apache-2.0
"""The linked part of a page: a cell of the confusion matrix → its images → their neighbours → their maps.

It works without scripts: every link leads to a panel on the page, and CSS shows a panel while it is the link's target.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, final

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from pellucid import _catalog
from pellucid.errors import PellucidError, UsageError
from pellucid.lenses import Evaluation, Network, Splits, View
from pellucid.looking.subjects import Subject
from pellucid.reporting import formatting
from pellucid.reporting.maps import NEAREST, Neighbour, mapped, nearest, pictured, plain, searched
from pellucid.reporting.matrix import cell_id, cell_words, matrix
from pellucid.reporting.pictures import thumbnail
from pellucid.run import Run

__all__ = ["Links", "links"]

_WRONG, _RIGHT = 8, 3  # most images of a cell off the diagonal, and of one on it
_IMAGES = 200  # most images with a panel
_ANSWERS = 12  # of these, the worst and the best answers
_SIDE, _LARGE = 64, 192  # px: a thumbnail, and the image in its panel


@final
@dataclass(frozen=True)
class Links:
    """What the template shows in the linked part."""

    matrix: dict[str, Any] | None = None  # the picture and the rectangles of its cells
    words: str = ""  # caption of the matrix
    cells: list[dict[str, Any]] = field(default_factory=list)
    images: list[dict[str, Any]] = field(default_factory=list)
    overviews: list[dict[str, str]] = field(default_factory=list)  # pictures of all images through one lens
    shown: str = ""  # which images are on the page
    missing: list[str] = field(default_factory=list)  # what is not on the page, and why
    small: Mapping[int, str] = field(default_factory=dict)  # thumbnails of the images with a panel


def links(run: Run, subject: Subject, answers: Sequence[Mapping[str, Any]], maps: int) -> Links:
    """Cells, images, neighbours and maps of an evaluated run.

    Args:
        run: the run.
        subject: what lenses look at.
        answers: the worst and the best answers, with the positions of their images as "places".
        maps: number of images with maps.
    """
    evaluation, network, splits = subject.part(Evaluation), _network(subject), subject.part(Splits)
    if evaluation is None:
        return Links(overviews=_unmeasured(subject, network, maps))
    missing: list[str] = []
    try:
        view: View | None = subject.look(_catalog.find("lenses", "confusion")(pairs=0))
    except UsageError as fault:
        view = None
        missing.append(plain(fault))
    listed = _by_cell(view)
    if evaluation.images is None or network is None or splits is None:
        missing.append("images with their neighbours and maps: the data or the weights are not available.")
        return Links(matrix(view, evaluation, {}), view.words if view else "", missing=missing)
    shown, chosen = _chosen(listed, answers)
    images, names = _fetched(evaluation, chosen)
    near, reason = nearest(subject, images, names)
    missing += [reason] if reason else []
    first = {place: images[place] for place in chosen[: max(0, maps)]}
    maps_of, overviews, reasons = mapped(subject, first, names) if first else ({}, [], [])
    missing += reasons
    small = {place: thumbnail(image, _SIDE) for place, image in images.items()}
    cells = [
        {
            "id": cell_id(cell),
            "title": cell_words(view, evaluation, cell),
            "images": [(place, names[place]) for place in shown[cell]],
            "count": int(view["confusion"][cell]) if view else 0,
            "wrong": cell[0] != cell[1],
        }
        for cell in shown
    ]
    fullest = [max((len(p) for c, p in shown.items() if (c[0] == c[1]) is right), default=0) for right in (False, True)]
    return Links(
        matrix(view, evaluation, shown),
        view.words if view else "",
        cells,
        _panels(run, evaluation, splits, images, names, near, maps_of, shown),
        overviews,
        _shown(
            len(images),
            len(next(iter(evaluation.records.values()))),
            fullest,
            searched(next(iter(images.values()))) if near else 0,
            sum(map(bool, maps_of.values())),
        ),
        missing,
        small,
    )


def _network(subject: Subject) -> Network | None:
    """The model with a few images; None if the data or the weights are gone."""
    try:
        return subject.part(Network)
    except PellucidError:
        return None


def _unmeasured(subject: Subject, network: Network | None, maps: int) -> list[dict[str, str]]:
    """Maps of a few images of a run that has not been evaluated yet."""
    few = list(network.images)[:maps] if network is not None else []
    if network is None or not few:
        return []
    return mapped(subject, dict(enumerate(few)), {i: network.name(i) for i in range(len(few))})[1]


def _by_cell(view: View | None) -> dict[tuple[int, int], list[int]]:
    """Positions of the first images of each cell: cells off the diagonal first, then the fullest first."""
    if view is None or not len(view["cell_image"]):
        return {}
    members: dict[tuple[int, int], list[int]] = {}
    for true, predicted, place in view["cell_image"].tolist():
        members.setdefault((true, predicted), []).append(place)
    fullest = sorted(members, key=lambda cell: (cell[0] == cell[1], -int(view["confusion"][cell])))
    for wrong, right in [(_WRONG, _RIGHT), *((most, 1) for most in range(_WRONG, 0, -1))]:
        # too many images: take fewer of each cell rather than drop cells
        few = {cell: members[cell][: right if cell[0] == cell[1] else wrong] for cell in fullest}
        if sum(map(len, few.values())) <= _IMAGES - _ANSWERS:
            break
    return few


def _chosen(
    listed: Mapping[tuple[int, int], list[int]], answers: Sequence[Mapping[str, Any]]
) -> tuple[dict[tuple[int, int], list[int]], list[int]]:
    """The cells whose images are shown, and all images in the order in which they get maps.

    First one image from each of the four fullest cells off the diagonal, then the worst answers, then the other images of cells.
    """
    wrong = [places[0] for cell, places in listed.items() if cell[0] != cell[1]][:4]
    chosen = dict.fromkeys([*wrong, *(place for group in answers for place in group.get("places", ()))])
    shown: dict[tuple[int, int], list[int]] = {}
    for cell, places in listed.items():
        if len({*chosen, *places}) > _IMAGES:
            continue
        shown[cell] = places
        chosen |= dict.fromkeys(places)
    return shown, [*chosen]


def _fetched(evaluation: Evaluation, places: Sequence[int]) -> tuple[dict[int, Tensor], dict[int, str]]:
    """Images as the model takes them, and their names, by position in the given order."""
    assert evaluation.images is not None
    images: dict[int, Tensor] = {}
    names: dict[int, str] = {}
    for batch in evaluation.images(sorted(places)):
        for i, image, name in zip(batch.index.tolist(), batch.images, batch.names, strict=True):
            images[i], names[i] = image, name
    return {place: images[place] for place in places}, names


def _panels(
    run: Run,
    evaluation: Evaluation,
    splits: Splits,
    images: Mapping[int, Tensor],
    names: Mapping[int, str],
    near: Mapping[int, list[Neighbour]],
    maps: Mapping[int, list[dict[str, str]]],
    shown: Mapping[tuple[int, int], list[int]],
) -> list[dict[str, Any]]:
    """A panel for each image: its classes or its measure, its neighbours and its maps."""
    small = pictured(splits, [neighbour for own in near.values() for neighbour in own], _SIDE)
    values = None if run.main.each is None else np.asarray(run.main.each(evaluation.records), np.float64)
    cell_of = {place: cell for cell, places in shown.items() for place in places}
    panels = []
    for place, image in images.items():
        words = ""
        if {"true", "predicted"} <= set(evaluation.records) and evaluation.classes:
            true, predicted = (evaluation.label(int(evaluation.records[name][place])) for name in ("true", "predicted"))
            words = f"{true}, classified correctly" if true == predicted else f"{true} taken for {predicted}"
        elif "confused" in evaluation.records:
            words = _objects(evaluation.records["confused"][place])
        elif values is not None and np.isfinite(values[place]):
            words = f"{run.main.title} {formatting.number(float(values[place]))}"
        panels.append(
            {
                "id": place,
                "name": names[place],
                "picture": thumbnail(image, _LARGE),
                "words": words,
                "cell": cell_id(cell_of[place]) if place in cell_of else "",
                "neighbours": [
                    {
                        "picture": small[other["split"], other["place"]],
                        "about": " ".join(
                            [other["split"], *([evaluation.label(other["label"], 14)] if other["label"] >= 0 else [])]
                        ),
                        "name": other["name"],
                        "distance": f"{other['distance']:.3g}",
                        # a neighbour that has a panel of its own links to it
                        "id": other["place"]
                        if other["split"] == evaluation.split and other["place"] in images
                        else None,
                    }
                    for other in near.get(place, ())
                ],
                "maps": maps.get(place, []),
            }
        )
    return panels


def _objects(pairs: NDArray[np.int64]) -> str:
    """What became of an image's objects, given the true and the predicted classes (n, 2), −1 for none."""
    objects, alarms = pairs[pairs[:, 0] >= 0], int((pairs[:, 0] < 0).sum())
    right = int((objects[:, 0] == objects[:, 1]).sum())
    return f"{right:,} of {len(objects):,} objects found, {alarms:,} false {'alarm' if alarms == 1 else 'alarms'}"


def _shown(images: int, of: int, fullest: Sequence[int], near: int, maps: int) -> str:
    """Which of the evaluated images are on the page."""
    words = f"{images:,} of {of:,} images are on this page: the worst and the best answers"
    if any(fullest):
        words += f", and up to {fullest[0]} mistakes or {fullest[1]} correct answers per cell"
    if near:
        words += f". Their {NEAREST} nearest neighbours are searched among up to {near:,} images of each split"
    return f"{words}. {maps} of them have maps (--maps N changes the number)." if maps else f"{words}."
