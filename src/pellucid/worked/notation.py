# SPDX-License-Identifier: Apache-2.0
"""Plain text to equations and questions, without `eval`.

    h_0 = 1; W_h = 0.5                 a number; statements end with the line or with ;
    h[t] = tanh(W_h*h[t-1] + b) for t = 1..3        one equation for each t; h[1], h_1 and h_{1} are the same quantity
    x = [1, 2]; W = [[1, 2], [3, 4]]   a vector, a matrix: the quantities x_1, x_2, W_1_1, W_1_2, …
    z = W @ x + b                      matrix product; + − × ÷ and functions work component by component
    z_i = sum(W_{i,j}*x_j, j = 1..2) for i = 1..2   the same, written out
    p = softmax(z); q = softmax(z)[1]
    f = piecewise(x^2 if x < 1, 2*x - 1 if x < 3, 5 otherwise)
    ? L, h_1                           questions: values,
    ? dL/dW_h                          derivatives,
    ? W_h after 3 adam(lr=0.1) on L    updates
    # the rest of a line that begins so is a remark

Functions: exp log (ln) sqrt sigmoid tanh relu leaky_relu softmax max min abs clip sum piecewise; pi. Multiplication is
always written: 2*x, W*h; also ×, ·, ÷, −, ^ or **, ≤, ≥.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Final, final

from pellucid.errors import UsageError
from pellucid.worked.expression import At, Call, Condition, Const, Div, Expr, Index, Name, Neg, Piecewise, Pow, Sum
from pellucid.worked.functions import ALIASES, FUNCTIONS
from pellucid.worked.tokens import Token, place, tokenize

__all__ = ["Ask", "Component", "Given", "Loop", "Product", "Row", "parse", "parse_expression"]

DEPTH: Final = 60


@final
@dataclass(frozen=True, slots=True)
class Row(Expr):
    """A bracketed list: a vector, or the rows of a matrix."""

    items: tuple[Expr, ...]
    at: At | None = field(default=None, compare=False, repr=False)


@final
@dataclass(frozen=True, slots=True)
class Product(Expr):
    """A matrix product."""

    left: Expr
    right: Expr
    at: At | None = field(default=None, compare=False, repr=False)


@final
@dataclass(frozen=True, slots=True)
class Component(Expr):
    """A component of something that has several and no name."""

    of: Expr
    places: tuple[Expr, ...]
    at: At | None = field(default=None, compare=False, repr=False)


@final
@dataclass(frozen=True, slots=True)
class Loop:
    """A loop variable with its first and last number."""

    variable: str
    low: Expr
    high: Expr
    at: At


@final
@dataclass(frozen=True, slots=True)
class Given:
    """An equation as it is written, before loops and vectors are spelt out."""

    target: Name | Index
    right: Expr
    loops: tuple[Loop, ...]
    at: At


@final
@dataclass(frozen=True, slots=True)
class Ask:
    """A question as it is written: `names` by themselves, `of` by `names`, or `names` after `steps` of a `rule`."""

    names: tuple[Name | Index, ...]
    at: At
    of: Name | Index | None = None
    rule: str = ""
    steps: int = 1
    options: tuple[tuple[str, Fraction], ...] = ()


def parse(text: str) -> list[Given | Ask]:
    """The statements of a worksheet's text.

    >>> [type(each).__name__ for each in parse("a = 2; b = a^2\\n? b")]
    ['Given', 'Given', 'Ask']

    Raises:
        UsageError: what is no worksheet, with line and column.
    """
    return _Reader(tokenize(text)).statements()


def parse_expression(text: str) -> Expr:
    """One expression; loop variables and vectors stay as they are written.

    >>> parse_expression("2*x")
    Mul(factors=(Const(value=Fraction(2, 1)), Name(name='x')))

    Raises:
        UsageError: what is no expression, with line and column.
    """
    reader = _Reader(tokenize(text))
    found = reader.expression()
    reader.end("after an expression")
    return found


class _Reader:
    """Recursive descent over the words; `deep` counts the brackets, signs and powers that stand open."""

    def __init__(self, tokens: list[Token]) -> None:
        self.tokens = tokens
        self.here = 0
        self.deep = 0

    @property
    def next(self) -> Token:
        return self.tokens[self.here]

    def take(self, text: str = "") -> Token | None:
        """The next word if it is this one, and go on."""
        if text and self.next.text != text:
            return None
        token = self.next
        if token.kind != "end":
            self.here += 1
        return token

    def want(self, text: str, where: str) -> Token:
        return self.take(text) or self.fail(f"{text!r} is missing {where}; add it.")

    def fail(self, rule: str) -> Token:
        raise UsageError(f"{place(self.next.at)}{self.shown()}: {rule}")

    def shown(self) -> str:
        return {"": "end of text", ";": "end of the statement"}.get(self.next.text, repr(self.next.text))

    def end(self, where: str) -> None:
        if self.next.kind != "end" and not self.take(";"):
            if self.next.kind in ("name", "number") or self.next.text == "(":
                self.fail("a sign is missing before it; multiplication is written as in 2*x.")
            self.fail(f"the statement does not go on like this {where}; end it, or mend the sign.")

    def statements(self) -> list[Given | Ask]:
        found: list[Given | Ask] = []
        while self.next.kind != "end":
            if self.take(";"):
                continue
            found.append(self.question() if self.take("?") else self.equation())
        return found

    def equation(self) -> Given:
        at = self.next.at
        target = self.quantity("an equation begins with a name, as in h_1 = 2*x, and a question with ?")
        self.want("=", f"after {target.name if isinstance(target, Name) else target.base}")
        if self.next.text in (";", "") or self.next.text == "?":
            name = target.name if isinstance(target, Name) else target.base
            raise UsageError(f"{place(at)}{name}: has no number; write one after the =, as in {name} = 0.5.")
        right = self.expression()
        loops: list[Loop] = []
        if self.take("for"):
            loops.append(self.loop())
            while self.take(","):
                loops.append(self.loop())
        self.end("after an equation")
        return Given(target, right, tuple(loops), at)

    def loop(self) -> Loop:
        token = self.next
        if token.kind != "name":
            self.fail("a loop variable is wanted here, as in for t = 1..3.")
        self.take()
        self.want("=", "after a loop variable, as in t = 1..3")
        low = self.expression()
        self.want("..", "between the first and the last number, as in t = 1..3")
        return Loop(token.text, low, self.expression(), token.at)

    def quantity(self, rule: str) -> Name | Index:
        token = self.next
        if token.kind != "name":
            self.fail(f"{rule}.")
        self.take()
        if token.text.endswith("_") and self.take("{"):
            return Index(token.text[:-1], self.places("}"), token.at)
        if self.take("["):
            return Index(token.text, self.places("]"), token.at)
        return Name(token.text, token.at)

    def places(self, close: str) -> tuple[Expr, ...]:
        found = [self.expression()]
        while self.take(","):
            found.append(self.expression())
        self.want(close, "after the place of a component")
        return tuple(found)

    def question(self) -> Ask:
        from pellucid.worked.questions import question

        return question(self)

    def expression(self) -> Expr:
        return self.level(self.sum_of)

    def level(self, read: Callable[[], Expr]) -> Expr:
        self.deep += 1
        if self.deep > DEPTH:
            self.fail(f"an expression is nested at most {DEPTH} deep; give a part of it a name of its own.")
        found = read()
        self.deep -= 1
        return found

    def sum_of(self) -> Expr:
        found = self.product()
        while (sign := self.next).text in ("+", "-"):
            self.take()
            other = self.product()
            found = found + other if sign.text == "+" else found - other
        return found

    def product(self) -> Expr:
        found = self.signed()
        while (sign := self.next).text in ("*", "/", "@"):
            self.take()
            other = self.signed()
            if sign.text == "*":
                found = found * other
            else:
                found = Div(found, other, sign.at) if sign.text == "/" else Product(found, other, sign.at)
        return found

    def signed(self) -> Expr:
        if self.take("-"):
            inner = self.level(self.signed)
            return Const(-inner.value) if isinstance(inner, Const) and inner.value > 0 else Neg(inner)
        if self.take("+"):
            return self.level(self.signed)
        found = self.atom()
        if sign := self.take("^"):
            return Pow(found, self.level(self.signed), sign.at)
        return found

    def atom(self) -> Expr:
        token = self.next
        if token.kind == "number":
            self.take()
            return Const(Fraction(token.text))
        if self.take("("):
            found = self.expression()
            self.want(")", "to close the bracket")
            return found
        if self.take("["):
            items = [self.expression()]
            while self.take(","):
                items.append(self.expression())
            self.want("]", "after a list of components")
            return Row(tuple(items), token.at)
        if token.kind != "name":
            self.fail("a number, a name or a bracket is wanted here; add what is missing.")
        if self.tokens[self.here + 1].text == "(":
            self.here += 2
            found = self.call(ALIASES.get(token.text, token.text), token.at)
            return Component(found, self.places("]"), token.at) if self.take("[") else found
        return self.quantity("a name is wanted here")

    def call(self, name: str, at: At) -> Expr:
        if name == "piecewise":
            return self.piecewise(at)
        if name != "sum" and name not in FUNCTIONS:
            from pellucid.errors import UnknownNameError

            known = {*FUNCTIONS, *ALIASES, "sum", "piecewise"}
            raise UsageError(f"{place(at)}{UnknownNameError('function', name, known)}")
        args = [] if self.next.text == ")" else [self.expression()]
        loops: list[Loop] = []
        while self.take(","):
            after = self.tokens[self.here + 1].text
            if name == "sum" and self.next.kind == "name" and after == "=":
                loops.append(self.loop())
            else:
                args.append(self.expression())
        self.want(")", f"after the arguments of {name}")
        if name != "sum":
            return Call(name, tuple(args), 0, at)
        if not args:
            raise UsageError(f"{place(at)}sum(): needs what is to be added, as in sum(x_j, j = 1..3).")
        found = args[0]
        if not loops:
            return Call("sum", tuple(args), 0, at)
        for loop in reversed(loops):
            found = Sum(found, loop.variable, loop.low, loop.high, (), at)
        return found

    def piecewise(self, at: At) -> Expr:
        branches: list[tuple[Expr, Condition]] = []
        while True:
            value = self.expression()
            if self.take("otherwise") or self.next.text == ")":
                self.take(",")
                self.want(")", "after the last branch, which has no condition")
                if not branches:
                    raise UsageError(f"{place(at)}piecewise: needs a condition, as in piecewise(x if x < 1, 1 otherwise).")
                return Piecewise(tuple(branches), value, at)
            self.want("if", "after the value of a branch, as in x^2 if x < 1")
            branches.append((value, self.condition()))
            self.want(",", "between branches; the last one has no condition, as in 1 otherwise")

    def condition(self) -> Condition:
        left = self.expression()
        sign = self.next
        if sign.text not in ("<", "<=", ">", ">="):
            self.fail("a comparison is wanted here: <, <=, > or >=.")
        self.take()
        return Condition(left, sign.text, self.expression())
