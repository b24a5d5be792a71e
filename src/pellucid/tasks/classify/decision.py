# SPDX-License-Identifier: Apache-2.0
"""The decision between two classes: the threshold of the positive one's probability, and what it gives.

The threshold is chosen on validation images alone. Unless somebody asks for it, the most probable class is the answer, so that
accuracy means the same for all runs and for the simpler methods beside them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from pellucid.errors import UsageError
from pellucid.tasks._answering import Threshold
from pellucid.tasks._metrics import Metric, summarise
from pellucid.tasks._records import Records, rows_of
from pellucid.tasks.classify.ranking import curve

__all__ = [
    "CRITERIA",
    "GIVEN",
    "Criterion",
    "answered",
    "best_threshold",
    "check_two",
    "decided",
    "positive_of",
    "table",
    "thresholds",
]

Criterion: TypeAlias = Literal["youden", "f1"]
CRITERIA: dict[Criterion, str] = {"youden": "Youden's J", "f1": "F1"}
GIVEN = "given"
_DEFAULT = 0.5
_COLUMNS = {"chosen_threshold": "chosen in validation", "threshold": GIVEN}  # of records, in words


def positive_of(name: str | None, classes: Sequence[str]) -> int:
    """The position of the positive one of two classes: the one that is named, else the second.

    >>> positive_of("ill", ("healthy", "ill")), positive_of(None, ("no", "yes"))
    (1, 1)

    Raises:
        UsageError: there is no class of that name, or there are not two.
    """
    if name is None:
        return 1
    if len(classes) != 2:
        raise UsageError(f"positive={name!r}: is one of two classes, and the data have {len(classes)}; leave it out.")
    if name not in classes:
        raise UsageError(f"positive={name!r}: is none of the classes; give {classes[0]!r} or {classes[1]!r}.")
    return list(classes).index(name)


def best_threshold(records: Records | None, positive: int, name: str, criterion: Criterion) -> Threshold:
    """The threshold with the highest Youden's J (1950), sensitivity + specificity − 1, or F1 of the positive class.

    It lies halfway between two probabilities, so that rounding decides nothing; of equally good ones it is the closest to 0.5.

    >>> shares = np.array([0.1, 0.3, 0.35, 0.9])
    >>> images = {"true": np.array([0, 0, 1, 1]), "probabilities": np.stack([1 - shares, shares], 1)}
    >>> print(best_threshold(images, 1, "ill", "youden").words)
    threshold 0.325 for ill: the best Youden's J, 1.000, on 4 validation images; --threshold chosen answers by it
    """
    images = 0 if records is None else rows_of(records)
    if not records:
        return Threshold(_DEFAULT, of=name)
    own, score = records["true"] == positive, records["probabilities"][:, positive]
    if not own.any() or own.all():
        return Threshold(_DEFAULT, images=images, of=name, why="one class alone is among the")
    found = curve(own, score)
    if criterion == "youden":
        reached = found.recall - found.false_alarms
    else:
        reached = 2 * found.precision * found.recall / np.maximum(found.precision + found.recall, 1e-12)
    best = np.flatnonzero(reached >= reached.max() - 1e-12)
    levels = (found.scores + np.append(found.scores[1:], 0.0))[best] / 2
    if reached.max() <= 1e-12 or not np.isfinite(levels).any():
        return Threshold(_DEFAULT, images=images, of=name, why="none is better than chance on the")
    value = float(levels[np.abs(levels - _DEFAULT).argmin()])
    return Threshold(value, CRITERIA[criterion], float(reached.max()), images, of=name)


def check_two(threshold: object, classes: Sequence[str]) -> None:
    """Refuse a threshold where it has nothing to decide."""
    if threshold is not None and len(classes) != 2:
        raise UsageError(
            f"threshold={threshold!r}: decides between two classes, and the run has {len(classes)}; leave it out."
        )


def answered(shares: NDArray[np.floating], positive: int, threshold: float) -> NDArray[np.int64]:
    """(N,): the class of each image by a threshold, from probabilities (N, 2)."""
    return np.where(shares[:, positive].astype(np.float64) >= threshold, positive, 1 - positive).astype(np.int64)


def decided(records: Records, positive: int, threshold: float | None, chosen: float | None) -> dict[str, Any]:
    """The records with the answers by a threshold, if one is asked for, and by the one that was chosen, for the table."""
    shares = records["probabilities"]
    table = dict(records)
    if threshold is not None:
        # calibration stays that of the probabilities, whatever is answered
        table |= {"predicted": answered(shares, positive, threshold), "most_probable": records["predicted"]}
        table["threshold"] = np.full(len(shares), threshold)
    if chosen is not None:
        table["chosen_threshold"] = np.full(len(shares), chosen)
    return table


def thresholds(records: Records) -> dict[str, float]:
    """The thresholds in the records, by where they come from; one that is both chosen and given stands once."""
    found: dict[str, float] = {}
    for column, words in _COLUMNS.items():
        if column in records and float(records[column][0]) not in found.values():
            found[words] = float(records[column][0])
    return found


def table(records: Records, positive: int, name: str) -> list[dict[str, Any]]:
    """What each decision gives: the most probable class, the threshold that was chosen, and the one that is asked for."""
    shares = records["probabilities"]
    if shares.shape[1] < 2:
        return []
    answers = {"most probable class": shares.argmax(1)}
    for words, value in thresholds(records).items():
        answers[f"threshold {value:.3g}, {words}"] = answered(shares, positive, value)
    columns: dict[str, Any] = {"true": records["true"]}
    columns |= {f"answer {i}": own for i, own in enumerate(answers.values())}
    declared = [metric for i in range(len(answers)) for metric in _measures(f"answer {i}", positive)]
    found = summarise(declared, columns)
    rows = []
    for i, words in enumerate(answers):
        own = {metric.title: found[metric.key] for metric in _measures(f"answer {i}", positive)}
        rows.append(
            {"decision": words, "positive": name}
            | {title: {end: getattr(one, end) for end in ("value", "low", "high")} for title, one in own.items()}
        )
    return rows


def _measures(answer: str, positive: int) -> list[Metric]:
    """Those of one decision, whose answers are in a column of this name."""

    def right(records: Records) -> NDArray[np.bool_]:
        return np.asarray(records["true"] == records[answer], bool)

    def f1(records: Records, weights: NDArray[np.float64]) -> NDArray[np.float64]:
        true, said = records["true"] == positive, records[answer] == positive
        with np.errstate(invalid="ignore"):
            return np.asarray(2 * (weights @ (true & said)) / (weights @ true + weights @ said), np.float64)

    return [
        Metric(f"{answer} sensitivity", "sensitivity", each=right, among=lambda rows: rows["true"] == positive),
        Metric(f"{answer} specificity", "specificity", each=right, among=lambda rows: rows["true"] != positive),
        Metric(f"{answer} precision", "precision", each=right, among=lambda rows: rows[answer] == positive),
        Metric(f"{answer} f1", "F1", over=f1, limits=(0, 1)),
        Metric(f"{answer} accuracy", "accuracy", each=right),
    ]
