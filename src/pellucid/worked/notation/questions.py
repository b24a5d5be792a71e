# SPDX-License-Identifier: Apache-2.0
"""Questions about a worksheet: values, derivatives, and parameters after optimiser steps."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Final, final

from pellucid.worked.expressions.expression import At

__all__ = ["Question"]

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
}
"""The optimisers with their options and defaults: `lr` is the learning rate λ, `rho` the momentum ρ."""


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
