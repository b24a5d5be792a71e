# SPDX-License-Identifier: Apache-2.0
"""Encoding pictures to files and decoding them, with a model of the output kind "code"."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, final

import numpy as np
import psutil
import torch
from numpy.typing import NDArray
from torch import Tensor

from pellucid.data.targets import Target
from pellucid.errors import UsageError
from pellucid.tasks.compress.coders import coder
from pellucid.tasks.compress.container import Container, checksum, fingerprint
from pellucid.tasks.compress.entropy import MOST

__all__ = ["Coded", "decoded", "encoded", "nearest", "written"]

_SPARE = 16  # bytes by which a payload may be shorter than the least that its symbols take
_PER_SYMBOL, _PER_PIXEL = 32, 64  # bytes of memory that decoding takes, about


@final
@dataclass(frozen=True)
class Coded(Target):
    """Files, and the pictures decoded from them, (B, C, H, W) float32 in steps of 1/255."""

    pixels: Tensor
    files: list[bytes]
    bare: list[int]  # bytes of each file that are symbols: without header and checksum


@torch.no_grad()
def encoded(model: Any, images: Tensor, quality: int, grey: bool = False, identity: bytes | None = None) -> Coded:
    """Images (B, C, H, W) in [0, 1] encoded at a quality (from 0), and decoded again.

    >>> from pellucid.models.factorized import Factorized
    >>> coded = encoded(Factorized(1, 1, (16, 16), width=8, blocks=0).eval(), torch.rand(2, 1, 16, 20), quality=0)
    >>> coded.pixels.shape, len(coded.files)
    (torch.Size([2, 1, 16, 20]), 2)

    Args:
        model: of the output kind "code".
        images: the pictures.
        quality: of the file.
        grey: the picture's planes are equal.
        identity: the model's `fingerprint`, if it is known: reading all weights takes longer than a small picture.
    """
    size = (images.shape[2], images.shape[3])
    qualities = torch.full((len(images),), quality, device=images.device)
    # the decoder sees the clamped symbols too, so encoder and decoder agree on every picture
    symbols = model.prior.symbols(model.analyse(images), qualities).clamp(-MOST, MOST)  # (B, M, h, w)
    pixels = _pixels(model, symbols, qualities, size)
    tables, own = coder(model.prior, quality), identity or fingerprint(model)
    files, bare = [], []
    for of_image in symbols.cpu().numpy().astype(np.int64):
        payload = tables.encode(of_image)
        files.append(Container(own, quality, grey, size, checksum(of_image), payload).written())
        bare.append(len(payload))
    return Coded(pixels, files, bare)


@torch.no_grad()
def decoded(model: Any, content: bytes, name: str) -> NDArray[np.uint8]:
    """The picture (C, H, W) of a file's bytes.

    Raises:
        UsageError: it is damaged, not a .plc file, another model's, or its symbols do not decode as they were encoded.
    """
    read = Container.read(content, name)
    if read.model != fingerprint(model):
        raise UsageError(
            f"images={name!r}: was written by another model (fingerprint {read.model.hex()}, this run's is "
            f"{fingerprint(model).hex()}); decode it with the run that wrote it."
        )
    size = (-(-read.size[0] // model.stride[0]), -(-read.size[1] // model.stride[1]))  # of the code, (h, w)
    garbled = UsageError(
        f"images={name!r}: its symbols do not decode as they were encoded; decode it with the version that wrote it."
    )
    if read.quality >= model.prior.qualities:
        raise garbled
    tables = coder(model.prior, read.quality)
    # before any memory is taken: a few bytes must not ask for gigabytes
    if len(read.payload) + _SPARE < tables.least_bytes(size) / 2:
        raise UsageError(
            f"images={name!r}: is damaged: {len(content):,} bytes cannot hold a picture of {read.size[0]:,}×{read.size[1]:,} px; "
            "get the file again."
        )
    needed = _PER_SYMBOL * tables.channels * size[0] * size[1] + _PER_PIXEL * read.size[0] * read.size[1]
    if needed > (free := psutil.virtual_memory().available):
        raise UsageError(
            f"images={name!r}: takes about {needed / 2**30:.1f} GiB to decode, and {free / 2**30:.1f} GiB are free; "
            "decode it on a larger machine."
        )
    try:
        symbols = tables.decode(read.payload, size)
    except ValueError:
        raise garbled from None
    if checksum(symbols) != read.check:
        raise garbled
    device = model.prior.log_step.device
    quality = torch.full((1,), read.quality, device=device)
    pixels = _pixels(model, torch.from_numpy(symbols).float().to(device)[None], quality, read.size)
    return written(pixels[0], read.grey)


def written(pixels: Tensor, grey: bool) -> NDArray[np.uint8]:
    """A decoded picture (C, H, W) in [0, 1] as it is saved, uint8; of a grey one, coded by a colour model, the first plane.

    >>> written(torch.tensor([[[0.5]], [[0.6]], [[0.7]]]), grey=True).tolist()
    [[[128]]]
    """
    picture = (pixels * 255).round().to(torch.uint8).cpu().numpy()
    return picture[:1] if grey else picture


def nearest(model: Any, weight: float) -> int:
    """The quality (from 0) whose λ is nearest to a weight, by their ratio."""
    return int((model.prior.weights.log() - torch.tensor(weight).log()).abs().argmin())


def _pixels(model: Any, symbols: Tensor, quality: Tensor, size: tuple[int, int]) -> Tensor:
    """Pictures (B, C, H, W) of symbols (B, M, h, w), rounded to the 256 levels of 8 bits."""
    images: Tensor = model.synthesise(model.prior.restored(symbols, quality), size)
    return (images.clamp(0, 1) * 255).round() / 255
