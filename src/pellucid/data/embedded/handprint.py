# SPDX-License-Identifier: Apache-2.0
"""Handprint: letters and digits as pens write them, on paper; strokes drawn by rule, and glyphs of fonts beside them.

Every hand has ways, a slant, a width and a pen of its own; no hand and no font is in two splits. `handprint` has capitals and
digits, `handprint_text` small letters and marks too.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pellucid.data.dataset import Dataset, Pixels, Split
from pellucid.data.embedded import glyphs, lowercase, strokes
from pellucid.data.splitting import finish
from pellucid.data.targets import Label

__all__ = ["CLASSES", "SIDE", "TEXT", "draw"]

CLASSES = glyphs.CLASSES
TEXT = (*CLASSES, *lowercase.SMALL, *lowercase.MARKS)
SIDE = 40  # px
_HANDS = {"train": 300, "val": 40, "test": 40}  # images of each class drawn by strokes
_FEWER = {"train": 150, "val": 20, "test": 20}  # of more than twice as many classes
_FONTS = {"train": 6, "val": 4, "test": 4}  # images of each class in each font of matplotlib
_FEWEST = 6  # px of a picture before it is enlarged
_ALONE = 26  # px: the longer side of a plotted mark
# those of OpenCV are single lines, as a plotter draws them
_PLOTTED = {"train": (0, 1, 3, 6), "val": (2,), "test": (4,)}


def draw(hands: dict[str, int] | None = None, text: bool = False) -> Dataset:
    """The dataset `handprint`: (1, 40, 40) images, dark on light, of 36 classes.

    >>> draw({"train": 2, "val": 1, "test": 1})["train"].images.read(0, 1).shape
    (1, 40, 40)

    Args:
        hands: images of each class drawn by strokes, by split; glyphs of fonts are added in all.
        text: `handprint_text` instead, of 80 classes: small letters and marks too.
    """
    classes = TEXT if text else CLASSES
    counts = hands or (_FEWER if text else _HANDS)
    name = "handprint_text" if text else "handprint"
    splits = {part: _split(part, n, k, classes, name) for k, (part, n) in enumerate(counts.items())}
    return finish(name, splits, classes)


def _split(part: str, hands: int, seed: int, classes: tuple[str, ...], name: str) -> Split:
    rng = np.random.default_rng([seed, 40])
    inks, labels, names = [], [], []
    ways = {**strokes.WAYS, **lowercase.SMALL, **lowercase.MARKS}
    pens = rng.uniform(1.0, 4.2, hands)  # px: a hand keeps its pen
    for k, letter in enumerate(classes):
        wider = lowercase.PENS.get(letter, 1.0)
        for hand, own in enumerate(strokes.paths(letter, hands, rng, ways)):
            tall = rng.uniform(18, 32) / (wider if letter == "." else 1.0)  # a dot is all pen
            inks.append(strokes.draw(own, SIDE, tall, wider * pens[hand] * rng.uniform(0.85, 1.15), rng))
            labels.append(k)
            names.append(f"{name}/{part}/hand{hand}/{letter}")
    for face in _PLOTTED[part]:
        for again in range(_FONTS[part]):
            for k, letter in enumerate(classes):
                inks.append(_plotted(letter, face, rng))
                labels.append(k)
                names.append(f"{name}/{part}/plotted{face}/{letter}{again}")
    ink = torch.from_numpy(np.stack(inks))
    fonts = glyphs.FONTS[part]
    plain = torch.from_numpy(np.concatenate([_rendered(font, classes) for font in fonts]))  # (K·F, 40, 40)
    ink = torch.cat([ink, plain.repeat(_FONTS[part], 1, 1)])
    labels += list(range(len(classes))) * (len(fonts) * _FONTS[part])
    names += [
        f"{name}/{part}/{font}/{letter}{again}" for again in range(_FONTS[part]) for font in fonts for letter in classes
    ]
    if classes == TEXT:
        ink = _coarse(ink, [classes[k] for k in labels], rng)
    images = torch.cat([_on_paper(some, rng) for some in ink.split(512)])
    return Split(Pixels(images.numpy()), {"label": Label(torch.tensor(labels))}, names)


def _coarse(ink: Tensor, letters: Sequence[str], rng: np.random.Generator) -> Tensor:
    """Ink (n, H, W) as letters of a page are, of fewer px, and enlarged: marks are the smallest."""
    import cv2

    side = ink.shape[1]
    answer = ink.numpy().copy()
    for picture, letter in zip(answer, letters, strict=True):
        small = max(_FEWEST, round(side * rng.uniform(0.45 / lowercase.PENS.get(letter, 1.0), 1.0)))
        if small < side:
            own = cv2.resize(picture, (small, small), interpolation=cv2.INTER_AREA)
            picture[:] = cv2.resize(own, (side, side), interpolation=cv2.INTER_LINEAR)
    return torch.from_numpy(answer)


def _plotted(letter: str, face: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """A letter in one of OpenCV's line fonts."""
    import cv2

    fine, pen = 4, rng.uniform(1.0, 3.5)
    (wide, tall), _ = cv2.getTextSize(letter, face, 1.0, 1)
    scale = fine * rng.uniform(20, 30) / tall
    if letter not in CLASSES:
        return _plotted_alone(letter, face, scale / fine, pen)
    picture = np.zeros((SIDE * fine, SIDE * fine), np.uint8)
    start = round((SIDE * fine - wide * scale) / 2), round((SIDE * fine + tall * scale) / 2)
    cv2.putText(picture, letter, start, face, scale, 255, round(pen * fine), cv2.LINE_8)
    small = cv2.resize(picture, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    return small.astype(np.float32) / np.float32(255)


def _plotted_alone(letter: str, face: int, scale: float, pen: float) -> NDArray[np.float32]:
    """The same of a letter that lies elsewhere on its line, or is small there: its ink in the middle, its longer side 26 px at most."""
    import cv2

    fine, side = 8, 12 * SIDE
    picture = np.zeros((side, side), np.uint8)
    cv2.putText(picture, letter, (side // 3, 2 * side // 3), face, fine * scale, 255, round(pen * fine), cv2.LINE_8)
    x, y, wide, tall = cv2.boundingRect(picture)
    own = picture[y : y + tall, x : x + wide]
    share = _ALONE / max(wide, tall)
    sides = max(1, round(wide * share)), max(1, round(tall * share))
    small = cv2.resize(own, sides, interpolation=cv2.INTER_AREA).astype(np.float32) / np.float32(255)
    answer = np.zeros((SIDE, SIDE), np.float32)
    top, left = (SIDE - small.shape[0]) // 2, (SIDE - small.shape[1]) // 2
    answer[top : top + small.shape[0], left : left + small.shape[1]] = small
    return answer


def _rendered(font: str, classes: tuple[str, ...]) -> NDArray[np.float32]:
    """All classes in one of matplotlib's fonts, (K, 40, 40)."""
    import cv2

    fine = glyphs.render(font) if classes == CLASSES else glyphs.filling(font, classes)  # (K, 96, 96)
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
