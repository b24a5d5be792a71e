# SPDX-License-Identifier: Apache-2.0
"""What loss curves say, in plain words: rules of thumb with stated thresholds, each a function of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self, final

import numpy as np
from numpy.typing import NDArray

from pellucid.lenses._wording import percent

__all__ = [
    "RULES",
    "Losses",
    "Rows",
    "Verdict",
    "column",
    "nothing_learnt",
    "overfitting",
    "underfitting",
    "verdict",
    "wide",
]

Rows = Sequence[Mapping[str, Any]]

_GAP = ((1.25, 0.2), (2.0, 0.1), (10.0, 0.03))
"""Gaps that are overfitting: validation above so many times the training loss, by so much of what was learnt."""
_COLLAPSED = 0.5  # nats of latent loss in all
_MUCH = 0.5  # of the loss by chance
_MEMORISED = 10.0  # times the training loss
_LEARNT = 0.97  # times the loss by chance: above it, nothing is learnt
_PARTS = 8  # into which a short training is cut, so that no rule depends on the noise of single steps


@final
@dataclass(frozen=True)
class Verdict:
    """The rule that applies, and in words why and what to do."""

    kind: str  # a key of RULES, or "too short" or "healthy"
    words: str


@final
@dataclass(frozen=True)
class Losses:
    """The losses of one training, as smooth as the rules need them."""

    train: NDArray[np.float64]  # (T,) means of epochs, or of eight parts of a shorter training
    val: NDArray[np.float64]  # (V,) after each epoch
    first: float  # the first training loss that was logged
    highest: float  # the highest one
    epochs: int
    annealed: bool  # whether the learning rate came down to a tenth of its peak
    chance: float | None = None  # the loss of the best answer that is the same for every image, where it is known
    latent: float | None = None  # the latent loss of a variational autoencoder at the end, in nats

    @property
    def start(self) -> float:
        """The loss before anything is learnt: by chance where that is known, else the first part's."""
        return float(self.train[0]) if self.chance is None else self.chance

    @classmethod
    def of(cls, history: Rows, chance: float | None = None) -> Self:
        """The losses in the rows of history.jsonl, and what an answer that is the same for every image loses.

        >>> rows = [{"epoch": e / 2, "split": "train", "loss": 5 - e / 2, "learning_rate": 0.1} for e in range(1, 9)]
        >>> Losses.of(rows).train.tolist()
        [4.5, 4.0, 3.5, 3.0, 2.5, 2.0, 1.5, 1.0]
        """
        train, val = ([row for row in history if row["split"] == split] for split in ("train", "val"))
        steps, checks = column(train, "loss"), column(val, "loss")
        epoch = np.ceil(column(train, "epoch") - 1e-9).astype(
            int
        )  # a row is at the end of the steps that it is the mean of
        epochs = int(epoch.max(initial=len(checks)))
        if epochs >= _PARTS and len(steps):
            parts = [steps[epoch == e] for e in np.unique(epoch)]
        else:
            parts = np.array_split(steps, min(_PARTS, len(steps))) if len(steps) else []
        rates = column(train, "learning_rate")
        return cls(
            _lifted(np.array([part.mean() for part in parts])),
            _lifted(checks),
            float(_lifted(steps)[0]) if len(steps) else np.nan,
            float(steps.max(initial=-np.inf)),
            epochs,
            bool(len(rates) and rates[-1] <= 0.1 * rates.max()),
            chance,
            float(column(train[-max(1, len(train) // 10) :], "latent").mean())
            if train and "latent" in train[-1]
            else None,
        )


def verdict(history: Rows, chance: float | None = None) -> Verdict:
    """One sentence on what the curves say, by the first rule that applies.

    >>> rows = [{"epoch": e, "split": s, "loss": 1 / e, "learning_rate": 0.1} for e in range(1, 9) for s in ("train", "val")]
    >>> verdict(rows).kind, verdict(rows, chance=0.12).kind
    ('stopped too early', 'nothing learnt')

    Args:
        history: the rows of history.jsonl.
        chance: the loss of the best answer that is the same for every image, such as ln 10 for ten equally common classes.
    """
    losses = Losses.of(history, chance)
    if (losses.train < 0).any() or (losses.val < 0).any():
        return Verdict("not judged", "Not judged: the rules compare ratios of losses, and these fall below zero.")
    # in one or two epochs every loss falls from where chance put it; only a bad learning rate shows
    short = losses.epochs < 3 or (len(losses.train) < 4 and len(losses.val) < 3)
    rules = {kind: rule for kind, rule in RULES.items() if not short or kind.startswith("learning rate")}
    for kind, rule in rules.items():
        why = rule(losses)
        if why is not None:
            return Verdict(kind, f"{kind.capitalize()}: {why}")
    if short:
        return Verdict(
            "too short", "Too short to judge: there are too few points for a curve; train for three epochs or more."
        )
    left = losses.train[-1] / losses.chance if losses.chance and len(losses.train) else 0.0
    if left > _MUCH:  # whatever the curves look like
        why = (
            f"the training loss hardly falls any more, at {percent(left)} of what the same answer for every image loses"
        )
        return Verdict(
            "underfitting",
            f"Underfitting: {why}; take a larger model, a higher rate or more epochs, or check the labels.",
        )
    return Verdict("healthy", f"Healthy: {_levelled(losses)}")


def learning_rate_too_high(losses: Losses) -> str | None:
    """A loss is not finite; or it ends above twice its lowest; or it more than doubled and did not recover (to a half, after
    twenty times to a fifth, of its first); or both losses jump up as much as down, with little learnt."""
    train = losses.train
    if not np.isfinite(train).all() or not np.isfinite(losses.val).all():
        return "the loss is no longer finite; take a tenth of the rate."
    if not len(train):
        return None
    if train[-1] > 2 * train.min() and train.argmin() < 0.8 * len(train):
        return f"the training loss rose again from {train.min():.3g} to {train[-1]:.3g}; take a third of the rate, or clip gradients."
    # weights that were thrown far away are found again slowly, if at all
    recovered = 0.5 if losses.highest < 20 * losses.first else 0.2
    if losses.highest > 2 * losses.first and train[-1] > recovered * losses.first:
        return f"the training loss shot up from {losses.first:.3g} to {losses.highest:.3g} and did not recover; take a tenth of the rate."
    if not losses.annealed and train[-1] > _MUCH * losses.start and _jumps(train) and _jumps(losses.val):
        return (
            f"the losses jump up and down and end at {train[-1]:.3g}, near where they began; take a third of the rate."
        )
    return None


def learning_rate_too_low(losses: Losses) -> str | None:
    """The loss fell nearly all the time, but by less than a tenth in all, and is not yet where chance would put it."""
    if len(losses.train) < 4:
        return None
    curve = losses.val if len(losses.val) >= 4 else losses.train  # the same images each time: steps add no noise
    lost = 1 - losses.train[-1] / losses.train[0]
    late = curve[-1 - len(curve) // 3] - curve[-1]
    levelled = not losses.annealed and late < 0.1 * (curve[0] - curve[-1])
    if 0 < lost < 0.1 and (np.diff(curve) < 0).mean() > 0.9 and not levelled and losses.train[-1] > 0.8 * losses.start:
        return f"the training loss fell steadily, but only by {percent(lost)}; take ten times the rate."
    return None


def posterior_collapse(losses: Losses) -> str | None:
    """The codes of a variational autoencoder carry less than half a nat: pictures no longer depend on them."""
    if losses.latent is None or not losses.latent < _COLLAPSED:
        return None
    return (
        f"the latent loss is {losses.latent:.2g} nats at the end, so that the codes say nothing about the image and all pictures are "
        "alike; lower --beta, give --kl-warmup some epochs, or take a weaker decoder."
    )


def nothing_learnt(losses: Losses) -> str | None:
    """Neither loss ends below what the same answer for every image loses."""
    lowest = min(losses.train[-1:].tolist() + losses.val.tolist(), default=np.inf)
    if losses.chance is None or not len(losses.train) or not lowest > _LEARNT * losses.chance:
        return None
    return (
        f"the loss ended at {losses.train[-1]:.3g}, and the same answer for every image already reaches {losses.chance:.3g}; check that "
        "images and labels belong together (`pellucid data`), then the learning rate and the size of the model."
    )


def overfitting(losses: Losses) -> str | None:
    """Whether the model fits the training images and no longer the others.

    Validation ends 10 % above its lowest while training keeps falling; or it is flat, above twice a training loss that falls;
    or it no longer falls and the gap is wide, as a ratio and as a share of what was learnt.
    """
    train, val = losses.train, losses.val
    if len(val) < 3 or len(train) < 3:
        return None
    end, best, low = train[-1], int(val.argmin()), val.min()
    # the training loss at the time of the best validation
    then = train[min(len(train) - 1, round(len(train) * (best + 1) / len(val)) - 1)]
    gap = f"the generalisation gap is {val[-1] - end:.3g}"
    if val[-1] > 1.1 * low and end < then:
        return (
            f"the validation loss was lowest after epoch {best + 1} of {len(val)} and ended {percent(val[-1] / low - 1)} "
            f"above that, while the training loss kept falling; {gap}; stop there (patience), regularise or augment."
        )
    late_val, late_train = val[-1] / val[-1 - len(val) // 3], end / train[-1 - len(train) // 3]
    if val[-1] > 2 * end and late_val > 0.95 and late_train < 0.8:
        return (
            f"in the last third the training loss fell by {percent(1 - late_train)} to {end:.3g} while validation "
            f"stayed at {val[-1]:.3g}; {gap}; more data, augmentation or regularisation would help, more epochs would not."
        )
    # a rate that comes down flattens both curves, so that only the gap is left to tell
    # what falls a little, far above images that are learnt by heart, will not get there
    most, quarter = (0.05, 0.95) if val[-1] < _MEMORISED * end else (0.5, 0.85)
    falls = _late_drop(val) > most or val[-1] < quarter * val[-1 - len(val) // 4]
    if wide(float(val[-1]), float(end), losses.start) and not falls:
        times = f"{val[-1] / end:.2g} times the training loss of {end:.3g}"
        return (
            f"the validation loss ended at {val[-1]:.3g}, {times}, and hardly falls; {gap}; more data, augmentation or "
            "regularisation would help, more epochs would not."
        )
    return None


def wide(val: float, train: float, start: float) -> bool:
    """Whether a validation loss is far above the training loss, as a ratio and as a share of what was learnt since the start.

    >>> wide(0.2, 0.002, 2.3), wide(0.02, 0.002, 2.3), wide(0.6, 0.5, 2.3)
    (True, False, False)
    """
    share = (val - train) / max(start - train, 1e-12)
    return any(val > ratio * train and share > least for ratio, least in _GAP)


def underfitting(losses: Losses) -> str | None:
    """The training loss fell by less than half, is flat (5 % over the last half), and validation is within a tenth of it."""
    train, val = losses.train, losses.val
    if len(train) < 4:
        return None
    # from the loss by chance where it is known: what starts above it learns that much by its biases alone
    lost = 1 - train[-1] / (min(losses.first, losses.start) if losses.chance is not None else losses.first)
    if lost < 0.5 and _late_drop(train) < 0.05 and (not len(val) or val[-1] < 1.1 * train[-1]):
        return (
            f"the training loss fell by {percent(max(0.0, lost))} and then stayed at {train[-1]:.3g}, and validation with it; "
            "take a larger model, a higher rate or less regularisation."
        )
    return None


def stopped_too_early(losses: Losses) -> str | None:
    """The loss is lowest at the end and fell by 5 % in the last quarter; or, where the learning rate came down and flattened the
    end, by 10 % in the last half, without a gap and with much left to learn."""
    which, curve = ("validation", losses.val) if len(losses.val) >= 4 else ("training", losses.train)
    if len(curve) < 4 or curve.argmin() < len(curve) - 1 - len(curve) // 10:
        return None
    drop = 1 - curve[-1] / curve[-1 - len(curve) // 4]
    if drop > (0.15 if losses.annealed else 0.05):
        return f"the {which} loss was still falling, by {percent(drop)} over the last quarter; train for more than {losses.epochs} epochs."
    # the training loss shows more clearly than few validation images whether there is still something to learn
    fell = max(_late_drop(curve), _late_drop(losses.train)) if _late_drop(curve) > 0.05 else 0.0
    left, apart = curve[-1] / losses.start, curve[-1] / losses.train[-1]
    if losses.annealed and fell > 0.1 and left > 0.15 and apart < 1.5:
        return (
            f"the loss fell by {percent(fell)} in the last half, until the learning rate came down, and validation is still at "
            f"{percent(left)} of where it began; train for more than {losses.epochs} epochs."
        )
    return None


RULES: dict[str, Callable[[Losses], str | None]] = {
    "learning rate too high": learning_rate_too_high,
    "learning rate too low": learning_rate_too_low,
    "posterior collapse": posterior_collapse,
    "nothing learnt": nothing_learnt,
    "overfitting": overfitting,
    "underfitting": underfitting,
    "stopped too early": stopped_too_early,
}
"""The rules in the order in which they are tried; each returns its reason where it applies."""


def _jumps(curve: NDArray[np.float64]) -> bool:
    """Whether a loss rises half as much as it falls in its last half, by 2 % from one point to the next."""
    late = np.diff(curve[len(curve) // 2 :])
    return len(late) > 2 and bool(
        late.clip(0).sum() > 0.5 * (-late).clip(0).sum() and abs(late).mean() > 0.02 * curve[-1]
    )


def _late_drop(curve: NDArray[np.float64]) -> float:
    """By what share a loss fell over the last half, each end a mean of a fifth of it."""
    width, middle = max(1, len(curve) // 10), (len(curve) - 1) // 2
    return float(1 - curve[-width:].mean() / curve[middle : middle + width].mean())


def _levelled(losses: Losses) -> str:
    end = losses.train[-1]
    if not len(losses.val):
        return f"the training loss fell to {end:.3g} and levelled off; without validation images no more can be said."
    gap = losses.val[-1] - end
    side = "above" if gap > 0 else "below"
    return (
        f"both losses have levelled off, and validation ends at {losses.val[-1]:.3g}, {abs(gap):.2g} {side} training."
    )


def _lifted(losses: NDArray[np.float64]) -> NDArray[np.float64]:
    """Losses of exactly zero as a tiny one, so that ratios stay finite."""
    return np.where(losses == 0, 1e-12, losses)


def column(rows: Rows, name: str) -> NDArray[np.float64]:
    """One column of the rows, NaN where it is missing or null."""
    return np.array([np.nan if row.get(name) is None else row[name] for row in rows], np.float64)
