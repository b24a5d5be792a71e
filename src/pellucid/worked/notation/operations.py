# SPDX-License-Identifier: Apache-2.0
"""The functions of a worksheet for use in Python; on vectors and matrices they work component by component."""

from __future__ import annotations

from typing import Any, TypeVar

from pellucid.errors import UsageError
from pellucid.worked.expressions.expression import Add, Call, Condition, Expr, Operand, Piecewise, as_expr
from pellucid.worked.notation.arrays import Array, broadcast_item, size_of
from pellucid.worked.notation.components import softmax_of

__all__ = [
    "absolute",
    "clip",
    "exp",
    "leaky_relu",
    "log",
    "maximum",
    "minimum",
    "piecewise",
    "relu",
    "sigmoid",
    "softmax",
    "sqrt",
    "tanh",
    "total",
]

T = TypeVar("T", Expr, Array)


def _each(name: str, what: T, *more: Operand) -> T:
    others: tuple[Expr, ...] = tuple(as_expr(operand) for operand in more)
    if isinstance(what, Array):
        return Array(what.shape, tuple(Call(name, (item, *others)) for item in what.items))
    return Call(name, (as_expr(what), *others))


def exp(what: T) -> T:
    """e to this power."""
    return _each("exp", what)


def log(what: T) -> T:
    """The natural logarithm."""
    return _each("log", what)


def sqrt(what: T) -> T:
    """The square root."""
    return _each("sqrt", what)


def sigmoid(what: T) -> T:
    """1/(1 + e⁻ᶻ)."""
    return _each("sigmoid", what)


def tanh(what: T) -> T:
    """The hyperbolic tangent."""
    return _each("tanh", what)


def relu(what: T) -> T:
    """max(0, z); its derivative at 0 is taken as 0."""
    return _each("relu", what)


def leaky_relu(what: T, slope: Operand = 0.01) -> T:
    """z for positive z, else slope·z."""
    return _each("leaky_relu", what, slope)


def absolute(what: T) -> T:
    """The absolute value; its derivative at 0 is taken as 0."""
    return _each("abs", what)


def clip(what: T, low: Operand, high: Operand) -> T:
    """The number limited to the range from `low` to `high`."""
    return _each("clip", what, low, high)


def softmax(*what: Array | Operand, axis: int | None = -1) -> Array:
    """The vector e^z_i / Σ e^z_j; of a matrix along each row, with axis=0 down the columns, with None over all numbers.

    >>> len(softmax(1, 2, 3))
    3
    """
    one = what[0] if len(what) == 1 and isinstance(what[0], Array) and len(what[0].shape) == 2 else None
    if one is None or axis is None:
        items = _items(what)
        return Array((len(items),) if one is None else one.shape, softmax_of(items))
    lines = one.T if axis == 0 else one
    rows, columns = lines.shape
    done = [item for n in range(rows) for item in softmax_of(lines.items[n * columns :][:columns])]
    found = Array(lines.shape, tuple(done))
    return found.T if axis == 0 else found


def maximum(*what: Array | Operand) -> Any:
    """The largest argument, of vectors component by component; of a single vector its largest component.

    Among equal ones the derivative goes to the first.

    >>> len(maximum(0, softmax(1, 2)))
    2
    """
    return _extreme("max", what)


def minimum(*what: Array | Operand) -> Any:
    """The smallest argument, of vectors component by component; of a single vector its smallest component.

    Among equal ones the derivative goes to the first.
    """
    return _extreme("min", what)


def _extreme(name: str, what: tuple[Array | Operand, ...]) -> Expr | Array:
    arrays = [arg for arg in what if isinstance(arg, Array)]
    if len(what) < 2 or not arrays:
        return Call(name, _items(what))
    shape = max((array.shape for array in arrays), key=len)
    parts = [arg if isinstance(arg, Array) else as_expr(arg) for arg in what]
    columns = ([broadcast_item(part, n, shape, None) for part in parts] for n in range(size_of(shape)))
    return Array(shape, tuple(Call(name, tuple(column)) for column in columns))


def total(*what: Array | Operand) -> Expr:
    """The sum of all components."""
    items = _items(what)
    return items[0] if len(items) == 1 else Add(items)


def piecewise(*branches: tuple[Operand, Condition], otherwise: Operand) -> Expr:
    """The first value whose condition holds.

    >>> from pellucid.worked.expressions.expression import Name
    >>> x = Name("x")
    >>> piecewise((x**2, x < 1), otherwise=1).otherwise
    Const(value=Fraction(1, 1))

    Raises:
        UsageError: no branch, or a branch without a comparison.
    """
    if not branches or not all(isinstance(test, Condition) for _, test in branches):
        raise UsageError("branches: each must be a value and a comparison, as in (x**2, x < 1); give at least one.")
    return Piecewise(tuple((as_expr(value), test) for value, test in branches), as_expr(otherwise))


def _items(what: tuple[Array | Operand, ...]) -> tuple[Expr, ...]:
    items = tuple(item for arg in what for item in (arg.items if isinstance(arg, Array) else (as_expr(arg),)))
    if not items:
        raise UsageError("arguments=(): there are none; give at least one.")
    return items
