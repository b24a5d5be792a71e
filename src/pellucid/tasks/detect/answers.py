# SPDX-License-Identifier: Apache-2.0
"""What a detection needs beyond the model: its threshold, and images in tiles."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pellucid.data.targets import Boxes
from pellucid.errors import UsageError
from pellucid.models import _building
from pellucid.tasks._answering import Threshold, set_threshold
from pellucid.tasks._records import Records, rows_of
from pellucid.tasks.detect.objects import Detected
from pellucid.tasks.detect.options import DetectOptions
from pellucid.tasks.detect.precision import best_threshold
from pellucid.tasks.detect.tiling import Found, tiled

__all__ = ["chosen", "in_tiles", "prepare", "share_of"]

_LEAST, _MOST = 0.1, 0.6  # overlap of tiles where none is asked for
_FITTING = 0.95  # share of the training objects that fit into it


def chosen(records: Records) -> Threshold | None:
    """The threshold with the highest F1 over all classes, at an IoU of 0.5; None where no detection is right."""
    value, reached = best_threshold(records)
    return Threshold(value, "F1 at IoU 0.5", reached, rows_of(records)) if reached > 0 else None


def prepare(model: Any, options: DetectOptions) -> None:
    """Set what the options say of the model's answers, and refuse tiles whose size is not known.

    Raises:
        UsageError: tiles without a size, for a model that does not know that of its training images.
    """
    if options.threshold is not None:
        set_threshold(model, options.threshold)
    if options.tile:
        _tile(model, options)


def in_tiles(predict: Callable[[Tensor], Detected], model: Any, image: Tensor, options: DetectOptions) -> Detected:
    """The detections of one image (C, H, W) of any size, in its px.

    Args:
        predict: the task's answer for images (n, C, H, W).
        model: with the buffers `threshold` and `own_size`.
        image: uint8 or float32 in [0, 1].
        options: of `predict`.
    """

    def see(tiles: Tensor) -> list[Found]:
        answer = predict(tiles).answered
        assert answer.scores is not None
        return [Found(*row) for row in zip(answer.corners, answer.labels, answer.scores, strict=True)]

    height, width = _building.describe(model)["size"]
    device = next(model.parameters()).device
    found = tiled(see, image, _tile(model, options), (height, width), _overlap(model, options), device)
    return Detected([found.corners], [found.labels], [found.scores], model.threshold.detach().cpu().float().reshape(1))


def share_of(boxes: Boxes, sizes: NDArray[np.int32]) -> float:
    """The larger side of an object as a share of its image's, which 95 % of the objects do not exceed; 0 without any.

    >>> one = Boxes([torch.tensor([[0.0, 0, 8, 4], [0, 0, 2, 5]])], [torch.tensor([0, 0])])
    >>> round(share_of(one, np.array([[10, 20]], np.int32)), 3)
    0.495
    """
    whole = torch.from_numpy(sizes.astype(np.float32)).flip(1)  # (N, 2) width, height
    shares = [((own[:, 2:] - own[:, :2]) / frame).amax(1) for own, frame in zip(boxes.corners, whole, strict=True)]
    every = torch.cat(shares) if shares else torch.zeros(0)
    return float(every.quantile(_FITTING)) if len(every) else 0.0


def _overlap(model: nn.Module, options: DetectOptions) -> float:
    """The share of a tile that the next one sees too: as given, or so much that most objects of the training fit into it."""
    if options.tile_overlap is not None:
        return options.tile_overlap
    return min(max(float(model.get_buffer("own_share")), _LEAST), _MOST)


def _tile(model: nn.Module, options: DetectOptions) -> tuple[int, int]:
    """(H, W) of a tile in px of the image: as given, or the median size of the training images."""
    if options.sides is not None:
        return options.sides
    height, width = (int(side) for side in torch.round(model.get_buffer("own_size")).tolist())
    if not height or not width:
        raise UsageError(
            "tile_size=(): is not known, as this model was not trained by this version; give --tile-size with the height and "
            "width of the training images in px."
        )
    return height, width
