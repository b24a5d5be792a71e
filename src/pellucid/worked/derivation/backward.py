# SPDX-License-Identifier: Apache-2.0
"""The backward passes of dense layers and convolutions, with δ = ∂J/∂z or ∂J/∂y given, proved line by line."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import sympy

from pellucid.worked.derivation.proof import Proof, ProofLine, Values, elementwise

__all__ = ["BACKWARD"]


def _dense(v: Values) -> Any:
    """z = xW + b, (n, out)."""
    return v["x"] @ v["W"] + v["b"]


def _convolved(v: Values) -> Any:
    """z_oij = b_o + Σ_cuv w_ocuv·x_c(i+u)(j+v), (O, H − K + 1, W − K + 1)."""
    w, x = v["w"], v["x"]
    above, across = w.shape[2:]
    high, wide = x.shape[1] - above + 1, x.shape[2] - across + 1
    z = np.zeros((len(w), high, wide), x.dtype)
    for u, s in np.ndindex(above, across):
        part = x[:, u : u + high, s : s + wide]  # (C, H′, W′)
        for out in range(len(w)):
            z[out] = z[out] + (w[out, :, u, s][:, None, None] * part).sum(0)
    return z + v["b"][:, None, None]


def _through(forward: Callable[[Values], Any], v: Values, by: str, weights: Any) -> Any:
    """Σ weights·∂z/∂(by), by unit steps: exact, because z is linear in each of its inputs."""
    gradient, z = np.zeros(v[by].shape, v[by].dtype), forward(v)
    for place in np.ndindex(*v[by].shape):
        one = np.zeros(v[by].shape, v[by].dtype)
        one[place] = 1
        gradient[place] = (weights * (forward({**v, by: v[by] + one}) - z)).sum()
    return gradient


def _slope(v: Values) -> Any:
    """δ = ∂J/∂y ⊙ f′(z) with ∂J/∂y = v["g"]; f is any function for SymPy, and tanh for numbers."""
    return v["g"] * _f_slope(_dense(v))


def _correlated(a: Any, b: Any) -> Any:
    """Σ_ij a_(u+i)(v+j)·b_ij wherever b lies within a, for two matrices."""
    high, wide = a.shape[0] - b.shape[0] + 1, a.shape[1] - b.shape[1] + 1
    found = np.zeros((high, wide), a.dtype)
    for u, s in np.ndindex(high, wide):
        found[u, s] = (a[u : u + b.shape[0], s : s + b.shape[1]] * b).sum()
    return found


def _by_kernel(v: Values) -> Any:
    """∂J/∂w_oc = x_c ∗ δ_o, (O, C, K, K)."""
    return np.array([[_correlated(x, delta) for x in v["x"]] for delta in v["δ"]])


def _by_image(v: Values) -> Any:
    """Σ_o of δ_o, padded by K − 1 zeros on every side, with the kernel rotated by 180°, (C, H, W)."""
    w = v["w"]
    above, across = w.shape[2:]
    images = []
    for channel in range(w.shape[1]):
        padded = [np.pad(delta, ((above - 1,) * 2, (across - 1,) * 2)) for delta in v["δ"]]
        images.append(sum(_correlated(each, w[o, channel, ::-1, ::-1]) for o, each in enumerate(padded)))
    return np.array(images)


def _by_image_in_sums(v: Values) -> Any:
    """Σ_oij δ_oij·w_oc(m−i)(n−j), (C, H, W)."""
    w, delta, image = v["w"], v["δ"], np.zeros(v["x"].shape, v["x"].dtype)
    for channel, m, n in np.ndindex(*image.shape):
        for o, i, j in np.ndindex(*delta.shape):
            if 0 <= m - i < w.shape[2] and 0 <= n - j < w.shape[3]:
                image[channel, m, n] = image[channel, m, n] + delta[o, i, j] * w[o, channel, m - i, n - j]
    return image


def _by_kernel_in_sums(v: Values) -> Any:
    """Σ_ij δ_oij·x_c(i+u)(j+v), (O, C, K, K)."""
    w, x, delta = v["w"], v["x"], v["δ"]
    kernel = np.zeros(w.shape, w.dtype)
    for o, channel, u, s in np.ndindex(*w.shape):
        for i, j in np.ndindex(*delta.shape[1:]):
            kernel[o, channel, u, s] = kernel[o, channel, u, s] + delta[o, i, j] * x[channel, i + u, j + s]
    return kernel


_f = elementwise(sympy.Function("f"), np.tanh)
_f_slope = elementwise(sympy.Function("f′"), lambda z: 1 - np.tanh(z) ** 2)

BACKWARD: Mapping[str, Proof] = {
    "dense-backward": Proof(
        "the backward pass of a dense layer z = xW + b,  x: n×in, W: in×out, b: out, z: n×out,  with δ = ∂J/∂z: n×out given",
        (
            (
                ProofLine(
                    "chain rule over all z_ij",
                    "∂J/∂W_kl = Σ_ij δ_ij·∂z_ij/∂W_kl",
                    lambda v: _through(_dense, v, "W", v["δ"]),
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
                    lambda v: _through(_dense, v, "x", v["δ"]),
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
                    lambda v: _through(_dense, v, "b", v["δ"]),
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
        lambda v: (v["δ"] * _dense(v)).sum(),
        ("W", "x", "b"),
    ),
    "dense-activation-backward": Proof(
        "the backward pass of a dense layer y = f(z),  z = xW + b,  with ∂J/∂y: n×out given",
        (
            (
                ProofLine(
                    "chain rule: y_ij depends on z_ij alone",
                    "∂J/∂z_ij = ∂J/∂y_ij·f′(z_ij)",
                    _slope,
                    "n×out",
                ),
                ProofLine("component by component", "∂J/∂z = ∂J/∂y ⊙ f′(z) = δ", _slope, "(n×out)⊙(n×out) = n×out"),
            ),
            (
                ProofLine(
                    "chain rule over all y_ij",
                    "∂J/∂W_kl = Σ_ij ∂J/∂y_ij·f′(z_ij)·∂z_ij/∂W_kl",
                    lambda v: _through(_dense, v, "W", _slope(v)),
                    "in×out",
                ),
                ProofLine(
                    "∂z_ij/∂W_kl = x_ik·δ_jl",
                    "= Σ_i x_ik·∂J/∂y_il·f′(z_il)",
                    lambda v: (v["x"][:, :, None] * _slope(v)[:, None, :]).sum(
                        0
                    ),  # (n, in, 1)·(n, 1, out) -> (in, out)
                    "in×out",
                ),
                ProofLine(
                    "as a matrix product",
                    "∂J/∂W = xᵀ(∂J/∂y ⊙ f′(z))",
                    lambda v: v["x"].T @ _slope(v),
                    "(in×n)(n×out) = in×out",
                ),
            ),
            (
                ProofLine(
                    "chain rule over all y_ij",
                    "∂J/∂x_mk = Σ_ij ∂J/∂y_ij·f′(z_ij)·∂z_ij/∂x_mk",
                    lambda v: _through(_dense, v, "x", _slope(v)),
                    "n×in",
                ),
                ProofLine(
                    "∂z_ij/∂x_mk = W_kj if i = m, else 0, as a product",
                    "∂J/∂x = (∂J/∂y ⊙ f′(z))Wᵀ",
                    lambda v: _slope(v) @ v["W"].T,
                    "(n×out)(out×in) = n×in",
                ),
            ),
            (
                ProofLine(
                    "chain rule over all y_ij",
                    "∂J/∂b_l = Σ_ij ∂J/∂y_ij·f′(z_ij)·∂z_ij/∂b_l",
                    lambda v: _through(_dense, v, "b", _slope(v)),
                    "out",
                ),
                ProofLine(
                    "∂z_ij/∂b_l = 1 if j = l, else 0",
                    "∂J/∂b_l = Σ_i ∂J/∂y_il·f′(z_il)",
                    lambda v: _slope(v).sum(0),
                    "out",
                ),
            ),
        ),
        {"x": (2, 3), "W": (3, 2), "b": (2,), "g": (2, 2)},
        {"x": (6, 5), "W": (5, 4), "b": (4,), "g": (6, 4)},
        lambda v: (v["g"] * _f(_dense(v))).sum(),
        ("", "W", "x", "b"),
    ),
    "convolution-backward": Proof(
        "the backward pass of a convolution z_oij = b_o + Σ_cuv w_ocuv·x_c(i+u)(j+v),  with δ = ∂J/∂z given",
        (
            (
                ProofLine(
                    "chain rule over all z_oij",
                    "∂J/∂w_ocuv = Σ_ij δ_oij·∂z_oij/∂w_ocuv",
                    lambda v: _through(_convolved, v, "w", v["δ"]),
                    "O×C×K×K",
                ),
                ProofLine(
                    "∂z_oij/∂w_ocuv = x_c(i+u)(j+v)", "= Σ_ij δ_oij·x_c(i+u)(j+v)", _by_kernel_in_sums, "O×C×K×K"
                ),
                ProofLine("as a convolution with δ as the kernel", "∂J/∂w_oc = x_c ∗ δ_o", _by_kernel, "O×C×K×K"),
            ),
            (
                ProofLine(
                    "chain rule over all z_oij",
                    "∂J/∂x_cmn = Σ_oij δ_oij·∂z_oij/∂x_cmn",
                    lambda v: _through(_convolved, v, "x", v["δ"]),
                    "C×H×W",
                ),
                ProofLine(
                    "only i = m − u and j = n − v see x_cmn", "= Σ_oij δ_oij·w_oc(m−i)(n−j)", _by_image_in_sums, "C×H×W"
                ),
                ProofLine(
                    "as a convolution: δ padded by K − 1 zeros, the kernel rotated by 180°",
                    "∂J/∂x_c = Σ_o pad(δ_o) ∗ rotated(w_oc)",
                    _by_image,
                    "C×H×W",
                ),
            ),
            (
                ProofLine(
                    "chain rule over all z_oij",
                    "∂J/∂b_o = Σ_ij δ_oij·∂z_oij/∂b_o",
                    lambda v: _through(_convolved, v, "b", v["δ"]),
                    "O",
                ),
                ProofLine("∂z_oij/∂b_o = 1", "∂J/∂b_o = Σ_ij δ_oij", lambda v: v["δ"].sum(axis=(1, 2)), "O"),
            ),
        ),
        {"x": (1, 3, 3), "w": (2, 1, 2, 2), "b": (2,), "δ": (2, 2, 2)},
        {"x": (2, 5, 6), "w": (3, 2, 3, 2), "b": (3,), "δ": (3, 3, 5)},
        lambda v: (v["δ"] * _convolved(v)).sum(),
        ("w", "x", "b"),
    ),
}
