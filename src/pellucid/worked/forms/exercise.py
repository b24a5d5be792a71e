# SPDX-License-Identifier: Apache-2.0
"""Exercises: random numbers that can be worked by hand, and a worksheet without its solution."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from random import Random
from typing import Final, TypeVar

from pellucid.errors import PellucidError
from pellucid.worked.expressions.evaluation import branch_of, evaluate
from pellucid.worked.expressions.expression import Call, Const, Name, Piecewise, walk
from pellucid.worked.forms.contract import Builder
from pellucid.worked.showing.lines import Answer, Sheet, Words
from pellucid.worked.worksheet.solution import Solution
from pellucid.worked.worksheet.worksheet import Worksheet

__all__ = ["by_hand", "can_be_done_by_hand", "nonzero_tenth", "without_solution"]

_TRIES: Final = 500
_LARGEST: Final = 50
_PLACES: Final = 8  # decimal places of an exact number
_STEEP: Final = 4  # beyond ±4 a sigmoid, a tanh and a softmax are flat, and an exponential is huge
_KINK: Final = 0.04  # nearer to 0, a rounded sum may fall on the other branch of a ReLU

Drawn = TypeVar("Drawn", bound=Builder)


def nonzero_tenth(random: Random, most: int = 9) -> Fraction:
    """A multiple of 0.1 from −0.9 to 0.9, but not 0."""
    return Fraction(random.choice([-1, 1]) * random.randint(1, most), 10)


def by_hand(draw: Callable[[], Drawn], also: Callable[[Solution], bool] = lambda _: True) -> Drawn:
    """Draw until the worksheet can be worked by hand.

    Args:
        draw: a builder with random numbers.
        also: a further condition on the solution.

    Raises:
        PellucidError: none of 500 can.
    """
    for _ in range(_TRIES):
        builder = draw()
        solution = builder.worksheet().solve()
        if can_be_done_by_hand(solution) and also(solution):
            return builder
    raise PellucidError(f"random: none of {_TRIES} problems could be done by hand; take another --seed.")


def can_be_done_by_hand(solution: Solution) -> bool:
    """Whether all numbers are small and short, no function saturates or is at a kink, and most ReLUs are active.

    >>> can_be_done_by_hand(Worksheet("a = 3; b = relu(a - 3)").solve())
    False
    >>> can_be_done_by_hand(Worksheet("a = 3; b = relu(a - 2)").solve())
    True
    """
    active: list[bool] = []
    for name, value in solution.values.items():
        if abs(float(value)) > _LARGEST or (isinstance(value, Fraction) and not _short(value)):
            return False
        for node in walk(solution.numbers.equations[name].right):
            if isinstance(node, Piecewise) and branch_of(node, solution.values)[1]:
                return False
            if not isinstance(node, Call):
                continue
            numbers = [float(evaluate(arg, solution.values)) for arg in node.args]
            if node.function in ("exp", "sigmoid", "tanh", "softmax") and max(map(abs, numbers)) > _STEEP:
                return False
            if node.function in ("relu", "leaky_relu", "abs"):
                if abs(numbers[0]) < _KINK:
                    return False
                active.append(numbers[0] > 0)
            # with a tie the gradient goes to the first by convention, which nobody can know
            if node.function in ("max", "min") and len({*numbers}) < len(numbers):
                return False
    return 2 * sum(active) > len(active) or not active


def without_solution(sheet: Worksheet, solution: Solution, title: str) -> Sheet:
    """The exercise that a solution answers: the numbers that are given, the equations in symbols, and the questions.

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
        sheet: the worksheet; what it holds back is left out.
        solution: of the worksheet.
        title: the first sentence.
    """
    equations = solution.numbers.equations
    given: list[str | Name | Const] = []
    for name, equation in equations.items():
        if equation.given:
            given += [", " if given else "Given: ", Name(name), " = ", Const(solution.values[name])]
    remarks: list[Words] = [(title,), *(words for words in sheet.remarks if not sheet.is_held(words)), (*given, ".")]
    shown = [equation for equation in equations.values() if not equation.given and not sheet.is_held(equation.name)]
    remarks += [(Name(equation.name), " = ", equation.right) for equation in shown]
    remarks.append(("Work out each of the following.",))
    questions = tuple(Answer(answer.title, answer.key, ()) for answer in solution.answers)
    known = {name: value for name, value in solution.values.items() if equations[name].given}
    return Sheet(questions, known, solution.digits, solution.exact, tuple(remarks))


def _short(value: Fraction) -> bool:
    """Whether a fraction ends after a few decimals, or has a small denominator."""
    return (value * 10**_PLACES).denominator == 1 or value.denominator <= 1000
