# SPDX-License-Identifier: Apache-2.0
"""The picture of a page's way: photograph, ink, connected parts, lines, letters as the network sees them, and the text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, final

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from pellucid._pages import UNSURE, PageSteps, ReadLetter
from pellucid.lenses._axes import bare
from pellucid.lenses._images import picture, show
from pellucid.lenses._wording import clipped, clipped_start

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["Seen", "figure"]

_MOST_DRAWN = 2  # pages; the numbers hold all
_CARDS, _ACROSS = 16, 8  # letters that are drawn as the network sees them, and how many side by side
_TOP = 3  # answers below each of them
_SHARP = 1400  # px of the longer side at which a page is drawn
_ROWS, _LONGEST = 26, 60  # lines of the text that are drawn, and characters in one
# told apart with any colour vision (Okabe & Ito 2008), and seen on paper
_LINES = ("#0072b2", "#009e73", "#882255", "#d55e00")
_UNSURE, _DECIDED = "#d55e00", "#0072b2"


@final
@dataclass(frozen=True)
class Seen:
    """A page that was read."""

    name: str
    image: Tensor  # (C, H, W)
    steps: PageSteps
    chosen: Sequence[int]  # positions of letters that were asked for
    text: str | None  # the true one


def figure(seen: Sequence[Seen]) -> Figure:
    """Four pictures of each page in a row, and below them the letters and the text."""
    from matplotlib.figure import Figure

    drawn = seen[:_MOST_DRAWN]
    width = 12.0  # inches
    heights = []
    for one in drawn:
        shape = one.image.shape[1] / one.image.shape[2]
        heights += [min(4.2, max(1.3, (width / 4) * shape)) + 0.3, 0.35 + _rows(one) * 1.12]
    drawing = Figure(figsize=(width, sum(heights)), dpi=150, layout="constrained")
    blocks: Any = drawing.subfigures(len(heights), 1, height_ratios=heights, squeeze=False)[:, 0]
    for place, one in enumerate(drawn):
        above = blocks[2 * place].subplots(1, 4)
        _photograph(above[0], one)
        _ink(above[1], one.steps)
        _parts(above[2], one.steps)
        _lines(above[3], one)
        for axes in above:
            axes.set_anchor("N")
        below = blocks[2 * place + 1].subfigures(1, 2, width_ratios=[2.1, 1])
        _cards(below[0], one)
        _text(below[1].subplots(), one)
    return drawing


def _rows(one: Seen) -> int:
    """Rows of letters, or as much room as the text takes."""
    cards = max(1, -(-len(_shown(one)) // _ACROSS))
    lines = min(_ROWS, len(one.steps.lines)) + (2 + len((one.text or "").splitlines()) if one.text is not None else 0)
    return max(cards, -(-lines // 8))


def _shown(one: Seen) -> list[int]:
    """Positions of the letters that are drawn: those that were asked for, or else the least sure ones."""
    if one.chosen:
        return [*one.chosen][: 2 * _CARDS]
    order = sorted(range(len(one.steps.letters)), key=lambda k: one.steps.letters[k].probability)
    return sorted(order[:_CARDS])


def _title(axes: Axes, words: str) -> None:
    axes.set_title(words, fontsize=7.5, pad=3, parse_math=False)


def _small(pixels: NDArray[Any]) -> NDArray[Any]:
    """Every so many-th pixel of a large page, so that the figure stays small."""
    step = max(1, round(max(pixels.shape[:2]) / _SHARP))
    return pixels[::step, ::step]


def _drawn(axes: Axes, pixels: NDArray[Any], **style: Any) -> None:
    """Pixels over the whole page, in its own px."""
    height, width = pixels.shape[:2]
    axes.imshow(_small(pixels), extent=(-0.5, width - 0.5, height - 0.5, -0.5), **style)
    bare(axes)


def _photograph(axes: Axes, one: Seen) -> None:
    _drawn(axes, picture(one.image), cmap="gray", vmin=0, vmax=1)
    _title(axes, clipped_start(one.name, 44))


def _ink(axes: Axes, page: PageSteps) -> None:
    """The paper taken out; what is left is dark."""
    bare(axes)
    if page.contrast is None:
        _title(axes, "no ink in the size of letters")
        return
    _drawn(axes, np.clip(page.contrast, 0, 1), cmap="gray_r", vmin=0, vmax=1)
    words = "ink, upright and level" if page.turned or page.skew else "ink"
    about = [f"turned by {page.turned}°"] * bool(page.turned) + [f"askew by {page.skew:.1f}°"] * (
        abs(page.skew) >= 0.05
    )
    _title(axes, f"{words} ({', '.join(about)})" if about else f"{words}; strokes {page.pen:.1f} px wide")


def _parts(axes: Axes, page: PageSteps) -> None:
    """Connected parts, each in a colour that its neighbours hardly have."""
    from matplotlib import colormaps

    bare(axes)
    if page.parts is None:
        _title(axes, "no connected parts")
        return
    count = int(page.parts.max())
    shades = np.ones((count + 1, 3))
    shades[1:] = colormaps["tab10"](np.arange(count) * 7 % 10)[:, :3]
    _drawn(axes, shades[_small(page.parts)])
    axes.set_xlim(-0.5, None)
    _title(axes, f"{count:,} connected part{'s' * (count != 1)}")


def _lines(axes: Axes, one: Seen) -> None:
    """Each letter's box in the colour of its line, and the number of the first letter of each line."""
    from matplotlib.collections import LineCollection

    _drawn(axes, picture(one.image[:3].mean(0, keepdim=True)), cmap="gray", vmin=0, vmax=1)
    letters = one.steps.letters
    rings = []
    for letter in letters:
        x0, y0, x1, y1 = (end - 0.5 for end in letter.box)
        rings.append(np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1), (x0, y0)]))
    colours = [_LINES[letter.line % len(_LINES)] for letter in letters]
    axes.add_collection(LineCollection(rings, colors=colours, linewidths=0.8), autolim=False)
    begun = -1
    for number, letter in enumerate(letters, 1):
        if letter.line != begun:
            begun = letter.line
            axes.annotate(
                str(number), letter.box[:2], xytext=(-2, 0), textcoords="offset points", fontsize=5.5, ha="right", va="top",
                color=_LINES[letter.line % len(_LINES)], annotation_clip=False,
            )  # fmt: skip
    lines = len(one.steps.lines)
    _title(axes, f"{len(letters):,} letter{'s' * (len(letters) != 1)} in {lines} line{'s' * (lines != 1)}")


def _cards(part: Any, one: Seen) -> None:
    """Letters as the network sees them, with their numbers and its surest answers."""
    places = _shown(one)
    count = len(one.steps.letters)
    if not places:
        axes = part.subplots()
        bare(axes)
        _title(axes, "no letters for the network")
        return
    which = f"the {len(places)} least sure of {count:,} letters" if len(places) < count else "all letters"
    if one.chosen:
        which = "the letters that were asked for"
    part.suptitle(f"as the network sees them, with its {_TOP} surest answers: {which}", fontsize=7.5)
    down = -(-len(places) // _ACROSS)
    grid = part.subplots(down, _ACROSS, squeeze=False)
    for axes in grid.flat:
        bare(axes)
    for axes, place in zip(grid.flat, places, strict=False):
        letter = one.steps.letters[place]
        show(axes, letter.seen)
        colour = _UNSURE if letter.probability < UNSURE else "0.15"
        axes.set_title(f"letter {place + 1}", fontsize=6.2, pad=2, color=colour)
        axes.text(
            0.5, -0.04, _answers(letter, one.steps.names), transform=axes.transAxes, fontsize=5.8, ha="center", va="top",
            linespacing=1.15, parse_math=False,
        )  # fmt: skip


def _answers(letter: ReadLetter, names: Sequence[str]) -> str:
    """The surest answers, and what was read where neighbours or a list decided."""
    best = np.argsort(-letter.shares, kind="stable")[:_TOP].tolist()
    lines = [f"{clipped(names[k], 9)} {100 * letter.shares[k]:.1f} %" for k in best]
    if letter.decided != "evidence":
        lines.append(f"→ {clipped(names[letter.index], 9)} by {letter.decided}")
    return "\n".join(lines)


def _text(axes: Axes, one: Seen) -> None:
    """The text line by line, unsure letters in orange, and the true one below it."""
    bare(axes)
    axes.set(xlim=(0, 1), ylim=(1, 0))
    rows: list[list[tuple[str, str]]] = []
    word = 0
    for number, letter in enumerate(one.steps.letters, 1):
        name = one.steps.names[letter.index]
        if letter.line == len(rows):
            rows.append([(f"{number:>4}  ", "0.6")])
        elif letter.word != word:
            rows[-1].append((" ", "0"))
        word = letter.word
        colour = _UNSURE if letter.probability < UNSURE else _DECIDED if letter.decided != "evidence" else "0.1"
        rows[-1].append((name, colour))
    cut = len(rows) > _ROWS
    rows = rows[:_ROWS] or [[("      no text", "0.5")]]
    if cut:
        rows.append([("      …", "0.5")])
    if one.text is not None:
        rows += [[], [("      the true text", "0.6")]]
        rows += [[(f"      {clipped(line, _LONGEST)}", "0.45")] for line in one.text.splitlines()[:_ROWS]]
    _title(axes, "text; orange: unsure, blue: decided by neighbours" if one.steps.letters else "text")
    widest = max(sum(len(text) for text, _ in row) for row in rows)
    height = axes.figure.bbox.height / axes.figure.dpi if hasattr(axes.figure, "bbox") else 2.0
    size = float(np.clip(min(72 * 0.86 * height / (1.5 * len(rows)), 72 * 3.6 / (0.62 * widest)), 3.5, 8.5))
    step = min(1.5 * size / 72 / height, 0.98 / len(rows))
    for number, row in enumerate(rows):
        at = 0
        for text, colour in row:
            axes.annotate(
                text, (0, (number + 0.5) * step), xytext=(at * 0.602 * size, 0), textcoords="offset points",
                family="DejaVu Sans Mono", fontsize=size, color=colour, va="center", ha="left", parse_math=False,
            )  # fmt: skip
            at += len(text)
