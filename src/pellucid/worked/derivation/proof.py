# SPDX-License-Identifier: Apache-2.0
"""What a proof is: chains of equal lines, each with text for people and a formula for the computer.

The formula runs on SymPy's symbols in small shapes, where neighbouring lines must be identical, and on random numbers in larger shapes.
Of a backward pass, the last lines are compared with central differences of J as well.
"""

from __future__ import annotations

import html
import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NoReturn

import numpy as np
import sympy

from pellucid.errors import PellucidError

__all__ = ["Proof", "ProofLine", "Values", "elementwise"]

Values = Mapping[str, Any]
Formula = Callable[[Values], Any]


@dataclass(frozen=True)
class ProofLine:
    """One line: the rule it follows by, its text, the same as a formula, and its shape."""

    rule: str
    words: str
    formula: Formula
    shape: str = ""


@dataclass(frozen=True)
class Proof:
    """One or more chains of equal lines, over quantities of given shapes.

    Args:
        title: the statement.
        chains: each a sequence of equal lines.
        symbolic: the shapes of the proof in symbols; () is a scalar.
        random: the shapes of the random numbers.
        forward: J as a function of the numbers, for the central differences of its gradients.
        by: what each chain is the gradient by; nothing for a chain that is none.
    """

    title: str
    chains: tuple[tuple[ProofLine, ...], ...]
    symbolic: Mapping[str, tuple[int, ...]]
    random: Mapping[str, tuple[int, ...]]
    forward: Formula | None = None
    by: tuple[str, ...] = ()

    def check(self) -> float:
        """The largest difference between neighbouring lines at random points.

        Raises:
            PellucidError: two lines differ in symbols.
        """
        return self._worst

    @cached_property
    def _worst(self) -> float:
        if self.symbolic:
            symbols = {name: _symbols(name, shape) for name, shape in self.symbolic.items()}
            for before, after in self._neighbours():
                rest = np.asarray(before.formula(symbols), object) - np.asarray(after.formula(symbols), object)
                if any(_differs(entry) for entry in np.asarray(rest, object).ravel()):
                    self._refuse(after)
        points = self._points()
        worst = 0.0
        for before, after in self._neighbours():
            left, right = (np.asarray(line.formula(points), float) for line in (before, after))
            difference = float(np.abs(left - right).max())
            if difference > 1e-9 * max(1.0, float(np.abs(left).max())):
                self._refuse(after)
            worst = max(worst, difference)
        if self.forward is not None and self.slope_error() > 1e-6:
            self._refuse(self.chains[0][-1])
        return worst

    def slope_error(self) -> float:
        """The largest difference between the last lines and the central differences of J, relative to it or 1."""
        return self._slope_error

    @cached_property
    def _slope_error(self) -> float:
        assert self.forward is not None
        points, worst, h = self._points(), 0.0, 1e-4
        for name, chain in zip(self.by, self.chains, strict=True):
            if not name:
                continue
            found = np.asarray(chain[-1].formula(points), float)
            for place in np.ndindex(*points[name].shape):
                one = np.zeros(points[name].shape)
                one[place] = h
                ahead, behind = (float(self.forward({**points, name: points[name] + step})) for step in (one, -one))
                slope = (ahead - behind) / (2 * h)
                worst = max(worst, abs(float(found[place]) - slope) / max(1.0, abs(slope)))
        return worst

    def _neighbours(self) -> Iterator[tuple[ProofLine, ProofLine]]:
        for chain in self.chains:
            yield from itertools.pairwise(chain)

    def _points(self) -> dict[str, Any]:
        # larger shapes than in symbols: a line that holds for 2×2 alone fails here
        numbers = np.random.default_rng(0)
        return {name: numbers.uniform(-2, 2, shape) for name, shape in self.random.items()}

    def _refuse(self, line: ProofLine) -> NoReturn:
        raise PellucidError(
            f"proof={self.title!r}: the line {line.words!r} does not follow; this is a bug in Pellucid."
        )

    def note(self, worst: float) -> str:
        """How the lines were checked.

        Args:
            worst: what `check` gave.
        """
        shapes = ", ".join(f"{name} {_shape(shape)}" for name, shape in self.symbolic.items())
        ways = [f"neighbouring lines are equal in symbols ({shapes})"] if self.symbolic else []
        ways.append(f"at random points {'they' if ways else 'neighbouring lines'} differ by {worst:.0e}")
        if self.forward is not None:
            ways.append(f"the last lines differ from central differences of J by {self.slope_error():.0e}")
        return f"{'proved' if self.symbolic else 'checked'}: {'; '.join(ways)}"

    def _repr_html_(self) -> str:
        return f"<pre>{html.escape(str(self))}</pre>"

    def __str__(self) -> str:
        worst = self.check()
        claims = [claim for chain in self.chains for claim in chain]
        rule, words = max(len(claim.rule) for claim in claims), max(len(claim.words) for claim in claims)
        lines = [self.title]
        for chain in self.chains:
            lines += ["", *(f"  {claim.rule:{rule}}  {claim.words:{words}}  {claim.shape}".rstrip() for claim in chain)]
        return "\n".join([*lines, "", self.note(worst)])


def _differs(rest: Any) -> bool:
    """Whether a difference in symbols is not 0; multiplied out first, which is much faster than simplified."""
    return bool(sympy.expand(rest) != 0 and sympy.simplify(rest) != 0)


def _shape(shape: tuple[int, ...]) -> str:
    return "×".join(map(str, shape)) or "a number"


def _symbols(name: str, shape: tuple[int, ...]) -> Any:
    if not shape:
        return sympy.Symbol(name, real=True)
    symbols = np.empty(shape, object)
    for place in np.ndindex(*shape):
        symbols[place] = sympy.Symbol(f"{name}_{'_'.join(str(k + 1) for k in place)}", real=True)
    return symbols


def elementwise(symbolic: Callable[[Any], Any], numeric: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """A function of numbers, symbols, and arrays of either."""

    def function(x: Any) -> Any:
        if isinstance(x, np.ndarray) and x.dtype == object:
            return np.array([symbolic(entry) for entry in x.ravel()], object).reshape(x.shape)
        return symbolic(x) if isinstance(x, sympy.Basic) else numeric(x)

    return function
