"""Pages of both cases and marks, and a network's stand-in that knows such letters of one font."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from read_pages import photographed, printed
from torch import Tensor

from pellucid.data.embedded import glyphs, handprint, lowercase, strokes
from pellucid.tasks.read.alphabet import character
from pellucid.tasks.read.placing import places_of
from pellucid.tasks.read.preparing import prepared

FONT = "DejaVuSans"
CLASSES = handprint.TEXT
FOX = [
    "The quick brown fox jumps over",
    "the lazy dog, and runs away.",
    "Why? Because it can: nobody",
    "stops it! (Not even we.)",
]
SIR = [
    "Dear Sir, on 24 May 1985 we saw",
    "46 waves; they came at 7:30.",
    "Zoe's cocoa costs 5 + 3 = 8,",
    'well-known x/y is "so so" & ok.',
]
SPRING = [
    "In spring, Sam and Oscar walk",
    'up to six km. Vic says: "Wow!"',
    "Can you pick some plums? Yes -",
    "cut, wash, and put them in.",
]


@lru_cache(maxsize=4)
def look_of(classes: tuple[str, ...] = CLASSES) -> Callable[[Tensor], Tensor]:
    """Probabilities (n, K + 1) by the nearest letter of the font; c and C, which are alike, share them."""
    plain = torch.from_numpy(glyphs.filling(FONT, [character(name) for name in classes]))
    banks = [prepared(glyphs.blur(plain, torch.full((len(plain),), soft))[:, None], (24, 24)) for soft in (0.5, 1.5, 3)]
    bank = torch.cat([one.flatten(1) for one in banks])
    bank = bank / bank.norm(dim=1, keepdim=True)
    labels = torch.arange(len(classes)).repeat(len(banks))

    def look(crops: Tensor) -> Tensor:
        seen = prepared(crops, (24, 24)).flatten(1)
        alike = (seen / seen.norm(dim=1, keepdim=True).clamp_min(1e-6)) @ bank.T
        best = torch.full((len(crops), len(classes)), -1.0)
        best = best.scatter_reduce(1, labels.expand(len(crops), -1), alike, "amax")
        return (torch.cat([best, torch.full((len(crops), 1), 0.72)], 1) * 40).softmax(1)

    return look


def written(
    lines: Sequence[str],
    seed: int,
    tall: float = 40,
    size: tuple[int, int] = (600, 1300),
    pen: float = 4,
    low: float = 0.62,
) -> NDArray[np.float32]:
    """Ink (H, W) in [0, 1] of lines as a hand writes them; capitals are `tall` px high, small letters `low` times as much."""
    rng = np.random.default_rng([seed, 98])
    places = places_of(CLASSES)
    assert places is not None
    ways = {**strokes.WAYS, **lowercase.SMALL, **lowercase.MARKS}
    page = np.zeros((size[0] * 2, size[1] * 2), np.uint8)

    def up(height: float) -> float:
        return (
            height * low / 0.75
            if 0 < height <= 0.75
            else low + (height - 0.75) * (1 - low) / 0.25
            if height > 0
            else height
        )

    for number, line in enumerate(lines):
        x, base = 50.0, 90 + number * 2.1 * tall
        for letter in line:
            if letter == " ":
                x += tall * rng.uniform(0.5, 0.65)
                continue
            k = CLASSES.index(letter)
            top, bottom = up(float(places.tops[k])), up(float(places.bottoms[k]))
            h = (top - bottom) * tall * rng.uniform(0.94, 1.06)
            own = strokes.paths(letter, 1, rng, ways)[0]
            scale = (h, h)
            if letter in "-=":  # wide for their height
                scale = (0.4 * tall, h if letter == "-" else 2.5 * h)
                top = top if letter == "-" else 2 * top
            if letter == ".":
                scale = (0.05 * tall, 0.05 * tall)
                top = 0.08
            every = np.concatenate(own)
            left, right = float(every[:, 0].min()), float(every[:, 0].max())
            y = base - top * tall + rng.normal(0, 0.02) * tall
            moved = [np.stack([x + (s[:, 0] - left) * scale[0], y + s[:, 1] * scale[1]], 1) for s in own]
            cv2.polylines(
                page, [np.rint(s * 2).astype(np.int32) for s in moved], False, 255, round(2 * pen), cv2.LINE_AA
            )
            x += (right - left) * scale[0] + tall * rng.uniform(0.14, 0.2) + pen
    small = cv2.resize(page, size[::-1], interpolation=cv2.INTER_AREA)
    return small.astype(np.float32) / np.float32(255)


def sentences() -> dict[str, tuple[NDArray[np.uint8], list[str]]]:
    """Eighteen photographed pages of both cases and marks, and their lines; four fonts and all hands are not those of the training."""
    pages = {}
    for face in glyphs.FONTS["test"]:
        for k, lines in enumerate((FOX, SIR, SPRING)):
            ink = printed(lines, 30, (330, 1000), face=face)
            pages[f"{face} {k}"] = photographed(ink, k, shadow=0.3 * (k == 1), skew=2.0 * (k == 2)), lines
    for seed in range(6):
        lines = (FOX, SIR, SPRING)[seed % 3]
        ink = written(lines, seed, low=0.55 + 0.05 * (seed % 4))
        pages[f"hand {seed}"] = photographed(ink, seed, shadow=0.3 * (seed % 2)), lines
    return pages
