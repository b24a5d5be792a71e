# SPDX-License-Identifier: Apache-2.0
"""Somebody's sizes and parameters checked against a layer table: which are right, and the slip behind a wrong one.

    2 = 149x99x64                 the size after row 2, the first layer being row 1
    conv 64 parameters = 1,216    of the layer with this name, in the order of the table where there are several
    conv 256 macs = 2102575104
    total parameters = 61706      also total macs

A size that follows from an earlier wrong one is no second mistake. Where two slips lead to the same number, both are said.
"""

from __future__ import annotations

import html
import re
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

import sympy

from pellucid.errors import UsageError
from pellucid.worked.layers.sizes import Size, output_size, read_product, show, transposed_size
from pellucid.worked.layers.table import LayerRow, LayerTable, size_text

__all__ = ["CheckedLayer", "LayerReport", "check_layers"]

Rebuild: TypeAlias = Callable[[Mapping[int, tuple[Size, ...]]], Sequence[LayerRow]]

_WHATS: Final = {"size": "size", "output": "size", "parameters": "parameters", "params": "parameters", "macs": "macs"}
_MARKS: Final = {"right": "✓", "wrong": "✗", "follows": "↳"}
_LONGEST: Final = 2000  # lines
_WIDTH: Final = 80  # columns of a report
_AXES: Final = {0: (), 1: ("length",), 2: ("height", "width"), 3: ("depth", "height", "width")}


@dataclass(frozen=True)
class CheckedLayer:
    """One answer with its verdict.

    Args:
        line: of the text, from 1.
        about: the layer and the quantity.
        given: as it was written.
        right: the right value, as text.
        status: right, wrong, or follows: worked out correctly from an earlier wrong size.
        slip: a sentence about what probably happened.
    """

    line: int
    about: str
    given: str
    right: str
    status: str
    slip: str = ""


@dataclass(frozen=True)
class LayerReport:
    """The answers in the order of their lines, and the lines that cannot be read."""

    checked: tuple[CheckedLayer, ...]
    bad: tuple[str, ...]

    def _repr_html_(self) -> str:
        return f"<pre>{html.escape(str(self))}</pre>"

    def __str__(self) -> str:
        right = sum(answer.status == "right" for answer in self.checked)
        lines = [f"{right} of {len(self.checked)} answers {'is' if right == 1 else 'are'} right.", ""]
        if not self.checked:
            lines = ["No answer could be read."]
        # verdicts begin in one column, unless the name of a layer is long
        width = min(max((len(f"{answer.about} = {answer.given}") for answer in self.checked), default=0), _WIDTH // 2)
        for answer in self.checked:
            said = f"{answer.about} = {answer.given}"
            verdict = {"right": "", "wrong": f"right: {answer.right}"}.get(
                answer.status, f"follows from the wrong size before it   (right: {answer.right})"
            )
            line = f"  {_MARKS[answer.status]} line {answer.line}  {said:{width}}   {verdict}".rstrip()
            if len(line) > _WIDTH:
                line = f"  {_MARKS[answer.status]} line {answer.line}  {said}\n            {verdict}"
            lines.append(line)
            if answer.slip:
                lines.append(textwrap.fill(answer.slip, _WIDTH, initial_indent=" " * 12, subsequent_indent=" " * 12))
        unread = (textwrap.fill(f"  ? {sentence}", _WIDTH, subsequent_indent=" " * 4) for sentence in self.bad)
        lines += ["", *unread] if self.bad else []
        return "\n".join(lines)


def check_layers(table: LayerTable, text: str, rebuild: Rebuild | None = None) -> LayerReport:
    """Check a text of answers against a table.

    >>> from pellucid.worked.layers.layers import table
    >>> report = check_layers(table("input 28x28x1; conv 8 of 3x3; max-pool 2"), "1 = 27x27x8")
    >>> report.checked[0].slip
    'Off by one: the + 1 of ⌊(n + 2p − d(f − 1) − 1)/s⌋ + 1 is added twice.'

    Args:
        table: the right one.
        text: the answers, one per line.
        rebuild: the rows with other sizes after some of them, to find what follows from a wrong one.

    Raises:
        UsageError: a text that is far too long.
    """
    lines = text.splitlines()
    if len(lines) > _LONGEST:
        raise UsageError(f"answers of {len(lines):,} lines: at most {_LONGEST:,} are read; split them.")
    checked: list[CheckedLayer] = []
    bad: list[str] = []
    given_sizes: dict[int, tuple[Size, ...]] = {}
    seen: set[tuple[int, str]] = set()
    for number, line in enumerate(lines, 1):
        line = line.partition("#")[0].strip()
        if not line:
            continue
        try:
            place, what, value = _read(line, table.rows, seen)
        except UsageError as fault:
            bad.append(f"line {number}: {fault}")
            continue
        seen.add((place, what))
        try:
            rows = rebuild(given_sizes) if rebuild and given_sizes else None
        except UsageError:
            rows = None  # the wrong sizes lead nowhere
        written = line.partition("=" if "=" in line else ":")[2].strip()
        checked.append(_judge(number, table, rows, place, what, value, written))
        # a size with another number of axes leads nowhere
        if what == "size" and checked[-1].status != "right" and len(value) == len(table.rows[place].output):
            given_sizes[place] = value
    return LayerReport(tuple(checked), tuple(bad))


def _read(line: str, rows: Sequence[LayerRow], seen: set[tuple[int, str]]) -> tuple[int, str, tuple[Size, ...]]:
    """The row, the quantity and the value of an answer."""
    left, sign, right = re.sub(r"(?<=\d),(?=\d{3}\b)", "", line).partition("=" if "=" in line else ":")
    if not sign or not right.strip():
        raise UsageError(f"{line!r}: an answer is written layer = size, as in 2 = 149x99x64; add the = and the value.")
    words = left.split()
    what = _WHATS.get(words[-1].lower().strip("?"), "") if words else ""
    name = " ".join(words[:-1] if what else words).lower().removeprefix("layer ").removeprefix("row ")
    what = what or "size"
    if name in ("total", "all", ""):
        return 0, what, _values(right, "x×")
    if name.isdecimal():
        place = int(name)
    else:
        found = [n for n, row in enumerate(rows) if row.name.lower().startswith(name) and (n, what) not in seen]
        place = found[0] if found else -1
    if not 1 <= place < len(rows):
        known = "; ".join(f"{n} {row.name}" for n, row in enumerate(rows[1:], 1))
        raise UsageError(f"{name!r}: is no layer of this table; name one of {known[:300]}.")
    # 24*24*6 has three axes as the size of a map, and is one number everywhere else
    axes = len(rows[place].output) if what == "size" else 0
    return place, what, _values(right, "x×*·" if axes > 1 else "x×")


def _values(text: str, times: str) -> tuple[Size, ...]:
    if re.search(r"\d\s+\d", text):
        raise UsageError(f"{text.strip()!r}: has a space within a number or between two; write 28x28x6 for a size.")
    return tuple(read_product(part) for part in re.split(rf"[{times}](?=[0-9A-Za-z])", text.strip().replace(" ", "")))


def _judge(
    number: int,
    table: LayerTable,
    rows: Sequence[LayerRow] | None,
    place: int,
    what: str,
    value: tuple[Size, ...],
    written: str,
) -> CheckedLayer:
    row = table.rows[place]
    if place == 0:
        truth: tuple[Size, ...] = (table.macs if what == "macs" else table.parameters,)
        about = f"total {what if what != 'size' else 'parameters'}"
    else:
        truth = row.output if what == "size" else (row.parameters if what == "parameters" else row.macs,)
        about = row.name if what == "size" else f"{row.name} {what}"
    right = size_text(truth) if len(truth) > 1 else show(truth[0])
    if _equal(value, truth):
        return CheckedLayer(number, about, written, right, "right")
    if rows is not None and place:
        now = rows[place]
        after = now.output if what == "size" else (now.parameters if what == "parameters" else now.macs,)
        if _equal(value, after):
            return CheckedLayer(number, about, written, right, "follows")
    source = rows[place] if rows is not None and place else row
    slips = _size_slips(source) if what == "size" else _parameter_slips(source, table, place, what)
    found = [*dict.fromkeys(words for wrong, words in slips if _equal(value, wrong))]
    if what == "size" and place and not any(words.startswith("Off by one") for words in found):
        found += [_one_off(value, source.output) or _of_another_row(table.rows, place, value)]
    said = [words for words in found if words][:2]
    slip = " Or: ".join([*said[:1], *(words[0].lower() + words[1:] for words in said[1:])])
    return CheckedLayer(number, about, written, right, "wrong", slip)


def _one_off(value: Sequence[Size], truth: Sequence[Size]) -> str:
    """The axes that are one too large or one too small in a sentence; nothing if another one is wrong.

    >>> _one_off((13, 11, 6), (12, 12, 6))
    'Off by one: the height is one too large, the width is one too small.'
    >>> _one_off((2, 3, 4, 5, 7), (2, 3, 4, 5, 6))
    'Off by one: axis 5 is one too large.'
    """
    if len(value) != len(truth):
        return ""
    away = [sympy.expand(a - b) for a, b in zip(value, truth, strict=True)]
    if not any(away) or any(step not in (-1, 0, 1) for step in away):
        return ""
    names = ["it"]
    if len(truth) - 1 in _AXES and len(truth) > 1:
        names = [f"the {name}" for name in (*_AXES[len(truth) - 1], "number of channels")]
    elif len(truth) > 1:  # some layers of a model have more axes
        names = [f"axis {n}" for n in range(1, len(truth) + 1)]
    said = []
    for step, words in ((1, "one too large"), (-1, "one too small")):
        wrong = [name for name, each in zip(names, away, strict=True) if each == step]
        if wrong:
            said.append(f"{' and '.join(wrong)} {'is' if len(wrong) == 1 else 'are'} {words}")
    return f"Off by one: {', '.join(said)}."


def _of_another_row(rows: Sequence[LayerRow], place: int, value: Sequence[Size]) -> str:
    """That this is the size of the row before or behind, or off by one from it: the rows are counted in another way."""
    for near in (place - 1, place + 1):
        if not 1 <= near < len(rows) or _equal(rows[near].output, rows[place].output):
            continue
        named = f"row {near}, {rows[near].name}"
        if _equal(value, rows[near].output):
            return f"This is the size of {named}; the first layer after the input is row 1."
        if off := _one_off(value, rows[near].output):
            return f"If {named}, is meant, it is o{off[1:]}"
    return ""


def _equal(value: Sequence[Size], truth: Sequence[Size]) -> bool:
    return len(value) == len(truth) and all(sympy.expand(a - b) == 0 for a, b in zip(value, truth, strict=True))


Slips: TypeAlias = Sequence[tuple[Callable[..., Size], str]]

_FORMULA: Final = "⌊(n + 2p − d(f − 1) − 1)/s⌋ + 1"
_WINDOW_SLIPS: Final[Slips] = (
    (lambda n, f, s, p, d: output_size(n, f, s, p, d) - 1, f"Off by one: the + 1 of {_FORMULA} is left out."),
    (lambda n, f, s, p, d: output_size(n, f, s, p, d) + 1, f"Off by one: the + 1 of {_FORMULA} is added twice."),
    (lambda n, f, s, p, d: output_size(n, f, s, 0, d), "The padding is left out."),
    (
        lambda n, f, s, p, d: output_size(n, f, s, sympy.Rational(1, 2) * p, d),
        "The padding is counted on one side only.",
    ),
    (lambda n, f, s, p, d: output_size(n, f, 1, p, d), "The stride is left out."),
    (lambda n, f, s, p, d: output_size(n, f, s, p, 1), "The dilation is left out."),
    (
        lambda n, f, s, p, d: sympy.ceiling(sympy.sympify(n + 2 * p - d * (f - 1) - 1) / s) + 1,
        "The quotient is rounded up; a window that does not fit is left out.",
    ),
    (lambda n, f, s, p, d: n, "The size is kept, as if there were padding on all sides."),
    (lambda n, f, s, p, d: output_size(n, f, f, p, d), "The window is moved by its own size instead of the stride."),
    (
        lambda n, f, s, p, d: sympy.floor(sympy.sympify(n) / s),
        "The size is divided by the stride, without the window.",
    ),
)
"""Wrong sizes after a sliding window from n, f, s, p and d of an axis, each with the slip that leads to it."""

_SPREADING: Final = "(n − 1)·s − 2p + d(f − 1) + 1"
_SPREAD_SLIPS: Final[Slips] = (
    (lambda n, f, s, p, d: transposed_size(n, f, s, p, d) - 1, f"Off by one: the + 1 of {_SPREADING} is left out."),
    (lambda n, f, s, p, d: transposed_size(n, f, s, p, d) + 1, f"Off by one: the + 1 of {_SPREADING} is added twice."),
    (lambda n, f, s, p, d: transposed_size(n + 1, f, s, p, d), f"The − 1 of {_SPREADING} is left out."),
    (lambda n, f, s, p, d: transposed_size(n, f, s, 0, d), "The padding, which is cut off, is left out."),
    (lambda n, f, s, p, d: transposed_size(n, f, s, -p, d), "The padding is added; it is cut off at either end."),
    (
        lambda n, f, s, p, d: transposed_size(n, f, s, sympy.Rational(1, 2) * p, d),
        "The padding is cut off on one side only.",
    ),
    (lambda n, f, s, p, d: transposed_size(n, f, 1, p, d), "The stride is left out."),
    (lambda n, f, s, p, d: n * s, "The size is multiplied by the stride, without the window."),
    (lambda n, f, s, p, d: output_size(n, f, s, p, d), f"This is the size after a convolution, {_FORMULA}."),
)
"""The same after a transposed convolution."""


def _size_slips(row: LayerRow) -> Iterator[tuple[tuple[Size, ...], str]]:
    """Wrong sizes of a row, each with the slip that leads to it."""
    channels = row.output[-1:]
    if row.window:
        for size, words in _SPREAD_SLIPS if row.spread else _WINDOW_SLIPS:
            yield (*(size(*term) for term in row.window), *channels), words
        last = "it is the number of filters" if row.formula else "a pooling keeps the channels"
        yield (*row.output[:-1], row.window[0][1]), f"The last number is the window's size; {last}."
    if len(row.output) == 3:
        height, width, depth = row.output
        yield (width, height, depth), "Height and width are exchanged."
        yield (depth, height, width), "The sizes are right, but the channels are written first."
    yield tuple(row.output[:-1]), "The channels are left out."
    if row.parameters != 0:
        yield (row.parameters,), f"These are its parameters; write `{row.name} parameters = …` for them."


def _parameter_slips(row: LayerRow, table: LayerTable, place: int, what: str) -> Iterator[tuple[tuple[Size, ...], str]]:
    """Wrong numbers of parameters or multiply–accumulates, each with its slip."""
    if place == 0:
        yield (table.without_biases,), "The biases are left out."
        yield (
            (table.parameters + table.statistics,),
            "The running statistics of batch norm are counted, which are not learned.",
        )
        return
    if what == "macs":
        yield (row.macs * 2,), "Multiplications and additions are counted one by one; a multiply–accumulate is one."
        yield (row.parameters,), "These are the parameters; each is used once at every position."
        return
    yield (row.parameters - row.biases,), "The biases are left out."
    before = table.rows[place - 1].output
    channels, filters = (before[-1] if before else sympy.Integer(1)), row.output[-1]
    if row.biases != 0:
        weights = row.parameters - row.biases
        yield (weights + 1,), "There is one bias for each output, not a single one."
        yield (weights / channels + filters,), f"The depth of the window, {show(channels)}, is left out."
        yield (weights / channels,), f"The depth of the window, {show(channels)}, and the biases are left out."
        yield (weights + channels,), "There is one bias for each output, not for each input."
        yield (weights / filters + 1,), f"This is one filter; there are {show(filters)}."
    if row.statistics != 0:
        yield (row.parameters + row.statistics,), "The running mean and variance are counted, which are not learned."
