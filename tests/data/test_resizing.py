# SPDX-License-Identifier: Apache-2.0
"""Squashing bytes: Pillow's pixels within two levels, and the same ones on every processor."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from pellucid.data.decoding.pictures import resize, resize_by_pillow

SIZES = [
    ((188, 250), (128, 128)),
    ((375, 500), (149, 224)),
    ((1500, 2000), (32, 24)),
    ((64, 64), (224, 224)),
    ((17, 31), (5, 40)),
    ((3000, 20), (2, 20)),
    ((1, 1), (4, 4)),
    ((5, 1), (3, 7)),
]


def noise(channels: int, size: tuple[int, int]) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (*size, channels), dtype=np.uint8).transpose(2, 0, 1)


def digest() -> str:
    """That of all sizes, with one channel and three."""
    total = hashlib.sha256()
    for have, want in SIZES:
        for channels in (1, 3):
            total.update(np.ascontiguousarray(resize(noise(channels, have), want)).data)
    return total.hexdigest()


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("have", "want"), SIZES)
def test_levels_are_those_of_pillow_within_two(have: tuple[int, int], want: tuple[int, int], channels: int) -> None:
    image = noise(channels, have)
    flat = Image.fromarray(image[0] if channels == 1 else np.ascontiguousarray(image.transpose(1, 2, 0)))
    peer = np.asarray(flat.resize(want[::-1], Image.Resampling.BILINEAR)).reshape(*want, channels).transpose(2, 0, 1)
    assert (resize_by_pillow(image, want) == peer).all()
    difference = np.abs(resize(image, want).astype(int) - peer)
    assert difference.max() <= 2
    assert difference.mean() < (
        0.02 if want[0] * 2 < have[0] and want[1] < have[1] else 0.3
    )  # of 255, in noise, the hardest


def test_any_layout_and_arrays_that_may_not_be_written_are_taken() -> None:
    image = noise(3, (40, 60))
    expected = resize(image, (13, 21))
    planar = np.ascontiguousarray(image)
    locked = image.copy()
    locked.flags.writeable = False
    before = image.copy()
    for one in (planar, locked, np.asfortranarray(image), np.concatenate([image] * 2)[:3]):
        assert (resize(one, (13, 21)) == expected).all()
    assert (resize(image[:, ::-1], (13, 21)) == resize(np.ascontiguousarray(image[:, ::-1]), (13, 21))).all()
    assert (image == before).all()
    shade = np.broadcast_to(np.uint8(200), (1, 30, 30))
    assert (resize(shade, (7, 9)) == 200).all()


@pytest.mark.slow  # loads torch in processes of its own
def test_a_processor_without_vector_instructions_gives_the_same_pixels() -> None:
    """torch has a kernel of its own for AVX2, and the plain one everywhere else."""
    script = f"import sys; sys.path.insert(0, {os.path.dirname(__file__)!r}); import test_resizing; print(test_resizing.digest())"
    plain = {**os.environ, "ATEN_CPU_CAPABILITY": "default"}
    done = subprocess.run([sys.executable, "-c", script], env=plain, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == digest()
