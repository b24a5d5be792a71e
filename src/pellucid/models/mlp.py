# SPDX-License-Identifier: Apache-2.0
"""The multilayer perceptron: dense layers on the flattened image."""

from __future__ import annotations

from typing import ClassVar, Literal, final

from torch import Tensor, nn

from pellucid.models._contract import OutputKind
from pellucid.models._layers import Normalize, activation_layer, check_share, check_widths, initialise

__all__ = ["Mlp"]


@final
class Mlp(nn.Module):
    """Dense layers with an activation between them, on the flattened image.

    >>> import torch
    >>> Mlp(1, 10, (28, 28), hidden=(256, 64))(torch.zeros(2, 1, 28, 28)).shape
    torch.Size([2, 10])

    Args:
        channels: of the images, 1 or 3.
        outputs: classes.
        size: (H, W) of the images in px, which is the only size it takes.
        hidden: units of each hidden layer.
        activation: function between the layers.
        initialisation: how the weights start; biases start at zero. With zero weights, hidden layers get no gradient.
        dropout: share of each hidden layer's units dropped in training.
        batch_norm: normalise each hidden layer over the batch, before its activation (Ioffe & Szegedy 2015).

    Raises:
        UsageError: an option out of range.
    """

    output: ClassVar[OutputKind] = "dense"

    def __init__(
        self,
        channels: int,
        outputs: int,
        size: tuple[int, int],
        hidden: tuple[int, ...] = (256, 64),
        activation: Literal["relu", "sigmoid", "tanh", "leaky_relu"] = "relu",
        initialisation: Literal["he", "xavier", "uniform", "zero"] = "he",
        dropout: float = 0.0,
        batch_norm: bool = False,
    ) -> None:
        super().__init__()
        check_widths("hidden", hidden, least=0)  # without hidden layers it is multinomial logistic regression
        check_share("dropout", dropout)
        self.fixed_size = size
        self.normalize = Normalize(channels)
        units = channels * size[0] * size[1]
        layers: list[nn.Module] = [nn.Flatten()]
        for width in hidden:
            layers.append(nn.Linear(units, width))
            if batch_norm:
                layers.append(nn.BatchNorm1d(width))
            layers.append(activation_layer(activation))
            if dropout:
                layers.append(nn.Dropout(dropout))
            units = width
        layers.append(nn.Linear(units, outputs))
        self.layers = nn.Sequential(*layers)
        initialise(self.layers, initialisation)

    def forward(self, images: Tensor) -> Tensor:  # (B, C, H, W) -> (B, outputs)
        logits: Tensor = self.layers(self.normalize(images))
        return logits
