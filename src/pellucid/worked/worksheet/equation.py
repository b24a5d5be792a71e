# SPDX-License-Identifier: Apache-2.0
"""An equation: a name and what it equals."""

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
        """Whether it is a number that is given rather than worked out.

        >>> from fractions import Fraction
        >>> Equation("a", Const(Fraction(1))).given
        True
        """
        inner = self.right.term if isinstance(self.right, Neg) else self.right
        return isinstance(inner, Const)
