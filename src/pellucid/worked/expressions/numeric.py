# SPDX-License-Identifier: Apache-2.0
"""The independent check: values in plain NumPy (float64), derivatives by central differences, without any derivative rule.

A central difference uses the steps h and h/2 and extrapolates (Richardson): (4·D(h/2) − D(h))/3. Its tolerance is 10⁻⁶ of the
derivative, plus what float64 can lose, 20·ε·|f|/h + 8·ε·|x|·|f″|, plus the change from h to h/2. If a piecewise function changes its
branch within the step, the branches are fixed as they are at the point itself.
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

__all__ = ["BranchRecord", "CentralDifference", "central_differences", "numpy_value"]

Floats = NDArray[np.float64]
EPS: Final = float(np.finfo(np.float64).eps)
STEP_SIZES: Final = (1e-4, 1e-2, 1e-6, 1e-8)  # relative to max(1, |x|); tried in this order until one agrees
BATCH: Final = 1024  # columns evaluated at once


@final
@dataclass
class BranchRecord:
    """The branches taken during an evaluation, in order; with `fixed`, those branches are taken instead."""

    taken: list[Any] = field(default_factory=list)
    fixed: list[Any] | None = None

    def choose(self, branch: Any) -> Any:
        """Record a branch and return the one to take."""
        self.taken.append(branch)
        return branch if self.fixed is None else self.fixed[len(self.taken) - 1]


@final
@dataclass(frozen=True)
class CentralDifference:
    """A central difference and how far it may be from the derivative."""

    value: float
    step: float
    tolerance: float
    fixed: bool  # whether branches had to be fixed

    def agrees(self, derivative: float) -> bool:
        """Whether a derivative is within the tolerance."""
        return bool(abs(self.value - derivative) <= self.tolerance + 1e-6 * abs(derivative))


def numpy_value(node: Expr, numbers: Mapping[str, Any], record: BranchRecord | None = None) -> Any:
    """The value of an expression in NumPy; the numbers may be arrays.

    >>> float(numpy_value(Name("a") ** 2, {"a": 3.0}))
    9.0
    """
    match node:
        case Const(value=value):
            return np.float64(float(value))
        case Name(name=key) | Partial(key=key):
            return numbers[key]
        case Add(terms=terms) | Sum(terms=terms):
            total = numpy_value(terms[0], numbers, record)
            for term in terms[1:]:
                total = total + numpy_value(term, numbers, record)
            return total
        case Mul(factors=factors):
            product = numpy_value(factors[0], numbers, record)
            for factor in factors[1:]:
                product = product * numpy_value(factor, numbers, record)
            return product
        case Neg(term=term):
            return -numpy_value(term, numbers, record)
        case Div(top=top, bottom=bottom):
            return np.divide(numpy_value(top, numbers, record), numpy_value(bottom, numbers, record))
        case Pow(base=base, exponent=exponent):
            # float64, since NumPy refuses negative powers of integers
            floats = np.asarray(numpy_value(base, numbers, record), np.float64)
            return np.power(floats, numpy_value(exponent, numbers, record))
        case Call(function=name, args=args, index=index):
            rule = FUNCTIONS[name]
            values = [numpy_value(arg, numbers, record) for arg in args]
            if rule.numpy_branch is None or record is None:
                return rule.numpy(values, index)
            chosen = record.choose(rule.numpy_branch(values))
            if record.fixed is None:
                return rule.numpy(values, index)
            assert rule.numpy_on_branch is not None, name
            shape = np.broadcast_shapes(*(np.shape(value) for value in values))
            return rule.numpy_on_branch(values, np.broadcast_to(chosen, shape))
        case Piecewise(branches=branches, otherwise=otherwise):
            # every branch at every point, then the one that holds: NaN from a branch not taken is dropped
            values = [numpy_value(value, numbers, record) for value in [*(value for value, _ in branches), otherwise]]
            tests = [_test(test, numbers, record) for _, test in branches]
            branch = np.select(tests, list(range(len(tests))), len(tests))
            chosen = record.choose(branch) if record is not None else branch
            pairs = np.broadcast_arrays(chosen, *values)
            return np.choose(pairs[0], pairs[1:])
    raise TypeError(f"{type(node).__name__} has no value")


def _test(test: Condition, numbers: Mapping[str, Any], record: BranchRecord | None) -> Any:
    left, right = numpy_value(test.left, numbers, record), numpy_value(test.right, numbers, record)
    compare = {"<": np.less, "<=": np.less_equal, ">": np.greater, ">=": np.greater_equal}[test.sign]
    return compare(left, right)


def central_differences(
    equations: Sequence[tuple[str, Expr]], numbers: Mapping[str, float], of: str, by: Sequence[str], level: int = 0
) -> dict[str, CentralDifference]:
    """The central differences of one quantity with respect to several others, through all equations in between.

    >>> L = Name("a") ** 2
    >>> difference = central_differences([("L", L)], {"a": 3.0, "L": 9.0}, "L", ["a"])["a"]
    >>> bool(abs(difference.value - 6) < 1e-6), float(round(difference.step, 6))
    (True, 0.0003)

    Args:
        equations: name and right side, each after those it uses.
        numbers: the value of every quantity at the point.
        of: the quantity that is differentiated.
        by: the quantities that are varied, given or computed.
        level: which of `STEP_SIZES` to use, from 0.
    """
    with np.errstate(all="ignore"):  # what overflows agrees with nothing
        return _central_differences(equations, numbers, of, by, level)


def _central_differences(
    equations: Sequence[tuple[str, Expr]], numbers: Mapping[str, float], of: str, by: Sequence[str], level: int
) -> dict[str, CentralDifference]:
    differences: dict[str, CentralDifference] = {}
    # one evaluation for a whole batch: each varied quantity has four columns of its own
    for start in range(0, len(by), BATCH // 4):
        part = by[start : start + BATCH // 4]
        units = [max(1.0, abs(numbers[name])) for name in part]
        steps = STEP_SIZES[level] * np.array(units)
        moved = {name: np.float64(numbers[name]) + _columns(n, len(part), steps[n]) for n, name in enumerate(part)}
        record = BranchRecord()
        values, scale = _measure(equations, numbers, moved, of, record)  # both (4 · part,)
        at_point = BranchRecord()
        if record.taken:
            _run(equations, numbers, {}, at_point)
        for n, name in enumerate(part):
            columns = slice(4 * n, 4 * n + 4)
            flips = any(
                np.any(np.broadcast_to(new, values.shape)[columns] != old)
                for new, old in zip(record.taken, at_point.taken, strict=True)
            )
            if flips:  # the step crosses a kink: once more, on the branches of the point itself
                one = {name: np.float64(numbers[name]) + _columns(0, 1, steps[n])}
                kept, size = _measure(equations, numbers, one, of, BranchRecord(fixed=at_point.taken))
                differences[name] = _difference(kept, size, steps[n], units[n], True)
            else:
                differences[name] = _difference(values[columns], scale[columns], steps[n], units[n], False)
    return differences


def _columns(n: int, count: int, step: float) -> Floats:
    """+h, −h, +h/2, −h/2 in the four columns of quantity n, 0 in those of the others: (4 · count,)."""
    moves = np.zeros(4 * count)
    moves[4 * n : 4 * n + 4] = np.array([step, -step, step / 2, -step / 2])
    return moves


def _measure(
    equations: Sequence[tuple[str, Expr]],
    numbers: Mapping[str, float],
    moved: Mapping[str, Floats],
    of: str,
    record: BranchRecord,
) -> tuple[Floats, Floats]:
    """The quantity in every column, and its absolute value, which sets the rounding error."""
    values = _run(equations, numbers, moved, record)
    size = max(len(column) for column in moved.values())
    measured = np.broadcast_to(np.asarray(values[of], np.float64), size)
    return measured, np.abs(measured)


def _run(
    equations: Sequence[tuple[str, Expr]],
    numbers: Mapping[str, float],
    moved: Mapping[str, Floats],
    record: BranchRecord,
) -> dict[str, Any]:
    values: dict[str, Any] = {**numbers, **moved}
    with np.errstate(all="ignore"):
        for name, node in equations:
            value = numpy_value(node, values, record)
            if name in moved:
                # a computed quantity is moved in its own columns; in the others it follows from what is moved there
                offset = moved[name] - np.float64(numbers[name])
                value = np.where(offset != 0, moved[name], value)
            values[name] = value
    return values


def _difference(values: Floats, scale: Floats, step: float, unit: float, fixed: bool) -> CentralDifference:
    wide = (values[0] - values[1]) / (2 * step)
    narrow = (values[2] - values[3]) / step
    # |f″| from the four values; rounding x itself by ε changes the slope by ε·|x|·|f″|
    curvature = abs(values[0] + values[1] - values[2] - values[3]) / (0.75 * step**2)
    lost = 20 * EPS * float(scale.max()) / step + 8 * EPS * unit * float(curvature)
    # Richardson: the h² error cancels; the change from h to h/2 bounds what is left
    return CentralDifference(
        float((4 * narrow - wide) / 3), float(step), float(lost + abs(narrow - wide) + 1e-300), fixed
    )
