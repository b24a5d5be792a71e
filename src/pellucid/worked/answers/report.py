# SPDX-License-Identifier: Apache-2.0
"""The report on a text of answers: for a terminal, in Markdown, as JSON."""

from __future__ import annotations

import json
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import Any, Final, final

from pellucid.errors import UnknownNameError
from pellucid.worked.answers.entry import DEFAULT, BadLine, Entry, Tolerance
from pellucid.worked.expressions.expression import Const, Name, Value
from pellucid.worked.notation.questions import OPTIMISERS
from pellucid.worked.showing.json import number
from pellucid.worked.showing.lines import Words
from pellucid.worked.showing.numerals import numeral
from pellucid.worked.showing.terminal import Unicode
from pellucid.worked.showing.wrapping import fold, width_of

__all__ = ["FORMS", "Checked", "Report", "summary"]

FORMS: Final = ("terminal", "markdown", "json")
_MARKS: Final = {"right": ("✓", "32"), "wrong": ("✗", "31"), "follows": ("↳", "33")}
_FOLLOWS: Final = "↳ is wrong, but worked out correctly from an earlier wrong number."


@final
@dataclass(frozen=True)
class Checked:
    """One answer with its verdict.

    Args:
        entry: as it was read.
        status: right, wrong, or follows: wrong, but worked out correctly from an earlier wrong answer.
        value: the number given, or the value of the formula given.
        truth: the right number.
        first: whether it is the first wrong one.
        reason: a sentence about what probably happened.
        slip: the name of the likely slip.
        others: further slips that lead to this number, each with its sentence.
        after: the lines of the wrong numbers that it follows from.
    """

    entry: Entry
    status: str
    value: Value
    truth: Value
    first: bool = False
    reason: Words = ()
    slip: str = ""
    others: tuple[tuple[str, Words], ...] = ()
    after: tuple[int, ...] = ()

    @property
    def key(self) -> str:
        """The target, as it is written in a text."""
        return self.entry.target.key


@final
@dataclass(frozen=True)
class Report:
    """The report on a text of answers, in the order of its lines.

    Args:
        checked: the answers that could be read.
        bad: the lines that could not be read.
        missing: questions of the worksheet without an answer.
        digits: significant digits that are shown.
        tolerance: by which numbers were judged.
    """

    checked: tuple[Checked, ...]
    bad: tuple[BadLine, ...]
    missing: tuple[str, ...]
    digits: int = 6
    tolerance: Tolerance = DEFAULT

    @cached_property
    def first(self) -> Checked | None:
        """The first wrong answer, in the order of working out; those that it depends on are right."""
        return next((answer for answer in self.checked if answer.first), None)

    def count(self, status: str) -> int:
        """How many answers are right, wrong, or follow."""
        return sum(answer.status == status for answer in self.checked)

    def show(self, form: str = "terminal", *, color: bool = False, width: int = 0) -> str:
        """The report as text.

        Args:
            form: terminal, markdown or json.
            color: for the terminal.
            width: of the terminal, in columns; 0 for lines of any length.

        Raises:
            UnknownNameError: no such format.
        """
        if form not in FORMS:
            raise UnknownNameError("format", form, FORMS)
        if form == "json":
            return _json(self)
        return _markdown(self) if form == "markdown" else _terminal(self, color, width)

    def _repr_markdown_(self) -> str:
        return self.show("markdown")

    def __str__(self) -> str:
        return self.show()


def summary(report: Report) -> str:
    """How many answers are right, in a sentence."""
    right, wrong, follows = (report.count(status) for status in ("right", "wrong", "follows"))
    total = len(report.checked)
    if not total:
        return "No answer could be read."
    if right == total:
        return "The answer is right." if total == 1 else f"All {total} answers are right."
    if total == 1:
        return "The answer is wrong."
    parts = [f"{right} of {total} answers {'is' if right == 1 else 'are'} right"]
    if not right:
        parts = [f"None of the {total} answers is right"]
    parts += [f"{wrong} {'is' if wrong == 1 else 'are'} wrong"] if wrong else []
    # an answer that follows is not counted as wrong
    parts += [f"{follows} follow{'s' * (follows == 1)} from {'it' if wrong == 1 else 'these'}"] if follows else []
    first = report.first
    which = f" The first wrong one is in line {first.entry.at[0]}." if first else ""
    return ", ".join(parts) + "." + which


def _terminal(report: Report, color: bool, columns: int) -> str:
    setter = Unicode(report.digits)
    width = max((len(str(answer.entry.at[0])) for answer in report.checked), default=1)
    indent = width + 11  # behind the mark and the line's number
    left = [_answer(answer, setter) for answer in report.checked]
    # verdicts begin in one column, unless a formula is long
    column = min(max((width_of(text) for text in left), default=0), 40)
    if columns:  # and as far to the left as the longest of them needs
        longest = max((width_of(_verdict(answer, setter)) for answer in report.checked), default=0)
        column = max(min(column, columns - indent - 3 - longest), 12)

    def folded(text: str, code: str = "", first: str = "", before: int = 0) -> list[str]:
        """A sentence in lines of the terminal's width, indented behind what begins the first."""
        inner = columns - before if columns else width_of(text)
        head, *others = fold(text, inner, inner, prose=True)
        return [
            (first or " " * before) + _styled(head, code, color),
            *(" " * before + _styled(part, code, color) for part in others),
        ]

    rows = [*folded(summary(report), "1"), *([""] if report.checked else [])]
    for answer, text in zip(report.checked, left, strict=True):
        mark, code = _MARKS[answer.status]
        verdict = _verdict(answer, setter)
        start = f"  {_styled(mark, code, color)} line {answer.entry.at[0]:<{width}}  "
        gap = " " * max(3, column + 3 - width_of(text))
        # a verdict that does not fit beside the answer goes below it
        below = bool(columns) and indent + width_of(text + gap + verdict) > columns
        pieces = fold(text, columns - indent, columns - indent) if columns else [text]
        pieces[0] = start + pieces[0] + ("" if below or not verdict else gap + verdict)
        rows += [pieces[0], *(" " * indent + piece for piece in pieces[1:])]
        rows += folded(verdict, before=indent) if below else []
        for n, sentence in _reasons(answer, setter):
            rows += folded(sentence, "2" if n else "", before=indent)
    if report.bad:
        rows += ["", _styled("Lines that could not be read", "3", color)]
        for line in report.bad:
            rows += folded(line.sentence, first=f"  {_styled('?', '35', color)} ", before=4)
    if report.missing:
        rows += ["", *folded(f"Not answered: {'; '.join(_grouped(report.missing))}.")]
    rows.append("")
    for part in _legend(report):
        rows += folded(part, "2")
    return "\n".join(rows)


def _markdown(report: Report) -> str:
    setter = Unicode(report.digits)
    rows = [f"**{summary(report)}**", "", "| | line | answer | right | what happened |", "|---|---|---|---|---|"]
    for answer in report.checked:
        right = "" if answer.status == "right" else _number(answer.truth, setter)
        reasons = [sentence for _, sentence in _reasons(answer, setter)]
        # a table has a column for the right number, so a wrong answer needs no verdict
        head = [_verdict(answer, setter)] if answer.status == "follows" else []
        why = "<br>".join([*(["**first wrong**"] if answer.first else []), *head, *reasons])
        cells = [_MARKS[answer.status][0], str(answer.entry.at[0]), _answer(answer, setter), right, why]
        rows.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    if report.bad:
        rows += ["", "Lines that could not be read:", "", *(f"- {line.sentence}" for line in report.bad)]
    if report.missing:
        rows += ["", f"Not answered: {'; '.join(f'`{key}`' for key in _grouped(report.missing))}."]
    return "\n".join([*rows, "", " ".join(_legend(report))])


def _grouped(missing: tuple[str, ...]) -> list[str]:
    """The missing answers; parameters of one update together."""
    groups: dict[str, list[str]] = {}
    for key in missing:
        name, after, update = key.partition(" after ")
        # "w after sgd(…) on L" and "b after sgd(…) on L" are one question
        groups.setdefault(after + update or key, []).append(name)
    return [", ".join(names) + (ending if ending.startswith(" after ") else "") for ending, names in groups.items()]


def _legend(report: Report) -> list[str]:
    return [report.tolerance.sentence, *([_FOLLOWS] if report.count("follows") else [])]


def _json(report: Report) -> str:
    setter = Unicode(report.digits)
    first = report.first
    content: dict[str, Any] = {
        "answers": [
            {
                "line": answer.entry.at[0],
                "column": answer.entry.at[1],
                "about": answer.key,
                "given": answer.entry.text,
                "value": number(answer.value),
                "right": number(answer.truth),
                "status": answer.status,
                "first": answer.first,
                "slip": answer.slip or None,
                "reason": setter.text(answer.reason) or None,
                "others": [{"slip": name, "reason": setter.text(words)} for name, words in answer.others],
                "follows_from_lines": list(answer.after),
            }
            for answer in report.checked
        ],
        "counts": {status: report.count(status) for status in _MARKS},
        "first_wrong": first.key if first else None,
        "bad_lines": [{"line": line.line, "text": line.text, "reason": line.sentence} for line in report.bad],
        "not_answered": list(report.missing),
        "tolerance": report.tolerance.sentence,
    }
    return json.dumps(content, ensure_ascii=False, indent=1)


def _answer(answer: Checked, setter: Unicode) -> str:
    """`ŷ₂ = 6`; a formula with its value."""
    target = answer.entry.target
    left = setter.write(target.symbol)
    if target.update:
        rule, steps = target.update.rule, target.update.steps
        options = ", ".join(
            f"{k}={float(v):g}" for k, v in target.update.options if v != OPTIMISERS[rule].get(k) or k == "lr"
        )
        left += f" after {f'{steps} ' if steps > 1 else ''}{rule}({options}) on {setter.write(Name(target.of))}"
    if answer.entry.number is not None:
        return f"{left} = {answer.entry.text.replace('-', '−')}"
    # a formula is shown with its value, unless it is a number already
    text, value = setter.write(answer.entry.formula), _number(answer.value, setter)
    return f"{left} = {text}" + (f" {_sign(answer.value, setter)} {value}" if value != text else "")


def _verdict(answer: Checked, setter: Unicode) -> str:
    right = f"{_sign(answer.truth, setter).replace('=', '').strip()} {_number(answer.truth, setter)}".strip()
    if answer.status == "wrong":
        return f"{'first wrong; ' * answer.first}right: {right}"
    if answer.status == "follows":
        lines = ", ".join(map(str, answer.after))
        return f"follows from line{'s' * (len(answer.after) > 1)} {lines}   (right: {right})"
    return ""


def _reasons(answer: Checked, setter: Unicode) -> list[tuple[int, str]]:
    """The likely slip, 0, and on further lines the other ones, 1."""
    if answer.status == "right":
        return [(0, setter.text(answer.reason) + ".")] if answer.reason else []
    if answer.status == "follows":
        return []
    if not answer.reason:
        return [(0, "None of the slips that were tried leads to this number.")]
    likely = (0, _sentence(answer.reason, setter))
    return [likely, *((1, f"or: {setter.text(words)}.") for _, words in answer.others)]


def _sentence(words: Words, setter: Unicode) -> str:
    """Words with a capital letter in front; a quantity keeps its own letter."""
    text = setter.text(words)
    plain = isinstance(words[0], str) and text[:1].isascii()
    return (text[:1].upper() + text[1:] if plain else text) + "."


def _number(value: Any, setter: Unicode) -> str:
    return setter.write(Const(value))


def _sign(value: Any, setter: Unicode) -> str:
    return "=" if isinstance(value, Fraction) and numeral(value, setter.digits).exact else "≈"


def _styled(text: str, code: str, color: bool) -> str:
    return f"\033[{code}m{text}\033[0m" if color and code else text
