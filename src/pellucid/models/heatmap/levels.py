# SPDX-License-Identifier: Apache-2.0
"""Maps of a backbone at several strides, as one vector of features that a frozen backbone can remember, and apart again."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import final

import torch
from torch import Tensor, nn

from pellucid.models._backbones import lite0, mobilenet
from pellucid.models._depthwise import hasten
from pellucid.models._pretrained import torchvision_state

__all__ = ["BODIES", "Levels", "apart", "body"]

BODIES = ("plain", "efficientnet_lite0", "mobilenet_v2", "resnet18")
"""The backbones by name; plain is trained from random weights."""

_PLAIN = (16, 32, 64, 128, 128)  # channels at strides 2, 4, 8, 16 and 32


@final
class Levels(nn.Module):
    """Stages one after another; the maps after some of them, flat and side by side.

    >>> levels = Levels([nn.Conv2d(3, 4, 3, 2, 1), nn.Conv2d(4, 8, 3, 2, 1)], [True, True])
    >>> levels(torch.zeros(2, 3, 8, 6)).shape[1] == 4 * 4 * 3 + 8 * 2 * 2
    True
    """

    def __init__(self, stages: Sequence[nn.Module], kept: Sequence[bool]) -> None:
        super().__init__()
        self.stages, self.kept = nn.ModuleList(stages), tuple(kept)
        hasten(self)

    def forward(self, images: Tensor) -> Tensor:  # (B, C, H, W) -> (B, Σ C_l·H_l·W_l)
        maps = []
        for stage, kept in zip(self.stages, self.kept, strict=True):
            images = stage(images)
            if kept:
                maps.append(images.flatten(1))
        return torch.cat(maps, 1)


def apart(features: Tensor, levels: Sequence[tuple[int, int]], size: tuple[int, int]) -> list[Tensor]:
    """The maps (B, C_l, H_l, W_l) from the features that `Levels` gives for images of this size (H, W).

    Args:
        features: (B, Σ C_l·H_l·W_l).
        levels: the stride and the channels of each map; its sides are those of the image over the stride, rounded up.
        size: of the images in px.
    """
    shapes = [(channels, *(-(-side // stride) for side in size)) for stride, channels in levels]
    ends = [0]
    for channels, height, width in shapes:
        ends.append(ends[-1] + channels * height * width)
    parts = (features[:, start:end] for start, end in pairwise(ends))
    return [part.view(-1, *shape) for part, shape in zip(parts, shapes, strict=True)]


def body(name: str, channels: int, stride: int, weights: bool) -> tuple[Levels, list[tuple[int, int]]]:
    """A backbone and the stride and channels of its maps, the finest first.

    Args:
        name: one of `BODIES`.
        channels: of the images.
        stride: of the finest map, px.
        weights: load its ImageNet weights; plain has none.

    Raises:
        UsageError: the weights are unavailable.
    """
    stages, levels = _plain(channels) if name == "plain" else _published(name, channels, weights)
    kept = [level is not None and level[0] >= stride for level in levels]
    return Levels(stages, kept), [level for level in levels if level is not None and level[0] >= stride]


_Levels = list[tuple[int, int] | None]  # after each stage: stride and channels of a map that may be kept


def _plain(channels: int) -> tuple[list[nn.Module], _Levels]:
    """Two 3×3 convolutions at each stride."""
    stages: list[nn.Module] = []
    for width in _PLAIN:
        layers: list[nn.Module] = []
        for inner, stride in ((channels, 2), (width, 1)):
            convolution = nn.Conv2d(inner, width, 3, stride, 1, bias=False)
            nn.init.kaiming_normal_(convolution.weight, nonlinearity="relu")  # He et al. 2015, eq. 10
            layers += [convolution, nn.BatchNorm2d(width), nn.ReLU(inplace=True)]
        stages.append(nn.Sequential(*layers))
        channels = width
    return stages, [(2 ** (i + 1), width) for i, width in enumerate(_PLAIN)]


def _published(name: str, channels: int, weights: bool) -> tuple[list[nn.Module], _Levels]:
    """The stages of a network with ImageNet weights: those that share a stride are kept after the last one."""
    if name == "efficientnet_lite0":
        net = lite0(channels, weights=weights)
        stages = [nn.Sequential(net.conv_stem, net.bn1), *net.blocks]
        return stages, [None, None, (4, 24), (8, 40), None, (16, 112), None, (32, 320)]
    if name == "mobilenet_v2":
        layers = list(mobilenet(weights=weights).features)
        if channels != 3:
            layers[0][0] = nn.Conv2d(channels, 32, 3, stride=2, padding=1, bias=False)
        ends = (0, 4, 7, 14, 18)
        return [nn.Sequential(*layers[a:b]) for a, b in pairwise(ends)], [(4, 24), (8, 32), (16, 96), (32, 320)]
    from torchvision.models import resnet18

    net = resnet18()
    if weights:
        net.load_state_dict(torchvision_state("resnet18"))
    if channels != 3:
        net.conv1 = nn.Conv2d(channels, 64, 7, stride=2, padding=3, bias=False)
    stem = nn.Sequential(net.conv1, net.bn1, net.relu, net.maxpool, net.layer1)
    return [stem, net.layer2, net.layer3, net.layer4], [(4, 64), (8, 128), (16, 256), (32, 512)]
