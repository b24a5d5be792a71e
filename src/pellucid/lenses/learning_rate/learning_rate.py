# SPDX-License-Identifier: Apache-2.0
"""learning_rate: which learning rates a training can take, found before it begins (Smith 2017, section 3.3)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import final

import numpy as np

from pellucid.errors import UsageError
from pellucid.lenses._contract import Lens, Subject, Trial, View
from pellucid.lenses.learning_rate.figure import figure, short
from pellucid.lenses.learning_rate.range import Running, Told, limit, told

__all__ = ["LearningRate"]

_PER_STEP = ("rate", "loss", "smoothed_loss", "slope")


@final
@dataclass(frozen=True)
class LearningRate(Lens):
    """The learning-rate range test: each step of a training that has not begun takes a higher rate than the one before.

    The rate rises exponentially, and the test ends where the loss diverges. `loss` (step) is that after the step with `rate`,
    on the next batch; `smoothed_loss` its running mean to both sides, which does not move the curve to higher rates as one to
    the past alone would, and in which losses above the start count as the start. What is suggested is the rate at which the
    loss falls most steeply.

    >>> from torch import nn
    >>> x = [4.0]
    >>> def step(rate):  # gradient descent on x²/2: it converges up to a rate of 2
    ...     loss = x[0] ** 2 / 2; x[0] -= rate * x[0]; return loss
    >>> trial = Trial(nn.Identity(), rate=0.1, steps=100, step=step)
    >>> view = LearningRate(lowest_rate=0.001, highest_rate=50, steps=61, averaging=0).look(Subject(trial=lambda: trial))
    >>> round(float(view["lowest_at"]), 2), round(float(view["diverged_at"]), 2)
    (1.95, 11.82)

    The loss is lowest at the last rate below 2.
    """

    lowest_rate: float = 1e-6
    """the learning rate of the first step"""
    highest_rate: float = 10.0
    """the learning rate of the last step, if the loss does not diverge before"""
    steps: int = 100
    """steps from the lowest to the highest rate"""
    averaging: float = 0.8
    """share of the running mean of losses that is kept at each step; 0 takes the losses as they are"""
    diverged: float = 4.0
    """the test ends where the running mean is that many times its lowest, and above where it started"""

    def __post_init__(self) -> None:
        if not 0 < self.lowest_rate < self.highest_rate < math.inf:
            raise UsageError(
                f"lowest_rate={self.lowest_rate:g}: must lie above 0 and below highest_rate={self.highest_rate:g}; "
                "give e.g. --lowest-rate 1e-6 --highest-rate 10."
            )
        if self.steps < 10:
            raise UsageError(f"steps={self.steps}: must be at least 10 for a curve; give e.g. --steps 100.")
        if not 0 <= self.averaging < 1:
            raise UsageError(
                f"averaging={self.averaging:g}: is a share; give a number from 0 up to, but not including, 1."
            )
        if not self.diverged > 1:
            raise UsageError(f"diverged={self.diverged:g}: must be above 1; give e.g. 4.")

    def look(self, subject: Subject) -> View:
        if subject.trial is None:
            raise UsageError(
                "lens='learning_rate': needs a training that can begin; name a task with --data and --model, or a run."
            )
        trial = subject.trial()
        if len(trial.players) > 1:
            raise UsageError(
                f"lens='learning_rate': the players {' and '.join(trial.players)} are trained against each other, and a loss "
                "that one's gain raises tells no good rate; train for a few epochs and look at curves."
            )
        found = self._tested(subject, trial)
        numbers = {
            "rate": found.rates,
            "loss": np.where(np.isfinite(found.losses), found.losses, np.nan),  # `diverged_at` tells of the others
            "smoothed_loss": found.smoothed,
            "slope": found.slopes,
            "start_loss": np.array(found.start),
            "falls_from": np.array(found.begins),
            "suggested": np.array(found.steepest),
            "lowest_at": np.array(found.lowest),
            "diverged_at": np.array(found.diverged),
            "recipe_rate": np.array(trial.rate),
        }
        axes = dict.fromkeys(_PER_STEP, ("step",))
        return View(figure(subject, found, trial.rate), numbers, self._words(found, trial.rate), axes)

    def _tested(self, subject: Subject, trial: Trial) -> Told:
        """The steps, each with a higher rate than the one before."""
        rates = np.geomspace(self.lowest_rate, self.highest_rate, self.steps)
        subject.note(f"{self.steps} steps of the training of {subject.title or 'the model'}, of a copy of its model")
        losses: list[float] = []
        mean = Running(self.averaging)
        before = best = math.inf
        ended = False
        # a step tells the loss before it: the effect of a rate is seen in the step after
        for place in subject.progress(range(len(rates) + 1), "raising the learning rate"):
            loss = trial.step(float(rates[min(place, len(rates) - 1)]))
            if place == 0:
                before = loss
                if not math.isfinite(loss):
                    raise UsageError(
                        f"lens='learning_rate': the untrained model's loss is {loss}; mend the model or the data first."
                    )
                continue
            losses.append(loss)
            smoothed = mean.add(loss) if math.isfinite(loss) else math.inf
            best = min(best, smoothed)
            if smoothed > limit(min(best, before), before, self.diverged):
                ended = True
                break
        return told(rates[: len(losses)], losses, before, self.averaging, ended)

    def _words(self, found: Told, own: float) -> str:
        tested = f"{len(found.rates)} steps with rates from {short(found.rates[0])} to {short(found.rates[-1])}"
        end = "" if math.isnan(found.diverged) else "; there it diverges"
        if not found.falls:
            return (
                f"No learning rate lowers the loss of {found.start:.3g} by more than its noise in {tested}{end}: give other "
                "bounds or more steps, or look at the data, the model and its initialisation."
            )
        best = short(found.steepest)
        said = (
            f"The loss falls from a rate of {short(found.begins)} on, most steeply at {best}, and is lowest at "
            f"{short(found.lowest)} ({tested}{end}). Suggested: --lr {best}."
        )
        return f"{said} {_own(found, own)}{self._bounds(found)}"

    def _bounds(self, found: Told) -> str:
        """What is to be changed where the bounds cut the curve off."""
        said = ""
        if found.begins <= found.rates[min(2, len(found.rates) - 1)]:
            said += f" It falls from the first step on; try --lowest-rate {short(self.lowest_rate / 100)}."
        if found.lowest >= found.rates[-1]:
            said += f" It still falls at the last step; try --highest-rate {short(self.highest_rate * 100)}."
        return said


def _own(found: Told, own: float) -> str:
    """How the recipe's rate stands to what was found."""
    if own < found.begins:
        where = "below that range: training would be slow"
    elif own <= found.lowest:
        where = "in that range"
    elif own < found.diverged or math.isnan(found.diverged):
        where = "above that range: the loss may rise, unless a warmup leads there"
    else:
        where = "where the loss diverges"
    return f"The recipe's own rate, {short(own)}, lies {where}."
