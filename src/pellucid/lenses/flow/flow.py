# SPDX-License-Identifier: Apache-2.0
"""flow: how large activations and gradients are by layer and during training, what that means, and what would help."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from pellucid.errors import UsageError
from pellucid.lenses._contract import Lens, View
from pellucid.lenses._parts import Network, Splits, Training
from pellucid.lenses.flow import compared
from pellucid.lenses.flow.figure import figure
from pellucid.lenses.flow.moments import Moment, Probe, follow, probe_for
from pellucid.lenses.flow.rules import in_words, read, remedies

__all__ = ["Flow"]

_SIZES = ("activation", "gradient", "weight", "weight_gradient", "units", "dead", "silent")


@final
@dataclass(frozen=True)
class Flow(Lens[Network, Splits | None, Training | None]):
    """Sizes of activations and gradients by layer: before and after a training, or during one.

    A size is the root mean square over images, units and places, on training images with the task's loss. A run is shown with
    fresh weights beside its trained ones; for a task a new training is followed from its start, on a copy.

    >>> import torch
    >>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 3), torch.nn.ReLU(), torch.nn.Linear(3, 2))
    >>> view = Flow().look(Network(net, torch.rand(5, 1, 2, 2)))
    >>> view.axes["gradient"], view["gradient"].shape, view["layer"].tolist()
    (('moment', 'layer'), (2, 2), ['1', '3'])
    """

    limit: int = 128
    """training images at most on which sizes are measured"""
    steps: int = 100
    """steps of a new training that is followed; 0 measures its start alone"""
    moments: int = 6
    """moments during these steps at which sizes are measured"""
    compare: tuple[str, ...] = ()
    """variants side by side: options such as activation, initialisation, batch_norm, plain, or depth=20,56; all tries every known one"""

    def __post_init__(self) -> None:
        words: Any = self.compare  # in Python it may be a single word
        object.__setattr__(self, "compare", (words,) if isinstance(words, str) else tuple(words))
        for name, value, least in (("limit", self.limit, 2), ("steps", self.steps, 0), ("moments", self.moments, 2)):
            if value < least:
                raise UsageError(f"{name}={value}: must be at least {least}; give a larger number.")

    def look(self, network: Network, splits: Splits | None = None, training: Training | None = None) -> View:
        probe = probe_for(network, splits, training, self.limit)
        if self.compare:
            return compared.view(network, training, probe, self.compare, self.steps)
        moments, losses = self._moments(network, training, probe)
        names = moments[0].profile.names
        if not names:
            raise UsageError("lens='flow': the model has no dense or convolutional layer to measure; choose another.")
        numbers: dict[str, NDArray[Any]] = {
            "moment": np.array([moment.name for moment in moments]),
            "layer": np.array(names),
            "depth": moments[0].profile.depth,
            "on_path": moments[0].profile.path,
            "nonlinearity": np.array(moments[0].profile.nonlinear),
            **{size: np.stack([getattr(moment.profile, size) for moment in moments]) for size in _SIZES},
            "loss": np.array([moment.profile.loss for moment in moments]),
            "gradient_ratio": np.array([read(moment.profile).gradient for moment in moments]),
        }
        axes: dict[str, tuple[str, ...]] = {
            **dict.fromkeys(("layer", "depth", "on_path", "nonlinearity"), ("layer",)),
            **dict.fromkeys(("moment", "loss", "gradient_ratio"), ("moment",)),
            **dict.fromkeys(_SIZES, ("moment", "layer")),
        }
        if len(losses):
            none = np.full(len(names), np.nan)
            numbers["step"] = np.array([moment.step for moment in moments])
            # (moments, layers); a training that ends at its first step has no update
            numbers["update"] = np.stack([none if one.update is None else one.update for one in moments])
            numbers["training_loss"] = losses
            axes |= {"step": ("moment",), "update": ("moment", "layer"), "training_loss": ("step",)}
        return View(figure(network, moments, probe), numbers, _words(moments, probe), axes)

    def _moments(
        self, network: Network, training: Training | None, probe: Probe
    ) -> tuple[Sequence[Moment], NDArray[np.float64]]:
        """The moments to show, and the losses of the training that was followed, if any."""
        nothing = np.zeros(0)
        if training is not None and not training.begun:
            if not self.steps:
                return [Moment("untrained", 0, probe.profile(network.model))], nothing
            trial = training.start()
            followed = follow(trial, self.steps, self.moments, probe, network.progress)
            network.note(f"{len(followed.losses)} steps, with the learning rate rising to {trial.rate:g}.")
            return followed.moments, followed.losses
        # a run's own start, from its seed; a ready model is initialised again, layer by layer
        fresh = probe.profile(network.untrained(seed=network.seed))
        now = Moment("as it is" if training is None else "trained", None, probe.profile(network.model))
        return [Moment("untrained", None, fresh), now], nothing


def _words(moments: Sequence[Moment], probe: Probe) -> str:
    """What the first and the last moment say, and what would help."""
    sentences = []
    updates = [float(np.nanmedian(m.update)) for m in moments if m.update is not None and np.isfinite(m.update).any()]
    for place in dict.fromkeys((0, len(moments) - 1)):
        one, reading = moments[place], read(moments[place].profile)
        fresh = place == 0 and one.name in ("untrained", "step 0")
        sentence = f"{one.name[0].upper()}{one.name[1:]}: {in_words(reading)}"
        if place and updates:
            sentence += f"; a step changes the weights by {100 * updates[-1]:.2g} % of their size"
        advice = remedies(one.profile, reading, fresh, updates[-1] if place and updates else float("nan"))
        sentences.append(f"{sentence}. What would help: {advice}." if advice else f"{sentence}.")
    where = f"Measured on {probe.images:,} images"
    sentences.append(f"{where}, with random classes." if probe.drawn else f"{where}.")
    return " ".join(sentences)
