# SPDX-License-Identifier: Apache-2.0
"""The equations of `nn.MultiheadAttention` (Vaswani et al. 2017, section 3.2.2)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np

from pellucid.errors import DataError
from pellucid.worked.expressions.expression import as_expr
from pellucid.worked.notation.operations import softmax, sqrt
from pellucid.worked.worksheet.tensors import dot, summed

if TYPE_CHECKING:
    from pellucid.bridging.naming import Naming
    from pellucid.worked.worksheet.tensors import Tensor as Names

__all__ = ["attention"]


def attention(
    writer: Naming, inner: Any, path: str, node: str, args: Sequence[Any], options: Mapping[str, Any]
) -> tuple[Names, Names]:
    """Outputs (N, T, D) and weights (N, T, T'), the mean over the heads or (N, h, T, T'), as the module returns them.

    Raises:
        DataError: a mask, or an option of the module that has no worksheet.
    """
    given = dict(zip(("query", "key", "value"), args, strict=False)) | dict(options)
    if len(args) > 3 or any(given.get(name) is not None for name in ("key_padding_mask", "attn_mask")):
        raise DataError(f"module.{path}: masks of attention have no worksheet; leave them out.")
    if not inner.batch_first or not inner._qkv_same_embed_dim or inner.bias_k is not None or inner.add_zero_attn:
        raise DataError(
            f"module.{path}: a worksheet takes attention with batch_first=True and keys and values as wide as the queries, without "
            "add_bias_kv and add_zero_attn; use these."
        )
    weight = writer.parameter(f"{path}.in_proj_weight")  # (3D, D): W_Q, W_K and W_V below each other
    bias = None if inner.in_proj_bias is None else writer.parameter(f"{path}.in_proj_bias")
    width, heads = inner.embed_dim, inner.num_heads
    parts = []
    for n, (letter, name) in enumerate((("Q", "query"), ("K", "key"), ("V", "value"))):
        rows = slice(n * width, (n + 1) * width)
        parts.append(
            writer.named(letter, node, _linear(given[name], weight[rows], None if bias is None else bias[rows]))
        )
    Q, K, V = parts  # (N, T, D)
    own = width // heads
    scores = np.empty((len(Q), heads, Q.shape[1], K.shape[1]), dtype=object)
    for n, h, i, j in np.ndindex(*scores.shape):
        columns = slice(h * own, (h + 1) * own)
        # as a root, so that a head of one number shows no rounded divisor
        scores[n, h, i, j] = dot(list(Q[n, i, columns]), list(K[n, j, columns])) / sqrt(as_expr(Fraction(own)))
    S = writer.named("S", node, scores)
    shares = np.empty(S.shape, dtype=object)
    for where in np.ndindex(*S.shape[:-1]):
        shares[where] = list(softmax(*S[where]))
    A = writer.named("A", node, shares)
    mixed = np.empty(Q.shape, dtype=object)
    for n, i, c in np.ndindex(*mixed.shape):
        mixed[n, i, c] = dot(list(A[n, c // own, i]), list(V[n, :, c]))
    O = writer.named("O", node, mixed)  # noqa: E741
    out = writer.parameter(f"{path}.out_proj.weight")
    last = None if inner.out_proj.bias is None else writer.parameter(f"{path}.out_proj.bias")
    y = writer.named("z", node, _linear(O, out, last))
    if not given.get("need_weights", True) or not given.get("average_attn_weights", True):
        return y, A
    means = np.empty((len(A), *A.shape[2:]), dtype=object)
    for n, i, j in np.ndindex(*means.shape):
        means[n, i, j] = summed(list(A[n, :, i, j])) / as_expr(heads) if heads > 1 else A[n, 0, i, j]
    return y, means


def _linear(x: Names, weight: Names, bias: Names | None) -> Names:
    """x·Wᵀ + b, (N, T, in) -> (N, T, out)."""
    made = np.empty((*x.shape[:-1], len(weight)), dtype=object)
    for where in np.ndindex(*made.shape):
        whole = dot(list(weight[where[-1]]), list(x[where[:-1]]))
        made[where] = whole if bias is None else whole + bias[where[-1]]
    return made
