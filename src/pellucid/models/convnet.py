# SPDX-License-Identifier: Apache-2.0
"""A small convolutional network: blocks of two 3×3 convolutions, then adaptive average pooling and one linear layer."""

from __future__ import annotations

from typing import ClassVar, Literal, final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pellucid.errors import UsageError
from pellucid.models._contract import OutputKind
from pellucid.models._layers import (
    AdaptivePool,
    AttentionPool,
    Normalize,
    activation_layer,
    check_heads,
    check_share,
    check_size,
    check_widths,
    initialise,
)

__all__ = ["Convnet"]

_SIDE = 2  # px of a patch
_EPSILON = 5e-4  # added to each variance: patches of a plain ground hardly vary along most directions
_PATCHES = 2_000_000  # that are looked at, at most


@final
class Convnet(nn.Module):
    """Blocks of conv 3×3 (no padding) → ReLU → conv 3×3 (padding 1) → ReLU, pooled to 3×3, and one linear layer.

    A stride makes it faster and lets it see more of the image at once; so does `pool`, which keeps the strongest of four places.
    A grid of 3×3 knows little of where something is; the heads of `AttentionPool` know the place as exactly as its features do.

    >>> from pellucid.models._building import parameter_count
    >>> parameter_count(Convnet(3, 10, (32, 32)))
    271690

    Args:
        channels: of the images, 1 or 3.
        outputs: classes.
        size: (H, W) of the images in px; each block removes 2 px, or with `pool` halves both sides, and at least `grid` must remain.
        widths: channels of each block.
        dropout: share of the pooled features dropped in training.
        activation: function after each convolution.
        initialisation: how the convolutions' weights start; he keeps the variance through ReLU layers (He et al. 2015, eq. 10).
        batch_norm: normalise over the batch after each convolution (Ioffe & Szegedy 2015).
        stride: step of the first convolution of each block, px.
        pool: pad each block's first convolution, and keep the largest of 2×2 px of what it gives (before the norm, as Jordan 2024).
        grid: rows and columns that the features are pooled to; 1 is their average over the image.
        whiten: begin with a fixed convolution of 2×2 px that whitens the training images' patches (Page 2019; Jordan 2024, 3.2).
        heads: attention maps by which the features are pooled, each with its place; 0 pools to the grid instead.

    Raises:
        UsageError: the images are too small, or an option is out of range.
    """

    output: ClassVar[OutputKind] = "vector"
    fixed_size: ClassVar[None] = None

    def __init__(
        self,
        channels: int,
        outputs: int,
        size: tuple[int, int],
        widths: tuple[int, ...] = (64, 128),
        dropout: float = 0.0,
        activation: Literal["relu", "sigmoid", "tanh", "leaky_relu"] = "relu",
        initialisation: Literal["he", "xavier", "uniform", "zero"] = "he",
        batch_norm: bool = False,
        stride: int = 1,
        pool: bool = False,
        grid: int = 3,
        whiten: bool = False,
        heads: int = 0,
    ) -> None:
        super().__init__()
        check_widths("widths", widths)
        check_share("dropout", dropout)
        check_heads(heads)
        if stride < 1:
            raise UsageError(f"stride={stride}: must be at least 1 px; give a larger number.")
        if grid < 1:
            raise UsageError(f"grid={grid}: must be at least 1; give a larger number.")
        if pool and stride > 1:
            raise UsageError(
                f"stride={stride}: does not go with pool, which halves the images itself; give stride 1, or leave out pool."
            )
        least = grid
        for _ in widths:
            least = 2 * least if pool else (least - 1) * stride + 3  # a 3×3 convolution without padding
        check_size("convnet", size, least + whiten)  # which removes a px
        self.normalize = Normalize(channels)
        layers: list[nn.Module] = []
        fixed = _whitening(channels) if whiten else None
        if fixed is not None:
            layers += [fixed, activation_layer(activation)]
            channels = fixed.out_channels
        for width in widths:
            # (B, channels, H, W) -> (B, width, H - 2, W - 2), or with a stride s (B, width, ⌊(H - 3)/s⌋ + 1, …); pool: (…, ⌊H/2⌋, …)
            first = nn.Conv2d(channels, width, 3, stride, padding=int(pool))
            for convolution, halved in ((first, pool), (nn.Conv2d(width, width, 3, padding=1), False)):
                norm = [nn.BatchNorm2d(width)] if batch_norm else []
                layers += [
                    convolution,
                    *([nn.MaxPool2d(2)] if halved else []),
                    *norm,
                    nn.ReLU(inplace=True) if activation == "relu" else activation_layer(activation),
                ]
            channels = width
        self.whitens = whiten
        self.features = nn.Sequential(*layers)
        self.pool: AdaptivePool | AttentionPool = AttentionPool(channels, heads) if heads else AdaptivePool(grid)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(heads * (channels + 2) if heads else grid**2 * channels, outputs)
        initialise(self.features[2:] if whiten else self.features, initialisation)

    @property
    def whitening(self) -> nn.Conv2d | None:
        """The convolution that is computed from training images; None without one."""
        first = self.features[0]
        return first if self.whitens and isinstance(first, nn.Conv2d) else None

    @torch.no_grad()
    def whiten(self, images: Tensor) -> None:
        """Set the first convolution by training images (N, C, H, W) in [0, 1], where `whiten` was asked for."""
        if (fixed := self.whitening) is not None:
            _fit_whitening(fixed, self.normalize(images))

    def forward(self, images: Tensor) -> Tensor:  # (B, C, H, W) -> (B, outputs)
        features = self.features(self.normalize(images))  # (B, widths[-1], H - 2n, W - 2n) by default
        logits: Tensor = self.head(self.dropout(self.pool(features).flatten(1)))  # pooled to (B, grid²·widths[-1])
        return logits


def _whitening(channels: int) -> nn.Conv2d:
    """A convolution of 2×2 px whose weights stay as they are; until `_fit_whitening` is called, each filter is a pixel, or its negative.

    >>> _whitening(1)(torch.eye(2)[None, None]).flatten().tolist()
    [1.0, 0.0, 0.0, 1.0, -1.0, 0.0, 0.0, -1.0]
    """
    count = _SIDE**2 * channels
    layer = nn.Conv2d(channels, 2 * count, _SIDE, bias=False).requires_grad_(False)
    _set(layer, torch.eye(count, dtype=torch.float64))
    return layer


@torch.no_grad()
def _fit_whitening(layer: nn.Conv2d, images: Tensor) -> None:
    """Set the filters to the principal components of the images' patches, each scaled to unit variance, and to their negatives.

    With both signs, a ReLU behind it loses nothing (Page 2019; Jordan 2024, section 3.2).

    Args:
        layer: as `_whitening` gives it.
        images: (N, C, H, W), normalised. Of many and large ones, some spread evenly are looked at.
    """
    height, width = images.shape[2:]
    number = max(1, min(len(images), _PATCHES // (height * width)))
    chosen = images[torch.linspace(0, len(images) - 1, number).round().long()]
    patches = F.unfold(chosen.float(), _SIDE).transpose(1, 2).flatten(0, 1).double()  # (N·(H - 1)·(W - 1), 4·C)
    variances, directions = torch.linalg.eigh(torch.cov(patches.T))  # ascending; a column is a direction
    largest = directions.gather(0, directions.abs().argmax(0, keepdim=True))
    directions = directions * largest.sign()  # of the two signs, the one whose largest part is positive
    _set(layer, (directions / (variances.clamp_min(0) + _EPSILON).sqrt()).T.flip(0))


def _set(layer: nn.Conv2d, filters: Tensor) -> None:
    """The filters (4·C, 4·C), a row each, and their negatives."""
    layer.weight.data.copy_(torch.cat([filters, -filters]).view_as(layer.weight))
