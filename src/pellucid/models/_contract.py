# SPDX-License-Identifier: Apache-2.0
"""What a model is: a plain module that takes float images in [0, 1] and declares what kind of output it gives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple, Protocol, TypeAlias, runtime_checkable

from torch import Tensor, nn

from pellucid.models._layers import Normalize

__all__ = [
    "MARGIN",
    "AnswersAround",
    "Compressed",
    "Distribution",
    "Model",
    "OutputKind",
    "Proposals",
    "Published",
    "Refines",
    "Regions",
    "Steps",
    "Stepwise",
    "Whitens",
]

OutputKind: TypeAlias = Literal[
    "vector", "dense", "map", "heatmap", "reconstruction", "code", "distribution", "adversarial", "regions"
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
regions         `Regions`: classes and boxes of R regions of each image, with a background beside the `outputs` classes; with
                `choose`, of the regions that it chooses among the `Proposals`
"""


MARGIN = 2
"""Cells around the image in a heat map: places at its edge, and a little beyond, have scores too."""


class Compressed(NamedTuple):
    """What a model of the kind "code" gives with qualities."""

    images: Tensor  # (B, outputs, H, W) as they come back from a file
    bits: Tensor  # (B,) what each costs under the learned density


class Distribution(NamedTuple):
    """What a model of the kind "distribution" gives with noise ε."""

    decoded: Tensor  # (B, [K,] outputs, H, W) from the codes z = μ + σ·ε
    mean: Tensor  # (B, latent) μ
    log_variance: Tensor  # (B, latent) log σ²


class Proposals(NamedTuple):
    """Boxes that may have an object, best first; those that a better one covers come last."""

    corners: Tensor  # (B, P, 4) px of the image: x0, y0, x1, y1
    scores: Tensor  # (B, P) logits of the objectness


class Regions(NamedTuple):
    """What a model of the kind "regions" gives."""

    proposals: Proposals
    corners: Tensor  # (B, R, 4) the regions that are scored: the best proposals, or those that were chosen
    logits: Tensor  # (B, R, K + 1), the background first
    offsets: Tensor  # (B, R, K, 4) for each class: from the region to its box
    grid: Tensor  # (A, 4) the boxes among which proposals are found
    objectness: Tensor  # (B, A) logits
    grid_offsets: Tensor  # (B, A, 4) from the grid's boxes to the proposals

    @property
    def steady(self) -> tuple[Tensor, Tensor]:
        """The parts that hardly change where an image hardly does: ranks change at once where two scores are nearly equal."""
        return self.objectness, self.grid_offsets


@runtime_checkable
class AnswersAround(Protocol):
    """What a model of the kind "regions" can have, so that a lens that follows one detection computes no others."""

    def around(self, images: Tensor, box: Tensor, overlap: float) -> Regions:
        """Of the regions that are scored of images (B, C, H, W), at least all that overlap a box (4,) with this IoU."""


class Steps(NamedTuple):
    """The way of images through a model of the kind "regions", which lenses show."""

    maps: Sequence[Tensor]  # (B, C, h, w) each, the finest first
    strides: Sequence[int]  # px of the image from one place of a map to the next
    grid: Tensor  # (A, 4) px
    objectness: Tensor  # (B, A) logits
    candidates: Proposals  # (B, M): the best boxes of the grid, moved by their offsets, the best first
    covered: Tensor  # (B, M) bool: those that a better one covers
    regions: Proposals  # (B, R): those that are scored
    pooled: Tensor  # (B, R, C, bins, bins)
    logits: Tensor  # (B, R, K + 1), the background first
    offsets: Tensor  # (B, R, K, 4)
    searched: bool = False  # whether the candidates are those of selective search, whose scores are ranks


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
class Stepwise(Protocol):
    """What a model has that can show the steps from an image to its answer."""

    def steps(self, images: Tensor) -> Steps:
        """The way of images (B, C, H, W) float32 in [0, 1]."""


@runtime_checkable
class Published(Protocol):
    """What a model has whose body has been published by torchvision or timm; its own tensors are below `backbone.` and `head.`."""

    @property
    def published(self) -> Sequence[Mapping[str, str]]:
        """For each naming, the model's own names of its tensors by the published ones; the first names all of the body."""


@runtime_checkable
class Refines(Protocol):
    """What a model has that answers in stages, each of which a training may judge."""

    @property
    def refines(self) -> bool:
        """Whether this one does: its call then takes `stages=True`, and gives the answers of all stages, its own as the last."""


@runtime_checkable
class Whitens(Protocol):
    """What a model has whose first convolution may be computed from training images, once its `normalize` is fitted to them."""

    @property
    def whitening(self) -> nn.Module | None:
        """That convolution; None where the model was built without it."""

    def whiten(self, images: Tensor) -> None:
        """Set it by images (N, C, H, W) float32 in [0, 1], unless the model was built without it."""
