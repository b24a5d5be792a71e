# SPDX-License-Identifier: Apache-2.0
"""A solved worksheet: values, derivatives, and the answers to its questions line by line."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import final

from pellucid.errors import UsageError
from pellucid.worked.expressions.arithmetic import precision
from pellucid.worked.expressions.expression import Value
from pellucid.worked.notation.questions import Question
from pellucid.worked.showing.lines import Answer, Sheet, Words
from pellucid.worked.showing.showing import show
from pellucid.worked.worksheet.answering import answer_questions
from pellucid.worked.worksheet.checked_numbers import CheckedNumbers
from pellucid.worked.worksheet.equation import Equation
from pellucid.worked.worksheet.graph import Graph

__all__ = ["Solution"]


@final
class Solution:
    """The checked numbers of a worksheet and its answers, made by `Worksheet.solve`.

    >>> from pellucid.worked.worksheet.worksheet import Worksheet
    >>> solution = Worksheet.parse("a = 3; L = a^2 + 1; ? dL/da").solve()
    >>> print(solution.value("L"), solution.derivative("L", "a"))
    10 6

    Args:
        equations: by name.
        order: the names, each after those that its equation uses.
        questions: to be answered, in order.
        remarks: sentences about the whole sheet.
        exact: show fractions as fractions.
        digits: significant digits of numbers that are not exact, 1 to 50.
        paths: list every path of a derivative; otherwise go backwards through the graph, each derivative from the later ones.

    Raises:
        UsageError: an equation without a value.
        CheckError: NumPy computes another value.
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
        paths: bool = True,
    ) -> None:
        if not 1 <= digits <= 50:
            raise UsageError(f"digits={digits}: must be from 1 to 50; float64, which checks them, has 16.")
        self.exact = exact
        self.digits = digits
        self.paths = paths
        self.questions = tuple(questions)
        self.remarks = tuple(remarks)
        # 12 guard digits: rounding errors stay well below the last digit shown
        self.numbers = CheckedNumbers(equations, order, max(34, digits + 12))

    @property
    def values(self) -> Mapping[str, Value]:
        """All values by name, in the order of computation."""
        return self.numbers.values

    @property
    def graph(self) -> Graph:
        """The computational graph with its local derivatives."""
        return self.numbers.graph

    def value(self, name: str) -> Value:
        """The value of a quantity: a `Fraction` if it is exact, else a `Decimal`.

        Raises:
            UnknownNameError: no such quantity.
        """
        return self.numbers.value(name)

    def derivative(self, of: str, by: str) -> Value:
        """The derivative of one quantity with respect to another, checked by a central difference.

        Raises:
            UnknownNameError: no such quantity.
            CheckError: the central difference disagrees.
        """
        return self.numbers.derivative(of, by)

    def gradient(self, of: str, by: Sequence[str]) -> dict[str, Value]:
        """The derivatives of one quantity with respect to several, checked together, which is faster than one by one."""
        return self.numbers.gradient(of, by)

    @cached_property
    def answers(self) -> tuple[Answer, ...]:
        """The answers to the questions, in order; without questions, the quantities that no equation uses."""
        with precision(self.numbers.working_digits):
            return answer_questions(self.numbers, self.questions, self.paths)

    def show(
        self,
        form: str = "terminal",
        *,
        verify: bool = False,
        color: bool = False,
        brief: bool = False,
        width: int = 0,
    ) -> str:
        """The answers as text.

        Args:
            form: terminal, markdown, latex, html or json; one of `pellucid.worked.showing.showing.FORMS`.
            verify: show the check next to each line.
            color: for the terminal.
            brief: show what is asked and what it needs, without local derivatives and paths.
            width: of the terminal, in columns; 0 for lines of any length.

        Raises:
            UnknownNameError: no such form.
        """
        sheet = Sheet(self.answers, self.values, self.digits, self.exact, self.remarks)
        return show(sheet, form, verify=verify, color=color, brief=brief, width=width)

    def __str__(self) -> str:
        return self.show("terminal", width=shutil.get_terminal_size().columns)

    def _repr_html_(self) -> str:
        return self.show("fragment")

    def _repr_latex_(self) -> str:
        return self.show("latex-fragment")
