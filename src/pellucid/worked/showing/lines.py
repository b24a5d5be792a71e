# SPDX-License-Identifier: Apache-2.0
"""The parts of a solution, independent of any format: lines with their checks, remarks, headings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, TypeAlias, final

from pellucid.errors import PellucidError
from pellucid.worked.expressions.expression import Expr, Value

__all__ = [
    "NOTHING",
    "Answer",
    "Block",
    "Check",
    "CheckError",
    "Heading",
    "Line",
    "Remark",
    "Sheet",
    "Words",
    "check_text",
    "summary",
]

NOTHING: Final = "There is nothing to compute: write an equation such as y = 2*3, and ? y."
Words: TypeAlias = tuple["str | Expr | tuple[str, ...]", ...]  # a sentence: text, mathematics, paths of names


class CheckError(PellucidError):
    """A line failed its check; nothing is shown then."""


@final
@dataclass(frozen=True, slots=True)
class Check:
    """The independent computation of a line's result in float64, and its tolerance."""

    how: str  # "NumPy", "central difference", or "mpmath" where float64 is not precise enough
    value: float
    tolerance: float
    detail: str = ""  # the step of a central difference, and whether branches were fixed


@final
@dataclass(frozen=True, slots=True)
class Line:
    """`left = forms… = value`: in symbols, with numbers, and the result."""

    left: Expr | None
    forms: tuple[Expr, ...]
    value: Value
    check: Check | None
    remarks: tuple[Words, ...] = ()
    label: Words = ()  # printed before the line, such as a path
    sign: str = "="  # between left and forms; ← in an update


@final
@dataclass(frozen=True, slots=True)
class Remark:
    """A sentence."""

    words: Words


@final
@dataclass(frozen=True, slots=True)
class Heading:
    """The title of a part of an answer."""

    words: Words


Block: TypeAlias = Line | Remark | Heading


@final
@dataclass(frozen=True, slots=True)
class Answer:
    """A question with its lines; `results` are the numbers asked for."""

    title: Words
    key: str  # the question as it is written in a text
    blocks: tuple[Block, ...]
    results: tuple[tuple[Expr, Value], ...] = field(default=())


@final
@dataclass(frozen=True, slots=True)
class Sheet:
    """Everything that is shown of a worksheet, in any format."""

    answers: tuple[Answer, ...]
    values: Mapping[str, Value]
    digits: int = 6
    exact: bool = False
    remarks: tuple[Words, ...] = ()  # about the whole sheet, shown before the answers


def check_text(check: Check) -> str:
    """A check as text.

    >>> check_text(Check("NumPy", -2.0, 2e-9))
    'NumPy −2 (± 2e−9)'
    """
    detail = f", {check.detail}" if check.detail else ""
    tolerance = f"{check.tolerance:.0e}" if check.tolerance > 1e-200 else "0"
    return f"{check.how} {check.value:.8g} (± {tolerance}{detail})".replace("e-0", "e-").replace("-", "−")


def summary(sheet: Sheet) -> str:
    """The last line of a sheet: how its lines were checked, and how to read its numbers."""
    lines = [block for answer in sheet.answers for block in answer.blocks if isinstance(block, Line)]
    if not lines and sheet.answers:
        count = len(sheet.answers)
        return f"{count} question{'s' * (count != 1)}; give what is not exact to {sheet.digits} significant digits."
    if not lines:
        return NOTHING
    by = [line.check.how for line in lines if line.check]
    ways = {"NumPy": "by NumPy", "central difference": "by central differences", "mpmath": "by mpmath"}
    counts = [f"{by.count(how)} {what}" for how, what in ways.items() if how in by]
    return (
        f"{len(lines)} line{'s' * (len(lines) != 1)}, each checked: {', '.join(counts)}. "
        f"After = a number is exact, after ≈ it has {sheet.digits} significant digits."
    )
