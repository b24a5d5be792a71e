# SPDX-License-Identifier: Apache-2.0
"""localization: the loss of a detector with one box a sample: is there an object, and where."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass, replace
from fractions import Fraction
from random import Random
from typing import Any, Literal, final

from pellucid.errors import UsageError
from pellucid.worked.builders._objective import mean_of
from pellucid.worked.expressions.expression import Expr, as_expr
from pellucid.worked.forms.contract import Builder
from pellucid.worked.forms.exercise import by_hand
from pellucid.worked.forms.numbers import read_number, read_tensor, read_vector, typed
from pellucid.worked.notation.operations import absolute, log, piecewise, sigmoid
from pellucid.worked.worksheet.tensors import Numbers, as_tensor, ask_gradient, define, summed
from pellucid.worked.worksheet.worksheet import Worksheet

__all__ = ["Localization"]


@final
@dataclass(frozen=True)
class Localization(Builder):
    """Work the loss of a localisation by hand: is there an object, and where; without an object the box does not count."""

    topic = "detection and segmentation"
    question = "What is the loss of a detector's cells, and why does an empty cell have no gradient for its box?"
    keeps = ("box_loss",)

    boxes: str = "2 3 4 2; 0 0 0 0"
    """rows of four numbers, one a sample, as in "2 3 4 2; 0 0 0 0\""""
    predictions: str = "2.5 3 4 1; 5 1 2 2"
    """the boxes that the network predicts, in the same form"""
    _: KW_ONLY
    objectness: str = "1 0"
    """1 where there is an object and 0 where there is none, one a sample"""
    logits: str = "0.8 -0.5"
    """the network's objectness before the sigmoid, one a sample"""
    weight: str = "1"
    """λ, weight of the box term"""
    box_loss: Literal["squared", "smooth_l1"] = "squared"
    """loss of each difference: its square, or smooth L1"""

    @staticmethod
    def build(
        objectness: Numbers,
        logits: Numbers,
        boxes: Numbers,
        predictions: Numbers,
        *,
        weight: float | Fraction = 1,
        box_loss: Literal["squared", "smooth_l1"] = "squared",
    ) -> Worksheet:
        """The worksheet of a localisation loss.

        L_n = BCE(o_n, σ(s_n)) + λ·o_n·Σ_k ℓ(b̂_nk − b_nk), L their mean: the objectness o gates the box term, as in Redmon et
        al. 2016, "You Only Look Once", eq. 3; ℓ(d) = d², or the smooth L1 of Girshick 2015, eq. 3: d²/2 where |d| < 1, else
        |d| − 1/2.

        >>> sheet = Localization.build([0], [0], [[1, 1, 2, 2]], [[5, 5, 5, 5]])
        >>> print(sheet.solve(digits=4).value("L_box_1"), sheet.solve().derivative("L", "bhat_1_1"))
        50 0

        Args:
            objectness: o, 1 where there is an object, else 0; one number a sample.
            logits: s, the network's objectness before the sigmoid.
            boxes: b, rows of numbers, one a sample; the box of a sample without an object does not matter.
            predictions: b̂, the boxes that the network predicts.
            weight: λ, of the box term.
            box_loss: squared or smooth_l1.

        Raises:
            UsageError: counts that differ, or an objectness other than 0 and 1.
        """
        o, s = as_tensor(objectness, "objectness", 1), as_tensor(logits, "logits", 1)  # (N,)
        b, bhat = as_tensor(boxes, "boxes", 2), as_tensor(predictions, "predictions", 2)  # (N, 4)
        if not (len(o) == len(s) == len(b) == len(bhat)) or b.shape != bhat.shape:
            raise UsageError(
                f"objectness, logits, boxes, predictions: are of {len(o)}, {len(s)}, {b.shape} and {bhat.shape}; give as "
                "many rows of each."
            )
        if not all(number in (as_expr(0), as_expr(1)) for number in o):
            raise UsageError("objectness: must be 1 where there is an object and 0 where not; give these.")
        sheet = Worksheet()
        label, S, B, P = (
            define(sheet, name, numbers) for name, numbers in (("o", o), ("s", s), ("b", b), ("bhat", bhat))
        )
        # λ as a quantity: its equation shows where the box term is weighted
        sheet["lambda"] = as_expr(weight)
        losses = []
        for n in range(len(o)):
            i = n + 1
            sheet[f"p_{i}"] = sigmoid(S[n])
            p = sheet[f"p_{i}"]
            # binary cross-entropy of the logit
            sheet[f"L_obj_{i}"] = -(label[n] * log(p) + (1 - label[n]) * log(1 - p))
            # the sum over the sides is worked out for every sample; o decides whether it counts
            sheet[f"L_box_{i}"] = summed([_box_loss(P[n, k] - B[n, k], box_loss) for k in range(b.shape[1])])
            sheet[f"L_{i}"] = sheet[f"L_obj_{i}"] + sheet["lambda"] * label[n] * sheet[f"L_box_{i}"]
            losses.append(sheet[f"L_{i}"])
            sheet.ask(f"L_{i}")
        sheet["L"] = mean_of(losses)
        sheet.remark(
            "o is 1 where there is an object: with o = 0 the box term is multiplied by 0, and no gradient reaches b̂."
        )
        sheet.ask("L")
        ask_gradient(sheet, "L", S)
        ask_gradient(sheet, "L", P)
        return sheet

    def worksheet(self) -> Worksheet:
        """The worksheet of the options."""
        return self.build(
            read_vector(self.objectness, "objectness"),
            read_vector(self.logits, "logits"),
            _rows(self.boxes, "boxes"),
            _rows(self.predictions, "predictions"),
            weight=read_number(self.weight, "weight"),
            box_loss=self.box_loss,
        )

    def draw(self, random: Random) -> Localization:
        """Two samples, one with an object and one without; the differences of the boxes are on both sides of 1."""

        def draw() -> Localization:
            boxes = [[random.randint(0, 6) for _ in range(2)] + [random.randint(2, 5) for _ in range(2)] for _ in "ab"]
            # halves: 0.5 is on the quadratic side of smooth L1, 1.5 on the linear one, and none is at the kink
            errors = [Fraction(random.choice([-3, -1, 0, 1, 3]), 2) for _ in range(8)]
            shifted = [number + error for number, error in zip([*boxes[0], *boxes[1]], errors, strict=True)]
            return replace(
                self,
                boxes=typed(boxes),
                predictions=typed([shifted[:4], shifted[4:]]),
                objectness=typed(random.sample([0, 1], 2)),
                logits=typed([Fraction(random.choice([-15, -10, -5, 5, 10, 15]), 10) for _ in "ab"]),
            )

        return by_hand(draw, lambda solution: min(solution.value("L_box_1"), solution.value("L_box_2")) > 0)


def _rows(text: str, option: str) -> list[Any]:
    """Rows of numbers, also where there is only one."""
    numbers = read_tensor(text, option)
    return numbers if isinstance(numbers[0], list) else [numbers]


def _box_loss(difference: Expr, kind: Literal["squared", "smooth_l1"]) -> Expr:
    if kind == "squared":
        return difference**2
    size: Any = absolute(difference)
    return piecewise((difference**2 / 2, size < 1), otherwise=size - Fraction(1, 2))
