# SPDX-License-Identifier: Apache-2.0
"""Classifiers' bodies as encoders: their maps at every scale, for a decoder with skip connections."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple, final

import torch
from torch import Tensor, nn

from pellucid.errors import UsageError
from pellucid.models._backbones import check_stages, lite0, mobilenet, mobilenet_stages
from pellucid.models._depthwise import hasten
from pellucid.models._layers import Frozen, Normalize
from pellucid.models._pretrained import body_channels, imagenet_normalize, load_body, timm_model, torchvision_state

__all__ = ["Body", "Encoder", "body"]

_SIDE = 64  # px of the image by which the scales are found
_RESNETS = ("resnet18", "resnet34", "resnet50", "resnet101", "resnet152")


class Body(NamedTuple):
    """A classifier without its last layer, cut into stages."""

    name: str
    stages: Sequence[nn.Module]  # from the image on, each (B, C, H, W) -> (B, C', H', W')
    normalize: Normalize  # the first layer of the model
    names: Sequence[str]  # the published names of the stages' tensors, in their order


@final
class Encoder(nn.Module):
    """The last map of a body at each scale, from the finest on, with the first stages or all of them frozen.

    >>> encoder = Encoder(body("mobilenet_v2", 3, pretrained=False), frozen=False, frozen_stages=2)
    >>> [tuple(map.shape) for map in encoder(torch.zeros(1, 3, 64, 96))][:3]
    [(1, 16, 32, 48), (1, 24, 16, 24), (1, 32, 8, 12)]
    >>> encoder.widths, encoder.strides
    ((16, 24, 32, 96, 320), (2, 4, 8, 16, 32))

    Raises:
        UsageError: fewer than no stage is to be frozen, or more than there are.
    """

    def __init__(self, given: Body, frozen: bool, frozen_stages: int) -> None:
        super().__init__()
        check_stages(len(given.stages), frozen, frozen_stages)
        self._kept, self.widths, self.strides = _scales(given)
        count = len(given.stages) if frozen else frozen_stages
        first, rest = given.stages[:count], given.stages[count:]
        parts: list[nn.Module] = [Frozen(_Stages(first), several=True)] if first else []
        self.parts = nn.ModuleList([*parts, *([_Stages(rest)] if rest else [])])
        hasten(self)

    def forward(self, images: Tensor) -> list[Tensor]:  # (B, C, H, W) -> [(B, widths[i], H/strides[i], W/strides[i])]
        maps = [images]
        for part in self.parts:
            maps += part(maps[-1])
        return [maps[place + 1] for place in self._kept]


@final
class _Stages(nn.Module):
    """Stages one after another; all their maps."""

    def __init__(self, stages: Sequence[nn.Module]) -> None:
        super().__init__()
        self.stages = nn.ModuleList(stages)

    def forward(self, features: Tensor) -> list[Tensor]:
        maps = []
        for stage in self.stages:
            features = stage(features)
            maps.append(features)
        return maps


def body(name: str, channels: int, pretrained: bool, fetch: bool = True) -> Body:
    """A classifier's body by name: efficientnet_lite0, mobilenet_v2, torchvision's resnet18 to resnet152, or a name of timm.

    >>> len(body("efficientnet_lite0", 3, pretrained=False).stages)
    8

    Args:
        name: of the classifier.
        channels: of the images, 1 or 3.
        pretrained: with its ImageNet weights, which take colour images.
        fetch: load them now; not needed if weights are loaded afterwards.

    Raises:
        UsageError: no such model, one that is no sequence of stages, or its weights are unavailable.
    """
    inner, weights = body_channels(channels, pretrained), pretrained and fetch
    if name == "efficientnet_lite0":
        net = lite0(inner, weights)
        # the weights were trained on values from -1 to 1
        normalize = Normalize(3, (0.5,) * 3, (0.5,) * 3) if pretrained else Normalize(channels)
        return _body(name, [nn.Sequential(net.conv_stem, net.bn1), *net.blocks], normalize, net)
    normalize = imagenet_normalize(channels, pretrained)
    if name == "mobilenet_v2":
        net = mobilenet(weights)
        if inner != 3:
            net.features[0][0] = nn.Conv2d(inner, 32, 3, stride=2, padding=1, bias=False)
            nn.init.kaiming_normal_(net.features[0][0].weight, mode="fan_out")  # as torchvision's others
        return _body(name, mobilenet_stages(list(net.features))[:-1], normalize, net)
    if name in _RESNETS:
        return _of_torchvision(name, inner, weights, normalize)
    return _of_timm(name, channels, inner, pretrained, weights)


def _of_torchvision(name: str, channels: int, weights: bool, normalize: Normalize) -> Body:
    from torchvision.models import get_model

    net = get_model(name, weights=None)
    net.fc = nn.Identity()
    if weights:
        load_body(net, torchvision_state(name), "fc.")
    if channels != 3:
        net.conv1 = nn.Conv2d(channels, 64, 7, stride=2, padding=3, bias=False)
        nn.init.kaiming_normal_(net.conv1.weight, mode="fan_out", nonlinearity="relu")  # as torchvision's others
    first, second = nn.Sequential(net.conv1, net.bn1, net.relu), nn.Sequential(net.maxpool, net.layer1)
    return _body(name, [first, second, net.layer2, net.layer3, net.layer4], normalize, net)


def _of_timm(name: str, channels: int, inner: int, pretrained: bool, weights: bool) -> Body:
    try:
        net = timm_model(name, weights, in_chans=inner, features_only=True)
    except UsageError as fault:
        raise UsageError(re.sub("^name=", "encoder=", str(fault))) from fault
    except Exception as fault:  # architectures without maps raise errors of many kinds
        raise _unfit(name, fault) from fault
    config = net.pretrained_cfg if hasattr(net, "pretrained_cfg") else {}
    mean, std = config.get("mean", (0.5,) * 3), config.get("std", (0.5,) * 3)
    normalize = Normalize(3, tuple(mean), tuple(std)) if pretrained else Normalize(channels)
    if hasattr(net, "conv_stem") and hasattr(net, "blocks"):  # EfficientNet, MobileNet and their kin
        act = [net.act1] if hasattr(net, "act1") else []
        stages: list[nn.Module] = [nn.Sequential(net.conv_stem, net.bn1, *act), *net.blocks]
    elif isinstance(ends := getattr(net, "return_layers", None), dict) and isinstance(net, nn.ModuleDict):
        stages, layers = [], list[nn.Module]()
        for layer, module in net.items():
            layers.append(module)
            if layer in ends:
                stages.append(nn.Sequential(*layers))
                layers = []
    else:
        raise _unfit(name, "it is no sequence of layers")
    return _body(name, stages, normalize, net)


def _body(name: str, stages: Sequence[nn.Module], normalize: Normalize, net: nn.Module) -> Body:
    """With the names in the classifier that the stages are the first layers of."""
    count = sum(len(stage.state_dict()) for stage in stages)
    # timm writes stages_0 for what its classifier calls stages.0
    names = [re.sub(r"^([a-z]+)_(\d+)\.", r"\1.\2.", own) for own in net.state_dict()]
    return Body(name, stages, normalize, names[:count])


def _unfit(name: str, reason: object) -> UsageError:
    return UsageError(
        f"encoder={name!r}: this timm model gives no maps at several scales ({reason}); "
        "choose a convolutional one, e.g. resnet18 or efficientnet_lite0."
    )


@torch.no_grad()
def _scales(given: Body) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
    """The place of the last stage at each scale, the channels of its map, and its stride."""
    net, channels = _Stages(given.stages), given.normalize.mean.shape[1]
    modes = {module: module.training for module in net.modules()}
    try:
        shapes = [tuple(found.shape) for found in net.eval()(torch.zeros(1, channels, _SIDE, _SIDE))]
    except Exception as fault:  # architectures for one size raise errors of many kinds
        raise _unfit(given.name, fault) from fault
    finally:
        for module, mode in modes.items():
            module.training = mode
    sides = [shape[-1] for shape in shapes]
    square = all(len(shape) == 4 and shape[2] == shape[3] and _SIDE % shape[3] == 0 for shape in shapes)
    if not square or sides != sorted(sides, reverse=True) or sides[-1] == _SIDE:
        raise _unfit(given.name, f"{_SIDE}×{_SIDE} px become {', '.join(map(str, shapes))}")
    kept = [place for place, side in enumerate(sides) if side < _SIDE and side not in sides[place + 1 :]]
    return tuple(kept), tuple(shapes[i][1] for i in kept), tuple(_SIDE // sides[i] for i in kept)
