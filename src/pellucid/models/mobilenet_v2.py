# SPDX-License-Identifier: Apache-2.0
"""MobileNetV2 (Sandler et al. 2018), with torchvision's ImageNet weights, which also come in a package."""

from __future__ import annotations

from typing import ClassVar, final

import torch
from torch import Tensor, nn

from pellucid.models._backbones import head, mobilenet, mobilenet_stages, named, staged
from pellucid.models._contract import OutputKind
from pellucid.models._layers import check_heads, check_share
from pellucid.models._pretrained import as_colour, body_channels, imagenet_normalize

__all__ = ["MobilenetV2"]


@final
class MobilenetV2(nn.Module):
    """Torchvision's MobileNetV2 with ImageNet weights, which also come in a package, and a new linear layer.

    >>> import torch
    >>> MobilenetV2(3, 10, (64, 64), pretrained=False).eval()(torch.zeros(2, 3, 64, 64)).shape
    torch.Size([2, 10])

    Its 9 stages, each frozen or trained as a whole, are the first convolution, seven groups of inverted bottlenecks (table 2 of
    the paper) and the last 1×1 convolution. The weights are torchvision's first for it (IMAGENET1K_V1).

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
        UsageError: the weights are unavailable, or more stages are to be frozen than there are.
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
        net = mobilenet(weights=pretrained and fetch)
        layers = list(net.features)
        if body_channels(channels, pretrained) != 3:
            layers[0][0] = nn.Conv2d(channels, 32, 3, stride=2, padding=1, bias=False)
            nn.init.kaiming_normal_(layers[0][0].weight, mode="fan_out")  # as torchvision's others
        stages = mobilenet_stages(layers)
        self.normalize = imagenet_normalize(channels, pretrained)
        pool = [] if heads else [nn.AdaptiveAvgPool2d(1), nn.Flatten()]
        self.backbone = staged(stages, pool, frozen, frozen_stages)
        self.head = head(net.last_channel, outputs, dropout, heads)

    @property
    def published(self) -> list[dict[str, str]]:
        """Its names in torchvision and timm; see `models._contract.Published`."""
        import timm
        from torchvision.models import mobilenet_v2

        with torch.device("meta"):  # names only
            features = mobilenet_v2().features.state_dict(prefix="features.")
            other = timm.create_model(
                "mobilenetv2_100", num_classes=0
            ).state_dict()  # the same layers in the same order
        return [named(self, features, "classifier.1"), named(self, other, "classifier")]

    def forward(self, images: Tensor) -> Tensor:  # (B, C, H, W) -> (B, outputs)
        images = self.normalize(as_colour(images, self.normalize))
        features = self.backbone(images)  # (B, 1280), with heads a map of them
        logits: Tensor = self.head(features)
        return logits
