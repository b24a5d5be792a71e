# SPDX-License-Identifier: Apache-2.0
"""Near-copies across splits: found by a hash of how images look, and confirmed by comparing the images."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from pellucid.data.copies import near_copies, near_pairs
from pellucid.data.dataset import Split
from pellucid.data.decoding import Files

RNG = np.random.default_rng(0)


def test_near_pairs_are_those_that_counting_bits_finds() -> None:
    ours, others = (RNG.integers(0, 256, n, dtype=np.uint64) for n in (130, 70))  # 8 bits: many are near
    want = [[i, j] for i in range(130) for j in range(70) if bin(int(ours[i]) ^ int(others[j])).count("1") <= 2]
    assert near_pairs(ours, others, 2).tolist() == want
    assert near_pairs(ours, others, 2, limit=5).tolist() == want[:5]
    assert near_pairs(ours[:0], others).shape == (0, 2)


def scene() -> Image.Image:
    """A smooth random picture, 48×48 px."""
    coarse = Image.fromarray(RNG.integers(0, 256, (7, 7, 3), dtype=np.uint8))
    return coarse.resize((48, 48), Image.Resampling.BICUBIC)


def encoded(picture: Image.Image, kind: str = "PNG", **options: int) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, kind, **options)
    return stream.getvalue()


def split(files: list[bytes], start: str) -> Split:
    names = [f"{start}/{i}" for i in range(len(files))]
    return Split(Files(files, names), {}, names)


def test_recompressed_and_scaled_copies_are_named_and_exact_ones_and_likenesses_are_not() -> None:
    scenes = [scene() for _ in range(6)]
    parts = {
        "train": split([encoded(one) for one in scenes[:4]], "train"),
        "val": split([encoded(scenes[4])], "val"),
        "test": split(
            [
                encoded(scenes[0], "JPEG", quality=70),
                encoded(scenes[1].resize((30, 30))),
                encoded(scenes[2].point(lambda value: value * 0.8)),
                encoded(scenes[3]),
                encoded(scenes[5]),
            ],
            "test",
        ),
    }
    # the hash of each picture's own place: copies agree, and so do two different ones by chance
    hashes = {"train": [1, 2, 4, 8], "val": [1 << 40], "test": [1, 2, 4, 8, 1]}
    copies = {part: list(own.images.digests) for part, own in parts.items()}
    found = near_copies(parts, {part: np.array(own, np.uint64) << np.uint64(5) for part, own in hashes.items()}, copies)
    assert found == [
        "3 images of test nearly equal one of train (test/0, test/1, test/2; the first looks like train/0): "
        "measures on test may be too optimistic."
    ]
