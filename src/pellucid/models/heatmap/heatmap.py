# SPDX-License-Identifier: Apache-2.0
"""A heat map for each point, on the maps of a backbone: where it is, told by the features of its place."""

from __future__ import annotations

from typing import ClassVar, Literal, final

from torch import Tensor, nn
from torch.nn import functional as F

from pellucid.errors import UsageError, check_choice
from pellucid.models._contract import MARGIN, OutputKind
from pellucid.models._layers import Frozen, Normalize, check_share
from pellucid.models._pretrained import as_colour, body_channels, imagenet_normalize
from pellucid.models.heatmap.levels import BODIES, apart, body

__all__ = ["Heatmap"]


@final
class Heatmap(nn.Module):
    """A heat map for each of several points, on the maps of a backbone that are summed from coarse to fine.

    >>> import torch
    >>> Heatmap(3, 68, (64, 64), stride=8).eval()(torch.zeros(2, 3, 64, 64)).shape
    torch.Size([2, 68, 12, 12])

    The maps of the backbone, 1×1 convolved to one width, are enlarged and added from the coarsest to the finest (Lin et al. 2017,
    fig. 3). Two 3×3 convolutions and a 1×1 convolution give the scores. They go on for two cells around the image.

    Args:
        channels: of the images, 1 or 3.
        outputs: points.
        size: (H, W) of the training images in px; any size works.
        backbone: what sees the image: plain, convolutions that start from random weights; or a network with ImageNet weights.
        stride: px of the image a cell of the heat maps, 4, 8 or 16.
        width: channels of the summed maps.
        dropout: share of the channels of the summed maps dropped in training.
        pretrained: start from the ImageNet weights, where the backbone has some; grey images are repeated to three channels.
        frozen: train the head only; all other tensors stay fixed, batch-norm statistics included.

    Raises:
        UsageError: an option is out of range, nothing trained is there to freeze, or the weights are unavailable.
    """

    output: ClassVar[OutputKind] = "heatmap"
    fixed_size: ClassVar[None] = None

    def __init__(
        self,
        channels: int,
        outputs: int,
        size: tuple[int, int],
        backbone: Literal["plain", "efficientnet_lite0", "mobilenet_v2", "resnet18"] = "plain",
        stride: Literal[4, 8, 16] = 4,
        width: int = 64,
        dropout: float = 0.0,
        pretrained: bool = True,
        frozen: bool = False,
        fetch: bool = True,
    ) -> None:
        super().__init__()
        check_choice("backbone", backbone, BODIES)
        check_choice("stride", stride, (4, 8, 16))
        check_share("dropout", dropout)
        if width < 1:
            raise UsageError(f"width={width}: must be at least 1; give e.g. 64.")
        if frozen and backbone == "plain":
            raise UsageError(
                "frozen=True: the plain backbone has no weights from elsewhere; choose another with --backbone."
            )
        ready = pretrained and backbone != "plain"
        net, self.levels = body(backbone, body_channels(channels, ready), stride, ready and fetch)
        if backbone == "efficientnet_lite0" and ready:  # its weights were trained on values from -1 to 1
            self.normalize = Normalize(3, (0.5,) * 3, (0.5,) * 3)
        else:
            self.normalize = imagenet_normalize(channels, ready)
        self.backbone: nn.Module = Frozen(net) if frozen else net
        self.lateral = nn.ModuleList([nn.Conv2d(own, width, 1) for _, own in self.levels])
        layers: list[nn.Module] = [nn.Dropout2d(dropout)]
        for _ in range(2):
            layers += [nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU(inplace=True)]
        self.head = nn.Sequential(*layers, nn.Conv2d(width, outputs, 1))

    def forward(self, images: Tensor) -> Tensor:  # (B, C, H, W) -> (B, outputs, h + 2·MARGIN, w + 2·MARGIN)
        size = (images.shape[2], images.shape[3])
        features = self.backbone(self.normalize(as_colour(images, self.normalize)))  # (B, Σ C_l·H_l·W_l)
        maps = [own(level) for own, level in zip(self.lateral, apart(features, self.levels, size), strict=True)]
        summed = maps[-1]
        for finer in reversed(maps[:-1]):
            summed = finer + F.interpolate(summed, finer.shape[2:], mode="bilinear")
        scores: Tensor = self.head(F.pad(summed, (MARGIN,) * 4))
        return scores
