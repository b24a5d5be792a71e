# SPDX-License-Identifier: Apache-2.0
"""A text of answers: one `name = value` a line, read against a worksheet; a line that cannot be read is reported.

    yhat_2 = 6                          a value; a formula of the worksheet's names works too
    z = [0.5, -1.2]                     the components of a vector
    dL/dW_h = 8                         a derivative; in formulas dL/dyhat is the worksheet's own
    W_h after sgd(lr=0.01) on L = 0.92  an update
    L = (3 - 1)^2 = 4                   a chain, of which every link is checked
    acc = 75 %; L = 4 ± 0.1; $L = 4$; the loss is L = 4.      as people write
    # a remark

Several answers on one line are separated by ;.
"""

from __future__ import annotations

import copy
import dataclasses
import re
from collections.abc import Sequence
from fractions import Fraction
from functools import partial
from typing import Final

from pellucid.errors import UnknownNameError, UsageError
from pellucid.worked.answers.entry import DEFAULT, LEAST, BadLine, Entry, Link, Number, Target, Tolerance, literal
from pellucid.worked.answers.renewed import as_update, updated
from pellucid.worked.answers.spoken import chain_in_words, plainly, within, without_words
from pellucid.worked.expressions.expression import At, Const, Expr, Index, Name, Neg, Partial, names, replace
from pellucid.worked.expressions.position import position
from pellucid.worked.notation.arrays import Array
from pellucid.worked.notation.expansion import Scope, expand
from pellucid.worked.notation.notation import parse
from pellucid.worked.notation.parser import Parser
from pellucid.worked.notation.questions import Question
from pellucid.worked.notation.statements import QuestionStatement
from pellucid.worked.notation.tokens import Token, tokenize
from pellucid.worked.worksheet.worksheet import Worksheet

__all__ = ["moved", "read_answers"]

ANSWERS: Final = 1_000
LINES: Final = 5_000


def read_answers(text: str, sheet: Worksheet, tolerance: Tolerance = DEFAULT) -> tuple[list[Entry], list[BadLine]]:
    """The answers of a text, and the lines that cannot be read.

    >>> entries, bad = read_answers("L = 16  # mine\\nM = 3", Worksheet("W = 2; L = (W - 6)^2"))
    >>> [entry.target.key for entry in entries], bad[0].sentence
    (['L'], "line 2, column 1: name='M' is not known. Known: L, W.")

    Args:
        text: of the answers.
        sheet: the worksheet that they are about.
        tolerance: by which its numbers are judged.

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
            plain, error = _within(statement, line)
            own = tolerance if error is None else Tolerance("±", error)
            answers = [_judged(entry, own) for entry in _written(plain, line, scratch, sheet.questions)]
            for entry in answers:
                if entry.target.key in seen:
                    first = seen[entry.target.key]
                    raise UsageError(f"{position(entry.at)}{entry.target.key}: is answered in line {first}; keep one.")
            if len(entries) + len(answers) > ANSWERS:
                raise UsageError(f"{position((line, 1))}at most {ANSWERS:,} answers are checked at once; split them.")
        except UsageError as fault:
            bad.append(BadLine(line, " ".join(statement.split()), str(fault)))
            continue
        entries += answers
        seen |= {entry.target.key: line for entry in answers}
    return entries, bad


def _within(statement: str, line: int) -> tuple[str, Fraction | None]:
    try:
        return within(statement)
    except UsageError as fault:
        raise UsageError(f"{position((line, statement.find('±') + 1 or 1))}{fault}") from None


def _written(statement: str, line: int, sheet: Worksheet, asked: Sequence[Question]) -> list[Entry]:
    """The answers of one statement, with or without words around them."""
    try:
        return _entries(statement, line, sheet, asked)
    except UsageError as fault:

        def known(name: str) -> bool:
            try:
                _questions(name, sheet, asked)
            except UsageError:
                return False
            return True

        plain = without_words(statement, known) or chain_in_words(statement, known)
        if plain is None or plain == statement.strip():
            raise
        try:
            return _entries(plain, line, sheet, asked)
        except UsageError:
            raise fault from None


def _judged(entry: Entry, tolerance: Tolerance) -> Entry:
    links = tuple(
        dataclasses.replace(link, number=link.number and dataclasses.replace(link.number, tolerance=tolerance))
        for link in entry.links
    )
    number = entry.number and dataclasses.replace(entry.number, tolerance=tolerance)
    return dataclasses.replace(entry, number=number, links=links)


def _statements(text: str) -> list[tuple[int, str]]:
    """Statements with the line where they begin, padded to keep their columns; an open bracket continues on the next line."""
    statements: list[tuple[int, str]] = []
    lines = [plainly(line.partition("#")[0].replace("≈", "=").rstrip()) for line in text.splitlines()]
    here = 0
    while here < len(lines):
        first, whole = here, lines[here]
        here += 1
        # a matrix may go over several lines, up to a line with an = of its own
        while whole.count("[") > whole.count("]") and here < min(len(lines), first + 100) and "=" not in lines[here]:
            whole += "\n" + lines[here]
            here += 1
        start = 0
        for part in _apart(whole):
            if part.strip():
                # w after sgd(lr=0.1) on L: 0.55
                part = re.sub(r"(\bon\s+\w+\s*):(?=\s)", r"\1=", part)
                part = re.sub(r"^(\s*\w+)['′](?=\s*=)", r"\1_new", part)
                statements.append((first + 1, " " * start + part))
            start += len(part) + 1
    return statements


def _apart(line: str) -> list[str]:
    """The statements of a line, between semicolons outside of brackets: [1 2; 3 4] is one matrix."""
    parts, depth = [""], 0
    for letter in line:
        depth += (letter in "([{") - (letter in ")]}")
        if letter == ";" and depth <= 0:
            parts.append("")
        else:
            parts[-1] += letter
    return parts


def _entries(statement: str, line: int, sheet: Worksheet, asked: Sequence[Question]) -> list[Entry]:
    """The answers of one statement, one per component.

    Raises:
        UsageError: with line and column.
    """
    try:
        tokens = tokenize(statement)
        depth, signs = 0, []
        # the = of the answer is the first one outside of brackets: lr=0.01 is inside; the next ones begin the links of a chain
        for sign in tokens:
            depth += (sign.text in "([{" and sign.kind == "sign") - (sign.text in ")]}" and sign.kind == "sign")
            if sign.text == "=" and depth == 0:
                signs.append(_offset(statement, sign.at))
        if not signs:
            start = len(statement) - len(statement.lstrip()) + 1
            raise UsageError(
                f"{position((1, start))}an answer is written name = value, as in L = 0.5; add the = and the value."
            )
        questions = _questions(statement[: signs[0]], sheet, asked)
        # each link keeps its columns
        ends = [*signs[1:], len(statement)]
        parts = [
            _blank(statement[: sign + 1]) + statement[sign + 1 : end] for sign, end in zip(signs, ends, strict=True)
        ]
        *links, values = [_right(part, sheet) for part in parts]
        right = statement[signs[0] + 1 :]
    except UsageError as fault:
        raise UsageError(moved(str(fault), line - 1)) from None
    targets = [Target(name, one.of, one if one.rule else None) for one in questions for name in one.names]
    targets = updated(targets, [formula for _, _, formula, _ in values], sheet, asked)
    at = (line, len(statement) - len(statement.lstrip()) + 1)
    for values_of in (*links, values):
        if len(values_of) == len(targets):
            continue
        wanted = "1 number is" if len(targets) == 1 else f"{len(targets)} numbers are"
        raise UsageError(f"{position(at)}{len(values_of)} are given where {wanted} asked for; give one for each.")
    shown = right.strip() if len(targets) == 1 else ""
    return [
        Entry(at, target, shown or text, number, formula, digits, tuple(Link(*link[n]) for link in links))
        for n, (target, (text, number, formula, digits)) in enumerate(zip(targets, values, strict=True))
    ]


def _offset(statement: str, at: At) -> int:
    """The place of a line and column in a text."""
    lines = statement.split("\n")
    return sum(len(line) + 1 for line in lines[: at[0] - 1]) + at[1] - 1


def _blank(text: str) -> str:
    return "".join(letter if letter == "\n" else " " for letter in text)


def _questions(left: str, sheet: Worksheet, asked: Sequence[Question]) -> Sequence[Question]:
    """The left side of an answer, as questions of the worksheet."""
    left = as_update(left, sheet, asked)
    blanks = len(left) - len(left.lstrip())
    body = left.strip().lstrip("?")
    begin = left.index(body[0]) if body.strip() else blanks
    try:
        # the question mark takes the column before the name, so that columns in errors stay right
        text, back = (" " * (begin - 1) + "?" + body, 0) if begin else ("?" + body, 1)
        for one in parse(text):
            assert isinstance(one, QuestionStatement)
            for name in (*one.names, *([one.of] if one.of else [])):
                _check_known(name, sheet)
        # the worksheet itself reads the question, with its names and its errors
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
    return UsageError(position(at) + sentence)


def _right(text: str, sheet: Worksheet) -> list[tuple[str, Number | None, Expr, int]]:
    """The right side of an answer: numbers or formulas, the components of a list one by one."""
    # a comma as in 0,5 would otherwise separate two numbers
    if re.search(r"\d,\d", text) and "[" not in text and "(" not in text:
        column = text.index(",") + 1
        raise UsageError(
            f"{position((1, column))}',': decimals are written with a point, as in 0.5; correct the number."
        )
    reader = Parser(text, (*sheet.equations, *sheet._shapes))
    reader.tokens = _partials(reader.tokens, sheet)
    values: list[tuple[str, Number | None, Expr, int]] = []
    while True:
        start = reader.here
        node = reader.expression()
        used = reader.tokens[start : reader.here]
        digits = _rounded(used)
        first, last = used[0].at, reader.next.at
        source = text[first[1] - 1 : last[1] - 1].strip() if first[0] == last[0] == 1 else ""
        scope = Scope(partial(_array, sheet), known=lambda name: name in sheet.equations or "/∂" in name)
        written = expand(node, scope, {})
        items = written.items if isinstance(written, Array) else (written,)
        for item in items:
            for name, symbol in names(item).items():
                if name not in sheet.equations and "/∂" not in name:
                    at = symbol.at if isinstance(symbol, Name) else None
                    raise _unknown(name, at, sheet)
            item = replace(item, _symbols)
            values.append((_plain(item, used, source), _number(item, used, len(items)), item, digits))
        if not reader.take(","):
            break
    reader.end("after an answer")
    if reader.next.kind != "end":
        reader.fail("there is one answer per line; write the next one on a new line.")
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


def _array(sheet: Worksheet, name: str, at: At | None) -> Array | None:
    """A vector or matrix of the worksheet, or of its derivatives, as dL/dW is."""
    if "/∂" in name:
        of, _, by = name.partition("/∂")
        array = sheet._find(by, at)
        items = array.items if array is not None else ()
        symbols = tuple(Name(f"{of}/∂{item.name}", at) for item in items if isinstance(item, Name))
        return Array(array.shape, symbols) if array is not None else None
    return array if isinstance(array := sheet[name], Array) else None


def _plain(item: Expr, used: Sequence[Token], source: str) -> str:
    if isinstance(item, Const):
        sign = "-" if item.value < 0 else ""
        return sign + next((t.text for t in used if t.kind == "number" and Fraction(t.text) == abs(item.value)), "")
    return source or " ".join(token.text for token in used)


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
    # a quantity that is called dL is no differential
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
    return (name, here) if name in sheet.equations or name in sheet._shapes else None


def _symbols(node: Expr) -> Expr | None:
    if isinstance(node, Name) and "/∂" in node.name:
        of, _, by = node.name.partition("/")
        return Partial(of[1:], by[1:])
    return None


def moved(sentence: str, lines: int, columns: int = 0) -> str:
    """A sentence about a single statement, with its place moved to that in the whole text."""
    start = re.match(r"line (\d+), column (\d+): ", sentence)
    if not start:
        return f"line {lines + 1}: {sentence}"
    line, column = int(start[1]), int(start[2])
    column = max(1, column + columns) if line == 1 else column
    return f"line {line + lines}, column {column}: {sentence[start.end() :]}"
