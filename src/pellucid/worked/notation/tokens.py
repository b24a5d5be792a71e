# SPDX-License-Identifier: Apache-2.0
"""The tokens of a worksheet's text, each with its line and column; limits and brackets are checked here."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, final

from pellucid.errors import UsageError
from pellucid.worked.expressions.expression import At
from pellucid.worked.expressions.position import position

__all__ = ["Token", "tokenize"]

LINES: Final = 5_000
CHARACTERS: Final = 200_000
WORDS: Final = 60_000
DIGITS: Final = 60  # of one number
POWER_OF_TEN: Final = 300

# a number before `..` has no decimal point of its own: 1..3 is 1 .. 3
_TOKEN = re.compile(
    r"(?P<space>[ \t\r\f\v]+|#[^\n]*)"
    r"|(?P<number>(?:\d+(?:\.(?!\.)\d*)?|\.\d+)(?:[eE][+-]?\d+)?)"
    r"|(?P<name>[^\W\d]\w*|∂\w+)"
    r"|(?P<sign>\.\.|…|\*\*|<=|>=|==|!=|[-+*/^()\[\]{},;=?<>≤≥×·÷−@:\n])"
)
_SAME = {"×": "*", "·": "*", "÷": "/", "−": "-", "**": "^", "≤": "<=", "≥": ">=", "…": ".."}
_OPEN, _CLOSE = {"(": ")", "[": "]", "{": "}"}, {")": "(", "]": "[", "}": "{"}


@final
@dataclass(frozen=True, slots=True)
class Token:
    """One token: its kind (`number`, `name`, `sign`, `end`), its text and its position."""

    kind: str
    text: str
    at: At


def tokenize(text: str) -> list[Token]:
    """The tokens of a text; the end of a line is the token ";" unless a bracket is open.

    >>> [token.text for token in tokenize("a = 2×b  # twice")]
    ['a', '=', '2', '*', 'b', ';', '']

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
    line, start, here = 1, 0, 0
    while here < len(text):
        at = (line, here - start + 1)
        if len(tokens) > WORDS:
            raise UsageError(f"{position(at)}a worksheet has at most {WORDS:,} names, numbers and signs; split it.")
        match = _TOKEN.match(text, here)
        if match is None:
            raise UsageError(f"{position(at)}{text[here]!r} has no meaning in a worksheet; remove it or spell it out.")
        here = match.end()
        kind, word = str(match.lastgroup), match.group()
        if word == "\n":
            line, start = line + 1, here
            if not opened:
                tokens.append(Token("sign", ";", at))
        elif kind == "number":
            tokens.append(_number(word, at))
        elif kind != "space":
            word = _SAME.get(word, word)
            _balance(opened, Token(kind, word, at))
            tokens.append(Token(kind, word, at))
    if opened:
        raise UsageError(f"{position(opened[-1].at)}{opened[-1].text!r} is not closed; add {_OPEN[opened[-1].text]!r}.")
    at = (line, len(text) - start + 1)
    return [*tokens, Token("sign", ";", at), Token("end", "", at)]


def _number(word: str, at: At) -> Token:
    # 1e999999999 is a short text and an enormous fraction: refuse it before anyone converts it
    mantissa, _, power = word.lower().partition("e")
    if len(mantissa) > DIGITS or len(power) > 5 or abs(int(power or 0)) > POWER_OF_TEN:
        raise UsageError(
            f"{position(at)}{word[:20]}…: a number has at most {DIGITS} digits and an exponent of at most {POWER_OF_TEN}; "
            "round it."
        )
    return Token("number", word, at)


def _balance(opened: list[Token], token: Token) -> None:
    if token.text in _OPEN:
        opened.append(token)
    elif token.text in _CLOSE:
        if not opened or opened[-1].text != _CLOSE[token.text]:
            raise UsageError(
                f"{position(token.at)}{token.text!r} closes nothing; remove it, or add the opening bracket."
            )
        opened.pop()
