# SPDX-License-Identifier: Apache-2.0
"""softmax: with the shift by the maximum, the reason for it in numbers, and the cross-entropy after it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from random import Random
from typing import Any, Final, final

from pellucid.errors import UsageError
from pellucid.worked.builders._objective import one_hot
from pellucid.worked.builders._quantities import from_text, shape_of
from pellucid.worked.expressions.expression import Add, Call, Name
from pellucid.worked.forms.contract import Builder
from pellucid.worked.forms.exercise import by_hand
from pellucid.worked.forms.numbers import typed
from pellucid.worked.notation.operations import exp, log, maximum, total
from pellucid.worked.worksheet.worksheet import Worksheet

__all__ = ["Softmax"]

_FINITE: Final = 700  # e^709.79 is infinite in float64
_LARGEST: Final = 10**6


@final
@dataclass(frozen=True, kw_only=True)
class Softmax(Builder):
    """Work a softmax with the shift by the maximum, why it is made, the cross-entropy and its gradient."""

    topic = "softmax and cross-entropy"
    question = "Which probabilities do logits give, why may the largest be subtracted, and what is the gradient?"

    z: str = "2 1 -1"
    """the logits, as "2 1 -1"; try "1000 1001 1002\""""
    target: str | None = "2"
    """the class, counted from 1, or probabilities as "0.2 0.8 0"; None for no loss"""

    @staticmethod
    def build(z: Any, target: Any = None) -> Worksheet:
        """The worksheet of p = softmax(z), with and without the shift by m = max z, and of the cross-entropy.

            p_i = e^(z_i − m) / Σ e^(z_k − m) = e^(−m)·e^(z_i) / (e^(−m)·Σ e^(z_k)) = e^(z_i) / Σ e^(z_k)
            L = −Σ y_i·ln p_i = ln Σ e^(z_k − m) − Σ y_i·(z_i − m),   ∂L/∂z_i = p_i − y_i,   ∂L/∂m = 0

        >>> solution = Softmax.build([1000, 1001, 1002], 3).solve()
        >>> [f"{solution.value(name):.6f}" for name in ("p_3", "L")]
        ['0.665241', '0.407606']

        Args:
            z: the logits.
            target: the class, counted from 1, or probabilities; None for no loss.

        Raises:
            UsageError: fewer than two logits, or a target that does not fit them.
        """
        shape = shape_of("z", z)
        # larger logits show nothing that 1000 does not show
        if len(shape) != 1 or shape[0] < 2 or any(abs(logit) > _LARGEST for logit in z):
            raise UsageError(f"z: must be two or more numbers of at most {_LARGEST:,}; give the logits of one sample.")
        sheet = Worksheet()
        sheet.z = z
        if target is not None:
            sheet.y = one_hot("target", target, shape[0])
        # the largest exponent becomes 0
        sheet.m = maximum(sheet.z)
        sheet.d = sheet.z - sheet.m
        sheet.e = exp(sheet.d)
        sheet.S = total(sheet.e)
        sheet.p = sheet.e / sheet.S  # (classes,)
        sheet.ask(*sheet.components("p"))
        _explain_shift(sheet, float(max(z)), float(min(z)))
        if target is not None:
            products = [sheet.y[i] * sheet.d[i] for i in range(1, shape[0] + 1)]
            # log-sum-exp: no logarithm of a p that has become 0
            sheet.L = log(sheet.S) - Add(tuple(products))
            sheet.ask("L", *(f"dL/d{name}" for name in sheet.components("z")), "dL/dm")
        return sheet

    def worksheet(self) -> Worksheet:
        """The worksheet of the options."""
        return self.build(from_text("z", self.z), None if self.target is None else from_text("target", self.target))

    def draw(self, random: Random) -> Softmax:
        """Three logits that are small whole numbers, all different."""
        return by_hand(
            lambda: replace(self, z=typed(random.sample(range(-2, 4), 3)), target=typed(random.randint(1, 3)))
        )


def _explain_shift(sheet: Worksheet, largest: float, smallest: float) -> None:
    """Say what the shift is for, and show that it changes nothing where both can be computed."""
    m, power = Name("m"), Call("exp", (Name("z_i"),))
    largest_z = Call("max", (Name("z"),))
    why = ". Numerator and denominator both get the factor "
    sheet.remark(
        Name("m"), " = ", largest_z, " is subtracted from each ", Name("z_i"), why, Call("exp", (-m,)),
        ", which cancels: the quotient stays the same.", hint=True,
    )  # fmt: skip
    sheet.remark(
        "Without the shift ", power, " is infinite in float16 above 11.09, in float32 above 88.72, in float64 above 709.78, and"
        " ∞/∞ is not a number. With it no exponent is above 0 and the largest power is 1, so that ", Name("S"),
        " is at least 1; a power too small for the format becomes 0, which does no harm.", hint=True,
    )  # fmt: skip
    if max(abs(largest), abs(smallest)) > _FINITE:
        beyond = "infinite" if largest > _FINITE else "0 for every class" if largest < -_FINITE else "0"
        sheet.remark(f"Here the powers without the shift are beyond float64: some are {beyond}.")
        return
    sheet.u = exp(sheet.z)
    sheet.q = sheet.u / total(sheet.u)
    sheet.remark(Name("u"), " and ", Name("q"), " are the same powers and probabilities without the shift.")
    sheet.ask(*sheet.components("q"))
