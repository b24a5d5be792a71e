# SPDX-License-Identifier: Apache-2.0
"""One equation of a worksheet."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from pellucid.worked.expressions.expression import At, Const, Expr, Neg

__all__ = ["Equation"]


@final
@dataclass(frozen=True, slots=True)
class Equation:
    """A name and what it equals."""

    name: str
    right: Expr
    at: At | None = None

    @property
    def given(self) -> bool:
        """Whether the right side is a plain number, given rather than computed.

        >>> from fractions import Fraction
        >>> Equation("a", Const(Fraction(1))).given
        True
        """
        inner = self.right.term if isinstance(self.right, Neg) else self.right
        return isinstance(inner, Const)
