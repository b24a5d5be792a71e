# SPDX-License-Identifier: Apache-2.0
"""Losses with numbers: of a localisation, of a variational autoencoder's latent code, of both players of a GAN; and PSNR."""

from __future__ import annotations

from fractions import Fraction
from typing import Any, Literal

import numpy as np

from pellucid.errors import UsageError
from pellucid.worked.expressions.expression import Expr, Name, as_expr
from pellucid.worked.notation.operations import absolute, exp, log, piecewise, sigmoid
from pellucid.worked.worksheet.tensors import Numbers, Tensor, as_tensor, ask_gradient, ask_values, define, dot, summed
from pellucid.worked.worksheet.worksheet import Worksheet

__all__ = ["gan", "localization", "psnr", "vae"]


def localization(
    objectness: Numbers,
    logits: Numbers,
    boxes: Numbers,
    predictions: Numbers,
    *,
    weight: float | Fraction = 1,
    box_loss: Literal["squared", "smooth_l1"] = "squared",
) -> Worksheet:
    """The worksheet of a multi-task localisation loss: is there an object, and where; without one the box does not count.

    L_n = BCE(o_n, σ(s_n)) + λ·o_n·Σ_k ℓ(b̂_nk − b_nk), L their mean: the objectness o gates the box term, as in Redmon et al. 2016,
    "You Only Look Once", eq. 3; ℓ(d) = d², or the smooth L1 of Girshick 2015, eq. 3: d²/2 where |d| < 1, else |d| − 1/2.

    >>> sheet = localization([0], [0], [[1, 1, 2, 2]], [[5, 5, 5, 5]])
    >>> print(sheet.solve(digits=4).value("L_box_1"), sheet.solve().derivative("L", "bhat_1_1"))
    50 0

    Args:
        objectness: o, 1 where there is an object, else 0; one number a sample.
        logits: s, what the network says of it before the sigmoid.
        boxes: b, rows of numbers, one a sample; those of samples without an object do not matter.
        predictions: b̂, the same of the network.
        weight: λ, of the box term.
        box_loss: squared or smooth_l1.

    Raises:
        UsageError: counts that differ, or an objectness other than 0 and 1.
    """
    o, s = as_tensor(objectness, "objectness", 1), as_tensor(logits, "logits", 1)
    b, bhat = as_tensor(boxes, "boxes", 2), as_tensor(predictions, "predictions", 2)
    if not (len(o) == len(s) == len(b) == len(bhat)) or b.shape != bhat.shape:
        raise UsageError(
            f"objectness, logits, boxes, predictions: are of {len(o)}, {len(s)}, {b.shape} and {bhat.shape}; give as "
            "many rows of each."
        )
    if not all(each in (as_expr(0), as_expr(1)) for each in o):
        raise UsageError("objectness: must be 1 where there is an object and 0 where not; give these.")
    sheet = Worksheet()
    there, S, B, P = (define(sheet, name, each) for name, each in (("o", o), ("s", s), ("b", b), ("bhat", bhat)))
    sheet["lambda"] = as_expr(weight)
    parts = []
    for n in range(len(o)):
        i = n + 1
        sheet[f"p_{i}"] = sigmoid(S[n])
        p = sheet[f"p_{i}"]
        sheet[f"L_obj_{i}"] = -(there[n] * log(p) + (1 - there[n]) * log(1 - p))
        sheet[f"L_box_{i}"] = summed([_box(P[n, k] - B[n, k], box_loss) for k in range(b.shape[1])])
        sheet[f"L_{i}"] = sheet[f"L_obj_{i}"] + sheet["lambda"] * there[n] * sheet[f"L_box_{i}"]
        parts.append(sheet[f"L_{i}"])
        sheet.ask(f"L_{i}")
    sheet["L"] = _mean(parts)
    sheet.remark(
        "o is 1 where there is an object: with o = 0 the box term is multiplied by 0, and no gradient reaches b̂."
    )
    sheet.ask("L")
    ask_gradient(sheet, "L", S)
    ask_gradient(sheet, "L", P)
    return sheet


def vae(
    mu: Numbers,
    sigma: Numbers | None = None,
    epsilon: Numbers | None = None,
    *,
    log_variance: Numbers | None = None,
    delta: Numbers | None = None,
    beta: float | Fraction = 1,
) -> Worksheet:
    """The worksheet of a VAE's latent code: the sample z = μ + σ·ε, the loss D_KL, and its gradient by μ and σ.

    D_KL(q‖p) = Σ ½(μ² + σ² − ln σ² − 1) for q = N(μ, σ²) and p = N(0, 1) (Kingma and Welling 2014, appendix B).

    >>> solution = vae([1, 0], [1, 2], [0.5, -1]).solve()
    >>> print(solution.value("z_2"), solution.value("D_1"), solution.derivative("D_KL", "mu_1"))
    -2 1/2 1

    Args:
        mu: μ, one number a dimension of the code.
        sigma: σ, above 0; or give `log_variance`.
        epsilon: ε, what was drawn from N(0, 1); by default 0, so that z = μ.
        log_variance: ln σ², which networks put out, in the place of σ.
        delta: ∂R/∂z, what comes back from the decoder's loss R; then L = R + β·D_KL with R = Σ δ·z to first order.
        beta: β, the weight of D_KL in L.

    Raises:
        UsageError: counts that differ, or a σ that is not positive.
    """
    if (sigma is None) == (log_variance is None):
        raise UsageError("sigma, log_variance: each tells the width of the distribution; give one of them.")
    given = {"mu": as_tensor(mu, "mu", 1)}
    if sigma is not None:
        given["sigma"] = as_tensor(sigma, "sigma", 1)
    else:
        assert log_variance is not None
        given["s"] = as_tensor(log_variance, "log_variance", 1)
    size = len(given["mu"])
    given["epsilon"] = as_tensor(np.zeros(size, int) if epsilon is None else epsilon, "epsilon", 1)
    if delta is not None:
        given["delta"] = as_tensor(delta, "delta", 1)
    for name, numbers in given.items():
        if len(numbers) != size:
            raise UsageError(f"{name}: has {len(numbers)} numbers and mu {size}; give as many.")
    if sigma is not None and not all(float(each.value) > 0 for each in given["sigma"]):
        raise UsageError("sigma: is a standard deviation; give numbers above 0.")
    sheet = Worksheet()
    placed = {name: define(sheet, name, numbers) for name, numbers in given.items()}
    if sigma is None:
        sheet.remark("s is ln σ², so that σ = e^(s/2) is positive whatever the network puts out.")
        widths: Tensor = np.array([exp(each / 2) for each in placed["s"]], dtype=object)
        placed["sigma"] = define(sheet, "sigma", widths)
    m, d, e = placed["mu"], placed["sigma"], placed["epsilon"]
    z = define(sheet, "z", m + d * e)
    terms = [(m[n] ** 2 + d[n] ** 2 - log(d[n] ** 2) - 1) / 2 for n in range(size)]
    sheet["D_KL"] = summed(list(define(sheet, "D", np.array(terms, dtype=object))))
    ask_values(sheet, z)
    sheet.ask("D_KL")
    ask_gradient(sheet, "D_KL", m)
    ask_gradient(sheet, "D_KL", placed["s" if sigma is None else "sigma"])
    if delta is not None:
        sheet["beta"] = as_expr(beta)
        sheet["L"] = dot(list(placed["delta"]), list(z)) + sheet["beta"] * sheet["D_KL"]
        ask_gradient(sheet, "L", m)
        ask_gradient(sheet, "L", placed["s" if sigma is None else "sigma"])
    return sheet


def gan(
    real: Numbers,
    fake: Numbers,
    *,
    probabilities: bool = False,
    generator: Literal["non_saturating", "minimax"] = "non_saturating",
) -> Worksheet:
    """The worksheet of a GAN's two losses, real = 1: the discriminator's and the generator's, with their gradients.

    L_D = −mean ln D(x) − mean ln(1 − D(G(z))); L_G = −mean ln D(G(z)), or mean ln(1 − D(G(z))) of the minimax game, whose gradient
    vanishes where the discriminator is sure (Goodfellow et al. 2014, eq. 1 and section 3).

    >>> solution = gan([0], [0]).solve()
    >>> print(round(solution.value("L_D"), 6), solution.derivative("L_G", "s_fake_1"))
    1.386294 -1/2

    Args:
        real: the discriminator's logits of real images, or its probabilities.
        fake: the same of images that the generator made.
        probabilities: the numbers are probabilities of being real, rather than logits.
        generator: which loss the generator makes small.

    Raises:
        UsageError: no numbers, or probabilities that are not between 0 and 1.
    """
    given = {"real": as_tensor(real, "real", 1), "fake": as_tensor(fake, "fake", 1)}
    sheet = Worksheet()
    D: dict[str, Tensor] = {}
    inner: dict[str, Tensor] = {}
    for name, numbers in given.items():
        if probabilities and not all(0 < each.value < 1 for each in numbers):
            raise UsageError(f"{name}: are probabilities; give numbers between 0 and 1, or leave --probabilities out.")
        inner[name] = define(sheet, f"D_{name}" if probabilities else f"s_{name}", numbers)
        made: Tensor = np.array([sigmoid(each) for each in inner[name]], dtype=object)
        D[name] = inner[name] if probabilities else define(sheet, f"D_{name}", made)
    sheet["L_real"] = _mean([-log(each) for each in D["real"]])
    sheet["L_fake"] = _mean([-log(1 - each) for each in D["fake"]])
    sheet["L_D"] = sheet["L_real"] + sheet["L_fake"]
    if generator == "minimax":
        sheet["L_G"] = _mean([log(1 - each) for each in D["fake"]])
    else:
        sheet["L_G"] = _mean([-log(each) for each in D["fake"]])
    what = "D is" if probabilities else "s is the discriminator's logit, D = σ(s)"
    sheet.remark(
        f"{what} the probability that an image is real. For the discriminator real images have the target 1 and made "
        "ones 0; the generator wants 1 for its own."
    )
    sheet.ask("L_D", "L_G")
    for name in ("real", "fake"):
        ask_gradient(sheet, "L_D", inner[name])
    ask_gradient(sheet, "L_G", inner["fake"])
    return sheet


def psnr(image: Numbers, reference: Numbers, *, peak: float | Fraction = 255, gradient: bool = False) -> Worksheet:
    """The worksheet of the peak signal-to-noise ratio in dB: 10·log₁₀(M²/MSE), M being the largest value a pixel can have.

    >>> print(round(psnr([[100, 110]], [[101, 108]]).solve().value("PSNR"), 4))
    44.1514

    Args:
        image: rows of pixels.
        reference: what they should be.
        peak: M, 255 for bytes and 1 for images in [0, 1].
        gradient: ask for the derivative by every pixel of the image too.

    Raises:
        UsageError: shapes that differ, or images that are equal: the ratio is infinite then.
    """
    x, y = as_tensor(image, "image", 1, 2, 3), as_tensor(reference, "reference", 1, 2, 3)
    if x.shape != y.shape:
        raise UsageError(f"reference.shape={y.shape}: the image's is {x.shape}; give images of one size.")
    if all(a == b for a, b in zip(x.flat, y.flat, strict=True)):
        raise UsageError("reference: equals the image, so that the error is 0 and the ratio infinite; change a pixel.")
    if not float(peak) > 0:
        raise UsageError(f"peak={peak}: is the largest value that a pixel can have; give a number above 0.")
    sheet = Worksheet()
    X, Y = define(sheet, "x", x), define(sheet, "y", y)
    sheet["M"] = as_expr(peak)
    sheet["MSE"] = _mean([(a - b) ** 2 for a, b in zip(X.flat, Y.flat, strict=True)])
    sheet["PSNR"] = 10 * log(sheet["M"] ** 2 / sheet["MSE"]) / log(as_expr(10))
    sheet.remark("PSNR is in dB; log₁₀ u = ln u/ln 10.")
    sheet.ask("MSE", "PSNR")
    if gradient:
        ask_gradient(sheet, "PSNR", X)
    return sheet


def _box(difference: Expr, kind: Literal["squared", "smooth_l1"]) -> Expr:
    if kind == "squared":
        return difference**2
    size: Any = absolute(difference)
    return piecewise((difference**2 / 2, size < 1), otherwise=size - Fraction(1, 2))


def _mean(terms: list[Expr]) -> Expr:
    total = summed(terms)
    if len(terms) == 1:
        return total
    return total / as_expr(len(terms)) if not isinstance(total, Name) else total
