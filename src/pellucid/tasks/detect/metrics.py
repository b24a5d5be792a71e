# SPDX-License-Identifier: Apache-2.0
"""What is measured of a detector: average precision, precision and recall of its answers, its counts, and its proposals."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from pellucid.data.targets import Boxes
from pellucid.tasks._metrics import Floats, Metric, Weights, summarise
from pellucid.tasks._records import Ragged, Records, joined, rows_of
from pellucid.tasks.detect import counts, errors
from pellucid.tasks.detect.matching import IOUS, RANGES, areas, first_fitting, match, overlaps, padded
from pellucid.tasks.detect.objects import Detected
from pellucid.tasks.detect.precision import answered, mean_precision, ratio

__all__ = ["PROPOSALS", "columns", "details", "metrics", "outcomes", "proposal_recall", "quality"]

PROPOSALS = (50, 100, 300, 1000)  # numbers of the best proposals whose recall is measured
LEVELS = (0.5, 0.7)  # IoUs of these recalls
_MOST_CLASSES = 10  # with a measure of their own; the table by class has all
_AT_ONCE = 32  # images

_HALF, _EVERY = (0,), tuple(range(len(IOUS)))


def columns(answer: Detected, truth: Boxes) -> dict[str, Any]:
    """The records of images, from answers and truths in the same px.

    Ragged over detections, from the most to the least certain: "score", "label", "box", "state" (what became of it, by range
    of areas and IoU), "kind" (of error) and "aim" (position of the true box among the image's). Ragged over the objects that
    count: "true_label", "true_area" (px²), and "rank" of the first proposal that fits each, by IoU. Ragged over objects and
    answers: "confused", the true and the predicted class, −1 for none. And "threshold" (N,).
    """
    parts = [_columns(answer[part], truth[part]) for part in _slices(len(truth))]
    if not parts:
        return _columns(answer, truth)
    return {name: joined([part[name] for part in parts]) for name in parts[0]}


def _slices(count: int) -> Iterator[slice]:
    return (slice(start, start + _AT_ONCE) for start in range(0, count, _AT_ONCE))


def _columns(answer: Detected, truth: Boxes) -> dict[str, Any]:
    orders = [(-_array(row)).argsort(kind="stable") for row in answer.scores]
    scores = [_array(row)[order] for row, order in zip(answer.scores, orders, strict=True)]
    boxes = [_array(row)[order] for row, order in zip(answer.corners, orders, strict=True)]
    labels = [_array(row)[order].astype(np.int64) for row, order in zip(answer.labels, orders, strict=True)]
    theirs = padded(*([_array(row) for row in rows] for rows in (truth.corners, truth.labels)))
    crowd = np.zeros(theirs.labels.shape, bool)
    for i, own in enumerate(truth.ignored or ()):
        crowd[i, : len(own)] = _array(own)
    ours = padded(boxes, labels)
    overlap = overlaps(ours.corners, theirs.corners, crowd)
    matches = match(ours, theirs, crowd, overlap)
    found = errors.kinds(ours, theirs, crowd, overlap, matches)
    counting = (theirs.labels >= 0) & ~crowd & (areas(theirs.corners) > 0)  # an object of no area is nowhere
    place = np.where(counting, counting.cumsum(1) - 1, -1)  # among the objects that count
    at = np.clip(found.aim, 0, None)
    aim = np.where(found.aim < 0, -1, np.take_along_axis(place, at, 1) if place.size else -1)
    lengths = [len(row) for row in scores]
    table: dict[str, Any] = {
        "score": _ragged(scores, np.float32),
        "label": _ragged(labels, np.int32),
        "box": _ragged(boxes, np.float32),
        "state": Ragged.of([row[:n] for row, n in zip(matches.state, lengths, strict=True)]),
        "kind": Ragged.of([row[:n] for row, n in zip(found.kind, lengths, strict=True)]),
        "aim": _ragged([row[:n] for row, n in zip(aim, lengths, strict=True)], np.int32),
        "true_label": _ragged([row[own] for row, own in zip(theirs.labels, counting, strict=True)], np.int32),
        "true_area": _ragged([row[own] for row, own in zip(areas(theirs.corners), counting, strict=True)], np.float32),
        "threshold": _array(answer.threshold).astype(np.float64),
    }
    if answer.proposals is not None:
        proposed = [_array(row) for row in answer.proposals]
        proposals = padded(proposed, [np.zeros(len(row), np.int64) for row in proposed])
        ranks = first_fitting(proposals.corners, theirs.corners, LEVELS)
        table["rank"] = _ragged([row[own] for row, own in zip(ranks, counting, strict=True)], np.int32)
    pairs = errors.confused(table)
    table["confused"] = _ragged([pairs[pairs[:, 0] == i, 1:] for i in range(len(lengths))], np.int32)
    return table


def _array(tensor: Tensor) -> NDArray[Any]:
    return np.asarray(tensor.detach().cpu().numpy())


def _ragged(rows: Sequence[NDArray[Any]], kind: Any) -> Ragged:
    return Ragged.of([row.astype(kind) for row in rows])


def outcomes(classes: Sequence[str]) -> list[str]:
    """The names of the numbers in "confused", −1 being the last.

    >>> outcomes(["cell"])
    ['cell', 'no object']
    """
    return [*classes, "no object"]


def _per_image(chosen: Callable[[Records], NDArray[np.bool_]], column: str) -> Callable[[Records], NDArray[np.int64]]:
    """(N,): how many entries of a ragged column are chosen in each image."""

    def count(records: Records) -> NDArray[np.int64]:
        return np.bincount(records[column].owners[chosen(records)], minlength=rows_of(records))

    return count


def _rates(label: int | None = None) -> list[Metric]:
    """Precision, recall and F1 of the answers, of all classes or of one."""

    def of(column: str, chosen: Callable[[Records], NDArray[np.bool_]]) -> Callable[[Records], NDArray[np.int64]]:
        def own(records: Records) -> NDArray[np.bool_]:
            picked = chosen(records)
            return picked if label is None else picked & (records[column].values == label)

        return _per_image(own, column)

    answers = of("label", answered)
    right = of("label", lambda rows: answered(rows) & (rows["kind"].values == errors.RIGHT))
    objects = of("true_label", lambda rows: np.ones(len(rows["true_label"].values), bool))
    return [
        Metric("precision", "precision", over=ratio(right, answers), limits=(0, 1)),
        Metric("recall", "recall", over=ratio(right, objects), limits=(0, 1)),
        Metric("f1", "F1", limits=(0, 1),
               over=ratio(lambda rows: 2 * right(rows), lambda rows: answers(rows) + objects(rows))),
    ]  # fmt: skip


def metrics(classes: Sequence[str]) -> list[Metric]:
    """The measures of a data set with these classes; the average precision at an IoU of 0.5 decides."""
    found = [
        Metric("ap50", "AP50", over=mean_precision(_HALF), limits=(0, 1), live=_known),
        Metric("ap", "AP50–95", over=mean_precision(_EVERY), limits=(0, 1)),
    ]
    if 1 < len(classes) <= _MOST_CLASSES:
        found += [
            Metric(f"ap50 {name}", f"AP50, {name}", over=mean_precision(_HALF, label=i), limits=(0, 1))
            for i, name in enumerate(classes)
        ]
    spans = ("below 32² px", "32² to 96² px", "above 96² px")
    found += [
        Metric(
            f"ap_{name}",
            f"AP50–95, {name} ({span} at the training size)",
            over=mean_precision(_EVERY, i),
            limits=(0, 1),
        )
        for i, ((name, _, _), span) in enumerate(zip(RANGES[1:], spans, strict=True), 1)
    ]
    found += _rates()
    found.append(Metric("count_off", "absolute count error", "", "lower", each=counts.off, limits=(0, np.inf)))
    found += [
        Metric(f"proposals_{number}_iou_{100 * level:.0f}", f"recall of {number:,} proposals, IoU {level}",
               over=proposal_recall(number, i), needs=("rank",), limits=(0, 1))
        for i, level in enumerate(LEVELS) for number in PROPOSALS
    ]  # fmt: skip
    return found


def _known(records: Records) -> float:
    """The AP50 of validation images; 0 if they have no objects, so that the loss alone tells epochs apart."""
    every = np.ones((1, rows_of(records)))
    return float(np.nan_to_num(mean_precision(_HALF)(records, every)[0]))


def proposal_recall(number: int, level: int) -> Callable[[Records, Weights], Floats]:
    """The rule of the share of the objects that one of the best proposals overlaps enough, whatever its class."""
    return ratio(
        _per_image(lambda rows: rows["rank"].values[:, level] <= number, "rank"),
        lambda rows: rows["rank"].lengths,
    )


def quality(records: Records) -> NDArray[np.float64]:
    """(N,): the F1 of each image's answers, 1 where nothing was found and there is nothing; of equal ones, more objects are higher."""
    right, answers, objects = (
        _per_image(lambda rows: answered(rows) & (rows["kind"].values == errors.RIGHT), "label")(records),
        _per_image(answered, "label")(records),
        records["true_label"].lengths,
    )
    f1 = np.where(answers + objects > 0, 2 * right / np.maximum(answers + objects, 1), 1.0)
    return np.asarray(f1 - 1e-3 / (1 + objects), np.float64)


def details(records: Records, classes: Sequence[str]) -> dict[str, Any]:
    """The measures of each class, and the errors by kind."""
    rows = []
    for i, name in enumerate(classes):
        n = int((records["true_label"].values == i).sum())
        declared = [
            Metric("ap50", "AP50", over=mean_precision(_HALF, label=i), limits=(0, 1)),
            Metric("ap", "AP50–95", over=mean_precision(_EVERY, label=i), limits=(0, 1)),
            *_rates(i)[:2],
            *counts.by_class(i),
        ]
        found = summarise(declared, records) if n else {}
        row: dict[str, Any] = {
            "class": name if n else f"{name} (not in these images, left out of the mean)",
            "objects": n,
            "answers": int(counts.numbers(records, i)[0].sum()),
        }
        for metric in declared:
            one = found.get(metric.key)
            row[metric.title] = {end: None if one is None else getattr(one, end) for end in ("value", "low", "high")}
        rows.append(row)
    return {"by_class": rows, "errors": errors.tally(records)}
