# SPDX-License-Identifier: Apache-2.0
"""A text of answers: one `name = value` a line, read against a worksheet; a line that cannot be read is named.

    yhat_2 = 6                          a value; a formula in the worksheet's names does as well
    z = [0.5, -1.2]                     the components of a vector
    dL/dW_h = 8                         a derivative; in formulas dL/dyhat stands for the worksheet's own
    W_h after sgd(lr=0.01) on L = 0.92  an update
    # a remark

A number is right if it lies within one unit of its last digit of the true one, and to at least three significant
digits of it. A formula without rounded numbers is right if its value is the true one within 10⁻⁹ of it.
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
from pellucid.worked.expressions.position import position
from pellucid.worked.notation.arrays import Array
from pellucid.worked.notation.expansion import Scope, expand
from pellucid.worked.notation.notation import parse
from pellucid.worked.notation.parser import Parser
from pellucid.worked.notation.questions import Question
from pellucid.worked.notation.statements import QuestionStatement
from pellucid.worked.notation.tokens import Token, tokenize
from pellucid.worked.worksheet.worksheet import Worksheet

__all__ = ["BadLine", "Entry", "Number", "Target", "agrees", "literal", "moved", "read_answers"]

ANSWERS: Final = 1_000
LINES: Final = 5_000
LEAST: Final = 3  # significant digits that an answer needs, unless the number has fewer


@final
@dataclass(frozen=True, slots=True)
class Target:
    """What one answer is about: a value, a derivative `of` by `name`, or `name` after an update."""

    name: str
    of: str = ""
    update: Question | None = None

    @property
    def key(self) -> str:
        """As it is written in a text.

        >>> Target("W", "L").key
        'dL/dW'
        """
        if self.update:
            return f"{self.name} after {self.update.title.split(' after ', 1)[1]}"
        return f"d{self.of}/d{self.name}" if self.of else self.name

    @property
    def symbol(self) -> Expr:
        """As mathematics; of an update the name."""
        return Partial(self.of, self.name) if self.of and not self.update else Name(self.name)


@final
@dataclass(frozen=True, slots=True)
class Number:
    """A number as it was written: its value and what its digits say.

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
    """One answer: where it stands, what it is about, and the number or formula given."""

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
    """Whether a number is a true one, as far as its digits go.

    >>> from pellucid.worked.answers.reading import literal
    >>> truth = Fraction(2, 3)
    >>> [agrees(literal(text), truth) for text in ("0.6667", "0.666", "0.668", "0.67")]
    [True, True, False, False]
    """
    if isinstance(truth, Decimal) and abs(truth) < Decimal("1e-20") and given.value == 0:
        return True  # an exact 0 that the working precision does not show
    true = Fraction(truth)
    away = abs(Fraction(given.value) - true)
    if away <= abs(true) / 10**20:
        return True
    if not true:
        return False
    third = _power(true) / 10 ** (LEAST - 1)
    if given.unit:
        return bool(away < min(given.unit, third))
    if given.digits:
        return bool(away < min(third, _power(true) / 10 ** (given.digits - 1)))
    return away <= abs(true) / 10**9


def literal(text: str) -> Number:
    """A number from its digits; zeros at the end of a whole number may be there for its size only.

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
    """The answers of a text, and the lines that are none.

    >>> entries, bad = read_answers("L = 16  # mine\\nM = 3", Worksheet("W = 2; L = (W - 6)^2"))
    >>> [each.target.key for each in entries], bad[0].sentence
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
    asking = copy.copy(sheet)  # knows the names, and takes questions of its own
    seen: dict[str, int] = {}
    for line, statement in _statements(text):
        try:
            found = _entries(statement, line, asking)
            for entry in found:
                if entry.target.key in seen:
                    first = seen[entry.target.key]
                    raise UsageError(f"{position(entry.at)}{entry.target.key}: is answered in line {first}; keep one.")
            if len(entries) + len(found) > ANSWERS:
                raise UsageError(f"{position((line, 1))}at most {ANSWERS:,} answers are checked at once; split them.")
        except UsageError as fault:
            bad.append(BadLine(line, " ".join(statement.split()), str(fault)))
            continue
        entries += found
        seen |= {entry.target.key: line for entry in found}
    return entries, bad


def _statements(text: str) -> list[tuple[int, str]]:
    """Statements with the line where they begin, blanks keeping their columns; a bracket may go on over lines."""
    found: list[tuple[int, str]] = []
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
                found.append((first + 1, " " * start + part))
            start += len(part) + 1
    return found


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
                f"{position((1, start))}an answer is written name = value, as in L = 0.5; add the = and it."
            )
        questions = _questions(statement[: sign.at[1] - 1], sheet)
        right = " " * sign.at[1] + statement[sign.at[1] :]
        values = _right(right, sheet)
    except UsageError as fault:
        raise UsageError(moved(str(fault), line - 1)) from None
    targets = [Target(name, each.of, each if each.rule else None) for each in questions for name in each.names]
    at = (line, len(statement) - len(statement.lstrip()) + 1)
    if len(values) != len(targets):
        wanted = "1 number is" if len(targets) == 1 else f"{len(targets)} numbers are"
        raise UsageError(f"{position(at)}{len(values)} are given where {wanted} asked for; give one for each.")
    shown = right.strip() if len(targets) == 1 else ""
    return [
        Entry(at, target, shown or text, number, formula, digits)
        for target, (text, number, formula, digits) in zip(targets, values, strict=True)
    ]


def _questions(left: str, sheet: Worksheet) -> Sequence[Question]:
    """What stands before the =, as questions of the worksheet."""
    blanks = len(left) - len(left.lstrip())
    body = left.strip().lstrip("?")
    begin = left.index(body[0]) if body.strip() else blanks
    try:
        # the question mark takes the column before, so that columns stay where there is one
        text, back = (" " * (begin - 1) + "?" + body, 0) if begin else ("?" + body, 1)
        asked = parse(text)
        for each in asked:
            assert isinstance(each, QuestionStatement)
            for name in (*each.names, *([each.of] if each.of else [])):
                _known(name, sheet)
        sheet._questions = []
        sheet.ask(body)
    except UsageError as fault:
        raise UsageError(moved(str(fault), 0, -back)) from None
    return sheet.questions


def _known(name: Name | Index, sheet: Worksheet) -> None:
    base = name.name if isinstance(name, Name) else name.base
    if isinstance(name, Name) and base not in sheet.equations and sheet.components(base) == [base]:
        raise _unknown(base, name.at, sheet)


def _unknown(name: str, at: At | None, sheet: Worksheet) -> UsageError:
    """The names of a large worksheet are not listed."""
    sentence = str(UnknownNameError("name", name, sheet.equations))
    if len(sheet.equations) > 16:
        sentence = sentence.partition(" Known:")[0]
    return UsageError(position(at) + sentence)


def _right(text: str, sheet: Worksheet) -> list[tuple[str, Number | None, Expr, int]]:
    """What stands after the =: numbers or formulas, the components of a list one by one."""
    if re.search(r"\d,\d", text) and "[" not in text and "(" not in text:
        column = text.index(",") + 1
        raise UsageError(f"{position((1, column))}',': decimals are written with a point, as in 0.5; mend the number.")
    reader = Parser(text)
    reader.tokens = _partials(reader.tokens, sheet)
    found: list[tuple[str, Number | None, Expr, int]] = []
    while True:
        start = reader.here
        node = reader.expression()
        used = reader.tokens[start : reader.here]
        digits = _rounded(used)
        scope = Scope(lambda name, at: each if isinstance(each := sheet[name], Array) else None)
        written = expand(node, scope, {})
        items = written.items if isinstance(written, Array) else (written,)
        for item in items:
            for name, symbol in names(item).items():
                if name not in sheet.equations and "∂" not in name:
                    at = symbol.at if isinstance(symbol, Name) else None
                    raise _unknown(name, at, sheet)
            item = replace(item, _symbols)
            found.append((_plain(item, used), _number(item, used, len(items)), item, digits))
        if not reader.take(","):
            break
    reader.end("after an answer")
    if reader.next.kind != "end":
        reader.fail("one answer stands on a line; write the next on a line of its own.")
    return found


def _number(item: Expr, used: Sequence[Token], items: int) -> Number | None:
    """The number, if nothing but a number is written."""
    sign = "-" if used[0].text == "-" else ""
    if items == 1:
        body = used[1:] if used[0].text in "+-" else used
        return literal(sign + body[0].text) if len(body) == 1 and body[0].kind == "number" else None
    inner = item.term if isinstance(item, Neg) else item
    if not isinstance(inner, Const):
        return None
    value = Fraction(inner.value) * (-1 if isinstance(item, Neg) else 1)
    texts = [each.text for each in used if each.kind == "number" and Fraction(each.text) == abs(value)]
    return literal(("-" if value < 0 else "") + min(texts, key=len)) if texts else None


def _plain(item: Expr, used: Sequence[Token]) -> str:
    if isinstance(item, Const):
        sign = "-" if item.value < 0 else ""
        return sign + next((t.text for t in used if t.kind == "number" and Fraction(t.text) == abs(item.value)), "")
    return " ".join(each.text for each in used)


def _rounded(used: Sequence[Token]) -> int:
    """Significant digits of the shortest number with a point that has at least three of them; 0 if there is none."""
    numbers = [literal(each.text).digits for each in used if each.kind == "number" and "." in each.text]
    return min((each for each in numbers if each >= LEAST), default=0)


def _partials(tokens: Sequence[Token], sheet: Worksheet) -> list[Token]:
    """dL / dW as one name, where the worksheet has L and W and neither dL nor dW."""
    found: list[Token] = []
    here = 0
    while here < len(tokens):
        token = tokens[here]
        top = _differential(tokens, here, sheet)
        if top and tokens[top[1]].text == "/" and (bottom := _differential(tokens, top[1] + 1, sheet)):
            found.append(Token("name", f"∂{top[0]}/∂{bottom[0]}", token.at))
            here = bottom[1]
        else:
            found.append(token)
            here += 1
    return found


def _differential(tokens: Sequence[Token], here: int, sheet: Worksheet) -> tuple[str, int] | None:
    """The quantity of dW or dW[1,2], and where the text goes on."""
    token = tokens[here]
    if token.kind != "name" or token.text[0] not in "d∂" or token.text in sheet.equations:
        return None
    name, here = token.text[1:], here + 1
    open_ = tokens[here].text
    if open_ == "[" or (open_ == "{" and name.endswith("_")):
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
    """The power of ten of the first digit."""
    size = abs(value)
    found = Fraction(10) ** (len(str(int(size))) - 1 if size >= 1 else -len(str(int(1 / size))))
    return found * 10 if found * 10 <= size else found if found <= size else found / 10


def moved(sentence: str, lines: int, columns: int = 0) -> str:
    """A sentence about a statement alone, with its place in the whole text."""
    found = re.match(r"line (\d+), column (\d+): ", sentence)
    if not found:
        return f"line {lines + 1}: {sentence}"
    line, column = int(found[1]), int(found[2])
    column = max(1, column + columns) if line == 1 else column
    return f"line {line + lines}, column {column}: {sentence[found.end() :]}"
