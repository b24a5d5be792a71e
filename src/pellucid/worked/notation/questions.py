# SPDX-License-Identifier: Apache-2.0
"""Questions about a worksheet: values, derivatives, and parameters after optimiser steps."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Final, final

from pellucid.worked.expressions.expression import At

__all__ = ["FURTHER", "MAX_STEPS", "OPTIMISERS", "Question", "option_named", "rule_named"]

MAX_STEPS: Final = 1000

OPTIMISERS: Final = {
    "sgd": {"lr": Fraction(1, 100)},
    "momentum": {"lr": Fraction(1, 100), "rho": Fraction(9, 10)},
    "nesterov": {"lr": Fraction(1, 100), "rho": Fraction(9, 10)},
    "adam": {
        "lr": Fraction(1, 1000),
        "beta1": Fraction(9, 10),
        "beta2": Fraction(999, 1000),
        "eps": Fraction(1, 10**8),
    },
    "adamw": {
        "lr": Fraction(1, 1000),
        "beta1": Fraction(9, 10),
        "beta2": Fraction(999, 1000),
        "eps": Fraction(1, 10**8),
        "weight_decay": Fraction(1, 100),
    },
    "rmsprop": {"lr": Fraction(1, 100), "rho": Fraction(9, 10), "eps": Fraction(1, 10**8)},
    "adagrad": {"lr": Fraction(1, 100), "eps": Fraction(1, 10**8)},
}
"""The optimisers with their options and defaults: `lr` is the learning rate λ, `rho` the momentum ρ or the decay of squares."""

FURTHER: Final = {
    "sgd": ("weight_decay",),
    "momentum": ("weight_decay", "v"),
    "nesterov": ("weight_decay", "v"),
    "adam": ("weight_decay", "m", "v", "step"),
    "adamw": ("m", "v", "step"),
    "rmsprop": ("weight_decay", "v"),
    "adagrad": ("weight_decay", "s"),
}
"""Options that are left out where they are 0: the velocity, moment or sum of squares to begin with, and the number of the first step."""

_RULES: Final = {
    "gd": "sgd",
    "gradientdescent": "sgd",
    "nag": "nesterov",
    "sgdmomentum": "momentum",
    "heavyball": "momentum",
    "nesterovmomentum": "nesterov",
    "rms": "rmsprop",
}
_OPTIONS: Final = {
    "learning_rate": "lr",
    "learningrate": "lr",
    "eta": "lr",
    "rate": "lr",
    "alpha": "lr",
    "stepsize": "lr",
    "momentum": "rho",
    "mu": "rho",
    "gamma": "rho",
    "decay": "rho",
    "beta": "rho",
    "beta_1": "beta1",
    "beta_2": "beta2",
    "epsilon": "eps",
    "wd": "weight_decay",
    "l2": "weight_decay",
    "v_0": "v",
    "v0": "v",
    "velocity": "v",
    "m_0": "m",
    "m0": "m",
    "s_0": "s",
    "s0": "s",
    "t": "step",
    "t_0": "step",
}


def rule_named(word: str) -> str:
    """The optimiser of a word, in any spelling.

    >>> rule_named("SGD"), rule_named("RMSProp"), rule_named("NAG")
    ('sgd', 'rmsprop', 'nesterov')
    """
    plain = word.replace("_", "").lower()
    return _RULES.get(plain, plain)


def option_named(rule: str, word: str) -> str:
    """The option of a word, such as η for the learning rate; α is the decay of RMSprop, as in PyTorch."""
    if rule == "rmsprop" and word == "alpha":
        return "rho"
    return _OPTIONS.get(word, word)


@final
@dataclass(frozen=True, slots=True)
class Question:
    """A question about quantities by their names.

    >>> Question(("W_h",), of="L").title
    'dL/dW_h'
    """

    names: tuple[str, ...]  # the values wanted, the variables of the derivatives, or the parameters of the update
    of: str = ""  # the quantity that is differentiated or minimised
    rule: str = ""  # the update rule, a key of `OPTIMISERS`
    steps: int = 1
    options: tuple[tuple[str, Fraction], ...] = ()
    at: At | None = None

    @property
    def title(self) -> str:
        """The question as it is written in a text, without the ?."""
        if self.rule:
            options = ", ".join(f"{name}={float(value):g}" for name, value in self.options)
            count = f"{self.steps} " if self.steps != 1 else ""
            return f"{', '.join(self.names)} after {count}{self.rule}({options}) on {self.of}"
        return f"d{self.of}/d{self.names[0]}" if self.of else ", ".join(self.names)
