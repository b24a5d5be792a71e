# SPDX-License-Identifier: Apache-2.0
"""Factors side by side, as in 2x, W x, 3(a + b), λ/2 ||w||² and wx; what people read in two ways is refused."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Final

from pellucid.worked.expressions.expression import Expr, Name
from pellucid.worked.notation.calls import KNOWN, function_named
from pellucid.worked.notation.indexed import Indexed
from pellucid.worked.notation.statements import Adjacent
from pellucid.worked.notation.tokens import Token

__all__ = ["Beside"]

_LETTERS: Final = re.compile(r"[A-Za-zα-ω](?:_?\d+)?")
_WORDS: Final = frozenset(("for", "if", "otherwise", "after", "on", "of", "steps", "in", "to", "with"))


class Beside(Indexed):
    """Whether the next token is a factor, and what a word or a bracket means as one."""

    def __init__(self, tokens: Sequence[Token], known: Iterable[str] = ()) -> None:
        Indexed.__init__(self, tokens, known)
        self.bars = 0  # of |…| that are open inside the innermost brackets
        self.exponent = -1  # the position after an exponent without brackets

    def begins_factor(self, divisor: int = -1) -> bool:
        """Whether the next token is a factor beside the one before, as x is in 2x.

        Raises:
            UsageError: 1/2x and e^2x, which people read in two ways.
        """
        token = self.next
        if token.text in ("|", "||"):
            begins = self.bars == 0
        else:
            begins = token.text in ("(", "{", "√", "Σ", "∏", "⟨", "⌊", "⌈") or (
                token.kind == "name" and token.text not in _WORDS
            )
            begins = begins or (token.text == "[" and self.groups())
        if not begins:
            return False
        # 1/2 (y − t)² is ½·(y − t)², and λ/2 ||w||² and 1/m Σ_i x_i are meant alike
        if self.here == divisor and not (self.apart() and self.tokens[self.here - 2].text == "/"):
            self.fail("after a division it is unclear what is divided; write (a/b)*c or a/(b*c).")
        if self.here == self.exponent and token.glued and token.kind == "name":
            self.fail("after a power it is unclear what the exponent is; write x^2*y or x^(2*y).")
        return True

    def apart(self) -> bool:
        """Whether a bracket, a norm, a sum or a function's call follows after a space."""
        token, after = self.next, self.tokens[self.here + 1]
        calls = token.kind == "name" and after.text in ("(", "{") and function_named(token.text) in KNOWN
        return not token.glued and (calls or token.text in ("(", "{", "[", "|", "||", "Σ", "∏", "⟨", "⌊", "⌈", "sum_"))

    def groups(self) -> bool:
        """Whether [ … ] is a bracket around one expression, as in −[y log p + …], and not a list."""
        before = self.tokens[self.here - 1]
        if not (before.text in "+-*/·@)}Σ∏" or before.kind == "number" or before.text.startswith("_")):
            return False
        depth, inside = 0, []
        for token in self.tokens[self.here :]:
            depth += (token.text in "([{" and token.kind == "sign") - (token.text in ")]}" and token.kind == "sign")
            if depth == 0 or token.kind == "end":
                break
            if depth == 1 and token.text in (",", ";"):
                return False
            inside.append(token)
        # [2] and [x] are vectors of one component, and [1 2] one of two
        return len(inside) > 2 and inside[1].text != "[" and any(token.kind != "number" for token in inside[1:])

    def side_by_side(self, token: Token) -> Expr | None:
        """wx as the product of w and x, where the worksheet gives values to these and none to wx."""
        parts = _LETTERS.findall(token.text)
        if len(parts) < 2 or "".join(parts) != token.text or self.tokens[self.here + 1].text in ("[", "{"):
            return None
        if any(name == token.text or name.startswith(token.text + "_") for name in self.defined):
            return None
        known = [part in self.defined or part.partition("_")[0] in self.defined for part in parts]
        if parts[-1] == "e" and self.tokens[self.here + 1].text == "^":  # x e^−x
            known[-1] = True
        if not all(known):
            return None
        if self.tokens[self.here - 1].text == "/":
            self.fail("after a division it is unclear what is divided; write (a/b)*c or a/(b*c).")
        if self.here and self.tokens[self.here - 1].text == "^":
            self.fail("after a power it is unclear what the exponent is; write x^2*y or x^(2*y).")
        if parts[-1] == "e" and self.tokens[self.here + 1].text == "^":
            # the power belongs to e alone, which is read next
            self.tokens[self.here : self.here + 1] = [
                Token("name", part, token.at, n > 0) for n, part in enumerate(parts)
            ]
            return None
        self.take()
        node: Expr = Name(parts[0], token.at)
        for part in parts[1:]:
            node = Adjacent(node, Name(part, token.at), token.at, word=token.text)
        return node
