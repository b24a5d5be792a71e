# SPDX-License-Identifier: Apache-2.0
"""The numbers of a worksheet: every value and derivative, with the independent check of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from functools import cached_property
from typing import Any, final

from pellucid.errors import UnknownNameError, UsageError
from pellucid.worked.expressions.arithmetic import precision
from pellucid.worked.expressions.evaluation import evaluate
from pellucid.worked.expressions.expression import Expr, Value
from pellucid.worked.expressions.spelling import canonical
from pellucid.worked.showing.lines import Check, CheckError
from pellucid.worked.worksheet.equation import Equation
from pellucid.worked.worksheet.graph import Graph
from pellucid.worked.worksheet.precisely import agreement, precise_values
from pellucid.worked.worksheet.verifying import MANY, check_derivatives, check_value, floats, numpy_check

__all__ = ["CheckedNumbers"]


@final
class CheckedNumbers:
    """Values, exact or to `working_digits`, each checked by NumPy; derivatives by the chain rule, checked when asked for.

    >>> from fractions import Fraction
    >>> from pellucid.worked.expressions.expression import Const, Name
    >>> equations = {"a": Equation("a", Const(Fraction(3))), "L": Equation("L", Name("a") ** 2)}
    >>> print(CheckedNumbers(equations, ["a", "L"], 34).derivative("L", "a"))
    6

    Args:
        equations: by name.
        order: the names, each after those that its equation uses.
        working_digits: significant digits of numbers that are not exact.

    Raises:
        UsageError: an equation without a value.
        CheckError: NumPy computes another value.
    """

    def __init__(self, equations: Mapping[str, Equation], order: Sequence[str], working_digits: int) -> None:
        self.equations = dict(equations)
        self.order = list(order)
        # 1 − σ(40) loses 17 digits, 1 − σ(700) more than 300: with more digits to lose enough of them are left
        for digits in (working_digits, 4 * working_digits, 12 * working_digits):
            self.working_digits = digits
            self.values: dict[str, Value] = {}
            try:
                self._work()
                break
            except (UsageError, CheckError) as fault:
                exact = not any(isinstance(value, Decimal) for value in self.values.values())
                if exact or digits == 12 * working_digits or "10^308" in str(fault):
                    raise
        self.graph = Graph(self.equations, self.order, self.values)

    def _work(self) -> None:
        """Compute all values and check them.

        Raises:
            UsageError: an equation without a value.
            CheckError: another value in NumPy, and in mpmath.
        """
        with precision(self.working_digits):
            for name in self.order:
                self.values[name] = evaluate(self.equations[name].right, self.values, name)
        # the check starts from the same inputs rounded to float64, so one wrong line cannot hide behind another
        self.floats = floats(self.values)
        checks: dict[str, Check] = {}
        precise: Mapping[str, Any] | None = None
        more = max(MANY, 3 * self.working_digits)
        for name in self.order:
            right = self.equations[name].right
            if self.equations[name].given:
                continue
            check = numpy_check(right, self.values[name], self.floats)
            if not isinstance(check, Check):
                # from the given numbers on, as digits may have been lost before this line
                if precise is None:
                    precise = _precise_values([(n, self.equations[n].right) for n in self.order], more)
                found = agreement(self.values[name], precise[name], more) if name in precise else None
                check = found or check_value(name, right, self.values[name], self.floats)
            checks[name] = check
        self.checks: Mapping[str, Check] = checks

    def value(self, name: str) -> Value:
        """The value of a quantity: a `Fraction` if it is exact, else a `Decimal`.

        Raises:
            UnknownNameError: no such quantity.
        """
        key = canonical(name)
        if key not in self.values:
            raise UnknownNameError("name", name, self.values)
        return self.values[key]

    def derivative(self, of: str, by: str) -> Value:
        """The derivative of one quantity with respect to another, checked by a central difference.

        Raises:
            UnknownNameError: no such quantity.
            CheckError: the central difference disagrees.
        """
        self.value(of), self.value(by)
        of, by = canonical(of), canonical(by)
        with precision(self.working_digits):
            slope = self.graph.derivative(of, by)
        self.check_derivative(of, by)
        return slope

    def gradient(self, of: str, by: Sequence[str]) -> dict[str, Value]:
        """The derivatives of one quantity with respect to several, each checked."""
        self.prepare(canonical(of), [*map(canonical, by)])
        return {name: self.derivative(of, name) for name in by}

    def check_derivative(self, of: str, by: str) -> Check:
        """The central difference of one derivative."""
        self.prepare(of, [by])
        return self._differences[of, by]

    def check_local(self, of: str, by: str, value: Value) -> Check:
        """The central difference of a local derivative: one equation with respect to a name in it."""
        if (of, by) not in self._locals:
            equations = [(of, self.equations[of].right)]
            self._locals[of, by] = check_derivatives(
                equations, self.floats, of, {by: value}, self.values, self.working_digits, rounded=True
            )[by]
        return self._locals[of, by]

    def prepare(self, of: str, by: Sequence[str]) -> None:
        """Check several derivatives of one quantity at once, which is faster than one by one."""
        missing = [name for name in by if (of, name) not in self._differences]
        if missing:
            with precision(self.working_digits):
                wanted = {name: self.graph.derivative(of, name) for name in missing}
            checks = check_derivatives(self.equations_of(of), self.floats, of, wanted, self.values, self.working_digits)
            self._differences |= {(of, name): check for name, check in checks.items()}

    def equations_of(self, of: str) -> list[tuple[str, Expr]]:
        """The equations needed to compute a quantity, in order."""
        needed = self.graph.dependencies(of)
        return [
            (name, self.equations[name].right)
            for name in self.order
            if name in needed and not self.equations[name].given
        ]

    # differences cost far more than values: each is computed once, when first asked for

    @cached_property
    def _differences(self) -> dict[tuple[str, str], Check]:
        return {}

    @cached_property
    def _locals(self) -> dict[tuple[str, str], Check]:
        return {}


def _precise_values(equations: Sequence[tuple[str, Expr]], digits: int) -> Mapping[str, Any]:
    try:
        return precise_values(equations, digits)
    except (ArithmeticError, ValueError, TypeError):
        return {}  # one of them has no value there: the check by NumPy stands
