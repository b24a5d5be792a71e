# SPDX-License-Identifier: Apache-2.0
"""Losses of a class for each pixel: cross-entropy with class weights or a focus on hard pixels, and Dice beside it.

Void pixels cost nothing. Each loss is a mean over the images of a batch, so that the mean over several processes is that of the
whole batch: what the pixels cost is divided by their number, void ones included.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from pellucid.data.targets import VOID

__all__ = ["Followable", "dice_loss", "lead", "log_odds", "losses", "median_frequency", "pixel_loss"]


def pixel_loss(logits: Tensor, truth: Tensor, weights: Tensor | None = None, focus: float = 0.0) -> Tensor:
    """(B,): the mean over an image's pixels of −w·(1 − p)^γ·log p, where p is the probability of the true class.

    With γ = 0 this is cross-entropy (softmax over the classes), otherwise the focal loss (Lin et al. 2017, eq. 4).

    >>> logits, truth = torch.zeros(1, 2, 1, 2), torch.tensor([[[0, VOID]]], dtype=torch.uint8)
    >>> round(float(pixel_loss(logits, truth)), 4)  # half of log 2: the second pixel is void
    0.3466

    Args:
        logits: (B, K, H, W) float32.
        truth: (B, H, W) uint8.
        weights: (K,) of the classes.
        focus: γ.
    """
    # (B, H, W)
    cost = F.cross_entropy(logits, truth.long(), weights, ignore_index=VOID, reduction="none")
    if focus:
        plain = cost if weights is None else F.cross_entropy(logits, truth.long(), ignore_index=VOID, reduction="none")
        # 1 − p = −expm1(log p); at p = 1 the power of 0 would have no slope
        cost = cost * (-torch.expm1(-plain)).clamp_min(1e-12).pow(focus)
    return cost.flatten(1).mean(1)


def dice_loss(logits: Tensor, truth: Tensor) -> Tensor:
    """(B,): 1 − 2·Σpg / (Σp + Σg) of each class that an image shows, averaged over them (Milletari et al. 2016, with p for p²).

    Sums are over the pixels that are not void; an image without any costs nothing.

    >>> sure = torch.tensor([[[[9.0, -9.0]], [[-9.0, 9.0]]]])  # (1, 2, 1, 2)
    >>> round(float(dice_loss(sure, torch.tensor([[[0, 1]]], dtype=torch.uint8))), 4)
    0.0

    Args:
        logits: (B, K, H, W) float32.
        truth: (B, H, W) uint8.
    """
    known = (truth != VOID)[:, None]  # (B, 1, H, W)
    own = F.one_hot(truth.long().where(known[:, 0], 0), logits.shape[1]).movedim(3, 1) * known
    shares = logits.softmax(1) * known
    both, shown = (shares * own).sum((2, 3)), own.sum((2, 3))  # (B, K)
    dice = 2 * both / (shares.sum((2, 3)) + shown).clamp_min(1e-6)
    there = shown > 0
    return ((1 - dice) * there).sum(1) / there.sum(1).clamp_min(1)


def losses(logits: Tensor, truth: Tensor, weights: Tensor | None, focus: float, dice: float) -> dict[str, Tensor]:
    """The loss and, where it has two, its parts."""
    pixels = pixel_loss(logits, truth, weights, focus).mean()
    if not dice:
        return {"loss": pixels}
    overlap = dice_loss(logits, truth).mean()
    return {"loss": pixels + dice * overlap, "focal" if focus else "cross_entropy": pixels, "dice": overlap}


def median_frequency(counts: NDArray[np.int64]) -> tuple[float, ...]:
    """The weight of each class: the median of the classes' frequencies over its own (Eigen & Fergus 2015, section 4.3).

    The frequency of a class is its share of the pixels of the images that show it. A class that no image shows has weight 1.

    >>> median_frequency(np.array([[90, 10, 0], [50, 0, 0]]))
    (0.553..., 5.166..., 1.0)

    Args:
        counts: (N, K) pixels of each class in each image, void ones left out.
    """
    shown = counts > 0
    of_images = (counts.sum(1, keepdims=True) * shown).sum(0)  # pixels of the images that show a class
    there = of_images > 0
    frequency = counts.sum(0)[there] / of_images[there]
    weights = np.ones(counts.shape[1])
    weights[there] = np.median(frequency) / frequency
    return tuple(weights.tolist())


def log_odds(logits: Tensor, index: int) -> Tensor:
    """(B, H, W): how much more a class is expected at each pixel than all others together, log p / (1 − p).

    >>> log_odds(torch.tensor([2.0, 1.0]).view(1, 2, 1, 1), 0).item()
    1.0
    """
    others = torch.cat([logits[:, :index], logits[:, index + 1 :]], 1)
    return logits[:, index] - others.logsumexp(1) if others.shape[1] else logits[:, index]


def lead(logits: Tensor) -> Tensor:
    """(B, H, W): the log-odds of the most probable class at each pixel.

    >>> lead(torch.tensor([2.0, 5.0]).view(1, 2, 1, 1)).item()
    3.0
    """
    top = logits.argmax(1, keepdim=True)  # (B, 1, H, W)
    others = logits.scatter(1, top, -torch.inf).logsumexp(1)
    return logits.gather(1, top)[:, 0] - others


@final
class Followable(Mapping[str, Callable[[Tensor], Tensor]]):
    """The scores (B,) of outputs (B, K, H, W) that a lens can follow, by name.

    A class's name is the log-odds of that class, averaged over the pixels that are taken for it. "car@120,45" is that of the
    pixel in row 120 and column 45, from 0, and "@120,45" that of the class which is most probable there.

    >>> scores = Followable(["road", "car"])
    >>> output = torch.zeros(1, 2, 4, 6); output[:, 1, 2, 3] = 5.0
    >>> scores["car@2,3"](output).item(), scores["@2,3"](output).item(), scores["road@0,0"](output).item()
    (5.0, 5.0, 0.0)
    """

    def __init__(self, classes: Sequence[str]) -> None:
        self._classes = list(classes)

    def __iter__(self) -> Iterator[str]:
        return iter(self._classes)

    def __len__(self) -> int:
        return len(self._classes)

    def __contains__(self, named: object) -> bool:
        return isinstance(named, str) and self._read(named) is not None

    def __getitem__(self, named: str) -> Callable[[Tensor], Tensor]:
        found = self._read(named)
        if found is None:
            raise KeyError(named)
        index, place = found
        if place is None:
            assert index is not None  # a name without a place is a class's
            return lambda output: claimed(output.float(), index)
        return lambda output: _at(output.float(), index, place)

    def _read(self, named: str) -> tuple[int | None, tuple[int, int] | None] | None:
        """The class and the pixel that a name means; None where it means nothing."""
        if named in self._classes:
            return self._classes.index(named), None
        title, _, place = named.rpartition("@")
        row, _, column = place.partition(",")
        if "@" not in named or not (row.strip().isdecimal() and column.strip().isdecimal()):
            return None
        if title and title not in self._classes:
            return None
        return self._classes.index(title) if title else None, (int(row), int(column))


def claimed(logits: Tensor, index: int) -> Tensor:
    """(B,): the log-odds of a class, averaged over the pixels by its probability there, which is held fixed."""
    odds = log_odds(logits, index)
    share = odds.detach().sigmoid()
    return (odds * share).flatten(1).sum(1) / share.flatten(1).sum(1).clamp_min(1e-12)


def _at(logits: Tensor, index: int | None, place: tuple[int, int]) -> Tensor:
    """(B,): the log-odds of a class, or of the most probable one, at one pixel; the last row or column for one beyond."""
    row, column = (min(at, side - 1) for at, side in zip(place, logits.shape[2:], strict=True))
    pixel = logits[:, :, row : row + 1, column : column + 1]  # (B, K, 1, 1)
    return log_odds(pixel, int(pixel[0].argmax()) if index is None else index)[:, 0, 0]
