# SPDX-License-Identifier: Apache-2.0
"""inpaint's exemplar-based fill against the paper's algorithm in plain loops, and where the answer is known."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from pellucid.data import open as open_data
from pellucid.tasks.inpaint.exemplar import exemplar, patch_radius


def photograph(place: int, channels: int, size: tuple[int, int]) -> NDArray[np.float32]:
    data = open_data("patches_colour" if channels == 3 else "patches").splits["test"]
    return data.images.read(place, channels)[:, : size[0], : size[1]].astype(np.float32) / 255


def by_loops(image: NDArray[np.float32], hole: NDArray[np.bool_], radius: int) -> NDArray[np.float32]:
    """Criminisi et al. 2004, table 1, pixel by pixel."""
    channels, height, width = image.shape
    answer, missing = image.copy(), hole.copy()
    levels = [[[int(v) for v in row] for row in plane] for plane in np.rint(np.where(hole, 0, image) * 255)]
    confidence = {(y, x): 0.0 if hole[y, x] else 1.0 for y in range(height) for x in range(width)}

    def inside(y: int, x: int) -> bool:
        return 0 <= y < height and 0 <= x < width

    def known(y: int, x: int) -> bool:
        return inside(y, x) and not missing[y, x]

    def grey(y: int, x: int) -> float:
        return sum(plane[y][x] for plane in levels) / channels / 255

    def window(y: int, x: int) -> list[tuple[int, int]]:
        side = range(-radius, radius + 1)
        return [(y + i, x + j) for i in side for j in side]

    sources = [(y, x) for y in range(height) for x in range(width) if all(known(*place) for place in window(y, x))]
    while missing.any():
        best, chosen = -1.0, None
        for y in range(height):
            for x in range(width):
                if not missing[y, x] or not any(known(*p) for p in ((y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1))):
                    continue
                places = window(y, x)
                sure = sum(confidence[p] for p in places if known(*p)) / sum(inside(*p) for p in places)
                strongest, gradient = -1.0, (0.0, 0.0)
                for v, u in places:
                    down = right = 0.0
                    if known(v, u) and known(v - 1, u) and known(v + 1, u):
                        down = (grey(v + 1, u) - grey(v - 1, u)) / 2
                    if known(v, u) and known(v, u - 1) and known(v, u + 1):
                        right = (grey(v, u + 1) - grey(v, u - 1)) / 2
                    if round(down**2 + right**2, 12) > strongest:
                        strongest, gradient = round(down**2 + right**2, 12), (down, right)
                normal = [0.0, 0.0]
                for i in (-1, 0, 1):
                    for j in (-1, 0, 1):
                        if inside(y + i, x + j) and missing[y + i, x + j]:
                            normal[0] += i * (2 - abs(j))
                            normal[1] += j * (2 - abs(i))
                length = max(math.hypot(*normal), 1e-12)
                data = abs(-gradient[1] * normal[0] + gradient[0] * normal[1]) / length
                priority = round(sure * (data + 0.001), 10)
                if priority > best:
                    best, chosen, certainty = priority, (y, x), sure
        assert chosen is not None
        places = window(*chosen)

        costs = []
        for v0, u0 in sources:
            total = 0
            for (y, x), (v, u) in zip(places, window(v0, u0), strict=True):
                if known(y, x):
                    total += sum((plane[y][x] - plane[v][u]) ** 2 for plane in levels)
            costs.append((total, (v0 - chosen[0]) ** 2 + (u0 - chosen[1]) ** 2, (v0, u0)))
        source = min(costs)[2]
        lacking = [(p, q) for p, q in zip(places, window(*source), strict=True) if inside(*p) and missing[p]]
        for (y, x), (v, u) in lacking:
            answer[:, y, x] = answer[:, v, u]
            for plane in levels:
                plane[y][x] = plane[v][u]
            confidence[y, x] = certainty
            missing[y, x] = False
    return answer


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("shape", ["rectangle", "corner", "two", "ring", "large"])
def test_equals_the_algorithm_in_plain_loops(channels: int, shape: str) -> None:
    image, hole = photograph(3, channels, (26, 30)), np.zeros((26, 30), bool)
    if shape == "rectangle":
        hole[12:19, 14:21] = True
    elif shape == "corner":
        hole[:6, :7] = True  # at the picture's edge
    elif shape == "two":
        hole[4:8, 4:9] = hole[18:22, 20:24] = True
    elif shape == "large":
        hole[3:20, 12:27] = (
            np.arange(15) <= np.arange(17)[:, None]
        )  # filled in many steps, each of which changes a part
    else:
        hole[14:21, 14:21], hole[16:19, 16:19] = True, False
    radius = patch_radius(hole)
    assert radius >= (2 if shape == "large" else 3)
    found = exemplar(np.where(hole, 0.7, image).astype(np.float32), hole)
    assert np.array_equal(found, by_loops(image, hole, radius))


def test_the_largest_sums_are_exact_too() -> None:
    """Black and white values, whose sums of squares come near to float32's largest exact whole number, 2²⁴."""
    image, hole = np.random.default_rng(0).integers(0, 2, (3, 26, 24)).astype(np.float32), np.zeros((26, 24), bool)
    image[:, :, 12:] = 1 - image[:, :, :12] * (np.arange(12) > 5)
    hole[10:16, 9:15] = True
    assert np.array_equal(exemplar(image, hole), by_loops(image, hole, patch_radius(hole)))


@pytest.mark.parametrize("channels", [1, 3])
def test_a_pattern_that_repeats_comes_back_exactly(channels: int) -> None:
    tile = np.random.default_rng(0).random((channels, 7, 5)).astype(np.float32)
    image, hole = np.tile(tile, (1, 9, 12)), np.zeros((63, 60), bool)
    hole[20:41, 15:36], hole[:5, 50:] = True, True
    found = exemplar(np.where(hole, 0, image), hole)
    assert np.array_equal(found, image)


def test_a_straight_edge_goes_on_through_the_hole() -> None:
    """The example by which the paper's figure 2 explains the method; diffusion blurs it."""
    rows, columns = np.mgrid[:50, :50]
    image = np.where(rows + columns > 50, 0.9, 0.2).astype(np.float32)[None]
    hole = np.zeros((50, 50), bool)
    hole[18:33, 17:34] = True
    assert np.array_equal(exemplar(np.where(hole, 0.5, image).astype(np.float32), hole), image)


def test_every_value_is_a_copy_and_what_lay_in_the_hole_does_not_count() -> None:
    image, hole = photograph(10, 3, (48, 64)), np.random.default_rng(1).random((48, 64)) < 0.02
    hole[10:30, 20:45] = True
    first = exemplar(image, hole)
    spoilt = np.where(hole, np.random.default_rng(2).random(image.shape), image).astype(np.float32)
    assert np.array_equal(exemplar(spoilt, hole), first)
    assert np.array_equal(first[:, ~hole], image[:, ~hole])
    colours = {tuple(colour) for colour in image[:, ~hole].T.tolist()}
    assert {tuple(colour) for colour in first[:, hole].T.tolist()} <= colours
    assert first.dtype == image.dtype


def test_patches_are_smaller_where_few_are_whole() -> None:
    generator = np.random.default_rng(0)
    assert [patch_radius(generator.random((64, 64)) < share) for share in (0.001, 0.05, 0.15, 0.3)] == [4, 3, 2, 1]
    assert patch_radius(np.indices((20, 20)).sum(0) % 2 == 0) == 0
    assert patch_radius(np.zeros((2, 30), bool)) == 0


def test_where_no_patch_is_whole_the_nearest_pixel_is_taken() -> None:
    image, hole = np.arange(30, dtype=np.float32).reshape(1, 2, 15) / 30, np.zeros((2, 15), bool)
    hole[:, 4:10] = True
    found = exemplar(image, hole)
    assert np.array_equal(found[:, ~hole], image[:, ~hole])
    assert found[0, :, 4].tolist() == image[0, :, 3].tolist()
    assert found[0, :, 9].tolist() == image[0, :, 10].tolist()
    whole = np.ones((2, 15), bool)
    assert np.array_equal(exemplar(image, whole), image)  # nothing is known: nothing can be copied
