# SPDX-License-Identifier: Apache-2.0
"""Is the loss larger or smaller for another label, and why."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

from pellucid.errors import UsageError
from pellucid.worked.builders._objective import put_loss
from pellucid.worked.expressions.arithmetic import plus, root, times
from pellucid.worked.expressions.expression import Const, Expr, Name, Value
from pellucid.worked.worksheet.worksheet import Worksheet

__all__ = ["put_comparison"]


def put_comparison(sheet: Worksheet, other: Sequence[Any], loss: str) -> None:
    """Write the loss with another target of a single sample, ask for it, and say why it is larger or smaller.

    >>> sheet = Worksheet("yhat = 0.2; y = 1; L = -(y*log(yhat) + (1 - y)*log(1 - yhat))")
    >>> put_comparison(sheet, [0], "binary_cross_entropy")
    >>> print(sheet.solve().show("terminal").splitlines()[0][:63])
    L is larger than L_other: y = 1 has the probability 0.2, y = 0

    Args:
        sheet: with the loss L of one sample.
        other: the other target, one number an output.
        loss: one of `LOSSES`.

    Raises:
        UsageError: the target that the sample has anyway.
    """
    prediction = "p" if loss == "cross_entropy" else "yhat"
    outputs, own = sheet.components(prediction), sheet.components("y")
    sheet["y_other"] = other[0] if len(other) == 1 else other
    others = sheet.components("y_other")
    before = sheet.solve().values
    if all(before[a] == before[b] for a, b in zip(own, others, strict=True)):
        raise UsageError("compare: is the target that the sample has already; give another one.")
    put_loss(sheet, "L_other", loss, outputs, others)
    sheet["D"] = sheet["L"] - sheet["L_other"]
    values = sheet.solve().values
    larger = "is larger than" if values["D"] > 0 else "is smaller than" if values["D"] < 0 else "equals"
    words: list[str | Expr] = [Name("L"), f" {larger} ", Name("L_other"), ": "]
    both = [[values[name] for name in targets] for targets in (own, others)]
    given = [values[name] for name in outputs]
    if loss == "squared_error":
        far, farther = (Const(root(values[name])) for name in ("L", "L_other"))
        words += [
            "the output is ",
            far,
            " away from the target and ",
            farther,
            " from the other, and the loss is the square of that.",
        ]
    elif all(number in (0, 1) for targets in both for number in targets):
        labels = [_label(targets, loss) for targets in both]
        chances = [Const(_chance(given, targets, loss)) for targets in both]
        words += [f"{labels[0]} has the probability ", chances[0], f", {labels[1]} the probability ", chances[1]]
        words += [", and the loss is −ln of it, which falls as the probability grows."]
    else:
        words += ["a cross-entropy is the smaller, the nearer the outputs are to the target."]
    sheet.remark(*words, hint=True)
    sheet.ask("L_other", "D")


def _label(targets: Sequence[Value], loss: str) -> str:
    """A target in words."""
    if loss == "cross_entropy":
        return f"class {1 + [*targets].index(Fraction(1))}"
    return "y = " + ", ".join(map(str, targets))


def _chance(outputs: Sequence[Value], targets: Sequence[Value], loss: str) -> Value:
    """The probability that the outputs give a target of zeros and ones."""
    found: Value = Fraction(1)
    for p, y in zip(outputs, targets, strict=True):
        if y == 1:
            found = times(found, p)
        elif loss == "binary_cross_entropy":  # the probability of a 0; of other classes there is none to multiply
            found = times(found, plus(Fraction(1), -p))
    return found
