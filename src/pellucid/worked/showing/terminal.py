# SPDX-License-Identifier: Apache-2.0
"""Solutions for the terminal, with mathematics in Unicode."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, final

from pellucid.worked.expressions.expression import Const, Expr, Name
from pellucid.worked.showing.lines import (
    Answer,
    Heading,
    Line,
    Remark,
    Sheet,
    Step,
    Words,
    check_text,
    summary,
    with_asked,
)
from pellucid.worked.showing.numerals import GREEK, Numeral, Symbol
from pellucid.worked.showing.typesetting import ADD, ATOM, MUL, POW, Typesetter
from pellucid.worked.showing.wrapping import fold, packed, width_of

__all__ = ["Unicode", "show"]

_ABOVE: Final = str.maketrans("0123456789-−+", "⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁻⁺")
_BELOW: Final = str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉")
_ACCENTS: Final = {"hat": "\u0302", "bar": "\u0304", "tilde": "\u0303", "dot": "\u0307"}
_NARROWEST: Final = 40  # a terminal with fewer columns wraps by itself
_COLUMN: Final = 72  # after a longer line, its check follows directly
_TITLE, _GIVEN, _COMPUTED, _ASKED = "1", "36", "32", "1;33"
_LEGEND: Final = (("given", _GIVEN), ("computed", _COMPUTED), ("asked", _ASKED))
_ESCAPES: Final = re.compile(r"\033\[[\d;]*m")
_NAMES: Final = {"sigmoid": "σ", "log": "ln", "relu": "ReLU", "leaky_relu": "leakyReLU"}


@final
class Unicode(Typesetter):
    """Mathematics on one line of text.

    >>> from pellucid.worked.notation.notation import parse_expression
    >>> Unicode().write(parse_expression("(yhat_1 - y_1)^2 + W_h*h_0/2"))
    '(ŷ₁ − y₁)² + W_h·h₀/2'
    """

    def number(self, number: Numeral) -> tuple[str, int]:
        sign = "−" if number.negative else ""
        level = ADD if number.negative else ATOM
        if number.denominator:
            return f"{sign}{number.digits}/{number.denominator}", ADD if number.negative else MUL
        if number.power:
            text = f"{number.digits}·" if number.digits != "1" else ""
            return f"{sign}{text}10{str(number.power).translate(_ABOVE)}", ADD if number.negative else MUL
        return sign + number.digits, level

    def name(self, name: Symbol) -> str:
        # W₁₂ for digits, x₁,₁₂ with a comma if one has two digits; letters have no subscripts in Unicode: W_h
        base = GREEK.get(name.base, name.base)
        base = unicodedata.normalize("NFC", base + _ACCENTS[name.accent]) if name.accent else base
        if name.raised:
            above = name.raised.translate(_ABOVE) if name.raised.isdigit() else f"^({name.raised})"
            base += f"⁽{above}⁾" if name.raised.isdigit() else above
        if not name.subscripts:
            return base
        if all(part.isdigit() for part in name.subscripts):
            joined = ("" if all(len(part) == 1 for part in name.subscripts) else ",").join(name.subscripts)
            return base + joined.translate(_BELOW)
        words = [part for part in name.subscripts if not part.isdigit()]
        numbers = [part for part in name.subscripts if part.isdigit()]
        joined = ("" if all(len(part) == 1 for part in numbers) else ",").join(numbers).translate(_BELOW)
        if words + numbers == [*name.subscripts] and all(word.isalnum() for word in words):  # m_W₁₂
            return f"{base}_{','.join(GREEK.get(part, part) for part in words)}{joined}"
        return f"{base}_{','.join(part if part.isalnum() else f'({part})' for part in name.subscripts)}"

    def plain(self, text: str) -> str:
        return text

    def math(self, inner: str) -> str:
        return inner

    def path(self, names: Sequence[str]) -> str:
        return " → ".join(names)

    def partial(self, of: str, by: str) -> tuple[str, int]:
        return f"∂{of}/∂{by}", POW

    def brackets(self, inner: str) -> str:
        return f"({inner})"

    def minus(self) -> str:
        return "−"

    def between(self, sign: str) -> str:
        return f" {sign} "

    def mul(self, factors: Sequence[str]) -> str:
        # next to ∂a/∂b a dot without spaces is hard to see
        return (" · " if any("∂" in factor for factor in factors) else "·").join(factors)

    def factor(self, node: Expr, place: int) -> str:
        text, level = self.typeset(node)
        if level < MUL or ("/" in text and level == MUL):
            return self.brackets(text)
        return text

    def quotient(self, top: Expr, bottom: Expr) -> tuple[str, int]:
        if isinstance(top, Const) and top.value < 0:  # −2/7 rather than (−2)/7
            return f"−{self.quotient(Const(-top.value), bottom)[0]}", ADD
        return f"{self.factor(top, 0)}/{self.bracketed(bottom, POW)}", MUL

    def power(self, base: str, exponent: Expr) -> str:
        text = self.write(exponent)
        if isinstance(exponent, Const) and all(letter in "0123456789−" for letter in text):
            return base + text.translate(_ABOVE)
        return f"{base}^{text if isinstance(exponent, Name) else self.bracketed(exponent, ATOM)}"

    def call(self, name: str, args: Sequence[Expr], index: int) -> tuple[str, int]:
        inner = ", ".join(self.write(arg) for arg in args)
        if name == "pi":
            return "π", ATOM
        if name == "abs":
            return f"|{inner}|", ATOM
        if name in ("floor", "ceil"):
            left, right = "⌊⌋" if name == "floor" else "⌈⌉"
            return f"{left}{inner}{right}", ATOM
        if name == "sqrt":
            return f"√{self.bracketed(args[0], ATOM)}", POW
        below = str(index).translate(_BELOW) if index else ""
        return f"{_NAMES.get(name, name)}{below}({inner})", ATOM

    def cases(self, branches: Sequence[tuple[str, str]], otherwise: str) -> str:
        parts = [f"{value} if {test}" for value, test in branches]
        return "{" + "; ".join([*parts, f"{otherwise} otherwise"]) + "}"

    def sigma(self, body: str, index: str, low: str, high: str) -> str:
        return f"Σ({index} = {low}…{high}) {body}" if low else f"Σ_{index} {body}"

    def operator(self, by: str, inner: str) -> str:
        return f"∂/∂{by} {inner}"


def show(sheet: Sheet, verify: bool, color: bool, width: int = 0) -> str:
    """The answers, each under its question.

    Args:
        sheet: what to show.
        verify: show the check next to each line.
        color: what is given, computed and asked in colours of its own, with escape codes.
        width: wrap lines to so many columns; 0 for lines of any length.
    """
    setter = Unicode(sheet.digits, sheet.exact)
    page = _Page(setter, verify, color, max(width, _NARROWEST) if width else 0)
    parts = ["\n".join(page.prose(setter.text(words), "") for words in sheet.remarks)] if sheet.remarks else []
    parts += [page.answer(answer) for answer in sheet.answers]
    legend = [" ".join(_styled(word, style, True) for word, style in _LEGEND)] if color and sheet.values else []
    return "\n\n".join([*parts, "\n".join([page.prose(summary(sheet), "", "2"), *legend])])


@final
@dataclass(frozen=True)
class _Page:
    """How answers are laid out."""

    setter: Unicode
    verify: bool
    color: bool
    width: int

    def answer(self, answer: Answer) -> str:
        """One answer."""
        rows = [(self.prose("? " + self.setter.text(answer.title), "  ", _TITLE), "")]
        for block, asked in with_asked(answer):
            match block:
                case Heading(words=words):
                    rows += [("", ""), (self.prose(f"  {self.setter.text(words)}", "  ", "3"), "")]
                case Remark(words=words):
                    rows.append((self.listed(words), ""))
                case Step():
                    rows.append((self.step(block), ""))
                case Line():
                    mark = f"✓ {check_text(block.check)}" if self.verify and block.check else ""
                    rows.append((self.line(block, _ASKED if asked else _COMPUTED), mark))
                    rows += [
                        (self.prose(f"      {self.setter.text(words)}", " " * 6, "2"), "") for words in block.remarks
                    ]
        return self.with_marks(rows)

    def line(self, line: Line, style: str) -> str:
        """A line, wrapped at its signs; a long path stands above its product."""
        left, parts = self.setter.chain(line)
        label = self.setter.text(line.label)
        above: list[str] = []
        if label:
            whole = f"  {label}:  {left}" + "".join(f" {sign} {form}" if sign else form for sign, form in parts)
            if not self.width or width_of(whole) <= self.width:
                left = f"{label}:  {left}"
            else:
                above = [f"  {text}" for text in fold(f"{label}:", self.width - 2, self.width - 2)]
        lines = packed(left, parts, self.width, 4 if above else 2)
        result = parts[-1][1]
        if self.color and lines[-1].endswith(result):
            lines[-1] = lines[-1].removesuffix(result) + _styled(result, style, True)
        return "\n".join([*above, *lines])

    def step(self, step: Step) -> str:
        """A rule above what it says."""
        forms = [part if isinstance(part, str) else self.setter.write(part) for part in step.forms]
        first, *others = forms
        chain = packed(first, [("=", form) for form in others], self.width, 6)
        number = f"{step.number:>3}  " if step.number else "     "
        return "\n".join([self.prose(f"{number}{step.rule}", " " * 5, "3"), *chain])

    def listed(self, words: Words) -> str:
        """A sentence; the numbers that are given in their colour."""
        text = self.setter.text(words)
        return self.prose(f"  {text}", " " * 4, _GIVEN if text.startswith("given: ") else "")

    def prose(self, text: str, hanging: str, style: str = "") -> str:
        """A sentence, wrapped at its spaces."""
        if not self.width:
            return _styled(text, style, self.color)
        before = text[: len(text) - len(text.lstrip())]
        first, *others = fold(text.lstrip(), self.width - len(before), self.width - len(hanging), prose=True)
        return "\n".join(
            _styled(piece, style, self.color) for piece in [before + first, *(hanging + o for o in others)]
        )

    def with_marks(self, rows: Sequence[tuple[str, str]]) -> str:
        """The rows with their checks in one column, or below where there is no room."""
        limit = _COLUMN if not self.width else self.width
        ends = [(_visible(text.rsplit("\n", 1)[-1]), mark) for text, mark in rows]
        fits = [
            end
            for end, mark in ends
            if mark and end <= _COLUMN and (not self.width or end + 3 + width_of(mark) <= limit)
        ]
        column = max(fits, default=0) + 3
        lines = []
        for (text, mark), (end, _) in zip(rows, ends, strict=True):
            place = max(column, end + 3)
            if mark and (not self.width or place + width_of(mark) <= self.width):
                text += " " * (place - end) + _styled(mark, "2", self.color)
            elif mark:
                text += "\n" + self.prose(f"      {mark}", " " * 8, "2")
            lines.append(text)
        return "\n".join(lines)


def _visible(text: str) -> int:
    """The width of a line without its escape codes."""
    return width_of(_ESCAPES.sub("", text))


def _styled(text: str, code: str, color: bool) -> str:
    return f"\033[{code}m{text}\033[0m" if color and code else text
