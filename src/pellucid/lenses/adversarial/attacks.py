# SPDX-License-Identifier: Apache-2.0
"""Images changed a little so that a classifier errs: steps along the sign of the gradient, within ±ε at each pixel.

FGSM (Goodfellow, Shlens & Szegedy 2015, section 4) is one step of ε; its iterated form BIM (Kurakin, Goodfellow & Bengio
2017, section 2.2) several smaller ones; PGD (Madry et al. 2018, section 2.1) is BIM from a random start. ε is in units of
pixels in [0, 1], since a model normalises its input inside.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

import numpy as np
import torch
from torch import Tensor, nn

from pellucid.errors import UsageError

__all__ = ["attack", "magnitude", "quantised", "random_signs", "random_start", "threshold", "wilson", "written"]

LEVELS = 255  # steps from black to white in a stored image


def magnitude(name: str, value: str | float) -> float:
    """An ε in units of pixels in [0, 1], from "8/255", "0.03" or a number.

    >>> magnitude("epsilon", "8/255") == 8 / 255, magnitude("epsilon", 0.5)
    (True, 0.5)

    Raises:
        UsageError: not a number, or not above 0 and at most 1.
    """
    try:
        size = float(Fraction(str(value).replace(" ", "")))
    except (ValueError, ZeroDivisionError):
        raise UsageError(f"{name}={value!r}: is not a number; write it as 8/255 or 0.03.") from None
    if not 0 < size <= 1:
        raise UsageError(f"{name}={value!r}: must be above 0 and at most 1, which is white; write it as 8/255 or 0.03.")
    return size


def written(size: float) -> str:
    """An ε as papers write it: n/255 where it is a whole number of stored steps.

    >>> written(8 / 255), written(0.03)
    ('8/255', '0.03')
    """
    steps = size * LEVELS
    return f"{round(steps)}/{LEVELS}" if abs(steps - round(steps)) < 1e-4 else f"{size:.4g}"


def attack(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    epsilon: float,
    *,
    steps: int = 1,
    step: float | None = None,
    towards: bool = False,
    start: Tensor | None = None,
    logits: Callable[[Tensor], Tensor] = lambda output: output,
) -> Tensor:
    """(B, C, H, W) in [0, 1]: images within ±ε of the given ones that raise the loss of `labels`, or lower it (`towards`).

    Each step follows the sign of the cross-entropy's gradient and is clipped to ±ε and to [0, 1]. One step of ε is FGSM,
    several are BIM, and with a random `start` they are PGD.

    >>> model = nn.Sequential(nn.Flatten(), nn.Linear(2, 2))
    >>> _ = model[1].weight.data.copy_(torch.tensor([[1.0, -1.0], [0.0, 0.0]]))
    >>> attack(model, torch.full((1, 1, 1, 2), 0.5), torch.tensor([0]), 0.1).flatten().tolist()
    [0.4..., 0.6...]

    Args:
        model: gives logits (B, K), or what `logits` makes them of.
        images: (B, C, H, W) in [0, 1].
        labels: (B,) the classes to lead away from, or `towards`.
        epsilon: largest change of a pixel, in [0, 1].
        steps: number of steps.
        step: length of one, in [0, 1]; by default ε for one step, else 2.5 ε / steps (Madry et al. 2018, appendix).
        towards: lower the loss of the labels.
        start: (B, C, H, W) within ±ε, added before the first step.
        logits: makes logits (B, K) of the model's output.
    """
    length = step if step is not None else epsilon if steps == 1 else 2.5 * epsilon / steps
    clean = images.detach()
    adversarial = clean if start is None else (clean + start).clamp(0, 1)
    for _ in range(steps):
        sign = _gradient(model, adversarial, labels, logits).sign()
        moved = adversarial - length * sign if towards else adversarial + length * sign
        # back into the box of ±ε around the clean image, then into that of all images
        adversarial = (clean + (moved - clean).clamp(-epsilon, epsilon)).clamp(0, 1)
    return adversarial


def _gradient(model: nn.Module, images: Tensor, labels: Tensor, read: Callable[[Tensor], Tensor]) -> Tensor:
    """(B, C, H, W): a positive multiple of the cross-entropy's gradient with respect to the images.

    The gradient with respect to the logits, softmax minus one-hot, is scaled to 1 for each image before it goes back through the
    network: that of a confident answer would otherwise be rounded to 0, which has no sign.
    """
    with torch.enable_grad():
        watched = images.detach().clone().requires_grad_()
        logits = read(model(watched * 1))  # a model may write into its input, but not into a leaf of the graph
        if not logits.requires_grad:
            raise UsageError(
                "lens='adversarial': needs a gradient, and the model's output has none; look at a differentiable model."
            )
        wide = logits.detach().double()  # (B, K)
        off = wide.masked_fill(torch.zeros_like(wide, dtype=torch.bool).scatter_(1, labels[:, None], True), -torch.inf)
        # softmax − one-hot, without a difference of near equal numbers: the label's entry is minus the others' sum
        others = (off - off.amax(1, keepdim=True)).exp()
        slope = others.scatter(1, labels[:, None], -others.sum(1, keepdim=True))
        slope = slope / slope.abs().amax(1, keepdim=True).clamp_min(1e-300)
        (gradient,) = torch.autograd.grad(logits, watched, slope.to(logits), allow_unused=True)
    return torch.zeros_like(images) if gradient is None else gradient.detach()


def quantised(images: Tensor, clean: Tensor | None = None, epsilon: float = 1.0) -> Tensor:
    """Images rounded to stored values, n/255, and no further than ε from the stored `clean` ones.

    >>> (quantised(torch.tensor([0.5, 1.2]), torch.tensor([0.0, 1.0]), 8.5 / 255) * 255).round().tolist()
    [8.0, 255.0]
    """
    whole = (images.detach().double() * LEVELS).round().clamp(0, LEVELS)
    if clean is not None:
        near = (clean.detach().double() * LEVELS).round()
        most = int(epsilon * LEVELS + 1e-6)  # whole steps within ε; 1e-6: 8/255 · 255 may come out just below 8
        whole = torch.minimum(torch.maximum(whole, near - most), near + most).clamp(0, LEVELS)
    return (whole / LEVELS).float()


def random_start(images: Tensor, epsilon: float, seeds: list[int]) -> Tensor:
    """(B, C, H, W) uniform in ±ε, each image from its own seed, so that batches do not matter."""
    return torch.stack([
        torch.empty(image.shape).uniform_(-epsilon, epsilon, generator=torch.Generator().manual_seed(seed)).to(image)
        for image, seed in zip(images, seeds, strict=True)
    ])  # fmt: skip


def random_signs(images: Tensor, epsilon: float, seeds: list[int]) -> Tensor:
    """(B, C, H, W): images changed by +ε or −ε at random at every pixel, as large a change as FGSM's."""
    signs = torch.stack([
        torch.randint(0, 2, image.shape, generator=torch.Generator().manual_seed(seed)).mul(2).sub(1).to(image)
        for image, seed in zip(images, seeds, strict=True)
    ])  # fmt: skip
    return (images + epsilon * signs).clamp(0, 1)


def threshold(fools: Callable[[int], bool], most: int) -> int | None:
    """A whole number n that fools while n - 1 does not, by doubling, then bisection; None where none up to `most` does.

    It is the smallest such number if a larger ε never fools less.

    >>> threshold(lambda n: n >= 11, 64), threshold(lambda n: n >= 1, 64), threshold(lambda n: False, 64)
    (11, 1, None)
    """
    low, high = 0, 1
    while not fools(high):
        if high >= most:
            return None
        low, high = high, min(2 * high, most)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if fools(middle) else (middle, high)
    return high


def wilson(hits: int, n: int) -> tuple[float, float]:
    """The 95 % interval of a share by the score test (Wilson 1927), which holds near 0 and 1 too.

    >>> low, high = wilson(0, 10)
    >>> round(low, 3), round(high, 3)
    (0.0, 0.278)
    """
    z = 1.959963984540054
    share = hits / n
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * float(np.sqrt(share * (1 - share) / n + z * z / (4 * n * n)))
    return max(0.0, centre - half), min(1.0, centre + half)
