# SPDX-License-Identifier: Apache-2.0
"""The equations of normalisations with the statistics of their own input, and of GELU."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np

from pellucid.worked.expressions.expression import Call, Expr, as_expr
from pellucid.worked.notation.operations import sqrt, tanh
from pellucid.worked.worksheet.tensors import summed

if TYPE_CHECKING:
    from pellucid.bridging.naming import Naming
    from pellucid.worked.worksheet.tensors import Tensor as Names

__all__ = ["batch_norm_of_the_batch", "gelu", "layer_norm"]


def batch_norm_of_the_batch(writer: Naming, inner: Any, path: str, node: str, x: Names) -> Names:
    """Batch norm in training mode, (N, C, …): each channel over the batch and its positions (Ioffe and Szegedy 2015, algorithm 1)."""
    moved = np.moveaxis(x, 1, 0)  # (C, N, …)
    rows = moved.reshape(len(moved), -1)
    normalised = _normalised(writer, node, rows, inner.eps)
    if inner.affine:
        gamma, beta = _scale(writer, path, inner)
        normalised = gamma[:, None] * normalised
        normalised = normalised if beta is None else normalised + beta[:, None]
    made: Names = np.moveaxis(normalised.reshape(moved.shape), 0, 1)
    return made


def layer_norm(writer: Naming, inner: Any, path: str, node: str, x: Names) -> Names:
    """Layer norm, each sample over the last dimensions (Ba et al. 2016, equation 3)."""
    wide = int(np.prod(inner.normalized_shape))
    normalised = _normalised(writer, node, x.reshape(-1, wide), inner.eps)  # (samples, features)
    if inner.elementwise_affine:
        gamma, beta = _scale(writer, path, inner)
        normalised = normalised * gamma.reshape(1, wide)
        normalised = normalised if beta is None else normalised + beta.reshape(1, wide)
    made: Names = normalised.reshape(x.shape)
    return made


def gelu(u: Expr, approximate: str) -> Expr:
    """u·Φ(u), or its approximation by a tanh (Hendrycks and Gimpel 2016, section 2).

    >>> from pellucid.worked.worksheet.worksheet import Worksheet
    >>> sheet = Worksheet("u = 1")
    >>> sheet.a = gelu(sheet.u, "none")
    >>> print(f"{sheet.solve().value('a'):.6f}")
    0.841345
    """
    if approximate == "tanh":
        inner = sqrt(as_expr(2) / Call("pi", ())) * (u + as_expr(Fraction("0.044715")) * u**3)
        return u * (1 + tanh(inner)) / 2
    return u * (1 + Call("erf", (u / sqrt(as_expr(2)),))) / 2


def _normalised(writer: Naming, node: str, rows: Names, eps: float) -> Names:
    """(x − μ)/√(v + ε) of each row, with names for μ, v and the root: many outputs share them."""
    count = as_expr(rows.shape[1])
    means, variances, roots = (np.empty(len(rows), dtype=object) for _ in range(3))
    for n, row in enumerate(rows):
        means[n] = summed(list(row)) / count
    mu = writer.named("mu", node, means)
    for n, row in enumerate(rows):
        variances[n] = summed([(x - mu[n]) ** 2 for x in row]) / count  # divided by N, not by N − 1
    v = writer.named("v", node, variances)
    for n in range(len(rows)):
        roots[n] = sqrt(v[n] + Fraction(str(eps)))
    s = writer.named("s", node, roots)
    made = np.empty(rows.shape, dtype=object)
    for n, c in np.ndindex(*rows.shape):
        made[n, c] = (rows[n, c] - mu[n]) / s[n]
    return made


def _scale(writer: Naming, path: str, inner: Any) -> tuple[Names, Names | None]:
    """γ and β."""
    prefix = f"{path}." if path else ""
    return writer.parameter(f"{prefix}weight"), None if inner.bias is None else writer.parameter(f"{prefix}bias")
