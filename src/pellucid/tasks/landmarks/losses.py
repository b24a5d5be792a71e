# SPDX-License-Identifier: Apache-2.0
"""The losses of points: of their places, and of the heat maps that tell them."""

from __future__ import annotations

import math
from typing import Literal, TypeAlias

import torch
from torch import Tensor
from torch.nn import functional as F

from pellucid.models import MARGIN
from pellucid.tasks.landmarks.places import UNIT, Placed, read

__all__ = ["POINT_LOSSES", "PointLoss", "losses", "map_error", "point_error"]

PointLoss: TypeAlias = Literal["mse", "l1", "smooth_l1", "wing"]
POINT_LOSSES: tuple[PointLoss, ...] = ("mse", "l1", "smooth_l1", "wing")

_WING, _BEND = 10.0, 2.0  # px: w and ε of Feng et al. 2018, section 4.2, whose images have 256 px
_SPREAD = 1.0  # cells: standard deviation of the heat map that a map is to become


def point_error(kind: PointLoss, difference: Tensor) -> Tensor:
    """The loss of each coordinate's error in px, of any shape.

    mse: its square; l1: its absolute value; smooth_l1: half the square below 1 px, linear beyond (Girshick 2015, eq. 3); wing:
    w·ln(1 + |x|/ε) below w = 10 px, |x| − C beyond (Feng et al. 2018, eq. 5), which makes small errors count more.

    >>> [round(float(point_error(kind, torch.tensor(4.0))), 3) for kind in POINT_LOSSES]
    [16.0, 4.0, 3.5, 10.986]
    """
    if kind == "mse":
        return difference.square()
    size = difference.abs()
    if kind == "l1":
        return size
    if kind == "smooth_l1":
        return F.smooth_l1_loss(size, torch.zeros_like(size), reduction="none")
    offset = _WING - _WING * math.log(1 + _WING / _BEND)  # C joins the two parts
    return torch.where(size < _WING, _WING * torch.log1p(size / _BEND), size - offset)


def map_error(output: Tensor, truth: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """How far heat maps (B, K, h, w) are from Gaussians of one cell around the true points (B, K, 2) in px of (H, W).

    Returns:
        The Kullback–Leibler divergence (B, K) from the Gaussian to the softmax of the scores, and where there is one: for points
        whose place is known and on the grid.
    """
    height, width = size
    rows, columns = output.shape[2] - 2 * MARGIN, output.shape[3] - 2 * MARGIN
    cell = (
        truth / truth.new_tensor([width / columns, height / rows]) + MARGIN - 0.5
    )  # (B, K, 2) in cells from the first centre
    last = truth.new_tensor([output.shape[3] - 1, output.shape[2] - 1])
    known = ((cell >= -0.5) & (cell <= last + 0.5)).all(2)  # false for NaN
    place = torch.where(known[..., None], cell, 0.0)
    parts = []  # of a Gaussian, which is a product: its logarithm over the columns and over the rows, each normalised
    for axis, count in ((0, output.shape[3]), (1, output.shape[2])):
        away = torch.arange(count, device=output.device) - place[..., axis, None]  # (B, K, count)
        parts.append((-away.square() / (2 * _SPREAD**2)).log_softmax(2))
    logarithm = (parts[1][:, :, :, None] + parts[0][:, :, None, :]).flatten(2)  # (B, K, h·w)
    divergence = (logarithm.exp() * (logarithm - output.float().flatten(2).log_softmax(2))).sum(2)
    return divergence, known


def losses(output: Tensor, truth: Placed, size: tuple[int, int], kind: PointLoss, weight: float) -> dict[str, Tensor]:
    """The loss and its parts: "points", of the places in 256ths of the frame's longer side, and "maps" where there are heat maps.

    Both are means over the visible points of each image and then over the images, those without any included, which cost
    nothing. So the mean over several processes is that of the whole batch.
    """
    visible = truth.visible  # (B, K)
    place = torch.where(visible[..., None], truth.xy, 0.0)
    difference = (read(output, size) - place) * (UNIT / max(size))
    points = _mean(point_error(kind, difference).mean(2), visible)
    if output.ndim == 2:
        return {"loss": points}
    maps = _mean(*map_error(output, truth.xy, size))
    return {"loss": points + weight * maps, "points": points, "maps": maps}


def _mean(values: Tensor, counted: Tensor) -> Tensor:
    """The mean over the images (B, K) of the means over the points that count."""
    return (torch.where(counted, values, 0.0).sum(1) / counted.sum(1).clamp_min(1)).mean()
