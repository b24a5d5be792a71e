# SPDX-License-Identifier: Apache-2.0
"""derive: a derivative in symbols with one named rule per line, or the proof of a known equality."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import final

from pellucid.errors import UsageError
from pellucid.worked.derivation.derivation import Derivation, derive
from pellucid.worked.derivation.proofs import PROOFS, Proof, prove
from pellucid.worked.expressions.expression import Name, walk
from pellucid.worked.forms.contract import Form
from pellucid.worked.notation.notation import parse_expression

__all__ = ["Derive"]


@final
@dataclass(frozen=True)
class Derive(Form):
    """Differentiate an expression with one named rule per line, or prove a known equality."""

    topic = "functions and derivatives"
    question = "What is the derivative in symbols, rule by rule?"

    what: str = "softmax-shift"
    """an expression, as in "exp(z_j)/sum(exp(z_k), k)", or a proof: softmax-shift, tanh-sigmoid, linear-layers, dense-backward"""
    _: KW_ONLY
    by: str | None = None
    """the variable, as in z_l; needed if the expression has several names"""

    @staticmethod
    def build(what: str, by: str | None = None) -> Derivation | Proof:
        """The derivation of an expression, or the proof of an equality.

        >>> print(Derive.build("x^2").result)
        2·x

        Args:
            what: an expression, or the name of a proof.
            by: the variable; needed if the expression has several names.

        Raises:
            UsageError: an expression with several names and no `by`.
        """
        if what in PROOFS:
            return prove(what)
        if by is None:
            names = sorted({node.name for node in walk(parse_expression(what)) if isinstance(node, Name)})
            if len(names) != 1:
                raise UsageError(
                    f"by=None: {what!r} has the names {', '.join(names)}; add --by with one of them, or write {', '.join(PROOFS)}."
                )
            by = names[0]
        return derive(what, by)

    def text(self) -> str:
        """The lines of the derivation or the proof."""
        return str(self.build(self.what, self.by))
