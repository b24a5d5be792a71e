# SPDX-License-Identifier: Apache-2.0
"""Solutions for a terminal, in Unicode mathematics."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, final

from pellucid.worked.expression import Const, Expr, Name
from pellucid.worked.lines import Answer, Block, Check, Heading, Line, Remark, Words
from pellucid.worked.numerals import GREEK, Numeral, Symbol
from pellucid.worked.typesetting import ADD, ATOM, MUL, POW, Typesetter

if TYPE_CHECKING:
    from pellucid.worked.solution import Solution

__all__ = ["Unicode", "checked", "show"]

_ABOVE: Final = str.maketrans("0123456789-−+", "⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁻⁺")
_BELOW: Final = str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉")
_ACCENTS: Final = {"hat": "\u0302", "bar": "\u0304", "tilde": "\u0303", "dot": "\u0307"}
_NAMES: Final = {"sigmoid": "σ", "log": "ln", "relu": "ReLU", "leaky_relu": "leakyReLU"}


@final
class Unicode(Typesetter):
    """Mathematics on one line of text.

    >>> from pellucid.worked.notation import parse_expression
    >>> Unicode().write(parse_expression("(yhat_1 - y_1)^2 + W_h*h_0/2"))
    '(ŷ₁ − y₁)² + (W_h·h₀)/2'
    """

    def number(self, number: Numeral) -> tuple[str, int]:
        sign = "−" if number.negative else ""
        level = ADD if number.negative else ATOM
        if number.below:
            return f"{sign}{number.digits}/{number.below}", ADD if number.negative else MUL
        if number.power:
            text = f"{number.digits}·" if number.digits != "1" else ""
            return f"{sign}{text}10{str(number.power).translate(_ABOVE)}", ADD if number.negative else MUL
        return sign + number.digits, level

    def name(self, name: Symbol) -> str:
        base = GREEK.get(name.base, name.base)
        base = unicodedata.normalize("NFC", base + _ACCENTS[name.accent]) if name.accent else base
        if not name.below:
            return base
        if all(part.isdigit() for part in name.below):
            joined = ("" if all(len(part) == 1 for part in name.below) else ",").join(name.below)
            return base + joined.translate(_BELOW)
        return f"{base}_{','.join(GREEK.get(part, part) for part in name.below)}"

    def partial(self, of: str, by: str) -> tuple[str, int]:
        return f"∂{of}/∂{by}", ATOM

    def brackets(self, inner: str) -> str:
        return f"({inner})"

    def minus(self) -> str:
        return "−"

    def between(self, sign: str) -> str:
        return f" {sign} "

    def mul(self, factors: Sequence[str]) -> str:
        # beside ∂a/∂b a dot without spaces would be lost
        return (" · " if any("∂" in factor for factor in factors) else "·").join(factors)

    def factor(self, node: Expr, place: int) -> str:
        text, level = self.inner(node)
        if level < MUL or ("/" in text and level == MUL):
            return self.brackets(text)
        return text

    def quotient(self, top: Expr, bottom: Expr) -> tuple[str, int]:
        return f"{self.factor(top, 0) if not _simple(top) else self.least(top, MUL)}/{self.least(bottom, POW)}", MUL

    def power(self, base: str, exponent: Expr) -> str:
        text = self.write(exponent)
        if isinstance(exponent, Const) and all(letter in "0123456789−" for letter in text):
            return base + text.translate(_ABOVE)
        return f"{base}^{text if isinstance(exponent, Name) else self.least(exponent, ATOM)}"

    def call(self, name: str, args: Sequence[Expr], index: int) -> tuple[str, int]:
        inner = ", ".join(self.write(arg) for arg in args)
        if name == "pi":
            return "π", ATOM
        if name == "abs":
            return f"|{inner}|", ATOM
        if name == "sqrt":
            return f"√{self.least(args[0], ATOM)}", POW
        below = str(index).translate(_BELOW) if index else ""
        return f"{_NAMES.get(name, name)}{below}({inner})", ATOM

    def cases(self, branches: Sequence[tuple[str, str]], otherwise: str) -> str:
        parts = [f"{value} if {test}" for value, test in branches]
        return "{" + "; ".join([*parts, f"{otherwise} otherwise"]) + "}"

    def sigma(self, body: str, index: str, low: str, high: str) -> str:
        return f"Σ({index} = {low}…{high}) {body}"


def show(solution: Solution, verify: bool, color: bool) -> str:
    """A solution's answers, each under its question."""
    setter = Unicode(solution.digits, solution.exact)
    parts = [_answer(answer, setter, verify, color) for answer in solution.answers]
    return "\n\n".join(parts) if parts else "nothing is asked."


def checked(check: Check, value: object = None) -> str:
    """What a check says, in words."""
    detail = f", {check.detail}" if check.detail else ""
    return f"{check.how} {check.value:.10g} (± {check.tolerance:.1g}{detail})"


def _answer(answer: Answer, setter: Unicode, verify: bool, color: bool) -> str:
    title = "? " + _words(answer.title, setter)
    lines = [_styled(title, "1", color)]
    for block in answer.blocks:
        lines += _block(block, setter, verify, color)
    return "\n".join(lines)


def _block(block: Block, setter: Unicode, verify: bool, color: bool) -> list[str]:
    match block:
        case Heading(words=words):
            return ["", _styled(f"  {_words(words, setter)}", "3", color)]
        case Remark(words=words):
            return [f"  {_words(words, setter)}"]
        case Line():
            return _line(block, setter, verify, color)


def _line(line: Line, setter: Unicode, verify: bool, color: bool) -> list[str]:
    forms: list[str] = []
    for form in line.forms:
        text = setter.write(form)
        if not forms or forms[-1] != text:
            forms.append(text)
    result = setter.value(line.value)
    parts = [setter.write(line.left)] if line.left is not None else []
    if forms and forms[-1] == result:
        forms.pop()
    label = _words(line.label, setter)
    begin = f"{label}: " if line.label and not label.endswith(" ") and not label.endswith(": ") else label
    signs = [f" {line.sign} "] + [" = "] * len(forms) if line.left is not None else ["", *[" = "] * len(forms)]
    text = parts[0] if parts else ""
    for sign, form in zip(signs, forms, strict=False):
        text += sign + form
    last = setter.relation(line.value)
    last = line.sign if last == "=" and not forms and line.left is not None else last
    text = f"{text} {last} {_styled(result, '1', color)}" if text else result
    check = _styled(f"   ✓ {checked(line.check)}", "2", color) if verify and line.check else ""
    found = [f"  {begin}{text}{check}"]
    return found + [_styled(f"      {_words(remark, setter)}", "2", color) for remark in line.remarks]


def _words(words: Words, setter: Unicode) -> str:
    parts: list[str] = []
    for word in words:
        if isinstance(word, str):
            parts.append(word)
        elif isinstance(word, tuple):
            parts.append(" → ".join(setter.write(Name(name)) for name in word))
        else:
            parts.append(setter.write(word))
    return "".join(parts)


def _simple(node: Expr) -> bool:
    return isinstance(node, (Const, Name))


def _styled(text: str, code: str, color: bool) -> str:
    return f"\033[{code}m{text}\033[0m" if color else text
