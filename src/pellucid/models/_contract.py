# SPDX-License-Identifier: Apache-2.0
"""What a model is: a plain module that takes float images in [0, 1] and declares what kind of output it gives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple, Protocol, TypeAlias, runtime_checkable

from torch import Tensor

from pellucid.models._layers import Normalize

__all__ = ["MARGIN", "Compressed", "Distribution", "Model", "OutputKind", "Published"]

OutputKind: TypeAlias = Literal[
    "vector", "dense", "map", "heatmap", "reconstruction", "code", "distribution", "adversarial"
]
"""What a model gives for images (B, C, H, W); `outputs` is the number that it was built with.

vector          (B, outputs): a score for each class, from images of any size that it can take
dense           (B, outputs): the same, from images of one size; as long as a picture, it may stand for one
map             (B, outputs, H, W): numbers for each pixel
heatmap         (B, outputs, h + 2·MARGIN, w + 2·MARGIN): a score for each place, on a grid of h × w cells that covers the
                image and goes on for MARGIN cells around it
reconstruction  (B, outputs, H, W): a picture made from a code alone; `encode(images)` gives the code
code            (B, outputs, H, W): a picture made from a quantised code; with `quality` (B,) a `Compressed`
distribution    (B, outputs, H, W): the parameters of each pixel's distribution, made from a code; with `noise`
                (B, latent) a `Distribution`
adversarial     (B, 1): the discriminator's score, the higher the more real; with `codes` (B, latent) that of the pictures
                that the generator makes of them
"""


MARGIN = 2
"""Cells around the image in a heat map: places at its edge, and a little beyond, have scores too."""


class Compressed(NamedTuple):
    """What a model of the kind "code" gives with qualities."""

    images: Tensor  # (B, outputs, H, W) as they come back from a file
    bits: Tensor  # (B,) what each costs under the learned density


class Distribution(NamedTuple):
    """What a model of the kind "distribution" gives with noise ε."""

    decoded: Tensor  # (B, outputs, H, W) from the code z = μ + σ·ε
    mean: Tensor  # (B, latent) μ
    log_variance: Tensor  # (B, latent) log σ²


@runtime_checkable
class Model(Protocol):
    """The shape of every class in this folder, which are modules of torch.

    `__init__(self, channels: int, outputs: int, size: tuple[int, int], **options)`, where `size` is (H, W) of the training
    images: dense models are bound to it, the others refuse one that is too small with a `UsageError` that names the least.
    Every option is a keyword with a JSON-able default; those with several values are tuples.
    """

    @property
    def output(self) -> OutputKind:
        """The kind of its output."""

    @property
    def normalize(self) -> Normalize:
        """The first layer; training fits it to the training images unless its statistics came with pretrained weights."""

    @property
    def fixed_size(self) -> tuple[int, int] | None:
        """(H, W) of the only images that it takes, None where any size from the least on works."""

    def __call__(self, images: Tensor) -> Any:
        """Its output for images (B, C, H, W) float32 in [0, 1]."""


@runtime_checkable
class Published(Protocol):
    """What a model has whose body has been published by torchvision or timm; its own tensors are below `backbone.` and `head.`."""

    @property
    def published(self) -> Sequence[Mapping[str, str]]:
        """For each naming, the model's own names of its tensors by the published ones; the first names all of the body."""
