# SPDX-License-Identifier: Apache-2.0
"""Expressions read from text: numbers, names, signs, brackets and calls, by recursive descent; nothing is run."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Final, final

from pellucid.errors import UnknownNameError, UsageError
from pellucid.worked.expressions.expression import (
    Add,
    At,
    Call,
    Condition,
    Const,
    Div,
    Expr,
    Index,
    Mul,
    Name,
    Neg,
    Piecewise,
    Pow,
    Sum,
)
from pellucid.worked.expressions.functions import ALIASES, FUNCTIONS
from pellucid.worked.expressions.position import place
from pellucid.worked.notation.statements import Component, Loop, Product, Row
from pellucid.worked.notation.tokens import Token, tokenize

__all__ = ["Reader"]

DEPTH: Final = 60


@final
class Reader:
    """Recursive descent over the words; `deep` counts the brackets, signs and powers that stand open.

    >>> Reader("2*x").expression()
    Mul(factors=(Const(value=Fraction(2, 1)), Name(name='x')))
    """

    def __init__(self, text: str) -> None:
        self.tokens = tokenize(text)
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
        terms = [self.product()]
        while (sign := self.next).text in ("+", "-"):
            self.take()
            term = self.product()
            terms.append(term if sign.text == "+" else Neg(term))
        return terms[0] if len(terms) == 1 else Add(tuple(terms))

    def product(self) -> Expr:
        factors = [self.signed()]
        chained = 0
        while (sign := self.next).text in ("*", "/", "@"):
            self.take()
            other = self.signed()
            if sign.text == "*":
                factors.append(other)
                continue
            chained += 1
            if chained > DEPTH:
                self.fail(f"at most {DEPTH} divisions stand in a row; give a part of it a name of its own.")
            left = factors[0] if len(factors) == 1 else Mul(tuple(factors))
            factors = [Div(left, other, sign.at) if sign.text == "/" else Product(left, other, sign.at)]
        return factors[0] if len(factors) == 1 else Mul(tuple(factors))

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
            rule = FUNCTIONS[name]
            if not rule.least <= len(args) <= rule.most:
                wanted = f"{rule.least}" if rule.least == rule.most else f"{rule.least} to {rule.most}"
                raise UsageError(f"{place(at)}{name} of {len(args)} arguments: it takes {wanted}; mend the call.")
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
                    raise UsageError(
                        f"{place(at)}piecewise: needs a condition, as in piecewise(x if x < 1, 1 otherwise)."
                    )
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
