# SPDX-License-Identifier: Apache-2.0
"""The backward passes of batch norm (Ioffe and Szegedy 2015, section 3) and of attention (Vaswani et al. 2017, eq. 1)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from pellucid.worked.derivation.proof import Proof, ProofLine, Values

__all__ = ["NORMALISED"]

_EPS: Final = 1e-5


def _standardised(v: Values) -> tuple[Any, Any, Any]:
    """x − μ and x̂, (n, d), and s = √(σ² + ε), (d)."""
    centred = v["x"] - v["x"].mean(0)
    s = np.sqrt((centred**2).mean(0) + _EPS)
    return centred, centred / s, s


def _by_statistics(v: Values) -> Any:
    """∂J/∂x by way of x̂, the variance and the mean, each with its own derivative, (n, d)."""
    centred, _, s = _standardised(v)
    g, n = v["δ"] * v["γ"], len(v["x"])
    by_variance = (g * centred * -0.5 * s**-3).sum(0)
    by_mean = (-g / s).sum(0) + by_variance * (-2 * centred).mean(0)
    return g / s + by_variance * 2 * centred / n + by_mean / n


def _put_in(v: Values) -> Any:
    """The same with both derivatives put in, (n, d)."""
    centred, _, s = _standardised(v)
    g, n = v["δ"] * v["γ"], len(v["x"])
    return g / s - centred * (g * centred).sum(0) / (n * s**3) - g.sum(0) / (n * s)


def _short(v: Values) -> Any:
    """γ/(n·s)·(n·δ_i − Σ_j δ_j − x̂_i·Σ_j δ_j·x̂_j), (n, d)."""
    _, x_hat, s = _standardised(v)
    delta, n = v["δ"], len(v["x"])
    return v["γ"] / (n * s) * (n * delta - delta.sum(0) - x_hat * (delta * x_hat).sum(0))


def _weights(v: Values) -> Any:
    """P = softmax(QKᵀ/√d) along each row, (n, m)."""
    scores = v["Q"] @ v["K"].T / np.sqrt(v["Q"].shape[1])
    powers = np.exp(scores - scores.max(1, keepdims=True))
    return powers / powers.sum(1, keepdims=True)


def _by_scores_in_sums(v: Values) -> Any:
    """Σ_k ∂J/∂P_ik·P_ik·(δ_kj − P_ij), with the whole Jacobian of each row's softmax, (n, m)."""
    slopes, weights = v["G"] @ v["V"].T, _weights(v)
    return np.stack([slope @ (np.diag(p) - np.outer(p, p)) for slope, p in zip(slopes, weights, strict=True)])


def _by_scores(v: Values) -> Any:
    """P ⊙ (∂J/∂P − the row sums of P ⊙ ∂J/∂P), (n, m)."""
    slopes, weights = v["G"] @ v["V"].T, _weights(v)
    return weights * (slopes - (weights * slopes).sum(1, keepdims=True))


def _scaled(v: Values, entries: Any) -> Any:
    return entries / np.sqrt(v["Q"].shape[1])


NORMALISED: Mapping[str, Proof] = {
    "batch-norm-backward": Proof(
        "the backward pass of batch norm y = γ·x̂ + β,  x̂ = (x − μ)/s,  s = √(σ² + ε) over n samples,  with δ = ∂J/∂y: n×d given",
        (
            (
                ProofLine(
                    "chain rule over all y_i",
                    "∂J/∂γ = Σ_i δ_i·∂y_i/∂γ",
                    lambda v: np.stack([v["δ"][i] * _standardised(v)[1][i] for i in range(len(v["x"]))]).sum(0),
                    "d",
                ),
                ProofLine("∂y_i/∂γ = x̂_i", "= Σ_i δ_i·x̂_i", lambda v: (v["δ"] * _standardised(v)[1]).sum(0), "d"),
            ),
            (ProofLine("∂y_i/∂β = 1", "∂J/∂β = Σ_i δ_i", lambda v: v["δ"].sum(0), "d"),),
            (
                ProofLine(
                    "chain rule: x_i acts through x̂_i, σ² and μ",
                    "∂J/∂x_i = γ·δ_i/s + ∂J/∂σ²·2(x_i − μ)/n + ∂J/∂μ·1/n",
                    _by_statistics,
                    "n×d",
                ),
                ProofLine(
                    "∂J/∂σ² = −Σ_j γ·δ_j·(x_j − μ)/(2s³) and ∂J/∂μ = −Σ_j γ·δ_j/s, because Σ_j (x_j − μ) = 0",
                    "= γ·δ_i/s − (x_i − μ)·Σ_j γ·δ_j·(x_j − μ)/(n·s³) − Σ_j γ·δ_j/(n·s)",
                    _put_in,
                    "n×d",
                ),
                ProofLine(
                    "with x̂ = (x − μ)/s",
                    "∂J/∂x_i = γ/(n·s)·(n·δ_i − Σ_j δ_j − x̂_i·Σ_j δ_j·x̂_j)",
                    _short,
                    "n×d",
                ),
            ),
        ),
        {},
        {"x": (6, 3), "γ": (3,), "β": (3,), "δ": (6, 3)},
        lambda v: (v["δ"] * (v["γ"] * _standardised(v)[1] + v["β"])).sum(),
        ("γ", "β", "x"),
    ),
    "attention-backward": Proof(
        "the backward pass of attention O = PV,  P = softmax(S) by rows,  S = QKᵀ/√d,  with G = ∂J/∂O: n×e given",
        (
            (
                ProofLine(
                    "chain rule over all O_il",
                    "∂J/∂V_kl = Σ_i G_il·P_ik",
                    lambda v: (v["G"][:, None, :] * _weights(v)[:, :, None]).sum(0),  # (n, 1, e)·(n, m, 1) -> (m, e)
                    "m×e",
                ),
                ProofLine("as a matrix product", "∂J/∂V = PᵀG", lambda v: _weights(v).T @ v["G"], "(m×n)(n×e) = m×e"),
            ),
            (
                ProofLine(
                    "∂J/∂P = GVᵀ, and the softmax of each row",
                    "∂J/∂S_ij = Σ_k ∂J/∂P_ik·P_ik·(δ_kj − P_ij)",
                    _by_scores_in_sums,
                    "n×m",
                ),
                ProofLine(
                    "of δ_kj only the term k = j remains",
                    "= P_ij·(∂J/∂P_ij − Σ_k P_ik·∂J/∂P_ik)",
                    _by_scores,
                    "n×m",
                ),
            ),
            (
                ProofLine(
                    "chain rule over all S_ij",
                    "∂J/∂Q_kl = Σ_j ∂J/∂S_kj·K_jl/√d",
                    lambda v: _scaled(
                        v, (_by_scores(v)[:, :, None] * v["K"][None]).sum(1)
                    ),  # (n, m, 1)·(1, m, d) -> (n, d)
                    "n×d",
                ),
                ProofLine(
                    "as a matrix product",
                    "∂J/∂Q = (∂J/∂S)K/√d",
                    lambda v: _scaled(v, _by_scores(v) @ v["K"]),
                    "(n×m)(m×d) = n×d",
                ),
            ),
            (
                ProofLine(
                    "chain rule over all S_ij",
                    "∂J/∂K_kl = Σ_i ∂J/∂S_ik·Q_il/√d",
                    lambda v: _scaled(
                        v, (_by_scores(v)[:, :, None] * v["Q"][:, None]).sum(0)
                    ),  # (n, m, 1)·(n, 1, d) -> (m, d)
                    "m×d",
                ),
                ProofLine(
                    "as a matrix product",
                    "∂J/∂K = (∂J/∂S)ᵀQ/√d",
                    lambda v: _scaled(v, _by_scores(v).T @ v["Q"]),
                    "(m×n)(n×d) = m×d",
                ),
            ),
        ),
        {},
        {"Q": (4, 3), "K": (5, 3), "V": (5, 2), "G": (4, 2)},
        lambda v: (v["G"] * (_weights(v) @ v["V"])).sum(),
        ("V", "", "Q", "K"),
    ),
}
