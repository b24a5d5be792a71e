# SPDX-License-Identifier: Apache-2.0
"""The check of derivatives: central differences at random points at which the function is defined and has no kink."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import numpy as np

from pellucid.worked.derivation.indexed import INDICES, evaluate_at, indices_of
from pellucid.worked.expressions.expression import Call, Expr, Name, as_expr, replace, walk

__all__ = ["POINTS", "Point", "difference", "points_of", "value_of"]

POINTS: Final = 5
_SIZE: Final = 4  # components of each vector
_TRIES: Final = 400
_RANGES: Final = (
    (0.3, 1.7),
    (-1.7, -0.3),
    (0.05, 0.95),
    (-0.95, 0.95),
    (1.1, 3.0),
    (3.2, 6.0),
    (-6.0, -3.2),
    (6.0, 40.0),
)
"""Where numbers are drawn: one range after the other, so that both branches of |x| are met and log(x − 3) is defined somewhere."""


@dataclass(frozen=True)
class Point:
    """The value of every name, and the place of every index.

    Args:
        numbers: by stem, a vector for names with an index, a matrix for those with two.
        places: by index, from 0.
    """

    numbers: Mapping[str, Any]
    places: Mapping[str, int]

    def moved(self, by: str, step: float) -> Point:
        """The point with one variable changed."""
        stem, own = indices_of(by)
        value = np.array(self.numbers[stem], float)
        value[tuple(self.places[letter] for letter in own)] += step
        return Point({**self.numbers, stem: value}, self.places)


def points_of(node: Expr, by: str) -> list[Point]:
    """Random points at which an expression is defined and smooth; fewer, perhaps none, if it hardly is.

    >>> from pellucid.worked.notation.notation import parse_expression
    >>> all(point.numbers["x"] > 3 for point in points_of(parse_expression("log(x - 3)"), "x"))
    True

    Args:
        node: the expression, without names for its parts.
        by: the variable.
    """
    found: list[Point] = []
    with np.errstate(all="ignore"):
        for point in _drawn(node, by):
            if _smooth(partial(_moved_value, node, by, point)):
                found.append(point)
            if len(found) == POINTS:
                break
    return found


def _drawn(node: Expr, by: str) -> Iterator[Point]:
    random = np.random.default_rng(0)
    names = {part.name for part in walk(node) if isinstance(part, Name) and not part.name.startswith("δ_")} | {by}
    own = indices_of(by)[1]
    for number in range(_TRIES):
        # all names from one range at first; later each from its own
        together = number < 2 * len(_RANGES)
        places = {letter: int(random.integers(_SIZE)) for letter in sorted(INDICES)}
        if number == 0 and own:  # one point at which all indices are equal
            places = dict.fromkeys(places, places[own[0]])
        numbers: dict[str, Any] = {}
        for name in sorted(names):
            base, letters = indices_of(name)
            low, high = _RANGES[number % len(_RANGES) if together else int(random.integers(len(_RANGES)))]
            numbers[base] = random.uniform(low, high, (_SIZE,) * len(letters)) if letters else random.uniform(low, high)
        yield Point(numbers, places)


def _smooth(at: Callable[[float], float]) -> bool:
    """Whether a function has values around a point, and about the same slope on either side of it."""
    h = 2e-3
    try:
        left, middle, right = at(-h), at(0.0), at(h)
        near = at(h / 2)
    except (OverflowError, ValueError, ZeroDivisionError):
        return False
    if not all(map(math.isfinite, (left, middle, right, near))) or abs(middle) > 1e6:
        return False
    before, after = (middle - left) / h, (right - middle) / h
    return abs(after - before) <= 0.1 * max(1e-3, abs(after), abs(before)) and abs(near) < 1e9


def value_of(node: Expr, point: Point) -> float:
    """The value of an expression, in which derivatives that are not carried out are central differences.

    >>> from pellucid.worked.derivation.text import pending
    >>> round(value_of(pending(Name("x") ** 2, "x"), Point({"x": 3.0}, {})), 6)
    6.0
    """

    def change(part: Expr) -> Expr | None:
        match part:
            case Call(function="derivative", args=(inner, Name(name=by))):
                return as_expr(_slope(inner, by, point))
            case Call(function="sum", args=(body, Name(name=index))) if _pending(body):
                count = next(len(value) for value in point.numbers.values() if np.ndim(value))
                terms = [value_of(body, Point(point.numbers, {**point.places, index: k})) for k in range(count)]
                return as_expr(math.fsum(terms))
        return None

    return evaluate_at(replace(node, change), point.numbers, point.places)


def difference(forms: Iterable[Expr], expected: Expr, by: str, points: list[Point]) -> float:
    """The largest difference between forms of a derivative and the central difference of a function, relative to it or 1.

    Args:
        forms: the derivative, perhaps with parts that are not carried out.
        expected: the function.
        by: the variable.
        points: where to compare.
    """
    worst, kept = 0.0, dict.fromkeys(forms)
    with np.errstate(all="ignore"):
        for point in points:
            slope = _slope(expected, by, point)
            if not math.isfinite(slope):
                continue
            for form in kept:
                value = value_of(form, point)
                worst = max(worst, abs(value - slope) / max(1.0, abs(slope)) if math.isfinite(value) else math.inf)
    return worst


def _pending(node: Expr) -> bool:
    return any(isinstance(part, Call) and part.function == "derivative" for part in walk(node))


def _moved_value(node: Expr, by: str, point: Point, step: float) -> float:
    return evaluate_at(node, point.moved(by, step).numbers, point.places)


def _slope(node: Expr, by: str, point: Point) -> float:
    at = partial(_moved_value, node, by, point)
    h = 1e-3
    coarse, fine = (at(h) - at(-h)) / (2 * h), (at(h / 2) - at(-h / 2)) / h
    return (4 * fine - coarse) / 3  # Richardson extrapolation: the error is of order h⁴
