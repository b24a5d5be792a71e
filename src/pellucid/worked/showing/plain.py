# SPDX-License-Identifier: Apache-2.0
"""Mathematics that is written in Unicode on one line, such as ∂J/∂W = xᵀδ, in LaTeX and in HTML."""

from __future__ import annotations

import html
import re
from typing import Final

from pellucid.worked.showing.numerals import GREEK

__all__ = ["unicode_to_html", "unicode_to_latex"]

_BELOW: Final = dict(zip("₀₁₂₃₄₅₆₇₈₉", "0123456789", strict=True))
_ABOVE: Final = dict(zip("⁰¹²³⁴⁵⁶⁷⁸⁹⁻", "0123456789-", strict=True)) | {"ᵀ": r"\top"}
_COMMANDS: Final = {letter: rf"\{word} " for word, letter in GREEK.items()} | {
    "∂": r"\partial ", "Σ": r"\sum ", "·": r"\cdot ", "⊙": r"\odot ", "∗": r"\ast ", "−": "-", "′": "'", "×": r"\times ",
    "≤": r"\le ", "≥": r"\ge ", "≠": r"\ne ", "→": r"\to ", "…": r"\dots ", "≈": r"\approx ",
}  # fmt: skip
_WORD: Final = re.compile(r"(?<![\\\w])([A-Za-z]{2,})(?![\w])")
_FUNCTIONS: Final = frozenset(("exp", "log", "tanh", "max", "min"))
_DERIVATIVE: Final = re.compile(r"∂(\w+(?:_\w+)?)/∂(\w+(?:_\w+)?)")


def unicode_to_latex(text: str) -> str:
    r"""A formula for between dollar signs.

    >>> unicode_to_latex("∂J/∂W = xᵀδ")
    '\\frac{\\partial J}{\\partial W} = x^{\\top}\\delta '
    """
    text = _DERIVATIVE.sub(lambda m: rf"\frac{{∂{m[1]}}}{{∂{m[2]}}}", text)
    text = re.sub(r"√\(([^()]*)\)", r"\\sqrt{\1}", text)
    text = re.sub(r"√(\w+)", r"\\sqrt{\1}", text)
    text = re.sub(r"_(\w+)", r"_{\1}", text)
    text = re.sub(f"[{''.join(_ABOVE)}]+", lambda m: f"^{{{''.join(_ABOVE[letter] for letter in m[0])}}}", text)
    text = re.sub(f"[{''.join(_BELOW)}]+", lambda m: f"_{{{''.join(_BELOW[letter] for letter in m[0])}}}", text)
    text = re.sub("(.)\u0302", r"\\hat{\1}", text)
    text = "".join(_COMMANDS.get(letter, letter) for letter in text)
    text = _WORD.sub(lambda m: rf"\{m[1]}" if m[1] in _FUNCTIONS else rf"\mathrm{{{m[1]}}}", text)
    return re.sub(r"(\\mathrm\{\w+\}|,)  ?(?=\\mathrm|\w)", r"\1\\ ", text)


def unicode_to_html(text: str) -> str:
    """A formula with its indices lowered and single letters in italics.

    >>> unicode_to_html("x_ij < 1")
    '<i>x</i><sub><i>ij</i></sub> &lt; 1'
    """
    pieces = re.split(r"(_\w+)", text)
    shown = []
    for piece in pieces:
        if piece.startswith("_"):
            shown.append(f"<sub><i>{html.escape(piece[1:])}</i></sub>")
            continue
        safe = html.escape(piece)
        safe = re.sub(r"(?<![\w&])([A-Za-zα-ω])(?![\w;])", r"<i>\1</i>", safe)
        shown.append(safe.replace("ᵀ", "<sup>T</sup>"))
    return "".join(shown)
