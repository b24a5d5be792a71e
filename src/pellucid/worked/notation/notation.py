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

from fractions import Fraction

from pellucid.errors import UnknownNameError, UsageError
from pellucid.worked.expressions.expression import Const, Expr, Index, Name, Neg
from pellucid.worked.expressions.position import place
from pellucid.worked.notation.questions import RULES, STEPS
from pellucid.worked.notation.reading import Reader
from pellucid.worked.notation.statements import Ask, Given, Loop

__all__ = ["parse", "parse_expression"]


def parse(text: str) -> list[Given | Ask]:
    """The statements of a worksheet's text.

    >>> [type(each).__name__ for each in parse("a = 2; b = a^2\\n? b")]
    ['Given', 'Given', 'Ask']

    Raises:
        UsageError: what is no worksheet, with line and column.
    """
    return _statements(Reader(text))


def parse_expression(text: str) -> Expr:
    """One expression; loop variables and vectors stay as they are written.

    >>> parse_expression("2*x")
    Mul(factors=(Const(value=Fraction(2, 1)), Name(name='x')))

    Raises:
        UsageError: what is no expression, with line and column.
    """
    reader = Reader(text)
    found = reader.expression()
    reader.end("after an expression")
    return found


def _statements(reader: Reader) -> list[Given | Ask]:
    found: list[Given | Ask] = []
    while reader.next.kind != "end":
        if reader.take(";"):
            continue
        found.append(_question(reader) if reader.take("?") else _equation(reader))
    return found


def _equation(reader: Reader) -> Given:
    at = reader.next.at
    target = reader.quantity("an equation begins with a name, as in h_1 = 2*x, and a question with ?")
    reader.want("=", f"after {target.name if isinstance(target, Name) else target.base}")
    if reader.next.text in (";", "") or reader.next.text == "?":
        name = target.name if isinstance(target, Name) else target.base
        raise UsageError(f"{place(at)}{name}: has no number; write one after the =, as in {name} = 0.5.")
    right = reader.expression()
    loops: list[Loop] = []
    if reader.take("for"):
        loops.append(reader.loop())
        while reader.take(","):
            loops.append(reader.loop())
    reader.end("after an equation")
    return Given(target, right, tuple(loops), at)


def _question(reader: Reader) -> Ask:
    """Read what stands after a ?.

    Raises:
        UsageError: what is no question, with line and column.
    """
    at = reader.next.at
    rule = (
        "a question names a quantity, as in ? L, a derivative, as in ? dL/dW, or an update, as in ? W after sgd() on L"
    )
    names = [reader.quantity(rule)]
    if reader.take("/"):
        below = reader.quantity(rule)
        reader.end("after a derivative")
        return Ask((_without_d(below),), at, of=_without_d(names[0]))
    while reader.take(","):
        names.append(reader.quantity(rule))
    if not reader.take("after"):
        reader.end("after a question")
        return Ask(tuple(names), at)
    steps = _steps(reader)
    optimiser = reader.next
    if optimiser.text not in RULES:
        raise UsageError(f"{place(optimiser.at)}{UnknownNameError('optimiser', optimiser.text, RULES)}")
    reader.take()
    options = _options(reader, optimiser.text)
    reader.want("on", "after the optimiser: it names what is to become small, as in on L")
    of = reader.quantity("the quantity that is to become small is wanted here")
    reader.end("after an update")
    return Ask(tuple(names), at, of, optimiser.text, steps, options)


def _steps(reader: Reader) -> int:
    token = reader.next
    if token.kind != "number":
        return 1
    reader.take()
    if not token.text.isdigit() or not 1 <= int(token.text) <= STEPS:
        raise UsageError(f"{place(token.at)}steps={token.text}: must be a whole number from 1 to {STEPS}.")
    reader.take("steps")
    reader.take("of")
    return int(token.text)


def _options(reader: Reader, rule: str) -> tuple[tuple[str, Fraction], ...]:
    options = dict(RULES[rule])
    reader.want("(", f"after {rule}, as in {rule}(lr=0.01)")
    while not reader.take(")"):
        token = reader.next
        if token.text not in options:
            raise UsageError(f"{place(token.at)}{UnknownNameError('option', token.text, options)}")
        reader.take()
        reader.want("=", f"after {token.text}")
        value = reader.expression()
        sign = -1 if isinstance(value, Neg) else 1
        value = value.term if isinstance(value, Neg) else value
        if not isinstance(value, Const) or not isinstance(value.value, Fraction):
            raise UsageError(f"{place(token.at)}{token.text}: must be a number, as in {token.text}=0.01.")
        options[token.text] = sign * value.value
        if reader.next.text != ")":
            reader.want(",", f"between the options of {rule}")
    return tuple(options.items())


def _without_d(name: Name | Index) -> Name | Index:
    """The quantity that dL or ∂L names."""
    text = name.name if isinstance(name, Name) else name.base
    if text[0] not in "d∂" or len(text) < 2:
        raise UsageError(f"{place(name.at)}{text}: a derivative is written dL/dW, with a d before both names.")
    return Name(text[1:], name.at) if isinstance(name, Name) else Index(text[1:], name.places, name.at)
