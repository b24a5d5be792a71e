# SPDX-License-Identifier: Apache-2.0
"""Pictures of a training in the run's folder: what its first batch looks like, and the model at work after each epoch."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from pellucid._spread import evenly_spread
from pellucid.files import write_atomically

__all__ = ["keep", "keep_batch", "over_time"]

_VISIBLE = 24  # px: the least side of a picture
_FIRST = 16  # pictures of the first batch
_LARGEST = 192  # px: the longer side of each of these
_GAP = 2  # px between pictures


def keep(run: Path, epoch: int, pictures: Tensor) -> Path:
    """Write pictures (N, C, H, W) float in [0, 1] as one sheet, progress/epoch-0001.png in the run's folder.

    >>> import tempfile, torch
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     keep(Path(folder), 3, torch.rand(7, 1, 8, 8)).name
    'epoch-0003.png'
    """
    return _write(run / "progress" / f"epoch-{epoch:04d}.png", pictures)


def keep_batch(run: Path, input: Any) -> Path | None:
    """Write the first images of a batch as the model gets them, augmented, to figures/batch.png; nothing where it gets none.

    >>> import tempfile, torch
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     keep_batch(Path(folder), torch.rand(40, 1, 8, 8)).name, keep_batch(Path(folder), torch.rand(3, 5))
    ('batch.png', None)

    Args:
        run: the run's folder.
        input: images (N, C, H, W) in [0, 1], or several tensors that begin with them; of two, four or more planes the first are shown.
    """
    given = next(iter(input)) if isinstance(input, (list, tuple)) else input
    if not isinstance(given, Tensor) or given.ndim != 4:
        return None
    pictures = given[:_FIRST, : 3 if given.shape[1] >= 3 else 1].detach().float().clamp(0, 1)
    longest = max(pictures.shape[2:])
    if longest > _LARGEST:
        sides = [max(1, round(side * _LARGEST / longest)) for side in pictures.shape[2:]]
        pictures = F.interpolate(pictures, sides, mode="bilinear", antialias=True)
    return _write(run / "figures" / "batch.png", pictures, least=4 * _VISIBLE)


def _write(path: Path, pictures: Tensor, least: int = _VISIBLE) -> Path:
    """Pictures (N, C, H, W) in [0, 1] as one sheet, row by row with white lines between and around them."""
    from PIL import Image

    own = (pictures.float().clamp(0, 1) * 255).round().byte().cpu().numpy().transpose(0, 2, 3, 1)  # (N, H, W, C)
    # tiny pictures are enlarged by whole pixels, so that a person sees them
    times = max(1, math.ceil(least / min(own.shape[1:3])))
    own = own.repeat(times, 1).repeat(times, 2)
    count, high, wide, _ = own.shape
    columns = math.ceil(math.sqrt(count))
    rows = math.ceil(count / columns)
    sheet: NDArray[np.uint8] = np.full((rows * (high + _GAP) + _GAP, columns * (wide + _GAP) + _GAP, 3), 255, np.uint8)
    for place, picture in enumerate(own):
        top, left = (_GAP + at * (side + _GAP) for at, side in zip(divmod(place, columns), (high, wide), strict=True))
        sheet[top : top + high, left : left + wide] = picture
    with write_atomically(path) as draft:
        Image.fromarray(sheet).save(draft)
    return path


def over_time(run: Path, most: int = 6) -> list[tuple[int, Path]]:
    """(epoch, file) of at most `most` sheets: the first, the last, and some evenly spread between them."""
    files = sorted((run / "progress").glob("epoch-*.png"))
    return [(int(files[i].stem.split("-")[1]), files[i]) for i in evenly_spread(most, len(files))]
