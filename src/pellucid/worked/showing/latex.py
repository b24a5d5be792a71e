# SPDX-License-Identifier: Apache-2.0
"""Solutions in LaTeX, as a document for pdflatex or a fragment, and in Markdown with LaTeX between dollar signs."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from typing import Final, final

from pellucid.worked.expressions.expression import Expr
from pellucid.worked.showing.lines import Answer, Heading, Line, Remark, Sheet, Step, check_text, summary, with_asked
from pellucid.worked.showing.numerals import GREEK, Numeral, Symbol, symbol
from pellucid.worked.showing.plain import unicode_to_latex
from pellucid.worked.showing.typesetting import ADD, ATOM, MUL, POW, Typesetter

__all__ = ["Latex", "document", "fragment", "markdown"]

_SIGNS: Final = {
    "−": "-",
    "≈": r"\approx",
    "←": r"\leftarrow",
    "≤": r"\le",
    "≥": r"\ge",
    "→": r"\to",
    "·": r"\cdot",
    "±": r"\pm",
    "×": r"\times",
    "≠": r"\ne",
    "√": r"\surd",
    "⊙": r"\odot",
    "∗": r"\ast",
    "°": r"^{\circ}",
    "′": r"{}^{\prime}",
    "✓": r"\checkmark",
    "<": "<",
    ">": ">",
    "∂": r"\partial",
    "ρ": r"\rho",
    "λ": r"\lambda",
    "Σ": r"\sum",
    "∞": r"\infty",
    "⌊": r"\lfloor",
    "⌋": r"\rfloor",
    "⌈": r"\lceil",
    "⌉": r"\rceil",
    "ᵀ": r"^{\mathsf{T}}",
    **{digit: f"_{{{n}}}" for n, digit in enumerate("₀₁₂₃₄₅₆₇₈₉")},
}
_SPECIAL: Final = {sign: "\\" + sign for sign in "_%#&{}$"} | {"~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
_MARKS: Final = {
    "\u0301": "acute", "\u0300": "grave", "\u0308": "ddot", "\u030c": "check", "\u0306": "breve", "\u030a": "mathring",
    "\u0302": "hat", "\u0304": "bar", "\u0303": "tilde", "\u0307": "dot", "\u20d7": "vec",
}  # fmt: skip
"""A combining mark -> the accent over a letter."""
_PRINTED: Final = frozenset("àáâãäåæçèéêëìíîïñòóôõöøùúûüýÿßœÀÁÂÃÄÅÆÇÈÉÊËÌÍÎÏÑÒÓÔÕÖØÙÚÛÜÝŒ–’“”…")  # by pdflatex, in text
_LETTERS: Final = {letter: word for word, letter in GREEK.items()}
_CALLS: Final = {
    "exp": r"\exp",
    "log": r"\ln",
    "tanh": r"\tanh",
    "sin": r"\sin",
    "cos": r"\cos",
    "erf": r"\mathrm{erf}",
    "softplus": r"\mathrm{softplus}",
    "max": r"\max",
    "min": r"\min",
    "sigmoid": r"\sigma",
    "relu": r"\mathrm{ReLU}",
    "leaky_relu": r"\mathrm{leakyReLU}",
    "softmax": r"\mathrm{softmax}",
    "clip": r"\mathrm{clip}",
}
_HATS: Final = {"\u0302": "hat", "\u0304": "bar", "\u0303": "tilde", "\u0307": "dot"}
_PIECES: Final = re.compile("(\\w[\u0302\u0304\u0303\u0307]|[⁰¹²³⁴⁵⁶⁷⁸⁹⁻]+)")
_FORMAL: Final = frozenset("_Σ∂δ′√ᵀ⊙×σμ²³^(")  # what makes a word of a rule a formula
_SHORT: Final = 45  # letters of a fraction or a bracket that TeX need not break
_TITLE: Final = "Worked by hand"
_PREAMBLE: Final = r"""\documentclass[11pt]{article}
\usepackage[utf8]{inputenc}
\usepackage[T1]{fontenc}
\usepackage{amsmath,amssymb,graphicx}
\usepackage[a4paper,margin=2.2cm]{geometry}
\setlength{\parindent}{0pt}
\setlength{\parskip}{0.55em plus 0.2em}
\relpenalty=0 \binoppenalty=100
\sloppy\raggedright
\newcounter{line}
\newcommand{\numbered}[1]{\par\refstepcounter{line}\hangindent=2.6em\hangafter=1\makebox[2.2em][l]{\small(\theline)}\hspace{0.4em}#1\par}
\newsavebox{\wide}
\newcommand{\fitted}[1]{\sbox{\wide}{#1}\ifdim\wd\wide>\linewidth\resizebox{\linewidth}{!}{\usebox{\wide}}\else\usebox{\wide}\fi}
\begin{document}
"""


@final
class Latex(Typesetter):
    r"""Mathematics in LaTeX.

    >>> from pellucid.worked.notation.notation import parse_expression
    >>> Latex().write(parse_expression("(yhat_1 - y_1)^2/2"))
    '\\frac{(\\hat{y}_{1} - y_{1})^{2}}{2}'
    """

    def plain(self, text: str) -> str:
        # x̂ is a letter and a mark, x² a letter and its exponent
        parts = _PIECES.split(text)
        return "".join(_piece(part) if n % 2 else "".join(map(_text, part)) for n, part in enumerate(parts))

    def math(self, inner: str) -> str:
        return f"${inner}$"

    def path(self, names: Sequence[str]) -> str:
        return "$" + r" \to ".join(names) + "$"

    def number(self, number: Numeral) -> tuple[str, int]:
        sign = "-" if number.negative else ""
        text = rf"\frac{{{number.digits}}}{{{number.denominator}}}" if number.denominator else number.digits
        if number.power:
            text = (rf"{text} \cdot " if text != "1" else "") + f"10^{{{number.power}}}"
        return sign + text, ADD if number.negative else MUL if number.power else POW if number.denominator else ATOM

    def name(self, name: Symbol) -> str:
        base = _word(name.base)
        base = rf"\{name.accent}{{{base}}}" if name.accent else base
        joined = ("" if all(len(part) == 1 and part.isdigit() for part in name.subscripts) else ",").join(
            _word(part) if part.isidentifier() else part for part in name.subscripts
        )
        above = rf"^{{({_word(name.raised)})}}" if name.raised else ""
        return f"{base}{above}_{{{joined}}}" if joined else base + above

    def partial(self, of: str, by: str) -> tuple[str, int]:
        return rf"\frac{{\partial {of}}}{{\partial {by}}}", POW

    def brackets(self, inner: str) -> str:
        # \left(…\right) only around something tall and short: TeX cannot break a line inside it
        if "frac" not in inner and "begin" not in inner:
            return f"({inner})"
        return rf"\left({inner}\right)" if printed_length(inner) <= _SHORT else rf"\bigl({inner}\bigr)"

    def minus(self) -> str:
        return "-"

    def between(self, sign: str) -> str:
        return f" {_SIGNS.get(sign, sign)} "

    def mul(self, factors: Sequence[str]) -> str:
        return r" \cdot ".join(factors)

    def quotient(self, top: Expr, bottom: Expr) -> tuple[str, int]:
        above, below = self.write(top), self.write(bottom)
        # TeX cannot break a line inside a fraction
        if max(map(printed_length, (above, below))) > _SHORT:
            return f"{self.bracketed(top, MUL)} / {self.bracketed(bottom, POW)}", MUL
        return rf"\frac{{{above}}}{{{below}}}", POW

    def power(self, base: str, exponent: Expr) -> str:
        return f"{base}^{{{self.write(exponent)}}}"

    def call(self, name: str, args: Sequence[Expr], index: int) -> tuple[str, int]:
        inner = ", ".join(self.write(arg) for arg in args)
        if name == "pi":
            return r"\pi", ATOM
        if name == "sqrt":
            return rf"\sqrt{{{inner}}}", ATOM
        if name in ("floor", "ceil"):
            return rf"\left\l{name} {inner} \right\r{name}", ATOM
        if name == "abs":
            return rf"\left|{inner}\right|", ATOM
        below = f"_{{{index}}}" if index else ""
        called = _CALLS.get(name) or self.name(symbol(name))
        return f"{called}{below}{self.brackets(inner)}", ATOM

    def cases(self, branches: Sequence[tuple[str, str]], otherwise: str) -> str:
        rows = [rf"{value} & \text{{if }} {test}" for value, test in branches]
        return r"\begin{cases} " + r" \\ ".join([*rows, rf"{otherwise} & \text{{otherwise}}"]) + r" \end{cases}"

    def sigma(self, body: str, index: str, low: str, high: str) -> str:
        return rf"\sum_{{{_word(index)}={low}}}^{{{high}}} {body}" if low else rf"\sum_{{{_word(index)}}} {body}"

    def operator(self, by: str, inner: str) -> str:
        return rf"\frac{{\partial}}{{\partial {by}}} {inner}"

    def line(self, line: Line, style: str = r"\displaystyle ", boxed: bool = False) -> str:
        """A line between dollar signs, which TeX may break at a relation; with its result in a box if it is asked."""
        left, forms = self.chain(line)
        if boxed:
            forms[-1] = (forms[-1][0], rf"\boxed{{{forms[-1][1]}}}")
        text = left + "".join(f" {_SIGNS.get(sign, sign)} {form}" if sign else form for sign, form in forms)
        label = self.text(line.label)
        return f"{label + ': ' if label else ''}${style}{text}$"

    def step(self, step: Step, style: str = r"\displaystyle ") -> str:
        """A rule in words, and what it says between dollar signs."""
        forms = [unicode_to_latex(form) if isinstance(form, str) else self.write(form) for form in step.forms]
        rule = "".join(
            f"${unicode_to_latex(word)}$" if set(word) & _FORMAL else self.plain(word)
            for word in re.split(r"( |, |: )", step.rule)
        )
        return rf"{rule}: ${style}{' = '.join(forms)}$"


def document(sheet: Sheet, verify: bool) -> str:
    """A LaTeX document for pdflatex, with packages that every TeX distribution has."""
    setter = Latex(sheet.digits, sheet.exact)
    parts = [rf"{{\Large\bfseries {setter.plain(sheet.title or _TITLE)}}}"]
    parts += [setter.text(words) for words in sheet.remarks]
    parts += [_answer(answer, setter, verify) for answer in sheet.answers]
    note = rf"{{\small {setter.plain(summary(sheet))}}}"
    return _PREAMBLE + "\n\n".join([*parts, note]) + "\n\n\\end{document}"


def fragment(sheet: Sheet) -> str:
    """The lines as one display formula for Jupyter, whose MathJax knows `array` but no document."""
    setter = Latex(sheet.digits, sheet.exact)
    rows: list[str] = []
    for answer in sheet.answers:
        for block, asked in with_asked(answer):
            if isinstance(block, Line):
                left, forms = setter.chain(block)
                if asked:
                    forms[-1] = (forms[-1][0], rf"\boxed{{{forms[-1][1]}}}")
                rows.append(f"{left} & " + " ".join(f"{_SIGNS.get(sign, sign)} {form}" for sign, form in forms))
            elif isinstance(block, Step):
                texts = [
                    unicode_to_latex(form) if isinstance(form, str) else setter.write(form) for form in block.forms
                ]
                rows.append(rf"\text{{{setter.plain(block.rule)}}} & {' = '.join(texts)}")
    return "$$\\begin{array}{rl}\n" + " \\\\\n".join(rows) + "\n\\end{array}$$"


def markdown(sheet: Sheet, verify: bool) -> str:
    """Markdown with mathematics between dollar signs, as GitHub, pandoc and Jupyter read it."""
    setter = _Dollars(sheet.digits, sheet.exact)
    parts: list[str] = [f"{setter.text(words)}\n" for words in sheet.remarks]
    for answer in sheet.answers:
        parts.append(f"### {setter.text(answer.title)}\n")
        for block in answer.blocks:
            match block:
                case Heading(words=words):
                    parts.append(f"\n*{setter.text(words)}*\n")
                case Remark(words=words):
                    parts.append(f"{setter.text(words)}\n")
                case Step():
                    number = f"{block.number}." if block.number else "-"
                    parts.append(f"{number} {setter.latex.step(block, '')}")
                case Line():
                    mark = f" ✓ {check_text(block.check)}" if verify and block.check else ""
                    parts.append(f"- {setter.latex.line(block, '')}{mark}")
                    parts += [f"  - {setter.text(words)}" for words in block.remarks]
        parts.append("")
    return "\n".join([*parts, summary(sheet)])


@final
class _Dollars:
    """Text in Markdown, mathematics in LaTeX."""

    def __init__(self, digits: int, exact: bool) -> None:
        self.latex = Latex(digits, exact)

    def text(self, words: Sequence[str | Expr | tuple[str, ...]]) -> str:
        """A sentence: text with Markdown's special characters escaped, mathematics between dollar signs."""
        parts = []
        for word in words:
            if isinstance(word, str):
                parts.append("".join("\\" + letter if letter in "*_`$#\\<" else letter for letter in word))
            else:
                parts.append(self.latex.text((word,)))
        return "".join(parts)


def _answer(answer: Answer, setter: Latex, verify: bool) -> str:
    parts = [rf"\section{{{setter.text(answer.title)}}}"]
    for block, asked in with_asked(answer):
        match block:
            case Heading(words=words):
                parts.append(rf"\textit{{{setter.text(words)}}}\nopagebreak")
            case Remark(words=words):
                parts.append(setter.text(words))
            case Step():
                parts.append(rf"\numbered{{{setter.step(block)}}}")
            case Line():
                mark = (
                    rf"\quad{{\footnotesize {setter.plain('✓ ' + check_text(block.check))}}}"
                    if verify and block.check
                    else ""
                )
                parts.append(rf"\numbered{{{setter.line(block, boxed=asked)}{mark}}}")
                parts += [rf"{{\small\quad {setter.text(words)}}}" for words in block.remarks]
    return "\n\n".join(parts)


def printed_length(text: str) -> int:
    """About how many letters wide a formula is in print: commands count as one, braces and indices as little.

    >>> printed_length(r"\\frac{a + b}{c}")
    3
    """
    text = re.sub(r"\\frac\{([^{}]*)\}\{([^{}]*)\}", lambda m: max(m[1], m[2], key=len), text)
    return len(re.sub(r"[{}_^\s]", "", re.sub(r"\\(left|right|mathrm|hat|bigl|bigr)\b|\\[a-zA-Z]+", "x", text)))


def _word(text: str) -> str:
    """A part of a name: a single letter in italics, a Greek letter, a longer word upright."""
    text = _LETTERS.get(text, text)
    if text in GREEK:
        return f"\\{text}"
    if text.isdigit():
        return text
    safe = "".join(_ascii(letter) for letter in text)
    accented = len(text) == 1 and safe.startswith("\\")
    return safe if len(safe) == 1 or accented else rf"\mathrm{{{safe}}}"


def _ascii(letter: str) -> str:
    """A letter of a name: é with its accent, a letter without an ASCII form as its code point."""
    if letter.isascii():
        return _SPECIAL.get(letter, letter)
    apart = unicodedata.normalize("NFD", letter)
    plain, marks = apart[0], apart[1:]
    if plain.isascii() and all(mark in _MARKS for mark in marks):
        for mark in marks:
            plain = rf"\{_MARKS[mark]}{{{plain}}}"
        return plain
    # two letters that differ must not become one
    return f"U{ord(letter):X}"


def _piece(text: str) -> str:
    """A letter with a mark over it, or an exponent, in a sentence."""
    if text[1:] in _HATS:
        return rf"$\{_HATS[text[1:]]}{{{_word(text[0])}}}$"
    return f"${unicode_to_latex(text)}$"


def _text(letter: str) -> str:
    if letter in _SIGNS:
        return f"${_SIGNS[letter]}$"
    if letter in _SPECIAL:
        return _SPECIAL[letter]
    if letter in _LETTERS:
        return rf"$\{_LETTERS[letter]}$"
    if letter == "\\":
        return r"\textbackslash{}"
    return letter if letter.isascii() or letter in _PRINTED else f"${_ascii(letter)}$"
