# SPDX-License-Identifier: Apache-2.0
"""The points of each image, and how a model's output says where they are: as numbers, or as heat maps."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import final

import torch
from torch import Tensor

from pellucid.data.targets import Move, Points, Target
from pellucid.models import MARGIN

__all__ = ["REACH", "UNIT", "Placed", "certainty", "grid", "read", "shares"]

UNIT = 256.0
"""Losses see errors in px of a frame whose longer side has so many."""

REACH = 2.0  # cells around the answer whose share of the heat map is its certainty


@final
@dataclass(frozen=True)
class Placed(Target):
    """K points an image as (x, y) in px of its frame; NaN where one is not visible.

    >>> eyes = Placed(torch.tensor([[[2.0, 5], [7, 4]]]), torch.ones(1, 2), mirror=(1, 0))
    >>> eyes.resized(torch.tensor([[2.0, 2]]), torch.zeros(1, 2), (20, 20)).scale.tolist()
    [[2.0, 2.0]]
    """

    xy: Tensor  # (N, K, 2) float32
    scale: Tensor  # (N, 2) px of the frame a px of the image itself, as (x, y)
    score: Tensor | None = None  # (N, K) float32 in [0, 1]: how certain an answer is, where a model tells; answers only
    names: list[str] | None = None  # N: of the images; truth only
    start: Tensor | None = (
        None  # (N, 2) px of the frame where the image itself begins, as (x, y), if not at 0; truth only
    )
    mirror: tuple[int, ...] | None = field(default=None, metadata={"shared": True})  # as of `Points`

    def resized(self, scale: Tensor, offset: Tensor, size: tuple[int, int]) -> Placed:
        start = offset if self.start is None else self.start * scale + offset
        return replace(self, xy=self.xy * scale[:, None] + offset[:, None], scale=self.scale * scale, start=start)

    def scaled(self, scale: Tensor) -> Placed:
        start = None if self.start is None else self.start * scale
        return replace(self, xy=self.xy * scale[:, None], scale=self.scale * scale, start=start)

    def unfitted(self, scale: Tensor, offset: Tensor, sides: Tensor) -> Placed:
        return replace(self, xy=(self.xy - offset[:, None]) / scale[:, None], scale=self.scale / scale)

    def moved(self, matrix: Tensor, move: Move) -> Placed:
        return replace(self, xy=self.points.moved(matrix, move).xy)

    def clipped(self, size: tuple[int, int]) -> Placed:
        return replace(self, xy=self.points.clipped(size).xy)

    @property
    def points(self) -> Points:
        """The points alone, which move as all keypoints do."""
        return Points(self.xy, self.mirror)

    @property
    def visible(self) -> Tensor:
        """(N, K) bool."""
        return ~self.xy.isnan().any(2)


def read(output: Tensor, size: tuple[int, int]) -> Tensor:
    """The points (B, K, 2) in px of a frame (H, W), from numbers (B, 2·K) or heat maps (B, K, h, w), in float32.

    Numbers count from the middle of the frame, in 256ths of its longer side. Of a heat map it is the mean of the places, with
    the softmax of their scores as weights: the soft-argmax of Sun et al. 2018 (eq. 2) and Nibali et al. 2018 (eq. 4).

    >>> read(torch.zeros(1, 4), (10, 20)).tolist()
    [[[10.0, 5.0], [10.0, 5.0]]]
    >>> scores = torch.full((1, 1, 9, 9), -99.0)
    >>> scores[0, 0, 2, 4:6] = 0.0  # between the third and the fourth cell of the first row of 5 × 5 cells
    >>> read(scores, (50, 50)).round(decimals=3).tolist()
    [[[30.0, 5.0]]]
    """
    height, width = size
    frame = output.new_tensor([width, height], dtype=torch.float32)
    if output.ndim == 2:
        offset: Tensor = output.float().unflatten(1, (-1, 2)) * (max(size) / UNIT)
        return frame / 2 + offset
    columns, rows = grid(output)
    weights = shares(output)
    places: Tensor = torch.stack([weights.sum(2) @ columns, weights.sum(3) @ rows], 2) * frame
    return places


def shares(output: Tensor) -> Tensor:
    """The softmax (B, K, h, w) of heat maps over their places, in float32."""
    return output.float().flatten(2).softmax(2).view(output.shape)


def grid(output: Tensor) -> tuple[Tensor, Tensor]:
    """The centres of a heat map's columns (w,) and rows (h,), in shares of the image's width and height."""
    rows, columns = (
        (torch.arange(side, device=output.device, dtype=torch.float32) + 0.5 - MARGIN) / (side - 2 * MARGIN)
        for side in output.shape[2:]
    )
    return columns, rows


def certainty(output: Tensor, points: Tensor, size: tuple[int, int]) -> Tensor:
    """(B, K): the share of each heat map within two cells of its answer, by which an answer that is spread out is known."""
    columns, rows = grid(output)
    height, width = size
    cells = (output.shape[3] - 2 * MARGIN, output.shape[2] - 2 * MARGIN)
    across = (columns[None, None] - points[..., :1] / width) * cells[0]  # (B, K, w) cells
    down = (rows[None, None] - points[..., 1:] / height) * cells[1]
    near = across.square()[:, :, None, :] + down.square()[:, :, :, None] <= REACH**2
    return (shares(output) * near).sum((2, 3)).clamp(max=1)
