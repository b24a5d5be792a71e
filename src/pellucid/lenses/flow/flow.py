# SPDX-License-Identifier: Apache-2.0
"""flow: how large activations and gradients are by layer and over training, what that says, and what would help."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from pellucid.errors import UsageError
from pellucid.lenses._contract import Lens, Subject, View
from pellucid.lenses.flow import compared, figure
from pellucid.lenses.flow.moments import Moment, Question, followed, question
from pellucid.lenses.flow.rules import help_for, reading, told

__all__ = ["Flow"]

_SIZES = ("activation", "gradient", "weight", "weight_gradient", "units", "dead", "silent")


@final
@dataclass(frozen=True)
class Flow(Lens):
    """Sizes of activations and gradients by layer: before and after a training, or in the course of one.

    A size is the root mean square over images, units and places, on training images with the task's loss. Of a run the same
    architecture with fresh weights stands beside the trained; of a task a training is followed from its start, on a copy.

    >>> import torch
    >>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 3), torch.nn.ReLU(), torch.nn.Linear(3, 2))
    >>> view = Flow().look(Subject(model=net, images=torch.rand(5, 1, 2, 2)))
    >>> view.axes["gradient"], view["gradient"].shape, view["layer"].tolist()
    (('moment', 'layer'), (1, 2), ['1', '3'])
    """

    limit: int = 128
    """training images that the sizes are measured on, at most"""
    steps: int = 100
    """of the training that is followed where none has begun; 0 measures its start alone"""
    moments: int = 6
    """times at which the sizes are measured in its course"""
    compare: tuple[str, ...] = ()
    """variants of the model side by side: options such as activation, initialisation, batch_norm, plain, or depth=20,56; all for those that there are"""  # noqa: E501

    def __post_init__(self) -> None:
        given: Any = self.compare  # a single word in Python
        object.__setattr__(self, "compare", (given,) if isinstance(given, str) else tuple(given))
        for name, value, least in (("limit", self.limit, 2), ("steps", self.steps, 0), ("moments", self.moments, 2)):
            if value < least:
                raise UsageError(f"{name}={value}: must be at least {least}; give another.")

    def look(self, subject: Subject) -> View:
        asked = question(subject, self.limit)
        if self.compare:
            return compared.view(subject, asked, self.compare, self.steps)
        moments, losses = self._moments(subject, asked)
        names = moments[0].profile.names
        if not names:
            raise UsageError(
                "lens='flow': the model has no dense or convolutional layer to be measured; choose another."
            )
        numbers: dict[str, NDArray[Any]] = {
            "moment": np.array([moment.name for moment in moments]),
            "layer": np.array(names),
            "depth": moments[0].profile.depth,
            "on_path": moments[0].profile.path,
            "nonlinearity": np.array(moments[0].profile.nonlinear),
            **{size: np.stack([getattr(moment.profile, size) for moment in moments]) for size in _SIZES},
            "loss": np.array([moment.profile.loss for moment in moments]),
            "gradient_ratio": np.array([reading(moment.profile).gradient for moment in moments]),
        }
        axes: dict[str, tuple[str, ...]] = {
            **dict.fromkeys(("layer", "depth", "on_path", "nonlinearity"), ("layer",)),
            **dict.fromkeys(("moment", "loss", "gradient_ratio"), ("moment",)),
            **dict.fromkeys(_SIZES, ("moment", "layer")),
        }
        if len(losses):
            none = np.full(len(names), np.nan)
            numbers["step"] = np.array([moment.step for moment in moments])
            numbers["update"] = np.stack([none if one.update is None else one.update for one in moments])
            numbers["training_loss"] = losses
            axes |= {"step": ("moment",), "update": ("moment", "layer"), "training_loss": ("step",)}
        return View(figure.figure(subject, moments, asked), numbers, _words(moments, asked), axes)

    def _moments(self, subject: Subject, asked: Question) -> tuple[Sequence[Moment], NDArray[np.float64]]:
        assert subject.model is not None
        if subject.trial is not None and self.steps and not subject.history:
            trial = subject.trial()
            course = followed(trial, self.steps, self.moments, asked, subject.progress)
            subject.note(f"{len(course.losses)} steps, the learning rate rising to {trial.rate:g}.")
            return course.moments, course.losses
        if subject.trial is not None and not subject.history:
            return [Moment("untrained", 0, asked.of(subject.model))], np.zeros(0)
        found = [Moment("as it is", None, asked.of(subject.model))]
        if subject.untrained is not None:
            name = "trained" if subject.history else "as it is"
            fresh = asked.of(subject.untrained(seed=subject.seed))
            found = [Moment("untrained", None, fresh), Moment(name, None, found[0].profile)]
        return found, np.zeros(0)


def _words(moments: Sequence[Moment], asked: Question) -> str:
    """What the first and the last moment say, and what would help."""
    sentences = []
    updates = [float(np.nanmedian(m.update)) for m in moments if m.update is not None and np.isfinite(m.update).any()]
    for place in dict.fromkeys((0, len(moments) - 1)):
        one, read = moments[place], reading(moments[place].profile)
        fresh = place == 0 and one.name in ("untrained", "step 0")
        sentences.append(f"{one.name[0].upper()}{one.name[1:]}: {told(read)}")
        if place and updates:
            sentences[-1] += f"; a step changes the weights by {100 * updates[-1]:.2g} % of their size"
        helps = help_for(one.profile, read, fresh, updates[-1] if place and updates else float("nan"))
        sentences[-1] += f". What would help: {helps}." if helps else "."
    where = f"Measured on {asked.images:,} images"
    sentences.append(f"{where}, with classes that were drawn." if asked.drawn else f"{where}.")
    return " ".join(sentences)
