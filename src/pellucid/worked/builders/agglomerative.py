# SPDX-License-Identifier: Apache-2.0
"""agglomerative: the two nearest clusters become one, again and again (Lance and Williams 1967 for the distances of a new one)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass, replace
from itertools import combinations
from random import Random
from typing import Final, Literal, TypeAlias, final

from pellucid.errors import UsageError
from pellucid.worked.expressions.expression import Const, Expr, Name
from pellucid.worked.forms.contract import Builder
from pellucid.worked.forms.exercise import by_hand
from pellucid.worked.forms.numbers import read_tensor, typed
from pellucid.worked.notation.operations import absolute, maximum, minimum, sqrt
from pellucid.worked.showing.grids import Grid, Table
from pellucid.worked.worksheet.solution import Solution
from pellucid.worked.worksheet.tensors import Numbers, Tensor, as_tensor, define, summed
from pellucid.worked.worksheet.worksheet import Worksheet

__all__ = ["Agglomerative"]

Linkage: TypeAlias = Literal["single", "complete", "average"]

_MOST: Final = 10  # points that a person can work


@final
@dataclass(frozen=True)
class Agglomerative(Builder):
    """Work agglomerative clustering by hand: distances, which clusters merge at which height, and the new distances."""

    topic = "clustering and embedding"
    question = "Which clusters merge, at which height, and how far is the new one from the others?"
    keeps = ("linkage",)

    x: str = "1 1; 2 1; 4 3; 5 5; 8 2"
    """the points, one per row"""
    _: KW_ONLY
    linkage: Linkage = "single"
    """distance of two clusters: of their nearest points, of their farthest points, or the mean over all pairs"""

    @staticmethod
    def build(x: Numbers, linkage: Linkage = "single") -> Worksheet:
        """The worksheet of all merges; a new cluster takes the next number, as in SciPy.

        >>> sheet = Agglomerative.build([0, 1, 4, 9])
        >>> [str(sheet.solve().value(name)) for name in ("h_1", "h_2", "h_3")]
        ['1', '3', '5']

        Args:
            x: N points, (N,) or (N, D).
            linkage: single, complete or average.

        Raises:
            UsageError: fewer than two points, or too many to work by hand.
        """
        given = as_tensor(x, "x", 1, 2)
        points: Tensor = given.reshape(len(given), -1)
        if not 2 <= len(points) <= _MOST:
            raise UsageError(f"x: has {len(points)} points; give 2 to {_MOST}.")
        if linkage not in ("single", "complete", "average"):
            raise UsageError(f"linkage={linkage!r}: must be single, complete or average; choose one of them.")
        sheet = Worksheet()
        X = define(sheet, "x", points if points.shape[1] > 1 else points[:, 0]).reshape(points.shape)
        for i, j in combinations(range(len(X)), 2):
            sheet[_between(i, j)] = _distance(X[i], X[j])
        sheet.ask(*(_between(i, j) for i, j in combinations(range(len(X)), 2)))
        _put_merges(sheet, len(X), linkage)
        sheet.remark(
            f"d_ij is the distance between clusters i and j, by {linkage} linkage. Each point starts as a cluster; in each step the two "
            f"nearest clusters merge at height h, and the new cluster takes the next number, {len(X) + 1} for the first."
        )
        return sheet

    def worksheet(self) -> Worksheet:
        """The worksheet of the options."""
        return self.build(read_tensor(self.x, "x"), self.linkage)

    def grids(self, solution: Solution) -> Sequence[Grid]:
        """The merges, with the points of each new cluster."""
        count = len(read_tensor(self.x, "x"))
        members = {i: [i + 1] for i in range(count)}
        rows: list[tuple[str | Expr, ...]] = []
        left = [*range(count)]
        while len(left) > 1:
            i, j = min(combinations(left, 2), key=lambda pair: solution.value(_between(*pair)))
            new = count + len(rows)
            members[new] = sorted(members[i] + members[j])
            height = Const(solution.value(f"h_{len(rows) + 1}"))
            rows.append((str(new + 1), f"{i + 1} and {j + 1}", height, ", ".join(map(str, members[new]))))
            left = [each for each in left if each not in (i, j)] + [new]
        return [Table("the clusters that merge", ("new cluster", "made of", "height", "points"), tuple(rows))]

    def draw(self, random: Random) -> Agglomerative:
        """Five points with whole numbers, whose distances all differ."""

        def draw() -> Agglomerative:
            return replace(self, x=typed([[random.randint(0, 9), random.randint(0, 9)] for _ in range(5)]))

        return by_hand(draw)


def _between(i: int, j: int) -> str:
    return f"d_{min(i, j) + 1}_{max(i, j) + 1}"


def _distance(one: Sequence[Expr], two: Sequence[Expr]) -> Expr:
    """Euclidean; on a line the absolute value."""
    if len(one) == 1:
        return absolute(one[0] - two[0])
    return sqrt(summed([(a - b) ** 2 for a, b in zip(one, two, strict=True)]))


def _put_merges(sheet: Worksheet, count: int, linkage: Linkage) -> None:
    """Write down each merge: its height, and the distances of the new cluster."""
    left, sizes = [*range(count)], dict.fromkeys(range(count), 1)
    for new in range(count, 2 * count - 1):
        values = sheet.solve().values  # which pair is nearest is known from the numbers alone
        pairs = [*combinations(left, 2)]
        i, j = min(pairs, key=lambda pair: values[_between(*pair)])
        height = f"h_{new - count + 1}"
        distances = [Name(_between(*pair)) for pair in pairs]
        sheet[height] = minimum(*distances) if len(pairs) > 1 else distances[0]
        left = [each for each in left if each not in (i, j)]
        found = []
        for k in left:
            one, two = Name(_between(i, k)), Name(_between(j, k))
            found.append(_between(k, new))
            if linkage == "average":
                # the mean over all pairs, from the means over the pairs of either part
                sheet[found[-1]] = (sizes[i] * one + sizes[j] * two) / (sizes[i] + sizes[j])
            else:
                sheet[found[-1]] = (minimum if linkage == "single" else maximum)(one, two)
        left.append(new)
        sizes[new] = sizes[i] + sizes[j]
        sheet.ask(height, *found)
        # these equations say which clusters have merged: that is the exercise
        sheet.hold_back(*found, *([height] if new > count else []))
