# SPDX-License-Identifier: Apache-2.0
"""Equalities proved line by line: each line equals the one before by a named rule, in symbols and at random points.

Each line has text for people and a formula for the computer. The formula runs on SymPy's symbols in small shapes, where neighbouring
lines must be identical, and on random numbers in larger shapes.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import sympy

from pellucid.errors import PellucidError, UnknownNameError

__all__ = ["PROOFS", "Proof", "ProofLine", "prove"]

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
    """

    title: str
    chains: tuple[tuple[ProofLine, ...], ...]
    symbolic: Mapping[str, tuple[int, ...]]
    random: Mapping[str, tuple[int, ...]]

    def check(self) -> float:
        """The largest difference between neighbouring lines at random points.

        Raises:
            PellucidError: two lines differ in symbols.
        """
        symbols = {name: _symbols(name, shape) for name, shape in self.symbolic.items()}
        # larger shapes than in symbols: a line that holds for 2×2 alone fails here
        numbers = np.random.default_rng(0)
        points = {name: numbers.uniform(-2, 2, shape) for name, shape in self.random.items()}
        worst = 0.0
        for chain in self.chains:
            for before, after in itertools.pairwise(chain):
                rest = np.asarray(before.formula(symbols), object) - np.asarray(after.formula(symbols), object)
                if any(sympy.simplify(entry) != 0 for entry in np.asarray(rest, object).ravel()):
                    raise PellucidError(
                        f"proof={self.title!r}: the line {after.words!r} does not follow; this is a bug in Pellucid."
                    )
                left, right = (np.asarray(line.formula(points), float) for line in (before, after))
                worst = max(worst, float(np.abs(left - right).max()))
        return worst

    def __str__(self) -> str:
        worst = self.check()
        claims = [claim for chain in self.chains for claim in chain]
        rule, words = max(len(claim.rule) for claim in claims), max(len(claim.words) for claim in claims)
        lines = [self.title]
        for chain in self.chains:
            lines += ["", *(f"  {claim.rule:{rule}}  {claim.words:{words}}  {claim.shape}".rstrip() for claim in chain)]
        shapes = ", ".join(f"{name} {_shape(shape)}" for name, shape in self.symbolic.items())
        return "\n".join(
            [
                *lines,
                "",
                f"proved: neighbouring lines are equal in symbols ({shapes}); at random points they differ by {worst:.0e}",
            ]
        )


def _shape(shape: tuple[int, ...]) -> str:
    return "×".join(map(str, shape)) or "a number"


def _symbols(name: str, shape: tuple[int, ...]) -> Any:
    if not shape:
        return sympy.Symbol(name, real=True)
    symbols = np.empty(shape, object)
    for place in np.ndindex(*shape):
        symbols[place] = sympy.Symbol(f"{name}_{'_'.join(str(k + 1) for k in place)}", real=True)
    return symbols


def _elementwise(symbolic: Callable[[Any], Any], numeric: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """A function of numbers, symbols, and arrays of either."""

    def function(x: Any) -> Any:
        if isinstance(x, np.ndarray) and x.dtype == object:
            return np.array([symbolic(entry) for entry in x.ravel()], object).reshape(x.shape)
        return symbolic(x) if isinstance(x, sympy.Basic) else numeric(x)

    return function


_exp, _tanh = _elementwise(sympy.exp, np.exp), _elementwise(sympy.tanh, np.tanh)


def _gradient_of_z(v: Values, by: str) -> Any:
    """Σ_ij δ_ij ∂z_ij/∂(by) from z = xW + b itself, by unit steps: exact, because z is linear in x, in W and in b."""
    x, W, b, delta = v["x"], v["W"], v["b"], v["δ"]
    gradient = np.zeros(v[by].shape, x.dtype)
    for place in np.ndindex(*v[by].shape):
        one = np.zeros(v[by].shape, x.dtype)
        one[place] = 1
        moved = {"x": x, "W": W, "b": b, by: v[by] + one}
        gradient[place] = (delta * (moved["x"] @ moved["W"] + moved["b"] - (x @ W + b))).sum()
    return gradient


PROOFS: Mapping[str, Proof] = {
    "softmax-shift": Proof(
        "softmax(x + c) = softmax(x): subtracting the maximum avoids overflow and changes nothing",
        (
            (
                ProofLine(
                    "definition",
                    "softmax(x + c)_j = exp(x_j + c)/Σ_k exp(x_k + c)",
                    lambda v: _exp(v["x"] + v["c"]) / _exp(v["x"] + v["c"]).sum(),
                ),
                ProofLine(
                    "exp(a + b) = exp(a)·exp(b)",
                    "= exp(x_j)·exp(c)/Σ_k exp(x_k)·exp(c)",
                    lambda v: _exp(v["x"]) * _exp(v["c"]) / (_exp(v["x"]) * _exp(v["c"])).sum(),
                ),
                ProofLine(
                    "constant factor of the sum",
                    "= exp(c)·exp(x_j)/(exp(c)·Σ_k exp(x_k))",
                    lambda v: _exp(v["c"]) * _exp(v["x"]) / (_exp(v["c"]) * _exp(v["x"]).sum()),
                ),
                ProofLine(
                    "cancel exp(c) > 0",
                    "= exp(x_j)/Σ_k exp(x_k) = softmax(x)_j",
                    lambda v: _exp(v["x"]) / _exp(v["x"]).sum(),
                ),
            ),
        ),
        {"x": (3,), "c": ()},  # in symbols: the length changes nothing in the argument
        {"x": (9,), "c": ()},
    ),
    "tanh-sigmoid": Proof(
        "tanh x = 2σ(2x) − 1",
        (
            (
                ProofLine(
                    "definition of σ", "2σ(2x) − 1 = 2/(1 + exp(−2x)) − 1", lambda v: 2 / (1 + _exp(-2 * v["x"])) - 1
                ),
                ProofLine(
                    "common denominator",
                    "= (1 − exp(−2x))/(1 + exp(−2x))",
                    lambda v: (1 - _exp(-2 * v["x"])) / (1 + _exp(-2 * v["x"])),
                ),
                ProofLine(
                    "times exp(x)/exp(x)",
                    "= (exp(x) − exp(−x))/(exp(x) + exp(−x))",
                    lambda v: (_exp(v["x"]) - _exp(-v["x"])) / (_exp(v["x"]) + _exp(-v["x"])),
                ),
                ProofLine(
                    "definition of tanh",
                    "= tanh x",
                    # SymPy sees that the two are equal only in terms of exp
                    lambda v: _tanh(v["x"]).rewrite(sympy.exp) if isinstance(v["x"], sympy.Basic) else _tanh(v["x"]),
                ),
            ),
        ),
        {"x": ()},
        {"x": (9,)},
    ),
    "linear-layers": Proof(
        "two linear layers are one: without an activation between them, depth adds nothing",
        (
            (
                ProofLine(
                    "two layers",
                    "y = (xW₁ + b₁)W₂ + b₂",
                    lambda v: (v["x"] @ v["W₁"] + v["b₁"]) @ v["W₂"] + v["b₂"],
                    "((n×in)(in×h) + h)(h×out) + out",
                ),
                ProofLine(
                    "distribute W₂",
                    "= (xW₁)W₂ + b₁W₂ + b₂",
                    lambda v: v["x"] @ v["W₁"] @ v["W₂"] + v["b₁"] @ v["W₂"] + v["b₂"],
                    "(n×h)(h×out) + h(h×out) + out",
                ),
                ProofLine(
                    "associate",
                    "= x(W₁W₂) + (b₁W₂ + b₂)",
                    lambda v: v["x"] @ (v["W₁"] @ v["W₂"]) + (v["b₁"] @ v["W₂"] + v["b₂"]),
                    "(n×in)(in×out) + out",
                ),
                ProofLine(
                    "name them",
                    "= xW + b,  W = W₁W₂,  b = b₁W₂ + b₂",
                    lambda v: (lambda W, b: v["x"] @ W + b)(v["W₁"] @ v["W₂"], v["b₁"] @ v["W₂"] + v["b₂"]),
                    "one layer: W in×out, b out",
                ),
            ),
        ),
        {"x": (2, 2), "W₁": (2, 2), "b₁": (2,), "W₂": (2, 2), "b₂": (2,)},
        {"x": (5, 4), "W₁": (4, 6), "b₁": (6,), "W₂": (6, 3), "b₂": (3,)},
    ),
    "dense-backward": Proof(
        "the backward pass of a dense layer z = xW + b,  x: n×in, W: in×out, b: out, z: n×out,  with δ = ∂J/∂z: n×out given",
        (
            (
                ProofLine(
                    "chain rule over all z_ij",
                    "∂J/∂W_kl = Σ_ij δ_ij·∂z_ij/∂W_kl",
                    lambda v: _gradient_of_z(v, "W"),
                    "in×out",
                ),
                ProofLine(
                    "∂z_ij/∂W_kl = x_ik·δ_jl",
                    "= Σ_i x_ik·δ_il",
                    lambda v: (v["x"][:, :, None] * v["δ"][:, None, :]).sum(0),  # (n, in, 1)·(n, 1, out) -> (in, out)
                    "in×out",
                ),
                ProofLine("as a matrix product", "∂J/∂W = xᵀδ", lambda v: v["x"].T @ v["δ"], "(in×n)(n×out) = in×out"),
            ),
            (
                ProofLine(
                    "chain rule over all z_ij",
                    "∂J/∂x_mk = Σ_ij δ_ij·∂z_ij/∂x_mk",
                    lambda v: _gradient_of_z(v, "x"),
                    "n×in",
                ),
                ProofLine(
                    "∂z_ij/∂x_mk = W_kj if i = m, else 0",
                    "= Σ_j δ_mj·W_kj",
                    lambda v: (v["δ"][:, None, :] * v["W"][None, :, :]).sum(2),  # (n, 1, out)·(1, in, out) -> (n, in)
                    "n×in",
                ),
                ProofLine("as a matrix product", "∂J/∂x = δWᵀ", lambda v: v["δ"] @ v["W"].T, "(n×out)(out×in) = n×in"),
            ),
            (
                ProofLine(
                    "chain rule over all z_ij",
                    "∂J/∂b_l = Σ_ij δ_ij·∂z_ij/∂b_l",
                    lambda v: _gradient_of_z(v, "b"),
                    "out",
                ),
                ProofLine(
                    "∂z_ij/∂b_l = 1 if j = l, else 0",
                    "∂J/∂b = Σ_i δ_i, the sum over the samples",
                    lambda v: v["δ"].sum(0),
                    "out",
                ),
            ),
        ),
        {"x": (2, 3), "W": (3, 2), "b": (2,), "δ": (2, 2)},
        {"x": (6, 5), "W": (5, 4), "b": (4,), "δ": (6, 4)},
    ),
}
"""The proofs by name."""


def prove(name: str) -> Proof:
    """A proof by name, checked.

    >>> prove("tanh-sigmoid").title
    'tanh x = 2σ(2x) − 1'

    Raises:
        UnknownNameError: no proof of this name.
    """
    if name not in PROOFS:
        raise UnknownNameError("proof", name, PROOFS)
    PROOFS[name].check()
    return PROOFS[name]
