# SPDX-License-Identifier: Apache-2.0
"""page: the way of a photographed page to its text, letter by letter."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from pellucid._pages import UNSURE, PageSteps
from pellucid.errors import UsageError
from pellucid.lenses._contract import Lens, View
from pellucid.lenses._images import stacked
from pellucid.lenses._pages import Pages
from pellucid.lenses.page.figure import Seen, figure

__all__ = ["Page"]

_AXES = {
    "box": ("image", "letter", "x0 y0 x1 y1"),
    "label": ("image", "letter"),
    "probability": ("image", "letter", "class"),
    "line": ("image", "letter"),
    "word": ("image", "letter"),
    "seen": ("image", "letter", "channel", "y", "x"),
    "ink": ("image", "y", "x"),
    "part": ("image", "y", "x"),
    "matrix": ("image", "x and y", "x, y and 1"),
    **dict.fromkeys(("pen", "tall", "light", "turned", "skew", "text", "names"), ("image",)),
    "classes": ("class",),
}


@final
@dataclass(frozen=True)
class Page(Lens[Pages]):
    """The way of a page to its text: its ink, the connected parts, lines, letters as the network sees them, its surest answers.

    Letters are numbered in reading order; `--letter` chooses those that are drawn as the network sees them, and by default they
    are the least sure ones. In the numbers, `box` is in px of the page, with `line` and `word` from 1; `probability` has the classes
    and, last, no letter; `seen` is what the network takes. `ink` (in % of the strokes' usual contrast) and `part` (numbers of connected
    parts) are of the page upright and level, and `matrix` leads from there to the page's own px. The table page.csv has a row for each
    letter.
    """

    def look(self, pages: Pages) -> View:
        images = pages.progress(pages.images, "reading")
        seen = []
        for place, image in enumerate(images):
            steps = pages.steps(pages.model, image)
            text = pages.texts[place] if place < len(pages.texts) else None
            seen.append(Seen(pages.names[place], image, steps, pages.chosen(steps), text))
        lacking = [words for place, one in enumerate(seen) if (words := pages.lacking(place, one.steps))]
        if lacking and not any(one.chosen for one in seen):
            raise UsageError(lacking[0])
        for words in lacking:
            pages.remark(words)
        numbers = _numbers(seen)
        return View(figure(seen), numbers, _words(seen), _AXES, {"page.csv": _table(seen)})


def _numbers(seen: Sequence[Seen]) -> dict[str, NDArray[Any]]:
    steps = [one.steps for one in seen]
    letters = [one.letters for one in steps]
    channels, height, width = next((tuple(own[0].seen.shape) for own in letters if own), (1, 1, 1))
    classes = len(steps[0].names)

    def column(values: Any, *shape: int, kind: Any = np.int64) -> NDArray[Any]:
        """A row for each letter of each page."""
        return stacked([np.array([values(one) for one in own], kind).reshape(-1, *shape) for own in letters])

    blank = np.zeros((1, 1), np.int16)
    return {
        "box": column(lambda one: one.box, 4, kind=np.float64),
        "label": column(lambda one: one.index),
        "probability": column(lambda one: one.shares, classes, kind=np.float32),
        "line": column(lambda one: one.line + 1),
        "word": column(lambda one: one.word + 1),
        "seen": column(lambda one: one.seen.numpy(), channels, height, width, kind=np.float32),
        "ink": stacked(
            [blank if one.contrast is None else np.rint(100 * one.contrast).astype(np.int16) for one in steps]
        ),
        "part": stacked([blank.astype(np.int32) if one.parts is None else one.parts for one in steps]),
        "matrix": np.array([one.matrix for one in steps]),
        "pen": np.array([one.pen for one in steps]),
        "tall": np.array([one.tall for one in steps]),
        "light": np.array([one.light for one in steps]),
        "turned": np.array([one.turned for one in steps]),
        "skew": np.array([one.skew for one in steps]),
        "text": np.array(["\n".join(one.lines) for one in steps], np.str_),
        "names": np.array([one.name for one in seen], np.str_),
        "classes": np.array(steps[0].names, np.str_),
    }


def _words(seen: Sequence[Seen]) -> str:
    """What was found on the first page, and how many letters all have."""
    first = seen[0]
    words = f"{first.name}: {_found(first.steps)}"
    if len(seen) > 1:
        letters = [letter for one in seen for letter in one.steps.letters]
        unsure = sum(letter.probability < UNSURE for letter in letters)
        words += f" On all {len(seen)} pages there are {len(letters):,} letters, of which {unsure:,} are unsure."
    return words


def _found(page: PageSteps) -> str:
    if not page.letters:
        why = "there is no ink in the size of letters" if page.parts is None else "none of its ink reads as letters"
        return f"no text was found; {why}."
    lines = page.lines
    words = sum(len(line.split()) for line in lines)
    parts = 0 if page.parts is None else int(page.parts.max())
    strokes = "light strokes on something dark" if page.light else "dark strokes"
    text = f"{strokes}, {page.pen:.1f} px wide, of letters {page.tall:.0f} px tall"
    if page.turned:
        text += f"; the page lay turned by {page.turned}°"
    if abs(page.skew) >= 0.05:
        text += f"; its lines are askew by {page.skew:.1f}°"
    text += (
        f". {parts:,} parts of its ink give {_count(len(page.letters), 'letter')} in {_count(words, 'word')} and "
        f"{_count(len(lines), 'line')}"
    )
    unsure = sum(letter.probability < UNSURE for letter in page.letters)
    decided = sum(letter.decided != "evidence" for letter in page.letters)
    text += f"; {unsure:,} {'is' if unsure == 1 else 'are'} unsure (below {UNSURE:g})"
    return f"{text}, and neighbours decided {decided:,}." if decided else f"{text}."


def _count(n: int, noun: str) -> str:
    return f"{n:,} {noun}{'s' * (n != 1)}"


def _table(seen: Sequence[Seen]) -> bytes:
    """A row for each letter: its place in the text, its three surest answers, what decided, and its box."""
    out = io.StringIO()
    rows = csv.writer(out, lineterminator="\n")
    top = [f"{what}_{k}" for k in (1, 2, 3) for what in ("answer", "probability")]
    rows.writerow(["image", "letter", "line", "word", "read", *top, "decided_by", "x0", "y0", "x1", "y1"])
    for one in seen:
        for number, letter in enumerate(one.steps.letters, 1):
            best = np.argsort(-letter.shares, kind="stable")[:3].tolist()
            answers = [value for k in best for value in (one.steps.names[k], f"{letter.shares[k]:.6f}")]
            answers += [""] * (len(top) - len(answers))
            corners = [f"{end:.2f}" for end in letter.box]
            rows.writerow(
                [one.name, number, letter.line + 1, letter.word + 1, one.steps.names[letter.index], *answers,
                 letter.decided, *corners]
            )  # fmt: skip
    return out.getvalue().encode()
