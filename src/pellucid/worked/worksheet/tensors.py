# SPDX-License-Identifier: Apache-2.0
"""Numbers of any shape put into a worksheet: each component a quantity of its own, x_1_2 for row 1 and column 2."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from pellucid.errors import UsageError
from pellucid.worked.expressions.expression import Add, Const, Expr, Mul, Name, Operand, as_expr
from pellucid.worked.notation.arrays import Array, component
from pellucid.worked.worksheet.worksheet import Worksheet

__all__ = ["Numbers", "Tensor", "as_tensor", "ask_all", "ask_slopes", "place", "summed", "weighted"]

Numbers: TypeAlias = "float | Sequence[Any] | NDArray[Any]"
"""A number, nested lists of numbers of one length, or a NumPy array."""

Tensor: TypeAlias = NDArray[Any]
"""A NumPy array of expressions."""

COMPONENTS: Final = 1500


def as_tensor(value: Numbers, name: str, *dimensions: int) -> Tensor:
    """Numbers as an array of expressions.

    >>> as_tensor([[1, 2], [3, 0.5]], "x", 2).shape
    (2, 2)

    Args:
        value: numbers.
        name: what it is called in the sentence that refuses it.
        dimensions: how many it may have; any number if none is given.

    Raises:
        UsageError: lists of several lengths, no numbers, or another number of dimensions.
    """
    try:
        found = np.array(value, dtype=object)
    except ValueError:  # nested lists of several lengths below the first level
        found = np.array([None])
    if any(isinstance(each, (list, tuple, np.ndarray)) or each is None for each in found.flat):
        raise UsageError(f"{name}: its rows are of several lengths; give rows of equally many numbers.")
    if found.size == 0:
        raise UsageError(f"{name}: holds no number; give at least one.")
    if dimensions and found.ndim not in dimensions:
        wanted = " or ".join(map(str, dimensions))
        raise UsageError(f"{name}.shape={found.shape}: must have {wanted} dimensions; reshape it.")
    if found.size > COMPONENTS:
        raise UsageError(
            f"{name}.shape={found.shape}: has more than {COMPONENTS:,} numbers; work a smaller one by hand."
        )
    expressions: Tensor = np.empty(found.shape, dtype=object)
    for where in np.ndindex(found.shape):
        number: Any = found[where]
        expressions[where] = as_expr(number)
    return expressions


def place(sheet: Worksheet, name: str, values: Tensor) -> Tensor:
    """Give a worksheet the components of a quantity, counted from 1; returns their names in the same shape.

    >>> sheet = Worksheet()
    >>> place(sheet, "x", as_tensor([[1, 2]], "x"))[0, 1]
    Name(name='x_1_2')
    """
    names = np.empty(values.shape, dtype=object)
    for where in np.ndindex(values.shape):
        names[where] = Name(component(name, [n + 1 for n in where]))
    if values.ndim in (1, 2):  # the worksheet knows vectors and matrices as wholes
        sheet[name] = Array(tuple(values.shape), tuple(values.flat))
    else:
        for where in np.ndindex(values.shape):
            sheet[component(name, [n + 1 for n in where])] = values[where]
    return names


def summed(terms: Sequence[Expr]) -> Expr:
    """The sum of any number of terms.

    >>> summed([]), summed([Name("a")])
    (Const(value=Fraction(0, 1)), Name(name='a'))
    """
    if not terms:
        return Const(Fraction(0))
    return terms[0] if len(terms) == 1 else Add(tuple(terms))


def weighted(left: Sequence[Operand], right: Sequence[Operand]) -> Expr:
    """The sum of products of two sequences.

    >>> weighted([Name("a")], [Name("b")])
    Mul(factors=(Name(name='a'), Name(name='b')))
    """
    return summed([Mul((as_expr(a), as_expr(b))) for a, b in zip(left, right, strict=True)])


def ask_all(sheet: Worksheet, names: Tensor) -> None:
    """Ask for the value of every component.

    >>> sheet = Worksheet()
    >>> ask_all(sheet, place(sheet, "x", as_tensor([1, 2], "x")))
    >>> [question.title for question in sheet.questions]
    ['x_1', 'x_2']
    """
    sheet.ask(*(each.name for each in names.flat))


def ask_slopes(sheet: Worksheet, of: str, names: Tensor) -> None:
    """Ask for the derivative of one quantity by every component.

    >>> sheet = Worksheet("x_1 = 1; x_2 = 2; L = x_1*x_2")
    >>> ask_slopes(sheet, "L", np.array([Name("x_1"), Name("x_2")]))
    >>> [question.title for question in sheet.questions]
    ['dL/dx_1', 'dL/dx_2']
    """
    sheet.ask(*(f"d{of}/d{each.name}" for each in names.flat))
