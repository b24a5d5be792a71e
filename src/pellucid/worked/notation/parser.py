# SPDX-License-Identifier: Apache-2.0
"""A recursive-descent parser for expressions; nothing is ever executed.

expression  sum of products                           a + b - c
product     factors, left to right                    a*b/c, W @ x, side by side 2x, W x, 3(a + b)
signed      a sign, or a power with a signed exponent -a, a^-b: binds as in mathematics, -2^2 = -4 and 2^3^2 = 2^9
atom        number, name, brackets, list, call        2.5, h[t-1], (…), [1, 2], exp(…), |a|, √a
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
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
    Mul,
    Neg,
    Piecewise,
    Pow,
)
from pellucid.worked.expressions.functions import FUNCTIONS
from pellucid.worked.expressions.position import position
from pellucid.worked.notation.beside import Beside
from pellucid.worked.notation.calls import INSTEAD, KNOWN, OVER_COMPONENTS, SHORT, TAKES, function_named
from pellucid.worked.notation.latex import without_latex
from pellucid.worked.notation.names import Names
from pellucid.worked.notation.nodes import built
from pellucid.worked.notation.statements import (
    Adjacent,
    ArrayLiteral,
    Bars,
    Loop,
    MatrixProduct,
    OverAxis,
    OverIndex,
    Subscript,
    Transpose,
)
from pellucid.worked.notation.tokens import Token, tokenize

__all__ = ["Parser"]

DEPTH: Final = 60  # of nested brackets, signs and powers, well below Python's limit of recursion
_AXES: Final = ("0", "1", "-1", "all")


@final
class Parser(Beside):
    """Reads expressions from a list of tokens; `deep` counts the brackets, signs and powers that are open.

    >>> Parser("2*x").expression()
    Mul(factors=(Const(value=Fraction(2, 1)), Name(name='x')))
    >>> Parser("2x").expression()
    Adjacent(left=Const(value=Fraction(2, 1)), right=Name(name='x'))
    """

    def __init__(self, text: str, known: Iterable[str] = ()) -> None:
        Beside.__init__(self, without_latex(tokenize(text)), known)
        self.deep = 0

    def expression(self) -> Expr:
        return self.level(self.sum_of)

    def level(self, read: Callable[[], Expr]) -> Expr:
        self.deep += 1
        if self.deep > DEPTH:
            self.fail(f"an expression is nested at most {DEPTH} levels deep; give a part of it a name.")
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
        divisor = -1  # the position after a divisor without brackets
        while True:
            sign = self.next
            if sign.text == "*":
                self.take()
                factors.append(self.signed())
                continue
            beside = sign.text not in ("/", "@", "·")
            if beside and not self.begins_factor(divisor):
                break
            chained += 1
            if chained > DEPTH:
                self.fail(f"at most {DEPTH} divisions and points may follow each other; give a part of it a name.")
            # a*b/c is (a*b)/c: what was read so far becomes the dividend
            left = factors[0] if len(factors) == 1 else Mul(tuple(factors))
            if beside:
                factors = [Adjacent(left, self.signed(), sign.at)]
                continue
            self.take()
            other = self.signed()
            if sign.text == "·":
                factors = [Adjacent(left, other, sign.at, dotted=True)]
                continue
            closed = self.tokens[self.here - 1].text in ")]}"
            divisor = self.here if sign.text == "/" and not closed else -1
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
        while True:
            if turned := self.take("⊤"):
                base = Transpose(base, turned.at)
            elif self.take("."):  # (q**2).sum(), as in Python
                method, _ = self.take(), self.take("(")
                assert method is not None
                base = self.call(function_named(method.text), method.text, method.at, (base,))
            else:
                break
        if sign := self.take("^"):
            if self.next.text == "⊤" or (self.next.text == "{" and self.tokens[self.here + 1].text == "⊤"):
                braced = self.take("{")
                self.take("⊤")
                if braced:
                    self.want("}", "after the exponent")
                return Transpose(base, sign.at)
            bare = sign.kind != "raised" and self.next.text not in ("(", "{")
            power = Pow(base, self.level(self.signed), sign.at)
            self.check_exponent(bare, power)
            self.exponent = self.here if bare else self.exponent
            return power
        return base

    def check_exponent(self, bare: bool, power: Pow) -> None:
        """Refuse x^1/2, by which people mean the root and calculators x/2."""
        one = isinstance(power.exponent, Const) and abs(power.exponent.value) == 1
        number = self.tokens[min(self.here + 1, len(self.tokens) - 1)]
        if bare and one and self.next.text == "/" and self.next.glued and number.kind == "number" and number.glued:
            self.fail("it is unclear whether the division is in the exponent; write x^(1/2) or (x^1)/2.")

    def atom(self) -> Expr:
        token = self.next
        if token.kind == "number":
            self.take()
            return Const(Fraction(token.text))
        if token.text in ("(", "{"):
            return self.bracketed()
        if token.text in ("|", "||"):
            if token.text == "||" and not self.closes():  # ||x| − 6| begins with two bars
                token = Token("sign", "|", token.at)
                self.tokens[self.here : self.here + 1] = [token, token]
            self.take()
            self.bars += 1
            inner = self.expression()
            if token.text == "|" and self.next.text == "||":  # two bars that close one after the other
                self.tokens[self.here : self.here + 1] = [Token("sign", "|", self.next.at)] * 2
            self.want(token.text, "to close the bars")
            self.bars -= 1
            return self.measured(inner, token)
        if self.take("√"):
            inner = self.atom()
            if self.next.text == "^":
                self.fail("it is unclear what is under the root; write √(x^2) or (√x)^2.")
            bare = self.tokens[self.here - 1].text not in ")]}|"
            if bare and self.next.glued and (self.next.kind in ("name", "number") or self.next.text == "("):
                self.fail("it is unclear what is under the root; write √(2x) or √2·x.")
            return Call("sqrt", (inner,), 0, token.at)
        if self.take("Σ") or self.take("∏"):
            return self.sigma(token)
        if self.take("⟨"):
            left, _ = self.expression(), self.want(",", "between two vectors, as in ⟨x, y⟩")
            right, _ = self.expression(), self.want("⟩", "after two vectors")
            return MatrixProduct(left, right, token.at)
        if self.take("⌊") or self.take("⌈"):
            inner = self.expression()
            self.want("⌋" if token.text == "⌊" else "⌉", "to close the bracket")
            return Call("floor" if token.text == "⌊" else "ceil", (inner,), 0, token.at)
        if token.text == "[" and self.groups():
            return self.bracketed()
        if self.take("["):
            return self.components(token)
        if token.kind != "name":
            self.fail("a number, a name or a bracket must come here; add it.")
        function, after = function_named(token.text), self.tokens[self.here + 1]
        if after.text == "(" and token.text in self.defined and function == "sigmoid" != token.text:
            self.fail("is a quantity of this worksheet; write sigmoid(z) for the function, or a product with its sign.")
        braced = after.text == "{" and function in KNOWN and token.text not in self.defined  # max{0, x}
        if braced or (after.text == "(" and (function in KNOWN or token.text not in self.defined)):
            self.here += 2
            call = self.call(function, token.text, token.at, close="}" if braced else ")")
            return Subscript(call, self.places("]"), token.at) if self.take("[") else call
        if token.text == "sum_" and after.text == "{":
            return self.sigma(token)
        if function in KNOWN and token.text not in self.defined and token.text not in ("sigma", "pi", "e"):
            return self.applied(function, token)
        if token.text == "Sigma" and token.text not in self.defined and self.tokens[self.here + 1].kind == "name":
            self.fail("a sum needs its index; write it as in Σ_i x_i or sum(x_i, i = 1..3).")
        return self.side_by_side(token) or self.quantity("a name must come here")

    def measured(self, inner: Expr, opening: Token) -> Expr:
        """|x| and ||x||, with ||x||_1, ||x||_2 and ||W||_F."""
        order, token = "", self.next
        if token.kind == "name" and token.glued and token.text in ("_1", "_2", "_F"):
            self.take()
            order = token.text[1:]
        elif token.text == "_" and self.tokens[self.here + 3].text == "}":
            self.here += 4
            order = self.tokens[self.here - 2].text
        if order not in ("", "1", "2", "F"):
            self.fail("the norms are ||x||_1, ||x||_2 and ||W||_F; write another one out.")
        if opening.text == "|" and not order:
            return Bars(inner, opening.at)
        return Call("norm", (inner,), int(order) if order in ("1", "2") else 0, opening.at)

    def braced(self) -> Expr:
        return self.atom()

    def closes(self) -> bool:
        """Whether a norm's second || comes before the end of the statement."""
        later = itertools.takewhile(lambda token: token.text not in (";", ""), self.tokens[self.here + 1 :])
        return any(token.text == "||" for token in later)

    def bracketed(self) -> Expr:
        """An expression in brackets; in braces as LaTeX groups."""
        opening = self.take()
        assert opening is not None
        outside, self.bars = self.bars, 0
        inner = self.expression()
        if opening.text == "(" and self.next.text == ",":  # x = (1, 2) is a vector
            items = [inner]
            while self.take(","):
                items.append(self.expression())
            inner = ArrayLiteral(tuple(items), opening.at)
        self.want({"(": ")", "{": "}", "[": "]"}[opening.text], "to close the bracket")
        self.bars = outside
        return inner

    def applied(self, function: str, token: Token) -> Expr:
        """A function before its argument without brackets, ln p or tanh^2(z); else a quantity of its name."""
        here = self.here
        self.take()
        power = None
        exponent = [token.text for token in self.tokens[self.here : self.here + 3]]
        if exponent[:1] == ["^"] and "-" in (exponent[1:2] if exponent[1] not in "({" else exponent[2:]):
            self.fail(
                f"{token.text}^-1 is the inverse function or 1/{token.text}; write 1/{token.text}(x) for the latter."
            )
        if function in FUNCTIONS and self.next.text == "^" and self.tokens[self.here + 1].kind == "number":
            self.take()
            power = Const(Fraction((self.take() or token).text))
        takes = FUNCTIONS[function].min_args == 1 if function in FUNCTIONS else function in SHORT
        if not takes or not (self.next.kind == "number" or self.begins_factor()):
            self.here = here
            return self.quantity("a name must come here")
        if self.next.text == "(":
            self.take()
            node = self.call(function, token.text, token.at)
        else:
            argument = self.signed()
            if self.next.kind == "name" and self.begins_factor():
                self.fail(f"it is unclear where the argument of {token.text} ends; put it in brackets.")
            node = SHORT[function](argument) if function in SHORT else Call(function, (argument,), 0, token.at)
        return Pow(node, power, token.at) if power is not None else node

    def call(self, name: str, written: str, at: At, first: Sequence[Expr] = (), close: str = ")") -> Expr:
        """The call of a function, after its opening bracket."""
        if name == "piecewise":
            return self.piecewise(at)
        if name not in TAKES and name not in FUNCTIONS:
            if instead := INSTEAD.get(written.replace("_", "").lower()):
                raise UsageError(f"{position(at)}{written}: is no function of a worksheet; write {instead}.")
            raise UsageError(f"{position(at)}{UnknownNameError('function', written, KNOWN)}")
        outside, self.bars = self.bars, 0
        args = [*first]
        if self.next.text not in (close, "axis", "dim"):
            args.append(self.expression())
        elif self.next.text != close and first and self.tokens[self.here + 1].text == "=":  # x.sum(axis=0)
            self.here -= 1
            self.tokens[self.here] = Token("sign", ",", self.next.at)
        loops: list[Loop] = []
        axis = ""
        while self.take(","):
            after = self.tokens[self.here + 1].text
            if name in OVER_COMPONENTS and self.next.text in ("axis", "dim") and after == "=":
                axis = self.axis()
            elif name in ("sum", "prod") and self.next.kind == "name" and after in ("=", "in"):
                loops.append(self.loop())
            elif name in ("sum", "prod") and self.next.kind == "name" and after == "!=" and len(args) == 1:
                index = self.next.text
                self.here += 2
                without = OverIndex(name, args[0], index, None, None, self.end_of_range(), at)
                self.want(close, f"after the arguments of {name}")
                return without
            elif self.next.kind == "name" and after == "=":
                n = ", and for n - 1 instead of n the sum itself" if name in ("var", "std") else ""
                self.fail(f"is no option of {name}; write its arguments one after the other{n}.")
            else:
                args.append(self.expression())
        self.bars = outside
        self.want(close, f"after the arguments of {name}")
        if name == "sum" and not args:
            raise UsageError(f"{position(at)}sum(): needs terms; write it as in sum(x_j, j = 1..3).")
        least, most = TAKES[name] if name in TAKES else (FUNCTIONS[name].min_args, FUNCTIONS[name].max_args)
        if not least <= len(args) <= most:
            takes = f"{least}" if least == most else f"{least} to {most}"
            raise UsageError(f"{position(at)}{name} with {len(args)} arguments: it takes {takes}; correct the call.")
        if loops and name == "prod":
            body = args[0]
            for loop in reversed(loops):
                body = OverIndex(name, body, loop.variable, loop.low, loop.high, None, at)
            return body
        if loops:
            return self.sum_over(args[0], loops, [], at)
        node = built(name, args, at)
        return OverAxis(node, axis, at) if axis else node

    def axis(self) -> str:
        """The option axis=0 of softmax, sum, max, …"""
        self.here += 2
        sign = "-" if self.take("-") else ""
        token = self.next
        if sign + token.text not in _AXES:
            self.fail("axis is 0 down the columns, 1 along the rows, -1 for the last one, or all.")
        self.take()
        return sign + token.text

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

    def fail(self, rule: str) -> NoReturn:
        Names.fail(self, rule)
