# SPDX-License-Identifier: Apache-2.0
"""Scenes: drawn shapes on a textured background, where every box, mask, keypoint and class is known exactly.

Coordinates are (x, y) in px with pixel (i, j) covering [j, j+1) × [i, i+1). Each shape is drawn in its own frame (u, v): the
origin is its centre, its tip points to −v, and R is the radius of its circumscribed circle.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from pellucid.data.dataset import Dataset, Pixels, Split
from pellucid.data.splitting import finish
from pellucid.data.targets import Boxes, Label, Mask, Points, Target

__all__ = ["CLASSES", "KEYPOINTS", "SIDE", "draw"]

Floats = NDArray[Any]  # float64: processors round float32 differently, which would show in the pixels

CLASSES = ("circle", "ring", "square", "diamond", "triangle", "pentagon", "star", "cross")
KEYPOINTS = ("centre", "tip", "base")  # of the largest shape, all on its axis of symmetry
SIDE = 64  # px
_COUNTS = {"train": 2000, "val": 300, "test": 300}
_MOST = 4  # shapes in a scene
_INNER = 0.45  # inner radius of a star / its outer radius
_ARM = 0.36  # width of a cross's arm / its length
_THIN = 0.6  # width of a diamond / its height
_DIGITS = 3  # decimals of coordinates in px
_HOLE = 0.5  # radius of a ring's hole / its own radius


def draw(counts: dict[str, int] | None = None, sparse: bool = False) -> Dataset:
    """The dataset `scenes`: (3, 64, 64) images of one to four shapes that do not touch, on a textured background.

    Targets: "label" is the class of the largest shape; "boxes" has the boxes and classes of all shapes, the largest first;
    "mask" is 0 for the background and 1 + class for a pixel whose centre lies in a shape; "points" are the `KEYPOINTS` of
    the largest shape. Shapes are rotated by up to 30° and lighter towards their tip, so that even a circle shows its axis.

    With `sparse` it is `sparse_scenes`: every third image, in random order, has the background alone. Those images have no box,
    no visible keypoint and no class, so that there is no target "label".

    >>> scenes = draw({"train": 8, "val": 2, "test": 2})
    >>> scenes["train"].images.array.shape, sorted(scenes["train"].targets)
    ((8, 3, 64, 64), ['boxes', 'label', 'mask', 'points'])
    """
    seed, name = (65, "sparse_scenes") if sparse else (64, "scenes")
    splits = {
        part: _split(name, part, n, np.random.default_rng([k, seed]), sparse)
        for k, (part, n) in enumerate((counts or _COUNTS).items())
    }
    return finish(name, splits, CLASSES, mask_classes=("background", *CLASSES), point_names=KEYPOINTS)


@dataclass(frozen=True)
class _Shapes:
    """The shapes of n scenes: each array is (n, 4) with the largest shape first; `present` marks those that exist."""

    present: NDArray[np.bool_]
    kind: NDArray[np.int64]
    x: Floats
    y: Floats
    radius: Floats
    angle: Floats


def _split(name: str, part: str, n: int, rng: np.random.Generator, sparse: bool) -> Split:
    shapes = _place(n, rng)
    some: NDArray[np.bool_] = shapes.present[:, 0].copy()  # (n,) whether a scene has a shape
    if sparse:
        some &= rng.permutation(n) % 3 > 0
        shapes.present[~some] = False
    images, masks = np.empty((n, 3, SIDE, SIDE), np.uint8), np.zeros((n, SIDE, SIDE), np.uint8)
    for start in range(0, n, 128):  # blocks that fit in the processor's cache
        rows = slice(start, min(start + 128, n))
        canvas, mean = _background(rows.stop - rows.start, rng)
        for slot in range(_MOST):
            _paint(canvas, mean, masks[rows], shapes, np.arange(n)[rows], slot, rng)
        canvas += 0.015 * rng.standard_normal(canvas.shape, np.float32)
        images[rows] = (canvas.clip(0, 1) * 255).round().astype(np.uint8)
    corners = _boxes(shapes)
    points = np.where(some[:, None, None], _keypoints(shapes), np.float32(np.nan))
    targets: dict[str, Target] = {
        **({} if sparse else {"label": Label(torch.from_numpy(shapes.kind[:, 0]))}),
        "boxes": Boxes(
            [torch.from_numpy(c[p]) for c, p in zip(corners, shapes.present, strict=True)],
            [torch.from_numpy(k[p]) for k, p in zip(shapes.kind, shapes.present, strict=True)],
        ),
        "mask": Mask(torch.from_numpy(masks)),
        # all on the shape's axis of symmetry: in a mirror, each stays itself
        "points": Points(torch.from_numpy(points), mirror=tuple(range(len(KEYPOINTS)))),
    }
    shown = [CLASSES[kind] if there else "none" for kind, there in zip(shapes.kind[:, 0], some, strict=True)]
    names = [f"{name}/{part}/{title}/{i}" for i, title in enumerate(shown)]
    return Split(Pixels(images), targets, names)


def _place(n: int, rng: np.random.Generator) -> _Shapes:
    """A large shape anywhere, then up to three small ones, each at the first of sixteen random places that is free."""
    # the smallest large diamond (173 px²) is larger than the largest small circle (154 px²)
    radius = np.concatenate([rng.uniform(12, 20, (n, 1)), rng.uniform(5, 7, (n, _MOST - 1))], 1)
    present = np.arange(_MOST) < rng.integers(1, _MOST + 1, (n, 1))
    x, y = np.zeros((2, n, _MOST))
    for slot in range(_MOST):
        margin = radius[:, slot, None] + 1
        places = rng.uniform(0, 1, (2, n, 16)) * (SIDE - 2 * margin) + margin  # (2, n, 16)
        free = np.ones((n, 16), bool)
        for other in range(slot):
            apart = np.hypot(places[0] - x[:, other, None], places[1] - y[:, other, None])
            free &= (apart > radius[:, slot, None] + radius[:, other, None] + 2) | ~present[:, other, None]
        first = free.argmax(1)
        x[:, slot], y[:, slot] = places[:, np.arange(n), first]
        present[:, slot] &= free.any(1)
    kind = rng.integers(0, len(CLASSES), (n, _MOST))
    kind[:, 0] = rng.permutation(np.arange(n) % len(CLASSES))  # labels are balanced
    angle = rng.uniform(-np.pi / 6, np.pi / 6, (n, _MOST))
    return _Shapes(present, kind, x, y, radius, angle)


def _background(n: int, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Textures between two similar colours, (n, 3, H, W): noise of several scales, or waves; and their mean colours (n, 3)."""
    texture = np.zeros((n, 1, SIDE, SIDE))
    fade = rng.uniform(0.4, 0.9, (n, 1, 1, 1))  # amplitude of each finer scale relative to the last
    for octave, cells in enumerate((4, 8, 16, 32)):
        noise = torch.from_numpy(rng.standard_normal((n, 1, cells, cells), np.float32)).double()
        texture += fade**octave * F.interpolate(noise, (SIDE, SIDE), mode="bilinear").numpy()
    rows, columns = np.mgrid[:SIDE, :SIDE].astype(np.float64)
    turn, length, phase = (rng.uniform(a, b, (n, 1, 1, 1)) for a, b in ((0, 3.14), (5, 16), (0, 6.28)))
    waves = np.sin(2 * np.pi / length * (columns * np.cos(turn) + rows * np.sin(turn)) + phase)
    texture = 0.4 * texture + np.where(rng.random((n, 1, 1, 1)) < 0.4, 1.2, 0) * waves
    one = rng.uniform(0.1, 0.9, (n, 3))
    other = (one + rng.uniform(-0.3, 0.3, (n, 3))).clip(0, 1)
    share = 1 / (1 + np.exp(-2 * texture))
    return one[..., None, None] * (1 - share) + other[..., None, None] * share, (one + other) / 2


def _paint(
    canvas: Floats,
    mean: Floats,
    masks: NDArray[np.uint8],
    shapes: _Shapes,
    rows: NDArray[np.int64],
    slot: int,
    rng: np.random.Generator,
) -> None:
    """Draw one shape of each scene into its image and its mask; edge pixels are covered in part, which smooths outlines."""
    candidates = rng.uniform(0, 1, (len(rows), 6, 3))
    distances = np.linalg.norm(candidates - mean[:, None], axis=2)
    colours = candidates[
        np.arange(len(rows)), distances.argmax(1)
    ]  # of six colours, the one farthest from the background's
    shading = rng.uniform(0.1, 0.25, len(rows))
    centres = np.arange(SIDE) + 0.5
    for kind, distance in enumerate(_DISTANCES):
        here = np.flatnonzero(shapes.present[rows, slot] & (shapes.kind[rows, slot] == kind))
        of = rows[here]
        x, y, radius, angle = (v[of, slot, None, None] for v in (shapes.x, shapes.y, shapes.radius, shapes.angle))
        across, down = centres[None, None, :] - x, centres[None, :, None] - y
        u, v = across * np.cos(angle) + down * np.sin(angle), down * np.cos(angle) - across * np.sin(angle)
        signed = distance(u, v, radius)  # (m, H, W) px, negative inside
        cover = (0.5 - signed).clip(0, 1)[:, None]  # (m, 1, H, W): the share of a pixel inside, for a straight edge
        light = -shading[here, None, None] * v / radius
        paint = colours[here][:, :, None, None] + light[:, None]
        canvas[here] += cover * (paint.clip(0, 1) - canvas[here])
        masks[here] = np.where(signed <= 0, np.uint8(kind + 1), masks[here])


def _polygon(sides: int) -> Callable[[Floats, Floats, Floats], Floats]:
    """Signed distance to the sides of a regular polygon with a corner at its tip, by folding the plane into one side's sector."""
    half = np.pi / sides

    def distance(u: Floats, v: Floats, radius: Floats) -> Floats:
        turn = np.mod(np.arctan2(u, -v), 2 * half) - half  # angle from the middle of the nearest side
        signed: Floats = np.hypot(u, v) * np.cos(turn) - radius * np.cos(half)
        return signed

    return distance


def _star(u: Floats, v: Floats, radius: Floats) -> Floats:
    """Signed distance to the sides of a five-pointed star: in the sector of half a point, a line from tip to inner corner."""
    half = np.pi / 5
    turn = np.abs(np.mod(np.arctan2(u, -v) + half, 2 * half) - half)
    distance = np.hypot(u, v)
    along = np.array([_INNER * np.cos(half) - 1, _INNER * np.sin(half)])
    normal = np.array([along[1], -along[0]]) / np.hypot(*along)
    signed: Floats = (distance * np.cos(turn) - radius) * normal[0] + distance * np.sin(turn) * normal[1]
    return signed


def _square(u: Floats, v: Floats, radius: Floats) -> Floats:
    signed: Floats = np.maximum(np.abs(u), np.abs(v)) - radius / np.sqrt(2)
    return signed


def _diamond(u: Floats, v: Floats, radius: Floats) -> Floats:
    signed: Floats = (np.abs(u) + np.abs(v) * _THIN - _THIN * radius) / np.hypot(1, _THIN)
    return signed


def _cross(u: Floats, v: Floats, radius: Floats) -> Floats:
    length, width = _arms(radius)
    long, short = np.maximum(np.abs(u), np.abs(v)), np.minimum(np.abs(u), np.abs(v))
    signed: Floats = np.maximum(long - length, short - width)
    return signed


def _arms(radius: Floats) -> tuple[Floats, Floats]:
    length = radius / np.hypot(1, _ARM)
    return length, _ARM * length


_DISTANCES: tuple[Callable[[Floats, Floats, Floats], Floats], ...] = (
    lambda u, v, radius: np.hypot(u, v) - radius,
    lambda u, v, radius: np.abs(np.hypot(u, v) - (1 + _HOLE) / 2 * radius) - (1 - _HOLE) / 2 * radius,
    _square, _diamond, _polygon(3), _polygon(5), _star, _cross,
)  # fmt: skip


def _around(angles: Floats) -> Floats:
    return np.stack([np.sin(angles), -np.cos(angles)], 1)


def _corners() -> list[Floats]:
    """The outermost corners of each class at R = 1, (m, 2); none for round shapes."""
    none = np.zeros((0, 2))
    long, wide = (float(a) for a in _arms(np.ones(())))
    cross = [(s * a, t * b) for a, b in ((long, wide), (wide, long)) for s in (-1, 1) for t in (-1, 1)]
    quarter = np.arange(4) * np.pi / 2
    diamond = _around(quarter) * (_THIN, 1)
    polygons = [_around(np.arange(n) * 2 * np.pi / n) for n in (3, 5, 5)]
    return [none, none, _around(quarter + np.pi / 4), diamond, *polygons, np.array(cross)]


def _boxes(shapes: _Shapes) -> Floats:
    """x0, y0, x1, y1 of each shape's outline, (n, 4, 4)."""
    reach = np.empty((*shapes.kind.shape, 4))
    for kind, corners in enumerate(_corners()):
        here = shapes.kind == kind
        if len(corners):
            cos, sin = np.cos(shapes.angle[here])[:, None], np.sin(shapes.angle[here])[:, None]
            x, y = corners[:, 0] * cos - corners[:, 1] * sin, corners[:, 0] * sin + corners[:, 1] * cos
            reach[here] = np.stack([x.min(1), y.min(1), x.max(1), y.max(1)], 1)
        else:
            reach[here] = (-1, -1, 1, 1)
    centre = np.stack([shapes.x, shapes.y, shapes.x, shapes.y], 2)
    boxes: Floats = (centre + reach * shapes.radius[..., None]).round(_DIGITS).astype(np.float32)
    return boxes


def _keypoints(shapes: _Shapes) -> Floats:
    """Centre, tip and base of the largest shape of each scene, (n, 3, 2)."""
    square, long = 0.5**0.5, float(_arms(np.ones(()))[0])
    tips = np.array([1, 1, square, 1, 1, 1, 1, long])[shapes.kind[:, 0]]
    bases = np.array([1, 1, square, 1, 0.5, np.cos(np.pi / 5), _INNER, long])[shapes.kind[:, 0]]
    down = np.stack([np.zeros_like(tips), -tips, bases], 1) * shapes.radius[:, :1]  # (n, 3)
    x = shapes.x[:, :1] - down * np.sin(shapes.angle[:, :1])
    y = shapes.y[:, :1] + down * np.cos(shapes.angle[:, :1])
    return np.stack([x, y], 2).round(_DIGITS).astype(np.float32)
