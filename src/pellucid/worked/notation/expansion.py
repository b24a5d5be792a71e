# SPDX-License-Identifier: Apache-2.0
"""Expansion: loops and sums written out, vectors and matrices resolved, until each quantity has one scalar equation."""

from __future__ import annotations

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
    Piecewise,
    Sum,
    children,
    first_position,
    rebuild,
    walk,
)
from pellucid.worked.expressions.position import position
from pellucid.worked.notation.arrays import Array, broadcast_item, component_name, matrix_product, scalar, size_of
from pellucid.worked.notation.statements import ArrayLiteral, EquationStatement, Loop, MatrixProduct, Subscript

__all__ = ["Scope", "expand", "expanded_size", "loop_bindings", "whole_number"]

TERMS: Final = 10_000  # of all loops of one statement, of one sum
NODES: Final = 100_000  # of an expanded worksheet

Bindings: TypeAlias = Mapping[str, int]  # the values of the loop variables


@final
@dataclass
class Scope:
    """What the names of a text mean, and how many nodes may still be written out."""

    find: Callable[[str, At | None], Array | None]  # None: a number
    left: int = NODES

    def check_size(self, statements: Sequence[EquationStatement]) -> None:
        """Refuse a text that would expand to too many nodes, before the first of them is written out."""
        count = 0
        for statement in statements:
            # a loop over equations writes out as many nodes as a sum over the same range
            nest = statement.right
            for loop in reversed(statement.loops):
                nest = Sum(nest, loop.variable, loop.low, loop.high, (), loop.at)
            count += expanded_size(nest, {})
            self._allow(count, statement.at)

    def spend(self, nodes: int, at: At | None) -> None:
        """Count nodes as they are written out: vectors make more of them than `check_size` knows."""
        self._allow(nodes, at)
        self.left -= nodes

    def _allow(self, nodes: int, at: At | None) -> None:
        if nodes > self.left:
            raise UsageError(
                f"{position(at)}written out, the worksheet has more than {NODES:,} terms; shorten its sums and loops."
            )


def expanded_size(what: Expr, bindings: Bindings) -> int:
    """The number of nodes after expansion, at least (a vector counts as one node), found without expanding.

    >>> inner = Sum(Name("j"), "j", Const(Fraction(1)), Name("i"))
    >>> expanded_size(Sum(inner, "i", Const(Fraction(1)), Const(Fraction(3))), {})
    10

    Raises:
        UsageError: a range that is not made of numbers and loop variables.
    """
    match what:
        case Sum(body=body, index=index, low=low, high=high, at=at):
            start, last = whole_number(low, bindings, at), whole_number(high, bindings, at)
            count = min(last - start + 1, TERMS + 1)  # a longer range is refused by `loop_bindings`
            if not _ranges_over(body, index):  # all terms have the same size
                return 1 + max(0, count) * expanded_size(body, {**bindings, index: start})
            total = 1
            for number in range(start, start + count):
                total += expanded_size(body, {**bindings, index: number})
                if total > NODES:
                    break
            return total
        case Index():
            return 1
    return 1 + sum(expanded_size(part, bindings) for part in children(what))


def expand(what: Expr, scope: Scope, bindings: Bindings) -> Expr | Array:
    """An expression with loop variables as numbers, sums written out, and vectors as arrays.

    Args:
        what: from the parser.
        scope: what the names mean.
        bindings: the values of the loop variables.

    Raises:
        UsageError: an index that is not a whole number, shapes that do not fit, a sum that is too long.
    """
    scope.spend(1, getattr(what, "at", None))
    match what:
        case Name(name=name, at=at):
            if name in bindings:
                return Const(Fraction(bindings[name]))
            resolved = _subscripts(name, bindings)
            return Name(resolved, at) if resolved != name else scope.find(name, at) or what
        case Index(base=base, places=places, at=at):
            return Name(component_name(base, [whole_number(place, bindings, at) for place in places]), at)
        case ArrayLiteral(items=items, at=at):
            return _array([expand(item, scope, bindings) for item in items], at)
        case MatrixProduct(left=left, right=right, at=at):
            one, two = expand(left, scope, bindings), expand(right, scope, bindings)
            if not isinstance(one, Array) or not isinstance(two, Array):
                raise UsageError(f"{position(at)}@: multiplies vectors or matrices; for numbers write *.")
            scope.spend(len(one.items) * (two.shape[1] if len(two.shape) > 1 else 1), at)
            return matrix_product(one, two, at)
        case Subscript(of=of, places=places, at=at):
            array = expand(of, scope, bindings)
            if not isinstance(array, Array):
                raise UsageError(f"{position(at)}[…]: follows a single number; only a vector or matrix has components.")
            try:
                return array[tuple(whole_number(place, bindings, at) for place in places)]
            except UsageError as fault:
                raise UsageError(f"{position(at)}{fault}") from None
        case Sum():
            return _sum(what, scope, bindings)
        case Call(function="sum" | "softmax" | "max" | "min"):
            return _over_components(what, scope, [expand(arg, scope, bindings) for arg in what.args])
    # everything else works component by component: expand the children first …
    parts: list[Expr | Array] = []

    def note(inner: Expr) -> Expr:
        parts.append(expand(inner, scope, bindings))
        return inner

    rebuild(what, note)
    arrays = [part for part in parts if isinstance(part, Array)]
    if not arrays:
        scalars = iter(parts)
        return rebuild(what, lambda _: scalar(next(scalars), None))
    if isinstance(what, Piecewise):
        raise UsageError(
            f"{position(what.at)}piecewise: takes numbers; write one for each component with for i = 1..n."
        )
    # … then build the node once for each component, broadcasting as NumPy does
    shape = max((array.shape for array in arrays), key=len)
    scope.spend(size_of(shape) * len(parts), getattr(what, "at", None))
    components: list[Expr] = []
    for number in range(size_of(shape)):
        chosen = iter([broadcast_item(part, number, shape, first_position(what)) for part in parts])
        components.append(rebuild(what, lambda _: next(chosen)))  # noqa: B023
    return Array(shape, tuple(components))


def whole_number(what: Expr, bindings: Bindings, at: At | None) -> int:
    """The value of an index or a range's end, such as t − 1: a whole number of at least 0."""
    value = _number(what, bindings)
    if value is None or value.denominator != 1 or not 0 <= value <= 1_000_000:
        raise UsageError(f"{position(at)}index: must be a whole number of at least 0; use numbers and loop variables.")
    return int(value)


def loop_bindings(loops: Sequence[Loop], bindings: Bindings) -> Iterator[dict[str, int]]:
    """Every combination of values of the loop variables; a range may depend on the loops before it.

    Raises:
        UsageError: more than 10,000 combinations, or an empty range.
    """
    combinations: list[dict[str, int]] = [dict(bindings)]
    for loop in loops:
        longer = []
        for numbers in combinations:
            low, high = whole_number(loop.low, numbers, loop.at), whole_number(loop.high, numbers, loop.at)
            if high < low:
                raise UsageError(
                    f"{position(loop.at)}{loop.variable}={low}..{high}: is empty; begin with the smaller number."
                )
            if (high - low + 1) * len(combinations) > TERMS:
                raise UsageError(
                    f"{position(loop.at)}{loop.variable}={low}..{high}: makes more than {TERMS:,} terms; shorten it."
                )
            longer += [{**numbers, loop.variable: n} for n in range(low, high + 1)]
        combinations = longer
    yield from combinations


def _number(what: Expr, bindings: Bindings) -> Fraction | None:
    """The value of an expression of numbers and loop variables; None for anything else."""
    match what:
        case Const(value=Fraction() as value):
            return value
        case Name(name=name):
            return Fraction(bindings[name]) if name in bindings else None
        case Neg(term=term):
            inner = _number(term, bindings)
            return None if inner is None else -inner
        case Add(terms=parts) | Mul(factors=parts):
            numbers = [_number(part, bindings) for part in parts]
            if any(number is None for number in numbers):
                return None
            total = Fraction(0 if isinstance(what, Add) else 1)
            for number in numbers:
                assert number is not None
                total = total + number if isinstance(what, Add) else total * number
            return total
    return None


def _ranges_over(body: Expr, index: str) -> bool:
    """Whether the range of an inner sum depends on the index of the outer one."""
    sums = (part for part in walk(body) if isinstance(part, Sum))
    return any(Name(index) in walk(end) for part in sums for end in (part.low, part.high))


def _subscripts(name: str, bindings: Bindings) -> str:
    """`z_i` with i = 2 is `z_2`; subscripts that are not loop variables stay."""
    base, *parts = name.split("_")
    return "_".join([base, *(str(bindings[part]) if part in bindings else part for part in parts)])


def _sum(what: Sum, scope: Scope, bindings: Bindings) -> Expr:
    loop = Loop(what.index, what.low, what.high, what.at or (0, 0))
    terms = tuple(scalar(expand(what.body, scope, numbers), what.at) for numbers in loop_bindings([loop], bindings))
    return Sum(what.body, what.index, what.low, what.high, terms, what.at)


def _over_components(what: Call, scope: Scope, parts: Sequence[Expr | Array]) -> Expr | Array:
    """`sum(x)` and `max(x)` of a vector are one number, `softmax(z)` is a vector."""
    items = tuple(item for part in parts for item in (part.items if isinstance(part, Array) else (part,)))
    if what.function == "sum":
        return items[0] if len(items) == 1 else Add(items)
    if what.function != "softmax":
        return Call(what.function, items, 0, what.at)
    scope.spend(len(items) ** 2, what.at)  # every component has all arguments
    return Array((len(items),), tuple(Call("softmax", items, n + 1, what.at) for n in range(len(items))))


def _array(parts: Sequence[Expr | Array], at: At | None) -> Array:
    """A vector from scalars, a matrix from vectors."""
    rows = [part for part in parts if isinstance(part, Array)]
    if not rows:
        return Array((len(parts),), tuple(scalar(part, at) for part in parts))
    if len(rows) < len(parts) or len({row.shape for row in rows}) > 1 or len(rows[0].shape) > 1:
        raise UsageError(f"{position(at)}[…]: the rows of a matrix must have one length; complete the shorter ones.")
    return Array((len(rows), *rows[0].shape), tuple(item for row in rows for item in row.items))
