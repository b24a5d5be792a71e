# SPDX-License-Identifier: Apache-2.0
"""Loops, sums over ranges, vectors and matrices spelt out: what is written becomes one scalar equation per quantity."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Final, TypeAlias, final

from pellucid.errors import UsageError
from pellucid.worked.expressions.expression import (
    Add,
    At,
    Call,
    Const,
    Expr,
    Index,
    Mul,
    Name,
    Neg,
    Operand,
    Piecewise,
    Sum,
    as_expr,
    children,
    first,
    rebuild,
    walk,
)
from pellucid.worked.expressions.position import place
from pellucid.worked.notation.statements import Component, Given, Loop, Product, Row

__all__ = ["Array", "Scope", "Shape", "component", "elaborate", "ranges", "scalar", "terms", "whole"]

TERMS: Final = 10_000  # of all loops of one statement, of one sum
NODES: Final = 100_000  # of a worksheet, written out

Shape: TypeAlias = tuple[int, ...]
Bound: TypeAlias = Mapping[str, int]


@final
@dataclass(frozen=True)
class Array:
    """A vector or matrix of expressions, counted from 1; arithmetic works component by component.

    >>> x = Array((2,), (Name("x_1"), Name("x_2")))
    >>> (x * 2)[2]
    Mul(factors=(Name(name='x_2'), Const(value=Fraction(2, 1))))
    """

    shape: Shape  # (n,) or (rows, columns)
    items: tuple[Expr, ...]  # row by row

    def __getitem__(self, places: int | tuple[int, ...]) -> Expr:
        key = places if isinstance(places, tuple) else (places,)
        if len(key) != len(self.shape) or not all(1 <= n <= size for n, size in zip(key, self.shape, strict=True)):
            raise UsageError(
                f"component={list(key)}: there are {_size(self.shape)}, counted from 1; choose one of them."
            )
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
        return Array(self.shape, tuple(-item for item in self.items))

    def __matmul__(self, other: Array) -> Array | Expr:
        return matrix_product(self, other, None)


@final
@dataclass
class Scope:
    """What the names of a text stand for, and how many more nodes may be written out of it."""

    find: Callable[[str, At | None], Array | None]  # None: a number
    left: int = NODES

    def promise(self, statements: Sequence[Given]) -> None:
        """Refuse a text that stands for too many nodes before the first of them is written out."""
        count = 0
        for each in statements:
            nest = each.right
            for loop in reversed(each.loops):
                nest = Sum(nest, loop.variable, loop.low, loop.high, (), loop.at)
            count += terms(nest, {})
            self._allow(count, each.at)

    def spend(self, nodes: int, at: At | None) -> None:
        """Count nodes that are written out; a short text may stand for very many."""
        self._allow(nodes, at)
        self.left -= nodes

    def _allow(self, nodes: int, at: At | None) -> None:
        if nodes > self.left:
            raise UsageError(
                f"{place(at)}written out, the worksheet has more than {NODES:,} terms; make its sums and loops shorter."
            )


def terms(what: Expr, bound: Bound) -> int:
    """How many nodes an expression is written out to, at least: vectors count as one node. It is counted, not written out.

    >>> inner = Sum(Name("j"), "j", Const(Fraction(1)), Name("i"))
    >>> terms(Sum(inner, "i", Const(Fraction(1)), Const(Fraction(3))), {})
    10

    Raises:
        UsageError: a range that is not made of numbers and loop variables.
    """
    match what:
        case Sum(body=body, index=index, low=low, high=high, at=at):
            first_number, last = whole(low, bound, at), whole(high, bound, at)
            count = min(last - first_number + 1, TERMS + 1)  # a longer range is refused when it is written out
            if not _ranges_over(body, index):
                return 1 + max(0, count) * terms(body, {**bound, index: first_number})
            total = 1
            for number in range(first_number, first_number + count):
                total += terms(body, {**bound, index: number})
                if total > NODES:
                    break
            return total
        case Index():
            return 1
    return 1 + sum(terms(part, bound) for part in children(what))


def matrix_product(left: Array, right: Array, at: At | None) -> Array | Expr:
    """The product of matrices and vectors; of two vectors it is a scalar.

    >>> x = Array((2,), (Name("x_1"), Name("x_2")))
    >>> len((x @ x).terms)
    2

    Raises:
        UsageError: inner sizes that differ.
    """
    rows = (1, *left.shape) if len(left.shape) == 1 else left.shape
    columns = (*right.shape, 1) if len(right.shape) == 1 else right.shape
    if rows[1] != columns[0]:
        raise UsageError(
            f"{place(at)}@: the left side is {_size(left.shape)} and the right side {_size(right.shape)}; "
            "the last number of the left must be the first of the right."
        )
    items = []
    for i, j in itertools.product(range(rows[0]), range(columns[1])):
        terms = tuple(Mul((left.items[i * rows[1] + k], right.items[k * columns[1] + j])) for k in range(rows[1]))
        items.append(terms[0] if len(terms) == 1 else Add(terms))
    shape = (*left.shape[:-1], *right.shape[1:])
    return Array(shape, tuple(items)) if shape else items[0]


def elaborate(what: Expr, scope: Scope, bound: Bound) -> Expr | Array:
    """What is written, with loop variables as numbers, sums written out, and vectors as arrays.

    Args:
        what: from the parser.
        scope: what the names stand for.
        bound: the numbers of the loop variables.

    Raises:
        UsageError: a place that is no whole number, shapes that do not fit, a sum that is too long.
    """
    scope.spend(1, getattr(what, "at", None))
    match what:
        case Name(name=name, at=at):
            if name in bound:
                return Const(Fraction(bound[name]))
            resolved = _subscripts(name, bound)
            return Name(resolved, at) if resolved != name else scope.find(name, at) or what
        case Index(base=base, places=places, at=at):
            return Name(component(base, [whole(each, bound, at) for each in places]), at)
        case Row(items=items, at=at):
            return _row([elaborate(each, scope, bound) for each in items], at)
        case Product(left=left, right=right, at=at):
            one, two = elaborate(left, scope, bound), elaborate(right, scope, bound)
            if not isinstance(one, Array) or not isinstance(two, Array):
                raise UsageError(f"{place(at)}@: is the product of vectors or matrices; for numbers write *.")
            scope.spend(len(one.items) * (two.shape[1] if len(two.shape) > 1 else 1), at)
            return matrix_product(one, two, at)
        case Component(of=of, places=places, at=at):
            found = elaborate(of, scope, bound)
            if not isinstance(found, Array):
                raise UsageError(f"{place(at)}[…]: stands after one number; only a vector or matrix has components.")
            try:
                return found[tuple(whole(each, bound, at) for each in places)]
            except UsageError as fault:
                raise UsageError(f"{place(at)}{fault}") from None
        case Sum():
            return _sum(what, scope, bound)
        case Call(function="sum" | "softmax" | "max" | "min"):
            return _over_components(what, scope, [elaborate(each, scope, bound) for each in what.args])
    parts: list[Expr | Array] = []

    def note(inner: Expr) -> Expr:
        parts.append(elaborate(inner, scope, bound))
        return inner

    rebuild(what, note)
    arrays = [part for part in parts if isinstance(part, Array)]
    if not arrays:
        scalars = iter(parts)
        return rebuild(what, lambda _: scalar(next(scalars), None))
    if isinstance(what, Piecewise):
        raise UsageError(f"{place(what.at)}piecewise: works on numbers; write it for each component with for i = 1..n.")
    shape = max((each.shape for each in arrays), key=len)
    scope.spend(_count(shape) * len(parts), getattr(what, "at", None))
    written: list[Expr] = []
    for number in range(_count(shape)):
        chosen = iter([_at(part, number, shape, first(what)) for part in parts])
        written.append(rebuild(what, lambda _: next(chosen)))  # noqa: B023
    return Array(shape, tuple(written))


def component(base: str, places: Sequence[int]) -> str:
    """The name of a component: `W_1_2` for row 1 and column 2.

    >>> component("W", [1, 2])
    'W_1_2'
    """
    return "_".join([base, *map(str, places)])


def whole(what: Expr, bound: Bound, at: At | None) -> int:
    """A whole number from 0 on that is worked out from loop variables, as t − 1 is."""
    value = _number(what, bound)
    if value is None or value.denominator != 1 or not 0 <= value <= 1_000_000:
        raise UsageError(f"{place(at)}place: must be a whole number from 0 on, made of numbers and loop variables.")
    return int(value)


def ranges(loops: Sequence[Loop], bound: Bound) -> Iterator[dict[str, int]]:
    """Every combination of numbers of the loop variables; a later loop may use an earlier variable.

    Raises:
        UsageError: more than 10,000 combinations, or a range that is empty.
    """
    found: list[dict[str, int]] = [dict(bound)]
    for loop in loops:
        longer = []
        for numbers in found:
            low, high = whole(loop.low, numbers, loop.at), whole(loop.high, numbers, loop.at)
            if high < low:
                raise UsageError(
                    f"{place(loop.at)}{loop.variable}={low}..{high}: is empty; begin with the smaller number."
                )
            if (high - low + 1) * len(found) > TERMS:
                raise UsageError(
                    f"{place(loop.at)}{loop.variable}={low}..{high}: at most {TERMS:,} terms are written out."
                )
            longer += [{**numbers, loop.variable: n} for n in range(low, high + 1)]
        found = longer
    yield from found


def scalar(what: Expr | Array, at: At | None) -> Expr:
    """The expression itself; an array where a number is wanted is a mistake."""
    if isinstance(what, Array):
        raise UsageError(
            f"{place(at)}{_size(what.shape)} stand where one number is wanted; name a component, as in x[1]."
        )
    return what


def _number(what: Expr, bound: Bound) -> Fraction | None:
    match what:
        case Const(value=Fraction() as value):
            return value
        case Name(name=name):
            return Fraction(bound[name]) if name in bound else None
        case Neg(term=term):
            inner = _number(term, bound)
            return None if inner is None else -inner
        case Add(terms=parts) | Mul(factors=parts):
            found = [_number(part, bound) for part in parts]
            if any(part is None for part in found):
                return None
            total = Fraction(0 if isinstance(what, Add) else 1)
            for part in found:
                assert part is not None
                total = total + part if isinstance(what, Add) else total * part
            return total
    return None


def _ranges_over(body: Expr, index: str) -> bool:
    """Whether a sum inside begins or ends at a number that depends on the index of the sum outside."""
    sums = (part for part in walk(body) if isinstance(part, Sum))
    return any(Name(index) in walk(end) for part in sums for end in (part.low, part.high))


def _subscripts(name: str, bound: Bound) -> str:
    """`z_i` with i = 2 is `z_2`; a name whose subscripts are no loop variables stays."""
    base, *parts = name.split("_")
    return "_".join([base, *(str(bound[part]) if part in bound else part for part in parts)])


def _sum(what: Sum, scope: Scope, bound: Bound) -> Expr:
    loop = Loop(what.index, what.low, what.high, what.at or (0, 0))
    terms = tuple(scalar(elaborate(what.body, scope, numbers), what.at) for numbers in ranges([loop], bound))
    return Sum(what.body, what.index, what.low, what.high, terms, what.at)


def _over_components(what: Call, scope: Scope, parts: Sequence[Expr | Array]) -> Expr | Array:
    """`sum(x)`, `max(x)` of a vector are one number, `softmax(z)` is a vector."""
    items = tuple(item for part in parts for item in (part.items if isinstance(part, Array) else (part,)))
    if what.function == "sum":
        return items[0] if len(items) == 1 else Add(items)
    if what.function != "softmax":
        return Call(what.function, items, 0, what.at)
    scope.spend(len(items) ** 2, what.at)
    return Array((len(items),), tuple(Call("softmax", items, n + 1, what.at) for n in range(len(items))))


def _row(parts: Sequence[Expr | Array], at: At | None) -> Array:
    rows = [part for part in parts if isinstance(part, Array)]
    if not rows:
        return Array((len(parts),), tuple(scalar(part, at) for part in parts))
    if len(rows) < len(parts) or len({row.shape for row in rows}) > 1 or len(rows[0].shape) > 1:
        raise UsageError(f"{place(at)}[…]: the rows of a matrix must be lists of one length; mend the shorter ones.")
    return Array((len(rows), *rows[0].shape), tuple(item for row in rows for item in row.items))


def _count(shape: Shape) -> int:
    return shape[0] * (shape[1] if len(shape) > 1 else 1)


def _at(part: Expr | Array, number: int, shape: Shape, at: At | None) -> Expr:
    """Component `number` of something that takes the shape: a scalar everywhere, a vector in every row of a matrix."""
    if not isinstance(part, Array):
        return part
    if part.shape == shape:
        return part.items[number]
    if len(shape) == 2 and part.shape == shape[1:]:
        return part.items[number % shape[1]]
    raise UsageError(f"{place(at)}{_size(part.shape)} and {_size(shape)} do not fit together; make the sizes equal.")


def _joined(how: Callable[[Expr, Expr], Expr], left: Array, right: Array | Operand) -> Array:
    other = right if isinstance(right, Array) else as_expr(right)
    shape = max(left.shape, other.shape if isinstance(other, Array) else (), key=len)
    pairs = ((_at(left, n, shape, None), _at(other, n, shape, None)) for n in range(_count(shape)))
    return Array(shape, tuple(how(a, b) for a, b in pairs))


def _size(shape: Shape) -> str:
    return f"{shape[0]} components" if len(shape) == 1 else f"{shape[0]}×{shape[1]} components"
