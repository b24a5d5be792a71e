# SPDX-License-Identifier: Apache-2.0
"""Expansion: loops and sums written out, vectors and matrices resolved, until each quantity has one scalar equation."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Final, final

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
    Pow,
    Sum,
    children,
    first_position,
    rebuild,
    walk,
)
from pellucid.worked.expressions.position import position
from pellucid.worked.notation.arrays import Array, broadcast_item, matrix_product, scalar, size_of
from pellucid.worked.notation.calls import OVER_COMPONENTS
from pellucid.worked.notation.cautions import check_matrices, vector_norm
from pellucid.worked.notation.components import over_components
from pellucid.worked.notation.indexing import Bindings, index_name, index_subscripts, whole_number
from pellucid.worked.notation.plain import shown
from pellucid.worked.notation.statements import (
    Adjacent,
    ArrayLiteral,
    Bars,
    EquationStatement,
    Loop,
    MatrixProduct,
    OverAxis,
    OverIndex,
    Subscript,
    Transpose,
)

__all__ = ["Scope", "expand", "expanded_size", "loop_bindings"]

TERMS: Final = 10_000  # of all loops of one statement, of one sum
NODES: Final = 100_000  # of an expanded worksheet

_EULER: Final = "e is Euler's number, as the worksheet gives it no value."
_CONSTANTS: Final = {
    "e": Call("exp", (Const(Fraction(1)),)),
    "pi": Call("pi", ()),
}  # of a worksheet without such a name


@final
@dataclass
class Scope:
    """What the names of a text mean, and how many nodes may still be written out."""

    find: Callable[[str, At | None], Array | None]  # None: a number
    left: int = NODES
    known: Callable[[str], bool] = lambda name: True  # whether a name is that of a number
    notes: dict[str, None] = field(default_factory=dict)  # what the reader of the worksheet should know, in order

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
            resolved = index_subscripts(name, bindings)
            if (array := scope.find(resolved, at)) is not None:
                return array
            if resolved in _CONSTANTS and not scope.known(resolved):
                if resolved == "e":
                    scope.notes[_EULER] = None
                return _CONSTANTS[resolved]
            return Name(_joined_digits(resolved, scope), at) if resolved != name or not scope.known(name) else what
        case Index(at=at):
            name = index_name(what, bindings)
            return scope.find(name, at) or Name(_joined_digits(name, scope), at)
        case ArrayLiteral(items=items, at=at):
            return _array([expand(item, scope, bindings) for item in items], at)
        case MatrixProduct(left=left, right=right, at=at):
            one, two = expand(left, scope, bindings), expand(right, scope, bindings)
            if not isinstance(one, Array) or not isinstance(two, Array):
                raise UsageError(f"{position(at)}@: multiplies vectors or matrices; for numbers write *.")
            return _matrix_product(one, two, scope, at)
        case Adjacent(left=left, right=right, at=at):
            if what.word:
                scope.notes[f"{what.word} is read as a product, as the worksheet gives no value to {what.word}."] = None
            sides = expand(left, scope, bindings), expand(right, scope, bindings)
            return _beside(*sides, scope, at, what.dotted)
        case Bars(of=of, at=at):
            inside = expand(of, scope, bindings)
            if isinstance(inside, Array):
                raise UsageError(
                    f"{position(at)}|…|: of a vector it is unclear; write ||x|| for the norm, or abs(x) for each component."
                )
            return Call("abs", (inside,), 0, at)
        case OverIndex():
            return _over_index(what, scope, bindings)
        case Transpose(of=of):
            turned = expand(of, scope, bindings)
            return turned.T if isinstance(turned, Array) else turned  # a number is its own transpose
        case Pow(base=base, exponent=Name(name="T")) if not scope.known("T") and scope.find("T", None) is None:
            return expand(Transpose(base), scope, bindings)
        case Pow(base=Name(name="e"), exponent=exponent, at=at) if not scope.known("e") and scope.find("e", at) is None:
            scope.notes[_EULER] = None
            return expand(Call("exp", (exponent,), 0, at), scope, bindings)
        case Pow(base=Call(function="norm", args=args, index=0), exponent=Const(value=two)) if two == 2:
            # ||x||² is a sum of squares, without the root and its kink at 0
            squares = [Pow(item, Const(Fraction(2))) for arg in args for item in _items(expand(arg, scope, bindings))]
            return squares[0] if len(squares) == 1 else Add(tuple(squares))
        case Subscript(of=of, places=places, at=at):
            owner = expand(of, scope, bindings)
            if not isinstance(owner, Array):
                raise UsageError(f"{position(at)}[…]: follows a single number; only a vector or matrix has components.")
            try:
                return owner[tuple(whole_number(place, bindings, at) for place in places)]
            except UsageError as fault:
                raise UsageError(f"{position(at)}{fault}") from None
        case Pow(base=Call(function="norm", args=(inner,), index=order) as norm) if order:
            return expand(
                Pow(vector_norm(norm, expand(inner, scope, bindings)), what.exponent, what.at), scope, bindings
            )
        case Call(function="norm", args=(inner,), index=order) if order:
            return expand(vector_norm(what, expand(inner, scope, bindings)), scope, bindings)
        case Sum():
            return _sum(what, scope, bindings)
        case OverAxis(call=Call() as call, axis=axis):
            return over_components(
                call, [expand(arg, scope, bindings) for arg in call.args], scope.spend, scope.notes, axis
            )
        case Call(function="sum", args=(body, Name(name=index)), at=at) if _runs(index, scope, bindings):
            high = _range_of(body, index, scope, bindings)
            if high is not None:  # Σ_k over all components of what carries the index k
                return _sum(Sum(body, index, Const(Fraction(1)), Const(Fraction(high)), (), at), scope, bindings)
            return over_components(what, [expand(arg, scope, bindings) for arg in what.args], scope.spend, scope.notes)
        case Call() if what.function in OVER_COMPONENTS:
            return over_components(what, [expand(arg, scope, bindings) for arg in what.args], scope.spend, scope.notes)
    # everything else works component by component: expand the children first …
    parts: list[Expr | Array] = []

    def note(inner: Expr) -> Expr:
        parts.append(expand(inner, scope, bindings))
        return inner

    rebuild(what, note)
    arrays = [part for part in parts if isinstance(part, Array)]
    if not arrays:
        if isinstance(what, Mul) and any(isinstance(factor, Adjacent) for factor in what.factors):
            return Mul(tuple(factor for part in parts for factor in _factors(scalar(part, None))))
        scalars = iter(parts)
        return rebuild(what, lambda _: scalar(next(scalars), None))
    if isinstance(what, Mul) and len({array.turned for array in arrays if len(array.shape) == 1}) > 1:
        raise UsageError(
            f"{position(first_position(what))}*: works component by component; for the product of a transposed vector with another write @."
        )
    check_matrices(what, parts, scope.notes)
    # … then build the node once for each component, broadcasting as NumPy does
    shape = max((array.shape for array in arrays), key=len)
    scope.spend(size_of(shape) * len(parts), getattr(what, "at", None))
    components: list[Expr] = []
    for number in range(size_of(shape)):
        chosen = iter([broadcast_item(part, number, shape, first_position(what)) for part in parts])
        components.append(rebuild(what, lambda _: next(chosen)))  # noqa: B023
    return Array(shape, tuple(components), all(array.turned for array in arrays))


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


def _ranges_over(body: Expr, index: str) -> bool:
    """Whether the range of an inner sum depends on the index of the outer one."""
    sums = (part for part in walk(body) if isinstance(part, Sum))
    return any(Name(index) in walk(end) for part in sums for end in (part.low, part.high))


def _joined_digits(name: str, scope: Scope) -> str:
    """W_12 as W_1_2, where the worksheet has only the latter."""
    base, _, last = name.rpartition("_")
    if base and len(last) == 2 and last.isdigit() and not scope.known(name):
        apart = f"{base}_{last[0]}_{last[1]}"
        return apart if scope.known(apart) else name
    return name


def _items(part: Expr | Array) -> tuple[Expr, ...]:
    return part.items if isinstance(part, Array) else (part,)


def _factors(node: Expr) -> tuple[Expr, ...]:
    return node.factors if isinstance(node, Mul) else (node,)


def _matrix_product(one: Array, two: Array, scope: Scope, at: At | None) -> Array | Expr:
    scope.spend(len(one.items) * (two.shape[1] if len(two.shape) > 1 else 1), at)
    return matrix_product(one, two, at)


def _beside(one: Expr | Array, two: Expr | Array, scope: Scope, at: At | None, dotted: bool = False) -> Expr | Array:
    """Two factors side by side: numbers are multiplied, matrices and vectors as matrices."""
    if isinstance(one, Array) and isinstance(two, Array):
        if len(one.shape) == len(two.shape) == 1 and one.turned == two.turned and not dotted:
            raise UsageError(
                f"{position(at)}two vectors side by side have no product; write x^T y, x @ y, or x*y component by component."
            )
        return _matrix_product(one, two, scope, at)
    if isinstance(one, Array) or isinstance(two, Array):
        array, number = (one, two) if isinstance(one, Array) else (two, one)
        assert isinstance(array, Array) and isinstance(number, Expr)
        scope.spend(len(array.items), at)
        items = tuple(
            Mul((*_factors(item), *_factors(number)) if array is one else (*_factors(number), *_factors(item)))
            for item in array.items
        )
        return Array(array.shape, items, array.turned)
    return Mul((*_factors(one), *_factors(two)))


def _runs(index: str, scope: Scope, bindings: Bindings) -> bool:
    """Whether a name is free to be the index of a sum."""
    return index not in bindings and not scope.known(index) and scope.find(index, None) is None


def _range_of(body: Expr, index: str, scope: Scope, bindings: Bindings) -> int | None:
    """The number of components of the vectors in a sum that carry its index."""
    for part in _everything(body):
        if isinstance(part, Name):
            base, *places = part.name.split("_")
        elif isinstance(part, Index) and all(isinstance(place, Name) for place in part.places):
            base, *places = part.base.split("_")
            places += [place.name for place in part.places if isinstance(place, Name)]
        else:
            continue
        for n, place in enumerate(places):
            if place == index:
                # the names in front of the index belong to the array: W_h_k is component k of W_h
                stem = index_subscripts("_".join([base, *places[:n]]), bindings)
                for start, last in ((stem, 0), (base, n)):
                    array = scope.find(start, None)
                    if array is not None and last < len(array.shape):
                        return array.shape[last]
    return None


def _everything(node: Expr) -> Iterator[Expr]:
    """Every node, also inside of those that are written out later."""
    stack = [node]
    while stack:
        node = stack.pop()
        yield node
        match node:
            case Adjacent(left=left, right=right) | MatrixProduct(left=left, right=right):
                stack += [left, right]
            case Transpose(of=of) | Subscript(of=of) | Bars(of=of):
                stack.append(of)
            case OverIndex(body=body):
                stack.append(body)
            case _:
                stack += children(node)


def _sum(what: Sum, scope: Scope, bindings: Bindings) -> Expr:
    loop = Loop(what.index, what.low, what.high, what.at or (0, 0))
    terms = tuple(scalar(expand(what.body, scope, numbers), what.at) for numbers in loop_bindings([loop], bindings))
    return Sum(shown(what.body), what.index, what.low, what.high, terms, what.at)


def _over_index(what: OverIndex, scope: Scope, bindings: Bindings) -> Expr:
    """∏_i x_i, and a sum that leaves one index out, written out."""
    low, high = what.low, what.high
    if low is None or high is None:
        size = _range_of(what.body, what.index, scope, bindings) if _runs(what.index, scope, bindings) else None
        if size is None:
            raise UsageError(
                f"{position(what.at)}{what.index}: no vector here carries this index; write its range, as in {what.index} = 1..3."
            )
        low, high = Const(Fraction(1)), Const(Fraction(size))
    left_out = None if what.without is None else whole_number(what.without, bindings, what.at)
    loop = Loop(what.index, low, high, what.at or (0, 0))
    rounds = [numbers for numbers in loop_bindings([loop], bindings) if numbers[what.index] != left_out]
    if not rounds:
        raise UsageError(f"{position(what.at)}{what.index}: nothing is left of this range; make it longer.")
    terms = [scalar(expand(what.body, scope, numbers), what.at) for numbers in rounds]
    if len(terms) == 1:
        return terms[0]
    return Add(tuple(terms)) if what.function == "sum" else Mul(tuple(terms))


def _array(parts: Sequence[Expr | Array], at: At | None) -> Array:
    """A vector from scalars, a matrix from vectors."""
    rows = [part for part in parts if isinstance(part, Array)]
    if not rows:
        return Array((len(parts),), tuple(scalar(part, at) for part in parts))
    if len(rows) < len(parts) or len({row.shape for row in rows}) > 1 or len(rows[0].shape) > 1:
        raise UsageError(f"{position(at)}[…]: the rows of a matrix must have one length; complete the shorter ones.")
    return Array((len(rows), *rows[0].shape), tuple(item for row in rows for item in row.items))
