"""Pages that tests draw, and a network's stand-in that knows the letters of one font."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pellucid.data.embedded import glyphs, strokes
from pellucid.tasks.read.preparing import prepared

FONT = "DejaVuSans"
CLASSES = glyphs.CLASSES


@lru_cache(maxsize=1)
def _known() -> tuple[Tensor, Tensor]:
    plain = torch.from_numpy(glyphs.render(FONT))[:, None]
    soft = glyphs.blur(plain[:, 0], torch.full((len(plain),), 1.5))[:, None]
    return torch.cat([prepared(one, (24, 24)).flatten(1) for one in (plain, soft)]), torch.arange(36).repeat(2)


def look(crops: Tensor) -> Tensor:
    """Probabilities (n, 37) by the nearest letter of the font; the farther away it is, the likelier is no letter."""
    bank, labels = _known()
    bank = bank / bank.norm(dim=1, keepdim=True)
    seen = prepared(crops, (24, 24)).flatten(1)
    alike = (seen / seen.norm(dim=1, keepdim=True).clamp_min(1e-6)) @ bank.T  # (n, 72) cosines
    best = torch.full((len(crops), 36), -1.0).scatter_reduce(1, labels.expand(len(crops), -1), alike, "amax")
    nothing = torch.full((len(crops), 1), 0.72)
    return (torch.cat([best, nothing], 1) * 40).softmax(1)


def printed(
    lines: Sequence[str],
    tall: int = 26,
    size: tuple[int, int] = (500, 800),
    at: tuple[int, int] = (40, 40),
    face: str = FONT,
) -> NDArray[np.float32]:
    """Ink (H, W) in [0, 1] of lines in a font; letters are `tall` px high."""
    from importlib.util import find_spec
    from pathlib import Path

    from PIL import Image, ImageDraw, ImageFont

    spec = find_spec("matplotlib")
    assert spec is not None and spec.submodule_search_locations is not None
    path = Path(spec.submodule_search_locations[0]) / "mpl-data/fonts/ttf" / f"{face}.ttf"
    font = ImageFont.truetype(path, round(tall / 0.73))
    page = Image.new("L", size[::-1])
    for number, line in enumerate(lines):
        ImageDraw.Draw(page).text((at[0], at[1] + number * 2.1 * tall), line, fill=255, font=font)
    return np.asarray(page, np.float32) / np.float32(255)


def written(
    lines: Sequence[str],
    seed: int,
    tall: float = 34,
    size: tuple[int, int] = (600, 1100),
    at: tuple[float, float] = (50, 50),
    pen: float = 4,
) -> NDArray[np.float32]:
    """Ink (H, W) in [0, 1] of lines as a hand writes them, by the same rule as the training's letters but other chances."""
    rng = np.random.default_rng([seed, 99])
    page = np.zeros((size[0] * 2, size[1] * 2), np.uint8)
    for number, line in enumerate(lines):
        x = at[0] + rng.uniform(0, 5)
        slant = rng.normal(0.03, 0.05)
        for letter in line:
            if letter == " ":
                x += tall * rng.uniform(0.75, 0.95)
                continue
            own = strokes.paths(letter, 1, rng)[0]
            every = np.concatenate(own)
            left, right = float(every[:, 0].min()), float(every[:, 0].max())
            y = at[1] + number * 1.9 * tall + rng.normal(0, 0.04) * tall
            h = tall * rng.uniform(0.93, 1.07)
            moved = [np.stack([x + (s[:, 0] - left - slant * (s[:, 1] - 0.5)) * h, y + s[:, 1] * h], 1) for s in own]
            cv2.polylines(
                page, [np.rint(s * 2).astype(np.int32) for s in moved], False, 255, round(2 * pen), cv2.LINE_AA
            )
            x += (right - left) * h + tall * rng.uniform(0.2, 0.32) + pen
    small = cv2.resize(page, size[::-1], interpolation=cv2.INTER_AREA)
    return small.astype(np.float32) / np.float32(255)


def photographed(
    ink: NDArray[np.float32],
    seed: int = 0,
    light: bool = False,
    shadow: float = 0.0,
    skew: float = 0.0,
    noise: float = 0.01,
    rules: float = 0.0,
) -> NDArray[np.uint8]:
    """A photograph (H, W) of ink on paper: with a texture, a shadow, askew by degrees, noise, and printed lines if asked for."""
    rng = np.random.default_rng([seed, 7])
    height, width = ink.shape
    if skew:
        turn = cv2.getRotationMatrix2D((width / 2, height / 2), -skew, 1.0)
        ink = cv2.warpAffine(ink, turn, (width, height), flags=cv2.INTER_LINEAR)
    grain = cv2.GaussianBlur(rng.standard_normal((height, width)).astype(np.float32), (0, 0), 1.2)
    wide = cv2.resize(rng.standard_normal((5, 6)).astype(np.float32), (width, height), interpolation=cv2.INTER_CUBIC)
    paper = 0.8 + 0.03 * grain + 0.03 * wide
    if rules:
        step = round(rules)
        paper[step // 2 :: step] *= 0.86
        paper[step // 2 + 1 :: step] *= 0.9
    if shadow:
        x, y = np.meshgrid(np.linspace(0, 1, width), np.linspace(0, 1, height))
        paper = paper * (1 - shadow / (1 + np.exp(-(x + 0.6 * y - 0.9) / 0.05))).astype(np.float32)
    page = paper * (1 - 0.75 * ink)
    if light:
        page = 0.12 + 0.05 * grain + 0.65 * ink
    page = cv2.GaussianBlur(page.astype(np.float32), (0, 0), 0.8) + noise * rng.standard_normal((height, width)).astype(
        np.float32
    )
    return (page.clip(0, 1) * 255).round().astype(np.uint8)


PARAGRAPH = ["THE QUICK BROWN FOX JUMPS", "OVER 13 LAZY DOGS AND 2078", "MORE ON A FINE MORNING"]
OTHER = ["WE SAW 46 VIVID WAVES AT 9", "KNOW YOUR WAY HOME BY 1985", "JAZZ GUYS MIX EXTRA PIES"]
COLUMNS = (["FIRST OF THE", "COLUMNS THAT", "GO ON DOWN"], ["THEN ANOTHER", "COLUMN WITH", "OTHER WORDS"])


def ten_pages() -> dict[str, tuple[NDArray[np.uint8], list[str]]]:
    """Ten photographed pages and their lines; two fonts and all hands are other ones than those that letters are learned from."""
    left, right = (
        printed(rows, size=(400, 900), at=at) for rows, at in zip(COLUMNS, ((40, 60), (520, 60)), strict=True)
    )
    return {
        "hand": (photographed(written(PARAGRAPH, 1)), PARAGRAPH),
        "hand in a shadow": (photographed(written(OTHER, 2), 2, shadow=0.5), OTHER),
        "hand askew": (photographed(written(PARAGRAPH, 3, at=(60, 160)), 3, skew=8, noise=0.02), PARAGRAPH),
        "hand, light on dark": (photographed(written(OTHER, 4), 4, light=True), OTHER),
        "hand on ruled paper": (photographed(written(PARAGRAPH, 5), 5, rules=64), PARAGRAPH),
        "print": (photographed(printed(OTHER, 24, (300, 800), face="DejaVuSansMono")), OTHER),
        "print in strong noise": (
            photographed(printed(PARAGRAPH, 30, (400, 900), face="cmss10"), noise=0.06),
            PARAGRAPH,
        ),
        "two columns": (photographed(np.maximum(left, right)), [*COLUMNS[0], *COLUMNS[1]]),
        "one digit": (photographed(printed(["7"], 60, (200, 160), (50, 60)), shadow=0.4), ["7"]),
        "nothing": (photographed(np.zeros((400, 600), np.float32), 1, shadow=0.3), []),
    }
