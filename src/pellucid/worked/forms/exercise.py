# SPDX-License-Identifier: Apache-2.0
"""Exercises: random numbers that can be worked by hand, and a worksheet as a problem without its solution."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from random import Random
from typing import Final

from pellucid.errors import PellucidError
from pellucid.worked.expressions.evaluation import evaluate
from pellucid.worked.expressions.expression import Call, Const, Name, walk
from pellucid.worked.showing.lines import Answer, Sheet, Words
from pellucid.worked.worksheet.solution import Solution
from pellucid.worked.worksheet.worksheet import Worksheet

__all__ = ["by_hand", "can_be_done_by_hand", "nonzero_tenth", "without_solution"]

_TRIES: Final = 500
_LARGEST: Final = 50
_PLACES: Final = 8  # after the point, of a number that is exact
_STEEP: Final = 4  # of what goes into an exponential, a sigmoid, a tanh or a softmax: beyond, they are flat or huge


def nonzero_tenth(random: Random, most: int = 9) -> Fraction:
    """A tenth from −0.9 to 0.9 that is not 0."""
    return Fraction(random.choice([-1, 1]) * random.randint(1, most), 10)


def by_hand(draw: Callable[[], Worksheet], also: Callable[[Solution], bool] = lambda _: True) -> Worksheet:
    """Draw worksheets until one can be done by hand, and is wanted for what else there is to it.

    Raises:
        PellucidError: none of 500 can.
    """
    for _ in range(_TRIES):
        sheet = draw()
        solution = sheet.solve()
        if can_be_done_by_hand(solution) and also(solution):
            return sheet
    raise PellucidError(f"random: none of {_TRIES} problems could be done by hand; take another --seed.")


def can_be_done_by_hand(solution: Solution) -> bool:
    """Whether no number is large or has many places, nothing saturates, no ReLU stands at its kink and most are alive.

    >>> can_be_done_by_hand(Worksheet("a = 3; b = relu(a - 3)").solve())
    False
    >>> can_be_done_by_hand(Worksheet("a = 3; b = relu(a - 2)").solve())
    True
    """
    alive: list[bool] = []
    for name, value in solution.values.items():
        if abs(float(value)) > _LARGEST or (isinstance(value, Fraction) and not _short(value)):
            return False
        for node in walk(solution.numbers.equations[name].right):
            if not isinstance(node, Call):
                continue
            numbers = [float(evaluate(arg, solution.values)) for arg in node.args]
            if node.function in ("exp", "sigmoid", "tanh", "softmax") and max(map(abs, numbers)) > _STEEP:
                return False
            if node.function in ("relu", "leaky_relu", "abs"):
                if abs(numbers[0]) < 0.04:
                    return False
                alive.append(numbers[0] > 0)
            if node.function in ("max", "min") and len({*numbers}) < len(numbers):
                return False
    return 2 * sum(alive) > len(alive) or not alive


def without_solution(sheet: Worksheet, solution: Solution, title: str) -> Sheet:
    """The exercise that a solution answers: what is given, the equations in symbols, and the questions.

    >>> from pellucid.worked.showing.showing import show
    >>> sheet = Worksheet("a = 3; b = a^2; ? b; ? db/da")
    >>> print(show(without_solution(sheet, sheet.solve(), "A square.")))
    A square.
    Given: a = 3.
    b = a²
    Work out each of the following.
    <BLANKLINE>
    ? b
    <BLANKLINE>
    ? ∂b/∂a
    <BLANKLINE>
    2 questions; give what is not exact to 6 significant digits.

    Args:
        sheet: what is asked; what it holds back is left out.
        solution: of the sheet.
        title: a sentence that stands first.
    """
    equations = solution.numbers.equations
    listed: list[str | Name | Const] = []
    for name, equation in equations.items():
        if equation.given:
            listed += [", " if listed else "Given: ", Name(name), " = ", Const(solution.values[name])]
    remarks: list[Words] = [(title,), *(each for each in sheet.remarks if not sheet.is_held(each)), (*listed, ".")]
    shown = [each for each in equations.values() if not each.given and not sheet.is_held(each.name)]
    remarks += [(Name(each.name), " = ", each.right) for each in shown]
    remarks.append(("Work out each of the following.",))
    questions = tuple(Answer(answer.title, answer.key, ()) for answer in solution.answers)
    known = {name: value for name, value in solution.values.items() if equations[name].given}
    return Sheet(questions, known, solution.digits, solution.exact, tuple(remarks))


def _short(value: Fraction) -> bool:
    """Whether a fraction ends after a few decimals, or has a small denominator."""
    return (value * 10**_PLACES).denominator == 1 or value.denominator <= 1000
