# SPDX-License-Identifier: Apache-2.0
"""Images whose objects can be told without a model, a detector that tells them, and runs that are trained in seconds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import find_objects, label
from torch import Tensor, nn

import pellucid
from pellucid.data.embedded.scenes import draw
from pellucid.run import Run
from pellucid.tasks.detect.objects import Detected

SMALL: dict[str, Any] = {
    "widths": (8, 8), "width": 8, "hidden": 16, "proposals": 60, "bins": 3, "scales": (16.0, 32.0), "aspects": (1.0,),
    "batch_size": 8, "device": "cpu", "progress": False,
}  # fmt: skip


def scenes(train: int = 16, val: int = 6, test: int = 4) -> Any:
    """A few scenes of 64×64 px."""
    return draw({"train": train, "val": val, "test": test})


def brief(folder: Path, **options: Any) -> Run:
    """A run whose model has learned next to nothing."""
    return pellucid.train("detect", scenes(), None, folder, **{**SMALL, "epochs": 1, **options})


def picture(size: tuple[int, int], boxes: list[tuple[int, int, int, int]], labels: list[int]) -> NDArray[np.uint8]:
    """(H, W, 3): a black image with a rectangle for each box, red, green or blue by its label; they must not touch."""
    image = np.zeros((*size, 3), np.uint8)
    for (x0, y0, x1, y1), kind in zip(boxes, labels, strict=True):
        image[y0:y1, x0:x1, kind] = 255
    return image


def seen(images: Tensor, score: float = 0.9) -> Detected:
    """The rectangles of such images (B, 3, H, W), cut where the images cut them."""
    corners, labels = [], []
    for image in images.cpu().numpy():
        parts, count = label(image.max(0) > 0.5)
        places = find_objects(parts)
        corners.append([[x.start, y.start, x.stop, y.stop] for y, x in places])
        labels.append([int(image[:, parts == k + 1].mean(1).argmax()) for k in range(count)])
    return Detected(
        [torch.tensor(own, dtype=torch.float32).view(-1, 4) for own in corners],
        [torch.tensor(own, dtype=torch.int64) for own in labels],
        [torch.full((len(own),), score) for own in labels],
        torch.full((len(images),), 0.5),
    )


def sharp(self: Any, model: nn.Module, input: Tensor) -> Detected:
    """`Detect.predict` by `seen`, with the model's threshold."""
    answer = seen(input)
    return Detected(answer.corners, answer.labels, answer.scores, model.get_buffer("threshold").expand(len(input)))
