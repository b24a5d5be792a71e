# SPDX-License-Identifier: Apache-2.0
"""Expression trees: immutable nodes, built with Python's operators or by the parser.

    Const  Name  Partial        a number, a quantity, a derivative ∂a/∂b as one symbol
    Add  Mul  Div  Pow  Neg     arithmetic; a − b is Add(a, Neg(b))
    Call                        a function of `pellucid.worked.expressions.functions`
    Piecewise  Condition        cases
    Sum                         Σ with its terms written out
    Index                       x[i] while the loop variable i has no value yet

Nodes compare by structure, so the same expression in two places is equal; its position in the text, `at`, does not count.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from fractions import Fraction
from typing import TypeAlias, final

from pellucid.errors import UsageError

__all__ = [
    "Add",
    "At",
    "Call",
    "Condition",
    "Const",
    "Div",
    "Expr",
    "Index",
    "Mul",
    "Name",
    "Neg",
    "Operand",
    "Partial",
    "Piecewise",
    "Pow",
    "Sum",
    "Value",
    "as_expr",
    "children",
    "depth",
    "first_position",
    "names",
    "rebuild",
    "replace",
    "walk",
]

Value: TypeAlias = Fraction | Decimal  # exact, or to the working precision
At: TypeAlias = tuple[int, int]  # line and column, both from 1
Operand: TypeAlias = "Expr | int | float | Fraction | Decimal"


class Expr:
    """A node of the tree; `a + b`, `a * b`, `a / b`, `a ** b`, `-a` and comparisons build new nodes.

    >>> Name("a") * 2 + 1
    Add(terms=(Mul(factors=(Name(name='a'), Const(value=Fraction(2, 1)))), Const(value=Fraction(1, 1))))
    """

    __slots__ = ()

    # a + b + c is one sum and a·b·c one product, as they are written

    def __add__(self, other: Operand) -> Expr:
        return Add((*_parts(self, Add), as_expr(other)))

    def __radd__(self, other: Operand) -> Expr:
        return as_expr(other) + self

    def __sub__(self, other: Operand) -> Expr:
        return Add((*_parts(self, Add), Neg(as_expr(other))))

    def __rsub__(self, other: Operand) -> Expr:
        return as_expr(other) - self

    def __mul__(self, other: Operand) -> Expr:
        return Mul((*_parts(self, Mul), as_expr(other)))

    def __rmul__(self, other: Operand) -> Expr:
        return as_expr(other) * self

    def __truediv__(self, other: Operand) -> Expr:
        return Div(self, as_expr(other))

    def __rtruediv__(self, other: Operand) -> Expr:
        return Div(as_expr(other), self)

    def __pow__(self, other: Operand) -> Expr:
        return Pow(self, as_expr(other))

    def __rpow__(self, other: Operand) -> Expr:
        return Pow(as_expr(other), self)

    def __neg__(self) -> Expr:
        return Neg(self)

    # comparisons build the condition of a branch; == stays Python's, because nodes are compared and hashed

    def __lt__(self, other: Operand) -> Condition:
        return Condition(self, "<", as_expr(other))

    def __le__(self, other: Operand) -> Condition:
        return Condition(self, "<=", as_expr(other))

    def __gt__(self, other: Operand) -> Condition:
        return Condition(self, ">", as_expr(other))

    def __ge__(self, other: Operand) -> Condition:
        return Condition(self, ">=", as_expr(other))


@final
@dataclass(frozen=True, slots=True)
class Const(Expr):
    """A number."""

    value: Value


@final
@dataclass(frozen=True, slots=True)
class Name(Expr):
    """A quantity: `W_h`, `x_1`, `W_1_2` for the component of row 1 and column 2."""

    name: str
    at: At | None = field(default=None, compare=False, repr=False)


@final
@dataclass(frozen=True, slots=True)
class Partial(Expr):
    """The derivative of one quantity with respect to another, as one symbol with a known value."""

    of: str
    by: str

    @property
    def key(self) -> str:
        """The name under which its value is stored."""
        return f"∂{self.of}/∂{self.by}"


@final
@dataclass(frozen=True, slots=True)
class Add(Expr):
    """A sum of two or more terms."""

    terms: tuple[Expr, ...]


@final
@dataclass(frozen=True, slots=True)
class Mul(Expr):
    """A product of two or more factors."""

    factors: tuple[Expr, ...]


@final
@dataclass(frozen=True, slots=True)
class Div(Expr):
    """A quotient."""

    top: Expr
    bottom: Expr
    at: At | None = field(default=None, compare=False, repr=False)


@final
@dataclass(frozen=True, slots=True)
class Pow(Expr):
    """A power."""

    base: Expr
    exponent: Expr
    at: At | None = field(default=None, compare=False, repr=False)


@final
@dataclass(frozen=True, slots=True)
class Neg(Expr):
    """The negative of a term."""

    term: Expr


@final
@dataclass(frozen=True, slots=True)
class Call(Expr):
    """A function of its arguments; for softmax, `index` is the component, from 1."""

    function: str
    args: tuple[Expr, ...]
    index: int = 0
    at: At | None = field(default=None, compare=False, repr=False)


@final
@dataclass(frozen=True, slots=True)
class Condition:
    """A comparison of two expressions: `<`, `<=`, `>`, `>=`."""

    left: Expr
    sign: str
    right: Expr


@final
@dataclass(frozen=True, slots=True)
class Piecewise(Expr):
    """The first branch whose condition holds, or `otherwise`."""

    branches: tuple[tuple[Expr, Condition], ...]
    otherwise: Expr
    at: At | None = field(default=None, compare=False, repr=False)


@final
@dataclass(frozen=True, slots=True)
class Sum(Expr):
    """Σ of `body` over an index from `low` to `high`; `terms` is the body for each value of the index."""

    body: Expr
    index: str
    low: Expr
    high: Expr
    terms: tuple[Expr, ...] = ()
    at: At | None = field(default=None, compare=False, repr=False)


@final
@dataclass(frozen=True, slots=True)
class Index(Expr):
    """A component whose index depends on loop variables: `h[t-1]`."""

    base: str
    places: tuple[Expr, ...]
    at: At | None = field(default=None, compare=False, repr=False)
    words: bool = field(default=False, compare=False, repr=False)  # whether a place may be a word, as in W_{hh}


def as_expr(what: Operand) -> Expr:
    """A number as a node; a float means the decimal that Python prints for it.

    >>> as_expr(0.1)
    Const(value=Fraction(1, 10))

    Raises:
        UsageError: not a finite number, such as nan or a string.
    """
    if isinstance(what, Expr):
        return what
    if isinstance(what, Fraction):
        return Const(what)
    if isinstance(what, bool) or not hasattr(what, "__float__"):
        raise UsageError(f"value={what!r}: must be a number or an expression of the worksheet's names; write a number.")
    try:
        # a NumPy scalar prints as np.float64(0.1); .item() gives Python's float
        number = what.item() if hasattr(what, "item") else what
        return Const(Fraction(str(number)))  # through str: 0.1 means 1/10, not the nearest binary fraction
    except (ValueError, OverflowError):
        raise UsageError(f"value={what!r}: must be finite; give the quantity a number.") from None


def children(node: Expr) -> tuple[Expr, ...]:
    """The nodes directly below a node; for a Sum, its written-out terms."""
    match node:
        case Add(terms=inner) | Mul(factors=inner) | Call(args=inner) | Index(places=inner):
            return inner
        case Div(top=first, bottom=second) | Pow(base=first, exponent=second):
            return (first, second)
        case Neg(term=inner_one):
            return (inner_one,)
        case Piecewise(branches=branches, otherwise=otherwise):
            parts = [part for value, test in branches for part in (value, test.left, test.right)]
            return (*parts, otherwise)
        case Sum(body=body, terms=terms):  # without terms only while it is parsed
            return terms or (body,)
    return ()


def walk(node: Expr) -> Iterator[Expr]:
    """Every node of a tree in preorder, without recursion."""
    stack = [node]  # a stack of our own: a tree may be deeper than Python's recursion limit
    while stack:
        node = stack.pop()
        yield node
        stack.extend(reversed(children(node)))


def first_position(node: Expr) -> At | None:
    """The position of the first part of an expression that was read from a text."""
    return next((at for part in walk(node) if (at := getattr(part, "at", None))), None)


def names(node: Expr) -> dict[str, Name | Partial]:
    """The quantities in an expression, in the order of their first use.

    >>> list(names(Name("a") * Name("b") + Name("a")))
    ['a', 'b']
    """
    used: dict[str, Name | Partial] = {}
    for part in walk(node):
        if isinstance(part, Name):
            used.setdefault(part.name, part)
        elif isinstance(part, Partial):
            used.setdefault(part.key, part)
    return used


def depth(node: Expr) -> int:
    """The depth of the tree, level by level, so that no depth is too great to be measured.

    >>> depth(Name("a")), depth(Name("a") + 1)
    (1, 2)
    """
    deepest, level = 0, [node]
    while level and deepest < 10_000:  # deep enough to be refused
        deepest += 1
        level = [child for parent in level for child in children(parent)]
    return deepest


def replace(node: Expr, by: Mapping[Expr, Expr] | Callable[[Expr], Expr | None]) -> Expr:
    """The tree with some nodes replaced; what is put in is not searched again.

    >>> replace(Name("a") + 1, {Name("a"): Const(Fraction(2))})
    Add(terms=(Const(value=Fraction(2, 1)), Const(value=Fraction(1, 1))))
    """
    find = by if callable(by) else by.get
    replacement = find(node)
    if replacement is not None:
        return replacement
    return rebuild(node, lambda inner: replace(inner, find))


def rebuild(node: Expr, change: Callable[[Expr], Expr]) -> Expr:
    """The node with each of its children changed."""
    match node:
        case Add(terms=terms):
            return Add(tuple(map(change, terms)))
        case Mul(factors=factors):
            return Mul(tuple(map(change, factors)))
        case Div():
            return Div(change(node.top), change(node.bottom), node.at)
        case Pow():
            return Pow(change(node.base), change(node.exponent), node.at)
        case Neg(term=term):
            return Neg(change(term))
        case Call():
            return Call(node.function, tuple(map(change, node.args)), node.index, node.at)
        case Piecewise():
            branches = tuple(
                (change(value), Condition(change(test.left), test.sign, change(test.right)))
                for value, test in node.branches
            )
            return Piecewise(branches, change(node.otherwise), node.at)
        case Sum():  # the terms hold the values; the body stays, for the Σ that is printed
            return Sum(node.body, node.index, node.low, node.high, tuple(map(change, node.terms)), node.at)
        case Index():
            return Index(node.base, tuple(map(change, node.places)), node.at, node.words)
    return node


def _parts(node: Expr, kind: type[Add] | type[Mul]) -> tuple[Expr, ...]:
    """The terms of a sum, the factors of a product, or the node itself: a + b + c is one sum of three terms."""
    return children(node) if isinstance(node, kind) else (node,)
