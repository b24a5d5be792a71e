# SPDX-License-Identifier: Apache-2.0
"""A `Conditional` density's network in whole numbers: which table, and which shift, each symbol is coded with.

Codes, means and logarithms are in units of 1/256, weights of 1/4096. All is float64, and every number stays far below 2⁵³, so that
each product, sum and division by a power of two is exact, in any order and on any machine.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Self, final

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from pellucid.models._conditional import FRACTIONS, LOWEST, OCTAVE, SCALES, UNIT, phases
from pellucid.models._quantised import FAST
from pellucid.tasks.compress.entropy import MOST

__all__ = ["Contexts", "Place"]

_WEIGHT = 4096.0  # a weight of 1
_HEAVIEST = 2.0**17  # weights are held within ±32,
_LARGEST = 2.0**20  # codes within ±4096, and hidden units below
_CHUNK = 8192  # places whose surroundings are in memory at a time: 40 MB

Array = NDArray[Any]


@final
@dataclass(frozen=True)
class Place:
    """The channels and the places that one stage codes."""

    stage: int
    channels: slice
    rows: Array  # (P,)
    columns: Array  # (P,)
    known: int  # channels around that it may look at
    own: int  # of these, the first that is known only at earlier phases
    before: int  # the first phase that is not known there


@final
class Contexts:
    """One quality's network in whole numbers, and the sizes of the steps.

    >>> import torch
    >>> from pellucid.models._conditional import Conditional
    >>> contexts = Contexts(Conditional(2, [0.01], [8.0, 1.0], side=3, hidden=4), 0)
    >>> features = contexts.features(np.zeros((1, 3, 1, 1)), (3, 2))
    >>> symbols = np.zeros((1, 2, 3, 2))
    >>> [contexts.tables(place, features, symbols)[0].shape for place in contexts.places((3, 2))]
    [(1, 1, 2), (1, 1, 1), (1, 1, 3), (1, 1, 3), (1, 1, 3)]
    """

    def __init__(self, prior: Any, quality: int) -> None:
        self.steps = _array(prior.whole_steps[quality])[:, None, None]  # (M, 1, 1)
        self.logs = _array(prior.whole_logs[quality])
        self.side_steps = _array(prior.side_steps[quality])[:, None, None]
        self.unfold, self.detail = _Layer.of(prior.unfold), _Layer.of(prior.detail)
        self.stages = [_Stage(stage, quality) for stage in prior.stages]

    def features(self, side: Array, size: tuple[int, int]) -> Array:
        """What symbols (N, side, ⌈h/4⌉, ⌈w/4⌉) of the side information tell of each place: (N, hidden, h, w)."""
        features = np.clip(side * self.side_steps, -_LARGEST, _LARGEST)
        for layer in (self.unfold, self.detail):
            features = _shuffled(_rectified(layer.everywhere(features)))
        answer: Array = features[:, :, : size[0], : size[1]]
        return answer

    def places(self, size: tuple[int, int]) -> list[Place]:
        """What each stage codes of codes of a size (h, w), in turn."""
        phase = phases(*size).numpy()
        found = []
        for number, stage in enumerate(self.stages):
            rows, columns = np.nonzero((phase >= stage.now[0]) & (phase <= stage.now[-1]))
            found.append(Place(number, stage.own, rows, columns, stage.known, stage.own.start, stage.now[0]))
        return found

    def tables(self, place: Place, features: Array, symbols: Array) -> tuple[Array, Array]:
        """For each symbol of a stage, (N, channels, P): the table's number, and what is taken off the symbol.

        Args:
            place: of the stage, one of those of `places`.
            features: of the side information.
            symbols: (N, M, h, w), those of this stage and of later ones are not looked at.
        """
        stage = self.stages[place.stage]
        codes = np.clip(symbols[:, : place.known] * self.steps[: place.known], -_LARGEST, _LARGEST)
        if place.known > place.own:
            codes[:, place.own :] *= phases(*symbols.shape[2:]).numpy() < place.before
        around = np.pad(codes, ((0, 0), (0, 0), (1, 1), (1, 1)), mode="edge")
        busy = _logarithm(around)
        means, logs = [], []
        every = max(1, _CHUNK // len(symbols))
        for start in range(0, len(place.rows), every):
            rows, columns = place.rows[start : start + every], place.columns[start : start + every]
            near, big = (_gathered(maps, rows, columns) for maps in (around, busy))
            mean, log = stage.answer(features[:, :, rows, columns], near, big)
            means.append(mean)
            logs.append(log)
        if not means:
            none = np.zeros((len(symbols), place.channels.stop - place.channels.start, 0), np.int64)
            return none, none
        mean, log = np.concatenate(means, 2), np.concatenate(logs, 2)  # (N, channels, P)
        steps, unit = self.steps[place.channels, 0].astype(np.int64), self.logs[place.channels, None]
        # to the nearest 1/8 of a step; floor division of whole numbers is exact
        eighths = (2 * FRACTIONS * mean.astype(np.int64) + steps) // (2 * steps)
        eighths = eighths.clip(-FRACTIONS * MOST, FRACTIONS * MOST)  # an outlier's escape has room for a mean of MOST
        taken = (eighths + FRACTIONS // 2) // FRACTIONS
        scale = np.floor((log - unit) * (OCTAVE / UNIT)) - LOWEST * OCTAVE
        scale = np.clip(scale, 0, SCALES - 1).astype(np.int64)
        return scale * FRACTIONS + eighths - FRACTIONS * taken + FRACTIONS // 2, taken


@final
class _Stage:
    """One stage's weights, with its own channels and phases."""

    def __init__(self, stage: Any, quality: int) -> None:
        self.own, self.now, self.known = slice(stage.start, stage.end), stage.now, stage.known
        self.mean_side, self.busy_side = _whole(stage.mean_side.weight), _whole(stage.busy_side.weight)
        self.busy = _whole(stage.busy.weight)
        self.offset = _bias(stage.offset[quality])
        self.level = _bias(stage.level[quality] * FAST)
        if self.known:
            self.mean_near, self.busy_near = _whole(stage.mean_near.weight), _whole(stage.busy_near.weight)

    def answer(self, features: Array, near: Array, busy: Array) -> tuple[Array, Array]:
        """Means and log₂ of scales (N, channels, P) in units of 1/256, of places.

        Args:
            features: (N, side, P).
            near: the codes around, (N, 9·known, P).
            busy: log₂ of 1 + their magnitudes.
        """
        mean, hidden = self.mean_side @ features, self.busy_side @ features + self.offset
        if self.known:
            mean, hidden = mean + self.mean_near @ near, hidden + self.busy_near @ busy
        return np.floor(mean / _WEIGHT), np.floor((self.busy @ _rectified(hidden) + self.level) / _WEIGHT)


@final
@dataclass(frozen=True)
class _Layer:
    """A convolution of 3×3."""

    weight: Array  # (out, 9·in)
    bias: Array  # (out, 1)

    @classmethod
    def of(cls, layer: Any) -> Self:
        return cls(_whole(layer.weight), _bias(layer.bias))

    def everywhere(self, maps: Array) -> Array:
        """(N, out, h, w) of maps (N, in, h, w), in units of 1/256 · 1/4096."""
        height, width = maps.shape[2:]
        around = np.pad(maps, ((0, 0), (0, 0), (1, 1), (1, 1)), mode="edge")
        rows, columns = (grid.ravel() for grid in np.indices((height, width)))
        every = max(1, _CHUNK // len(maps))
        parts = [
            self.weight @ _gathered(around, rows[part], columns[part]) + self.bias
            for part in (slice(start, start + every) for start in range(0, len(rows), every))
        ]
        return np.concatenate(parts, 2).reshape(len(maps), -1, height, width)


def _gathered(around: Array, rows: Array, columns: Array) -> Array:
    """The 3×3 surroundings of places, (N, channels·9, P), of maps with a border of one."""
    parts: Iterator[Array] = (around[:, :, rows + i, columns + j] for i in range(3) for j in range(3))
    stacked = np.stack(list(parts), 2)  # (N, channels, 9, P)
    return stacked.reshape(len(around), -1, len(rows))


def _logarithm(codes: Array) -> Array:
    """log₂(1 + |y|) in units of 1/256, linear between the powers of two, rounded down."""
    grown = np.abs(codes) + UNIT
    fraction, power = np.frexp(grown)  # grown = fraction · 2^power, with a fraction from 1/2
    answer: Array = np.floor((power - 1) * UNIT + (2 * fraction - 1) * UNIT) - UNIT * 8
    return answer


def _rectified(sums: Array) -> Array:
    """Sums of products as units of the next layer: rounded down, not below 0."""
    return np.clip(np.floor(sums / _WEIGHT), 0, _LARGEST)


def _shuffled(maps: Array) -> Array:
    """(N, 4·C, h, w) to (N, C, 2·h, 2·w), as `torch.pixel_shuffle`."""
    batch, channels, height, width = maps.shape
    parts = maps.reshape(batch, channels // 4, 2, 2, height, width).transpose(0, 1, 4, 2, 5, 3)
    return parts.reshape(batch, channels // 4, 2 * height, 2 * width)


def _whole(weight: Tensor) -> Array:
    """Weights (out, in, …) as whole numbers (out, in·…)."""
    return np.clip(np.rint(_array(weight) * _WEIGHT), -_HEAVIEST, _HEAVIEST).reshape(len(weight), -1)


def _bias(bias: Tensor) -> Array:
    """Biases as whole numbers (out, 1), in units of 1/256 · 1/4096."""
    return np.clip(np.rint(_array(bias) * (UNIT * _WEIGHT)), -(2.0**40), 2.0**40)[:, None]


def _array(tensor: Tensor) -> Array:
    """The same numbers in float64."""
    return tensor.detach().cpu().double().numpy()
