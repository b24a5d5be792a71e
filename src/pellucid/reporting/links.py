# SPDX-License-Identifier: Apache-2.0
"""The linked part of a page: a cell of the confusion matrix → its images → their neighbours → their maps.

Everything is a link to a place on the page, which is shown while it is the one that was asked for: no script runs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, final

import numpy as np
from torch import Tensor

from pellucid import _catalog
from pellucid.errors import UsageError
from pellucid.lenses import Subject, View
from pellucid.reporting.maps import NEAREST, Neighbour, mapped, nearest, pictured, plain, searched
from pellucid.reporting.matrix import cell_id, cell_words, matrix
from pellucid.reporting.pictures import thumbnail
from pellucid.run import Run

__all__ = ["Links", "links"]

_WRONG, _RIGHT = 8, 3  # images of a cell beside the diagonal, and of one on it
_IMAGES = 200  # of which the page shows neighbours
_ANSWERS = 12  # of these, the worst and the best
_SIDE, _LARGE = 64, 192  # px: of a small picture, and of the image that was asked for


@final
@dataclass(frozen=True)
class Links:
    """What the template needs of the linked part."""

    matrix: dict[str, Any] | None = None  # the picture with the places of its cells
    words: str = ""  # of the matrix
    cells: list[dict[str, Any]] = field(default_factory=list)
    images: list[dict[str, Any]] = field(default_factory=list)
    overviews: list[dict[str, str]] = field(default_factory=list)  # the maps' lenses, all images in one picture
    limits: list[str] = field(default_factory=list)  # what of all this is shown
    lacks: list[str] = field(default_factory=list)  # what does not make sense here, and why
    small: Mapping[int, str] = field(default_factory=dict)  # thumbnails of the images that have a place on the page


def links(run: Run, subject: Subject, answers: Sequence[Mapping[str, Any]], maps: int) -> Links:
    """Cells, images, neighbours and maps of an evaluated run.

    Args:
        run: the run.
        subject: what there is to look at.
        answers: groups with the positions ("places") of images that the page shows anyway: the worst, the best.
        maps: of how many images.
    """
    if not subject.records:
        return Links(overviews=_unmeasured(subject, maps))
    lacks: list[str] = []
    try:
        view: View | None = _catalog.find("lenses", "confusion")(pairs=0).look(subject)
    except UsageError as fault:
        view = None
        lacks.append(plain(fault))
    listed = _by_cell(view)
    if not subject.shows_records or subject.model is None:
        lacks.append("Images, their neighbours and their maps are missing: the data or the weights are not at hand.")
        return Links(matrix(view, subject, {}), view.words if view else "", lacks=lacks)
    shown, chosen = _chosen(listed, answers)
    images, names = _fetched(subject, chosen)
    near, lack = nearest(subject, images, names)
    lacks += [lack] if lack else []
    first = {place: images[place] for place in chosen[: max(0, maps)]}
    found, overviews, missing = mapped(subject, first, names) if first else ({}, [], [])
    lacks += missing
    small = {place: thumbnail(image, _SIDE) for place, image in images.items()}
    cells = [
        {
            "id": cell_id(cell),
            "title": cell_words(view, subject, cell),
            "images": [(place, names[place]) for place in shown[cell]],
            "count": int(view["confusion"][cell]) if view else 0,
            "wrong": cell[0] != cell[1],
        }
        for cell in shown
    ]
    limits = [
        _limit(
            len(images),
            subject.counts[subject.evaluated],
            [max((len(p) for c, p in shown.items() if (c[0] == c[1]) is right), default=0) for right in (False, True)],
            searched(next(iter(images.values()))) if near else 0,
            sum(map(bool, found.values())),
        )
    ]
    return Links(
        matrix(view, subject, shown),
        view.words if view else "",
        cells,
        _panels(run, subject, images, names, near, found, shown),
        overviews,
        limits,
        lacks,
        small,
    )


def _unmeasured(subject: Subject, maps: int) -> list[dict[str, str]]:
    """The maps of a few images of a run that is not evaluated yet."""
    few = list(subject.images or ())[:maps] if subject.model is not None else []
    return mapped(subject, dict(enumerate(few)), {i: subject.name(i) for i in range(len(few))})[1] if few else []


def _by_cell(view: View | None) -> dict[tuple[int, int], list[int]]:
    """Positions of the first images of each cell; the cells beside the diagonal first, the fullest first."""
    if view is None or not len(view["cell_image"]):
        return {}
    found: dict[tuple[int, int], list[int]] = {}
    for true, predicted, place in view["cell_image"].tolist():
        found.setdefault((true, predicted), []).append(place)
    fullest = sorted(found, key=lambda cell: (cell[0] == cell[1], -int(view["confusion"][cell])))
    for wrong, right in [(_WRONG, _RIGHT), *((most, 1) for most in range(_WRONG, 0, -1))]:
        # rather fewer images of each cell than cells without
        few = {cell: found[cell][: right if cell[0] == cell[1] else wrong] for cell in fullest}
        if sum(map(len, few.values())) <= _IMAGES - _ANSWERS:
            break
    return few


def _chosen(
    listed: Mapping[tuple[int, int], list[int]], answers: Sequence[Mapping[str, Any]]
) -> tuple[dict[tuple[int, int], list[int]], list[int]]:
    """The cells whose images are shown, and all images in the order in which they are given maps.

    First an image of each of the four fullest cells beside the diagonal, then the worst answers, then the others of the cells.
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


def _fetched(subject: Subject, places: Sequence[int]) -> tuple[dict[int, Tensor], dict[int, str]]:
    """Images as the model takes them and their names, by position, in the given order."""
    assert subject.batches is not None
    images: dict[int, Tensor] = {}
    names: dict[int, str] = {}
    for batch in subject.batches(subject.evaluated, places=sorted(places)):
        for i, image, name in zip(batch.index.tolist(), batch.images, batch.names, strict=True):
            images[i], names[i] = image, name
    return {place: images[place] for place in places}, names


def _panels(
    run: Run,
    subject: Subject,
    images: Mapping[int, Tensor],
    names: Mapping[int, str],
    near: Mapping[int, list[Neighbour]],
    maps: Mapping[int, list[dict[str, str]]],
    shown: Mapping[tuple[int, int], list[int]],
) -> list[dict[str, Any]]:
    """Of each image: what is known of it, its neighbours and its maps."""
    small = pictured(subject, [each for own in near.values() for each in own], _SIDE)
    values = None if run.main.each is None else np.asarray(run.main.each(subject.records), np.float64)
    cell_of = {place: cell for cell, places in shown.items() for place in places}
    panels = []
    for place, image in images.items():
        said = []
        if {"true", "predicted"} <= set(subject.records) and subject.classes:
            true, predicted = (subject.label(int(subject.records[name][place])) for name in ("true", "predicted"))
            said.append(f"{true}, and taken for it" if true == predicted else f"{true}, taken for {predicted}")
        elif values is not None and np.isfinite(values[place]):
            said.append(f"{run.main.title} {values[place]:.4g}")
        panels.append(
            {
                "id": place,
                "name": names[place],
                "picture": thumbnail(image, _LARGE),
                "said": "; ".join(said),
                "cell": cell_id(cell_of[place]) if place in cell_of else "",
                "neighbours": [
                    {
                        "picture": small[each["split"], each["place"]],
                        "about": " ".join(
                            [each["split"], *([subject.label(each["label"], 14)] if each["label"] >= 0 else [])]
                        ),
                        "name": each["name"],
                        "distance": f"{each['distance']:.3g}",
                        "id": each["place"] if each["split"] == subject.evaluated and each["place"] in images else None,
                    }
                    for each in near.get(place, ())
                ],
                "maps": maps.get(place, []),
            }
        )
    return panels


def _limit(images: int, of: int, most: Sequence[int], near: int, maps: int) -> str:
    """What of the evaluated images stands on the page."""
    said = f"Shown are {images:,} of {of:,} images: the worst and the best"
    if any(most):
        said += f", and of a cell up to {most[0]} mistakes or {most[1]} right answers"
    if near:
        said += f"; their {NEAREST} nearest among up to {near:,} images of each split"
    return f"{said}; maps of {maps} of them (--maps makes more)." if maps else f"{said}."
