# SPDX-License-Identifier: Apache-2.0
"""proposals: the way of an image through a detector, from the grid of boxes to what is left after suppression."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from pellucid.lenses._contract import Lens, View
from pellucid.lenses._images import stacked
from pellucid.lenses._parts import Network
from pellucid.lenses.proposals.figure import figure
from pellucid.lenses.proposals.way import ENOUGH, STRICT, Way, way_of

__all__ = ["Proposals"]

STEPS = ("grid", "candidates", "proposals", "regions", "answers")
_AXES = {
    "counts": ("image", "step"),
    "steps": ("step",),
    "size": ("image", "height and width"),
    "grid": ("image", "box", "x0 y0 x1 y1"),
    "objectness": ("image", "box"),
    "objectness_map": ("image", "y", "x"),
    "candidates": ("image", "candidate", "x0 y0 x1 y1"),
    "candidate_score": ("image", "candidate"),
    "covered": ("image", "candidate"),
    "regions": ("image", "region", "x0 y0 x1 y1"),
    "region_score": ("image", "region"),
    "probability": ("image", "region", "background and classes"),
    "map": ("image", "channel", "y", "x"),
    "stride": ("image",),
    "shown": ("image", "shown"),
    "pooled": ("image", "shown", "channel", "y", "x"),
    "answers": ("image", "answer", "x0 y0 x1 y1"),
    "answer_label": ("image", "answer"),
    "answer_score": ("image", "answer"),
    "threshold": ("image",),
    "objects": ("image",),
    "found": ("image", "step", "IoU"),
    "names": ("image",),
    "classes": ("class",),
}


@final
@dataclass(frozen=True)
class Proposals(Lens[Network]):
    """The way of an image through a detector: proposals, regions on the feature map, pooled values, scores, answers.

    For each image `counts` says how many boxes each step leaves: the `grid`; the `candidates`, its best boxes, moved to where
    objects seem to be; the proposals, those that no better one covers; the `regions` that are classified, which are the best
    proposals; and the `answers` that are left after suppression and reach the threshold. `objectness` and `probability`
    (background first) are probabilities, `pooled` holds the values of the regions (`shown`) of the best answers. Where the
    truth is known, `found` counts the objects that a box of each step fits, with an IoU of at least 0.5 and 0.7.
    """

    def look(self, network: Network) -> View:
        ways = [
            way_of(network, place)
            for place, _ in enumerate(network.progress(range(len(network.images)), "following the images"))
        ]
        numbers = _numbers(network, ways)
        return View(
            figure(network, ways),
            numbers,
            _words(ways),
            {name: _AXES[name] for name in numbers},
            {"proposals.csv": _table(network, ways)},
        )


def _steps(one: Way) -> list[NDArray[np.float32]]:
    """The boxes after each step."""
    return [one.grid, one.candidates, one.proposals, one.regions, one.answers[one.answered]]


def _numbers(network: Network, ways: Sequence[Way]) -> dict[str, NDArray[Any]]:
    known = [one for one in ways if one.truth is not None]
    numbers: dict[str, NDArray[Any]] = {
        "counts": np.array([[len(boxes) for boxes in _steps(one)] for one in ways]),
        "steps": np.array(STEPS),
        "size": np.array([one.size for one in ways]),
        "grid": stacked([one.grid for one in ways]),
        "objectness": stacked([one.objectness for one in ways]),
        "objectness_map": stacked([one.objectness_map for one in ways]),
        "candidates": stacked([one.candidates for one in ways]),
        "candidate_score": stacked([one.candidate_scores for one in ways]),
        "covered": stacked([one.covered.astype(np.int8) for one in ways]),
        "regions": stacked([one.regions for one in ways]),
        "region_score": stacked([one.region_scores for one in ways]),
        "probability": stacked([one.probabilities for one in ways]),
        "map": stacked([one.map for one in ways]),
        "stride": np.array([one.stride for one in ways]),
        "shown": stacked([one.shown for one in ways]),
        "pooled": stacked([one.pooled for one in ways]),
        "answers": stacked([one.answers for one in ways]),
        "answer_label": stacked([one.answer_labels for one in ways]),
        "answer_score": stacked([one.answer_scores for one in ways]),
        "threshold": np.array([one.threshold for one in ways]),
        "names": np.array([one.name for one in ways], np.str_),
        "classes": np.array(network.classes, np.str_),
    }
    if len(known) == len(ways):
        numbers["objects"] = np.array([_objects(one) for one in ways])
        numbers["found"] = np.array(
            [[[one.found(boxes, least) for least in (ENOUGH, STRICT)] for boxes in _steps(one)] for one in ways]
        )
    return numbers


def _objects(one: Way) -> int:
    return 0 if one.truth is None else len(one.truth)


def _words(ways: Sequence[Way]) -> str:
    """The way of the first image in numbers, and the recall of all."""
    first = ways[0]
    grid, candidates, proposals, regions, answers = (len(boxes) for boxes in _steps(first))
    start = (
        f"of {grid:,} boxes of the grid the best {candidates:,} are candidates, and {proposals:,} of them are not "
        "covered by a better one."
    )
    if first.searched:
        start = f"selective search proposes {candidates:,} boxes."
    words = (
        f"{first.name}: {start} {regions:,} regions are classified; suppression leaves {answers:,} "
        f"detection{'s' * (answers != 1)} with a score of at least {first.threshold:.2g}."
    )
    known = [one for one in ways if one.truth is not None]
    objects = sum(_objects(one) for one in known)
    if not objects:
        return words
    loose, strict = (sum(one.found(one.regions, least) for one in known) for least in (ENOUGH, STRICT))
    lost = sum(one.found(one.candidates, ENOUGH) for one in known) - loose
    where = "" if len(known) == 1 else f" in {len(known)} images"
    words += (
        f" Of {objects:,} object{'s' * (objects != 1)}{where}, {loose:,} {'has' if loose == 1 else 'have'} a region with "
        f"IoU ≥ {ENOUGH:g}; with IoU ≥ {STRICT:g} it is {strict:,}."
    )
    return f"{words} {lost:,} had one among the candidates only." if lost > 0 else words


def _table(network: Network, ways: Sequence[Way]) -> bytes:
    """A row for each region: its place, its objectness, its most probable class, and the best IoU with a true box."""
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(["image", "rank", "x0", "y0", "x1", "y1", "objectness", "class", "probability", "background", "iou"])
    for one in ways:
        best = one.fit(one.regions).max(1, initial=0.0)
        for rank, (corners, score, shares) in enumerate(
            zip(one.regions.tolist(), one.region_scores.tolist(), one.probabilities, strict=True)
        ):
            index = int(shares[1:].argmax())
            rows.writerow(
                [
                    one.name,
                    rank + 1,
                    *(f"{end:.2f}" for end in corners),
                    f"{score:.6f}",
                    network.label(index, 1000),
                    f"{shares[1 + index]:.6f}",
                    f"{shares[0]:.6f}",
                    "" if one.truth is None else f"{best[rank]:.4f}",
                ]
            )
    return text.getvalue().encode()
