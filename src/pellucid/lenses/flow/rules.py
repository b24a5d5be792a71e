# SPDX-License-Identifier: Apache-2.0
"""What sizes by layer say, by stated rules, and what would help."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import NDArray

from pellucid.lenses.flow.sizes import FLAT, Profile

__all__ = ["RULES", "Reading", "help_for", "hidden", "named", "reading", "told"]

RANGE = 100.0  # times that sizes may differ between the first and the last hidden layer
DEAD = 0.1  # share of a network's units that may be dead
LAYER = 0.5  # and of one layer's
FAST = 0.1  # of a weight's size that a step may change it by

RULES = {
    "vanishing": f"the gradient at the first hidden layer's activation is less than 1/{RANGE:g} of that at the last one's",
    "exploding": f"it is more than {RANGE:g} times that, or a size is not finite",
    "fading": f"the last hidden layer's activation is less than 1/{RANGE:g} of the first one's",
    "growing": f"it is more than {RANGE:g} times that",
    "dead units": f"more than {DEAD:.0%} of all hidden ReLU units, or {LAYER:.0%} of a layer's, are 0 for every image and place",
    "saturated units": f"as many sigmoid or tanh units have less than {FLAT:.0%} of their steepest slope for every image and place",
    "steps too large": f"a step changes the weights of most layers by more than {FAST:.0%} of their size",
}
_RELU = ("relu", "relu6")
_NEEDED = {"relu": 2.0, "relu6": 2.0, "leaky_relu": 2.0, "tanh": 1.0, "sigmoid": 1.0}  # times 1/inputs, of the variance


@final
@dataclass(frozen=True)
class Reading:
    """What one profile says."""

    found: tuple[str, ...]  # keys of RULES, the gravest first
    gradient: float  # first hidden layer's over the last one's
    activation: float  # last hidden layer's over the first one's
    between: int  # steps from a layer to the next between them
    dead: int
    units: int  # that could be dead
    saturated: int
    saturable: int
    closed: bool  # whether the last layer's weights are all 0, so that no gradient comes below it yet


def hidden(profile: Profile) -> NDArray[np.bool_]:
    """The layers on the longest way through the network, but for the last, whose answer is the network's."""
    chosen: NDArray[np.bool_] = profile.path & (profile.depth < profile.depth.max(initial=0))
    return chosen


def reading(profile: Profile) -> Reading:
    """What the sizes of one moment say by the rules.

    >>> sorted(RULES)[:3]
    ['dead units', 'exploding', 'fading']
    """
    chosen = hidden(profile)
    gradients, activations = profile.gradient[chosen], profile.activation[chosen]
    back, forth = _ratio(gradients), _ratio(activations[::-1])
    relu = np.array([name in _RELU for name in profile.nonlinear], bool) & (
        profile.depth < profile.depth.max(initial=0)
    )
    flat = np.array([name in ("sigmoid", "tanh") for name in profile.nonlinear], bool) & chosen
    closed = bool(profile.path.any()) and profile.weight[profile.path][-1] == 0
    found = []
    finite = bool(np.isfinite(activations).all() and np.isfinite(profile.loss)) and not np.isinf(gradients).any()
    if not finite or back > RANGE:
        found.append("exploding")
    elif back < 1 / RANGE and not closed:
        found.append("vanishing")
    if finite and forth < 1 / RANGE:
        found.append("fading")
    elif finite and forth > RANGE:
        found.append("growing")
    for what, which in (("dead units", relu), ("saturated units", flat)):
        dead, units = profile.dead[which], profile.units[which]
        if units.sum() and (dead.sum() > DEAD * units.sum() or (dead > LAYER * units).any()):
            found.append(what)
    counts = (int(profile.dead[relu].sum()), int(profile.units[relu].sum()))
    flats = (int(profile.dead[flat].sum()), int(profile.units[flat].sum()))
    return Reading(tuple(found), back, forth, max(0, len(gradients) - 1), *counts, *flats, closed)


def named(size: float) -> str:
    """A ratio as people say it.

    >>> named(0.00025), named(0.4), named(1200.0)
    ('1/4,000', '0.4', '1,200')
    """
    if not np.isfinite(size):
        return "no finite number"
    if size == 0:
        return "0"
    if size < 1 / RANGE:
        return f"1/{named(1 / size)}" if size > 1e-6 else f"{size:.1e}"
    return f"{size:.2g}" if size < RANGE else f"{float(f'{size:.2g}'):,.0f}" if size < 1e6 else f"{size:.1e}"


def told(read: Reading) -> str:
    """The reading in a sentence's words, without its subject."""
    if not read.between and "exploding" not in read.found:
        return "a single hidden layer, whose gradient has nothing to be compared with" + _counted(read)
    if read.closed and not read.gradient:
        return "no gradient passes the last layer, whose weights are all 0, until a step changes them" + _counted(read)
    size = f"{named(read.gradient)} of the last one's"
    each = ""
    if read.between > 1 and 0 < read.gradient < np.inf:
        each = f" (times {read.gradient ** (1 / read.between):.2g} a layer)"
    state = next((what for what in ("vanishing", "exploding") if what in read.found), "")
    said = {"vanishing": ": it vanishes", "exploding": ": it explodes", "": ", within bounds"}[state]
    signal = {"fading": "shrinks to", "growing": "grows to"}
    more = [
        f"; the activation {verb} {named(read.activation)} of it" for kind, verb in signal.items() if kind in read.found
    ]
    return f"the first hidden layer's gradient is {size}{each}{said}{''.join(more)}{_counted(read)}"


def _counted(read: Reading) -> str:
    said = ""
    if read.units:
        said += f"; {read.dead:,} of {read.units:,} ReLU units dead"
    if read.saturable:
        said += f"; {read.saturated:,} of {read.saturable:,} units saturated"
    return said


def help_for(profile: Profile, read: Reading, fresh: bool, update: float = float("nan")) -> str:
    """What would help, by what the network has and lacks; empty where nothing is wrong.

    Args:
        profile: the sizes.
        read: what they say.
        fresh: whether these are the weights before training, of which an initialisation can be blamed.
        update: the share of its weights that a step changes in the middle one of the layers, where one was taken.
    """
    advice: list[str] = []
    kinds = {name for name, own in zip(profile.nonlinear, hidden(profile), strict=True) if own and name}
    troubled = [what for what in read.found if what in ("vanishing", "exploding", "fading", "growing")]
    if troubled and "sigmoid" in kinds:
        advice.append("ReLU with He's initialisation, since a sigmoid passes at most a quarter of a gradient on")
    elif troubled and fresh:
        advice += _initialisation(profile, kinds)
    if troubled and not profile.norm:
        advice.append("batch norm")
    if troubled and not profile.shortcut and read.between > 1:
        advice.append("shortcuts around the layers")
    if "dead units" in read.found:
        advice.append("leaky ReLU" if fresh else "a smaller learning rate, or leaky ReLU")
    if "saturated units" in read.found:
        advice.append("smaller weights at the start (Xavier's), or ReLU")
    if ("exploding" in read.found and not fresh) or update > FAST:
        advice.append("a smaller learning rate")
    return _listed(list(dict.fromkeys(advice)))


def _initialisation(profile: Profile, kinds: set[str]) -> list[str]:
    """The scheme that suits the nonlinearity, where the weights' variance is not what it asks for."""
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
    """First over last of the known ones; 1 of a single one."""
    known = sizes[~np.isnan(sizes)]
    if len(known) < 2:
        return 1.0
    with np.errstate(divide="ignore", invalid="ignore"):
        found = float(np.divide(known[0], known[-1]))
    return 0.0 if np.isnan(found) and known[0] == 0 else found


def _listed(parts: Sequence[str]) -> str:
    if len(parts) < 2:
        return "".join(parts)
    return f"{', '.join(parts[:-1])} or {parts[-1]}"
