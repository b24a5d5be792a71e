# SPDX-License-Identifier: Apache-2.0
"""Vectors and matrices of expressions: arithmetic component by component, matrix products, components by index."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Container, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias, final

from pellucid.errors import UsageError
from pellucid.worked.expressions.expression import Add, At, Expr, Mul, Name, Operand, as_expr
from pellucid.worked.expressions.position import position

__all__ = ["Array", "Shape", "broadcast_item", "component_name", "matrix_product", "named_array", "scalar", "size_of"]

Shape: TypeAlias = tuple[int, ...]  # (n,) or (rows, columns)


@final
@dataclass(frozen=True)
class Array:
    """A vector or matrix of expressions, counted from 1; arithmetic works component by component.

    >>> from pellucid.worked.expressions.expression import Name
    >>> x = Array((2,), (Name("x_1"), Name("x_2")))
    >>> (x * 2)[2]
    Mul(factors=(Name(name='x_2'), Const(value=Fraction(2, 1))))
    """

    shape: Shape  # (n,) or (rows, columns)
    items: tuple[Expr, ...]  # row by row
    turned: bool = False  # a vector that was transposed: xᵀy is a number, x·yᵀ a matrix

    def __getitem__(self, places: int | tuple[int, ...]) -> Expr:
        key = places if isinstance(places, tuple) else (places,)
        if len(key) != len(self.shape) or not all(1 <= n <= size for n, size in zip(key, self.shape, strict=True)):
            raise UsageError(
                f"component={list(key)}: there are {_size(self.shape)}, counted from 1; choose one of them."
            )
        # row-major order
        return self.items[key[0] - 1 if len(key) == 1 else (key[0] - 1) * self.shape[1] + key[1] - 1]

    def __iter__(self) -> Iterator[Expr]:
        return iter(self.items)

    def __len__(self) -> int:
        return self.shape[0]

    def __add__(self, other: Array | Operand) -> Array:
        return _joined(lambda a, b: a + b, self, other)

    def __radd__(self, other: Operand) -> Array:
        return _joined(lambda a, b: b + a, self, other)

    def __sub__(self, other: Array | Operand) -> Array:
        return _joined(lambda a, b: a - b, self, other)

    def __rsub__(self, other: Operand) -> Array:
        return _joined(lambda a, b: b - a, self, other)

    def __mul__(self, other: Array | Operand) -> Array:
        return _joined(lambda a, b: a * b, self, other)

    def __rmul__(self, other: Operand) -> Array:
        return _joined(lambda a, b: b * a, self, other)

    def __truediv__(self, other: Array | Operand) -> Array:
        return _joined(lambda a, b: a / b, self, other)

    def __rtruediv__(self, other: Operand) -> Array:
        return _joined(lambda a, b: b / a, self, other)

    def __pow__(self, other: Array | Operand) -> Array:
        return _joined(lambda a, b: a**b, self, other)

    def __neg__(self) -> Array:
        return Array(self.shape, tuple(-item for item in self.items), self.turned)

    @property
    def T(self) -> Array:
        """The transpose.

        >>> from pellucid.worked.expressions.expression import Name
        >>> Array((1, 2), (Name("a"), Name("b"))).T.shape
        (2, 1)
        """
        if len(self.shape) == 1:
            return Array(self.shape, self.items, not self.turned)
        rows, columns = self.shape
        return Array((columns, rows), tuple(self.items[i * columns + j] for j in range(columns) for i in range(rows)))

    def __matmul__(self, other: Array) -> Array | Expr:
        return matrix_product(self, other, None)


def matrix_product(left: Array, right: Array, at: At | None) -> Array | Expr:
    """The product of matrices and vectors; of two vectors it is a scalar.

    >>> from pellucid.worked.expressions.expression import Name
    >>> x = Array((2,), (Name("x_1"), Name("x_2")))
    >>> len((x @ x).terms)
    2

    Raises:
        UsageError: inner sizes that differ.
    """
    if len(left.shape) == 1 and right.turned and not left.turned:  # the outer product x·yᵀ, (n, m)
        pairs = itertools.product(left.items, right.items)
        return Array((*left.shape, *right.shape), tuple(Mul(pair) for pair in pairs))
    # a vector is a row on the left, (1, n), and a column on the right, (n, 1)
    rows = (1, *left.shape) if len(left.shape) == 1 else left.shape
    columns = (*right.shape, 1) if len(right.shape) == 1 else right.shape
    if rows[1] != columns[0]:
        raise UsageError(
            f"{position(at)}@: the left side has {_size(left.shape)} and the right side {_size(right.shape)}; "
            "the last size of the left must equal the first of the right."
        )
    items = []
    for i, j in itertools.product(range(rows[0]), range(columns[1])):
        terms = tuple(Mul((left.items[i * rows[1] + k], right.items[k * columns[1] + j])) for k in range(rows[1]))
        items.append(terms[0] if len(terms) == 1 else Add(terms))
    shape = (*left.shape[:-1], *right.shape[1:])
    return Array(shape, tuple(items), left.turned) if shape else items[0]


def component_name(base: str, places: Sequence[int | str]) -> str:
    """The name of a component: `W_1_2` for row 1 and column 2.

    >>> component_name("W", [1, 2])
    'W_1_2'
    """
    return "_".join([base, *map(str, places)])


def named_array(name: str, known: Container[str], at: At | None) -> Array | None:
    """The vector of z_1, z_2, … or the matrix of a_1_1, a_1_2, …, as far as these names are known.

    >>> named_array("a", {"a_1_1", "a_1_2"}, None).shape
    (1, 2)
    """

    def count(base: str, ending: str = "") -> int:
        n = 0
        while f"{base}_{n + 1}{ending}" in known:
            n += 1
        return n

    if size := count(name):
        return Array((size,), tuple(Name(f"{name}_{n + 1}", at) for n in range(size)))
    rows = count(name, "_1")
    columns = count(f"{name}_1")
    if not rows or any(count(f"{name}_{i + 1}") != columns for i in range(rows)):
        return None  # rows of several lengths are no matrix
    names = [Name(f"{name}_{i + 1}_{j + 1}", at) for i in range(rows) for j in range(columns)]
    return Array((rows, columns), tuple(names))


def scalar(what: Expr | Array, at: At | None) -> Expr:
    """The expression itself; raises UsageError for an array."""
    if isinstance(what, Array):
        raise UsageError(
            f"{position(at)}{_size(what.shape)} where a single number is needed; choose a component, as in x[1]."
        )
    return what


def size_of(shape: Shape) -> int:
    """The number of components of a shape."""
    return shape[0] * (shape[1] if len(shape) > 1 else 1)


def broadcast_item(part: Expr | Array, number: int, shape: Shape, at: At | None) -> Expr:
    """Component `number` of a part broadcast to a shape: a scalar everywhere, a vector in every row of a matrix."""
    if not isinstance(part, Array):
        return part
    if part.shape == shape:
        return part.items[number]
    if len(shape) == 2 and part.shape == shape[1:]:
        return part.items[number % shape[1]]
    raise UsageError(f"{position(at)}{_size(part.shape)} and {_size(shape)} do not fit together; make the sizes equal.")


def _joined(how: Callable[[Expr, Expr], Expr], left: Array, right: Array | Operand) -> Array:
    other = right if isinstance(right, Array) else as_expr(right)
    shape = max(left.shape, other.shape if isinstance(other, Array) else (), key=len)
    pairs = (
        (broadcast_item(left, n, shape, None), broadcast_item(other, n, shape, None)) for n in range(size_of(shape))
    )
    return Array(shape, tuple(how(a, b) for a, b in pairs))


def _size(shape: Shape) -> str:
    return f"{shape[0]} components" if len(shape) == 1 else f"{shape[0]}×{shape[1]} components"
