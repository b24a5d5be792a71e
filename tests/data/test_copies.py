# SPDX-License-Identifier: Apache-2.0
"""Near-copies across splits: found by a hash of how images look, and confirmed by comparing the images."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pellucid import data
from pellucid.data.copies import near_copies, near_pairs
from pellucid.data.dataset import Pixels, Split
from pellucid.data.decoding import Files, scanning
from pellucid.data.given import gather
from pellucid.data.inspection import inspect

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


def test_a_comparison_that_was_cut_short_says_so() -> None:
    pixels = np.repeat(np.arange(150, dtype=np.uint8), 16 * 16).reshape(150, 1, 16, 16)  # flat: one hash, no copies
    parts = {
        part: Split(Pixels(pixels + shift), {}, [f"{part}/{i}" for i in range(150)])
        for part, shift in (("train", 0), ("test", 100))
    }
    hashes = {part: np.zeros(150, np.uint64) for part in parts}
    found = near_copies(parts, hashes, {part: list(split.images.digests) for part, split in parts.items()})
    assert found == [
        "Near-copies between train and test: only the first 20,000 pairs of similar images were compared; none of these is a copy."
    ]


def with_comment(content: bytes) -> bytes:
    """A JPEG with a comment before its tables."""
    return content[:2] + b"\xff\xfe\x00\x07hello" + content[2:]


def test_one_picture_in_files_of_any_format_is_one_image(tmp_path: Path) -> None:
    """PNGs of other compression, a BMP and a TIFF of the same pixels; no two files are equal."""
    for i in range(20):
        picture = scene()
        for kind, options in (
            ("PNG", {"compress_level": 1}),
            ("PNG", {"compress_level": 9}),
            ("BMP", {}),
            ("TIFF", {}),
        ):
            name = f"{i}-{kind}-{options.get('compress_level', '')}.{kind.lower()}"
            (tmp_path / name).write_bytes(encoded(picture, kind, **options))
    found = data.open(tmp_path)
    where: dict[str, set[str]] = {}
    for part, own in found.splits.items():
        for name in own.names:
            where.setdefault(name.split("-")[0], set()).add(part)
    assert {len(parts) for parts in where.values()} == {1}
    assert {part for parts in where.values() for part in parts} == {"train", "val", "test"}
    assert not any("duplicated" in problem for problem in found.problems)


def test_a_comment_in_a_jpeg_makes_no_other_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for i in range(20):
        content = encoded(scene(), "JPEG", quality=90)
        (tmp_path / f"{i}-a.jpg").write_bytes(content)
        (tmp_path / f"{i}-b.jpg").write_bytes(with_comment(content))
    monkeypatch.setattr(scanning, "from_pillow", None)  # nothing is decoded to find that out
    found = data.open(tmp_path)
    for own in found.splits.values():
        assert {name.split("-")[0] for name in own.names if "a" in name} == {
            name.split("-")[0] for name in own.names if "b" in name
        }


def test_copies_across_given_splits_are_named(tmp_path: Path) -> None:
    pictures = [scene() for _ in range(8)]
    for i, picture in enumerate(pictures):
        part = "train" if i < 6 else "test"
        (tmp_path / part).mkdir(exist_ok=True)
        (tmp_path / part / f"{i}.png").write_bytes(encoded(picture))
    (tmp_path / "test/0.bmp").write_bytes(encoded(pictures[0], "BMP"))
    (tmp_path / "test/1.jpg").write_bytes(encoded(pictures[1], "JPEG", quality=80))
    found = data.open(tmp_path)
    assert (
        "1 image of test is duplicated in train, pixel for pixel (test/0.bmp): measures on test are too optimistic."
        in (found.problems)
    )
    warnings = inspect(found).warnings
    assert any(
        "1 image of test nearly equals one of train (test/1.jpg; the first looks like train/1.png)" in w
        for w in warnings
    )


def test_several_pages_and_frames_are_said(tmp_path: Path) -> None:
    frames = [scene() for _ in range(3)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    frames[0].save(tmp_path / "b.tif", save_all=True, append_images=frames[1:])
    for i in range(10):
        scene().save(tmp_path / f"{i}.png")
    (said,) = (problem for problem in data.open(tmp_path).problems if "pages" in problem)
    assert said.startswith("2 files have several pages or frames (a.gif: 3): the first one is read;")
    assert gather(tmp_path).pages == {10: 3, 11: 3}
