# SPDX-License-Identifier: Apache-2.0
"""Arrays in a worksheet: each component is a quantity of its own, x_1_2 for row 1 and column 2."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from pellucid.errors import UsageError
from pellucid.worked.expressions.expression import Add, Const, Expr, Mul, Name, Operand, as_expr
from pellucid.worked.notation.arrays import Array, component_name
from pellucid.worked.worksheet.worksheet import Worksheet

__all__ = ["Numbers", "Tensor", "as_tensor", "ask_gradient", "ask_values", "define", "dot", "summed"]

Numbers: TypeAlias = "float | Sequence[Any] | NDArray[Any]"
"""A number, nested lists of numbers of one length, or a NumPy array."""

Tensor: TypeAlias = NDArray[Any]
"""A NumPy array of expressions."""

COMPONENTS: Final = 1500  # of one array


def as_tensor(value: Numbers, name: str, *dimensions: int) -> Tensor:
    """Numbers as an array of expressions.

    >>> as_tensor([[1, 2], [3, 0.5]], "x", 2).shape
    (2, 2)

    Args:
        value: numbers.
        name: what error messages call it.
        dimensions: the numbers of dimensions that are allowed; any if none is given.

    Raises:
        UsageError: rows of different lengths, no numbers, or another number of dimensions.
    """
    try:
        array = np.array(value, dtype=object)
    except ValueError:  # ragged below the first level
        array = np.array([None])
    # ragged at the first level, NumPy makes an array of lists
    if any(isinstance(item, (list, tuple, np.ndarray)) or item is None for item in array.flat):
        raise UsageError(f"{name}: its rows have different lengths; give rows of one length.")
    if array.size == 0:
        raise UsageError(f"{name}: is empty; give at least one number.")
    if dimensions and array.ndim not in dimensions:
        wanted = " or ".join(map(str, dimensions))
        raise UsageError(f"{name}.shape={array.shape}: must have {wanted} dimensions; reshape it.")
    if array.size > COMPONENTS:
        raise UsageError(
            f"{name}.shape={array.shape}: has more than {COMPONENTS:,} numbers; work a smaller one by hand."
        )
    expressions: Tensor = np.empty(array.shape, dtype=object)
    for where in np.ndindex(array.shape):
        number: Any = array[where]
        expressions[where] = as_expr(number)
    return expressions


def define(sheet: Worksheet, name: str, values: Tensor) -> Tensor:
    """Define a quantity component by component, counted from 1; returns the names in the same shape.

    >>> sheet = Worksheet()
    >>> define(sheet, "x", as_tensor([[1, 2]], "x"))[0, 1]
    Name(name='x_1_2')
    """
    names = np.empty(values.shape, dtype=object)
    for where in np.ndindex(values.shape):
        names[where] = Name(component_name(name, [n + 1 for n in where]))
    if values.ndim in (1, 2):  # a vector or matrix can be used as a whole in later equations
        sheet[name] = Array(tuple(values.shape), tuple(values.flat))
    else:
        for where in np.ndindex(values.shape):
            sheet[component_name(name, [n + 1 for n in where])] = values[where]
    return names


def summed(terms: Sequence[Expr]) -> Expr:
    """The sum of any number of terms; of none, 0.

    >>> summed([]), summed([Name("a")])
    (Const(value=Fraction(0, 1)), Name(name='a'))
    """
    if not terms:
        return Const(Fraction(0))
    return terms[0] if len(terms) == 1 else Add(tuple(terms))


def dot(left: Sequence[Operand], right: Sequence[Operand]) -> Expr:
    """The dot product of two sequences.

    >>> dot([Name("a")], [Name("b")])
    Mul(factors=(Name(name='a'), Name(name='b')))
    """
    return summed([Mul((as_expr(a), as_expr(b))) for a, b in zip(left, right, strict=True)])


def ask_values(sheet: Worksheet, names: Tensor) -> None:
    """Ask for the value of every component.

    >>> sheet = Worksheet()
    >>> ask_values(sheet, define(sheet, "x", as_tensor([1, 2], "x")))
    >>> [question.title for question in sheet.questions]
    ['x_1', 'x_2']
    """
    sheet.ask(*(item.name for item in names.flat))


def ask_gradient(sheet: Worksheet, of: str, names: Tensor) -> None:
    """Ask for the derivative of one quantity with respect to every component of another.

    >>> sheet = Worksheet("x_1 = 1; x_2 = 2; L = x_1*x_2")
    >>> ask_gradient(sheet, "L", np.array([Name("x_1"), Name("x_2")]))
    >>> [question.title for question in sheet.questions]
    ['dL/dx_1', 'dL/dx_2']
    """
    sheet.ask(*(f"d{of}/d{item.name}" for item in names.flat))
