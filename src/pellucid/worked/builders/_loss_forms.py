# SPDX-License-Identifier: Apache-2.0
"""`pellucid work localization`, `vae`, `gan` and `psnr`: the builders of `losses` with options that are text."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Literal

from pellucid.errors import UsageError
from pellucid.worked.builders.losses import gan, localization, psnr, vae
from pellucid.worked.forms.presenting import Format, present, read_tensor, read_vector

__all__ = ["gan_command", "localization_command", "psnr_command", "vae_command"]


def localization_command(
    boxes: str = "2 3 4 2; 0 0 0 0",
    predictions: str = "2.5 3 4 1; 5 1 2 2",
    /,
    *,
    objectness: str = "1 0",
    logits: str = "0.8 -0.5",
    weight: str = "1",
    box_loss: Literal["squared", "smooth_l1"] = "squared",
    exact: bool = False,
    digits: int = 6,
    verify: bool = False,
    format: Format | None = None,
    out: Path | None = None,
) -> int:
    """Work the loss of a localisation by hand: is there an object, and where; without one the box does not count.

    Args:
        boxes: rows of four numbers, one a sample, as in "2 3 4 2; 0 0 0 0".
        predictions: the same of the network.
        objectness: 1 where there is an object and 0 where not, one a sample.
        logits: what the network says of it before the sigmoid, one a sample.
        weight: λ, of the box term.
        box_loss: of each difference: its square, or smooth L1.
        exact: show fractions as fractions where decimals do not end.
        digits: significant digits of numbers that are not exact, 1 to 50.
        verify: show each line's check beside it.
        format: how to show it; by default as the ending of --out says, else for the terminal.
        out: the file to write; by default the terminal.
    """
    rows = {name: read_tensor(text, name) for name, text in (("boxes", boxes), ("predictions", predictions))}
    b, bhat = (each if isinstance(each[0], list) else [each] for each in rows.values())
    o, s = read_vector(objectness, "objectness"), read_vector(logits, "logits")
    sheet = localization(o, s, b, bhat, weight=_number(weight, "weight"), box_loss=box_loss)
    return present(sheet, exact=exact, digits=digits, verify=verify, format=format, out=out)


def vae_command(
    mu: str = "1 -0.5",
    sigma: str | None = None,
    /,
    *,
    epsilon: str = "0.5 -1",
    log_variance: str | None = None,
    delta: str | None = None,
    beta: str = "1",
    exact: bool = False,
    digits: int = 6,
    verify: bool = False,
    format: Format | None = None,
    out: Path | None = None,
) -> int:
    """Work a VAE's latent code by hand: the sample z = μ + σ·ε, D_KL = ½(μ² + σ² − ln σ² − 1), and its gradients.

    Args:
        mu: one number a dimension of the code.
        sigma: standard deviations, above 0; by default 0.5 and 2.
        epsilon: what was drawn from the normal distribution, one a dimension.
        log_variance: ln σ², which networks put out, in the place of sigma.
        delta: ∂R/∂z, what comes back from the decoder; with it L = R + β·D_KL and its gradients are worked out.
        beta: weight of D_KL in L.
        exact: show fractions as fractions where decimals do not end.
        digits: significant digits of numbers that are not exact, 1 to 50.
        verify: show each line's check beside it.
        format: how to show it; by default as the ending of --out says, else for the terminal.
        out: the file to write; by default the terminal.
    """
    if sigma is None and log_variance is None:
        sigma = "0.5 2"
    sheet = vae(
        read_vector(mu, "mu"),
        None if sigma is None else read_vector(sigma, "sigma"),
        read_vector(epsilon, "epsilon"),
        log_variance=None if log_variance is None else read_vector(log_variance, "log_variance"),
        delta=None if delta is None else read_vector(delta, "delta"),
        beta=_number(beta, "beta"),
    )
    return present(sheet, exact=exact, digits=digits, verify=verify, format=format, out=out)


def gan_command(
    real: str = "1 2",
    fake: str = "-1 0.5",
    /,
    *,
    probabilities: bool = False,
    generator: Literal["non_saturating", "minimax"] = "non_saturating",
    exact: bool = False,
    digits: int = 6,
    verify: bool = False,
    format: Format | None = None,
    out: Path | None = None,
) -> int:
    """Work the losses of a GAN's two players by hand, real = 1, and their gradients.

    Args:
        real: the discriminator's logits of real images.
        fake: the same of images that the generator made.
        probabilities: the numbers are probabilities of being real rather than logits.
        generator: what it makes small: −mean ln D(G(z)), or mean ln(1 − D(G(z))) of the minimax game.
        exact: show fractions as fractions where decimals do not end.
        digits: significant digits of numbers that are not exact, 1 to 50.
        verify: show each line's check beside it.
        format: how to show it; by default as the ending of --out says, else for the terminal.
        out: the file to write; by default the terminal.
    """
    sheet = gan(read_vector(real, "real"), read_vector(fake, "fake"), probabilities=probabilities, generator=generator)
    return present(sheet, exact=exact, digits=digits, verify=verify, format=format, out=out)


def psnr_command(
    image: str = "100 110; 120 130",
    reference: str = "101 108; 120 133",
    /,
    *,
    peak: str = "255",
    gradient: bool = False,
    exact: bool = False,
    digits: int = 6,
    verify: bool = False,
    format: Format | None = None,
    out: Path | None = None,
) -> int:
    """Work the peak signal-to-noise ratio by hand, in dB.

    Args:
        image: rows of pixels, as in "100 110; 120 130".
        reference: what they should be.
        peak: the largest value that a pixel can have: 255 for bytes, 1 for images in [0, 1].
        gradient: the derivative by every pixel of the image too.
        exact: show fractions as fractions where decimals do not end.
        digits: significant digits of numbers that are not exact, 1 to 50.
        verify: show each line's check beside it.
        format: how to show it; by default as the ending of --out says, else for the terminal.
        out: the file to write; by default the terminal.
    """
    x, y = read_tensor(image, "image"), read_tensor(reference, "reference")
    sheet = psnr(x, y, peak=_number(peak, "peak"), gradient=gradient)
    return present(sheet, exact=exact, digits=digits, verify=verify, format=format, out=out)


def _number(text: str, option: str) -> Fraction:
    found = read_vector(text, option)
    if len(found) != 1:
        raise UsageError(f"{option}={text[:40]!r}: must be one number; give one.")
    return found[0]
