# SPDX-License-Identifier: Apache-2.0
"""Reading a profile of sizes by stated rules, and what would help."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import NDArray

from pellucid.lenses.flow.sizes import FLAT, Profile

__all__ = ["RULES", "Reading", "hidden", "in_words", "ratio", "read", "remedies"]

RANGE = 100.0  # factor by which sizes may differ between the first and the last hidden layer
DEAD = 0.1  # share of a network's units that may be dead
LAYER = 0.5  # share of one layer's
FAST = 0.1  # of a weight's size, by which a step may change it

RULES = {
    "vanishing": f"the gradient at the first hidden layer's activation is less than 1/{RANGE:g} of that at the last one's",
    "exploding": f"that gradient is more than {RANGE:g} times as large, or a size is not finite",
    "fading": f"the last hidden layer's activation is less than 1/{RANGE:g} of the first one's",
    "growing": f"that activation is more than {RANGE:g} times as large",
    "dead units": f"more than {DEAD:.0%} of all hidden ReLU units, or {LAYER:.0%} of a layer's, are 0 for every image at every place",
    "saturated units": f"as many sigmoid or tanh units have less than {FLAT:.0%} of their steepest slope for every image at every place",
    "steps too large": f"a step changes the weights of most layers by more than {FAST:.0%} of their size",
}
_RELU = ("relu", "relu6")
# the variance of weights that keeps a signal's size, times the number of inputs (He et al. 2015; Glorot & Bengio 2010)
_NEEDED = {"relu": 2.0, "relu6": 2.0, "leaky_relu": 2.0, "tanh": 1.0, "sigmoid": 1.0}


@final
@dataclass(frozen=True)
class Reading:
    """What a profile says."""

    faults: tuple[str, ...]  # keys of RULES, the gravest first
    gradient: float  # the first hidden layer's over the last one's
    activation: float  # the last hidden layer's over the first one's
    between: int  # layers between them, plus one
    dead: int
    units: int  # ReLU units, which can be dead
    saturated: int
    saturable: int  # sigmoid and tanh units
    closed: bool  # whether the last layer's weights are all 0, so that no gradient passes it yet
    known: bool = True  # whether any hidden layer has a gradient that is a number


def hidden(profile: Profile) -> NDArray[np.bool_]:
    """(L,): the layers on the longest path through the network, except the last, whose output is the network's."""
    chosen: NDArray[np.bool_] = profile.path & (profile.depth < profile.depth.max(initial=0))
    return chosen


def read(profile: Profile) -> Reading:
    """Read the sizes of one moment by the rules.

    >>> sorted(RULES)[:3]
    ['dead units', 'exploding', 'fading']
    """
    chosen = hidden(profile)
    gradients, activations = profile.gradient[chosen], profile.activation[chosen]
    # how much the gradient changes on its way back, and the signal on its way forth
    back, forth = _ratio(gradients), _ratio(activations[::-1])
    relu = np.array([name in _RELU for name in profile.nonlinear], bool) & (
        profile.depth < profile.depth.max(initial=0)
    )
    flat = np.array([name in ("sigmoid", "tanh") for name in profile.nonlinear], bool) & chosen
    closed = bool(profile.path.any()) and profile.weight[profile.path][-1] == 0
    faults = []
    finite = bool(np.isfinite(activations).all() and np.isfinite(profile.loss)) and not np.isinf(gradients).any()
    if not finite or back > RANGE:
        faults.append("exploding")
    elif back < 1 / RANGE and not closed:
        faults.append("vanishing")
    if finite and forth < 1 / RANGE:
        faults.append("fading")
    elif finite and RANGE < forth < np.inf:  # inf: the first layer is 0 everywhere, and its units count as dead
        faults.append("growing")
    for what, which in (("dead units", relu), ("saturated units", flat)):
        dead, units = profile.dead[which], profile.units[which]
        if units.sum() and (dead.sum() > DEAD * units.sum() or (dead > LAYER * units).any()):
            faults.append(what)
    counts = (int(profile.dead[relu].sum()), int(profile.units[relu].sum()))
    flats = (int(profile.dead[flat].sum()), int(profile.units[flat].sum()))
    known = not len(gradients) or not bool(np.isnan(gradients).all())
    return Reading(tuple(faults), back, forth, max(0, len(gradients) - 1), *counts, *flats, closed, known)


def ratio(size: float) -> str:
    """A ratio in words.

    >>> ratio(0.00025), ratio(0.4), ratio(1200.0)
    ('1/4,000', '0.4', '1,200')
    """
    if not np.isfinite(size):
        return "not finite"
    if size == 0:
        return "0"
    if size < 1 / RANGE:
        return f"1/{ratio(1 / size)}" if size > 1e-6 else f"{size:.1e}"
    return f"{size:.2g}" if size < RANGE else f"{float(f'{size:.2g}'):,.0f}" if size < 1e6 else f"{size:.1e}"


def in_words(reading: Reading) -> str:
    """A reading as the rest of a sentence."""
    if not reading.known:
        finite = "exploding" not in reading.faults
        reason = "the output has no gradient" if finite else "activations or the loss are not finite"
        return f"{reason}, so none can be compared" + _counted(reading)
    if not reading.between and "exploding" not in reading.faults:
        return "there is only one hidden layer, so its gradient has nothing to be compared with" + _counted(reading)
    if reading.closed and not reading.gradient:
        return "the last layer's weights are all 0, so no gradient passes it until the first step" + _counted(reading)
    size = f"{ratio(reading.gradient)} of the last one's"
    rate = ""
    if reading.between > 1 and 0 < reading.gradient < np.inf:
        rate = f" (times {reading.gradient ** (1 / reading.between):.2g} a layer)"
    state = next((fault for fault in ("vanishing", "exploding") if fault in reading.faults), "")
    verdict = {"vanishing": ": it vanishes", "exploding": ": it explodes", "": ", within bounds"}[state]
    signal = {"fading": "shrinks to", "growing": "grows to"}
    more = [
        f"; the activation {verb} {ratio(reading.activation)} of its size"
        for fault, verb in signal.items()
        if fault in reading.faults
    ]
    return f"the first hidden layer's gradient is {size}{rate}{verdict}{''.join(more)}{_counted(reading)}"


def _counted(reading: Reading) -> str:
    """The units that are dead or saturated, as a clause."""
    words = ""
    if reading.units:
        words += f"; {reading.dead:,} of {reading.units:,} ReLU units dead"
    if reading.saturable:
        words += f"; {reading.saturated:,} of {reading.saturable:,} units saturated"
    return words


def remedies(profile: Profile, reading: Reading, fresh: bool, update: float = float("nan")) -> str:
    """What would help, depending on what the network has and lacks; empty if nothing is wrong.

    Args:
        profile: the sizes.
        reading: what they say.
        fresh: whether these are the weights before training, so that the initialisation may be to blame.
        update: how much a step changes the weights, as a share of their size, in the median layer; NaN if no step was taken.
    """
    advice: list[str] = []
    kinds = {name for name, own in zip(profile.nonlinear, hidden(profile), strict=True) if own and name}
    troubled = [fault for fault in reading.faults if fault in ("vanishing", "exploding", "fading", "growing")]
    if troubled and "sigmoid" in kinds:
        advice.append("ReLU with He's initialisation, since a sigmoid passes on at most a quarter of a gradient")
    elif troubled and fresh:
        advice += _initialisation(profile, kinds)
    if troubled and not profile.norm:
        advice.append("batch norm")
    if troubled and not profile.shortcut and reading.between > 1:
        advice.append("shortcuts around the layers")
    if "dead units" in reading.faults:
        advice.append("leaky ReLU" if fresh else "a smaller learning rate, or leaky ReLU")
    if "saturated units" in reading.faults:
        advice.append("smaller weights at the start (Xavier's), or ReLU")
    if ("exploding" in reading.faults and not fresh) or update > FAST:
        advice.append("a smaller learning rate")
    return _listed(list(dict.fromkeys(advice)))


def _initialisation(profile: Profile, kinds: set[str]) -> list[str]:
    """The scheme for the nonlinearity, if the weights' variance is not what it needs."""
    chosen = hidden(profile)
    middle = float(np.median(profile.gain[chosen] ** 2)) if chosen.any() else float("nan")
    for name in sorted(kinds & set(_NEEDED)):
        if not 0.7 < middle / _NEEDED[name] < 1.4:
            scheme = "He's" if _NEEDED[name] == 2 else "Xavier's"
            return [
                f"{scheme} initialisation (the weights' variance is {middle:.2g}/inputs, {name} needs {_NEEDED[name]:g}/inputs)"
            ]
    return []


def _ratio(sizes: NDArray[np.float64]) -> float:
    """The first known size over the last one; 1 if there is only one."""
    known = sizes[~np.isnan(sizes)]
    if len(known) < 2:
        return 1.0
    with np.errstate(divide="ignore", invalid="ignore"):
        quotient = float(np.divide(known[0], known[-1]))
    return 0.0 if np.isnan(quotient) and known[0] == 0 else quotient  # 0/0: nothing arrives anywhere


def _listed(parts: Sequence[str]) -> str:
    if len(parts) < 2:
        return "".join(parts)
    return f"{', '.join(parts[:-1])} or {parts[-1]}"
