# SPDX-License-Identifier: Apache-2.0
"""Solutions for the terminal, with mathematics in Unicode."""

from __future__ import annotations

import textwrap
import unicodedata
from collections.abc import Sequence
from typing import Final, final

from pellucid.worked.expressions.expression import Const, Expr, Name
from pellucid.worked.showing.lines import Answer, Heading, Line, Remark, Sheet, check_text, summary
from pellucid.worked.showing.numerals import GREEK, Numeral, Symbol
from pellucid.worked.showing.typesetting import ADD, ATOM, MUL, POW, Typesetter

__all__ = ["Unicode", "show"]

_ABOVE: Final = str.maketrans("0123456789-−+", "⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁻⁺")
_BELOW: Final = str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉")
_ACCENTS: Final = {"hat": "\u0302", "bar": "\u0304", "tilde": "\u0303", "dot": "\u0307"}
_WIDTH: Final = 110  # of remarks about the whole sheet
_COLUMN: Final = 72  # after a longer line, its check follows directly
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
        if name == "sqrt":
            return f"√{self.bracketed(args[0], ATOM)}", POW
        below = str(index).translate(_BELOW) if index else ""
        return f"{_NAMES.get(name, name)}{below}({inner})", ATOM

    def cases(self, branches: Sequence[tuple[str, str]], otherwise: str) -> str:
        parts = [f"{value} if {test}" for value, test in branches]
        return "{" + "; ".join([*parts, f"{otherwise} otherwise"]) + "}"

    def sigma(self, body: str, index: str, low: str, high: str) -> str:
        return f"Σ({index} = {low}…{high}) {body}"


def show(sheet: Sheet, verify: bool, color: bool) -> str:
    """The answers, each under its question.

    Args:
        sheet: what to show.
        verify: show the check next to each line.
        color: colour titles and dim remarks with escape codes.
    """
    setter = Unicode(sheet.digits, sheet.exact)
    parts = ["\n".join(textwrap.fill(setter.text(words), _WIDTH) for words in sheet.remarks)] if sheet.remarks else []
    parts += [_answer(answer, setter, verify, color) for answer in sheet.answers]
    return "\n\n".join([*parts, _styled(summary(sheet), "2", color)])


def _answer(answer: Answer, setter: Unicode, verify: bool, color: bool) -> str:
    rows: list[tuple[str, str, str]] = [("? " + setter.text(answer.title), "1;36", "")]  # text, style, check
    for block in answer.blocks:
        match block:
            case Heading(words=words):
                rows += [("", "", ""), (f"  {setter.text(words)}", "3", "")]
            case Remark(words=words):
                rows.append((f"  {setter.text(words)}", "", ""))
            case Line():
                mark = f"✓ {check_text(block.check)}" if verify and block.check else ""
                rows.append((f"  {_line(block, setter)}", "", mark))
                rows += [(f"      {setter.text(words)}", "2", "") for words in block.remarks]
    # the checks are aligned in one column, except after long lines
    width = max((_width(text) for text, _, mark in rows if mark and _width(text) <= _COLUMN), default=0)
    return "\n".join(
        _styled(text, style, color)
        + (" " * max(3, width + 3 - _width(text)) + _styled(mark, "2", color) if mark else "")
        for text, style, mark in rows
    )


def _line(line: Line, setter: Unicode) -> str:
    label = setter.text(line.label)
    left, forms = setter.chain(line)
    text = left + "".join(f" {sign} {form}" if sign else form for sign, form in forms)
    return f"{label}:  {text}" if label else text


def _width(text: str) -> int:
    """The width in terminal columns; a combining accent has none."""
    return sum(not unicodedata.combining(letter) for letter in text)


def _styled(text: str, code: str, color: bool) -> str:
    return f"\033[{code}m{text}\033[0m" if color and code else text
