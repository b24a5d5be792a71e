# SPDX-License-Identifier: Apache-2.0
"""Detections as rows: counts and boxes of an image, and as annotations that the writers of datasets take."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from pellucid.data.annotations.records import Instance
from pellucid.tasks.detect.objects import Detected

__all__ = ["LISTED", "instances", "rows"]

LISTED = "detections"
"""The entry of a row that lists the boxes."""

_SIDES = ("x0", "y0", "x1", "y1")


def rows(answer: Detected, names: Sequence[str], classes: Sequence[str]) -> list[dict[str, Any]]:
    """A row for each image: how many objects of each class it has, and each of them, the surest first.

    Args:
        answer: in px of the images.
        names: of the images.
        classes: their names.
    """
    answered, found = answer.answered, []
    assert answered.scores is not None
    columns = zip(
        names, answered.corners, answered.labels, answered.scores, answer.threshold.double().tolist(), strict=True
    )
    for name, corners, labels, scores, least in columns:
        listed = [
            {
                "label": classes[label],
                "score": round(score, 6),
                **{side: round(place, 2) for side, place in zip(_SIDES, box, strict=True)},
                "width": round(box[2] - box[0], 2),
                "height": round(box[3] - box[1], 2),
            }
            for box, label, score in zip(corners.tolist(), labels.tolist(), scores.tolist(), strict=True)
        ]
        tally = Counter(row["label"] for row in listed)
        found.append(
            {
                "name": name,
                "objects": len(listed),
                "counts": {title: tally[title] for title in classes},
                "threshold": round(least, 6),
                LISTED: listed,
            }
        )
    return found


def instances(row: Mapping[str, Any]) -> tuple[Instance, ...]:
    """The objects of a row, in px of the image."""
    return tuple(
        Instance(one["label"], (one["x0"], one["y0"], one["x1"], one["y1"]), more={"score": one["score"]})
        for one in row[LISTED]
    )
