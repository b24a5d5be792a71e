# SPDX-License-Identifier: Apache-2.0
"""Principal components as a codec, with the learned codec's own quantisation and entropy coder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pellucid.models._layers import Normalize
from pellucid.models._prior import Prior
from pellucid.tasks.compress.tables import count

__all__ = ["PCACodec"]


@final
class PCACodec(nn.Module):
    """Principal components of blocks, quantised by the step that suits each λ.

    Quantisation and entropy coder are those of the learned codec, so the comparison shows what a learned transform adds.

    >>> images = torch.rand(40, 1, 8, 8)
    >>> codec = PCACodec(images, block=(8, 8), components=64, weights=[0.1])
    >>> torch.allclose(codec.synthesise(codec.analyse(images), (8, 8)), images, atol=1e-4)
    True

    Args:
        images: training images, (N, C, H, W) in [0, 1].
        block: (h, w) in px.
        components: how many are kept.
        weights: λ of each quality.
    """

    mean: Tensor
    basis: Tensor

    def __init__(self, images: Tensor, block: tuple[int, int], components: int, weights: Sequence[float]) -> None:
        super().__init__()
        self.stride = block
        self.channels = images.shape[1]
        self.normalize = Normalize(self.channels)
        blocks = self._blocks(images).permute(0, 2, 3, 1).flatten(0, 2).double()  # (n, C·h·w)
        self.register_buffer("mean", blocks.mean(0).float())
        centred = blocks - blocks.mean(0)
        values, vectors = torch.linalg.eigh(centred.T @ centred / len(centred))
        components = min(components, vectors.shape[1])
        order = values.argsort(descending=True)[:components]
        self.register_buffer("basis", vectors[:, order].T.float().contiguous())  # (M, C·h·w)
        spread = (values[order].clamp_min(1e-8).sqrt() * 255).tolist()  # standard deviations in grey levels
        self.prior = Prior(components, weights, spread, scale=1.0)
        count(self.prior, self.analyse(images))

    def analyse(self, images: Tensor) -> Tensor:
        """The codes (B, M, ⌈H/h⌉, ⌈W/w⌉) of images (B, C, H, W), in grey levels."""
        centred = self._blocks(images) - self.mean[:, None, None]
        return torch.einsum("mk,bkij->bmij", self.basis, centred) * 255

    def synthesise(self, codes: Tensor, size: tuple[int, int]) -> Tensor:
        """The images (B, C, *size) of codes."""
        blocks = torch.einsum("mk,bmij->bkij", self.basis, codes / 255) + self.mean[:, None, None]
        padded = (codes.shape[2] * self.stride[0], codes.shape[3] * self.stride[1])
        images = F.fold(blocks.flatten(2), padded, self.stride, stride=self.stride)
        return images[:, :, : size[0], : size[1]]

    def _blocks(self, images: Tensor) -> Tensor:
        """(B, C·h·w, rows, columns); images that blocks do not divide are padded with their edge."""
        tall, wide = self.stride
        padded = F.pad(images, (0, -images.shape[3] % wide, 0, -images.shape[2] % tall), mode="replicate")
        rows, columns = padded.shape[2] // tall, padded.shape[3] // wide
        return F.unfold(padded, self.stride, stride=self.stride).reshape(len(images), -1, rows, columns)
