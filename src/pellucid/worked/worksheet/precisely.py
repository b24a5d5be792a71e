# SPDX-License-Identifier: Apache-2.0
"""The check where float64 is not precise enough: the same expressions in mpmath, with as many digits as it takes.

mpmath is SymPy's arithmetic and shares no line with ours. Derivatives are central differences there too: with D digits and the step
h = 10^(−D/3)·|x|, truncation and rounding both leave about 2·D/3 of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any, Final

from pellucid.worked.expressions.expression import (
    Add,
    Call,
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
    Value,
)
from pellucid.worked.showing.lines import Check

__all__ = ["agreement", "precise_derivative", "precise_value", "precise_values"]

ZERO: Final = 320
AGREEMENT: Final = Decimal("1e-12")  # relative; more digits than are ever shown by default


def precise_value(
    node: Expr, value: Value, numbers: Mapping[str, Value], digits: int, zero: float = 0.0
) -> Check | None:
    """The check of a value, from the exact numbers of its names; None where mpmath computes another one.

    A 0 may be off by `zero`, where the numbers themselves are rounded.

    >>> from fractions import Fraction
    >>> precise_value(Name("a") / 10**200, Fraction(1, 10**200), {"a": Fraction(1)}, 40).how
    'mpmath'
    """
    mp = _context(digits)
    try:
        with mp.workdps(digits):
            theirs = _value(mp, node, _Lazy(mp, numbers))
            return _check(mp, value, theirs, digits, zero)
    except (ArithmeticError, ValueError, TypeError):
        return None  # no number, or a complex one


def precise_values(equations: Sequence[tuple[str, Expr]], digits: int) -> Mapping[str, Any]:
    """Every quantity of a worksheet from its given numbers, in mpmath.

    >>> from fractions import Fraction
    >>> float(precise_values([("a", Const(Fraction(2))), ("b", Name("a") ** 3)], 40)["b"])
    8.0

    Raises:
        ArithmeticError: a quantity without a value.
    """
    mp = _context(digits)
    found: dict[str, Any] = {}
    with mp.workdps(digits):
        for name, node in equations:
            found[name] = _value(mp, node, found)
    return found


def agreement(value: Value, theirs: Any, digits: int) -> Check | None:
    """The check of a value against one of `precise_values`."""
    mp = _context(digits)
    with mp.workdps(digits):
        return _check(mp, value, theirs, digits)


def precise_derivative(
    equations: Sequence[tuple[str, Expr]],
    numbers: Mapping[str, Value],
    of: str,
    by: str,
    slope: Value,
    digits: int,
    zero: float = 0.0,
) -> Check | None:
    """The check of a derivative by a central difference; None where it disagrees.

    >>> from fractions import Fraction
    >>> check = precise_derivative([("L", Name("a") ** 2)], {"a": Fraction(3)}, "L", "a", Fraction(6), 60)
    >>> check.how, round(check.value, 6)
    ('central difference', 6.0)

    Args:
        equations: name and right side of those that lead to `of`, in order.
        numbers: the exact value of every quantity.
        of: the quantity that is differentiated.
        by: the quantity that is varied.
        slope: the derivative to check.
        digits: of the computation.
        zero: how far a derivative of 0 may be off, where the numbers are rounded.
    """
    near = numbers[by]
    tiny = near if isinstance(near, Decimal) else Decimal(near.numerator) / near.denominator
    digits += max(0, -tiny.adjusted()) if tiny else 0
    mp = _context(digits)
    try:
        with mp.workdps(digits):
            at = _number(mp, numbers[by])
            step = mp.mpf(10) ** (-(digits // 3)) * (abs(at) or 1)
            ends = []
            for sign in (1, -1):
                moved = _Lazy(mp, numbers)
                moved[by] = at + sign * step
                for name, node in equations:
                    if name != by:
                        moved[name] = _value(mp, node, moved)
                ends.append(moved[of])
            theirs = (ends[0] - ends[1]) / (2 * step)
            check = _check(mp, slope, theirs, digits, zero)
    except (ArithmeticError, ValueError, TypeError):
        return None
    if check is None:
        return None
    return Check("central difference", check.value, check.tolerance, f"{digits} digits")


def _context(digits: int) -> Any:
    # imported late: few worksheets need it
    import mpmath

    return mpmath.mp


def _check(mp: Any, value: Value, theirs: Any, digits: int, zero: float = 0.0) -> Check | None:
    ours = _number(mp, value)
    # what is 0 shrinks with every digit; what is not stays above 10⁻³⁰⁸
    if not value and abs(theirs) <= max(mp.mpf(10) ** -ZERO, mp.mpf(zero)):
        return Check("mpmath", float(theirs), max(zero, 1e-300), f"{digits} digits")
    if not mp.isfinite(theirs) or abs(ours - theirs) > mp.mpf(str(AGREEMENT)) * abs(theirs):
        return None
    return Check("mpmath", float(theirs), float(abs(theirs)) * float(AGREEMENT), f"{digits} digits")


class _Lazy(dict[str, Any]):
    """Exact numbers, each converted when it is first used."""

    def __init__(self, mp: Any, numbers: Mapping[str, Value]) -> None:
        dict.__init__(self)
        self.mp, self.numbers = mp, numbers

    def __missing__(self, name: str) -> Any:
        self[name] = _number(self.mp, self.numbers[name])
        return self[name]


def _number(mp: Any, value: Value) -> Any:
    if isinstance(value, Decimal):
        return mp.mpf(str(value))
    return mp.mpf(value.numerator) / mp.mpf(value.denominator)


def _value(mp: Any, node: Expr, numbers: Mapping[str, Any]) -> Any:
    def inner(part: Expr) -> Any:
        return _value(mp, part, numbers)

    match node:
        case Const(value=value):
            return _number(mp, value)
        case Name(name=key) | Partial(key=key):
            return numbers[key]
        case Add(terms=terms) | Sum(terms=terms):
            return mp.fsum(map(inner, terms))
        case Mul(factors=factors):
            return mp.fprod(map(inner, factors))
        case Neg(term=term):
            return -inner(term)
        case Div(top=top, bottom=bottom):
            return inner(top) / inner(bottom)
        case Pow(base=base, exponent=exponent):
            return mp.power(inner(base), inner(exponent))
        case Call(function=name, args=args, index=index):
            return _FUNCTIONS[name](mp, [inner(arg) for arg in args], index)
        case Piecewise(branches=branches, otherwise=otherwise):
            for part, test in branches:
                left, right = inner(test.left), inner(test.right)
                if {"<": left < right, "<=": left <= right, ">": left > right, ">=": left >= right}[test.sign]:
                    return inner(part)
            return inner(otherwise)
    raise TypeError(type(node).__name__)


def _softmax(mp: Any, args: Sequence[Any], index: int) -> Any:
    largest = max(args)
    powers = [mp.exp(arg - largest) for arg in args]
    return powers[index - 1] / mp.fsum(powers)


_FUNCTIONS: Final[Mapping[str, Callable[[Any, Sequence[Any], int], Any]]] = {
    "exp": lambda mp, a, _: mp.exp(a[0]),
    "log": lambda mp, a, _: mp.log(a[0]),
    "sqrt": lambda mp, a, _: mp.sqrt(a[0]),
    "sigmoid": lambda mp, a, _: 1 / (1 + mp.exp(-a[0])),
    "tanh": lambda mp, a, _: mp.tanh(a[0]),
    "softplus": lambda mp, a, _: mp.log1p(mp.exp(a[0])),
    "sin": lambda mp, a, _: mp.sin(a[0]),
    "cos": lambda mp, a, _: mp.cos(a[0]),
    "erf": lambda mp, a, _: mp.erf(a[0]),
    "softmax": _softmax,
    "relu": lambda mp, a, _: max(a[0], mp.mpf(0)),
    "leaky_relu": lambda mp, a, _: a[0] if a[0] > 0 else a[0] * (a[1] if len(a) > 1 else mp.mpf(1) / 100),
    "abs": lambda mp, a, _: abs(a[0]),
    "floor": lambda mp, a, _: mp.floor(a[0]),
    "ceil": lambda mp, a, _: mp.ceil(a[0]),
    "max": lambda mp, a, _: max(a),
    "min": lambda mp, a, _: min(a),
    "clip": lambda mp, a, _: min(max(a[0], a[1]), a[2]),
    "pi": lambda mp, a, _: +mp.pi,
}
