# SPDX-License-Identifier: Apache-2.0
"""Known equalities: the softmax of shifted numbers, tanh as a sigmoid, two linear layers as one."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import sympy

from pellucid.worked.derivation.proof import Proof, ProofLine, elementwise

__all__ = ["EQUALITIES"]

_exp, _tanh = elementwise(sympy.exp, np.exp), elementwise(sympy.tanh, np.tanh)

EQUALITIES: Mapping[str, Proof] = {
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
}
