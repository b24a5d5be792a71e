# SPDX-License-Identifier: Apache-2.0
"""A recursive-descent parser for expressions; nothing is ever executed.

expression  sum of products                           a + b - c
product     factors, left to right                    a*b/c, W @ x
signed      a sign, or a power with a signed exponent -a, a^-b: binds as in mathematics, -2^2 = -4 and 2^3^2 = 2^9
atom        number, name, brackets, list, call        2.5, h[t-1], (…), [1, 2], exp(…)
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Final, NoReturn, final

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
from pellucid.worked.expressions.position import position
from pellucid.worked.notation.statements import ArrayLiteral, Loop, MatrixProduct, Subscript
from pellucid.worked.notation.tokens import Token, tokenize

__all__ = ["Parser"]

DEPTH: Final = 60  # of nested brackets, signs and powers, well below Python's limit of recursion


@final
class Parser:
    """Reads expressions from a list of tokens; `deep` counts the brackets, signs and powers that are open.

    >>> Parser("2*x").expression()
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
        """Consume the next token if it has this text; without a text, whatever it is."""
        if text and self.next.text != text:
            return None
        token = self.next
        if token.kind != "end":
            self.here += 1
        return token

    def want(self, text: str, where: str) -> Token:
        return self.take(text) or self.fail(f"{text!r} is missing {where}; add it.")

    def fail(self, rule: str) -> NoReturn:
        raise UsageError(f"{position(self.next.at)}{self.shown()}: {rule}")

    def shown(self) -> str:
        return {"": "end of text", ";": "end of the statement"}.get(self.next.text, repr(self.next.text))

    def end(self, where: str) -> None:
        if self.next.kind != "end" and not self.take(";"):
            if self.next.kind in ("name", "number") or self.next.text == "(":
                self.fail("an operator is missing before it; write a product as 2*x.")
            self.fail(f"is unexpected {where}; end the statement, or correct the sign.")

    def loop(self) -> Loop:
        token = self.next
        if token.kind != "name":
            self.fail("a loop variable must come here; write it as in for t = 1..3.")
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
        indices = [self.expression()]
        while self.take(","):
            indices.append(self.expression())
        self.want(close, "after an index")
        return tuple(indices)

    def expression(self) -> Expr:
        return self.level(self.sum_of)

    def level(self, read: Callable[[], Expr]) -> Expr:
        self.deep += 1
        if self.deep > DEPTH:
            self.fail(f"an expression is nested at most {DEPTH} levels deep; give a part of it a name of its own.")
        node = read()
        self.deep -= 1
        return node

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
                self.fail(f"at most {DEPTH} divisions may follow each other; give a part of it a name of its own.")
            # a*b/c is (a*b)/c: what was read so far becomes the dividend
            left = factors[0] if len(factors) == 1 else Mul(tuple(factors))
            factors = [Div(left, other, sign.at) if sign.text == "/" else MatrixProduct(left, other, sign.at)]
        return factors[0] if len(factors) == 1 else Mul(tuple(factors))

    def signed(self) -> Expr:
        if self.take("-"):
            inner = self.level(self.signed)
            # −2 is one number, but the sign of −2^2 belongs to the power
            return Const(-inner.value) if isinstance(inner, Const) and inner.value > 0 else Neg(inner)
        if self.take("+"):
            return self.level(self.signed)
        base = self.atom()
        if sign := self.take("^"):
            return Pow(base, self.level(self.signed), sign.at)
        return base

    def atom(self) -> Expr:
        token = self.next
        if token.kind == "number":
            self.take()
            return Const(Fraction(token.text))
        if self.take("("):
            inner = self.expression()
            self.want(")", "to close the bracket")
            return inner
        if self.take("["):
            items = [self.expression()]
            while self.take(","):
                items.append(self.expression())
            self.want("]", "after a list of components")
            return ArrayLiteral(tuple(items), token.at)
        if token.kind != "name":
            self.fail("a number, a name or a bracket must come here; add it.")
        if self.tokens[self.here + 1].text == "(":
            self.here += 2
            call = self.call(ALIASES.get(token.text, token.text), token.at)
            return Subscript(call, self.places("]"), token.at) if self.take("[") else call
        return self.quantity("a name must come here")

    def call(self, name: str, at: At) -> Expr:
        if name == "piecewise":
            return self.piecewise(at)
        if name != "sum" and name not in FUNCTIONS:
            known = {*FUNCTIONS, *ALIASES, "sum", "piecewise"}
            raise UsageError(f"{position(at)}{UnknownNameError('function', name, known)}")
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
            least, most = rule.min_args, rule.max_args
            if not least <= len(args) <= most:
                takes = f"{least}" if least == most else f"{least} to {most}"
                raise UsageError(
                    f"{position(at)}{name} with {len(args)} arguments: it takes {takes}; correct the call."
                )
            return Call(name, tuple(args), 0, at)
        if not args:
            raise UsageError(f"{position(at)}sum(): needs terms; write it as in sum(x_j, j = 1..3).")
        if not loops:
            return Call("sum", tuple(args), 0, at)
        nest = args[0]
        for loop in reversed(loops):  # the first loop is the outermost sum
            nest = Sum(nest, loop.variable, loop.low, loop.high, (), at)
        return nest

    def piecewise(self, at: At) -> Expr:
        branches: list[tuple[Expr, Condition]] = []
        while True:
            value = self.expression()
            if self.take("otherwise") or self.next.text == ")":
                self.take(",")
                self.want(")", "after the last branch, which has no condition")
                if not branches:
                    raise UsageError(
                        f"{position(at)}piecewise: needs a condition; write it as in piecewise(x if x < 1, 1 otherwise)."
                    )
                return Piecewise(tuple(branches), value, at)
            self.want("if", "after the value of a branch, as in x^2 if x < 1")
            branches.append((value, self.condition()))
            self.want(",", "between branches; the last one has no condition, as in 1 otherwise")

    def condition(self) -> Condition:
        left = self.expression()
        sign = self.next
        if sign.text not in ("<", "<=", ">", ">="):
            self.fail("a comparison must come here; write <, <=, > or >=.")
        self.take()
        return Condition(left, sign.text, self.expression())
