# SPDX-License-Identifier: Apache-2.0
"""Glyphs: capital letters and digits rendered from matplotlib's fonts, also under light from the side; no font is in two splits."""

from __future__ import annotations

import string
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from pellucid.data.dataset import Dataset, Pixels, Split
from pellucid.data.splitting import finish
from pellucid.data.targets import Label

if TYPE_CHECKING:
    from PIL.ImageFont import FreeTypeFont

__all__ = ["CLASSES", "FONTS", "SIDE", "blur", "draw", "extent", "filling", "render"]

CLASSES = tuple(string.digits + string.ascii_uppercase)
SIDE = 32  # px
_ABSENT = "\U0010ffff"  # no font has it
_FINE = 3  # rendered pixels per pixel of the dataset, along each side
_TALL = 22  # px, height of a capital letter before it is varied
_STEEP = 0.65  # sine of the slope of the dome at the middle of the picture's sides
_ASIDE = 1.3  # radians, about 75°: how far the lamp stands aside at most
_DIM = 0.15  # share of the light that comes from all sides
FONTS = {
    "train": (
        "DejaVuSans", "DejaVuSans-Bold", "DejaVuSans-BoldOblique", "DejaVuSansMono-Bold", "DejaVuSansMono-Oblique",
        "DejaVuSansMono-BoldOblique", "DejaVuSerif", "DejaVuSerif-Italic", "DejaVuSerif-BoldItalic", "STIXGeneral",
        "STIXGeneralBol", "STIXGeneralBolIta", "cmr10", "cmtt10",
    ),
    "val": ("DejaVuSans-Oblique", "cmb10"),
    "test": ("DejaVuSansMono", "DejaVuSerif-Bold", "STIXGeneralItalic", "cmss10"),
}  # fmt: skip


def draw(variants: int = 10, lit: bool = False) -> Dataset:
    """The dataset `glyphs`: (1, 32, 32) images, light on dark, of 36 classes in 20 fonts, `variants` of each.

    Variants differ in slant, rotation, width, height, position, stroke weight, blur, ink and background.

    >>> draw(variants=1).counts["test"]["A"]
    4

    Args:
        variants: images of each class in each font.
        lit: `glyphs_lit` instead: the same images, each as if printed on a dome under light from a direction of its own.
    """
    splits = {part: _split(fonts, variants, k, lit) for k, (part, fonts) in enumerate(FONTS.items())}
    return finish("glyphs_lit" if lit else "glyphs", splits, CLASSES)


def _split(fonts: tuple[str, ...], variants: int, seed: int, lit: bool) -> Split:
    rng = np.random.default_rng([seed, 36])
    plain = torch.from_numpy(np.concatenate([render(font) for font in fonts]))
    plain = blur(plain, torch.full((len(plain),), _FINE / 2))
    rows = torch.arange(len(plain)).repeat(variants)
    images = torch.cat([_vary(plain[some], rng) for some in rows.split(256)])  # blocks bound the memory
    if lit:  # with random numbers of its own, so that the glyphs are those of `glyphs`
        images = _light(images, np.random.default_rng([seed, 37]))
    label = torch.arange(len(CLASSES)).repeat(len(fonts) * variants)
    names = [f"glyphs/{t}/{font}/{v}" for v in range(variants) for font in fonts for t in CLASSES]
    return Split(Pixels(images.numpy()), {"label": Label(label)}, names)


def render(font: str) -> NDArray[np.float32]:
    """All classes in one font, each centred, at three times the dataset's resolution: (36, 96, 96) in [0, 1]."""
    _, top, _, bottom = face(font, 100).getbbox("H")
    even = face(font, round(100 * _TALL * _FINE / (bottom - top)))  # capitals are equally tall in all fonts
    return np.stack([_middle(text, even) for text in CLASSES])


def filling(font: str, characters: Sequence[str]) -> NDArray[np.float32]:
    """Characters in one font, each so large that its longer side is that of a capital: (n, 96, 96) in [0, 1]."""
    from PIL import Image, ImageDraw

    answer = []
    for text in characters:
        left, top, right, bottom = extent(text, font)
        even = face(font, max(1, round(100 * _TALL * _FINE / max(1, right - left, bottom - top))))
        scale = even.size / 100
        middle = (SIDE * _FINE - (left + right) * scale) / 2, (SIDE * _FINE - (top + bottom) * scale) / 2
        image = Image.new("L", (SIDE * _FINE, SIDE * _FINE))
        ImageDraw.Draw(image).text(middle, text, fill=255, font=even, anchor="ls")
        answer.append(np.asarray(image, np.float32) / np.float32(255))
    return np.stack(answer)


def extent(text: str, font: str, size: int = 100) -> tuple[int, int, int, int]:
    """Where a text's ink is, x0, y0, x1, y1 in px, if it begins at 0, 0 on the base line; zeros where the font has none.

    >>> extent("-", "DejaVuSans")
    (4, -31, 32, -23)
    """
    drawn = face(font, size)
    mask, (x, y) = drawn.getmask2(text, anchor="ls")
    if (box := mask.getbbox()) is None or bytes(mask) == bytes(drawn.getmask2(_ABSENT, anchor="ls")[0]):
        return (0, 0, 0, 0)
    return (x + box[0], y + box[1], x + box[2], y + box[3])


def face(font: str, size: int) -> FreeTypeFont:
    """One of matplotlib's fonts at a size in px."""
    from PIL import ImageFont

    spec = find_spec("matplotlib")
    assert spec is not None and spec.submodule_search_locations is not None
    return ImageFont.truetype(Path(spec.submodule_search_locations[0]) / "mpl-data/fonts/ttf" / f"{font}.ttf", size)


def _middle(text: str, font: FreeTypeFont) -> NDArray[np.float32]:
    """A character in the middle of a picture (96, 96)."""
    from PIL import Image, ImageDraw

    left, top, right, bottom = font.getbbox(text)
    image = Image.new("L", (SIDE * _FINE, SIDE * _FINE))
    middle = (SIDE * _FINE - left - right) / 2, (SIDE * _FINE - top - bottom) / 2
    ImageDraw.Draw(image).text(middle, text, fill=255, font=font)
    return np.asarray(image, np.float32) / np.float32(255)


def _vary(fine: Tensor, rng: np.random.Generator) -> Tensor:
    """Blurred glyphs (n, 96, 96) in [0, 1] with random stroke weight, geometry, blur and contrast: (n, 1, 32, 32) uint8."""
    n = len(fine)

    def uniform(low: float, high: float) -> Tensor:
        return torch.from_numpy(rng.uniform(low, high, n).astype(np.float32))

    # stroke weight: the level at which a blurred glyph is thresholded moves its outline in or out
    level = uniform(0.3, 0.7)[:, None, None]
    strokes = ((fine - level) * 4 + 0.5).clamp(0, 1)
    turn, slant = uniform(-0.12, 0.12), uniform(-0.3, 0.3)  # radians; px across per px up
    wide, tall = uniform(0.8, 1.1), uniform(0.85, 1.1)
    # the inverse transform, from output to source: rotated back, sheared back, scaled back
    cos, sin = turn.cos(), turn.sin()
    back = torch.stack(
        [
            torch.stack([(cos - slant * sin) / wide, (sin + slant * cos) / wide, uniform(-0.2, 0.2)], 1),
            torch.stack([-sin / tall, cos / tall, uniform(-0.2, 0.2)], 1),
        ],
        1,
    )
    moved = F.grid_sample(strokes[:, None], F.affine_grid(back, [n, 1, *fine.shape[1:]], False), align_corners=False)
    blurred = blur(F.avg_pool2d(moved[:, 0], _FINE), uniform(0.05, 1.0))[:, None]
    background = uniform(0.0, 0.25)[:, None, None, None]
    ink = uniform(0.6, 1.0)[:, None, None, None]
    noise = torch.from_numpy(rng.standard_normal(blurred.shape, np.float32)) * 0.02
    image = background + (ink - background) * blurred + noise
    return (image.clamp(0, 1) * 255).round().to(torch.uint8)


def _light(images: Tensor, rng: np.random.Generator) -> Tensor:
    """Images (n, 1, 32, 32) uint8 printed on a dome and lit by one distant lamp, with a little light from all sides.

    A matt surface is as bright as the cosine of the angle between its normal and the light (Lambert 1760); what faces away
    from the lamp has the surrounding light only.
    """
    n = len(images)
    across = torch.linspace(-_STEEP, _STEEP, SIDE)  # the normal's part along each side of the picture
    x, y = across.expand(SIDE, SIDE), across[:, None].expand(SIDE, SIDE)
    normals = torch.stack([x, y, (1 - x**2 - y**2).sqrt()])  # (3, 32, 32), of length 1
    around = torch.from_numpy(rng.uniform(0, 2 * np.pi, n).astype(np.float32))
    aside = torch.from_numpy(rng.uniform(0, _ASIDE, n).astype(np.float32))  # radians from the viewer's direction
    lamp = torch.stack([aside.sin() * around.cos(), aside.sin() * around.sin(), aside.cos()], 1)  # (n, 3)
    falls = _DIM + (1 - _DIM) * (lamp @ normals.flatten(1)).clamp_min(0).view(n, 1, SIDE, SIDE)
    noise = torch.from_numpy(rng.standard_normal(images.shape, np.float32)) * 0.01
    return (images.float() * falls + noise * 255).clamp(0, 255).round().to(torch.uint8)


def blur(images: Tensor, sigma: Tensor) -> Tensor:
    """Images (n, H, W), each blurred by a Gaussian with its own sigma (n,) in px: a product with a band matrix on each side."""
    place = torch.arange(images.shape[1], dtype=torch.float32)
    band = torch.exp(-((place[:, None] - place) ** 2) / (2 * sigma[:, None, None] ** 2))  # (n, H, H)
    band = band / band.sum(2, keepdim=True)
    return band @ images @ band.transpose(1, 2)
