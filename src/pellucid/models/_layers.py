# SPDX-License-Identifier: Apache-2.0
"""Layers and checks that several models share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, Self, final

import torch
from torch import Tensor, nn

from pellucid.errors import UnknownNameError, UsageError

__all__ = [
    "AdaptivePool",
    "AttentionPool",
    "Frozen",
    "Normalize",
    "Replay",
    "activation_layer",
    "check_heads",
    "check_share",
    "check_size",
    "check_widths",
    "initialise",
]


@final
class Normalize(nn.Module):
    """(x − mean) / std per channel: the first layer of every model, saved with its weights.

    >>> Normalize(1)(torch.ones(1, 1, 2, 2)).shape
    torch.Size([1, 1, 2, 2])
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self, channels: int, mean: tuple[float, ...] | None = None, std: tuple[float, ...] | None = None
    ) -> None:
        super().__init__()
        self.pretrained = mean is not None  # the statistics belong to the weights and must not be fitted again
        self.replay: Replay | None = None  # whose features stand for the images, where these go nowhere else
        self.register_buffer("mean", torch.tensor(mean or [0.0] * channels).view(1, -1, 1, 1))  # (1, C, 1, 1)
        self.register_buffer("std", torch.tensor(std or [1.0] * channels).view(1, -1, 1, 1))

    def fit(self, mean: Tensor, std: Tensor) -> None:
        """Use the statistics of the training images, (C,) each in [0, 1] units, unless the model is pretrained.

        Further input planes, such as a mask, are not normalised.
        """
        if not self.pretrained:
            own = len(mean)
            self.mean[:, :own].copy_(mean.view(1, -1, 1, 1))
            # a channel that is constant in training must not be divided by zero
            self.std[:, :own].copy_(std.clamp_min(1e-3).view(1, -1, 1, 1))

    def forward(self, images: Tensor) -> Tensor:  # (B, C, H, W) -> (B, C, H, W)
        if self.replay is not None and self.replay.features is not None:
            return images  # nobody looks at them
        return (images - self.mean) / self.std


@final
class Replay:
    """Features that a frozen backbone gives instead of computing them; copies of a model share it."""

    def __init__(self) -> None:
        self.features: Tensor | None = None  # (B, …) of the batch that is shown

    def __deepcopy__(self, memo: dict[int, Any]) -> Replay:
        return self


@final
class Frozen(nn.Module):
    """A backbone whose tensors stay fixed: no gradients, and batch norm uses its stored statistics.

    While `replay.features` are set, these are its answer, whatever the images. Where it gives maps at several scales instead of one
    tensor, `several` says so, and they are always computed.

    Parameters in `later` are trained from some epoch on; batch norm keeps its statistics even then.

    >>> frozen = Frozen(nn.Sequential(nn.Linear(9, 9), nn.Linear(9, 9), nn.Linear(9, 1)))
    >>> frozen.stage("last")
    >>> list(frozen.later), frozen.thawed
    (['body.2.bias', 'body.2.weight', 'body.1.bias', 'body.1.weight'], False)
    """

    def __init__(self, body: nn.Module, several: bool = False) -> None:
        super().__init__()
        self.body = body.eval().requires_grad_(False)
        self.several = several
        self.replay = Replay()
        self.later: dict[str, nn.Parameter] = {}

    def stage(self, part: Literal["last", "all"]) -> None:
        """Choose what is trained later: all parameters, or those of the last layers, which hold a quarter of them."""
        named = list(self.named_parameters())
        least = 0.25 * sum(value.numel() for _, value in named)
        self.later, held, layer = {}, 0, ""
        for name, value in reversed(named):
            owner = name.rpartition(".")[0]
            if part == "last" and held >= least and owner != layer:  # a layer's weight and bias stay together
                break
            self.later[name], layer = value, owner
            held += value.numel()

    @property
    def thawed(self) -> bool:
        """Whether a part of it is trained by now, so that its answers change."""
        return any(value.requires_grad for value in self.later.values())

    def thaw(self) -> None:
        """Train the parameters in `later` from now on."""
        for value in self.later.values():
            value.requires_grad_(True)

    def train(self, mode: bool = True) -> Self:
        super().train(mode)
        self.body.eval()  # `train` has just switched it, with all other modules
        return self

    def forward(self, images: Tensor) -> Tensor:
        if (shown := self.replay.features) is not None:
            if len(shown) != len(images):
                raise RuntimeError(
                    f"features of {len(shown)} images are shown, and {len(images)} images are asked about"
                )
            return shown
        features: Tensor = self.body(images)
        return features


@final
class AdaptivePool(nn.Module):
    """Adaptive average pooling to side × side, as one product with the matrix of pooling weights.

    Equal to `nn.AdaptiveAvgPool2d`, whose backward pass is slow on channels_last images.

    >>> images = torch.rand(2, 4, 7, 5)
    >>> torch.allclose(AdaptivePool(3)(images), torch.nn.functional.adaptive_avg_pool2d(images, 3))
    True
    """

    def __init__(self, side: int) -> None:
        super().__init__()
        self.side = side

    def forward(self, images: Tensor) -> Tensor:  # (B, C, H, W) -> (B, C, side, side)
        batch, channels, height, width = images.shape
        pixels = images.permute(0, 2, 3, 1).reshape(batch, height * width, channels)  # a view where channels_last
        rows, columns = self._shares(height, images), self._shares(width, images)
        weights = torch.einsum("ih,jw->ijhw", rows, columns).reshape(self.side**2, height * width)
        # (B, side², H·W) @ (B, H·W, C) -> (B, side², C); a product of two shapes would bind an exported file to its batch size
        return (
            torch.bmm(weights.expand(batch, -1, -1), pixels)
            .transpose(1, 2)
            .reshape(batch, channels, self.side, self.side)
        )

    def _shares(self, length: int, like: Tensor) -> Tensor:
        """The weight of each row of pixels in each pooled row, (side, length)."""
        # in closed form, so that an exported file takes images of any size
        place, row = torch.arange(length, device=like.device), torch.arange(self.side, device=like.device)[:, None]
        first, end = row * length // self.side, ((row + 1) * length + self.side - 1) // self.side  # (side, 1)
        return ((place >= first) & (place < end)).to(like.dtype) / (end - first)


@final
class AttentionPool(nn.Module):
    """The features and the place that each of several heads attends to: means with a softmax over the places as weights.

    Each head scores the places by a 1×1 convolution. The mean of the features is attention pooling (Ilse et al. 2018, eq. 7);
    that of the places, each between −1 and 1 as (row, column), a spatial softmax (Finn et al. 2016, section IV-B).

    >>> AttentionPool(8, heads=4)(torch.rand(2, 8, 5, 7)).shape
    torch.Size([2, 4, 10])
    """

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.score = nn.Conv2d(channels, heads, 1)

    def forward(self, features: Tensor) -> Tensor:  # (B, C, H, W) -> (B, heads, C + 2)
        rows, columns = (
            (torch.arange(side, device=features.device, dtype=features.dtype) + 0.5) * (2 / side) - 1
            for side in features.shape[2:]
        )
        grid = torch.stack(torch.meshgrid(rows, columns, indexing="ij")).flatten(1)  # (2, H·W)
        values = torch.cat([features.flatten(2), grid.expand(features.shape[0], -1, -1)], 1)  # (B, C + 2, H·W)
        weights = self.score(features).flatten(2).softmax(2)  # (B, heads, H·W)
        pooled: Tensor = weights @ values.transpose(1, 2)
        return pooled


def check_size(model: str, size: tuple[int, int], least: int) -> None:
    """Refuse images that are too small for an architecture, naming the smallest size that it takes."""
    if min(size) < least:
        raise UsageError(
            f"size={size[0]}×{size[1]}: is below {least}×{least} px, the smallest that model={model!r} takes; "
            f"give --size {least} or more, or another model."
        )


def check_share(option: str, value: float) -> None:
    """Refuse a share outside of [0, 1)."""
    if not 0 <= value < 1:
        raise UsageError(f"{option}={value!r}: is a share; give a number from 0 up to, but not including, 1.")


def check_heads(heads: int) -> None:
    """Refuse a negative number of attention maps."""
    if heads < 0:
        raise UsageError(f"heads={heads}: must not be negative; give e.g. 8, or 0 for none.")


def check_widths(option: str, widths: Sequence[int], least: int = 1) -> None:
    """Refuse layers without units, and fewer layers than `least`."""
    if len(widths) < least or any(not isinstance(width, int) or width < 1 for width in widths):
        value = widths[0] if len(widths) == 1 else tuple(widths)
        raise UsageError(f"{option}={value!r}: must be whole numbers of at least 1; give e.g. --{option} 64.")


def activation_layer(name: str) -> nn.Module:
    """The layer of an activation function, by name."""
    kinds: dict[str, type[nn.Module]] = {
        "relu": nn.ReLU, "sigmoid": nn.Sigmoid, "tanh": nn.Tanh, "leaky_relu": nn.LeakyReLU,
    }  # fmt: skip
    if name not in kinds:
        raise UnknownNameError("activation", name, kinds)
    return kinds[name]()


def initialise(layers: nn.Module, scheme: str) -> None:
    """Initialise dense and convolutional weights by a scheme, and set their biases to zero.

    he: normal with variance 2/fan_in (He et al. 2015, eq. 10); xavier: uniform with variance 2/(fan_in + fan_out)
    (Glorot & Bengio 2010, eq. 16); uniform: in ±1/√fan_in (their eq. 1); zero: all zero.
    """
    known = ("he", "xavier", "uniform", "zero")
    if scheme not in known:
        raise UnknownNameError("initialisation", scheme, known)
    for layer in layers.modules():
        if isinstance(layer, (nn.Linear, nn.Conv2d, nn.ConvTranspose2d)):
            if scheme == "he":
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            elif scheme == "xavier":
                nn.init.xavier_uniform_(layer.weight)
            elif scheme == "uniform":
                bound = 1 / layer.weight[0].numel() ** 0.5  # 1/√fan_in
                nn.init.uniform_(layer.weight, -bound, bound)
            else:
                nn.init.zeros_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
