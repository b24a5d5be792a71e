# SPDX-License-Identifier: Apache-2.0
"""Crops: what is read is what NumPy cuts from the padded image, at any box; squares lie around their boxes."""

from __future__ import annotations

import numpy as np
import pytest

from pellucid.data.cropping import Crops, cropped, squares
from pellucid.data.dataset import Pixels


@pytest.mark.parametrize("seed", range(6))
def test_a_crop_is_cut_from_the_image_padded_by_its_edges(seed: int) -> None:
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 256, (3, 11, 17), np.uint8)
    x0, y0 = rng.integers(-30, 25, 2)
    side = int(rng.integers(1, 30))
    padded = np.pad(image, ((0, 0), (60, 60), (60, 60)), mode="edge")
    expected = padded[:, y0 + 60 : y0 + 60 + side, x0 + 60 : x0 + 60 + side]
    np.testing.assert_array_equal(cropped(image, np.array([x0, y0, x0 + side, y0 + side])), expected)


def test_crops_are_images_of_their_own_size_and_content() -> None:
    rng = np.random.default_rng(0)
    whole = Pixels(rng.integers(0, 256, (3, 1, 8, 9), np.uint8))
    crops = Crops(whole, np.array([[0, 0, 4, 4], [2, 1, 8, 7], [0, 0, 1, 1]]))
    assert crops.sizes.tolist() == [[4, 4], [6, 6], [1, 1]] and len(crops) == 3 and crops.channels == 1
    assert len({*crops.digests}) == 3
    same = crops.select([2, 0])
    assert same.sizes.tolist() == [[1, 1], [4, 4]] and same.digests[1] == crops.digests[0]
    np.testing.assert_array_equal(same.read(0, 3), np.repeat(whole.array[2][:, :1, :1], 3, 0))
    other = Crops(whole, np.array([[1, 0, 5, 4]] * 3))
    assert not {*other.digests} & {*crops.digests}, "another part is another image"


@pytest.mark.parametrize("around", [0.0, 0.25, 1.0])
def test_a_square_is_as_large_as_its_box_and_what_is_around(around: float) -> None:
    rng = np.random.default_rng(1)
    start = rng.uniform(-50, 200, (100, 2))
    boxes = np.concatenate([start, start + rng.uniform(2, 90, (100, 2))], 1)
    found = squares(boxes, around)
    sides = found[:, 2:] - found[:, :2]
    assert (sides[:, 0] == sides[:, 1]).all()
    np.testing.assert_allclose(sides[:, 0], (boxes[:, 2:] - boxes[:, :2]).max(1) * (1 + 2 * around), atol=0.5)
    np.testing.assert_allclose(found.reshape(-1, 2, 2).mean(1), boxes.reshape(-1, 2, 2).mean(1), atol=0.76)
