# SPDX-License-Identifier: Apache-2.0
"""What a learned codec is measured against: JPEG, WebP and PNG by Pillow, and PCA with the same entropy coder."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from pellucid.models._layers import Normalize
from pellucid.models._prior import Prior
from pellucid.tasks.compress.tables import count

__all__ = ["COLOURS", "QUALITIES", "Components", "Saved", "jpeg", "png", "webp"]

QUALITIES = (1, 3, 5, 8, 12, 17, 23, 30, 38, 47, 57, 67, 76, 84, 90, 94, 97)
"""Pillow's quality settings at which the rate–distortion curves are measured."""

COLOURS = (2, 4, 8, 16, 32, 64)
"""Sizes of PNG's palette."""


@final
@dataclass(frozen=True)
class Saved:
    """A file's size in bytes, with and without what is no picture data, and the picture that it gives back, (C, H, W) uint8."""

    bytes: int
    bare: int
    picture: NDArray[np.uint8]


def jpeg(picture: NDArray[np.uint8], qualities: Sequence[int] = QUALITIES) -> Iterator[tuple[str, Saved]]:
    """JPEG with optimised Huffman tables at each quality; of sequential and progressive files the smaller one.

    Colour is written at full and at half resolution (4:4:4, 4:2:0).

    >>> [setting for setting, _ in jpeg(np.zeros((1, 8, 8), np.uint8), (50,))]
    ['quality 50']
    """
    for quality in qualities:
        for chroma, said in ((0, " 4:4:4"), (2, " 4:2:0")) if picture.shape[0] == 3 else ((0, ""),):
            yield (
                f"quality {quality}{said}",
                min(
                    (
                        _saved(
                            picture, "JPEG", quality=quality, optimize=True, subsampling=chroma, progressive=progressive
                        )
                        for progressive in (False, True)
                    ),
                    key=lambda saved: saved.bytes,
                ),
            )


def webp(picture: NDArray[np.uint8], qualities: Sequence[int] = QUALITIES) -> Iterator[tuple[str, Saved]]:
    """Lossy WebP at each quality, with the slowest, best search."""
    for quality in qualities:
        yield f"quality {quality}", _saved(picture, "WEBP", quality=quality, method=6)


def png(picture: NDArray[np.uint8], colours: Sequence[int] = COLOURS) -> Iterator[tuple[str, Saved]]:
    """PNG at its strongest compression: with so many colours or grey levels, and without loss.

    >>> [setting for setting, _ in png(np.zeros((1, 8, 8), np.uint8), (4,))]
    ['4 colours', 'lossless']
    """
    for most in colours:
        yield f"{most} colours", _saved(picture, "PNG", most, optimize=True)
    yield "lossless", _saved(picture, "PNG", optimize=True)


def _saved(picture: NDArray[np.uint8], kind: str, colours: int | None = None, **options: object) -> Saved:
    from PIL import Image

    image = Image.fromarray(picture[0] if picture.shape[0] == 1 else np.ascontiguousarray(picture.transpose(1, 2, 0)))
    if colours is not None:
        image = image.quantize(colours)
    file = io.BytesIO()
    image.save(file, kind, **options)
    content = file.getvalue()
    back = np.asarray(Image.open(file).convert("L" if picture.shape[0] == 1 else "RGB"))
    bare = _scans(content) if kind == "JPEG" else len(content)
    return Saved(len(content), bare, back[None] if picture.shape[0] == 1 else back.transpose(2, 0, 1))


def _scans(content: bytes) -> int:
    """Bytes of a JPEG file that are entropy-coded data: all but markers, tables and headers (ISO 10918-1, annex B)."""
    place, total = 2, 0
    while place < len(content) and content[place + 1] != 0xD9:  # up to the end of the image
        marker = content[place + 1]
        place += 2 + int.from_bytes(content[place + 2 : place + 4], "big")
        if marker == 0xDA:  # a scan's header: its data go on to the next marker that is neither stuffing nor a restart
            start = place
            while not (content[place] == 0xFF and content[place + 1] not in (0, *range(0xD0, 0xD8))):
                place += 1
            total += place - start
    return total


@final
class Components(nn.Module):
    """Principal components of blocks, quantised by the step that suits each λ, with the learned codec's own entropy coder.

    What a learned transform and its density add is then all that differs.

    >>> images = torch.rand(40, 1, 8, 8)
    >>> codec = Components(images, block=(8, 8), components=64, weights=[0.1])
    >>> torch.allclose(codec.synthesise(codec.analyse(images), (8, 8)), images, atol=1e-4)
    True

    Args:
        images: of training, (N, C, H, W) in [0, 1].
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
        spread = (values[order].clamp_min(1e-8).sqrt() * 255).tolist()
        self.prior = Prior(components, weights, spread, scale=1.0)
        count(self.prior, self.analyse(images))

    def analyse(self, images: Tensor) -> Tensor:
        """(B, M, ⌈H/h⌉, ⌈W/w⌉), in grey levels."""
        centred = self._blocks(images) - self.mean[:, None, None]
        return torch.einsum("mk,bkij->bmij", self.basis, centred) * 255

    def synthesise(self, codes: Tensor, size: tuple[int, int]) -> Tensor:
        """(B, C, *size) from codes."""
        blocks = torch.einsum("mk,bmij->bkij", self.basis, codes / 255) + self.mean[:, None, None]
        grown = (codes.shape[2] * self.stride[0], codes.shape[3] * self.stride[1])
        images = F.fold(blocks.flatten(2), grown, self.stride, stride=self.stride)
        return images[:, :, : size[0], : size[1]]

    def _blocks(self, images: Tensor) -> Tensor:
        """(B, C·h·w, rows, columns), padded by the edge."""
        tall, wide = self.stride
        padded = F.pad(images, (0, -images.shape[3] % wide, 0, -images.shape[2] % tall), mode="replicate")
        rows, columns = padded.shape[2] // tall, padded.shape[3] // wide
        return F.unfold(padded, self.stride, stride=self.stride).reshape(len(images), -1, rows, columns)
