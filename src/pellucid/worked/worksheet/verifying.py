# SPDX-License-Identifier: Apache-2.0
"""The check of every number that is shown: by NumPy, or by a central difference. A number that fails is never shown."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from pellucid.worked.expressions.expression import Add, Call, Div, Expr, Mul, Neg, Pow, Sum, Value
from pellucid.worked.expressions.numeric import EPS, STEP_SIZES, central_differences, numpy_value
from pellucid.worked.showing.lines import Check, CheckError

__all__ = ["check_derivatives", "check_value", "floats"]


def floats(values: Mapping[str, Value]) -> dict[str, float]:
    """The numbers as float64."""
    return {name: float(value) for name, value in values.items()}


def check_value(what: str, node: Expr, value: Value, numbers: Mapping[str, float]) -> Check:
    """Check the value of an expression with NumPy, from the float64 values of its names.

    >>> from pellucid.worked.expressions.expression import Name
    >>> from fractions import Fraction
    >>> check_value("b", Name("a") * 2, Fraction(6), {"a": 3.0}).value
    6.0

    Raises:
        CheckError: NumPy computes another value.
    """
    with np.errstate(all="ignore"):
        theirs = float(numpy_value(node, numbers))
        # rounding is relative to the largest intermediate value, not to a small difference of two large ones
        tolerance = 1e-9 * abs(float(value)) + 4 * EPS * _size(node, numbers) + 1e-300
    if not abs(theirs - float(value)) <= tolerance:
        raise CheckError(
            f"{what}={float(value):.10g}: NumPy computes {theirs:.10g} in float64, whose precision these numbers exceed; "
            "use numbers nearer to 1."
        )
    return Check("NumPy", theirs, tolerance)


def check_derivatives(
    equations: Sequence[tuple[str, Expr]], numbers: Mapping[str, float], of: str, wanted: Mapping[str, Value]
) -> dict[str, Check]:
    """Check the derivatives of one quantity with respect to several others by central differences.

    >>> from pellucid.worked.expressions.expression import Name
    >>> from fractions import Fraction
    >>> checks = check_derivatives([("L", Name("a") ** 2)], {"a": 3.0, "L": 9.0}, "L", {"a": Fraction(6)})
    >>> round(checks["a"].value, 6)
    6.0

    Args:
        equations: name and right side of all equations in between, in order.
        numbers: the float64 value of every quantity.
        of: the quantity that is differentiated.
        wanted: the derivatives to check, by the name of the other quantity.

    Raises:
        CheckError: the difference disagrees at every step size.
    """
    checks: dict[str, Check] = {}
    left = list(wanted)
    tried: dict[str, float] = {}  # the first difference of each, for the error message
    # a step that is too large sees curvature, one too small sees rounding: try the next for those that disagree
    for level in range(len(STEP_SIZES)):
        for name, difference in central_differences(equations, numbers, of, left, level).items():
            tried.setdefault(name, difference.value)
            exact = float(wanted[name])
            if difference.agrees(exact):
                detail = f"step {difference.step:.0e}" + (", branches fixed" if difference.fixed else "")
                tolerance = difference.tolerance + 1e-6 * abs(exact)
                checks[name] = Check("central difference", difference.value, tolerance, detail)
        left = [name for name in left if name not in checks]
        if not left:
            return checks
    name = left[0]
    raise CheckError(
        f"∂{of}/∂{name}={float(wanted[name]):.10g}: the central difference is {tried[name]:.10g}, as float64 is not precise "
        "enough here; use numbers nearer to 1."
    )


def _size(node: Expr, numbers: Mapping[str, Any]) -> float:
    """A bound of the rounding error in units of ε: the size of the intermediate values, whatever they cancel to.

    A forward error analysis, node by node (Higham 2002, "Accuracy and Stability of Numerical Algorithms", ch. 3).
    """
    match node:
        case Add(terms=parts) | Sum(terms=parts):  # errors add up, whatever the terms cancel to
            return sum(_size(part, numbers) for part in parts)
        case Mul(factors=parts):  # relative errors add up; the product of the sizes bounds every factor's error
            return math.prod(_size(part, numbers) for part in parts)
        case Neg(term=term):
            return _size(term, numbers)
        case Div(top=top, bottom=bottom):
            below = abs(float(numpy_value(bottom, numbers)))  # an error of b moves a/b by a/b²
            return _size(top, numbers) * _size(bottom, numbers) / below**2 if below else math.inf
        case Pow(base=base, exponent=exponent):
            own, power = abs(float(numpy_value(base, numbers))), float(numpy_value(exponent, numbers))
            grown = _grown(own, _size(base, numbers), lambda u: float(np.power(u, power)))
            return abs(float(numpy_value(node, numbers))) * (1 + abs(power)) + grown
        case Call(function="sqrt" | "log" | "exp" as name, args=args):  # the three that may stretch an error
            own = float(numpy_value(args[0], numbers))
            rule: Callable[[float], float] = {"sqrt": np.sqrt, "log": np.log, "exp": np.exp}[name]
            return abs(float(numpy_value(node, numbers))) + _grown(own, _size(args[0], numbers), rule)
        case Call(args=args):  # relu, sigmoid, tanh, max, …: slopes of at most 1
            return abs(float(numpy_value(node, numbers))) + sum(_size(arg, numbers) for arg in args)
    return abs(float(numpy_value(node, numbers)))


def _grown(own: float, size: float, function: Callable[[float], float]) -> float:
    """How far a function moves, in units of ε, when its argument moves by its own rounding error."""
    moved = float(abs(function(own + 4 * EPS * size) - function(own))) / (4 * EPS)
    return moved if math.isfinite(moved) else 0.0
