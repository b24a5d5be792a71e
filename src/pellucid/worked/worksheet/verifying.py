# SPDX-License-Identifier: Apache-2.0
"""Every printed number a second time: by NumPy, or by a central difference; one that disagrees is never printed."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from pellucid.worked.expressions.expression import Add, Call, Div, Expr, Mul, Neg, Pow, Sum, Value
from pellucid.worked.expressions.numeric import EPS, STEPS, differences, plain
from pellucid.worked.showing.lines import Check, CheckError

__all__ = ["check_derivatives", "check_value", "floats"]


def floats(values: Mapping[str, Value]) -> dict[str, float]:
    """The numbers as float64."""
    return {name: float(value) for name, value in values.items()}


def check_value(what: str, node: Expr, value: Value, numbers: Mapping[str, float]) -> Check:
    """The value of an expression by NumPy, from the float64 numbers of its names.

    >>> from pellucid.worked.expressions.expression import Name
    >>> from fractions import Fraction
    >>> check_value("b", Name("a") * 2, Fraction(6), {"a": 3.0}).value
    6.0

    Raises:
        CheckError: NumPy comes to another number.
    """
    with np.errstate(all="ignore"):
        found = float(plain(node, numbers))
        # what float64 loses is small beside the largest term, not beside a difference of two large ones
        tolerance = 1e-9 * abs(float(value)) + 4 * EPS * _size(node, numbers) + 1e-300
    if not abs(found - float(value)) <= tolerance:
        raise CheckError(
            f"{what}={float(value):.10g}: NumPy in float64 comes to {found:.10g}; the numbers of this line are beyond "
            "what float64 can follow, use numbers nearer to 1."
        )
    return Check("NumPy", found, tolerance)


def check_derivatives(
    equations: Sequence[tuple[str, Expr]], numbers: Mapping[str, float], of: str, wanted: Mapping[str, Value]
) -> dict[str, Check]:
    """The derivatives of one quantity by several, by central differences through all equations between.

    >>> from pellucid.worked.expressions.expression import Name
    >>> from fractions import Fraction
    >>> found = check_derivatives([("L", Name("a") ** 2)], {"a": 3.0, "L": 9.0}, "L", {"a": Fraction(6)})
    >>> round(found["a"].value, 6)
    6.0

    Raises:
        CheckError: no step gives a difference that agrees.
    """
    found: dict[str, Check] = {}
    left = list(wanted)
    tried: dict[str, float] = {}
    for level in range(len(STEPS)):
        for name, each in differences(equations, numbers, of, left, level).items():
            tried.setdefault(name, each.value)
            exact = float(wanted[name])
            if each.agrees(exact):
                detail = f"step {each.step:.0e}" + (", branches held" if each.held else "")
                found[name] = Check("central difference", each.value, each.tolerance + 1e-6 * abs(exact), detail)
        left = [name for name in left if name not in found]
        if not left:
            return found
    name = left[0]
    raise CheckError(
        f"∂{of}/∂{name}={float(wanted[name]):.10g}: the central difference is {tried[name]:.10g}; this point is "
        "beyond what float64 can follow, use numbers nearer to 1."
    )


def _size(node: Expr, numbers: Mapping[str, Any]) -> float:
    """How large the parts of an expression are, whatever they cancel to."""
    match node:
        case Add(terms=parts) | Sum(terms=parts):
            return sum(_size(part, numbers) for part in parts)
        case Mul(factors=parts):
            return math.prod(_size(part, numbers) for part in parts)
        case Neg(term=term):
            return _size(term, numbers)
        case Div(top=top, bottom=bottom):
            below = abs(float(plain(bottom, numbers)))
            return _size(top, numbers) * _size(bottom, numbers) / below**2 if below else math.inf
        case Pow(base=base, exponent=exponent):
            own, power = abs(float(plain(base, numbers))), float(plain(exponent, numbers))
            grown = _grown(own, _size(base, numbers), lambda each: float(np.power(each, power)))
            return abs(float(plain(node, numbers))) * (1 + abs(power)) + grown
        case Call(function="sqrt" | "log" | "exp" as name, args=args):
            own = float(plain(args[0], numbers))
            rule: Callable[[float], float] = {"sqrt": np.sqrt, "log": np.log, "exp": np.exp}[name]
            return abs(float(plain(node, numbers))) + _grown(own, _size(args[0], numbers), rule)
        case Call(args=args):
            return abs(float(plain(node, numbers))) + sum(_size(arg, numbers) for arg in args)
    return abs(float(plain(node, numbers)))


def _grown(own: float, size: float, function: Callable[[float], float]) -> float:
    """How large the change of a function is when its argument moves by what float64 may have lost of it."""
    moved = float(abs(function(own + 4 * EPS * size) - function(own))) / (4 * EPS)
    return moved if math.isfinite(moved) else 0.0
