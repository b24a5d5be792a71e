# SPDX-License-Identifier: Apache-2.0
"""The first convolutional network: convolution and pooling in turn, then dense layers (LeCun et al. 1998)."""

from __future__ import annotations

from typing import ClassVar, Literal, final

from torch import Tensor, nn

from pellucid.models._contract import OutputKind
from pellucid.models._layers import Normalize, activation_layer, check_share, check_size, check_widths, initialise

__all__ = ["Lenet"]


@final
class Lenet(nn.Module):
    """3×3 convolutions without padding, each followed by 2×2 max pooling, then dense hidden layers.

    >>> import torch
    >>> Lenet(2, 24, (20, 16), widths=(4, 8), hidden=(16, 16))(torch.zeros(3, 2, 20, 16)).shape
    torch.Size([3, 24])

    Args:
        channels: channels of the input.
        outputs: numbers in the output.
        size: (H, W) of the images in px, which is the only size it takes.
        widths: filters of each convolution.
        hidden: units of each hidden dense layer.
        activation: function after each convolution and each hidden layer.
        dropout: share of each hidden layer's units dropped in training.
        initialisation: how the weights start; biases start at zero.

    Raises:
        UsageError: the images are too small, or an option is out of range.
    """

    output: ClassVar[OutputKind] = "dense"

    def __init__(
        self,
        channels: int,
        outputs: int,
        size: tuple[int, int],
        widths: tuple[int, ...] = (64, 256),
        hidden: tuple[int, ...] = (64, 64),
        activation: Literal["relu", "sigmoid", "tanh", "leaky_relu"] = "relu",
        dropout: float = 0.0,
        initialisation: Literal["he", "xavier", "uniform", "zero"] = "he",
    ) -> None:
        super().__init__()
        check_widths("widths", widths)
        check_widths("hidden", hidden, least=0)
        check_share("dropout", dropout)
        least = 1
        for _ in widths:
            least = 2 * least + 2  # a 3×3 convolution removes two pixels, pooling halves
        check_size("lenet", size, least)
        self.fixed_size = size
        self.normalize = Normalize(channels)
        layers: list[nn.Module] = []
        height, width = size
        for filters in widths:
            layers += [nn.Conv2d(channels, filters, 3), activation_layer(activation), nn.MaxPool2d(2)]
            channels, height, width = filters, (height - 2) // 2, (width - 2) // 2
        layers.append(nn.Flatten())
        units = channels * height * width
        for count in hidden:
            layers += [nn.Linear(units, count), activation_layer(activation)]
            layers += [nn.Dropout(dropout)] if dropout else []
            units = count
        last = nn.Linear(units, outputs)
        self.layers = nn.Sequential(*layers, last)
        initialise(self.layers, initialisation)

    def forward(self, images: Tensor) -> Tensor:  # (B, C, H, W) -> (B, outputs)
        logits: Tensor = self.layers(self.normalize(images))
        return logits
