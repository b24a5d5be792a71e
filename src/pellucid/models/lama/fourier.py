# SPDX-License-Identifier: Apache-2.0
"""Fourier convolutions: layers that see all places of a map at once, as products in its frequencies (Chi et al. 2020)."""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["FourierBlock", "FourierConv", "FourierUnit", "from_frequencies", "to_frequencies"]


def to_frequencies(maps: Tensor) -> tuple[Tensor, Tensor]:
    """The real and the imaginary part of the Fourier transform of real maps, (B, C, H, W) -> twice (B, C, H, W // 2 + 1).

    Orthonormal, with the half of the frequencies that determines the other, as `torch.fft.rfft2(maps, norm="ortho")`; but as
    products with its matrices, which exported files can hold for maps of any size.

    >>> real, imaginary = to_frequencies(torch.ones(1, 1, 4, 6))
    >>> round(float(real[0, 0, 0, 0]), 4), round(float(real.abs().sum()), 4)
    (4.899, 4.899)
    """
    height, width = maps.shape[2:]
    cosine, sine = _waves(width, maps)  # (W, W)
    half = width // 2 + 1
    real, imaginary = maps @ cosine[:, :half], -(maps @ sine[:, :half])  # along the rows
    cosine, sine = _waves(height, maps)  # (H, H)
    return cosine @ real + sine @ imaginary, cosine @ imaginary - sine @ real


def from_frequencies(real: Tensor, imaginary: Tensor, width: int) -> Tensor:
    """The real maps (B, C, H, width) of half of their frequencies, as `torch.fft.irfft2(…, norm="ortho")`.

    >>> maps = torch.rand(2, 3, 5, 8)
    >>> torch.allclose(from_frequencies(*to_frequencies(maps), 8), maps, atol=1e-5)
    True
    """
    cosine, sine = _waves(real.shape[2], real)
    real, imaginary = cosine @ real - sine @ imaginary, cosine @ imaginary + sine @ real
    cosine, sine = _waves(width, real)
    half = width // 2 + 1
    place = torch.arange(half, device=real.device)
    # each frequency stands for its conjugate too, but for the constant and, of an even width, the fastest
    twice = 2 - ((place == 0) | (2 * place == width)).to(real.dtype)
    return (real * twice) @ cosine[:half] - (imaginary * twice) @ sine[:half]


def _waves(length: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """Cosines and sines of 2π·i·k / length over √length, (length, length) each."""
    place = torch.arange(length, device=like.device)
    # the product of whole numbers before the division: a large angle in float32 would lose digits
    angle = (place[:, None] * place % length).to(torch.float32) * (2 * torch.pi / length)
    scale = length**-0.5
    return (angle.cos() * scale).to(like.dtype), (angle.sin() * scale).to(like.dtype)


@final
class FourierUnit(nn.Module):
    """A 1×1 convolution and a ReLU of all frequencies: each value of the answer depends on the whole map.

    >>> FourierUnit(4)(torch.zeros(2, 4, 5, 7)).shape
    torch.Size([2, 4, 5, 7])
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.mix = _convolution(2 * width, 2 * width, 1)

    def forward(self, maps: Tensor) -> Tensor:  # (B, C, H, W) -> (B, C, H, W)
        real, imaginary = F.relu(self.mix(torch.cat(to_frequencies(maps), dim=1))).chunk(2, dim=1)
        return from_frequencies(real, imaginary, maps.shape[3])


@final
class FourierConv(nn.Module):
    """A convolution with a local branch of 3×3 and a global one of frequencies, each of which answers to both.

    Local: W₁·x + W₂·g; global: W₃·x + S(g), with S a Fourier unit between 1×1 convolutions, beside what it was given (Chi et al.
    2020, eqs. 1 to 3, and figure 2). The last channels are the global branch.

    >>> FourierConv(8, 6)(torch.zeros(2, 8, 5, 7)).shape
    torch.Size([2, 8, 5, 7])

    Args:
        width: channels.
        overall: how many of them belong to the global branch.
    """

    def __init__(self, width: int, overall: int) -> None:
        super().__init__()
        inner = max(1, overall // 2)
        self.parts = [width - overall, overall]
        self.near = _convolution(width, width - overall, 3) if overall < width else None  # local and global to local
        self.across = _convolution(width - overall, overall, 3) if overall < width else None
        self.into, self.unit, self.out = (
            _convolution(overall, inner, 1),
            FourierUnit(inner),
            nn.Conv2d(inner, overall, 1),
        )
        nn.init.xavier_uniform_(self.out.weight)

    def forward(self, features: Tensor) -> Tensor:  # (B, width, H, W) -> (B, width, H, W)
        own, overall = features.split(self.parts, dim=1)
        inner = F.relu(self.into(overall))
        answer: Tensor = self.out(inner + self.unit(inner))
        if self.near is None or self.across is None:
            return answer
        return torch.cat([self.near(features), answer + self.across(own)], dim=1)


@final
class FourierBlock(nn.Module):
    """x + c₂(ReLU(c₁(x))) with two Fourier convolutions (Suvorov et al. 2022, figure 2), without batch norm.

    A block starts as the identity: the scale of what it adds is learned from zero (Bachlechner et al. 2021, ReZero).
    """

    def __init__(self, width: int, overall: int) -> None:
        super().__init__()
        self.first, self.second = FourierConv(width, overall), FourierConv(width, overall)
        self.scale = nn.Parameter(torch.zeros(()))

    def forward(self, features: Tensor) -> Tensor:
        added: Tensor = self.second(F.relu(self.first(features)))
        return features + self.scale * added


def _convolution(channels: int, width: int, side: int) -> nn.Conv2d:
    layer = nn.Conv2d(channels, width, side, padding=side // 2, padding_mode="zeros")
    nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")  # He et al. 2015, eq. 10
    assert layer.bias is not None
    nn.init.zeros_(layer.bias)
    return layer
