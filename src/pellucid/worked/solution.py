# SPDX-License-Identifier: Apache-2.0
"""A worksheet solved: values, derivatives, and the answers to its questions line by line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, final

from pellucid.errors import UnknownNameError, UsageError
from pellucid.worked.arithmetic import precision
from pellucid.worked.chain import Graph
from pellucid.worked.evaluation import evaluate
from pellucid.worked.expression import Expr, Value
from pellucid.worked.lines import Answer, Check
from pellucid.worked.verifying import check_derivatives, check_value, floats

if TYPE_CHECKING:
    from pellucid.worked.worksheet import Worksheet

__all__ = ["Solution"]


@final
class Solution:
    """The numbers of a worksheet, each checked by NumPy, and its answers.

    >>> from pellucid.worked.worksheet import Worksheet
    >>> solution = Worksheet.parse("a = 3; L = a^2 + 1; ? dL/da").solve()
    >>> print(solution.value("L"), solution.derivative("L", "a"))
    10 6

    Args:
        worksheet: what to solve.
        exact: show fractions as fractions.
        digits: significant digits of what is not exact, 1 to 50.

    Raises:
        UsageError: what has no solution.
        CheckError: a value that NumPy does not come to.
    """

    def __init__(self, worksheet: Worksheet, *, exact: bool = False, digits: int = 6) -> None:
        if not 1 <= digits <= 50:
            raise UsageError(f"digits={digits}: must be from 1 to 50; float64, which checks them, has 16.")
        self.worksheet = worksheet
        self.exact = exact
        self.digits = digits
        self.working_digits = max(34, digits + 12)
        self.order = worksheet.order()
        self.values: dict[str, Value] = {}
        equations = worksheet.equations
        with precision(self.working_digits):
            for name in self.order:
                self.values[name] = evaluate(equations[name].right, self.values, name)
        self.numbers = floats(self.values)
        self.checks: Mapping[str, Check] = {
            name: check_value(name, equations[name].right, self.values[name], self.numbers)
            for name in self.order
            if not equations[name].given
        }
        self.graph = Graph(equations, self.order, self.values)

    def value(self, name: str) -> Value:
        """The number of a quantity: a `Fraction` where it is exact, else a `Decimal`.

        Raises:
            UnknownNameError: no such quantity.
        """
        if name not in self.values:
            raise UnknownNameError("name", name, self.values)
        return self.values[name]

    def derivative(self, of: str, by: str) -> Value:
        """The derivative of one quantity by another, checked by a central difference.

        Raises:
            UnknownNameError: no such quantity.
            CheckError: the central difference disagrees.
        """
        self.value(of), self.value(by)
        with precision(self.working_digits):
            found = self.graph.derivative(of, by)
        self.check_derivative(of, by)
        return found

    def gradient(self, of: str, by: Sequence[str]) -> dict[str, Value]:
        """The derivatives of one quantity by several, each checked."""
        self.prepare(of, by)
        return {name: self.derivative(of, name) for name in by}

    def check_derivative(self, of: str, by: str) -> Check:
        """The central difference of one derivative."""
        self.prepare(of, [by])
        return self._differences[of, by]

    def check_local(self, of: str, by: str, value: Value) -> Check:
        """The central difference of one equation by one name in it."""
        if (of, by) not in self._locals:
            equations = [(of, self.worksheet.equations[of].right)]
            self._locals[of, by] = check_derivatives(equations, self.numbers, of, {by: value})[by]
        return self._locals[of, by]

    def prepare(self, of: str, by: Sequence[str]) -> None:
        """Check several derivatives of one quantity at once, which is faster than one by one."""
        missing = [name for name in by if (of, name) not in self._differences]
        if missing:
            with precision(self.working_digits):
                wanted = {name: self.graph.derivative(of, name) for name in missing}
            found = check_derivatives(self.between(of), self.numbers, of, wanted)
            self._differences |= {(of, name): check for name, check in found.items()}

    def between(self, of: str) -> list[tuple[str, Expr]]:
        """The equations that a quantity is worked out by, in order."""
        below = self.graph.below(of)
        equations = self.worksheet.equations
        return [(name, equations[name].right) for name in self.order if name in below and not equations[name].given]

    @cached_property
    def _differences(self) -> dict[tuple[str, str], Check]:
        return {}

    @cached_property
    def _locals(self) -> dict[tuple[str, str], Check]:
        return {}

    @cached_property
    def answers(self) -> tuple[Answer, ...]:
        """The answers to the worksheet's questions, in order."""
        from pellucid.worked.answering import answer_all

        with precision(self.working_digits):
            return answer_all(self)

    def show(self, form: str = "terminal", *, verify: bool = False, color: bool = False) -> str:
        """The answers as text: terminal, markdown, latex, html, json.

        Args:
            form: one of `pellucid.worked.showing.FORMS`.
            verify: each line's check beside it.
            color: for the terminal.

        Raises:
            UnknownNameError: no such form.
        """
        from pellucid.worked.showing import show

        return show(self, form, verify=verify, color=color)

    def __str__(self) -> str:
        return self.show("terminal")

    def _repr_html_(self) -> str:
        return self.show("fragment")

    def _repr_latex_(self) -> str:
        return self.show("latex-fragment")
