# SPDX-License-Identifier: Apache-2.0
"""Backbones as maps of several strides, and the top-down pathway that brings what the coarse ones know to the fine ones."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Literal, NamedTuple, TypeAlias, final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pellucid.errors import UsageError, check_choice
from pellucid.models._backbones import lite0, mobilenet
from pellucid.models._depthwise import hasten
from pellucid.models._layers import Frozen, Normalize, check_widths, initialise
from pellucid.models._pretrained import as_colour, body_channels, imagenet_normalize, load_body, torchvision_state

__all__ = ["BACKBONES", "READY", "Backbone", "Body", "Pyramid", "body_of"]

Backbone: TypeAlias = Literal["convnet", "resnet", "efficientnet_lite0", "mobilenet_v2"]
BACKBONES: tuple[Backbone, ...] = ("convnet", "resnet", "efficientnet_lite0", "mobilenet_v2")
READY: tuple[Backbone, ...] = ("efficientnet_lite0", "mobilenet_v2")
"""Those whose ImageNet weights come in packages."""

_COARSEST = 32  # px: later stages see no more of an image than these
# layers of MobileNetV2's stages (Sandler et al. 2018, table 2), without its last convolution
_REPEATS = (1, 1, 2, 3, 4, 3, 3, 1)
_STRIDES = (2, 2, 4, 8, 16, 16, 32, 32)  # px, of the map after each of its stages; EfficientNet-Lite0's are the same


class _Stages(NamedTuple):
    normalize: Normalize
    layers: list[nn.Module]  # from the image on, each (B, C, H, W) -> (B, C', H', W')
    strides: list[int]  # px of the image from one place of each one's map to the next
    channels: list[int]  # of each one's map


@final
class Body(nn.Module):
    """A backbone whose answer is its last map of each stride, from the finest that is asked for on.

    Args:
        stages: its stages, from the image on.
        finest: the stride of the first map that is given, px.
        frozen: how many stages are not trained.
    """

    def __init__(self, stages: _Stages, finest: int, frozen: int) -> None:
        super().__init__()
        self.normalize = stages.normalize
        last = {stride: place for place, stride in enumerate(stages.strides) if finest <= stride <= _COARSEST}
        if finest not in last:
            known = sorted(set(stages.strides))
            raise UsageError(
                f"strides={finest}: the backbone has no map of it; give some of {', '.join(map(str, known))}."
            )
        self.strides, self.channels = list(last), [stages.channels[place] for place in last.values()]
        starts = [0, *(place + 1 for place in last.values())]
        self.parts = nn.ModuleList(_part(stages.layers[start:end], frozen - start) for start, end in pairwise(starts))
        hasten(self)

    def forward(self, images: Tensor) -> list[Tensor]:  # (B, C, H, W) -> (B, C_i, ⌈H/s_i⌉, ⌈W/s_i⌉) for each stride
        image = self.normalize(as_colour(images, self.normalize))
        if not self.training and not torch.compiler.is_exporting():
            # a third faster, and rows of channels, which pooling takes, are there without a copy; trainings have an option
            image = image.contiguous(memory_format=torch.channels_last)
        maps = []
        for part in self.parts:
            image = part(image)
            maps.append(image)
        return maps


def _part(layers: Sequence[nn.Module], frozen: int) -> nn.Module:
    """Layers one after another, the first `frozen` of them as they are for good."""
    frozen = min(max(frozen, 0), len(layers))
    if frozen == len(layers):
        return Frozen(nn.Sequential(*layers))
    first = [Frozen(nn.Sequential(*layers[:frozen]))] if frozen else []
    return nn.Sequential(*first, *layers[frozen:])


@final
class Pyramid(nn.Module):
    """Maps of one width, each the sum of its own and of all coarser ones (Lin et al. 2017, section 3).

    Args:
        channels: of the maps that come in, from the finest on.
        width: channels of the maps that come out.
        count: how many of them, from the finest on.
    """

    def __init__(self, channels: Sequence[int], width: int, count: int) -> None:
        super().__init__()
        self.lateral = nn.ModuleList(nn.Conv2d(own, width, 1) for own in channels)
        self.smooth = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU(inplace=True)
            )
            for _ in range(count)
        )
        initialise(self, "xavier")

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        whole: list[Tensor] = []
        for lateral, own in reversed(list(zip(self.lateral, maps, strict=True))):
            seen = lateral(own)
            if whole:  # nearest neighbours, as in the paper
                seen = seen + F.interpolate(whole[0], seen.shape[2:])
            whole.insert(0, seen)
        return [smooth(own) for smooth, own in zip(self.smooth, whole, strict=False)]


def body_of(
    backbone: Backbone,
    channels: int,
    finest: int,
    widths: Sequence[int],
    pretrained: bool,
    frozen: bool,
    frozen_stages: int,
    fetch: bool,
) -> Body:
    """The backbone of this name.

    Raises:
        UsageError: a name or a stride that there is none of, weights that are unavailable, or stages that there are not.
    """
    check_choice("backbone", backbone, BACKBONES)
    if backbone == "convnet" and pretrained:
        raise UsageError(
            "pretrained=True: the backbone convnet has no published weights; choose another, or leave it out."
        )
    if backbone == "convnet":
        stages = _convnet(channels, widths)
    elif backbone == "resnet":
        stages = _resnet(channels, pretrained, fetch)
    elif backbone == "efficientnet_lite0":
        stages = _lite0(channels, pretrained, fetch)
    else:
        stages = _mobilenet(channels, pretrained, fetch)
    count = len(stages.layers)
    if not 0 <= frozen_stages <= count:
        raise UsageError(f"frozen_stages={frozen_stages}: the backbone has {count} stages; give 0 to {count}.")
    if frozen and frozen_stages:
        raise UsageError(f"frozen_stages={frozen_stages}: frozen=True freezes all stages; leave out one of the two.")
    return Body(stages, finest, count if frozen else frozen_stages)


def _convnet(channels: int, widths: Sequence[int]) -> _Stages:
    """Blocks of two 3×3 convolutions with batch normalisation; each halves the resolution, the last only up to stride 32."""
    check_widths("widths", widths, least=2)
    layers: list[nn.Module] = []
    strides: list[int] = []
    inner = channels
    for place, width in enumerate(widths):
        layers.append(nn.Sequential(*_convolution(inner, width, 2), *_convolution(width, width, 1)))
        strides.append(2 ** (place + 1))
        inner = width
    for layer in layers:
        initialise(layer, "he")
    return _Stages(Normalize(channels), layers, strides, list(widths))


def _convolution(inner: int, width: int, stride: int) -> list[nn.Module]:
    convolution = nn.Conv2d(inner, width, 3, stride, padding=1, bias=False)
    return [convolution, nn.BatchNorm2d(width), nn.ReLU(inplace=True)]


def _resnet(channels: int, pretrained: bool, fetch: bool) -> _Stages:
    """Torchvision's ResNet of 18 layers (He et al. 2016): the first convolution, and four stages."""
    from torchvision.models import resnet18

    net = resnet18(weights=None)
    if pretrained and fetch:
        net.fc = nn.Identity()
        load_body(net, torchvision_state("resnet18"), "fc.")
    if (inner := body_channels(channels, pretrained)) != 3:
        net.conv1 = nn.Conv2d(inner, 64, 7, stride=2, padding=3, bias=False)
        nn.init.kaiming_normal_(net.conv1.weight, mode="fan_out", nonlinearity="relu")  # as torchvision's others
    stem = nn.Sequential(net.conv1, net.bn1, net.relu)
    first = nn.Sequential(net.maxpool, net.layer1)
    layers: list[nn.Module] = [stem, first, net.layer2, net.layer3, net.layer4]
    return _Stages(imagenet_normalize(channels, pretrained), layers, [2, 4, 8, 16, 32], [64, 64, 128, 256, 512])


def _lite0(channels: int, pretrained: bool, fetch: bool) -> _Stages:
    """EfficientNet-Lite0 without its last convolution: the first one, and seven groups of inverted bottlenecks."""
    net: Any = lite0(body_channels(channels, pretrained), weights=pretrained and fetch)
    layers = [nn.Sequential(net.conv_stem, net.bn1), *net.blocks]
    normalize = Normalize(3, (0.5,) * 3, (0.5,) * 3) if pretrained else Normalize(channels)
    widths = [net.conv_stem.out_channels, *(group[-1].bn3.num_features for group in net.blocks[1:])]
    widths.insert(1, net.blocks[0][-1].bn2.num_features)  # the first group has no expansion
    return _Stages(normalize, layers, list(_STRIDES), widths)


def _mobilenet(channels: int, pretrained: bool, fetch: bool) -> _Stages:
    """MobileNetV2 without its last convolution: the first one, and seven groups of inverted bottlenecks."""
    net = mobilenet(weights=pretrained and fetch)
    features = list(net.features)
    if body_channels(channels, pretrained) != 3:
        features[0][0] = nn.Conv2d(channels, 32, 3, stride=2, padding=1, bias=False)
        nn.init.kaiming_normal_(features[0][0].weight, mode="fan_out")  # as torchvision's others
    ends = [sum(_REPEATS[: i + 1]) for i in range(len(_REPEATS))]
    layers: list[nn.Module] = [
        nn.Sequential(*features[end - count : end]) for count, end in zip(_REPEATS, ends, strict=True)
    ]
    widths = [features[end - 1].out_channels for end in ends]
    return _Stages(imagenet_normalize(channels, pretrained), layers, list(_STRIDES), widths)
