# SPDX-License-Identifier: Apache-2.0
"""Pictures of a model at work after each epoch of its training, in the run's folder."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from torch import Tensor

from pellucid._spread import evenly_spread
from pellucid.files import write_atomically

__all__ = ["keep", "over_time"]

_VISIBLE = 24  # px: the least side of a picture


def keep(run: Path, epoch: int, pictures: Tensor) -> Path:
    """Write pictures (N, C, H, W) float in [0, 1] as one sheet, progress/epoch-0001.png in the run's folder.

    >>> import tempfile, torch
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     keep(Path(folder), 3, torch.rand(7, 1, 8, 8)).name
    'epoch-0003.png'
    """
    from PIL import Image
    from torchvision.utils import make_grid

    sheet = make_grid(pictures.float().clamp(0, 1), nrow=math.ceil(math.sqrt(len(pictures))), padding=2, pad_value=1.0)
    times = math.ceil(_VISIBLE / min(pictures.shape[2:]))
    if times > 1:  # tiny pictures are enlarged by whole pixels, so that a person sees them
        sheet = sheet.repeat_interleave(times, 1).repeat_interleave(times, 2)
    array = (sheet * 255).round().byte().cpu().numpy().transpose(1, 2, 0)  # (H, W, 3)
    path = run / "progress" / f"epoch-{epoch:04d}.png"
    with write_atomically(path) as draft:
        Image.fromarray(np.ascontiguousarray(array)).save(draft)
    return path


def over_time(run: Path, most: int = 6) -> list[tuple[int, Path]]:
    """(epoch, file) of at most `most` sheets: the first, the last, and some evenly spread between them."""
    files = sorted((run / "progress").glob("epoch-*.png"))
    return [(int(files[i].stem.split("-")[1]), files[i]) for i in evenly_spread(most, len(files))]
