# SPDX-License-Identifier: Apache-2.0
"""Augmentation of whole batches: images and targets change together, each image by its own random amounts."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TypeVar, final

import torch
from torch import Tensor
from torch.nn import functional as F

from pellucid.data.draws import Draws
from pellucid.data.targets import Points, Target
from pellucid.errors import UsageError

__all__ = ["Augment"]

T = TypeVar("T", bound=Target)


@final
@dataclass(frozen=True)
class Augment:
    """Random changes of training images; amounts are drawn per image, and zero amounts cost nothing.

    >>> from pellucid.data.targets import Label
    >>> images, label = torch.rand(4, 3, 16, 16), Label(torch.zeros(4, dtype=torch.int64))
    >>> moved, same = Augment(crop=2, flip=True, rotate=10)(images, label, Draws.step(0, 0, slice(0, 4), 4))
    >>> moved.shape, same is label
    (torch.Size([4, 3, 16, 16]), True)

    A task that offers some of these as its own options holds an `Augment` as an unfolded field.
    """

    crop: int = 0
    """shift training images by up to this many px each way, repeating their edges"""
    flip: bool = False
    """mirror half of the training images left to right"""
    turn: bool = False
    """turn training images by a random multiple of 90°, or of 180° if they are not square"""
    rotate: float = 0.0
    """rotate training images by up to this many degrees each way"""
    scale: float = 0.0
    """enlarge or shrink training images by up to this share"""
    stretch: float = 0.0
    """stretch or squeeze training images by up to this share, height and width each by itself"""
    slant: float = 0.0
    """slant training images left or right by up to this share of their height"""
    exposure: float = 0.0
    """brighten or darken training images by up to this many photographic stops (factors of 2)"""
    shading: float = 0.0
    """light training images unevenly: brighten some places and darken others, smoothly, by up to this many photographic stops"""
    contrast: float = 0.0
    """raise or lower the contrast of training images about their mean by up to this share"""
    noise: float = 0.0
    """add Gaussian noise to training images, with a standard deviation of up to this, in [0, 1] units"""
    erase: float = 0.0
    """grey out a rectangle of training images, of up to this share of their area (Zhong et al. 2017)"""

    def __post_init__(self) -> None:
        for name, most in (
            ("crop", 4096),
            ("rotate", 180),
            ("scale", 0.9),
            ("stretch", 0.9),
            ("slant", 2),
            ("exposure", 4),
            ("shading", 4),
            ("contrast", 0.95),
            ("noise", 1),
            ("erase", 1),
        ):
            value = getattr(self, name)
            if not 0 <= value <= most:
                raise UsageError(f"{name}={value!r}: must lie in [0, {most}]; give another value.")

    def __call__(self, images: Tensor, target: T, draws: Draws) -> tuple[Tensor, T]:
        """Changed images (B, C, H, W), float32 in [0, 1], and their targets, moved along and cut at the frame."""
        if self.turn:
            images, target = self._turn(images, target, draws)
        reshaped = self.rotate or self.scale or self.stretch or self.slant
        if reshaped:
            images, target = self._affine(images, target, draws)
        elif self.crop or self.flip:
            images, target = self._shift(images, target, draws)
        if reshaped or self.crop:  # turns and mirrors keep everything in the frame
            target = target.clipped((images.shape[2], images.shape[3]))
        if self.exposure or self.shading or self.contrast:
            images = self._light(images, draws)
        if self.noise:
            images = images + draws.normal(*images.shape[1:]) * draws.uniform(1, 1, 1, high=self.noise)
        if self.erase:
            images = self._erase(images, draws)
        return images, target

    def check(self, target: Target) -> None:
        """Refuse what a target cannot follow; a task asks before the training, with the truth that it learns from.

        >>> Augment(flip=True).check(Points(torch.zeros(1, 2, 2)))
        Traceback (most recent call last):
        pellucid.errors.UsageError: flip=True: would exchange left and right, and which of the 2 points are partners is not ...

        Raises:
            UsageError: images are to be mirrored, and nothing says which points are exchanged.
        """
        if self.flip and isinstance(target, Points):
            target.check_mirror()

    def _turn(self, images: Tensor, target: T, draws: Draws) -> tuple[Tensor, T]:
        """Quarter turns, counter-clockwise; nothing is interpolated."""
        height, width = images.shape[2:]
        quarters = draws.integers(0, 4)  # (B,)
        if height != width:
            quarters = quarters // 2 * 2
        # x' = R·x + offset, where the offset brings the new upper left corner back to the origin
        cos, sin = torch.tensor([1.0, 0, -1, 0]), torch.tensor([0.0, 1, 0, -1])
        turns = torch.stack([torch.stack([cos, sin], 1), torch.stack([-sin, cos], 1)], 1)  # (4, 2, 2)
        offsets = torch.tensor([[0.0, 0], [0, width], [width, height], [height, 0]])
        matrix = torch.cat([turns, offsets[:, :, None]], 2).to(images.device)[quarters]

        def move(pixels: Tensor, fill: float | None = None) -> Tensor:
            moved = torch.empty_like(pixels)
            for quarter in range(4):
                chosen = quarters == quarter
                if bool(chosen.any()):
                    moved[chosen] = pixels[chosen].rot90(quarter, (2, 3))
            return moved

        return move(images), target.moved(matrix, move)

    def _shift(self, images: Tensor, target: T, draws: Draws) -> tuple[Tensor, T]:
        """Shifts by whole pixels and mirrors: one gather, nothing is interpolated."""
        batch, _, height, width = images.shape
        device = images.device
        none = torch.zeros(batch, dtype=torch.int64, device=device)
        down = draws.integers(-self.crop, self.crop + 1) if self.crop else none  # (B,) px
        right = draws.integers(-self.crop, self.crop + 1) if self.crop else none
        mirrored = draws.uniform() < 0.5 if self.flip else none.bool()
        columns = torch.arange(width, device=device).expand(batch, width)
        columns = torch.where(mirrored[:, None], columns.flip(1), columns)
        # the content moves down and right, then it is mirrored; edges repeat
        rows, columns = torch.arange(height, device=device) - down[:, None], columns - right[:, None]  # (B, H), (B, W)
        flat = rows.clamp(0, height - 1)[:, :, None] * width + columns.clamp(0, width - 1)[:, None, :]  # (B, H, W)
        beyond = ((rows < 0) | (rows >= height))[:, :, None] | ((columns < 0) | (columns >= width))[:, None, :]
        sign = torch.where(mirrored, -1.0, 1.0)
        matrix = torch.zeros(batch, 2, 3, device=device)  # x' = sign·(x + right) + (W if mirrored)
        matrix[:, 0, 0], matrix[:, 1, 1] = sign, 1.0
        matrix[:, 0, 2] = sign * right + torch.where(mirrored, float(width), 0.0)
        matrix[:, 1, 2] = down.float()

        def move(pixels: Tensor, fill: float | None = None) -> Tensor:
            index = flat.view(batch, 1, height * width).expand(-1, pixels.shape[1], -1)
            moved = pixels.flatten(2).gather(2, index).view(batch, pixels.shape[1], height, width)
            return moved if fill is None else moved.masked_fill(beyond[:, None], fill)

        return move(images), target.moved(matrix, move)

    def _affine(self, images: Tensor, target: T, draws: Draws) -> tuple[Tensor, T]:
        """Slant, stretch, rotation and zoom about the centre, with the shift and the mirror in one interpolation."""
        batch, _, height, width = images.shape
        device = images.device
        angle = draws.uniform(low=-1, high=1) * math.radians(self.rotate)  # (B,)
        zoom = 1 + draws.uniform(low=-1, high=1) * self.scale
        shift = draws.uniform(2, low=-self.crop, high=self.crop) if self.crop else torch.zeros(batch, 2, device=device)
        mirrored = draws.uniform() < 0.5 if self.flip else torch.zeros(batch, dtype=torch.bool, device=device)
        centre = torch.tensor([width / 2, height / 2], device=device)
        rotation = torch.stack([angle.cos(), -angle.sin(), angle.sin(), angle.cos()], 1).view(batch, 2, 2)
        sign = torch.stack([torch.where(mirrored, -1.0, 1.0), torch.ones_like(angle)], 1)  # of x, y: mirrored first
        turn = rotation * zoom[:, None, None]
        if self.slant:
            turn = turn @ self._slants(draws)
        if self.stretch:
            turn = turn * (1 + draws.uniform(1, 2, low=-self.stretch, high=self.stretch))  # of x, y
        turn = turn * sign[:, None, :]
        offset = centre + shift - turn @ centre  # (B, 2): x' = turn·x + offset, px
        matrix = torch.cat([turn, offset[:, :, None]], 2)
        # where each output pixel comes from, in grid_sample's coordinates: [-1, 1] from edge to edge
        inverse = torch.linalg.inv(turn)
        source = (inverse @ (centre - offset)[:, :, None])[:, :, 0]  # (B, 2) px, of the output's centre
        back = torch.cat([inverse * centre / centre[:, None], (source / centre - 1)[:, :, None]], 2)

        def move(pixels: Tensor, fill: float | None = None) -> Tensor:
            if not pixels.shape[1]:  # a target without planes, of a task that takes the images themselves as truth
                return pixels
            grid = F.affine_grid(back, list(pixels.shape), align_corners=False)
            if fill is None:
                return F.grid_sample(pixels, grid, mode="bilinear", padding_mode="border", align_corners=False)
            # what has no source is 0 here, so that 0 must mean `fill`; classes are whole numbers, and so are differences
            moved = F.grid_sample(pixels - fill, grid, mode="nearest", padding_mode="zeros", align_corners=False)
            return moved + fill

        return move(images), target.moved(matrix, move)

    def _slants(self, draws: Draws) -> Tensor:
        """Matrices (B, 2, 2): x' = x + slant·y."""
        slant = draws.uniform(low=-self.slant, high=self.slant)  # (B,)
        slants = torch.eye(2, device=slant.device).repeat(len(slant), 1, 1)
        slants[:, 0, 1] = slant
        return slants

    def _light(self, images: Tensor, draws: Draws) -> Tensor:
        """Exposure and shading multiply, as light does; contrast stretches about each image's mean, as development does."""
        if self.exposure or self.shading:
            stops = torch.zeros(len(images), 1, 1, 1, device=images.device)
            if self.exposure:
                stops = draws.uniform(1, 1, 1, low=-self.exposure, high=self.exposure)
            if self.shading:
                stops = stops + self._field(images, draws)
            images = (images * torch.exp2(stops)).clamp_(0, 1)
        if self.contrast:
            factor = 1 + draws.uniform(1, 1, 1, low=-self.contrast, high=self.contrast)
            mean = images.mean((1, 2, 3), keepdim=True)
            images = torch.lerp(mean, images, factor).clamp_(0, 1)
        return images

    def _field(self, images: Tensor, draws: Draws) -> Tensor:
        """Stops (B, 1, H, W) of uneven light: a random quadratic of the place, zero on average, as far as its amount anywhere.

        Light that falls on a smooth convex surface varies like the first harmonics of the surface's normal, in which nine
        numbers hold nearly all of it (Basri & Jacobs 2003); over the picture, these are low-order polynomials.
        """
        height, width = images.shape[2:]
        field = (draws.normal(5) @ polynomials(height, width, images.device)[1:]).view(-1, 1, height, width)
        field = field / field.abs().amax((2, 3), keepdim=True).clamp_min(1e-6)
        return field * draws.uniform(1, 1, 1, high=self.shading)

    def _erase(self, images: Tensor, draws: Draws) -> Tensor:
        height, width = images.shape[2:]
        area = draws.uniform(high=self.erase) * height * width  # (B,) px²
        aspect = torch.exp(draws.uniform(low=-1, high=1))  # height over width, from 1/e to e
        tall, wide = (area * aspect).sqrt().clamp(max=height), (area / aspect).sqrt().clamp(max=width)
        top, left = draws.uniform() * (height - tall), draws.uniform() * (width - wide)
        rows, columns = torch.arange(height, device=images.device), torch.arange(width, device=images.device)
        inside_rows = (rows >= top[:, None]) & (rows < (top + tall)[:, None])
        inside_columns = (columns >= left[:, None]) & (columns < (left + wide)[:, None])
        hole = (inside_rows[:, :, None] & inside_columns[:, None, :])[:, None]
        return torch.where(hole, images.mean((2, 3), keepdim=True), images)


def polynomials(height: int, width: int, device: torch.device | str = "cpu") -> Tensor:
    """1, x, y, x² − 1, xy and y² − 1 at every pixel, each with mean square 1 and zero mean but the first: (6, H·W).

    >>> products = polynomials(20, 30) @ polynomials(20, 30).T / 600
    >>> bool(torch.allclose(products, torch.eye(6), atol=1e-4))
    True
    """
    places = []
    for side in (height, width):
        place = torch.arange(side, device=device) - (side - 1) / 2
        first = place / place.square().mean().sqrt().clamp_min(1e-6)
        second = first.square() - first.square().mean()
        places.append((torch.ones_like(first), first, second / second.square().mean().sqrt().clamp_min(1e-6)))
    (one_y, y, yy), (one_x, x, xx) = places
    pairs = ((one_y, one_x), (one_y, x), (y, one_x), (one_y, xx), (y, x), (yy, one_x))
    return torch.stack([torch.outer(down, right).flatten() for down, right in pairs])
