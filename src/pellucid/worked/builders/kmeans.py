# SPDX-License-Identifier: Apache-2.0
"""kmeans: steps of k-means, the nearest centre of each point and the mean of each group (Lloyd 1982)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from random import Random
from typing import Any, Final, final

import numpy as np

from pellucid.errors import UsageError
from pellucid.worked.expressions.expression import Const, Expr, Name
from pellucid.worked.forms.contract import Builder
from pellucid.worked.forms.exercise import by_hand
from pellucid.worked.forms.numbers import read_tensor, typed
from pellucid.worked.notation.arrays import component_name
from pellucid.worked.showing.grids import Grid, Table
from pellucid.worked.worksheet.solution import Solution
from pellucid.worked.worksheet.tensors import Numbers, Tensor, as_tensor, define, summed
from pellucid.worked.worksheet.worksheet import Worksheet

__all__ = ["KMeans"]

_MOST: Final = 400  # distances that a person can work


@final
@dataclass(frozen=True, kw_only=True)
class KMeans(Builder):
    """Work steps of k-means by hand: squared distances, the group of each point, new centres, and the sum of squares."""

    topic = "clustering and embedding"
    question = "Which centre is nearest to each point, where do the centres move, and when does k-means stop?"
    keeps = ("steps",)

    x: str = "1 1; 2 1; 1 2; 5 4; 6 5"
    """the points, one per row"""
    centres: str = "1 1; 2 1"
    """the initial centres, one per row"""
    steps: int = 3
    """number of steps, 1 to 20; fewer are worked if nothing changes any more"""

    @staticmethod
    def build(x: Numbers, centres: Numbers, steps: int = 3) -> Worksheet:
        """The worksheet of steps of k-means; d_s_i_k is the squared distance of point i from centre k in step s.

        >>> sheet = KMeans.build([0, 1, 8, 9], [0, 1])
        >>> [str(sheet.solve().value(name)) for name in ("m_1_1", "m_1_2", "m_2_2", "J_3")]
        ['0', '6', '17/2', '1']

        Args:
            x: N points, (N,) or (N, D).
            centres: the initial ones, K of them.
            steps: at most so many; where no group changes, the steps end.

        Raises:
            UsageError: shapes that do not fit, or a centre that is nearest to no point.
        """
        points, first = (_columns(as_tensor(value, name, 1, 2)) for value, name in ((x, "x"), (centres, "centres")))
        if points.shape[1] != first.shape[1] or not 1 <= len(first) <= len(points):
            raise UsageError(
                "x, centres: must have as many columns, and no more centres than points; change one of them."
            )
        if not 1 <= steps <= 20 or steps * points.shape[0] * len(first) > _MOST:
            raise UsageError(f"steps={steps}: must be from 1 to 20, with at most {_MOST} distances in all; take fewer.")
        sheet = Worksheet()
        X = _put(sheet, "x", points)
        means = _put(sheet, "m_0", first)
        values, at = _numbers(points), _numbers(first)
        before: list[int] = []
        for step in range(1, steps + 1):
            groups = _nearest(values, at, step)
            means, at = _put_step(sheet, step, X, means, groups, values)
            if groups == before:
                sheet.remark(f"In step {step} no point changes its cluster: k-means has stopped.", hint=True)
                break
            before = groups
        sheet.remark(
            "d_s_i_k is the squared distance of point i from centre k in step s, m_s_k the mean of the points that are nearest to centre "
            "k, and J_s the sum of all points' squared distances from their centre before it moves."
        )
        return sheet

    def worksheet(self) -> Worksheet:
        """The worksheet of the options."""
        return self.build(read_tensor(self.x, "x"), read_tensor(self.centres, "centres"), self.steps)

    def grids(self, solution: Solution) -> Sequence[Grid]:
        """The nearest centre of each point, step by step."""
        points, centres = len(read_tensor(self.x, "x")), len(read_tensor(self.centres, "centres"))
        steps = [step for step in range(1, self.steps + 1) if f"J_{step}" in solution.values]
        rows: list[tuple[str | Expr, ...]] = []
        for i in range(1, points + 1):
            distances = ([solution.value(f"d_{step}_{i}_{k}") for k in range(1, centres + 1)] for step in steps)
            rows.append((f"point {i}", *(str(1 + each.index(min(each))) for each in distances)))
        rows.append((Name("J"), *(Const(solution.value(f"J_{step}")) for step in steps)))
        return [
            Table("the centre that is nearest to each point", ("", *(f"step {step}" for step in steps)), tuple(rows))
        ]

    def draw(self, random: Random) -> KMeans:
        """Five points with whole numbers, of which two are the initial centres."""

        def draw() -> KMeans:
            # places that differ: of two equal centres one would be nearest to no point
            places = random.sample([(i, j) for i in range(7) for j in range(7)], 5)
            x = [[*place] for place in places]
            return replace(self, x=typed(x), centres=typed(random.sample(x, 2)))

        def clear(solution: Solution) -> bool:
            """No point lies half-way between the centres, and a centre moves in the second step too."""
            ties = (
                solution.value(name) == solution.value(f"{name[:-1]}2")
                for name in solution.values
                if name[:2] == "d_" and name[-1] == "1"
            )
            return (
                not any(ties) and "J_2" in solution.values and solution.value("J_1") > solution.value("J_2")
            ) or self.steps == 1

        return by_hand(draw, clear)


def _columns(values: Tensor) -> Tensor:
    return values.reshape(len(values), -1)


def _put(sheet: Worksheet, name: str, values: Tensor) -> Tensor:
    """Write down points; on a line they have one index."""
    return define(sheet, name, values if values.shape[1] > 1 else values[:, 0]).reshape(values.shape)


def _numbers(values: Tensor) -> list[list[Fraction]]:
    return [[_number(cell) for cell in row] for row in values]


def _number(cell: Any) -> Fraction:
    assert isinstance(cell, Const) and isinstance(cell.value, Fraction)
    return cell.value


def _nearest(points: list[list[Fraction]], centres: list[list[Fraction]], step: int) -> list[int]:
    """The place of the nearest centre of each point; of equally near ones the first."""
    found = []
    for point in points:
        distances = [sum((a - b) ** 2 for a, b in zip(point, centre, strict=True)) for centre in centres]
        found.append(distances.index(min(distances)))
    for k in range(len(centres)):
        if k not in found:
            raise UsageError(
                f"centres: in step {step} centre {k + 1} is nearest to no point and has no mean; begin elsewhere."
            )
    return found


def _put_step(
    sheet: Worksheet, step: int, X: Tensor, means: Tensor, groups: list[int], values: list[list[Fraction]]
) -> tuple[Tensor, list[list[Fraction]]]:
    """Write down a step; the names of the new centres, and their numbers."""
    distances = np.empty((len(X), len(means)), dtype=object)
    for i, k in np.ndindex(*distances.shape):
        distances[i, k] = summed([(a - b) ** 2 for a, b in zip(X[i], means[k], strict=True)])
    d = define(sheet, f"d_{step}", distances)
    sheet[f"J_{step}"] = summed([d[i, k] for i, k in enumerate(groups)])
    moved = np.empty(means.shape, dtype=object)
    numbers = []
    for k in range(len(means)):
        own = [i for i, group in enumerate(groups) if group == k]
        for c in range(means.shape[1]):
            total = summed([X[i, c] for i in own])
            moved[k, c] = total / len(own) if len(own) > 1 else total
        numbers.append([sum((values[i][c] for i in own), Fraction(0)) / len(own) for c in range(means.shape[1])])
    names = _put(sheet, f"m_{step}", moved)
    sheet.ask(*(component_name(f"d_{step}", [i + 1, k + 1]) for i, k in np.ndindex(*d.shape)), f"J_{step}")
    sheet.ask(*(name.name for name in names.flat))
    # these equations say which point belongs to which centre: that is the exercise
    sheet.hold_back(f"J_{step}", *(name.name for name in names.flat))
    return names, numbers
