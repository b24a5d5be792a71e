# SPDX-License-Identifier: Apache-2.0
"""Depthwise convolutions whose gradients processors compute slowly in bf16: in float32 while they are trained, all else in bf16."""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["Depthwise", "hasten"]


@final
class Depthwise(nn.Conv2d):
    """A depthwise convolution that computes in float32 where autocast would train it in bf16 on a CPU.

    oneDNN has no fast kernels for the bf16 gradients of depthwise convolutions with stride 2 or 5×5 windows: they take 3 to 12
    times as long as those in float32.

    >>> layer = nn.Conv2d(8, 8, 5, padding=2, groups=8)
    >>> images = torch.rand(2, 8, 9, 9)
    >>> torch.equal(Depthwise.of(layer)(images), layer(images))
    True
    """

    same = False  # padding as in TensorFlow, by the size of the input

    @classmethod
    def of(cls, layer: nn.Conv2d) -> Depthwise:
        """The same layer with the same parameters."""
        made = cls.__new__(cls)
        made.__dict__ = layer.__dict__
        made.same = type(layer).__name__ == "Conv2dSame"
        return made

    def forward(self, input: Tensor) -> Tensor:  # (B, C, H, W) -> (B, C, H', W')
        device = input.device.type
        trained = torch.is_grad_enabled() and (self.weight.requires_grad or input.requires_grad)
        if device != "cpu" or not trained or not torch.is_autocast_enabled(device):
            return self._computed(input)
        with torch.autocast(device, enabled=False):
            return self._computed(input.float()).to(torch.get_autocast_dtype(device))

    def _computed(self, input: Tensor) -> Tensor:
        padding = self.padding
        if self.same:
            from timm.layers.padding import pad_same

            input, padding = pad_same(input, list(self.kernel_size), list(self.stride), list(self.dilation)), (0, 0)
        return F.conv2d(input, self.weight, self.bias, self.stride, padding, self.dilation, self.groups)


def hasten(model: nn.Module) -> None:
    """Let a model's depthwise convolutions with stride 2 or large windows choose their precision."""
    for parent in list(model.modules()):
        for name, layer in list(parent.named_children()):
            if isinstance(layer, nn.Conv2d) and not isinstance(layer, Depthwise) and _slow(layer):
                setattr(parent, name, Depthwise.of(layer))


def _slow(layer: nn.Conv2d) -> bool:
    alone = layer.groups == layer.in_channels == layer.out_channels > 1 and layer.padding_mode == "zeros"
    known = type(layer).__name__ in ("Conv2d", "Conv2dSame") and not isinstance(layer.padding, str)
    return alone and known and (max(layer.kernel_size) > 3 or max(layer.stride) > 1)
