# SPDX-License-Identifier: Apache-2.0
"""The chain rule over named quantities: which equations use a name, local derivatives, paths, the way back.

The quantities are the nodes of a graph; an edge leads from a name to each quantity whose equation uses it and carries
the local derivative. ∂L/∂W is the sum over all paths from W to L of the product of the local derivatives, and is worked
out a second time backwards, ∂L/∂q = Σ ∂L/∂c · ∂c/∂q over the c that use q.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Final, TypeAlias, final

from pellucid.errors import UsageError
from pellucid.worked.expressions.arithmetic import plus, times
from pellucid.worked.expressions.differentiation import differentiate
from pellucid.worked.expressions.evaluation import evaluate
from pellucid.worked.expressions.expression import Call, Expr, Name, Value, names, replace
from pellucid.worked.expressions.position import place
from pellucid.worked.worksheet.equation import Equation

__all__ = ["Graph", "Path"]

PATHS: Final = 64  # more are not written out one by one

Path: TypeAlias = tuple[str, ...]


@final
class Graph:
    """The graph of a worksheet whose values are known.

    >>> from pellucid.worked.expressions.expression import Const
    >>> W, h = Name("W"), Name("h")
    >>> rights = {"W": Const(Fraction(3)), "h": W * 2, "L": h * W}
    >>> equations = {name: Equation(name, right) for name, right in rights.items()}
    >>> graph = Graph(equations, ["W", "h", "L"], {"W": Fraction(3), "h": Fraction(6), "L": Fraction(18)})
    >>> graph.paths("W", "L")
    [('W', 'h', 'L'), ('W', 'L')]
    >>> graph.derivative("L", "W")
    Fraction(12, 1)
    """

    def __init__(self, equations: Mapping[str, Equation], order: Sequence[str], values: Mapping[str, Value]) -> None:
        self.equations = equations
        self.values = values
        self.order = order
        self.position = {name: n for n, name in enumerate(order)}
        self.used_by: dict[str, list[str]] = {name: [] for name in order}
        self.uses: dict[str, list[str]] = {name: list(names(equations[name].right)) for name in order}
        for name in order:
            for below in self.uses[name]:
                self.used_by[below].append(name)
        # the same right side elsewhere has a name: softmax's other components, a sigmoid that is a quantity
        self._named: dict[Expr, Expr] = {}
        for name in order:
            if isinstance(equations[name].right, Call):
                self._named.setdefault(equations[name].right, Name(name))
        self._local: dict[tuple[str, str], tuple[Expr, Value]] = {}
        self._above: dict[str, set[str]] = {}
        self._below: dict[str, set[str]] = {}
        self._back: dict[str, dict[str, Value]] = {}

    def local(self, of: str, by: str) -> tuple[Expr, Value]:
        """The derivative of a quantity's own equation by a name in it, in symbols and as a number."""
        key = (of, by)
        if key not in self._local:
            slope = differentiate(self.equations[of].right, by, self.values)
            slope = replace(slope, self._named)
            try:
                self._local[key] = slope, evaluate(slope, self.values)
            except UsageError as fault:
                rule = str(fault).partition(": ")[2] if str(fault).startswith("line ") else str(fault)
                raise UsageError(f"{place(self.equations[of].at, of)}∂{of}/∂{by} has no value here: {rule}") from None
        return self._local[key]

    def above(self, name: str) -> set[str]:
        """The quantities that depend on a name, and itself."""
        if name not in self._above:
            self._above[name] = _closure(name, self.used_by)
        return self._above[name]

    def below(self, name: str) -> set[str]:
        """The quantities that a name depends on, and itself."""
        if name not in self._below:
            self._below[name] = _closure(name, self.uses)
        return self._below[name]

    def between(self, by: str, of: str) -> list[str]:
        """What lies on the paths from one name to another, both ends included, in order."""
        return sorted(self.above(by) & self.below(of), key=self.position.__getitem__)

    def count(self, by: str, of: str) -> int:
        """How many paths there are."""
        route = self.between(by, of)
        ways = dict.fromkeys(route, 0)
        if by in ways:
            ways[by] = 1
        for name in route[1:]:
            ways[name] = sum(ways.get(below, 0) for below in self.uses[name])
        return ways.get(of, 0)

    def paths(self, by: str, of: str) -> list[Path]:
        """Every path, in the order of the quantities where they part."""
        route = set(self.between(by, of))
        found: list[Path] = []
        stack: list[Path] = [(by,)] if by in route else []
        while stack:
            path = stack.pop()
            if path[-1] == of:
                found.append(path)
                continue
            following = [name for name in self.used_by[path[-1]] if name in route]
            stack += [(*path, name) for name in reversed(following)]
        return found

    def product(self, path: Path) -> Value:
        """The product of the local derivatives along a path."""
        found: Value = Fraction(1)
        for below, above in itertools.pairwise(path):
            found = times(found, self.local(above, below)[1])
        return found

    def back(self, of: str) -> Mapping[str, Value]:
        """The derivative of one quantity by every quantity below it, worked out backwards in one pass."""
        if of not in self._back:
            below = self.below(of)
            found: dict[str, Value] = {of: Fraction(1)}
            for name in sorted(below - {of}, key=self.position.__getitem__, reverse=True):
                total: Value = Fraction(0)
                for above in self.used_by[name]:
                    if above in below:
                        total = plus(total, times(found[above], self.local(above, name)[1]))
                found[name] = total
            self._back[of] = found
        return self._back[of]

    def derivative(self, of: str, by: str) -> Value:
        """The derivative of one quantity by another; 0 where it does not depend on it."""
        return self.back(of).get(by, Fraction(0))


def _closure(name: str, following: Mapping[str, Sequence[str]]) -> set[str]:
    found, pending = {name}, [name]
    while pending:
        new = set(following[pending.pop()]) - found
        found |= new
        pending += new
    return found
