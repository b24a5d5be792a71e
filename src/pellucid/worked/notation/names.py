# SPDX-License-Identifier: Apache-2.0
"""The tokens of a text one by one, and the names in it: with indices in brackets, in braces, or raised as a^{(1)}."""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from collections.abc import Sequence
from fractions import Fraction
from typing import NoReturn

from pellucid.errors import UsageError
from pellucid.worked.expressions.expression import Const, Expr, Index, Name
from pellucid.worked.expressions.position import position
from pellucid.worked.notation.statements import ArrayLiteral
from pellucid.worked.notation.tokens import Token

__all__ = ["Names"]


class Names(ABC):
    """A position in a list of tokens, and the reading of names there."""

    def __init__(self, tokens: Sequence[Token]) -> None:
        self.tokens = list(tokens)
        self.here = 0

    @abstractmethod
    def expression(self) -> Expr:
        """The expression that begins here."""

    @property
    def next(self) -> Token:
        """The token that was not taken yet."""
        return self.tokens[self.here]

    def take(self, text: str = "") -> Token | None:
        """Consume the next token if it has this text; without a text, whatever it is."""
        if text and self.next.text != text:
            return None
        token = self.next
        if token.kind != "end":
            self.here += 1
        return token

    def want(self, text: str, where: str) -> Token:
        """The next token, which must have this text."""
        return self.take(text) or self.fail(f"{text!r} is missing {where}; add it.")

    def fail(self, rule: str) -> NoReturn:
        """Raise the error that the next token breaks a rule."""
        raise UsageError(f"{position(self.next.at)}{self.shown()}: {rule}")

    def shown(self) -> str:
        """The next token as an error names it."""
        return {"": "end of text", ";": "end of the statement"}.get(self.next.text, repr(self.next.text))

    def end(self, where: str) -> None:
        """Take the end of a statement."""
        if self.next.kind != "end" and not self.take(";"):
            before = self.tokens[self.here - 1]
            if self.next.text == "," and before.kind == "number" and self.tokens[self.here + 1].kind == "number":
                self.fail(
                    "decimals are written with a point, as in 0.5, and thousands without a comma; correct the number."
                )
            if self.next.text == "if":
                self.fail("cases are written as piecewise(2*x if x > 0, 0 otherwise).")
            if self.next.text == "^":
                self.fail("a power of a quantity has no value of its own; write x = sqrt(10) for x^2 = 10.")
            if self.next.kind in ("name", "number") or self.next.text == "(":
                self.fail("an operator is missing before it; write a product as 2*x.")
            self.fail(f"is unexpected {where}; end the statement, or correct the sign.")

    def quantity(self, rule: str) -> Name | Index:
        """A name, with the indices behind it."""
        token = self.next
        if token.kind != "name":
            self.fail(f"{rule}.")
        self.take()
        base, places = token.text, tuple[Expr, ...]()
        # a raised index comes first in the name: a^{(1)}_2 and a_2^{(1)} are a__1_2
        if base.endswith("_") and self.take("{"):
            base, places = base[:-1], self.places("}")
        raised = self.raised() if base != "e" else None
        if raised is not None:
            stem, *parts = base.split("_")
            base = stem + "_"
            places = (*raised, *(Name(part, token.at) for part in parts if part), *places)
            below = self.next
            if below.kind == "name" and below.text.startswith("_") and below.glued:
                self.take()
                places = (*places, *(Name(part, below.at) for part in below.text.split("_") if part))
                if below.text.endswith("_"):
                    self.want("{", "after _")
                    places = (*places, *self.places("}"))
        words = bool(places)
        if self.take("["):
            places = (*places, *self.places("]"))
        return Index(base, places, token.at, words) if places else Name(base, token.at)

    def raised(self) -> tuple[Expr, ...] | None:
        """The index of a^{(1)} or w^{[l-1]}: brackets in braces around a name or number, perhaps with + or − a number."""
        texts = [token.text for token in self.tokens[self.here : self.here + 8]]
        if texts[:2] != ["^", "{"] or texts[2:3] not in (["("], ["["]):
            return None
        close = {"(": ")", "[": "]"}[texts[2]]
        if close not in texts or texts[texts.index(close) + 1 : texts.index(close) + 2] != ["}"]:
            return None
        inner = self.tokens[self.here + 3 : self.here + texts.index(close)]
        kinds = [token.kind if token.kind != "sign" else token.text for token in inner]
        if len(kinds) not in (1, 3) or kinds[0] not in ("name", "number") or kinds[1:2] not in ([], ["+"], ["-"]):
            return None
        self.here += 3
        places = self.places(close)
        self.want("}", "after a raised index")
        return places

    def places(self, close: str) -> tuple[Expr, ...]:
        """Indices up to a closing bracket."""
        indices = [self.expression()]
        while self.take(","):
            indices.append(self.expression())
        self.want(close, "after an index")
        return tuple(indices)

    def components(self, opening: Token) -> ArrayLiteral:
        """A list after its bracket: [1, 2], [[1, 2], [3, 4]], or rows with semicolons as in [1, 2; 3, 4] and [1 2; 3 4]."""
        rows: list[list[Expr]] = [[]]
        spaced = self.spaced()
        while True:
            rows[-1].append(self.number() if spaced else self.expression())
            if self.take(";"):
                rows.append([])
            elif not self.take(",") and (not spaced or self.next.text == "]"):
                break
        self.want("]", "after a list of components")
        if len(rows) == 1 or all(len(row) == 1 for row in rows):  # one row, or a column
            return ArrayLiteral(tuple(item for row in rows for item in row), opening.at)
        return ArrayLiteral(tuple(ArrayLiteral(tuple(row), opening.at) for row in rows), opening.at)

    def spaced(self) -> bool:
        """Whether a list has numbers with nothing but a space between them, as in [1 2; 3 -4].

        Raises:
            UsageError: [1 -2], which is a list of two numbers in MATLAB and one number in Python.
        """
        tokens = self.tokens[self.here : self.here + 10_000]
        inside = list(itertools.takewhile(lambda token: token.text not in ("]", ""), tokens))
        if not all(token.kind == "number" or token.text in ("-", ",", ";") for token in inside):
            return False
        pairs = list(itertools.pairwise(inside))
        # 1 -2: a minus that belongs to the number behind it and not to the one before
        signs = [
            n for n, (one, two) in enumerate(pairs)
            if one.kind == "number" and two.text == "-" and not two.glued and n + 2 < len(inside) and inside[n + 2].glued
        ]  # fmt: skip
        several = any(one.kind == two.kind == "number" for one, two in pairs)
        if signs and not several:
            self.here += signs[0] + 1
            self.fail("it is unclear whether this is one number or two; write 1, -2 or 1 - 2.")
        return several

    def number(self) -> Expr:
        """A number with its sign, in a list without commas."""
        sign = -1 if self.take("-") else 1
        token = self.next
        if token.kind != "number":
            self.fail("between spaces a list has numbers alone; put commas between its components.")
        self.take()
        return Const(sign * Fraction(token.text))
