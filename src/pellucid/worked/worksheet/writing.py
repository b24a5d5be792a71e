# SPDX-License-Identifier: Apache-2.0
"""A worksheet as text that `pellucid work` can read: to edit what a builder made, or to check answers against it."""

from __future__ import annotations

import textwrap
from fractions import Fraction
from typing import Final

from pellucid.errors import UsageError
from pellucid.worked.expressions.expression import (
    Add,
    Call,
    Condition,
    Const,
    Div,
    Expr,
    Mul,
    Name,
    Neg,
    Piecewise,
    Pow,
    Sum,
)
from pellucid.worked.notation.questions import Question
from pellucid.worked.showing.terminal import Unicode
from pellucid.worked.worksheet.worksheet import Worksheet

__all__ = ["write_expression", "write_worksheet"]

_SUM, _PRODUCT, _POWER, _ATOM = range(4)  # how tightly a node binds
_LEVELS: Final = {Add: _SUM, Sum: _SUM, Neg: _SUM, Mul: _PRODUCT, Div: _PRODUCT, Pow: _POWER}


def write_worksheet(sheet: Worksheet) -> str:
    """The text of a worksheet: remarks after #, equations, questions. Numbers stay exact.

    >>> w = Worksheet()
    >>> w.x, w.y = 3, 0.5
    >>> w.L = (w.x * w.y - 1) ** 2
    >>> w.ask("dL/dx", "x after sgd(lr=0.1) on L")
    >>> print(write_worksheet(w))
    x = 3
    y = 0.5
    L = (x*y - 1)^2
    ? dL/dx
    ? x after sgd(lr=0.1) on L
    """
    setter = Unicode()
    sentences = [textwrap.wrap(setter.text(words), 100) for words in sheet.remarks]
    lines = [f"# {line}" for sentence in sentences for line in sentence]
    lines += [f"{name} = {write_expression(equation.right)}" for name, equation in sheet.equations.items()]
    return "\n".join([*lines, *(f"? {_question(question)}" for question in sheet.questions)])


def write_expression(node: Expr) -> str:
    """An expression in the notation that the parser reads.

    >>> from pellucid.worked.notation.notation import parse_expression
    >>> write_expression(parse_expression("-(a + 2)^2/(b*(c - 0.25))"))
    '-(a + 2)^2/(b*(c - 0.25))'

    Raises:
        UsageError: a node that has no notation, such as a derivative as a symbol.
    """
    match node:
        case Const(value=value):
            return _number(Fraction(value))
        case Name(name=name):
            return name
        case Add(terms=terms) | Sum(terms=terms):
            return "".join(_term(term, first=not n) for n, term in enumerate(terms))
        case Neg(term=term):
            return f"-{_bracketed(term, _PRODUCT)}"
        case Mul(factors=factors):
            # brackets around a quotient that is not the first factor: a*(b/c) and (a*b)/c round differently
            return "*".join(
                _leading(factor) if not n else _bracketed(factor, _POWER) for n, factor in enumerate(factors)
            )
        case Div(top=top, bottom=bottom):
            return f"{_leading(top)}/{_bracketed(bottom, _POWER)}"
        case Pow(base=base, exponent=exponent):
            return f"{_bracketed(base, _ATOM)}^{_bracketed(exponent, _ATOM)}"
        case Call(function="pi"):
            return "pi()"
        case Call(function=name, args=args, index=index):
            inner = ", ".join(map(write_expression, args))
            return f"{name}({inner})" + (f"[{index}]" if index else "")
        case Piecewise(branches=branches, otherwise=otherwise):
            parts = [f"{write_expression(value)} if {_condition(test)}" for value, test in branches]
            return f"piecewise({', '.join([*parts, write_expression(otherwise)])})"
    raise UsageError(f"expression={type(node).__name__}: has no notation in a text; give it a name.")


def _bracketed(node: Expr, level: int) -> str:
    """An expression, in brackets if it binds less tightly than `level`."""
    text = write_expression(node)
    if isinstance(node, Const):  # −2 binds like a sum, 1/3 like a product
        own = _SUM if text.startswith("-") else _PRODUCT if "/" in text else _ATOM
    else:
        own = _LEVELS.get(type(node), _ATOM)
    return text if own >= level else f"({text})"


def _leading(node: Expr) -> str:
    """The first term or factor, where a minus sign needs no brackets."""
    return write_expression(node) if isinstance(node, (Neg, Const)) else _bracketed(node, _PRODUCT)


def _term(term: Expr, first: bool) -> str:
    """A term of a sum with its sign."""
    if first:
        return _leading(term)
    if isinstance(term, Neg):
        return f" - {_bracketed(term.term, _PRODUCT)}"
    return f" + {_bracketed(term, _PRODUCT)}"


def _condition(test: Condition) -> str:
    return f"{write_expression(test.left)} {test.sign} {write_expression(test.right)}"


def _number(value: Fraction) -> str:
    """A terminating decimal, else a quotient; both are exact."""
    # a decimal terminates if the denominator is 2^a·5^b, with max(a, b) places
    rest, twos, fives = value.denominator, 0, 0
    while rest % 2 == 0:
        rest, twos = rest // 2, twos + 1
    while rest % 5 == 0:
        rest, fives = rest // 5, fives + 1
    places = max(twos, fives)
    if rest != 1:
        return f"{value.numerator}/{value.denominator}"
    digits = str(abs(value.numerator) * 10**places // value.denominator).rjust(places + 1, "0")
    whole, part = digits[: len(digits) - places], digits[len(digits) - places :]
    return ("-" if value < 0 else "") + whole + (f".{part}" if part else "")


def _question(question: Question) -> str:
    if not question.rule:
        return question.title
    options = ", ".join(f"{name}={_number(value)}" for name, value in question.options)
    count = f"{question.steps} " if question.steps > 1 else ""
    return f"{', '.join(question.names)} after {count}{question.rule}({options}) on {question.of}"
