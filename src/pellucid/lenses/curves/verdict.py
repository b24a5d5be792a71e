# SPDX-License-Identifier: Apache-2.0
"""What loss curves say, in plain words: rules of thumb with their thresholds stated, each a function of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self, final

import numpy as np
from numpy.typing import NDArray

__all__ = ["RULES", "Course", "Rows", "Verdict", "column", "verdict"]

Rows = Sequence[Mapping[str, Any]]

_PARTS = 8  # into which a short training is cut, so that no rule hangs on the noise of single steps


@final
@dataclass(frozen=True)
class Verdict:
    """What the curves say: the rule that held, and why, with the way out."""

    kind: str  # a key of RULES, or "too short" or "healthy"
    words: str


@final
@dataclass(frozen=True)
class Course:
    """The losses of one training, smoothed as far as the rules need it."""

    train: NDArray[np.float64]  # (T,) means over the epochs, or over eight parts of a shorter training
    val: NDArray[np.float64]  # (V,) after each epoch
    first: float  # the first training loss that was noted
    highest: float  # the highest one
    epochs: int
    annealed: bool  # the learning rate came down to a tenth of its peak

    @classmethod
    def of(cls, history: Rows) -> Self:
        """The course that the rows of history.jsonl tell.

        >>> rows = [{"epoch": e / 2, "split": "train", "loss": 5 - e / 2, "learning_rate": 0.1} for e in range(1, 9)]
        >>> Course.of(rows).train.tolist()
        [4.5, 4.0, 3.5, 3.0, 2.5, 2.0, 1.5, 1.0]
        """
        train, val = ([row for row in history if row["split"] == split] for split in ("train", "val"))
        losses, checks = column(train, "loss"), column(val, "loss")
        epoch = np.ceil(column(train, "epoch") - 1e-9).astype(int)  # a row stands at the end of what it is the mean of
        epochs = int(epoch.max(initial=len(checks)))
        if epochs >= _PARTS and len(losses):
            parts = [losses[epoch == e] for e in np.unique(epoch)]
        else:
            parts = np.array_split(losses, min(_PARTS, len(losses))) if len(losses) else []
        rates = column(train, "learning_rate")
        return cls(
            _lifted(np.array([part.mean() for part in parts])),
            _lifted(checks),
            float(_lifted(losses)[0]) if len(losses) else np.nan,
            float(losses.max(initial=-np.inf)),
            epochs,
            bool(len(rates) and rates[-1] <= 0.1 * rates.max()),
        )


def verdict(history: Rows) -> Verdict:
    """One sentence on what the curves say, by the first of the rules that holds.

    >>> rows = [{"epoch": e, "split": s, "loss": 1 / e, "learning_rate": 0.1} for e in range(1, 9) for s in ("train", "val")]
    >>> verdict(rows).kind
    'stopped too early'
    """
    course = Course.of(history)
    if (course.train < 0).any() or (course.val < 0).any():
        return Verdict("not judged", "Not judged: the rules compare losses by their ratios, and these fall below zero.")
    # in one or two epochs every loss falls from where chance put it: only the rate shows
    short = course.epochs < 3 or (len(course.train) < 4 and len(course.val) < 3)
    rules = {kind: rule for kind, rule in RULES.items() if not short or kind.startswith("learning rate")}
    for kind, rule in rules.items():
        why = rule(course)
        if why is not None:
            return Verdict(kind, f"{kind.capitalize()}: {why}")
    if short:
        return Verdict("too short", "Too short to judge: so few points are no curve; train for three epochs or more.")
    return Verdict("healthy", f"Healthy: {_levelled(course)}")


def learning_rate_too_high(course: Course) -> str | None:
    """A loss that is not finite; or one that ends above twice its lowest; or that more than doubled and did not recover."""
    train = course.train
    if not np.isfinite(train).all() or not np.isfinite(course.val).all():
        return "the loss left the finite numbers; take a tenth of the rate."
    if not len(train):
        return None
    if train[-1] > 2 * train.min() and train.argmin() < 0.8 * len(train):
        return f"the training loss rose again from {train.min():.3g} to {train[-1]:.3g}; take a third of the rate, or clip gradients."
    if course.highest > 2 * course.first and train[-1] > 0.5 * course.first:
        return f"the training loss shot up from {course.first:.3g} to {course.highest:.3g} and did not recover; take a tenth of the rate."
    return None


def overfitting(course: Course) -> str | None:
    """Validation ends 10 % above its lowest while training went on falling; or stands still, above twice a training loss that falls."""
    train, val = course.train, course.val
    if len(val) < 3 or len(train) < 3:
        return None
    end, best, low = train[-1], int(val.argmin()), val.min()
    then = train[min(len(train) - 1, round(len(train) * (best + 1) / len(val)) - 1)]
    gap = f"the generalisation gap is {val[-1] - end:.3g}"
    if val[-1] > 1.1 * low and end < then:
        return (
            f"the validation loss was lowest after epoch {best + 1} of {len(val)} and ended {_percent(val[-1] / low - 1)} "
            f"above that, while the training loss went on falling; {gap}; stop there (patience), regularise or augment."
        )
    late_val, late_train = val[-1] / val[-1 - len(val) // 3], end / train[-1 - len(train) // 3]
    if val[-1] > 2 * end and late_val > 0.95 and late_train < 0.8:
        return (
            f"in the last third the training loss fell by {_percent(1 - late_train)} to {end:.3g} while validation "
            f"stood at {val[-1]:.3g}; {gap}; more data, augmentation or regularisation would help, more epochs would not."
        )
    return None


def learning_rate_too_low(course: Course) -> str | None:
    """The training loss lost less than a tenth in all, and fell nearly all the time."""
    train = course.train
    if len(train) < 4:
        return None
    lost = 1 - train[-1] / course.first
    if 0 <= lost < 0.1 and (np.diff(train) < 0).mean() > 0.9:
        return f"the training loss fell steadily, and by {_percent(lost)} only; take ten times the rate."
    return None


def underfitting(course: Course) -> str | None:
    """The training loss lost less than half, has stopped falling (2 % from third to third), and validation is no worse by a tenth."""
    train, val = course.train, course.val
    if len(train) < 4:
        return None
    third = len(train) // 3
    # means of thirds, since a single epoch may be 2 % off by chance
    lost, late = 1 - train[-1] / course.first, 1 - train[-third:].mean() / train[-2 * third : -third].mean()
    if lost < 0.5 and late < 0.02 and (not len(val) or val[-1] < 1.1 * train[-1]):
        return (
            f"the training loss lost {_percent(lost)} and then stayed at {train[-1]:.3g}, with validation beside it; "
            "take a larger model, a higher rate, or regularise less."
        )
    return None


def stopped_too_early(course: Course) -> str | None:
    """The loss was lowest at the end and fell by 5 % in the last quarter (15 % where the rate was coming down anyway)."""
    which, losses = ("validation", course.val) if len(course.val) >= 4 else ("training", course.train)
    if len(losses) < 4:
        return None
    drop = 1 - losses[-1] / losses[-1 - len(losses) // 4]
    if losses.argmin() == len(losses) - 1 and drop > (0.15 if course.annealed else 0.05):
        return f"the {which} loss was still falling, by {_percent(drop)} over the last quarter; train for more than {course.epochs} epochs."
    return None


RULES: dict[str, Callable[[Course], str | None]] = {
    "learning rate too high": learning_rate_too_high,
    "overfitting": overfitting,
    "learning rate too low": learning_rate_too_low,
    "underfitting": underfitting,
    "stopped too early": stopped_too_early,
}
"""The rules in the order in which they are asked; each gives its reason where it holds."""


def _levelled(course: Course) -> str:
    end = course.train[-1]
    if not len(course.val):
        return (
            f"the training loss fell to {end:.3g} and levelled off; without validation images nothing more can be told."
        )
    gap = course.val[-1] - end
    side = "above" if gap > 0 else "below"
    return (
        f"both losses have levelled off, and validation ends at {course.val[-1]:.3g}, {abs(gap):.2g} {side} training."
    )


def _lifted(losses: NDArray[np.float64]) -> NDArray[np.float64]:
    """A loss of exactly zero lifted a little, so that ratios stay finite."""
    return np.where(losses == 0, 1e-12, losses)


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %" if share >= 0.1 else f"{100 * share:.1f} %"


def column(rows: Rows, name: str) -> NDArray[np.float64]:
    """One column of the rows, NaN where it is missing or null."""
    return np.array([np.nan if row.get(name) is None else row[name] for row in rows], np.float64)
