# SPDX-License-Identifier: Apache-2.0
"""Images that are changed a little so that a classifier errs: steps along the sign of the gradient, within ±ε a pixel.

FGSM (Goodfellow, Shlens & Szegedy 2015, section 4) is one step of ε; its iterated form BIM (Kurakin, Goodfellow & Bengio
2017, section 2.2) several smaller ones; PGD (Madry et al. 2018, section 2.1) is BIM from a random start. All in the units of
a pixel in [0, 1]: what a model normalises, it normalises inside.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

import numpy as np
import torch
from torch import Tensor, nn

from pellucid.errors import UsageError

__all__ = ["attack", "magnitude", "quantised", "random_signs", "random_start", "said", "threshold", "wilson"]

LEVELS = 255  # steps of a stored pixel from black to white


def magnitude(name: str, value: str | float) -> float:
    """A size in units of a pixel in [0, 1], of "8/255", "0.03" or a number.

    >>> magnitude("epsilon", "8/255") == 8 / 255, magnitude("epsilon", 0.5)
    (True, 0.5)

    Raises:
        UsageError: no number, or none above 0 and at most 1.
    """
    try:
        size = float(Fraction(str(value).replace(" ", "")))
    except (ValueError, ZeroDivisionError):
        raise UsageError(f"{name}={value!r}: is no number; give one as 8/255 or 0.03.") from None
    if not 0 < size <= 1:
        raise UsageError(f"{name}={value!r}: must be above 0 and at most 1, white; give one as 8/255 or 0.03.")
    return size


def said(size: float) -> str:
    """A size as people write it: in steps of a stored pixel where it is a whole number of them.

    >>> said(8 / 255), said(0.03)
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
) -> Tensor:
    """(B, C, H, W) in [0, 1]: images within ±ε of the given ones that raise the loss of `labels`, or lower it `towards` them.

    Each step is the sign of the gradient of the cross-entropy, clipped to ±ε and to [0, 1] again. One step of ε is FGSM, more
    are BIM, and with a `start` (what is added before the first step) PGD.

    >>> model = nn.Sequential(nn.Flatten(), nn.Linear(2, 2))
    >>> _ = model[1].weight.data.copy_(torch.tensor([[1.0, -1.0], [0.0, 0.0]]))
    >>> attack(model, torch.full((1, 1, 1, 2), 0.5), torch.tensor([0]), 0.1).flatten().tolist()
    [0.4..., 0.6...]

    Args:
        model: gives logits (B, K).
        images: (B, C, H, W) in [0, 1].
        labels: (B,) the classes to get away from, or `towards` which to go.
        epsilon: largest change of a pixel, in [0, 1].
        steps: how many.
        step: length of one, in [0, 1]; by default ε for one step, else 2.5 ε / steps (Madry et al. 2018, appendix).
        towards: lower the loss of the labels.
        start: (B, C, H, W) within ±ε, added before the first step.
    """
    length = step if step is not None else epsilon if steps == 1 else 2.5 * epsilon / steps
    clean = images.detach()
    found = clean if start is None else (clean + start).clamp(0, 1)
    for _ in range(steps):
        sign = _gradient(model, found, labels).sign()
        moved = found - length * sign if towards else found + length * sign
        found = (clean + (moved - clean).clamp(-epsilon, epsilon)).clamp(0, 1)
    return found


def _gradient(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    """A positive multiple of the cross-entropy's gradient by the images, (B, C, H, W).

    The gradient by the logits, softmax minus one-hot, is brought to 1 for each image before it goes back through the network:
    of a sure answer it would otherwise be rounded to 0, whose sign is no direction.
    """
    with torch.enable_grad():
        watched = images.detach().clone().requires_grad_()
        logits = model(watched * 1)  # a model may write into its input, but not into a leaf of the graph
        if not logits.requires_grad:
            raise UsageError(
                "lens='adversarial': follows the gradient, and the model's answer has none; look at a differentiable model."
            )
        wide = logits.detach().double()
        off = wide.masked_fill(torch.zeros_like(wide, dtype=torch.bool).scatter_(1, labels[:, None], True), -torch.inf)
        # softmax − one-hot, without a difference of near equal numbers: the label's entry is minus the others' sum
        others = (off - off.amax(1, keepdim=True)).exp()
        slope = others.scatter(1, labels[:, None], -others.sum(1, keepdim=True))
        slope = slope / slope.abs().amax(1, keepdim=True).clamp_min(1e-300)
        (found,) = torch.autograd.grad(logits, watched, slope.to(logits), allow_unused=True)
    return torch.zeros_like(images) if found is None else found.detach()


def quantised(images: Tensor, clean: Tensor | None = None, epsilon: float = 1.0) -> Tensor:
    """Images at the values that a stored pixel can take, n/255, and no further than ε from the stored `clean` ones.

    >>> (quantised(torch.tensor([0.5, 1.2]), torch.tensor([0.0, 1.0]), 8.5 / 255) * 255).round().tolist()
    [8.0, 255.0]
    """
    whole = (images.detach().double() * LEVELS).round().clamp(0, LEVELS)
    if clean is not None:
        near, most = (clean.detach().double() * LEVELS).round(), int(epsilon * LEVELS + 1e-6)
        whole = torch.minimum(torch.maximum(whole, near - most), near + most).clamp(0, LEVELS)
    return (whole / LEVELS).float()


def random_start(images: Tensor, epsilon: float, seeds: list[int]) -> Tensor:
    """(B, C, H, W) uniform in ±ε, for each image from a seed of its own."""
    return torch.stack([
        torch.empty(image.shape).uniform_(-epsilon, epsilon, generator=torch.Generator().manual_seed(seed)).to(image)
        for image, seed in zip(images, seeds, strict=True)
    ])  # fmt: skip


def random_signs(images: Tensor, epsilon: float, seeds: list[int]) -> Tensor:
    """Images changed by +ε or −ε at random at every pixel: as large a change as FGSM's, without a thought."""
    signs = torch.stack([
        torch.randint(0, 2, image.shape, generator=torch.Generator().manual_seed(seed)).mul(2).sub(1).to(image)
        for image, seed in zip(images, seeds, strict=True)
    ])  # fmt: skip
    return (images + epsilon * signs).clamp(0, 1)


def threshold(fools: Callable[[int], bool], most: int) -> int | None:
    """A whole number n that fools while n - 1 does not, by doubling and then bisection; None where none up to `most` does.

    Where more ε never fools less, it is the smallest.

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
