# SPDX-License-Identifier: Apache-2.0
"""RandAugment on whole batches: each image is changed N times, each time by an operation drawn among fourteen."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as change

from pellucid.data.draws import Draws
from pellucid.data.mixing import STRONGEST

__all__ = ["OPERATIONS", "rand_augment"]


def rand_augment(images: Tensor, count: int, magnitude: int, draws: Draws) -> Tensor:
    """Images (B, C, H, W) in [0, 1], each changed `count` times with this magnitude, from 0 to 30 (Cubuk et al. 2020, fig. 2).

    The operations and what a magnitude means for each are torchvision's; each signed one goes either way with equal chance.
    Images that get the same operation are changed together.

    >>> images = torch.rand(6, 3, 16, 16)
    >>> rand_augment(images, 2, 9, Draws.step(0, 0, slice(0, 6), 6)).shape
    torch.Size([6, 3, 16, 16])
    """
    names = [*OPERATIONS]
    for _ in range(count):
        drawn, negative = draws.integers(0, len(names)), draws.uniform() < 0.5
        changed = images.clone()
        for place in drawn.unique().tolist():
            name = names[place]
            for sign in (1, -1):
                # an operation without a sign is the same either way
                chosen = ((drawn == place) & (negative == (sign < 0))).nonzero()[:, 0]
                if len(chosen):
                    changed[chosen] = OPERATIONS[name](images[chosen], sign * magnitude / STRONGEST)
        images = changed.clamp(0, 1)
    return images


def _moved(
    images: Tensor, angle: float = 0.0, shift: tuple[float, float] = (0, 0), shear: tuple[float, float] = (0, 0)
) -> Tensor:
    centre = [0.0, 0.0] if any(shear) else None  # as in the paper's implementation, from the upper left corner
    moved: Tensor = change.affine(
        images,
        angle,
        [round(shift[0]), round(shift[1])],
        1.0,
        [*shear],
        InterpolationMode.BILINEAR,
        fill=[0.0],
        center=centre,
    )
    return moved


def _sheared(images: Tensor, strength: float, down: bool) -> Tensor:
    degrees = float(torch.rad2deg(torch.atan(torch.tensor(0.3 * strength))))
    return _moved(images, shear=(0.0, degrees) if down else (degrees, 0.0))


def _eight_bit(operation: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """An operation on 256 levels, for images in [0, 1]."""
    return lambda images: operation((images * 255).round().to(torch.uint8)).float().div_(255)


def _posterised(images: Tensor, strength: float) -> Tensor:
    bits = 8 - round(4 * abs(strength))
    return _eight_bit(lambda levels: change.posterize(levels, bits))(images)


# strength: the signed magnitude as a share of the highest one
OPERATIONS: dict[str, Callable[[Tensor, float], Tensor]] = {
    "identity": lambda images, strength: images,
    "shear_x": lambda images, strength: _sheared(images, strength, down=False),
    "shear_y": lambda images, strength: _sheared(images, strength, down=True),
    "translate_x": lambda images, strength: _moved(images, shift=(150 / 331 * images.shape[3] * strength, 0)),
    "translate_y": lambda images, strength: _moved(images, shift=(0, 150 / 331 * images.shape[2] * strength)),
    "rotate": lambda images, strength: _moved(images, angle=30 * strength),
    "brightness": lambda images, strength: change.adjust_brightness(images, 1 + 0.9 * strength),
    "colour": lambda images, strength: (
        change.adjust_saturation(images, 1 + 0.9 * strength) if images.shape[1] == 3 else images
    ),
    "contrast": lambda images, strength: change.adjust_contrast(images, 1 + 0.9 * strength),
    "sharpness": lambda images, strength: change.adjust_sharpness(images, 1 + 0.9 * strength),
    "posterise": _posterised,
    "solarise": lambda images, strength: change.solarize(images, 1 - abs(strength)),
    "autocontrast": lambda images, strength: change.autocontrast(images),
    "equalise": lambda images, strength: _eight_bit(change.equalize)(images),
}
"""The operations by name: images and the signed strength from −1 to 1."""
