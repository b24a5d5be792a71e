# SPDX-License-Identifier: Apache-2.0
"""derive: a derivative in symbols with one named rule per line, or the proof of a known equality."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import Final, final

from pellucid.errors import UnknownNameError, UsageError
from pellucid.files import write_atomically
from pellucid.worked.derivation.derivation import DERIVATIONS, Derivation, derive
from pellucid.worked.derivation.matrices import Derivatives, derive_all
from pellucid.worked.derivation.naming import separated
from pellucid.worked.derivation.presenting import Shown, present
from pellucid.worked.derivation.proofs import PROOFS, Proof, prove
from pellucid.worked.expressions.expression import Name, walk
from pellucid.worked.forms.command import format_of, terminal_width
from pellucid.worked.forms.contract import Form
from pellucid.worked.forms.presenting import Format
from pellucid.worked.notation.calls import function_named
from pellucid.worked.notation.notation import parse_expression

__all__ = ["Derive"]

_CALLED: Final = (
    *(
        "exp",
        "log",
        "sqrt",
        "sin",
        "cos",
        "tan",
        "tanh",
        "sinh",
        "cosh",
        "softplus",
        "relu",
        "leaky_relu",
        "elu",
        "gelu",
        "swish",
    ),
    "abs",
)
"""Functions of one number that may be named without their argument."""


@final
@dataclass(frozen=True)
class Derive(Form):
    """Differentiate an expression with one named rule per line, or prove a known equality."""

    topic = "functions and derivatives"
    question = "What is the derivative in symbols, rule by rule?"

    what: str = "softmax-shift"
    """
    an expression, as in "exp(z_j)/sum(exp(z_k), k)"; a list of them, as in "[x*y, x + y]"; or the name of one: softmax, sigmoid,
    softmax-cross-entropy, sigmoid-cross-entropy; or a proof: softmax-shift, tanh-sigmoid, linear-layers, dense-backward,
    dense-activation-backward, convolution-backward, batch-norm-backward, attention-backward
    """
    _: KW_ONLY
    by: str | None = None
    """the variable, as in z_l; several between commas give a gradient, a Jacobian or a Hessian matrix; needed if there are several names"""
    order: int = 1
    """2 for second derivatives"""
    as_: str | None = None
    """what the function is called, as in "f_sm(z_j)"; "g, h" names above and below of a quotient, "p_j = …" any part"""
    format: Format | None = None
    """output format; by default the one of the --out file's ending, else terminal"""
    out: Path | None = None
    """the file to write; by default the terminal"""

    @staticmethod
    def build(
        what: str, by: str | None = None, order: int = 1, as_: str | None = None
    ) -> Derivation | Derivatives | Proof:
        """The derivation of an expression, or the proof of an equality.

        >>> print(Derive.build("x^2").result)
        2·x

        Args:
            what: an expression, or the name of a derivation or proof.
            by: the variable; needed if the expression has several names.
            order: 2 for second derivatives.
            as_: names for the function and its parts.

        Raises:
            UsageError: an expression with several names and no `by`.
        """
        if what in PROOFS:
            if by is not None or order != 1 or as_ is not None:
                raise UsageError(f"what={what!r}: is a proof, without a variable; leave --by, --order and --as out.")
            return prove(what)
        names = as_ or ""
        if function_named(what) in _CALLED and what not in DERIVATIONS:
            what = f"{function_named(what)}(x)"  # tanh is the function tanh(x)
        if what in DERIVATIONS:
            what, variable, name = DERIVATIONS[what]
            by, names = by or variable, names or name
        if by is None:
            by = _only_name(what)
        if order != 1 or len(separated(by)) > 1 or what.strip().startswith(("[", "softmax(")):
            return derive_all(what, by, order, names)
        return derive(what, by, names)

    def text(self) -> str:
        """The lines of the derivation or the proof."""
        chosen = format_of(self.format, self.out, sheet=False)
        shown = present(self.built(), chosen, terminal_width())
        if self.out is None:
            return shown
        with write_atomically(self.out) as draft:
            draft.write_text(shown + "\n", encoding="utf-8")
        return str(self.out)

    def built(self) -> Shown:
        """The derivation or the proof of the options."""
        return self.build(self.what, self.by, self.order, self.as_)


def _only_name(what: str) -> str:
    """The one name of an expression.

    Raises:
        UsageError: there are several, or none.
    """
    inner = what.strip()
    parts = separated(inner[1:-1]) if inner.startswith("[") else [inner]
    names = sorted({node.name for part in parts for node in walk(parse_expression(part)) if isinstance(node, Name)})
    if len(names) != 1:
        rule = (
            f"has the names {', '.join(names)}; say by which one, as in --by {names[-1]}"
            if names
            else "has no variable"
        )
        raise UsageError(f"what={what!r}: {rule}{'' if names else '; write a function, as in x^2'}.")
    if inner == names[0] and len(inner) > 1 and inner.isalpha():  # a word is no function of itself
        raise UnknownNameError("what", inner, [*DERIVATIONS, *PROOFS, *_CALLED])
    return names[0]
