# SPDX-License-Identifier: Apache-2.0
"""What a model's vector of 1 + K + 4 numbers says, and the loss of it: L = L_c + [there is an object] · L_b.

c₀ is the logit of an object, c₁ … c_K are the scores of the classes, and the last four, through a sigmoid, the box: its
centre's row and column, its height and its width, in shares of the image's height and width.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Literal, NamedTuple, TypeAlias

import torch
from torch import Tensor
from torch.nn import functional as F

from pellucid import _boxes
from pellucid.tasks.localize.objects import Located

__all__ = [
    "BOX_LOSSES",
    "WEIGHTS",
    "BoxLoss",
    "Vector",
    "as_shares",
    "box_error",
    "corners_of",
    "followable",
    "losses",
    "read",
]

BoxLoss: TypeAlias = Literal["squared", "smooth_l1", "giou"]
BOX_LOSSES: tuple[BoxLoss, ...] = ("squared", "smooth_l1", "giou")
# of the box beside the object and the class: a box that is off by a tenth of the image costs a good part of a wrong class
WEIGHTS: dict[BoxLoss, float] = {"squared": 20.0, "smooth_l1": 5.0, "giou": 2.0}

_BEND = 0.05  # share of the image's side where smooth L1 turns from a square into a line


class Vector(NamedTuple):
    """A model's output in its parts."""

    object: Tensor  # (B,) c₀
    classes: Tensor  # (B, K) c₁ … c_K
    box: Tensor  # (B, 4) in [0, 1]: the centre's row and column, height, width


def read(output: Tensor) -> Vector:
    """The parts of an output (B, 1 + K + 4), in float32.

    >>> read(torch.zeros(2, 1 + 3 + 4)).box[0].tolist()
    [0.5, 0.5, 0.5, 0.5]
    """
    values = output.float()
    return Vector(values[:, 0], values[:, 1:-4], values[:, -4:].sigmoid())


def corners_of(box: Tensor) -> Tensor:
    """x0, y0, x1, y1 (B, 4) of boxes given by their centre's row and column, height and width, in the same unit."""
    row, column, height, width = box.unbind(1)
    return torch.stack([column - width / 2, row - height / 2, column + width / 2, row + height / 2], 1)


def as_shares(corners: Tensor, size: tuple[int, int]) -> Tensor:
    """The centre's row and column, height and width (B, 4), in shares of images of this size, from corners in px.

    >>> as_shares(torch.tensor([[2.0, 1, 6, 3]]), (4, 8))
    tensor([[0.5000, 0.5000, 0.5000, 0.5000]])
    """
    height, width = size
    x0, y0, x1, y1 = corners.unbind(1)
    box = torch.stack([(y0 + y1) / 2 / height, (x0 + x1) / 2 / width, (y1 - y0) / height, (x1 - x0) / width], 1)
    return box


def box_error(kind: BoxLoss, box: Tensor, truth: Tensor) -> Tensor:
    """(B,): how far boxes are from the true ones, both (B, 4) as centre, height and width.

    squared: the sum of the four squared differences; smooth_l1: the same where they are small, growing linearly beyond
    (Girshick 2015, eq. 3); giou: 1 − GIoU, which has a slope where the boxes do not touch (Rezatofighi et al. 2019, alg. 1).

    >>> apart = [torch.tensor([[0.5, place, 0.2, 0.2]]) for place in (0.2, 0.8)]
    >>> [round(float(box_error(kind, *apart)), 3) for kind in BOX_LOSSES]
    [0.36, 0.575, 1.5]
    """
    if kind == "squared":
        return (box - truth).square().sum(1)
    if kind == "smooth_l1":
        return F.smooth_l1_loss(box, truth, reduction="none", beta=_BEND).sum(1)
    return 1 - _boxes.giou(corners_of(box), corners_of(truth))


def losses(output: Tensor, truth: Located, size: tuple[int, int], kind: BoxLoss, weight: float) -> dict[str, Tensor]:
    """The loss and its parts: "object" and "class", which are L_c, and "box", which is L_b.

    All are means over the images of the batch, those without an object included, whose class and box cost nothing. So the
    mean over several processes is that of the whole batch.
    """
    answer, present = read(output), truth.present
    known = F.binary_cross_entropy_with_logits(answer.object, present)
    named = (present * F.cross_entropy(answer.classes, truth.index, reduction="none")).mean()
    placed = (present * box_error(kind, answer.box, as_shares(truth.corners, size))).mean()
    return {"loss": known + named + weight * placed, "object": known, "class": named, "box": placed}


_SIDES = ("left", "top", "right", "bottom")


def followable(classes: Sequence[str]) -> Mapping[str, Callable[[Tensor], Tensor]]:
    """The scores (B,) of outputs that a lens can follow, by name.

    These are the object's logit, the highest score of a class and that of each class, and each side of the box, in shares of
    the image's height or width.

    >>> sides = followable(["cat", "dog"])
    >>> [float(sides[name](torch.zeros(1, 1 + 2 + 4))) for name in ("object", "class", "dog", "top", "right")]
    [0.0, 0.0, 0.0, 0.25, 0.75]
    """

    def side(place: int) -> Callable[[Tensor], Tensor]:
        return lambda output: corners_of(read(output).box)[:, place]

    def score(place: int) -> Callable[[Tensor], Tensor]:
        return lambda output: read(output).classes[:, place]

    known: dict[str, Callable[[Tensor], Tensor]] = {
        "object": lambda output: read(output).object,
        "class": lambda output: read(output).classes.amax(1),
        **{name: side(place) for place, name in enumerate(_SIDES)},
    }
    return {**{name: score(place) for place, name in enumerate(classes)}, **known}
