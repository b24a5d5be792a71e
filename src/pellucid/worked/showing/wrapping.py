# SPDX-License-Identifier: Apache-2.0
"""Lines of mathematics wrapped to a width: before = first, then at + and −, outside of brackets where that is possible."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

__all__ = ["fold", "packed", "width_of"]


_BEFORE: Final = frozenset("=≈·←→+−")


@dataclass(frozen=True)
class _Style:
    """Where lines may break.

    Args:
        before: signs that begin the next line -> how much a break there disturbs.
        after: signs that end a line.
        deeper: what a break inside a bracket adds, for each bracket.
        least: the part of a line that should be filled.
        short: what a break before that adds.
    """

    before: Mapping[str, int]
    after: Mapping[str, int]
    deeper: int
    least: float
    short: int


_MATH: Final = _Style(
    {" = ": 0, " ≈ ": 0, " ← ": 0, " + ": 1, " − ": 1, " → ": 1, " · ": 2, " if ": 3, " ": 4},
    {", ": 2, "; ": 1, "·": 5, "/": 6, ",": 6},
    deeper=3,
    least=0.4,
    short=9,
)
_PROSE: Final = _Style(
    {" ": 3, " = ": 10, " ≈ ": 10, " · ": 10, " − ": 6, " + ": 6, " → ": 4},
    {", ": 2, "; ": 2, ". ": 2, "= ": 10, "≈ ": 10, "· ": 10},
    deeper=1,
    least=0.85,
    short=3,
)


def width_of(text: str) -> int:
    """The width in terminal columns; a combining accent has none.

    >>> width_of("ŷ₁")
    2
    """
    return sum(not unicodedata.combining(letter) for letter in text)


def fold(text: str, first: int, rest: int, prose: bool = False) -> list[str]:
    """A text in lines of at most some columns, the first of another width than the rest.

    >>> fold("(a + b)·c + (d + e)·f", 14, 14)
    ['(a + b)·c', '+ (d + e)·f']

    Args:
        text: on one line.
        first: columns of the first line.
        rest: columns of the others.
        prose: break a sentence at its commas and spaces, and a = 1 not at all.
    """
    lines: list[str] = []
    room = max(first, 1)
    while width_of(text) > room:
        place = _break(text, room, _PROSE if prose else _MATH)
        if not place:
            break
        lines.append(text[:place].rstrip())
        text, room = text[place:].lstrip(), max(rest, 1)
    return [*lines, text]


def packed(left: str, parts: Sequence[tuple[str, str]], width: int, indent: int = 2) -> list[str]:
    """A chain of equalities in lines of at most `width` columns, wrapped before its signs, which are aligned.

    >>> print("\\n".join(packed("y", [("=", "a·b + c·d"), ("=", "1·2 + 3·4"), ("=", "14")], 24)))
      y = a·b + c·d
        = 1·2 + 3·4 = 14

    Args:
        left: before the first sign; nothing for a chain that begins with a form.
        parts: each form with the sign before it.
        width: in columns; 0 for one line, however long.
        indent: of every line.
    """
    whole = left + "".join(f" {sign} {form}" if sign else form for sign, form in parts)
    space = " " * indent
    if not width or width_of(whole) + indent <= width:
        return [space + whole]
    # the signs stand under each other, if the left side leaves room for what is behind them
    beside = bool(left) and width_of(left) < width // 3
    column = width_of(left) + 1 if beside else 2
    lines, line = [], left
    if left and not beside:
        lines, line = [space + piece for piece in fold(left, width - indent, width - indent)], " "
    for sign, form in parts:
        piece = f"{sign} {form}" if sign else form
        joined = f"{line}{' ' if line.strip() else ' ' * (column - len(line)) if sign else ''}{piece}"
        if width_of(joined) + indent <= width:
            line = joined
            continue
        started = line.strip() and line.strip() != left
        if started:
            lines.append(space + line)
            line = ""
        start = f"{line}{' ' * (column - width_of(line))}" if sign else line
        inner = width - indent - width_of(start)
        # what is left of a form is indented behind its sign
        hanging = len(sign) + 1 if sign else 2
        first, *others = fold(piece, inner, width - indent - column - hanging)
        pieces = [start + first, *(" " * (column + hanging) + other for other in others)]
        lines += [space + text for text in pieces[:-1]]
        line = pieces[-1]
    return [*lines, space + line] if line.strip() else lines


def _break(text: str, room: int, style: _Style) -> int:
    """The place at which a text is broken: as far outside of brackets and as far to the right as possible; 0 for none."""
    best: tuple[int, int] | None = None
    depth = column = 0
    for place, letter in enumerate(text):
        if column > room:
            break
        extra = style.deeper * min(depth, 3) + style.short * (column < room * style.least)
        found = max(
            (sign for sign in style.before if text.startswith(sign, place)), key=len, default=""
        )  # " = " is no " ", and a number stays with the sign before it
        if found == " " and text[place - 1 : place] in _BEFORE:
            found = ""
        ways = [(style.before[found] + extra, place)] if found and text[:place].strip() else []
        for sign, cost in style.after.items():
            if text.startswith(sign, place) and column + len(sign.rstrip()) <= room and place + len(sign) < len(text):
                ways.append((cost + extra, place + len(sign)))
        for way in ways:
            best = way if best is None or way[0] <= best[0] else best
        depth += (letter in "([{") - (letter in ")]}")
        column += not unicodedata.combining(letter)
    return best[1] if best else 0
