# SPDX-License-Identifier: Apache-2.0
"""What a model is: a plain module that takes float images in [0, 1] and says what kind of output it has."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

from torch import Tensor, nn

from pellucid.models._layers import Normalize

__all__ = ["Model"]


@runtime_checkable
class Model(Protocol):
    """The shape of every class in this folder; `torch.nn.Module` is what they inherit from.

    `__init__(self, channels: int, outputs: int, size: tuple[int, int], **options)` with `size` = (H, W) of the training
    images: dense models are bound to it, the others check it against the least size that they can take and raise
    `UsageError` naming that size. Every option is a keyword with a JSON-able default; `"sequence"` options are tuples.
    """

    output: str  # "vector" (B, outputs), "dense": that and bound to one size, "map" (B, outputs, H, W), "latent"
    normalize: Normalize  # the first layer; `training` fits it to the training images unless it is pretrained
    fixed_size: tuple[int, int] | None  # a dense model's only input size, None where any size from the least on works

    def __call__(self, images: Tensor) -> Any: ...

    def modules(self) -> Any: ...


def parameter_count(model: nn.Module) -> int:
    """How many numbers are trained or could be."""
    return sum(p.numel() for p in model.parameters())
