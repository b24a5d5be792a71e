# SPDX-License-Identifier: Apache-2.0
"""What a generative model can be asked for: new pictures, the way from one picture to another, one number of a code varied."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pellucid.data.batches import store
from pellucid.data.given import gather
from pellucid.errors import UsageError
from pellucid.tasks.generate import chance
from pellucid.tasks.generate.figures import as_bytes
from pellucid.tasks.generate.likelihood import plain
from pellucid.tasks.generate.options import GenerateOptions, Generating

__all__ = ["answer", "sheet"]

_REACH = 3.0  # standard deviations of the prior to each side


def answer(task: Generating, model: nn.Module, images: Any, asked: GenerateOptions) -> list[dict[str, Any]] | None:
    """Rows with a picture each, and a last one with all of them as a sheet; None where images are to be answered for."""
    wanted = [name for name in ("samples", "interpolate", "vary") if getattr(asked, name)]
    if asked.samples < 0:
        raise UsageError(f"samples={asked.samples}: cannot be made; give 1 or more.")
    if asked.steps < 1:
        raise UsageError(f"steps={asked.steps}: must be at least 1; give e.g. --steps 8.")
    if len(wanted) > 1:
        raise UsageError(f"{wanted[1]}: asks for something else than {wanted[0]}; ask for one thing at a time.")
    nothing = images is None or (isinstance(images, (list, tuple)) and not images)
    if not wanted:
        if nothing:
            raise UsageError(
                "samples=0: nothing is asked for; give images, --samples 64, --interpolate a.png b.png or --vary 3."
            )
        return None
    if asked.samples:
        if not nothing:
            raise UsageError(f"samples={asked.samples}: are made from nothing; leave the images out.")
        pictures = task.samples(model, asked.samples, asked.seed)
        return _rows(pictures, [f"sample_{i:04d}" for i in range(asked.samples)])
    if asked.interpolate:
        return _between(task, model, asked)
    return _varied(task, model, None if nothing else images, asked)


def _between(task: Generating, model: nn.Module, asked: GenerateOptions) -> list[dict[str, Any]]:
    """μ_k = (1 − w_k)·μ_a + w_k·μ_b with w_k = k/(n + 1), k = 0 … n + 1."""
    if len(asked.interpolate) != 2:
        raise UsageError(f"interpolate: goes from one image to another, not over {len(asked.interpolate)}; give two.")
    ends = _codes(task, model, list(asked.interpolate))
    shares = torch.arange(asked.steps + 2, device=ends.device)[:, None] / (asked.steps + 1)
    pictures = task.made(model, (1 - shares) * ends[:1] + shares * ends[1:])
    return _rows(pictures, [f"step_{k:02d}" for k in range(len(pictures))], columns=len(pictures))


def _varied(task: Generating, model: nn.Module, images: Any, asked: GenerateOptions) -> list[dict[str, Any]]:
    latent = int(plain(model).latent)
    for number in asked.vary:
        if not 0 <= number < latent:
            raise UsageError(f"vary={number}: the code has {latent} numbers; give one from 0 to {latent - 1}.")
    if images is not None:
        codes = _codes(task, model, images)
        if len(codes) != 1:
            raise UsageError(f"vary={asked.vary[0]}: starts from one image, not from {len(codes)}; give one.")
    else:
        codes = chance.codes(plain(model), 1, asked.seed)
    reach = torch.linspace(-_REACH, _REACH, asked.steps + 2, device=codes.device)
    rows = []
    for number in asked.vary:
        row = codes.repeat(len(reach), 1)
        row[:, number] = reach
        rows.append(row)
    names = [f"number_{number}_at_{float(value):+.2f}" for number in asked.vary for value in reach]
    return _rows(task.made(model, torch.cat(rows)), names, columns=len(reach))


def _codes(task: Generating, model: nn.Module, images: Any) -> Tensor:
    """The mean codes of images, (N, latent)."""
    inner = plain(model)
    given = gather(images)
    if given.faults:
        raise UsageError(next(iter(given.faults.values())))
    channels, size = int(inner.normalize.mean.shape[1]), tuple(inner.fixed_size)
    found: dict[int, Tensor] = {}
    if len(given.split):
        for batch in store(given.split, size, channels, memory_share=1.0).batches(64):
            for place, image in zip(batch.index.tolist(), batch.images.float().div_(255), strict=True):
                found[given.places[place]] = image
    for place, image in given.floats.items():
        found[place] = _fitted(image, channels, size)
    inputs = torch.stack([found[place] for place in sorted(found)]).to(next(inner.parameters()).device)
    return task.encode(model, inputs)


def _fitted(image: Tensor, channels: int, size: tuple[int, ...]) -> Tensor:
    """A float image (C, H, W) with the model's channels and size."""
    from torch.nn import functional as F

    if image.shape[0] != channels:
        luma = torch.tensor([0.299, 0.587, 0.114]).view(3, 1, 1)
        image = image.expand(3, -1, -1) if channels == 3 else (image * luma).sum(0, keepdim=True)
    if tuple(image.shape[1:]) != size:
        image = F.interpolate(image[None], size, mode="bilinear", antialias=True)[0]
    return image


def _rows(pictures: Tensor, names: list[str], columns: int | None = None) -> list[dict[str, Any]]:
    arrays = as_bytes(pictures)
    rows = [{"name": name, "picture": array} for name, array in zip(names, arrays, strict=True)]
    return rows if len(rows) == 1 else [*rows, {"name": "sheet", "picture": sheet(arrays, columns)}]


def sheet(pictures: NDArray[np.uint8], columns: int | None = None) -> NDArray[np.uint8]:
    """Pictures (N, C, H, W) side by side on white, (C, H', W'); tiny ones are enlarged by whole pixels.

    >>> sheet(np.zeros((3, 1, 32, 32), np.uint8)).shape
    (1, 70, 70)
    """
    count, channels, height, width = pictures.shape
    times = max(1, -(-24 // min(height, width)))
    big = pictures.repeat(times, 2).repeat(times, 3)
    height, width = big.shape[2:]
    columns = columns or int(np.ceil(np.sqrt(count)))
    rows = -(-count // columns)
    whole = np.full((channels, rows * (height + 2) + 2, columns * (width + 2) + 2), 255, np.uint8)
    for i, picture in enumerate(big):
        top, left = 2 + i // columns * (height + 2), 2 + i % columns * (width + 2)
        whole[:, top : top + height, left : left + width] = picture
    return whole
