# SPDX-License-Identifier: Apache-2.0
"""Handprint: capital letters and digits as pens write them, on paper; strokes drawn by rule, and glyphs of fonts beside them.

Every hand has ways, a slant, a width and a pen of its own; no hand and no font is in two splits.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pellucid.data.dataset import Dataset, Pixels, Split
from pellucid.data.embedded import glyphs, strokes
from pellucid.data.splitting import finish
from pellucid.data.targets import Label

__all__ = ["CLASSES", "SIDE", "draw"]

CLASSES = glyphs.CLASSES
SIDE = 40  # px
_HANDS = {"train": 300, "val": 40, "test": 40}  # images of each class drawn by strokes
_FONTS = {"train": 6, "val": 4, "test": 4}  # images of each class in each font of matplotlib
# those of OpenCV are single lines, as a plotter draws them
_PLOTTED = {"train": (0, 1, 3, 6), "val": (2,), "test": (4,)}


def draw(hands: dict[str, int] | None = None) -> Dataset:
    """The dataset `handprint`: (1, 40, 40) images, dark on light, of 36 classes.

    >>> draw({"train": 2, "val": 1, "test": 1})["train"].images.read(0, 1).shape
    (1, 40, 40)

    Args:
        hands: images of each class drawn by strokes, by split; glyphs of fonts are added in all.
    """
    splits = {part: _split(part, n, k) for k, (part, n) in enumerate((hands or _HANDS).items())}
    return finish("handprint", splits, CLASSES)


def _split(part: str, hands: int, seed: int) -> Split:
    rng = np.random.default_rng([seed, 40])
    inks, labels, names = [], [], []
    pens = rng.uniform(1.0, 4.2, hands)  # px: a hand keeps its pen
    for k, letter in enumerate(CLASSES):
        for hand, own in enumerate(strokes.paths(letter, hands, rng)):
            inks.append(strokes.draw(own, SIDE, rng.uniform(18, 32), pens[hand] * rng.uniform(0.85, 1.15), rng))
            labels.append(k)
            names.append(f"handprint/{part}/hand{hand}/{letter}")
    for face in _PLOTTED[part]:
        for again in range(_FONTS[part]):
            for k, letter in enumerate(CLASSES):
                inks.append(_plotted(letter, face, rng))
                labels.append(k)
                names.append(f"handprint/{part}/plotted{face}/{letter}{again}")
    ink = torch.from_numpy(np.stack(inks))
    fonts = glyphs.FONTS[part]
    plain = torch.from_numpy(np.concatenate([_rendered(font) for font in fonts]))  # (36·F, 40, 40)
    ink = torch.cat([ink, plain.repeat(_FONTS[part], 1, 1)])
    labels += list(range(len(CLASSES))) * (len(fonts) * _FONTS[part])
    names += [
        f"handprint/{part}/{font}/{letter}{again}"
        for again in range(_FONTS[part])
        for font in fonts
        for letter in CLASSES
    ]
    images = torch.cat([_on_paper(some, rng) for some in ink.split(512)])
    return Split(Pixels(images.numpy()), {"label": Label(torch.tensor(labels))}, names)


def _plotted(letter: str, face: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """A letter in one of OpenCV's line fonts."""
    import cv2

    fine, pen = 4, rng.uniform(1.0, 3.5)
    (wide, tall), _ = cv2.getTextSize(letter, face, 1.0, 1)
    scale = fine * rng.uniform(20, 30) / tall
    picture = np.zeros((SIDE * fine, SIDE * fine), np.uint8)
    start = round((SIDE * fine - wide * scale) / 2), round((SIDE * fine + tall * scale) / 2)
    cv2.putText(picture, letter, start, face, scale, 255, round(pen * fine), cv2.LINE_8)
    small = cv2.resize(picture, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    return small.astype(np.float32) / np.float32(255)


def _rendered(font: str) -> NDArray[np.float32]:
    """All classes in one of matplotlib's fonts, (36, 40, 40)."""
    import cv2

    fine = glyphs.render(font)  # (36, 96, 96)
    return np.stack([cv2.resize(one, (SIDE, SIDE), interpolation=cv2.INTER_AREA) for one in fine])


def _on_paper(ink: Tensor, rng: np.random.Generator) -> Tensor:
    """Ink (n, H, W) in [0, 1] as dark strokes on paper in uneven light, a little blurred: (n, 1, H, W) uint8."""
    n, side = len(ink), ink.shape[1]

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return torch.from_numpy(rng.uniform(low, high, (n, *shape)).astype(np.float32))

    blurred = glyphs.blur(ink, uniform(0.2, 0.9))
    place = torch.linspace(-1, 1, side)
    light = (
        uniform(0.45, 0.95)[:, None, None]
        + uniform(-0.08, 0.08)[:, None, None] * place
        + uniform(-0.08, 0.08)[:, None, None] * place[:, None]
    )
    dark = uniform(0.3, 0.85)[:, None, None]
    noise = torch.from_numpy(rng.standard_normal(ink.shape, np.float32)) * uniform(0.0, 0.03)[:, None, None]
    image = light * (1 - dark * blurred) + noise
    return (image.clamp(0, 1) * 255).round().to(torch.uint8)[:, None]
