# SPDX-License-Identifier: Apache-2.0
"""COCO: train.json, val.json and test.json beside a folder `images`; https://cocodataset.org/#format-data."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from faster_coco_eval import mask as run_lengths
from numpy.typing import NDArray

from pellucid.data.annotations.mending import decoded_runs
from pellucid.data.annotations.records import Instance, RunLengths
from pellucid.data.annotations.writing.sheets import Sheet, attributes, extent, lost, of_image, plain, tidy

__all__ = ["FORM", "place", "results", "write"]

FORM = "COCO"


def place(part: str, file: str) -> str:
    """Where an image lies."""
    return f"images/{file}"


def write(sheet: Sheet, folder: Path) -> list[str]:
    """Write the annotations of each split that has images; the ids of categories are 1, 2, … in the order of the classes."""
    numbers = {title: i for i, title in enumerate(sheet.classes, 1)}
    categories = _categories(sheet)
    lacking: list[str] = []
    for part, records in sheet.parts.items():
        if not records:
            continue
        images: list[dict[str, Any]] = []
        annotations: list[dict[str, Any]] = []
        for i, record in enumerate(records, 1):
            height, width = record.size or (0, 0)
            images.append({"id": i, "file_name": record.file, "height": height, "width": width})
            for one in record.instances:
                annotations.append(_annotation(one, len(annotations) + 1, i, numbers[one.category]))
                lacking += ["text"] * (one.text is not None)
            lacking += of_image(record)
        content = {"info": {"description": "written by Pellucid"}, "images": images, "annotations": annotations}
        text = json.dumps({**content, "categories": categories}, ensure_ascii=False, separators=(",", ":"))
        text = text.replace('},{"id":', '},\n{"id":').replace('":[{"id":', '":[\n{"id":')
        (folder / f"{part}.json").write_text(text + "\n", encoding="utf-8", errors="backslashreplace")
    return lost(FORM, lacking)


def results(file: Path) -> list[dict[str, Any]]:
    """The objects of a written file in COCO's form for results, each with its score, for tools that compute AP from it.

    Args:
        file: that `write` wrote, of objects whose `more` has a "score".
    """
    written = json.loads(file.read_text(encoding="utf-8"))["annotations"]
    return [
        {**{key: one[key] for key in ("image_id", "category_id", "bbox")}, "score": one["attributes"]["score"]}
        for one in written
    ]


def _categories(sheet: Sheet) -> list[dict[str, Any]]:
    categories: list[dict[str, Any]] = [{"id": i, "name": title} for i, title in enumerate(sheet.classes, 1)]
    with_points = {one.category: len(one.points) for one in sheet.instances if one.points is not None}
    for category in categories:
        if count := with_points.get(category["name"]):
            own = len(sheet.point_names) == count
            category["keypoints"] = list(sheet.point_names) if own else [f"point {i + 1}" for i in range(count)]
            category["skeleton"] = [[a + 1, b + 1] for a, b in sheet.skeleton] if own else []
    return categories


def _annotation(one: Instance, number: int, image: int, category: int) -> dict[str, Any]:
    """One object; its box keeps its corners to the last digit when it is read again."""
    entry: dict[str, Any] = {"id": number, "image_id": image, "category_id": category, "iscrowd": int(one.crowd)}
    area = 0.0
    if one.box is not None and one.box[0] < one.box[2] and one.box[1] < one.box[3]:
        left, top = tidy(one.box[0]), tidy(one.box[1])
        width, height = extent(left, one.box[2]), extent(top, one.box[3])
        entry["bbox"], area = [plain(side) for side in (left, top, width, height)], width * height
    if one.polygons:
        entry["segmentation"] = [[plain(side) for side in part.reshape(-1).tolist()] for part in one.polygons]
        area = sum(_area(part) for part in one.polygons)
    elif one.runs is not None:
        entry["segmentation"] = _runs(one.runs)
        area = float(decoded_runs(one.runs).sum())
    else:
        entry["segmentation"] = []
    entry["area"] = plain(area)
    if one.points is not None:
        entry["keypoints"], entry["num_keypoints"] = _keypoints(one)
    if more := attributes(one):
        entry["attributes"] = more
    return entry


def _area(polygon: NDArray[np.float64]) -> float:
    """The area of a polygon (k, 2), by the shoelace formula."""
    x, y = polygon.T
    return abs(float(x @ np.roll(y, -1) - y @ np.roll(x, -1))) / 2


def _runs(runs: RunLengths) -> dict[str, Any]:
    counts = runs.counts
    if not isinstance(counts, str):
        packed = run_lengths.encode(np.asfortranarray(decoded_runs(runs)))
        counts = packed["counts"].decode()
    return {"size": list(runs.size), "counts": counts}


def _keypoints(one: Instance) -> tuple[list[int | float], int]:
    """x, y and visibility of each keypoint: 0 for one that is missing, otherwise as it was read, or 2."""
    points: NDArray[np.float64] = np.zeros((0, 2)) if one.points is None else one.points
    told = (one.more or {}).get("visibility")
    seen: Sequence[Any] = told if isinstance(told, (list, tuple)) and len(told) == len(points) else [2] * len(points)
    flat: list[int | float] = []
    for (x, y), v in zip(points.tolist(), seen, strict=True):
        flat += [0, 0, 0] if np.isnan(x) or np.isnan(y) else [plain(x), plain(y), int(v) or 2]
    return flat, sum(v > 0 for v in flat[2::3])
