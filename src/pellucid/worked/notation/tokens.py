# SPDX-License-Identifier: Apache-2.0
"""The tokens of a worksheet's text, each with its line and column; limits and brackets are checked here.

Signs that stand for the same are made one here: × and *, x² and x^2, h₁ and h_1, ŷ and yhat. What LaTeX writes with a backslash is
left to `latex`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final, final

from pellucid.errors import UsageError
from pellucid.worked.expressions.expression import At
from pellucid.worked.expressions.position import position
from pellucid.worked.expressions.spelling import canonical

__all__ = ["Token", "tokenize"]

LINES: Final = 5_000
CHARACTERS: Final = 200_000
WORDS: Final = 60_000
DIGITS: Final = 60  # of one number
POWER_OF_TEN: Final = 300

_ABOVE: Final = dict(zip("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁽⁾ⁿⁱʲᵏˡᵐᵗˣᵀ", "0123456789+-()nijklmtxT", strict=True))
_BELOW: Final = dict(zip("₀₁₂₃₄₅₆₇₈₉₊₋ₐₑₕᵢⱼₖₗₘₙₒₚᵣₛₜᵤᵥₓ", "0123456789+-aehijklmnoprstuvx", strict=True))
_VULGAR: Final = {"½": (1, 2), "⅓": (1, 3), "⅔": (2, 3), "¼": (1, 4), "¾": (3, 4), "⅕": (1, 5), "⅛": (1, 8)}
_RAISED, _LOWERED, _PARTS = (re.escape("".join(table)) for table in (_ABOVE, _BELOW, _VULGAR))
_WORD: Final = rf"(?:(?![{_RAISED}{_LOWERED}{_PARTS}])[\w\u0300-\u036f])"

# a number before `..` has no decimal point of its own: 1..3 is 1 .. 3
_TOKEN = re.compile(
    r"(?P<space>[ \t\r\f\v\u00a0\u2009\u202f]+|#[^\n]*"
    r"|\b(?:np|numpy|jnp|math|torch|tf|F|nn|functional)\.(?=[a-z]))"  # np.exp is exp
    r"|(?P<number>(?:\d+(?:\.(?!\.)\d*)?|\.\d+)(?:[eE][+-]?\d+)?)"
    r"|(?P<sign>∑|∏|Σ(?=_[a-z{]|\())"
    rf"|(?P<name>(?!\d){_WORD}+|∂{_WORD}+|∂(?=[²³^]))"
    rf"|(?P<above>[{_RAISED}]+)|(?P<below>[{_LOWERED}]+(?:,[{_LOWERED}]+)*)|(?P<vulgar>[{_PARTS}])"
    r"|(?P<latex>\\(?:[A-Za-z]+|[^\w\s]|[ \t]))"
    r"|(?P<other>\.T\b|\.(?=[a-z_]+\()|\.\.\.?|…|\*\*|<=|>=|==|!=|:=|\|\||[-+*/^()\[\]{},;=?<>≤≥≠×·÷−@:\n|‖√⊤⋅∙•∗⊙–⁄&⟨⟩⌊⌋⌈⌉←])"
)
_SAME: Final = {
    **dict.fromkeys("×∗⊙", "*"),
    **dict.fromkeys("⋅∙•", "·"),
    **dict.fromkeys("÷⁄", "/"),
    **dict.fromkeys("−–", "-"),
    "**": "^",
    "≤": "<=",
    "≥": ">=",
    "≠": "!=",
    "←": "=",
    "…": "..",
    "...": "..",
    "∑": "Σ",
    "‖": "||",
    ":=": "=",
    ".T": "⊤",
}
_OPEN: Final = {"(": ")", "[": "]", "{": "}", "⟨": "⟩", "⌊": "⌋", "⌈": "⌉"}
_CLOSE: Final = {closing: opening for opening, closing in _OPEN.items()}
_INSTEAD: Final = {
    "%": "write 0.5 for 50 %",
    "'": "a derivative is a question, as in ? dL/dw; for σ'(z) write a*(1 - a) with a = sigmoid(z)",
    "∇": "a gradient is a question for each quantity, as in ? dL/dw",
    "!": "write a factorial as a product, as in 1*2*3",
}
"""What to write instead of a sign that has no meaning."""


@final
@dataclass(frozen=True, slots=True)
class Token:
    """One token: its kind (`number`, `name`, `sign`, `latex`, `end`), its text and its position.

    `glued` tells whether it follows the token before it without a space.
    """

    kind: str
    text: str
    at: At
    glued: bool = field(default=False, compare=False)


def tokenize(text: str) -> list[Token]:
    """The tokens of a text; the end of a line is the token ";" unless a bracket is open.

    >>> [token.text for token in tokenize("a = 2×b  # twice")]
    ['a', '=', '2', '*', 'b', ';', '']
    >>> [token.text for token in tokenize("ŷ₁ = x²")][:5]
    ['yhat_1', '=', 'x', '^', '2']

    Raises:
        UsageError: a text that is too long, an unknown character, unbalanced brackets.
    """
    lines = text.count("\n") + 1
    if lines > LINES or len(text) > CHARACTERS:
        raise UsageError(
            f"text of {lines:,} lines and {len(text):,} characters: a worksheet has at most {LINES:,} lines and "
            f"{CHARACTERS:,} characters; split it."
        )
    tokens: list[Token] = []
    opened: list[Token] = []
    line, start, here, last = 1, 0, 0, -1
    while here < len(text):
        at = (line, here - start + 1)
        if len(tokens) > WORDS:
            raise UsageError(f"{position(at)}a worksheet has at most {WORDS:,} names, numbers and signs; split it.")
        match = _TOKEN.match(text, here)
        if match is None:
            instead = _INSTEAD.get(text[here], "remove it or spell it out")
            raise UsageError(f"{position(at)}{text[here]!r} has no meaning in a worksheet; {instead}.")
        glued, here = here == last, match.end()
        kind, word = str(match.lastgroup), match.group()
        if word == "\n":
            line, start = line + 1, here
            if not opened:
                tokens.append(Token("sign", ";", at))
        elif kind == "number":
            tokens.append(_number(word, at, glued))
        elif kind == "name":
            tokens.append(Token("name", canonical(word), at, glued))
        elif kind == "above":
            tokens += _above(word, at)
        elif kind == "below":
            _below(tokens, word, at, glued)
        elif kind == "vulgar":
            tokens += _vulgar(tokens, word, at, glued)
        elif kind == "latex":
            tokens.append(Token("latex", word, at, glued))
        elif word == "torch." and text.startswith(("var(", "std("), here):
            called = text[here : here + 3]
            raise UsageError(
                f"{position(at)}torch.{called}: divides by n - 1, {called} of a worksheet by n, as NumPy does; write {called}(x), "
                "or the sum itself."
            )
        elif kind != "space":
            token = Token("sign", _SAME.get(word, word), at, glued)
            _balance(opened, token)
            tokens.append(token)
        last = here if kind != "space" else -1
    if opened:
        raise UsageError(f"{position(opened[-1].at)}{opened[-1].text!r} is not closed; add {_OPEN[opened[-1].text]!r}.")
    at = (line, len(text) - start + 1)
    return [*tokens, Token("sign", ";", at), Token("end", "", at)]


def _number(word: str, at: At, glued: bool = False) -> Token:
    # 1e999999999 is a short text and an enormous fraction: refuse it before anyone converts it
    mantissa, _, power = word.lower().partition("e")
    if len(mantissa) > DIGITS or len(power) > 5 or abs(int(power or 0)) > POWER_OF_TEN:
        raise UsageError(
            f"{position(at)}{word[:20]}…: a number has at most {DIGITS} digits and an exponent of at most {POWER_OF_TEN}; "
            "round it."
        )
    return Token("number", word, at, glued)


def _above(word: str, at: At) -> list[Token]:
    """x² as x^2, x⁻¹ as x^(-1), Wᵀ as the transpose."""
    plain = "".join(_ABOVE[letter] for letter in word)
    if plain == "T":
        return [Token("sign", "⊤", at, True)]
    inner = tokenize(plain)[:-2]
    inner = [Token(token.kind, token.text, at, True) for token in inner]
    if len(inner) == 1:
        return [Token("raised", "^", at, True), *inner]
    return [Token("raised", "^", at, True), Token("sign", "(", at, True), *inner, Token("sign", ")", at, True)]


def _below(tokens: list[Token], word: str, at: At, glued: bool) -> None:
    """h₁ as h_1, x₁,₂ as x_1_2, hₜ₋₁ as h_{t-1}: the subscript joins the name before it."""
    if tokens and tokens[-1].text in ("|", "||") and glued:  # ‖x‖₂
        tokens.append(Token("name", "_" + "".join(_BELOW[letter] for letter in word if letter != ","), at, True))
        return
    if not tokens or tokens[-1].kind != "name" or not glued:
        raise UsageError(f"{position(at)}{word!r}: a subscript follows a name, as in h₁; write h_1.")
    before = tokens.pop()
    parts = ["".join(_BELOW[letter] for letter in part) for part in word.split(",")]
    if all(part.isalnum() for part in parts):
        tokens.append(Token("name", "_".join([before.text, *parts]), before.at, before.glued))
        return
    tokens += [Token("name", before.text + "_", before.at, before.glued), Token("sign", "{", at, True)]
    tokens += [Token(token.kind, token.text, at, True) for token in tokenize(",".join(parts))[:-2]]
    tokens.append(Token("sign", "}", at, True))


def _vulgar(tokens: list[Token], word: str, at: At, glued: bool) -> list[Token]:
    """½ as (1/2); 2½ is no product."""
    if glued and tokens and tokens[-1].kind == "number":
        above, below = _VULGAR[word]
        number = float(tokens[-1].text) + above / below
        raise UsageError(f"{position(tokens[-1].at)}{tokens[-1].text}{word}: write a mixed number as {number:g}.")
    top, bottom = (Token("number", str(number), at, True) for number in _VULGAR[word])
    signs = [Token("sign", sign, at, True) for sign in "(/)"]
    return [Token("sign", "(", at, glued), top, signs[1], bottom, signs[2]]


def _balance(opened: list[Token], token: Token) -> None:
    if token.text in _OPEN:
        opened.append(token)
    elif token.text in _CLOSE:
        if not opened or opened[-1].text != _CLOSE[token.text]:
            raise UsageError(
                f"{position(token.at)}{token.text!r} closes nothing; remove it, or add the opening bracket."
            )
        opened.pop()
