# SPDX-License-Identifier: Apache-2.0
"""Which variants of a model are compared, and what is known of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from pellucid.errors import UnknownNameError, UsageError
from pellucid.lenses._contract import Subject
from pellucid.lenses.flow.rules import Reading
from pellucid.lenses.flow.sizes import Profile

__all__ = ["KNOWN", "Variant", "said", "variations"]

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
    """One choice of options, and what was seen of it."""

    options: Mapping[str, Any]
    profile: Profile  # at the start
    read: Reading
    losses: NDArray[np.float64]  # before every step; empty where none was taken

    @property
    def name(self) -> str:
        """Its options in words."""
        return ", ".join(said(option, value) for option, value in self.options.items())

    @property
    def last(self) -> float:
        """The mean loss of the last steps; NaN where none was taken, or it was no longer finite."""
        if not len(self.losses):
            return float("nan")
        tail = self.losses[-max(1, round(_TAIL * len(self.losses))) :]
        return float(tail.mean()) if np.isfinite(tail).all() else float("nan")


def said(option: str, value: Any) -> str:
    """A value of an option in words.

    >>> said("batch_norm", True), said("plain", False), said("activation", "tanh"), said("depth", 20)
    ('batch norm', 'shortcuts', 'tanh', 'depth 20')
    """
    if option == "plain":
        return "plain" if value else "shortcuts"
    if isinstance(value, bool):
        words = option.replace("_", " ")
        return words if value else f"no {words}"
    return value if isinstance(value, str) else f"{option.replace('_', ' ')} {value:g}"


def variations(subject: Subject, words: Sequence[str]) -> dict[str, tuple[Any, ...]]:
    """Options and the values to try: of "all" those known that the model has, else those named, each with its own values or the known.

    Raises:
        UsageError: a word that says no values, too few or too many variants, or a model without the options.
        UnknownNameError: an option that the model does not have.
    """
    if subject.untrained is None:
        raise UsageError("compare: needs a model that can be built anew; look at a run or a task.")
    found: dict[str, tuple[Any, ...]] = {}
    for word in words:
        option, _, listed = word.partition("=")
        option = option.replace("-", "_")
        if option == "all" and not listed:
            found |= {name: values for name, values in KNOWN.items() if _has(subject, name, values)}
            continue
        if not listed and option not in KNOWN:
            raise UsageError(f"compare={word!r}: says no values to compare; give e.g. {option}=1,2.")
        values = tuple(_value(one) for one in listed.split(",")) if listed else KNOWN[option]
        for value in values:
            subject.untrained(seed=subject.seed, **{option: value})  # says what is wrong with it
        found[option] = values
    count = int(np.prod([len(values) for values in found.values()])) if found else 0
    if count < 2:
        raise UsageError(
            f"compare={' '.join(words)}: leaves nothing to compare; give two values or more, or a model that has options "
            f"such as {', '.join(KNOWN)}: mlp, convnet or cifar_resnet."
        )
    if count > _MOST:
        raise UsageError(
            f"compare={' '.join(words)}: are {count} variants, above {_MOST}; name fewer options or values."
        )
    return found


def _has(subject: Subject, option: str, values: Sequence[Any]) -> bool:
    """Whether the model has an option of these values."""
    assert subject.untrained is not None
    try:
        for value in values:
            subject.untrained(seed=subject.seed, **{option: value})
    except (UnknownNameError, UsageError):
        return False
    return True


def _value(word: str) -> Any:
    """A value as it is written: a whole number, a number, yes or no, or a name."""
    if word.lower() in ("true", "false"):
        return word.lower() == "true"
    for kind in (int, float):
        try:
            return kind(word)
        except ValueError:
            continue
    return word
