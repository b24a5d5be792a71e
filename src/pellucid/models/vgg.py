# SPDX-License-Identifier: Apache-2.0
"""VGG (Simonyan & Zisserman 2015): 3×3 convolutions and max pooling, then dense layers."""

from __future__ import annotations

from typing import ClassVar, Literal, final

from torch import Tensor, nn

from pellucid.errors import check_choice
from pellucid.models._backbones import named
from pellucid.models._contract import OutputKind
from pellucid.models._layers import AdaptivePool, Frozen, check_share, check_size, check_widths
from pellucid.models._pretrained import as_colour, body_channels, imagenet_normalize, load_body, torchvision_state

__all__ = ["Vgg"]

_LEAST = 32  # px: after five halvings, one pixel remains


@final
class Vgg(nn.Module):
    """Torchvision's VGG of 11 to 19 layers, with pooling that adapts to the image size.

    >>> import torch
    >>> Vgg(3, 10, (32, 32), depth=11, hidden=(64,)).eval()(torch.zeros(2, 3, 32, 32)).shape
    torch.Size([2, 10])

    The convolutions' output, H/32 × W/32, is pooled to a square of the shorter side, at most 7×7. At 224 px with the default
    dense layers it is the published network, with 138,357,544 parameters for 16 layers without batch norm.

    Args:
        channels: of the images, 1 or 3.
        outputs: classes.
        size: (H, W) of the training images in px, at least 32 each.
        depth: number of layers with weights, including the published dense ones.
        batch_norm: normalise over the batch after each convolution; without it, deep networks hardly train from scratch.
        hidden: units of each dense layer before the last.
        dropout: share of each dense layer's units dropped in training.
        pretrained: start the convolutions from torchvision's ImageNet weights; grey images are shown to it as colour.
        frozen: keep every tensor of the convolutions as it is, batch-norm statistics included.

    Raises:
        UsageError: images below 32 px, an unknown depth, or pretrained weights that are unavailable.
    """

    output: ClassVar[OutputKind] = "vector"
    fixed_size: ClassVar[None] = None

    def __init__(
        self,
        channels: int,
        outputs: int,
        size: tuple[int, int],
        depth: Literal[11, 13, 16, 19] = 16,
        batch_norm: bool = True,
        hidden: tuple[int, ...] = (4096, 4096),
        dropout: float = 0.5,
        pretrained: bool = False,
        frozen: bool = False,
        fetch: bool = True,
    ) -> None:
        from torchvision.models.vgg import cfgs, make_layers

        super().__init__()
        check_choice("depth", depth, (11, 13, 16, 19))
        check_widths("hidden", hidden, least=0)
        check_share("dropout", dropout)
        check_size("vgg", size, _LEAST)
        # torchvision names the published tables A, B, D, E
        features = make_layers(cfgs[{11: "A", 13: "B", 16: "D", 19: "E"}[depth]], batch_norm=batch_norm)
        if pretrained and fetch:
            whole = nn.ModuleDict({"features": features})
            load_body(whole, torchvision_state(f"vgg{depth}{'_bn' if batch_norm else ''}"), "classifier.")
        elif not pretrained:
            features[0] = nn.Conv2d(body_channels(channels, pretrained), 64, 3, padding=1)
            for layer in features:
                if isinstance(layer, nn.Conv2d):  # as torchvision initialises it
                    nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
                    assert layer.bias is not None
                    nn.init.zeros_(layer.bias)
        self.normalize = imagenet_normalize(channels, pretrained)
        self.backbone: nn.Module = Frozen(features) if frozen else features
        side = min(7, min(size) // _LEAST)  # px of the pooled map
        self.pool = AdaptivePool(side)
        units, layers = 512 * side**2, list[nn.Module]()
        for width in hidden:
            layers += [nn.Linear(units, width), nn.ReLU(inplace=True), nn.Dropout(dropout)]
            units = width
        last = nn.Linear(units, outputs)
        self.head = nn.Sequential(*layers, last)
        for layer in self.head:
            if isinstance(layer, nn.Linear):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
                nn.init.zeros_(layer.bias)
        nn.init.normal_(last.weight, 0, 0.01)  # their section 3.1

    @property
    def published(self) -> list[dict[str, str]]:
        """Its names in torchvision and timm; see `models._contract.Published`."""
        body = [
            name.replace("backbone.body.", "backbone.").replace("backbone", "features") for name in self.state_dict()
        ]
        head = {name.replace("head", "classifier"): name for name in self.state_dict() if name.startswith("head.")}
        return [named(self, [name for name in body if name.startswith("features.")]) | head]

    def forward(self, images: Tensor) -> Tensor:  # (B, C, H, W) -> (B, outputs)
        features = self.backbone(self.normalize(as_colour(images, self.normalize)))  # (B, 512, H/32, W/32)
        logits: Tensor = self.head(self.pool(features).flatten(1))
        return logits
