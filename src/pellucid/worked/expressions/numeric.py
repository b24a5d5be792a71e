# SPDX-License-Identifier: Apache-2.0
"""The second opinion: plain NumPy in float64, and central differences, which know nothing of derivative rules.

A central difference is taken with steps h and h/2 and extrapolated (Richardson): (4·D(h/2) − D(h))/3. Its tolerance is
10⁻⁶ of the derivative, plus what float64 can lose, 20·ε·|f|/h + 8·ε·|x|·|f″|, plus the change from h to h/2. Where a branch of a
piecewise function changes within the step, the branches are held as they are at the point.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, final

import numpy as np
from numpy.typing import NDArray

from pellucid.worked.expressions.expression import (
    Add,
    Call,
    Condition,
    Const,
    Div,
    Expr,
    Mul,
    Name,
    Neg,
    Partial,
    Piecewise,
    Pow,
    Sum,
)
from pellucid.worked.expressions.functions import FUNCTIONS

__all__ = ["Difference", "Tape", "differences", "plain"]

Floats = NDArray[np.float64]
EPS: Final = float(np.finfo(np.float64).eps)
STEPS: Final = (1e-4, 1e-2, 1e-6, 1e-8)  # in units of the point, at least of 1; the first that agrees counts
BATCH: Final = 1024  # columns at once


@final
@dataclass
class Tape:
    """The branches that were taken, in the order in which they were met; `held` ones are taken whatever the numbers."""

    taken: list[Any] = field(default_factory=list)
    held: list[Any] | None = None

    def decide(self, branch: Any) -> Any:
        """Note a branch; the answer is the one to take."""
        self.taken.append(branch)
        return branch if self.held is None else self.held[len(self.taken) - 1]


@final
@dataclass(frozen=True)
class Difference:
    """A central difference, and how far it may lie from the derivative."""

    value: float
    step: float
    tolerance: float
    held: bool  # whether branches had to be held

    def agrees(self, derivative: float) -> bool:
        """Whether a derivative lies within the tolerance."""
        return bool(abs(self.value - derivative) <= self.tolerance + 1e-6 * abs(derivative))


def plain(node: Expr, numbers: Mapping[str, Any], tape: Tape | None = None) -> Any:
    """The value of an expression by NumPy, for arrays of numbers as well.

    >>> float(plain(Name("a") ** 2, {"a": 3.0}))
    9.0
    """
    match node:
        case Const(value=value):
            return np.float64(float(value))
        case Name(name=key) | Partial(key=key):
            return numbers[key]
        case Add(terms=terms) | Sum(terms=terms):
            total = plain(terms[0], numbers, tape)
            for term in terms[1:]:
                total = total + plain(term, numbers, tape)
            return total
        case Mul(factors=factors):
            product = plain(factors[0], numbers, tape)
            for factor in factors[1:]:
                product = product * plain(factor, numbers, tape)
            return product
        case Neg(term=term):
            return -plain(term, numbers, tape)
        case Div(top=top, bottom=bottom):
            return np.divide(plain(top, numbers, tape), plain(bottom, numbers, tape))
        case Pow(base=base, exponent=exponent):
            return np.power(np.asarray(plain(base, numbers, tape), np.float64), plain(exponent, numbers, tape))
        case Call(function=name, args=args, index=index):
            rule = FUNCTIONS[name]
            found = [plain(arg, numbers, tape) for arg in args]
            if rule.plain_branch is None or tape is None:
                return rule.plain(found, index)
            chosen = tape.decide(rule.plain_branch(found))
            if tape.held is None:
                return rule.plain(found, index)
            assert rule.held is not None, name
            shape = np.broadcast_shapes(*(np.shape(each) for each in found))
            return rule.held(found, np.broadcast_to(chosen, shape))
        case Piecewise(branches=branches, otherwise=otherwise):
            values = [plain(value, numbers, tape) for value in [*(value for value, _ in branches), otherwise]]
            tests = [_test(test, numbers, tape) for _, test in branches]
            branch = np.select(tests, list(range(len(tests))), len(tests))
            chosen = tape.decide(branch) if tape is not None else branch
            pairs = np.broadcast_arrays(chosen, *values)
            return np.choose(pairs[0], pairs[1:])
    raise TypeError(f"{type(node).__name__} has no value")


def _test(test: Condition, numbers: Mapping[str, Any], tape: Tape | None) -> Any:
    left, right = plain(test.left, numbers, tape), plain(test.right, numbers, tape)
    compare = {"<": np.less, "<=": np.less_equal, ">": np.greater, ">=": np.greater_equal}[test.sign]
    return compare(left, right)


def differences(
    equations: Sequence[tuple[str, Expr]], numbers: Mapping[str, float], of: str, by: Sequence[str], level: int = 0
) -> dict[str, Difference]:
    """The central difference of one quantity by each of several, through all equations between them.

    >>> L = Name("a") ** 2
    >>> found = differences([("L", L)], {"a": 3.0, "L": 9.0}, "L", ["a"])["a"]
    >>> bool(abs(found.value - 6) < 1e-6), float(round(found.step, 6))
    (True, 0.0003)

    Args:
        equations: what is worked out, in an order in which it can be.
        numbers: of all quantities, at the point.
        of: the quantity whose change is measured.
        by: the quantities that are moved, given ones or worked-out ones.
        level: which of the steps, from 0: 1e-4, 1e-2, 1e-6 and 1e-8 of the point.
    """
    found: dict[str, Difference] = {}
    for start in range(0, len(by), BATCH // 4):
        part = by[start : start + BATCH // 4]
        units = [max(1.0, abs(numbers[name])) for name in part]
        steps = STEPS[level] * np.array(units)
        moved = {name: np.float64(numbers[name]) + _columns(n, len(part), steps[n]) for n, name in enumerate(part)}
        tape = Tape()
        values, scale = _measure(equations, numbers, moved, of, tape)
        there = Tape()
        if tape.taken:
            _run(equations, numbers, {}, there)
        for n, name in enumerate(part):
            columns = slice(4 * n, 4 * n + 4)
            flips = any(
                np.any(np.broadcast_to(new, values.shape)[columns] != old)
                for new, old in zip(tape.taken, there.taken, strict=True)
            )
            if flips:
                one = {name: np.float64(numbers[name]) + _columns(0, 1, steps[n])}
                kept, size = _measure(equations, numbers, one, of, Tape(held=there.taken))
                found[name] = _difference(kept, size, steps[n], units[n], True)
            else:
                found[name] = _difference(values[columns], scale[columns], steps[n], units[n], False)
    return found


def _columns(n: int, count: int, step: float) -> Floats:
    """+h, −h, +h/2, −h/2 in the four columns of one name, 0 in those of the others."""
    moves = np.zeros(4 * count)
    moves[4 * n : 4 * n + 4] = np.array([step, -step, step / 2, -step / 2])
    return moves


def _measure(
    equations: Sequence[tuple[str, Expr]],
    numbers: Mapping[str, float],
    moved: Mapping[str, Floats],
    of: str,
    tape: Tape,
) -> tuple[Floats, Floats]:
    values = _run(equations, numbers, moved, tape)
    size = max(len(column) for column in moved.values())
    there = np.broadcast_to(np.asarray(values[of], np.float64), size)
    return there, np.abs(there)


def _run(
    equations: Sequence[tuple[str, Expr]], numbers: Mapping[str, float], moved: Mapping[str, Floats], tape: Tape
) -> dict[str, Any]:
    values: dict[str, Any] = {**numbers, **moved}
    with np.errstate(all="ignore"):
        for name, node in equations:
            value = plain(node, values, tape)
            if name in moved:
                # its own columns are moved; in the others it follows from what is moved there
                offset = moved[name] - np.float64(numbers[name])
                value = np.where(offset != 0, moved[name], value)
            values[name] = value
    return values


def _difference(values: Floats, scale: Floats, step: float, unit: float, held: bool) -> Difference:
    wide = (values[0] - values[1]) / (2 * step)
    narrow = (values[2] - values[3]) / step
    # float64 moves the point itself by ε, and with it the slope by ε times the curvature
    curvature = abs(values[0] + values[1] - values[2] - values[3]) / (0.75 * step**2)
    lost = 20 * EPS * float(scale.max()) / step + 8 * EPS * unit * float(curvature)
    return Difference(float((4 * narrow - wide) / 3), float(step), float(lost + abs(narrow - wide) + 1e-300), held)
