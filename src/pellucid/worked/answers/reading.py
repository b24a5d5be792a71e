# SPDX-License-Identifier: Apache-2.0
"""A text of answers: one `name = value` a line, read against a worksheet; a line that cannot be read is reported.

    yhat_2 = 6                          a value; a formula of the worksheet's names works too
    z = [0.5, -1.2]                     the components of a vector
    dL/dW_h = 8                         a derivative; in formulas dL/dyhat is the worksheet's own
    W_h after sgd(lr=0.01) on L = 0.92  an update
    # a remark

A number is right if it differs from the true one by less than one unit of its last digit, and agrees with it to at least three
significant digits. A formula without rounded numbers is right if its value is within 10⁻⁹ of the true one, relative to it.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Final, final

from pellucid.errors import UnknownNameError, UsageError
from pellucid.worked.expressions.expression import At, Const, Expr, Index, Name, Neg, Partial, Value, names, replace
from pellucid.worked.expressions.position import place
from pellucid.worked.notation.arrays import Array, Scope, elaborate
from pellucid.worked.notation.notation import parse
from pellucid.worked.notation.questions import Question
from pellucid.worked.notation.reading import Reader
from pellucid.worked.notation.statements import Ask
from pellucid.worked.notation.tokens import Token, tokenize
from pellucid.worked.worksheet.worksheet import Worksheet

__all__ = ["BadLine", "Entry", "Number", "Target", "agrees", "literal", "moved", "read_answers"]

ANSWERS: Final = 1_000
LINES: Final = 5_000
LEAST: Final = 3  # significant digits that an answer needs, unless the number has fewer


@final
@dataclass(frozen=True, slots=True)
class Target:
    """What one answer is about: a value, a derivative of `of` by `name`, or `name` after an update."""

    name: str
    of: str = ""
    update: Question | None = None

    @property
    def key(self) -> str:
        """The target as it is written in a text.

        >>> Target("W", "L").key
        'dL/dW'
        """
        if self.update:
            return f"{self.name} after {self.update.title.split(' after ', 1)[1]}"
        return f"d{self.of}/d{self.name}" if self.of else self.name

    @property
    def symbol(self) -> Expr:
        """The target as mathematics; of an update the name."""
        return Partial(self.of, self.name) if self.of and not self.update else Name(self.name)


@final
@dataclass(frozen=True, slots=True)
class Number:
    """A number as it was written: its value and its digits.

    Args:
        value: exactly what is written.
        unit: of the last digit; 0 for a formula.
        digits: significant digits; of a formula those of its shortest rounded number, 0 if it has none.
    """

    value: Value
    unit: Fraction
    digits: int


@final
@dataclass(frozen=True, slots=True)
class Entry:
    """One answer: its place in the text, its target, and the number or formula given."""

    at: At
    target: Target
    text: str
    number: Number | None  # None: a formula
    formula: Expr
    digits: int = 0  # of a formula's rounded numbers


@final
@dataclass(frozen=True, slots=True)
class BadLine:
    """A line that could not be read, with the sentence that says why."""

    line: int
    text: str
    sentence: str


def agrees(given: Number, truth: Value) -> bool:
    """Whether a number is the true one, as far as its digits go.

    >>> from pellucid.worked.answers.reading import literal
    >>> truth = Fraction(2, 3)
    >>> [agrees(literal(text), truth) for text in ("0.6667", "0.666", "0.668", "0.67")]
    [True, True, False, False]
    """
    if isinstance(truth, Decimal) and abs(truth) < Decimal("1e-20") and given.value == 0:
        return True  # terms that cancel leave a rest of the working precision
    true = Fraction(truth)
    error = abs(Fraction(given.value) - true)
    if error <= abs(true) / 10**20:
        return True
    if not true:
        return False
    third = _power(true) / 10 ** (LEAST - 1)  # one unit of the third significant digit
    if given.unit:
        return bool(error < min(given.unit, third))
    if given.digits:
        return bool(error < min(third, _power(true) / 10 ** (given.digits - 1)))
    return error <= abs(true) / 10**9


def literal(text: str) -> Number:
    """A number from its digits; zeros at the end of a whole number do not count as significant.

    >>> literal("-0.0250").digits, literal("-0.0250").unit, literal("1200").unit
    (3, Fraction(1, 10000), Fraction(100, 1))
    """
    mantissa, _, power = text.strip("+-").lower().partition("e")
    whole, point, part = mantissa.partition(".")
    figures = (whole + part).lstrip("0")
    unit = Fraction(10) ** (int(power or 0) - len(part))
    if not point and figures:
        zeros = len(figures) - len(figures.rstrip("0"))
        unit, figures = unit * 10**zeros, figures.rstrip("0")
    return Number(Fraction(text), unit, len(figures))


def read_answers(text: str, sheet: Worksheet) -> tuple[list[Entry], list[BadLine]]:
    """The answers of a text, and the lines that cannot be read.

    >>> entries, bad = read_answers("L = 16  # mine\\nM = 3", Worksheet("W = 2; L = (W - 6)^2"))
    >>> [entry.target.key for entry in entries], bad[0].sentence
    (['L'], "line 2, column 1: name='M' is not known. Known: L, W.")

    Args:
        text: of the answers.
        sheet: the worksheet that they are about.

    Raises:
        UsageError: a text that is far too long.
    """
    if text.count("\n") >= LINES:
        raise UsageError(f"answers of {text.count(chr(10)) + 1:,} lines: at most {LINES:,} are read; split them.")
    entries: list[Entry] = []
    bad: list[BadLine] = []
    scratch = copy.copy(sheet)  # has the names, and questions of its own
    seen: dict[str, int] = {}
    for line, statement in _statements(text):
        try:
            answers = _entries(statement, line, scratch)
            for entry in answers:
                if entry.target.key in seen:
                    first = seen[entry.target.key]
                    raise UsageError(f"{place(entry.at)}{entry.target.key}: is answered in line {first}; keep one.")
            if len(entries) + len(answers) > ANSWERS:
                raise UsageError(f"{place((line, 1))}at most {ANSWERS:,} answers are checked at once; split them.")
        except UsageError as fault:
            bad.append(BadLine(line, " ".join(statement.split()), str(fault)))
            continue
        entries += answers
        seen |= {entry.target.key: line for entry in answers}
    return entries, bad


def _statements(text: str) -> list[tuple[int, str]]:
    """Statements with the line where they begin, padded to keep their columns; an open bracket continues on the next line."""
    statements: list[tuple[int, str]] = []
    lines = [line.partition("#")[0].replace("≈", "=").rstrip() for line in text.splitlines()]
    here = 0
    while here < len(lines):
        first, whole = here, lines[here]
        here += 1
        while whole.count("[") > whole.count("]") and here < min(len(lines), first + 100) and "=" not in lines[here]:
            whole += "\n" + lines[here]
            here += 1
        start = 0
        for part in whole.split(";"):
            if part.strip():
                statements.append((first + 1, " " * start + part))
            start += len(part) + 1
    return statements


def _entries(statement: str, line: int, sheet: Worksheet) -> list[Entry]:
    """The answers of one statement, one a component.

    Raises:
        UsageError: with line and column.
    """
    try:
        tokens = tokenize(statement)
        depth = 0
        for sign in tokens:
            depth += (sign.text in "([{" and sign.kind == "sign") - (sign.text in ")]}" and sign.kind == "sign")
            if sign.text == "=" and depth == 0:
                break
        else:
            start = len(statement) - len(statement.lstrip()) + 1
            raise UsageError(
                f"{place((1, start))}an answer is written name = value, as in L = 0.5; add the = and the value."
            )
        questions = _questions(statement[: sign.at[1] - 1], sheet)
        right = " " * sign.at[1] + statement[sign.at[1] :]
        values = _right(right, sheet)
    except UsageError as fault:
        raise UsageError(moved(str(fault), line - 1)) from None
    targets = [Target(name, asked.of, asked if asked.rule else None) for asked in questions for name in asked.names]
    at = (line, len(statement) - len(statement.lstrip()) + 1)
    if len(values) != len(targets):
        wanted = "1 number is" if len(targets) == 1 else f"{len(targets)} numbers are"
        raise UsageError(f"{place(at)}{len(values)} are given where {wanted} asked for; give one for each.")
    shown = right.strip() if len(targets) == 1 else ""
    return [
        Entry(at, target, shown or text, number, formula, digits)
        for target, (text, number, formula, digits) in zip(targets, values, strict=True)
    ]


def _questions(left: str, sheet: Worksheet) -> Sequence[Question]:
    """The left side of an answer, as questions of the worksheet."""
    blanks = len(left) - len(left.lstrip())
    body = left.strip().lstrip("?")
    begin = left.index(body[0]) if body.strip() else blanks
    try:
        # the question mark takes the column before the name, so that columns in errors stay right
        text, back = (" " * (begin - 1) + "?" + body, 0) if begin else ("?" + body, 1)
        for asked in parse(text):
            assert isinstance(asked, Ask)
            for name in (*asked.names, *([asked.of] if asked.of else [])):
                _check_known(name, sheet)
        sheet._questions = []
        sheet.ask(body)
    except UsageError as fault:
        raise UsageError(moved(str(fault), 0, -back)) from None
    return sheet.questions


def _check_known(name: Name | Index, sheet: Worksheet) -> None:
    base = name.name if isinstance(name, Name) else name.base
    if isinstance(name, Name) and base not in sheet.equations and sheet.components(base) == [base]:
        raise _unknown(base, name.at, sheet)


def _unknown(name: str, at: At | None, sheet: Worksheet) -> UsageError:
    """The error for an unknown name; the names of a large worksheet are not listed."""
    sentence = str(UnknownNameError("name", name, sheet.equations))
    if len(sheet.equations) > 16:
        sentence = sentence.partition(" Known:")[0]
    return UsageError(place(at) + sentence)


def _right(text: str, sheet: Worksheet) -> list[tuple[str, Number | None, Expr, int]]:
    """The right side of an answer: numbers or formulas, the components of a list one by one."""
    if re.search(r"\d,\d", text) and "[" not in text and "(" not in text:
        column = text.index(",") + 1
        raise UsageError(f"{place((1, column))}',': decimals are written with a point, as in 0.5; correct the number.")
    reader = Reader(text)
    reader.tokens = _partials(reader.tokens, sheet)
    values: list[tuple[str, Number | None, Expr, int]] = []
    while True:
        start = reader.here
        node = reader.expression()
        used = reader.tokens[start : reader.here]
        digits = _rounded(used)
        scope = Scope(lambda name, at: array if isinstance(array := sheet[name], Array) else None)
        written = elaborate(node, scope, {})
        items = written.items if isinstance(written, Array) else (written,)
        for item in items:
            for name, symbol in names(item).items():
                if name not in sheet.equations and "∂" not in name:
                    at = symbol.at if isinstance(symbol, Name) else None
                    raise _unknown(name, at, sheet)
            item = replace(item, _symbols)
            values.append((_plain(item, used), _number(item, used, len(items)), item, digits))
        if not reader.take(","):
            break
    reader.end("after an answer")
    if reader.next.kind != "end":
        reader.fail("there is one answer a line; write the next on a line of its own.")
    return values


def _number(item: Expr, used: Sequence[Token], items: int) -> Number | None:
    """The number, if the answer is a number and not a formula."""
    sign = "-" if used[0].text == "-" else ""
    if items == 1:
        body = used[1:] if used[0].text in "+-" else used
        return literal(sign + body[0].text) if len(body) == 1 and body[0].kind == "number" else None
    inner = item.term if isinstance(item, Neg) else item
    if not isinstance(inner, Const):
        return None
    value = Fraction(inner.value) * (-1 if isinstance(item, Neg) else 1)
    texts = [token.text for token in used if token.kind == "number" and Fraction(token.text) == abs(value)]
    return literal(("-" if value < 0 else "") + min(texts, key=len)) if texts else None


def _plain(item: Expr, used: Sequence[Token]) -> str:
    if isinstance(item, Const):
        sign = "-" if item.value < 0 else ""
        return sign + next((t.text for t in used if t.kind == "number" and Fraction(t.text) == abs(item.value)), "")
    return " ".join(token.text for token in used)


def _rounded(used: Sequence[Token]) -> int:
    """Significant digits of the shortest number with a point that has at least three of them; 0 if there is none."""
    counts = [literal(token.text).digits for token in used if token.kind == "number" and "." in token.text]
    return min((count for count in counts if count >= LEAST), default=0)


def _partials(tokens: Sequence[Token], sheet: Worksheet) -> list[Token]:
    """dL / dW as one name, where the worksheet has L and W and neither dL nor dW."""
    joined: list[Token] = []
    here = 0
    while here < len(tokens):
        token = tokens[here]
        top = _differential(tokens, here, sheet)
        if top and tokens[top[1]].text == "/" and (bottom := _differential(tokens, top[1] + 1, sheet)):
            joined.append(Token("name", f"∂{top[0]}/∂{bottom[0]}", token.at))
            here = bottom[1]
        else:
            joined.append(token)
            here += 1
    return joined


def _differential(tokens: Sequence[Token], here: int, sheet: Worksheet) -> tuple[str, int] | None:
    """The quantity of dW or dW[1,2], and the position after it."""
    token = tokens[here]
    if token.kind != "name" or token.text[0] not in "d∂" or token.text in sheet.equations:
        return None
    name, here = token.text[1:], here + 1
    bracket = tokens[here].text
    if bracket == "[" or (bracket == "{" and name.endswith("_")):
        name, here = name.removesuffix("_"), here + 1
        while tokens[here].text not in ("]", "}", ""):
            name += "_" + tokens[here].text if tokens[here].text != "," else ""
            here += 1
        here += 1
    return (name, here) if name in sheet.equations else None


def _symbols(node: Expr) -> Expr | None:
    if isinstance(node, Name) and node.name.startswith("∂"):
        of, _, by = node.name.partition("/")
        return Partial(of[1:], by[1:])
    return None


def _power(value: Fraction) -> Fraction:
    """The power of ten of the first significant digit."""
    size = abs(value)
    power = Fraction(10) ** (len(str(int(size))) - 1 if size >= 1 else -len(str(int(1 / size))))
    # the estimate from the number of digits may be off by one
    return power * 10 if power * 10 <= size else power if power <= size else power / 10


def moved(sentence: str, lines: int, columns: int = 0) -> str:
    """A sentence about a single statement, with its place moved to that in the whole text."""
    start = re.match(r"line (\d+), column (\d+): ", sentence)
    if not start:
        return f"line {lines + 1}: {sentence}"
    line, column = int(start[1]), int(start[2])
    column = max(1, column + columns) if line == 1 else column
    return f"line {line + lines}, column {column}: {sentence[start.end() :]}"
