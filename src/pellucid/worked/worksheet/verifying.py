# SPDX-License-Identifier: Apache-2.0
"""The check of every number that is shown: by NumPy, or by a central difference. A number that fails is never shown."""

from __future__ import annotations

import decimal
import math
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from fractions import Fraction
from typing import Any, Final

import numpy as np

from pellucid.worked.expressions.expression import Add, Call, Div, Expr, Mul, Neg, Pow, Sum, Value
from pellucid.worked.expressions.numeric import EPS, STEP_SIZES, central_differences, numpy_value
from pellucid.worked.showing.lines import Check, CheckError
from pellucid.worked.worksheet.precisely import precise_derivative, precise_value

__all__ = ["MANY", "check_derivatives", "check_value", "floats", "numpy_check"]

DIGITS: Final = 100  # of the check where float64 is not enough
MANY: Final = 400  # digits that tell any number of float64's range from 0
LOOSEST: Final = 1e-5  # the widest tolerance that still decides, relative to the number


def floats(values: Mapping[str, Value]) -> dict[str, float]:
    """The numbers as float64."""
    return {name: float(value) for name, value in values.items()}


def check_value(
    what: str, node: Expr, value: Value, numbers: Mapping[str, float], exact: Mapping[str, Value] | None = None
) -> Check:
    """Check the value of an expression with NumPy, from the float64 values of its names.

    Where float64 overflows, or cannot tell the value from its rounding error, mpmath checks it from the `exact` numbers.

    >>> from pellucid.worked.expressions.expression import Name
    >>> from fractions import Fraction
    >>> check_value("b", Name("a") * 2, Fraction(6), {"a": 3.0}).value
    6.0

    Raises:
        CheckError: NumPy computes another value.
    """
    check = numpy_check(node, value, numbers)
    if isinstance(check, Check):
        return check
    theirs = check
    if exact is not None:
        # terms that are rounded to the working precision cancel down to its last digits, see `arithmetic.plus`
        lost = float(_size(node, numbers)) * 10.0 ** -min(300, decimal.getcontext().prec - 6) if not value else 0.0
        if precise := precise_value(node, value, exact, _enough(value), lost):
            return precise
    raise CheckError(
        f"{what}={float(value):.10g}: NumPy computes {theirs:.10g} in float64, whose precision these numbers exceed; "
        "use numbers nearer to 1."
    )


def _enough(value: Value) -> int:
    """The digits of mpmath's check: more than ours, and enough to tell a 0."""
    return max(DIGITS if value else MANY, decimal.getcontext().prec + 50)


def numpy_check(node: Expr, value: Value, numbers: Mapping[str, float]) -> Check | float:
    """The check by NumPy, or NumPy's number where float64 cannot decide.

    >>> from pellucid.worked.expressions.expression import Name
    >>> from fractions import Fraction
    >>> numpy_check(Name("a") * 2, Fraction(7), {"a": 3.0})
    6.0
    """
    ours = float(value)
    with np.errstate(all="ignore"):
        theirs = float(numpy_value(node, numbers))
        try:
            # rounding is relative to the largest intermediate value, not to a small difference of two large ones
            rounding = 4 * EPS * float(_size(node, numbers))
        except (OverflowError, ZeroDivisionError):
            rounding = math.inf
    tolerance = 1e-9 * abs(ours) + rounding + 1e-300
    # a tolerance as wide as the number itself would let any number pass
    # neither does it tell a 0 from a small number whose digits are lost
    decides = tolerance <= LOOSEST * abs(ours) or (not value and isinstance(value, Fraction)) or (value and not ours)
    return Check("NumPy", theirs, tolerance) if decides and abs(theirs - ours) <= tolerance else theirs


def check_derivatives(
    equations: Sequence[tuple[str, Expr]],
    numbers: Mapping[str, float],
    of: str,
    wanted: Mapping[str, Value],
    exact: Mapping[str, Value] | None = None,
    digits: int = 34,
    rounded: bool = False,
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
        exact: the exact value of every quantity, for those that float64 cannot check.
        digits: of the exact values.
        rounded: whether the equations begin at values that are rounded to these digits.

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
            slope = float(wanted[name])
            # a rounded 0 may be a small number whose digits are lost: only mpmath can tell
            lost = slope == 0 and isinstance(wanted[name], Decimal) and exact is not None
            if not lost and difference.agrees(slope):
                detail = f"step {difference.step:.0e}" + (", branches fixed" if difference.fixed else "")
                tolerance = difference.tolerance + 1e-6 * abs(slope)
                checks[name] = Check("central difference", difference.value, tolerance, detail)
        left = [name for name in left if name not in checks]
        if not left:
            return checks
    for name in [*left] if exact is not None else ():
        assert exact is not None
        more = max(DIGITS, 3 * digits) if wanted[name] else 2 * MANY
        zero = 10.0 ** -min(300, digits - 8) if rounded else 0.0
        if precise := precise_derivative(equations, exact, of, name, wanted[name], more, zero):
            checks[name] = precise
            left.remove(name)
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
