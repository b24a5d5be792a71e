# SPDX-License-Identifier: Apache-2.0
"""Answers of `predict`: rows of points, and further files in the forms that other programs read."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

from pellucid.errors import check_choice
from pellucid.tasks._answering import PredictOptions
from pellucid.tasks.landmarks.places import Placed

__all__ = ["LandmarkOptions", "blank", "files", "rows"]

_FORMS = ("pts", "coco")


@final
@dataclass(frozen=True)
class LandmarkOptions(PredictOptions):
    """Options of `predict` for landmarks."""

    crop: str = ""
    """folder of a run of localize or detect that finds the object; the answer is looked for around its most certain box"""
    boxes: str = ""
    """CSV table with the box of each image: name, x0, y0, x1, y1 in px"""
    also: tuple[str, ...] = ()
    """further forms of the answers: pts, a file for each image that counts from 1 as those of 300-W; coco, COCO keypoints"""

    def __post_init__(self) -> None:
        asked: Any = self.also
        given = (asked,) if isinstance(asked, str) else tuple(asked or ())
        object.__setattr__(self, "also", given)
        for form in given:
            check_choice("also", form, _FORMS)
        for name in ("crop", "boxes"):
            value = getattr(self, name)
            object.__setattr__(self, name, "" if value is None else str(value))


def rows(prediction: Placed, names: Sequence[str], titles: Sequence[str]) -> list[dict[str, Any]]:
    """A row for each image: how certain the heat maps are, and x and y of each point in px, by the point's name."""
    found = []
    for i, (name, xy) in enumerate(zip(names, prediction.xy.tolist(), strict=True)):
        row: dict[str, Any] = {"name": name}
        if prediction.score is not None:
            row["certainty"] = round(float(prediction.score[i].mean()), 4)
        points = {title: {"x": round(x, 2), "y": round(y, 2)} for title, (x, y) in zip(titles, xy, strict=True)}
        found.append({**row, "points": points})
    return found


def blank(name: str, why: str, titles: Sequence[str]) -> dict[str, Any]:
    """The row of an image without an answer.

    >>> blank("a.jpg", "no object was found", ["tip"])["points"]
    {'tip': {'x': None, 'y': None}}
    """
    sides = dict.fromkeys(("x0", "y0", "x1", "y1"))
    return {"name": name, "box": sides, "points": {title: {"x": None, "y": None} for title in titles}, "note": why}


def files(
    rows: Sequence[Mapping[str, Any]],
    titles: Sequence[str],
    sizes: Sequence[tuple[int, int]],
    options: LandmarkOptions,
    names: Sequence[str],
    lines: Sequence[tuple[int, int]],
) -> dict[str, bytes]:
    """The further files that are asked for.

    Args:
        rows: the answers; those without points have no file.
        titles: a name without ending for each row's file.
        sizes: (H, W) of each image in px.
        options: which forms.
        names: of the points.
        lines: pairs of points that a line joins.
    """
    found: dict[str, bytes] = {}
    if "pts" in options.also:
        found |= {f"{title}.pts": _pts(row) for row, title in zip(rows, titles, strict=True) if _answered(row)}
    if "coco" in options.also:
        found["keypoints.json"] = json.dumps(_coco(rows, sizes, names, lines), ensure_ascii=False, indent=1).encode()
    return found


def _answered(row: Mapping[str, Any]) -> bool:
    """Whether a row has points: not that of a damaged image, or of one in which nothing was found."""
    return all(one["x"] is not None for one in row["points"].values()) if "points" in row else False


def _places(row: Mapping[str, Any]) -> list[tuple[float, float]]:
    return [(one["x"], one["y"]) for one in row["points"].values()]


def _pts(row: Mapping[str, Any]) -> bytes:
    """The file of an image's points; the form counts from 1 (Sagonas et al. 2013)."""
    places = [f"{x + 1:.2f} {y + 1:.2f}" for x, y in _places(row)]
    return "\n".join(["version: 1", f"n_points: {len(places)}", "{", *places, "}", ""]).encode()


def _coco(
    rows: Sequence[Mapping[str, Any]],
    sizes: Sequence[tuple[int, int]],
    names: Sequence[str],
    lines: Sequence[tuple[int, int]],
) -> dict[str, Any]:
    """https://cocodataset.org/#format-data: an object for each image with points; the category of their kind is 1."""
    images: list[dict[str, Any]] = []
    objects: list[dict[str, Any]] = []
    for number, (row, (height, width)) in enumerate(zip(rows, sizes, strict=True), 1):
        if "error" in row:
            continue
        images.append({"id": number, "file_name": row["name"], "height": height, "width": width})
        if not _answered(row):
            continue
        places = _places(row)
        left, top = (min(own) for own in zip(*places, strict=True))
        right, low = (max(own) for own in zip(*places, strict=True))
        box = [left, top, right - left, low - top]
        one: dict[str, Any] = {
            "id": len(objects) + 1, "image_id": number, "category_id": 1, "iscrowd": 0,
            "bbox": [round(side, 2) for side in box], "area": round(box[2] * box[3], 2),
            "num_keypoints": len(places), "keypoints": [end for x, y in places for end in (x, y, 2)],
        }  # fmt: skip
        objects.append(one | ({"score": row["certainty"]} if "certainty" in row else {}))
    category = {"id": 1, "name": "object", "keypoints": list(names), "skeleton": [[a + 1, b + 1] for a, b in lines]}
    return {"images": images, "annotations": objects, "categories": [category]}
