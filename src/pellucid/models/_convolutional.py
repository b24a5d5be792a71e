# SPDX-License-Identifier: Apache-2.0
"""Images of any size through layers that halve and double: padded at the input, cropped at the output."""

from __future__ import annotations

from typing import final

from torch import Tensor, nn
from torch.nn import functional as F

from pellucid.errors import UsageError

__all__ = ["Crop", "Pad", "Unpool", "halvings", "padded"]


@final
class Pad(nn.Module):
    """Repeat the bottom and the right edge until both sides are multiples of a number.

    >>> import torch
    >>> Pad(4)(torch.zeros(1, 1, 7, 8)).shape
    torch.Size([1, 1, 8, 8])
    """

    def __init__(self, multiple: int) -> None:
        super().__init__()
        self.multiple = multiple

    def forward(self, images: Tensor) -> Tensor:  # (B, C, H, W) -> (B, C, ⌈H⌉, ⌈W⌉)
        height, width = images.shape[2:]
        below, right = -height % self.multiple, -width % self.multiple
        return F.pad(images, (0, right, 0, below), mode="replicate") if below or right else images


@final
class Crop(nn.Module):
    """Keep the upper left corner of a given size."""

    def __init__(self, size: tuple[int, int]) -> None:
        super().__init__()
        self.size = size

    def forward(self, images: Tensor) -> Tensor:  # (B, C, ⌈H⌉, ⌈W⌉) -> (B, C, H, W)
        return images[:, :, : self.size[0], : self.size[1]]


@final
class Unpool(nn.Module):
    """Each value at the place of the maximum from which it came, zeros elsewhere (Zeiler & Fergus 2014, section 2.1).

    It computes what `nn.MaxUnpool2d` does by a scatter, which exported files can contain, and which takes bf16 on every device.

    >>> import torch
    >>> image = torch.tensor([[[[1.0, 5.0], [2.0, 3.0]]]])
    >>> values, places = nn.functional.max_pool2d(image, 2, return_indices=True)
    >>> Unpool()(values, places).tolist()
    [[[[0.0, 5.0], [0.0, 0.0]]]]
    """

    def forward(self, values: Tensor, places: Tensor) -> Tensor:  # (B, C, H, W), twice -> (B, C, 2H, 2W)
        batch, channels, height, width = values.shape
        whole = values.new_zeros(batch, channels, 4 * height * width)
        # a place counts the pixels of its plane row by row
        filled: Tensor = whole.scatter(2, places.flatten(2), values.flatten(2))
        return filled.reshape(batch, channels, 2 * height, 2 * width)


def halvings(model: str, size: tuple[int, int], count: int) -> tuple[int, int]:
    """(H, W) after `count` halvings of a padded image.

    >>> halvings("conv_vae", (28, 30), 2)
    (7, 8)

    Raises:
        UsageError: the image would shrink to a single pixel earlier.
    """
    if 2 ** (count - 1) >= max(size):
        raise UsageError(
            f"widths: halve the image {count} times, but {size[0]}×{size[1]} px shrink to one pixel earlier; "
            f"give model={model!r} fewer widths, or a larger --size."
        )
    return -(-size[0] // 2**count), -(-size[1] // 2**count)


def padded(images: Tensor, multiple: int) -> Tensor:
    """Images whose bottom and right edges are repeated until both sides are multiples of a number.

    Unlike `Pad` it takes no decision, so that a traced model takes any size.

    >>> import torch
    >>> padded(torch.zeros(1, 1, 7, 8), 4).shape
    torch.Size([1, 1, 8, 8])
    """
    height, width = images.shape[2:]
    return F.pad(images, (0, -width % multiple, 0, -height % multiple), mode="replicate")
