# SPDX-License-Identifier: Apache-2.0
"""A worksheet solved: values, derivatives, and the answers to its questions line by line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import final

from pellucid.errors import UsageError
from pellucid.worked.expressions.arithmetic import precision
from pellucid.worked.expressions.expression import Value
from pellucid.worked.notation.questions import Question
from pellucid.worked.showing.lines import Answer, Sheet, Words
from pellucid.worked.showing.showing import show
from pellucid.worked.worksheet.answering import answer_all
from pellucid.worked.worksheet.chain import Graph
from pellucid.worked.worksheet.equation import Equation
from pellucid.worked.worksheet.solved import Solved

__all__ = ["Solution"]


@final
class Solution:
    """The numbers of a worksheet, each checked, and its answers; `Worksheet.solve` makes it.

    >>> from pellucid.worked.worksheet.worksheet import Worksheet
    >>> solution = Worksheet.parse("a = 3; L = a^2 + 1; ? dL/da").solve()
    >>> print(solution.value("L"), solution.derivative("L", "a"))
    10 6

    Args:
        equations: by name.
        order: the names in an order in which they can be worked out.
        questions: what is asked.
        remarks: sentences about the whole sheet.
        exact: show fractions as fractions.
        digits: significant digits of what is not exact, 1 to 50.

    Raises:
        UsageError: what has no solution.
        CheckError: a value that NumPy does not come to.
    """

    def __init__(
        self,
        equations: Mapping[str, Equation],
        order: Sequence[str],
        questions: Sequence[Question],
        remarks: Sequence[Words] = (),
        *,
        exact: bool = False,
        digits: int = 6,
    ) -> None:
        if not 1 <= digits <= 50:
            raise UsageError(f"digits={digits}: must be from 1 to 50; float64, which checks them, has 16.")
        self.exact = exact
        self.digits = digits
        self.questions = tuple(questions)
        self.remarks = tuple(remarks)
        self.solved = Solved(equations, order, max(34, digits + 12))

    @property
    def values(self) -> Mapping[str, Value]:
        """All numbers by name, in the order in which they are worked out."""
        return self.solved.values

    @property
    def graph(self) -> Graph:
        """Which quantity uses which, with the local derivatives."""
        return self.solved.graph

    def value(self, name: str) -> Value:
        """The number of a quantity: a `Fraction` where it is exact, else a `Decimal`.

        Raises:
            UnknownNameError: no such quantity.
        """
        return self.solved.value(name)

    def derivative(self, of: str, by: str) -> Value:
        """The derivative of one quantity by another, checked by a central difference.

        Raises:
            UnknownNameError: no such quantity.
            CheckError: the central difference disagrees.
        """
        return self.solved.derivative(of, by)

    def gradient(self, of: str, by: Sequence[str]) -> dict[str, Value]:
        """The derivatives of one quantity by several, checked at once, which is faster than one by one."""
        return self.solved.gradient(of, by)

    @cached_property
    def answers(self) -> tuple[Answer, ...]:
        """The answers to the worksheet's questions, in order; without questions, the values that nothing uses."""
        with precision(self.solved.working_digits):
            return answer_all(self.solved, self.questions)

    def show(self, form: str = "terminal", *, verify: bool = False, color: bool = False) -> str:
        """The answers as text.

        Args:
            form: terminal, markdown, latex, html or json; one of `pellucid.worked.showing.showing.FORMS`.
            verify: each line's check beside it.
            color: for the terminal.

        Raises:
            UnknownNameError: no such form.
        """
        sheet = Sheet(self.answers, self.values, self.digits, self.exact, self.remarks)
        return show(sheet, form, verify=verify, color=color)

    def __str__(self) -> str:
        return self.show("terminal")

    def _repr_html_(self) -> str:
        return self.show("fragment")

    def _repr_latex_(self) -> str:
        return self.show("latex-fragment")
