# SPDX-License-Identifier: Apache-2.0
"""From plain text to equations and questions, without `eval`.

    h_0 = 1; W_h = 0.5                 a number; statements end with the line or with ;
    h[t] = tanh(W_h*h[t-1] + b) for t = 1..3        one equation for each t; h[1], h_1 and h_{1} are one quantity
    x = [1, 2]; W = [[1, 2], [3, 4]]   a vector, a matrix: the quantities x_1, x_2, W_1_1, W_1_2, …
    z = W @ x + b                      matrix product; + − × ÷ and functions work component by component
    z_i = sum(W_{i,j}*x_j, j = 1..2) for i = 1..2   the same product, written out
    p = softmax(z); q = softmax(z)[1]
    f = piecewise(x^2 if x < 1, 2*x - 1 if x < 3, 5 otherwise)
    ? L, h_1                           questions: values,
    ? dL/dW_h                          derivatives,
    ? W_h after 3 adam(lr=0.1) on L    updates: sgd, momentum, nesterov, adam, adamw, rmsprop, adagrad, with weight_decay, v, m
    # a comment, to the end of the line

Functions: those of `expressions.functions` and `notation.calls`, in any spelling. What people write by hand, in LaTeX and in Python is
read as well: 2x, W x, x², |x|, √x, ½, ŷ (which is yhat), W^T, W_{hh}, a^{(1)}, e^(-z), \\frac{a}{b}, \\sum_k x_k, np.exp(x).
"""

from __future__ import annotations

import re
from fractions import Fraction
from typing import Final

from pellucid.errors import UnknownNameError, UsageError
from pellucid.worked.expressions.evaluation import evaluate
from pellucid.worked.expressions.expression import At, Expr, Index, Name, names
from pellucid.worked.expressions.position import position
from pellucid.worked.notation.parser import Parser
from pellucid.worked.notation.plain import in_symbols
from pellucid.worked.notation.questions import FURTHER, MAX_STEPS, OPTIMISERS, option_named, rule_named
from pellucid.worked.notation.statements import EquationStatement, Loop, QuestionStatement

__all__ = ["parse", "parse_expression"]

_DOLLARS: Final = re.compile(r"^\s*\${1,2}|\${1,2}\s*$")


def parse(text: str) -> list[EquationStatement | QuestionStatement]:
    """The statements of a worksheet's text.

    >>> [type(statement).__name__ for statement in parse("a = 2; b = a^2\\n? b")]
    ['EquationStatement', 'EquationStatement', 'QuestionStatement']

    Raises:
        UsageError: a syntax error, with line and column.
    """
    # $a = 2$ as in Markdown, with blanks to keep the columns
    lines = (
        [_DOLLARS.sub(lambda match: " " * len(match.group()), line) for line in text.split("\n")] if "$" in text else []
    )
    return _statements(Parser("\n".join(lines) or text))


def parse_expression(text: str) -> Expr:
    """A single expression, whose names are symbols; sums over an index stay as they are written.

    >>> parse_expression("2*x")
    Mul(factors=(Const(value=Fraction(2, 1)), Name(name='x')))

    Raises:
        UsageError: a syntax error, with line and column.
    """
    parser = Parser(text)
    expression = parser.expression()
    parser.end("after an expression")
    return in_symbols(expression)


def _statements(parser: Parser) -> list[EquationStatement | QuestionStatement]:
    statements: list[EquationStatement | QuestionStatement] = []
    while parser.next.kind != "end":
        if parser.take(";"):
            continue
        statements.append(_question(parser) if parser.take("?") else _equation(parser))
    return statements


def _equation(parser: Parser) -> EquationStatement:
    at = parser.next.at
    target = parser.quantity("an equation begins with a name, as in h_1 = 2*x, and a question with ?")
    if parser.next.text == "^":
        parser.fail(
            "an equation gives a name its value, not a power of it; write x = sqrt(10) for x^2 = 10, or v = … for a variance σ^2."
        )
    if parser.next.text == "(":
        parser.fail("an equation gives a name its value; write f = x^2, and give x a value, for f(x) = x^2.")
    called = target.name if isinstance(target, Name) else target.base
    if parser.next.text in ("<", "-", "+") or called == "update":  # w <- …, w -= …, update w …
        parser.fail(
            f"'=' is missing after {called}; add it, and write a step of gradient descent as ? w after sgd(lr=0.1) on L."
        )
    parser.want("=", f"after {called}")
    if parser.next.text in (";", "") or parser.next.text == "?":
        name = target.name if isinstance(target, Name) else target.base
        raise UsageError(f"{position(at)}{name}: has no value; write one after the =, as in {name} = 0.5.")
    right = parser.expression()
    loops: list[Loop] = []
    if parser.take("for"):
        loops.append(parser.loop())
        while parser.take(","):
            loops.append(parser.loop())
    parser.end("after an equation")
    return EquationStatement(target, right, tuple(loops), at)


def _question(parser: Parser) -> QuestionStatement:
    """Read the rest of a question, after its ?.

    Raises:
        UsageError: a syntax error, with line and column.
    """
    at = parser.next.at
    rule = (
        "a question names a quantity, as in ? L, a derivative, as in ? dL/dW, or an update, as in ? W after sgd() on L"
    )
    if _second_derivative(parser):
        parser.fail(
            "a worksheet has first derivatives; a second one is found in symbols, as in pellucid work derive x^3 --order 2."
        )
    names = [parser.quantity(rule)]
    if parser.take("/"):
        below = parser.quantity(rule)
        parser.end("after a derivative")
        return QuestionStatement((_without_d(below),), at, of=_without_d(names[0]))
    while parser.take(","):
        names.append(parser.quantity(rule))
    if parser.next.text in ("(", "+", "-", "*", "·", "^", "@", "⊤"):
        parser.fail(f"{rule}; give the expression a name first.")
    if not parser.take("after"):
        parser.end("after a question")
        return QuestionStatement(tuple(names), at)
    steps = _steps(parser)
    optimiser = parser.next
    rule = rule_named(optimiser.text)
    if rule not in OPTIMISERS:
        raise UsageError(f"{position(optimiser.at)}{UnknownNameError('optimiser', optimiser.text, OPTIMISERS)}")
    parser.take()
    rule, options = _options(parser, rule)
    parser.want("on", "after the optimiser, before the quantity to minimise, as in on L")
    of = parser.quantity("the quantity to minimise is missing here")
    parser.end("after an update")
    return QuestionStatement(tuple(names), at, of, rule, steps, options)


def _second_derivative(parser: Parser) -> bool:
    """Whether a question has the d² of d²L/dx²."""
    ahead = []
    for token in parser.tokens[parser.here : parser.here + 6]:
        if token.text == ";":
            break
        ahead.append(token.text.lstrip("("))
    texts = [text for text in ahead if text]
    return texts[:1] in (["d"], ["∂"]) and texts[1:2] == ["^"]


def _steps(parser: Parser) -> int:
    token = parser.next
    if token.kind != "number":
        return 1
    parser.take()
    if not token.text.isdigit() or not 1 <= int(token.text) <= MAX_STEPS:
        raise UsageError(f"{position(token.at)}steps={token.text}: must be a whole number from 1 to {MAX_STEPS}.")
    _ = parser.take("steps") or parser.take("step")  # "3 adam()" and "3 steps of adam()" mean the same
    parser.take("of")
    return int(token.text)


def _options(parser: Parser, rule: str) -> tuple[str, tuple[tuple[str, Fraction | Expr], ...]]:
    """The options of an optimiser, and its rule: SGD with a momentum is the rule momentum."""
    given: dict[str, Fraction | Expr] = {}
    parser.want("(", f"after {rule}, as in {rule}(lr=0.01)")
    while not parser.take(")"):
        token = parser.next
        name = option_named(rule, token.text)
        if rule == "sgd" and name == "rho":
            rule = "momentum"
        known = (*OPTIMISERS[rule], *FURTHER[rule])
        if name not in known:
            raise UsageError(f"{position(token.at)}{UnknownNameError('option', token.text, known)}")
        parser.take()
        parser.want("=", f"after {token.text}")
        value = in_symbols(parser.expression())
        # 1/10 is a number; the names of given numbers wait for the worksheet
        given[name] = value if names(value) else _plain_number(value, name, token.at)
        if parser.next.text != ")":
            parser.want(",", f"between the options of {rule}")
    return rule, tuple((OPTIMISERS[rule] | given).items())


def _plain_number(value: Expr, name: str, at: At) -> Fraction:
    number = evaluate(value, {})
    if not isinstance(number, Fraction):
        raise UsageError(f"{position(at)}{name}: must be a number, as in {name}=0.01.")
    return number


def _without_d(name: Name | Index) -> Name | Index:
    """The quantity L of dL or ∂L."""
    text = name.name if isinstance(name, Name) else name.base
    if text[0] not in "d∂" or len(text) < 2:
        raise UsageError(f"{position(name.at)}{text}: a derivative needs a d before both names; write dL/dW.")
    return Name(text[1:], name.at) if isinstance(name, Name) else Index(text[1:], name.places, name.at)
