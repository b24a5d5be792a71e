# SPDX-License-Identifier: Apache-2.0
"""The variants of a model that are compared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from pellucid.errors import UnknownNameError, UsageError
from pellucid.lenses._parts import Network
from pellucid.lenses.flow.rules import Reading
from pellucid.lenses.flow.sizes import Profile

__all__ = ["KNOWN", "Variant", "option_words", "variations"]

KNOWN: Mapping[str, tuple[Any, ...]] = {
    "activation": ("sigmoid", "tanh", "relu"),
    "initialisation": ("uniform", "xavier", "he"),
    "batch_norm": (False, True),
    "plain": (True, False),
}
_MOST = 48  # variants
_TAIL = 0.1  # of the steps, over which the last loss is a mean


@final
@dataclass(frozen=True)
class Variant:
    """One choice of options, with its profile and its first losses."""

    options: Mapping[str, Any]
    profile: Profile  # at the start
    reading: Reading
    losses: NDArray[np.float64]  # (steps,) before each step; empty if none was taken

    @property
    def name(self) -> str:
        """Its options in words."""
        return ", ".join(option_words(option, value) for option, value in self.options.items())

    @property
    def last(self) -> float:
        """The mean loss of the last steps; NaN if none was taken, or it is no longer finite."""
        if not len(self.losses):
            return float("nan")
        tail = self.losses[-max(1, round(_TAIL * len(self.losses))) :]
        return float(tail.mean()) if np.isfinite(tail).all() else float("nan")


def option_words(option: str, value: Any) -> str:
    """A value of an option in words.

    >>> [option_words(*pair) for pair in (("batch_norm", True), ("plain", False), ("activation", "tanh"), ("depth", 20))]
    ['batch norm', 'shortcuts', 'tanh', 'depth 20']
    """
    if option == "plain":
        return "plain" if value else "shortcuts"
    if isinstance(value, bool):
        words = option.replace("_", " ")
        return words if value else f"no {words}"
    return value if isinstance(value, str) else f"{option.replace('_', ' ')} {value:g}"


def variations(network: Network, words: Sequence[str]) -> dict[str, tuple[Any, ...]]:
    """Options and the values to try, from words: "all" (every known option of the model), "depth=20,56", or a known option.

    Raises:
        UsageError: a word without values, too few or too many variants, or a model without options.
        UnknownNameError: an option that the model does not have.
    """
    options: dict[str, tuple[Any, ...]] = {}
    for word in words:
        option, _, listed = word.partition("=")
        option = option.replace("-", "_")
        if option == "all" and not listed:
            options |= {name: values for name, values in KNOWN.items() if _has(network, name, values)}
            continue
        if not listed and option not in KNOWN:
            raise UsageError(f"compare={word!r}: has no values to compare; give e.g. {option}=1,2.")
        values = tuple(_value(one) for one in listed.split(",")) if listed else KNOWN[option]
        for value in values:
            network.untrained(seed=network.seed, **{option: value})  # a bad value is refused by the model itself
        options[option] = values
    count = int(np.prod([len(values) for values in options.values()])) if options else 0
    if count < 2:
        raise UsageError(
            f"compare={' '.join(words)}: leaves nothing to compare; give at least two values, or a model with options such as "
            f"{', '.join(KNOWN)}: mlp, convnet or cifar_resnet."
        )
    if count > _MOST:
        raise UsageError(
            f"compare={' '.join(words)}: gives {count} variants, above {_MOST}; name fewer options or values."
        )
    return options


def _has(network: Network, option: str, values: Sequence[Any]) -> bool:
    """Whether the model has an option with these values."""
    try:
        for value in values:
            network.untrained(seed=network.seed, **{option: value})
    except (UnknownNameError, UsageError):
        return False
    return True


def _value(word: str) -> Any:
    """A written value: an integer, a float, a boolean or a name."""
    if word.lower() in ("true", "false"):
        return word.lower() == "true"
    for kind in (int, float):
        try:
            return kind(word)
        except ValueError:
            continue
    return word
