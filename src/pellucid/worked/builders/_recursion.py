# SPDX-License-Identifier: Apache-2.0
"""Derivatives through time: from the last step to the first, each from those of the step behind it."""

from __future__ import annotations

from pellucid.worked.expressions.expression import Expr, Mul, Partial
from pellucid.worked.worksheet.worksheet import Worksheet

__all__ = ["go_back_in_time"]


def go_back_in_time(sheet: Worksheet, state: str, users: tuple[str, ...]) -> None:
    """Answer derivatives backwards through the steps, and say the recursion at the top of the sheet.

    >>> sheet = Worksheet("h_0 = 1; h_1 = 2*h_0; h_2 = 2*h_1; L = h_1 + h_2; ? dL/dh_0")
    >>> go_back_in_time(sheet, "h_t", ("L", "h_t+1"))
    >>> print(str(sheet).splitlines()[0])
    Backwards through time: ∂L/∂h_t = ∂L/∂L · ∂L/∂h_t + ∂L/∂h_(t+1) · ∂h_(t+1)/∂h_t

    Args:
        sheet: the worksheet, whose loss is L.
        state: what is carried from step to step, at step t.
        users: the quantities that use it.
    """
    sheet.go_backwards()
    words: list[str | Expr] = ["Backwards through time: ", Partial("L", state)]
    for n, user in enumerate(users):
        words += [" + " if n else " = ", Mul((Partial("L", user), Partial(user, state)))]
    sheet.remark(*words)
