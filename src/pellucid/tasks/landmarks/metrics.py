# SPDX-License-Identifier: Apache-2.0
"""What is measured of points: how far they are off, in px of the image itself and as a share of a named distance."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pellucid.tasks._metrics import Metric, summarise
from pellucid.tasks._records import Records
from pellucid.tasks.landmarks.faces import PARTS
from pellucid.tasks.landmarks.normalisers import BOX, Normaliser, distances, of_face, title
from pellucid.tasks.landmarks.places import Placed

__all__ = ["FAILURES", "by_point", "columns", "details", "error", "key", "metrics", "nme", "numbered"]

Floats = NDArray[np.float64]
FAILURES = (8, 10)
"""Normalised errors in % beyond which an image counts as failed."""

_FACE: tuple[Normaliser, ...] = ("outer_eyes", "pupils", BOX)


def key(normaliser: Normaliser) -> str:
    """The key of the error that is divided by this.

    >>> key("outer_eyes"), key((2, 6))
    ('nme_outer_eyes', 'nme_points_3_7')
    """
    name = normaliser if isinstance(normaliser, str) else f"points_{normaliser[0] + 1}_{normaliser[1] + 1}"
    return f"nme_{name}"


def columns(answer: Placed, truth: Placed, normalisers: Sequence[Normaliser]) -> dict[str, NDArray[Any]]:
    """The records of images, in px of the images themselves; what is missing in the truth is NaN."""
    scale = truth.scale[:, None].double().cpu()
    start = 0.0 if truth.start is None else truth.start[:, None].double().cpu()
    ours, theirs = (((one.xy.double().cpu() - start) / scale).numpy() for one in (answer, truth))
    rows: dict[str, NDArray[Any]] = {
        "error": np.linalg.norm(ours - theirs, axis=2).astype(np.float32),  # (N, K)
        "answer": ours.astype(np.float32),
        "truth": theirs.astype(np.float32),
        **{key(one): distances(one, theirs).astype(np.float32) for one in normalisers},
        "image": np.array(truth.names if truth.names is not None else [""] * len(ours), np.str_),
    }
    if answer.score is not None:
        rows["certainty"] = answer.score.float().mean(1).cpu().numpy()
    return rows


def error(records: Records, points: Sequence[int] | None = None) -> Floats:
    """(N,): the mean error in px of the visible points of each image, or of those among `points`; NaN where there are none."""
    values = np.asarray(records["error"], np.float64)[:, slice(None) if points is None else list(points)]
    known = ~np.isnan(values)
    with np.errstate(invalid="ignore"):
        return np.asarray(np.where(known, values, 0.0).sum(1) / known.sum(1))


def nme(records: Records, normaliser: Normaliser, points: Sequence[int] | None = None) -> Floats:
    """(N,): the mean error of each image in % of its normaliser; NaN where that is 0, or where no point is visible."""
    distance = np.asarray(records[key(normaliser)], np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.where(distance > 0, 100 * error(records, points) / distance, np.nan))


def metrics(normaliser: Normaliser, face: bool) -> list[Metric]:
    """The measures: errors by the normaliser, which decide, and by the others of a face; px; failures; areas."""
    others = [one for one in (_FACE if face else (BOX,)) if one != normaliser]
    found = [_mean(key(one), f"NME by the {title(one)}", _by(one), key(one), "%") for one in (normaliser, *others)]
    found.append(_mean("error_px", "mean error", error, "error", "px"))
    for limit in FAILURES:
        words = f"images with an NME above {limit} %"
        found.append(
            Metric(
                f"failures_{limit}", words, "", "lower", each=_above(normaliser, limit), among=_has(_by(normaliser)),
                needs=(key(normaliser),),
            )
        )  # fmt: skip
    for limit in FAILURES:
        rule = _area(normaliser, limit)
        words = f"area under the cumulative curve up to {limit} %"
        found.append(_mean(f"auc_{limit}", words, rule, key(normaliser), better="higher"))
    return found


def _mean(
    name: str, words: str, rule: Callable[[Records], Floats], column: str, unit: str = "", better: Any = "lower"
) -> Metric:
    """The mean of a rule over the images that have it."""
    return Metric(name, words, unit, better, each=rule, among=_has(rule), needs=(column,))


def _has(rule: Callable[[Records], Floats]) -> Callable[[Records], NDArray[np.bool_]]:
    return lambda records: ~np.isnan(rule(records))


def _by(normaliser: Normaliser) -> Callable[[Records], Floats]:
    return lambda records: nme(records, normaliser)


def _above(normaliser: Normaliser, limit: float) -> Callable[[Records], NDArray[np.bool_]]:
    return lambda records: nme(records, normaliser) > limit


def _area(normaliser: Normaliser, limit: float) -> Callable[[Records], Floats]:
    """∫ [e ≤ t] dt / T from 0 to T, the area under the cumulative curve, is the mean of max(0, 1 − e/T) over the images."""
    return lambda records: np.maximum(0.0, 1 - nme(records, normaliser) / limit)


def numbered(names: Sequence[str], count: int) -> list[str]:
    """The points' names, or their numbers from 1.

    >>> numbered((), 2), numbered(("tip", "base"), 2)
    (['point 1', 'point 2'], ['tip', 'base'])
    """
    return list(names) if len(names) == count else [f"point {i + 1}" for i in range(count)]


def by_point(records: Records, normaliser: Normaliser) -> Floats:
    """(K,): the mean error of each point over the images, in % of their normaliser; NaN for one that is never visible."""
    count = np.asarray(records["error"]).shape[1]
    every = np.stack([nme(records, normaliser, [k]) for k in range(count)], 1)
    known = ~np.isnan(every)
    with np.errstate(invalid="ignore"):
        return np.asarray(np.where(known, every, 0.0).sum(0) / known.sum(0))


def details(records: Records, normaliser: Normaliser, names: Sequence[str], face: bool) -> dict[str, Any]:
    """Errors by part of the face and by point, with intervals, and the images that a measure leaves out."""
    count = np.asarray(records["error"]).shape[1]
    found: dict[str, Any] = {}
    if face and of_face(normaliser):
        found["error_by_part"] = _rows("part", {part: list(own) for part, own in PARTS.items()}, records, normaliser)
    titles = numbered(names, count)
    found["error_by_point"] = _rows("point", {titles[k]: [k] for k in range(count)}, records, normaliser)
    if left := _left_out(records, normaliser, face):
        found["left_out"] = left
    return found


def _rows(
    kind: str, groups: Mapping[str, Sequence[int]], records: Records, normaliser: Normaliser
) -> list[dict[str, Any]]:
    """A row for each group of points: their number, the images in which one is visible, and their error with its interval."""
    rules = {name: (lambda rows, own=own: nme(rows, normaliser, own)) for name, own in groups.items()}
    declared = [_mean(name, name, rule, key(normaliser), "%") for name, rule in rules.items()]
    measures = summarise(declared, records)
    column = f"error, % of the {title(normaliser)}"
    rows = []
    for name, own in groups.items():
        one = measures[name]
        seen = int((~np.isnan(rules[name](records))).sum())
        row: dict[str, Any] = {kind: name} | ({"points": len(own)} if kind == "part" else {}) | {"images": seen}
        cell = {"value": one.value, "low": one.low, "high": one.high} if np.isfinite(one.value) else None
        rows.append({**row, column: cell})
    return rows


def _left_out(records: Records, normaliser: Normaliser, face: bool) -> list[dict[str, Any]]:
    """The images that the error by a normaliser leaves out, and why."""
    rows = []
    blank = np.isnan(error(records))
    for one in dict.fromkeys((normaliser, *(_FACE if face else (BOX,)))):
        if key(one) not in records:
            continue
        for place in np.flatnonzero((np.asarray(records[key(one)]) <= 0) | blank):
            why = "no point is visible" if blank[place] else f"the {title(one)} is 0 or not known"
            rows.append({"measure": f"NME by the {title(one)}", "image": str(records["image"][place]), "why": why})
    return rows
