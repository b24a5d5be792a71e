# SPDX-License-Identifier: Apache-2.0
"""What a detection needs beyond the model: its threshold, and images in tiles."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from pellucid.errors import UsageError
from pellucid.models import _building
from pellucid.tasks._answering import Threshold, set_threshold
from pellucid.tasks._records import Records, rows_of
from pellucid.tasks.detect.objects import Detected
from pellucid.tasks.detect.options import DetectOptions
from pellucid.tasks.detect.precision import best_threshold
from pellucid.tasks.detect.tiling import Found, tiled

__all__ = ["chosen", "in_tiles", "prepare"]


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
    found = tiled(see, image, _tile(model, options), (height, width), options.overlap, device)
    return Detected([found.corners], [found.labels], [found.scores], model.threshold.detach().cpu().float().reshape(1))


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
