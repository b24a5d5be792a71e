# SPDX-License-Identifier: Apache-2.0
"""What `predict` answers for a generative model: samples, interpolations between images, traversals of latent dimensions."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pellucid.data.batches import store
from pellucid.data.colour import to_channels
from pellucid.data.fitting import fit_floats
from pellucid.data.given import decodable, gather
from pellucid.errors import DataError, UsageError
from pellucid.tasks._wrapping import scale_of, unwrapped
from pellucid.tasks.generate import seeded
from pellucid.tasks.generate.figures import as_bytes
from pellucid.tasks.generate.options import GenerateOptions, GenerativeTask

__all__ = ["answer", "sheet"]

_REACH = 3.0  # standard deviations of the prior to each side
_GAP = 2  # px of white around each picture of a sheet
_SMALLEST = 24  # px: smaller pictures are enlarged in a sheet


def answer(
    task: GenerativeTask, model: nn.Module, images: Any, options: GenerateOptions
) -> list[dict[str, Any]] | None:
    """Rows with one picture each, and a last one with all of them on a sheet; None where images are to be answered one by one.

    Raises:
        UsageError: options that contradict each other, the wrong number of images, or nothing to do.
    """
    requests = [name for name in ("samples", "interpolate", "vary") if getattr(options, name)]
    if options.samples < 0:
        raise UsageError(f"samples={options.samples}: must not be negative; give 1 or more.")
    if options.steps < 1:
        raise UsageError(f"steps={options.steps}: must be at least 1; give e.g. --steps 8.")
    if len(requests) > 1:
        raise UsageError(f"{requests[0]}, {requests[1]}: cannot be combined; give one of them at a time.")
    no_images = images is None or (isinstance(images, (list, tuple)) and not images)
    if not requests:
        if no_images:
            raise UsageError(
                "samples=0: there is nothing to do; give images, --samples 64, --interpolate a.png b.png or --vary 3."
            )
        return None
    if options.samples:
        if not no_images:
            raise UsageError(f"samples={options.samples}: are generated without images; leave the images out.")
        pictures = task.samples(model, options.samples, options.seed)
        return _rows(pictures, [f"sample_{i:04d}" for i in range(options.samples)])
    if options.interpolate:
        return _interpolation(task, model, options)
    return _traversals(task, model, None if no_images else images, options)


def _interpolation(task: GenerativeTask, model: nn.Module, options: GenerateOptions) -> list[dict[str, Any]]:
    """μ_k = (1 − w_k)·μ_a + w_k·μ_b with w_k = k/(n + 1), k = 0 … n + 1."""
    if len(options.interpolate) != 2:
        raise UsageError(
            f"interpolate: needs two images, not {len(options.interpolate)}; give e.g. --interpolate a.png b.png."
        )
    ends = _codes(task, model, list(options.interpolate))  # (2, latent)
    weights = torch.arange(options.steps + 2, device=ends.device)[:, None] / (options.steps + 1)
    pictures = task.decode_all(model, (1 - weights) * ends[:1] + weights * ends[1:])
    return _rows(pictures, [f"step_{k:02d}" for k in range(len(pictures))], columns=len(pictures))


def _traversals(task: GenerativeTask, model: nn.Module, images: Any, options: GenerateOptions) -> list[dict[str, Any]]:
    """One dimension of a code after another, from −3 to 3 standard deviations of the prior."""
    latent = int(unwrapped(model).latent)
    for dimension in options.vary:
        if not 0 <= dimension < latent:
            raise UsageError(f"vary={dimension}: the code has {latent} dimensions; give one from 0 to {latent - 1}.")
    if images is not None:
        codes = _codes(task, model, images)
        if len(codes) != 1:
            raise UsageError(f"vary={options.vary[0]}: starts from one image, not from {len(codes)}; give one.")
    else:
        codes = seeded.codes(unwrapped(model), 1, options.seed)
    reach = torch.linspace(-_REACH, _REACH, options.steps + 2, device=codes.device)
    varied = []
    for dimension in options.vary:
        row = codes.repeat(len(reach), 1)  # (steps + 2, latent)
        row[:, dimension] = reach
        varied.append(row)
    names = [f"number_{dimension}_at_{float(value):+.2f}" for dimension in options.vary for value in reach]
    return _rows(task.decode_all(model, torch.cat(varied)), names, columns=len(reach))


def _codes(task: GenerativeTask, model: nn.Module, images: Any) -> Tensor:
    """The mean codes of images, (N, latent)."""
    inner = unwrapped(model)
    given = gather(images, scale_of(model))
    if given.faults:
        raise UsageError(next(iter(given.faults.values())))
    channels, size = int(inner.normalize.mean.shape[1]), (int(inner.fixed_size[0]), int(inner.fixed_size[1]))
    inputs: dict[int, Tensor] = {}  # by position among the images
    try:
        if len(given.split):
            for batch in store(given.split, size, channels, fit=task.fitting, memory_share=1.0).batches(64):
                for place, image in zip(batch.index.tolist(), batch.images.float().div_(255), strict=True):
                    inputs[given.places[place]] = image
    except DataError as fault:
        raise UsageError(next(iter(decodable(given, channels, size).faults.values()), str(fault))) from fault
    for place, image in given.floats.items():
        inputs[place] = fit_floats(to_channels(image, channels)[None], size, task.fitting)[0]
    stacked = torch.stack([inputs[place] for place in sorted(inputs)])  # (N, C, H, W)
    return task.encode(model, stacked.to(next(inner.parameters()).device))


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
    times = max(1, -(-_SMALLEST // min(height, width)))
    enlarged = pictures.repeat(times, 2).repeat(times, 3)
    height, width = enlarged.shape[2:]
    columns = columns or int(np.ceil(np.sqrt(count)))
    rows = -(-count // columns)
    whole = np.full((channels, rows * (height + _GAP) + _GAP, columns * (width + _GAP) + _GAP), 255, np.uint8)
    for i, picture in enumerate(enlarged):
        top, left = _GAP + i // columns * (height + _GAP), _GAP + i % columns * (width + _GAP)
        whole[:, top : top + height, left : left + width] = picture
    return whole
