# SPDX-License-Identifier: Apache-2.0
"""From expression trees to written mathematics: where brackets are needed. The formats decide how each piece looks."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Final

from pellucid.worked.expressions.expression import (
    Add,
    Call,
    Condition,
    Const,
    Div,
    Expr,
    Index,
    Mul,
    Name,
    Neg,
    Partial,
    Piecewise,
    Pow,
    Sum,
)
from pellucid.worked.expressions.functions import FUNCTIONS
from pellucid.worked.showing.lines import Line, Words
from pellucid.worked.showing.numerals import Numeral, Symbol, numeral, symbol

__all__ = ["ADD", "ATOM", "MUL", "POW", "Typesetter"]

ADD, MUL, POW, ATOM = range(4)  # how tightly an expression binds, the loosest first
WRITTEN_OUT: Final = 8  # a sum with more terms is written with Σ


class Typesetter(ABC):
    """Writes expressions; each format implements the abstract methods."""

    def __init__(self, digits: int = 6, exact: bool = False) -> None:
        self.digits, self.exact = digits, exact

    def write(self, node: Expr) -> str:
        """An expression as text."""
        return self.typeset(node)[0]

    def chain(self, line: Line) -> tuple[str, list[tuple[str, str]]]:
        """A line as a chain of equalities: its left side, then each form with the sign before it.

        Without a left side the first sign is "". A form that reads like the one before is left out.
        """
        left = "" if line.left is None else self.write(line.left)
        result = self.write(Const(line.value))
        forms: list[str] = []
        for text in map(self.write, line.forms):
            if not forms or forms[-1] != text:
                forms.append(text)
        # y = 3 = 3: the numbers are the result already
        if forms and forms[-1] == result:
            forms.pop()
        rounded = not numeral(line.value, self.digits, self.exact).exact
        signs = [line.sign if left else "", *["="] * len(forms)]
        if rounded and (left or forms):  # only the last sign claims that the number is exact
            signs[len(forms)] = "≈"
        return left, list(zip(signs, [*forms, result], strict=True))

    def text(self, words: Words) -> str:
        """A sentence with mathematics in it."""
        parts: list[str] = []
        for word in words:
            if isinstance(word, str):
                parts.append(self.plain(word))
            elif isinstance(word, tuple):
                parts.append(self.path([self.name(symbol(name)) for name in word]))
            else:
                parts.append(self.math(self.write(word)))
        return "".join(parts)

    def typeset(self, node: Expr) -> tuple[str, int]:
        """An expression as text, and how tightly it binds."""
        match node:
            case Const(value=value):
                return self.number(numeral(value, self.digits, self.exact))
            case Name(name=name):
                return self.name(symbol(name)), ATOM
            case Partial(of=of, by=by):
                return self.partial(self.name(symbol(of)), self.name(symbol(by)))
            case Add(terms=terms):
                return self.add(terms), ADD
            case Sum(terms=terms) if terms and len(terms) <= WRITTEN_OUT:  # a person writes a short sum out
                return self.add(terms) if len(terms) > 1 else self.write(terms[0]), ADD
            case Sum(body=body, index=index, low=low, high=high):
                return self.sigma(self.bracketed(body, MUL), index, self.write(low), self.write(high)), MUL
            case Neg(term=term):  # −(a + b), but −a·b without brackets
                return self.negative() + self.bracketed(term, MUL), ADD
            case Mul(factors=factors):
                # Σ and ∂/∂x reach over everything behind them, so only the last factor may be one of these
                written = [self.factor(factor, n) for n, factor in enumerate(factors)]
                open_ended = [_reaches(factor) and n < len(factors) - 1 for n, factor in enumerate(factors)]
                return self.mul([self.brackets(w) if o else w for w, o in zip(written, open_ended, strict=True)]), MUL
            case Div(top=top, bottom=bottom):
                return self.quotient(top, bottom)
            case Pow(base=base, exponent=exponent):  # (−a)², (a/b)²: anything but an atom needs brackets
                raised = isinstance(base, Name) and symbol(base.name).raised
                return self.power(
                    self.brackets(self.write(base)) if raised else self.bracketed(base, ATOM), exponent
                ), POW
            case Call(function="sum", args=(body, Name(name=over))):  # over all values of an index
                return self.sigma(self.bracketed(body, MUL), over, "", ""), MUL
            case Call(function="derivative", args=(body, Name() as variable)):
                by = self.write(variable)
                if isinstance(body, Name) or (isinstance(body, Call) and body.function not in (*FUNCTIONS, "sum")):
                    return self.partial(self.write(body), by)
                closed = self.write(body) if isinstance(body, Call) else self.brackets(self.write(body))
                return self.operator(by, closed), MUL
            case Call(function=name, args=args, index=index):
                return self.call(name, args, index)
            case Piecewise(branches=branches, otherwise=otherwise):
                pairs = [(self.write(value), self.condition(test)) for value, test in branches]
                return self.cases(pairs, self.write(otherwise)), ATOM
            case Index(base=base_name, places=places):  # only inside the body of a Σ
                indices = [*map(self.write, places)]
                base_symbol = symbol(base_name)
                if base_name.endswith("_"):  # a^{(l)}_j, whose raised index comes first
                    raised, *indices = indices
                    return self.name(Symbol(base_symbol.base, base_symbol.accent, (*indices,), raised)), ATOM
                subscripts = (*base_symbol.subscripts, *indices)
                return self.name(Symbol(base_symbol.base, base_symbol.accent, subscripts, base_symbol.raised)), ATOM
        raise TypeError(type(node).__name__)

    def bracketed(self, node: Expr, level: int) -> str:
        """An expression, in brackets if it binds less tightly than `level`."""
        text, own = self.typeset(node)
        return text if own >= level else self.brackets(text)

    def factor(self, node: Expr, place: int) -> str:
        """A factor of a product; formats that write quotients on one line put them in brackets."""
        return self.bracketed(node, MUL)

    def add(self, terms: Sequence[Expr]) -> str:
        """Terms joined by their signs; a negative number after a sign gets brackets."""
        parts: list[str] = []
        for n, term in enumerate(terms):
            # a − b, a + (−2), and a + (b + c) where a sum inside was kept on purpose
            if isinstance(term, Neg) and n:
                parts += [self.between(self.minus()), self.bracketed(term.term, MUL)]
            elif isinstance(term, Neg):
                parts.append(self.write(term))
            elif n:
                negative = isinstance(term, Const) and term.value < 0
                parts += [self.between("+"), self.bracketed(term, MUL if negative else ADD)]
                if not negative and isinstance(term, (Add, Neg)):
                    parts[-1] = self.brackets(parts[-1])
            else:
                parts.append(self.write(term))
        return "".join(parts)

    def condition(self, test: Condition) -> str:
        """A comparison."""
        sign = {"<=": "≤", ">=": "≥"}.get(test.sign, test.sign)
        return self.write(test.left) + self.between(sign) + self.write(test.right)

    @abstractmethod
    def plain(self, text: str) -> str: ...

    @abstractmethod
    def math(self, inner: str) -> str: ...

    @abstractmethod
    def path(self, names: Sequence[str]) -> str: ...

    @abstractmethod
    def number(self, number: Numeral) -> tuple[str, int]: ...

    @abstractmethod
    def name(self, name: Symbol) -> str: ...

    @abstractmethod
    def partial(self, of: str, by: str) -> tuple[str, int]: ...

    @abstractmethod
    def brackets(self, inner: str) -> str: ...

    @abstractmethod
    def minus(self) -> str: ...

    def negative(self) -> str:
        """The sign of a negative term; in MathML it differs from that of a difference."""
        return self.minus()

    @abstractmethod
    def between(self, sign: str) -> str: ...

    @abstractmethod
    def mul(self, factors: Sequence[str]) -> str: ...

    @abstractmethod
    def quotient(self, top: Expr, bottom: Expr) -> tuple[str, int]: ...

    @abstractmethod
    def power(self, base: str, exponent: Expr) -> str: ...

    @abstractmethod
    def call(self, name: str, args: Sequence[Expr], index: int) -> tuple[str, int]: ...

    @abstractmethod
    def cases(self, branches: Sequence[tuple[str, str]], otherwise: str) -> str: ...

    @abstractmethod
    def sigma(self, body: str, index: str, low: str, high: str) -> str: ...

    @abstractmethod
    def operator(self, by: str, inner: str) -> str: ...


def _reaches(node: Expr) -> bool:
    """Whether a node is a sum over an index or a derivative that is not carried out."""
    if not isinstance(node, Call) or node.function not in ("sum", "derivative"):
        return False
    return node.function == "sum" or not isinstance(node.args[0], Name)
