# SPDX-License-Identifier: Apache-2.0
"""The parts of a solution, independent of any format: lines with their checks, remarks, headings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Final, TypeAlias, final

from pellucid.errors import PellucidError
from pellucid.worked.expressions.expression import Expr, Name, Partial, Value

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
    "Step",
    "Words",
    "check_text",
    "in_brief",
    "summary",
    "with_asked",
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


@final
@dataclass(frozen=True, slots=True)
class Step:
    """A rule and what it says: forms that are equal to each other, as expressions or as mathematics in Unicode."""

    rule: str
    forms: tuple[Expr | str, ...]
    number: int = 0  # 0 for none


Block: TypeAlias = Line | Remark | Heading | Step


@final
@dataclass(frozen=True, slots=True)
class Answer:
    """A question with its lines; `results` are the numbers asked for."""

    title: Words
    key: str  # the question as it is written in a text
    blocks: tuple[Block, ...]
    results: tuple[tuple[Expr, Value], ...] = field(default=())
    target: str = ""  # what an update makes smaller


@final
@dataclass(frozen=True, slots=True)
class Sheet:
    """Everything that is shown of a worksheet, in any format."""

    answers: tuple[Answer, ...]
    values: Mapping[str, Value]
    digits: int = 6
    exact: bool = False
    remarks: tuple[Words, ...] = ()  # about the whole sheet, shown before the answers
    title: str = ""  # of a document
    note: str = ""  # the last sentence, if it is not the one that counts the lines


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
    if sheet.note:
        return sheet.note
    lines = [block for answer in sheet.answers for block in answer.blocks if isinstance(block, Line)]
    if not lines and sheet.answers:
        count = len(sheet.answers)
        return f"{count} question{'s' * (count != 1)}; give what is not exact to {sheet.digits} significant digits."
    if not lines:
        return NOTHING
    by = [line.check.how for line in lines if line.check]
    ways = {"NumPy": "by NumPy", "central difference": "by central differences", "mpmath": "by mpmath"}
    counts = [f"{by.count(how)} {what}" for how, what in ways.items() if how in by]
    if len(counts) == 1:  # 3 lines, each checked by NumPy
        checked = ("each " if len(lines) > 1 else "") + f"checked {counts[0].partition(' ')[2]}"
    else:
        checked = f"each checked: {', '.join(counts)}"
    return (
        f"{len(lines)} line{'s' * (len(lines) != 1)}, {checked}. "
        f"After = a number is exact, after ≈ it has {sheet.digits} significant digits."
    )


def with_asked(answer: Answer) -> Iterator[tuple[Block, bool]]:
    """The blocks of an answer, and whether each is the line with a number that was asked for."""
    asked = {item for item, _ in answer.results}
    # of several lines about what is asked, the last one has the result
    last = {block.left: n for n, block in enumerate(answer.blocks) if isinstance(block, Line)}
    for n, block in enumerate(answer.blocks):
        yield block, isinstance(block, Line) and block.left in asked and last[block.left] == n


def in_brief(answer: Answer) -> Answer:
    """An answer with the lines of the quantities alone: no local derivatives, no paths, no remarks on branches."""
    asked = {item for item, _ in answer.results}
    asked |= {Partial(answer.target, item.name) for item in asked if isinstance(item, Name)}
    kept: list[Block] = []
    for block in answer.blocks:
        match block:
            case Line(left=Name() as left) | Line(left=Partial() as left) if isinstance(left, Name) or left in asked:
                kept.append(replace(block, remarks=()))
            case Line(label=("look-ahead point",)):  # where Nesterov's gradient is taken
                kept.append(block)
            case Remark(words=("given: " | "from above: ", *rest)) if not any(
                isinstance(word, Partial) for word in rest
            ):
                kept.append(block)
            case Step():
                kept.append(block)
    return replace(answer, blocks=tuple(kept))
