# SPDX-License-Identifier: Apache-2.0
"""The statements of a worksheet's text as the parser reads them, before loops and vectors are expanded."""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from typing import final

from pellucid.worked.expressions.expression import At, Expr, Index, Name

__all__ = [
    "Adjacent",
    "ArrayLiteral",
    "Bars",
    "EquationStatement",
    "Loop",
    "MatrixProduct",
    "OverAxis",
    "OverIndex",
    "QuestionStatement",
    "Subscript",
    "Transpose",
]


@final
@dataclass(frozen=True, slots=True)
class Adjacent(Expr):
    """Two factors side by side, `2x` or `W x`, or with a point, `W·x`: a product, of matrices and vectors their matrix product."""

    left: Expr
    right: Expr
    at: At | None = field(default=None, compare=False, repr=False)
    dotted: bool = field(default=False, repr=False)  # w·x of two vectors is their scalar product
    word: str = field(default="", repr=False)  # wx, written as one word


@final
@dataclass(frozen=True, slots=True)
class Bars(Expr):
    """|x|, the absolute value of a number; of a vector people mean its norm, or each component's absolute value."""

    of: Expr
    at: At | None = field(default=None, compare=False, repr=False)


@final
@dataclass(frozen=True, slots=True)
class OverIndex(Expr):
    """A product over an index, or a sum that leaves one index out: ∏_i x_i, Σ_{j≠1} x_j."""

    function: str  # sum or prod
    body: Expr
    index: str
    low: Expr | None  # None: all components of the vectors that carry the index
    high: Expr | None
    without: Expr | None
    at: At | None = field(default=None, compare=False, repr=False)


@final
@dataclass(frozen=True, slots=True)
class Transpose(Expr):
    """A transposed matrix or vector."""

    of: Expr
    at: At | None = field(default=None, compare=False, repr=False)


@final
@dataclass(frozen=True, slots=True)
class OverAxis(Expr):
    """A function of many numbers along one axis of a matrix: 0 down the columns, 1 along the rows, -1 the last one, or all."""

    call: Expr
    axis: str
    at: At | None = field(default=None, compare=False, repr=False)


@final
@dataclass(frozen=True, slots=True)
class ArrayLiteral(Expr):
    """A bracketed list: a vector, or the rows of a matrix."""

    items: tuple[Expr, ...]
    at: At | None = field(default=None, compare=False, repr=False)


@final
@dataclass(frozen=True, slots=True)
class MatrixProduct(Expr):
    """A matrix product."""

    left: Expr
    right: Expr
    at: At | None = field(default=None, compare=False, repr=False)


@final
@dataclass(frozen=True, slots=True)
class Subscript(Expr):
    """A component of a value without a name, such as softmax(z)[1]."""

    of: Expr
    places: tuple[Expr, ...]
    at: At | None = field(default=None, compare=False, repr=False)


@final
@dataclass(frozen=True, slots=True)
class Loop:
    """A loop variable with its first and last value."""

    variable: str
    low: Expr
    high: Expr
    at: At


@final
@dataclass(frozen=True, slots=True)
class EquationStatement:
    """An equation as it is written, with its loops."""

    target: Name | Index
    right: Expr
    loops: tuple[Loop, ...]
    at: At


@final
@dataclass(frozen=True, slots=True)
class QuestionStatement:
    """A question as it is written: the values `names`, the derivatives of `of`, or `names` after `steps` of a `rule`."""

    names: tuple[Name | Index, ...]
    at: At
    of: Name | Index | None = None
    rule: str = ""
    steps: int = 1
    options: tuple[tuple[str, Fraction | Expr], ...] = ()
