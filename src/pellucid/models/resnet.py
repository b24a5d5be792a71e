# SPDX-License-Identifier: Apache-2.0
"""Residual networks (He et al. 2016), and the plain networks of the same depth with which they were compared."""

from __future__ import annotations

from collections import OrderedDict
from typing import ClassVar, Literal, final

from torch import Tensor, nn

from pellucid.errors import UsageError, check_choice
from pellucid.models._backbones import named
from pellucid.models._contract import OutputKind
from pellucid.models._layers import AttentionPool, Frozen, check_heads, check_share
from pellucid.models._pretrained import as_colour, body_channels, imagenet_normalize, load_body, torchvision_state

__all__ = ["Resnet"]

_STAGES = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}
_SMALL = 64  # px: below, the published stem, which divides the resolution by four, leaves too little


@final
class Resnet(nn.Module):
    """Torchvision's ResNet: blocks of convolutions with a shortcut around each, or plain without shortcuts.

    >>> import torch
    >>> model = Resnet(1, 10, (28, 28), depth=18).eval()
    >>> model(torch.zeros(2, 1, 28, 28)).shape
    torch.Size([2, 10])

    The plain variant has the same layers without the shortcuts (and their 1×1 projections). When it gets deeper, it fits even
    its training images worse, and shortcuts cure that: the degradation experiment of He et al. 2016, section 4.1.

    Args:
        channels: of the images, 1 or 3.
        outputs: classes.
        size: (H, W) of the training images in px; any size works.
        depth: number of layers with weights; 18 and 34 have basic blocks, the others bottlenecks.
        plain: omit the shortcuts.
        stem: the first layers; large: 7×7 with stride 2, then max pooling (He et al. 2016, table 1); small: 3×3 with
            stride 1 and no pooling (section 4.2, for images of 32 px); auto: small up to 64 px, unless pretrained.
        dropout: share of the pooled features dropped in training.
        pretrained: start from torchvision's ImageNet weights; grey images are repeated to three channels.
        frozen: train the head only; all other tensors stay fixed, batch-norm statistics included.
        heads: attention maps by which the features are pooled, each with its place; 0 averages them over the image instead.

    Raises:
        UsageError: an unknown depth, or pretrained weights that are unavailable or do not fit.
    """

    output: ClassVar[OutputKind] = "vector"
    fixed_size: ClassVar[None] = None

    def __init__(
        self,
        channels: int,
        outputs: int,
        size: tuple[int, int],
        depth: Literal[18, 34, 50, 101, 152] = 18,
        plain: bool = False,
        stem: Literal["auto", "small", "large"] = "auto",
        dropout: float = 0.0,
        pretrained: bool = False,
        frozen: bool = False,
        heads: int = 0,
        fetch: bool = True,
    ) -> None:
        from torchvision.models.resnet import BasicBlock, Bottleneck, ResNet

        super().__init__()
        check_choice("depth", depth, _STAGES)
        check_choice("stem", stem, ("auto", "small", "large"))
        check_share("dropout", dropout)
        check_heads(heads)
        small = stem == "small" or (stem == "auto" and not pretrained and min(size) <= _SMALL)
        if pretrained and (plain or small):
            option = "plain=True" if plain else "stem='small'"
            raise UsageError(f"{option}: has no pretrained weights; omit --pretrained, or this option.")
        net = ResNet(BasicBlock if depth < 50 else Bottleneck, list(_STAGES[depth]))
        net.fc, features = nn.Identity(), net.fc.in_features  # the head is ours, with dropout before it
        if pretrained and fetch:
            load_body(net, torchvision_state(f"resnet{depth}"), "fc.")
        inner = body_channels(channels, pretrained)
        if small:
            net.conv1, net.maxpool = nn.Conv2d(inner, 64, 3, padding=1, bias=False), nn.Identity()
        elif inner != 3:
            net.conv1 = nn.Conv2d(inner, 64, 7, stride=2, padding=3, bias=False)
        if not pretrained:
            nn.init.kaiming_normal_(net.conv1.weight, mode="fan_out", nonlinearity="relu")  # as torchvision's others
        if plain:
            for stage in (net.layer1, net.layer2, net.layer3, net.layer4):
                for i, block in enumerate(stage):
                    stage[i] = _without_shortcut(block)
        self.normalize = imagenet_normalize(channels, pretrained)
        body: nn.Module = net
        pool: list[nn.Module] = []
        if heads:  # the same layers under the same names, without the average at their end
            body = nn.Sequential(OrderedDict([*net.named_children()][:-2]))
            pool, features = [AttentionPool(features, heads), nn.Flatten()], heads * (features + 2)
        self.backbone: nn.Module = Frozen(body) if frozen else body
        self.head = nn.Sequential(*pool, nn.Dropout(dropout), nn.Linear(features, outputs))
        self._names = [] if plain else list(body.state_dict())  # without shortcuts, blocks have other names

    @property
    def published(self) -> list[dict[str, str]]:
        """Its names in torchvision and timm; see `models._contract.Published`."""
        return [named(self, self._names, "fc")] if self._names else []

    def forward(self, images: Tensor) -> Tensor:  # (B, C, H, W) -> (B, outputs)
        features = self.backbone(
            self.normalize(as_colour(images, self.normalize))
        )  # (B, 512 or 2048), with heads a map of them
        logits: Tensor = self.head(features)
        return logits


def _without_shortcut(block: nn.Module) -> nn.Sequential:
    """The convolutions of a block, each with its batch norm and a ReLU."""
    layers: list[nn.Module] = []
    for i in (1, 2, 3):
        if hasattr(block, f"conv{i}"):
            layers += [getattr(block, f"conv{i}"), getattr(block, f"bn{i}"), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)
