# SPDX-License-Identifier: Apache-2.0
"""learning_rate: the range test for learning rates, before a training begins (Smith 2017, section 3.3)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import final

import numpy as np

from pellucid.errors import UsageError
from pellucid.lenses._contract import Lens, View
from pellucid.lenses._parts import Training, Trial
from pellucid.lenses.learning_rate.figure import figure, short
from pellucid.lenses.learning_rate.range import RangeTest, Running, limit, read

__all__ = ["LearningRate"]

_PER_STEP = ("rate", "loss", "smoothed_loss", "slope")


@final
@dataclass(frozen=True)
class LearningRate(Lens[Training]):
    """The learning-rate range test: each step of a new training takes a higher rate than the one before.

    The rate rises exponentially, and the test ends where the loss diverges. `loss` (step) is that after the step with `rate`,
    on the next batch. `smoothed_loss` is its running mean to both sides: one over the past alone would lag, and shift the curve to
    higher rates. Losses above the start count as the start in it. The suggested rate is that at which the loss falls most steeply.

    >>> from torch import nn
    >>> x = [4.0]
    >>> def step(rate):  # gradient descent on x²/2: it converges up to a rate of 2
    ...     loss = x[0] ** 2 / 2; x[0] -= rate * x[0]; return loss
    >>> trial = Trial(nn.Identity(), rate=0.1, steps=100, step=step)
    >>> training = Training(start=lambda: trial, loss=lambda model, batch: None)
    >>> view = LearningRate(lowest_rate=0.001, highest_rate=50, steps=61, averaging=0).look(training)
    >>> round(float(view["lowest_at"]), 2), round(float(view["diverged_at"]), 2)
    (1.95, 11.82)

    The loss is lowest at the last rate below 2.
    """

    lowest_rate: float = 1e-6
    """learning rate of the first step"""
    highest_rate: float = 10.0
    """learning rate of the last step, unless the loss diverges before"""
    steps: int = 100
    """steps from the lowest to the highest rate"""
    averaging: float = 0.8
    """share of the running mean of the losses that each step keeps; 0 does not smooth"""
    diverged: float = 4.0
    """the test ends where the running mean is this many times its lowest value, and above its start"""

    def __post_init__(self) -> None:
        if not 0 < self.lowest_rate < self.highest_rate < math.inf:
            raise UsageError(
                f"lowest_rate={self.lowest_rate:g}: must lie above 0 and below highest_rate={self.highest_rate:g}; "
                "give e.g. --lowest-rate 1e-6 --highest-rate 10."
            )
        if self.steps < 10:
            raise UsageError(f"steps={self.steps}: must be at least 10 for a curve; give e.g. --steps 100.")
        if not 0 <= self.averaging < 1:
            raise UsageError(f"averaging={self.averaging:g}: must be at least 0 and below 1; give e.g. 0.8.")
        if not self.diverged > 1:
            raise UsageError(f"diverged={self.diverged:g}: must be above 1; give e.g. 4.")

    def look(self, training: Training) -> View:
        trial = training.start()
        if len(trial.players) > 1:
            raise UsageError(
                f"lens='learning_rate': {' and '.join(trial.players)} are trained against each other, and a loss that rises when "
                "the other improves says nothing about the rate; train for a few epochs and look at curves."
            )
        curve = self._tested(training, trial)
        numbers = {
            "rate": curve.rates,
            "loss": np.where(np.isfinite(curve.losses), curve.losses, np.nan),  # `diverged_at` says where it was not
            "smoothed_loss": curve.smoothed,
            "slope": curve.slopes,
            "start_loss": np.array(curve.start),
            "falls_from": np.array(curve.begins),
            "suggested": np.array(curve.steepest),
            "lowest_at": np.array(curve.lowest),
            "diverged_at": np.array(curve.diverged),
            "recipe_rate": np.array(trial.rate),
        }
        axes = dict.fromkeys(_PER_STEP, ("step",))
        return View(figure(training.title, curve, trial.rate), numbers, self._words(curve, trial.rate), axes)

    def _tested(self, training: Training, trial: Trial) -> RangeTest:
        """Take the steps, each with a higher rate than the one before."""
        rates = np.geomspace(self.lowest_rate, self.highest_rate, self.steps)
        training.note(f"{self.steps} training steps of {training.title or 'the model'}, on a copy")
        losses: list[float] = []
        mean = Running(self.averaging)
        before = best = math.inf
        ended = False
        # `step` returns the loss before it: the effect of a rate shows in the step after
        for place in training.progress(range(len(rates) + 1), "raising the learning rate"):
            loss = trial.step(float(rates[min(place, len(rates) - 1)]))
            if place == 0:
                before = loss
                if not math.isfinite(loss):
                    raise UsageError(
                        f"lens='learning_rate': the untrained model's loss is {loss}; fix the model or the data first."
                    )
                continue
            losses.append(loss)
            # only past losses are known here; the drawn curve is smoothed to both sides afterwards
            smoothed = mean.add(loss) if math.isfinite(loss) else math.inf
            best = min(best, smoothed)
            if smoothed > limit(min(best, before), before, self.diverged):
                ended = True
                break
        return read(rates[: len(losses)], losses, before, self.averaging, ended)

    def _words(self, curve: RangeTest, own: float) -> str:
        tested = f"{len(curve.rates)} steps with rates from {short(curve.rates[0])} to {short(curve.rates[-1])}"
        end = "" if math.isnan(curve.diverged) else ", where it diverges"
        if not curve.falls:
            return (
                f"No learning rate lowers the loss of {curve.start:.3g} by more than its noise in {tested}{end}: try other "
                "bounds or more steps, or check the data, the model and its initialisation."
            )
        best = short(curve.steepest)
        finding = (
            f"The loss falls from a rate of {short(curve.begins)} on, most steeply at {best}, and is lowest at "
            f"{short(curve.lowest)} ({tested}{end}). Suggested: --lr {best}."
        )
        return f"{finding} {_own(curve, own)}{self._bounds(curve)}"

    def _bounds(self, curve: RangeTest) -> str:
        """Which bound to change where it cuts the curve off."""
        advice = ""
        if curve.begins <= curve.rates[min(2, len(curve.rates) - 1)]:
            advice += f" It falls from the first step on; try --lowest-rate {short(self.lowest_rate / 100)}."
        if curve.lowest >= curve.rates[-1]:
            advice += f" It still falls at the last step; try --highest-rate {short(self.highest_rate * 100)}."
        return advice


def _own(curve: RangeTest, own: float) -> str:
    """Where the recipe's own rate lies."""
    if own < curve.begins:
        where = "below that range: training would be slow"
    elif own <= curve.lowest:
        where = "in that range"
    elif own < curve.diverged or math.isnan(curve.diverged):
        where = "above that range: the loss may rise, unless a warmup leads there"
    else:
        where = "where the loss diverges"
    return f"The recipe's own rate, {short(own)}, lies {where}."
