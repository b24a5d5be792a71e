# SPDX-License-Identifier: Apache-2.0
"""What a model for a range of noise levels reaches at each of several levels, beside simpler methods on the same images."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn

from pellucid._spread import evenly_spread
from pellucid.data.dataset import Split
from pellucid.tasks._contract import ModelMeasures, NamedFigure
from pellucid.tasks._metrics import summarise
from pellucid.tasks.denoise import baselines, figures, metrics
from pellucid.tasks.denoise.baselines import DenoiseTask, Image

__all__ = ["by_level"]

LEVELS = 10  # evenly spaced from the least to the greatest: of 5/255 to 50/255 every 5/255
_IMAGES, _PIXELS = (
    60,
    2_000_000,
)  # test images, and pixels of them, at most: each is denoised at every level by every method
_TUNED_ON = 4  # training images on which the strengths of filters are chosen, at every level


def by_level(task: DenoiseTask, model: nn.Module, train: Split, test: Split, seed: int) -> ModelMeasures:
    """The PSNR of the model and of filters at each level, all on the same noisy images; filters know the level."""
    channels = max(part.images.channels for part in (train, test) if len(part))
    pixels = int(test.images.sizes.prod(1).mean())
    index = evenly_spread(min(len(test), _IMAGES, max(2, _PIXELS // pixels)), len(test))
    rows: list[dict[str, Any]] = []
    for level in np.linspace(*task.levels, LEVELS).tolist():
        one = task.at_level(level)
        noisy, clean = baselines.pairs(one, test, index, channels, seed)
        answers = {"model": _denoised(one, model, noisy), "do nothing": [np.clip(image, 0, 1) for image in noisy]}
        if len(train):
            known = evenly_spread(_TUNED_ON, len(train))
            answers |= baselines.filtered(noisy, baselines.pairs(one, train, known, channels, seed + 1))
        row: dict[str, Any] = {"level": round(level, 6), "level × 255": round(255 * level, 2), "images": len(index)}
        for name, images in answers.items():
            found = summarise(metrics.METRICS[:1], baselines.records(noisy, images, clean), seed)["psnr"]
            row[name] = round(found.value, 3)
            if name == "model":
                row |= {"from": round(found.low, 3), "to": round(found.high, 3)}
        rows.append(row)
    words = (
        f"PSNR in dB at each level of the noise, over the same {len(index)} test images; 95 % interval of the model's mean over "
        "these images. The filters' strengths were chosen for each level on training images; the model is not told the level."
    )
    return ModelMeasures(
        {}, {"psnr_by_level": rows}, [NamedFigure("levels", "PSNR by level", words, figures.levels(rows))]
    )


def _denoised(task: DenoiseTask, model: nn.Module, noisy: list[Image]) -> list[Image]:
    """The model's answers, image by image."""
    device = next((one.device for one in model.parameters()), torch.device("cpu"))
    return [task.predict(model, torch.from_numpy(image)[None].to(device)).pixels[0].cpu().numpy() for image in noisy]
