# SPDX-License-Identifier: Apache-2.0
"""The computational graph of a worksheet and the chain rule over it: local derivatives, paths, the backward pass.

The nodes are the quantities. An edge leads from a name to each quantity whose equation uses it, and carries the local derivative.
∂L/∂W is the sum over all paths from W to L of the product of the local derivatives along the path. The backward pass computes it
a second way, ∂L/∂q = Σ_c ∂L/∂c · ∂c/∂q over the quantities c that use q (reverse-mode differentiation).
"""

from __future__ import annotations

import decimal
import itertools
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Final, TypeAlias, final

from pellucid.errors import UsageError
from pellucid.worked.expressions.arithmetic import plus, times
from pellucid.worked.expressions.differentiation import differentiate
from pellucid.worked.expressions.evaluation import evaluate
from pellucid.worked.expressions.expression import Call, Expr, Name, Value, names, replace
from pellucid.worked.expressions.position import position
from pellucid.worked.worksheet.equation import Equation

__all__ = ["Graph", "Path"]

MAX_PATHS: Final = 64  # with more, the answer shows the backward pass instead of every path

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

    Args:
        equations: by name.
        order: the names, each after those that its equation uses.
        values: of all names.
    """

    def __init__(self, equations: Mapping[str, Equation], order: Sequence[str], values: Mapping[str, Value]) -> None:
        self.equations = equations
        self.values = values
        self.order = order
        self.position = {name: n for n, name in enumerate(order)}
        # the edges in both directions: dependents for the backward pass, dependencies for values
        self.used_by: dict[str, list[str]] = {name: [] for name in order}
        self.uses: dict[str, list[str]] = {name: list(names(equations[name].right)) for name in order}
        for name in order:
            for below in self.uses[name]:
                self.used_by[below].append(name)
        # a call that is a quantity by itself is written by its name: σ(z)·(1 − σ(z)) becomes a·(1 − a)
        self._named: dict[Expr, Expr] = {}
        for name in order:
            if isinstance(equations[name].right, Call):
                self._named.setdefault(equations[name].right, Name(name))
        self._local: dict[tuple[str, str], tuple[Expr, Value]] = {}
        self._dependents: dict[str, set[str]] = {}
        self._dependencies: dict[str, set[str]] = {}
        self._backward: dict[str, dict[str, Value]] = {}

    def local_derivative(self, of: str, by: str) -> tuple[Expr, Value]:
        """The derivative of a quantity's own equation with respect to a name in it, as an expression and as a number."""
        key = (of, by)
        if key not in self._local:  # many paths share an edge
            slope = differentiate(self.equations[of].right, by, self.values)
            slope = replace(slope, self._named)
            try:
                self._local[key] = slope, evaluate(slope, self.values)
            except UsageError as fault:
                # √a has a value at 0 and no derivative: name the equation, not the place inside the derivative
                rule = str(fault).partition(": ")[2] if str(fault).startswith("line ") else str(fault)
                raise UsageError(
                    f"{position(self.equations[of].at, of)}∂{of}/∂{by} has no value here: {rule}"
                ) from None
        return self._local[key]

    def dependents(self, name: str) -> set[str]:
        """The quantities that depend on a name, directly or not, and the name itself."""
        if name not in self._dependents:
            self._dependents[name] = _closure(name, self.used_by)
        return self._dependents[name]

    def dependencies(self, name: str) -> set[str]:
        """The quantities that a name depends on, directly or not, and the name itself."""
        if name not in self._dependencies:
            self._dependencies[name] = _closure(name, self.uses)
        return self._dependencies[name]

    def route(self, by: str, of: str) -> list[str]:
        """All quantities on the paths from `by` to `of`, both included, in order."""
        return sorted(self.dependents(by) & self.dependencies(of), key=self.position.__getitem__)

    def path_count(self, by: str, of: str) -> int:
        """The number of paths, counted without listing them."""
        route = self.route(by, of)
        ways = dict.fromkeys(route, 0)
        if by in ways:
            ways[by] = 1
        # dynamic programming: the ways to a node are the sum of the ways to its predecessors
        for name in route[1:]:
            ways[name] = sum(ways.get(below, 0) for below in self.uses[name])
        return ways.get(of, 0)

    def paths(self, by: str, of: str) -> list[Path]:
        """Every path, ordered by the quantities where the paths part."""
        route = set(self.route(by, of))
        complete: list[Path] = []
        stack: list[Path] = [(by,)] if by in route else []
        while stack:  # depth first; nodes off the route lead nowhere and are skipped
            path = stack.pop()
            if path[-1] == of:
                complete.append(path)
                continue
            following = [name for name in self.used_by[path[-1]] if name in route]
            stack += [(*path, name) for name in reversed(following)]
        return complete

    def path_product(self, path: Path) -> Value:
        """The product of the local derivatives along a path, ∂L/∂h · ∂h/∂W."""
        product: Value = Fraction(1)
        for below, above in itertools.pairwise(path):
            try:
                product = times(product, self.local_derivative(above, below)[1])
            except (OverflowError, decimal.Overflow):
                raise self._too_large(path[-1], path[0]) from None
        return product

    def backward(self, of: str) -> Mapping[str, Value]:
        """The derivatives of one quantity with respect to everything it depends on, in one backward pass."""
        if of not in self._backward:
            needed = self.dependencies(of)
            gradient: dict[str, Value] = {of: Fraction(1)}
            # in reverse order every dependent of a quantity is finished before the quantity itself
            for name in sorted(needed - {of}, key=self.position.__getitem__, reverse=True):
                total: Value = Fraction(0)
                for above in self.used_by[name]:
                    if above in needed:  # other dependents do not influence `of`
                        edge = self.local_derivative(above, name)[1]
                        try:
                            total = plus(total, times(gradient[above], edge))
                        except (OverflowError, decimal.Overflow):
                            raise self._too_large(of, name) from None
                gradient[name] = total
            self._backward[of] = gradient
        return self._backward[of]

    def _too_large(self, of: str, by: str) -> UsageError:
        where = position(self.equations[of].at, of)
        return UsageError(f"{where}∂{of}/∂{by} is beyond 10^308, where float64 ends; use smaller numbers.")

    def derivative(self, of: str, by: str) -> Value:
        """The derivative of one quantity with respect to another; 0 if it does not depend on it."""
        return self.backward(of).get(by, Fraction(0))


def _closure(name: str, following: Mapping[str, Sequence[str]]) -> set[str]:
    reached, pending = {name}, [name]
    while pending:
        new = set(following[pending.pop()]) - reached
        reached |= new
        pending += new
    return reached
