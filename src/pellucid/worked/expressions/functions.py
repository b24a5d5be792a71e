# SPDX-License-Identifier: Apache-2.0
"""The functions of a worksheet, each with its exact value, its NumPy value and its derivative.

The derivative is next to the function: `slope(args, place, whole)` is the partial derivative with respect to argument `place`,
as an expression. `whole` is the call itself, so that sigmoid's is σ(u)·(1 − σ(u)) and reuses a value that is already known.
"""

from __future__ import annotations

import decimal
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Any, Final, TypeAlias, final

import numpy as np

from pellucid.worked.expressions.arithmetic import decimal_of, exponential, logarithm, over, plus, root, times
from pellucid.worked.expressions.expression import Call, Const, Expr, Neg, Value

__all__ = ["ALIASES", "FUNCTIONS", "Function"]

Slope: TypeAlias = Callable[[Sequence[Expr], int, Call], Expr]
ZERO, ONE, TWO = (Const(Fraction(n)) for n in (0, 1, 2))


@final
@dataclass(frozen=True)
class Function:
    """All there is to know about one function.

    >>> FUNCTIONS["relu"].exact([Fraction(-3)], 0)
    Fraction(0, 1)
    """

    min_args: int
    max_args: int
    exact: Callable[[Sequence[Value], int], Value]  # (arguments, component) -> value; ValueError outside the domain
    numpy: Callable[[Sequence[Any], int], Any]  # the same in NumPy, for the check
    slope: Slope | None  # None if the derivative depends on the branch, see `branch_slope`
    domain: str = ""  # the rule that a value outside the domain breaks
    branch: Callable[[Sequence[Value]], tuple[int, bool]] | None = None  # the branch taken, and whether at a kink
    branch_slope: Callable[[Sequence[Expr], int, int], Expr] | None = None  # (args, place, branch) -> derivative
    convention: str = ""  # the derivative at the kink, in words
    numpy_branch: Callable[[Sequence[Any]], Any] | None = None  # the branch taken, in NumPy
    numpy_on_branch: Callable[[Sequence[Any], Any], Any] | None = None  # NumPy's value if this branch is taken


def _sigmoid(args: Sequence[Value], _: int) -> Value:
    if args[0] == 0:
        return Fraction(1, 2)
    if args[0] > 0:
        return over(Fraction(1), plus(Fraction(1), exponential(-args[0])))
    small = exponential(args[0])  # of a negative number, so it cannot overflow
    return over(small, plus(Fraction(1), small))


def _tanh(args: Sequence[Value], _: int) -> Value:
    if args[0] == 0:
        return Fraction(0)
    size = abs(decimal_of(args[0]))
    with decimal.localcontext() as context:
        # near 0, 1 − e^(−2|u|) cancels as many digits as |u| has leading zeros: compute with so many more
        context.prec += max(0, -size.adjusted()) + 2
        small = (-2 * size).exp()
        value = (1 - small) / (1 + small)
    return +value if args[0] > 0 else -value  # the sign operator rounds to the working precision


def _softplus(args: Sequence[Value], _: int) -> Value:
    # log(1 + e^u) = max(u, 0) + log(1 + e^−|u|), whose power cannot overflow
    u = args[0]
    small = exponential(-u if u > 0 else u)
    return plus(u if u > 0 else Fraction(0), logarithm(plus(Fraction(1), small)))


def _sine(value: Value, shift: int) -> Value:
    """The sine, shifted by a quarter turn for the cosine: the Taylor series, after whole turns are taken off."""
    if value == 0:
        return Fraction(shift)
    with decimal.localcontext() as context:
        context.prec += 10 + max(0, decimal_of(value).adjusted())  # digits that whole turns cost
        x = decimal_of(value) % (2 * _pi())
        term = total = Decimal(1) if shift else x
        n = 1 - shift
        while abs(term) > Decimal(10) ** -context.prec:
            term *= -x * x / ((n + 1) * (n + 2))
            n += 2
            total += term
    return +total


def _erf(args: Sequence[Value], _: int) -> Value:
    """2/√π·Σ (−1)ⁿu²ⁿ⁺¹/(n!(2n + 1)) near 0; beyond 20 it is 1 to more than 170 digits (Abramowitz and Stegun 7.1.5)."""
    u = args[0]
    if u == 0:
        return Fraction(0)
    if not -20 <= u <= 20:
        return Fraction(1 if u > 0 else -1)
    with decimal.localcontext() as context:
        x = decimal_of(u)
        context.prec += 10 + int(x * x)  # the terms grow to e^(u²) before they cancel
        power = total = x
        n = 0
        while abs(power) > Decimal(10) ** -context.prec:
            n += 1
            power *= -x * x / n
            total += power / (2 * n + 1)
        total *= 2 / _pi().sqrt()
    return +total


def _numpy_tanh(args: Sequence[Any], _: int) -> Any:
    return np.tanh(args[0])


def _numpy_sigmoid(args: Sequence[Any], _: int) -> Any:
    u = np.asarray(args[0])
    small = np.exp(-np.abs(u))
    return np.where(u >= 0, 1, small) / (1 + small)


def _softmax(args: Sequence[Value], index: int) -> Value:
    # softmax(z) = softmax(z − max z), whose powers are at most 1
    largest = max(args)
    powers = [exponential(plus(arg, -largest)) for arg in args]
    total: Value = Fraction(0)
    for power in powers:
        total = plus(total, power)
    return over(powers[index - 1], total)


def _numpy_softmax(args: Sequence[Any], index: int) -> Any:
    stacked = np.stack(np.broadcast_arrays(*args))  # (K, points)
    powers = np.exp(stacked - stacked.max(0))
    return powers[index - 1] / powers.sum(0)


def _softmax_slope(args: Sequence[Expr], place: int, whole: Call) -> Expr:
    # ∂p_i/∂z_j = p_i·(δ_ij − p_j)
    if place == whole.index - 1:
        return whole * (ONE - whole)
    return Neg(whole * Call("softmax", whole.args, place + 1))


def _pick(args: Sequence[Any], chosen: Any) -> Any:
    """Of K arguments the chosen one at each point."""
    return np.take_along_axis(np.stack(np.broadcast_arrays(*args)), np.asarray(chosen)[None], 0)[0]


def _extreme(sign: int) -> Function:
    """The maximum (sign 1) or minimum (sign −1); its branch is the argument that wins."""
    pick = max if sign > 0 else min

    def branch(args: Sequence[Value]) -> tuple[int, bool]:
        best = pick(args)
        return list(args).index(best), list(args).count(best) > 1

    def numpy_branch(args: Sequence[Any]) -> Any:
        return np.argmax(sign * np.stack(np.broadcast_arrays(*args)), 0)

    return Function(
        1,
        1000,
        lambda args, _: pick(args),
        lambda args, _: (np.max if sign > 0 else np.min)(np.stack(np.broadcast_arrays(*args)), 0),
        None,
        branch=branch,
        branch_slope=lambda args, place, chosen: ONE if place == chosen else ZERO,
        convention="of equal arguments the first counts",
        numpy_branch=numpy_branch,
        numpy_on_branch=_pick,
    )


def _step(rounded: Callable[[Value], int], numpy: Callable[[Any], Any], name: str) -> Function:
    """Rounding down or up to a whole number: constant between whole numbers, where it jumps."""
    return Function(
        1,
        1,
        lambda a, _: Fraction(rounded(a[0])),
        lambda a, _: numpy(a[0]),
        None,
        branch=lambda a: (rounded(a[0]), rounded(a[0]) == a[0]),
        branch_slope=lambda a, p, chosen: ZERO,
        convention=f"at whole numbers, where the {name} jumps, its derivative is taken as 0",
        numpy_branch=lambda a: numpy(a[0]),
        numpy_on_branch=lambda a, chosen: np.asarray(chosen, np.float64) + 0 * np.asarray(a[0], np.float64),
    )


def _leaky(args: Sequence[Value], _: int) -> Value:
    return args[0] if args[0] > 0 else times(_leak(args), args[0])


def _clip_branch(args: Sequence[Value]) -> tuple[int, bool]:
    u, low, high = args
    # the branch is the argument that passes: 0 u itself, 1 the lower limit, 2 the upper
    return (1 if u <= low else 2 if u >= high else 0), u in (low, high)


def _leak(args: Sequence[Any]) -> Any:
    return args[1] if len(args) > 1 else Fraction(1, 100)  # PyTorch's default


FUNCTIONS: Final[Mapping[str, Function]] = {
    "exp": Function(1, 1, lambda a, _: exponential(a[0]), lambda a, _: np.exp(a[0]), lambda a, p, w: w),
    "log": Function(
        1,
        1,
        lambda a, _: logarithm(a[0]),
        lambda a, _: np.log(a[0]),
        lambda a, p, w: ONE / a[0],
        domain="the logarithm needs a positive number",
    ),
    "sqrt": Function(
        1,
        1,
        lambda a, _: root(a[0]),
        lambda a, _: np.sqrt(a[0]),
        lambda a, p, w: ONE / (TWO * w),
        domain="the square root needs a number of at least 0",
    ),
    "sigmoid": Function(1, 1, _sigmoid, _numpy_sigmoid, lambda a, p, w: w * (ONE - w)),
    "tanh": Function(1, 1, _tanh, _numpy_tanh, lambda a, p, w: ONE - w**TWO),
    "softplus": Function(1, 1, _softplus, lambda a, _: np.logaddexp(0, a[0]), lambda a, p, w: Call("sigmoid", (a[0],))),
    "sin": Function(1, 1, lambda a, _: _sine(a[0], 0), lambda a, _: np.sin(a[0]), lambda a, p, w: Call("cos", (a[0],))),
    "cos": Function(
        1, 1, lambda a, _: _sine(a[0], 1), lambda a, _: np.cos(a[0]), lambda a, p, w: Neg(Call("sin", (a[0],)))
    ),
    "erf": Function(
        1,
        1,
        _erf,
        lambda a, _: np.vectorize(math.erf, otypes=[np.float64])(a[0]),
        lambda a, p, w: TWO * Call("exp", (Neg(a[0] ** TWO),)) / Call("sqrt", (Call("pi", ()),)),
    ),
    "softmax": Function(1, 1000, _softmax, _numpy_softmax, _softmax_slope),
    "relu": Function(
        1,
        1,
        lambda a, _: a[0] if a[0] > 0 else Fraction(0),
        lambda a, _: np.maximum(a[0], 0),
        None,
        branch=lambda a: (int(a[0] > 0), a[0] == 0),
        branch_slope=lambda a, p, chosen: ONE if chosen else ZERO,
        convention="at 0 the derivative of ReLU is taken as 0",
        numpy_branch=lambda a: np.asarray(a[0] > 0),
        numpy_on_branch=lambda a, chosen: np.where(chosen, a[0], 0),
    ),
    "leaky_relu": Function(
        1,
        2,
        _leaky,
        lambda a, _: np.where(a[0] > 0, a[0], float(_leak(a)) * a[0] if len(a) < 2 else a[1] * a[0]),
        None,
        branch=lambda a: (int(a[0] > 0), a[0] == 0),
        branch_slope=lambda a, p, chosen: (
            (ONE if chosen else a[1] if len(a) > 1 else Const(Fraction(1, 100)))
            if p == 0
            else (ZERO if chosen else a[0])
        ),
        convention="at 0 the derivative of leaky ReLU is taken as the slope on the left",
        numpy_branch=lambda a: np.asarray(a[0] > 0),
        numpy_on_branch=lambda a, chosen: np.where(chosen, a[0], (a[1] if len(a) > 1 else 0.01) * a[0]),
    ),
    "abs": Function(
        1,
        1,
        lambda a, _: a[0] if a[0] > 0 else -a[0],
        lambda a, _: np.abs(a[0]),
        None,
        branch=lambda a: ((a[0] > 0) - (a[0] < 0), a[0] == 0),
        branch_slope=lambda a, p, chosen: Const(Fraction(chosen)),
        convention="at 0 the derivative of the absolute value is taken as 0",
        numpy_branch=lambda a: np.sign(a[0]),
        numpy_on_branch=lambda a, chosen: chosen * a[0],
    ),
    "floor": _step(math.floor, np.floor, "floor"),
    "ceil": _step(math.ceil, np.ceil, "ceiling"),
    "max": _extreme(1),
    "min": _extreme(-1),
    "clip": Function(
        3,
        3,
        lambda a, _: min(max(a[0], a[1]), a[2]),
        lambda a, _: np.clip(a[0], a[1], a[2]),
        None,
        branch=_clip_branch,
        branch_slope=lambda a, p, chosen: ONE if p == chosen else ZERO,
        convention="at a limit the derivative of clip is taken as 0, as outside",
        numpy_branch=lambda a: np.where(a[0] <= a[1], 1, np.where(a[0] >= a[2], 2, 0)),
        numpy_on_branch=_pick,
    ),
    "pi": Function(0, 0, lambda a, _: _pi(), lambda a, _: np.float64(math.pi), lambda a, p, w: ZERO),
}

ALIASES: Final[Mapping[str, str]] = {"ln": "log", "σ": "sigmoid", "sigma": "sigmoid", "ReLU": "relu", "clamp": "clip"}


def _pi() -> Decimal:
    """π to the working precision by Machin's formula, π = 16 arctan(1/5) − 4 arctan(1/239), in integers."""
    places = decimal.getcontext().prec + 5  # five guard digits
    unit: int = 10**places

    def arctan(inverse: int) -> int:  # arctan(1/x) = 1/x − 1/3x³ + 1/5x⁵ − …
        total = term = int(unit // inverse)
        n, sign = 3, -1
        while term:
            term //= inverse * inverse
            total += sign * (term // n)
            n, sign = n + 2, -sign
        return total

    return Decimal(16 * arctan(5) - 4 * arctan(239)) / Decimal(unit)
