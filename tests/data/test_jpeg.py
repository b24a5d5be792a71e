# SPDX-License-Identifier: Apache-2.0
"""JPEGs by libjpeg-turbo alone: bit for bit, and sentence for sentence, what Pillow makes of the same files."""

from __future__ import annotations

import io
import random
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, features

from pellucid.data.decoding import decode, jpeg, opened, scan
from pellucid.data.fits import Filling
from pellucid.errors import DataError

pytest.importorskip("simplejpeg", reason="there is no package of simplejpeg for this Python")

RNG = np.random.default_rng(0)
SAMPLINGS = ("4:4:4", "4:2:2", "4:2:0")


def picture(height: int, width: int, mode: str = "RGB") -> Image.Image:
    """Edges, gradients and noise, so that no two ways of decoding agree by chance."""
    small = RNG.integers(0, 256, (max(1, height // 9), max(1, width // 9), 3), dtype=np.uint8)
    large = np.asarray(Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)).astype(int)
    noisy = np.clip(large + RNG.integers(-25, 26, large.shape), 0, 255).astype(np.uint8)
    return Image.fromarray(noisy).convert(mode)


def saved(image: Image.Image, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, "JPEG", **options)
    return stream.getvalue()


@contextmanager
def without(patch: pytest.MonkeyPatch) -> Iterator[None]:
    """As where simplejpeg is not installed: Pillow decodes everything."""
    with patch.context() as within:
        within.setattr(jpeg, "_decoder", lambda: None)
        yield


def answer(content: bytes, size: tuple[int, int] | None = None, fit: Filling = "squash") -> NDArray[np.uint8] | str:
    """The pixels, or the sentence that refuses them."""
    try:
        return decode(content, size=size, fit=fit)
    except DataError as fault:
        return str(fault)


def same(one: NDArray[np.uint8] | str, other: NDArray[np.uint8] | str) -> bool:
    return type(one) is type(other) and bool(np.array_equal(one, other))


def sound(content: bytes) -> bool:
    """Whether the file is not left to Pillow."""
    with opened(content) as image:
        return jpeg.sound(content, image, image.size) is not None


@pytest.mark.parametrize("kind", [*SAMPLINGS, "grey", "RGB", "progressive", "restarts"])
def test_pixels_are_those_of_pillow_at_every_scale(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    options = {
        "grey": {},
        "RGB": {"keep_rgb": True},
        "progressive": {"progressive": True},
        "restarts": {"restart_marker_blocks": 3},
    }.get(kind, {"subsampling": kind})
    for height, width in ((8, 8), (9, 17), (16, 31), (61, 90), (100, 64), (187, 251), (375, 500)):
        content = saved(
            picture(height, width, "L" if kind == "grey" else "RGB"), quality=int(RNG.integers(40, 99)), **options
        )
        assert sound(content)
        for size in (None, (height, width), (height // 2, width // 2), (height // 3, width // 4), (5, 4), (3, width)):
            for fit in ("squash", "crop"):
                found = decode(content, size=size, fit=fit)
                with without(monkeypatch):
                    assert same(decode(content, size=size, fit=fit), found), (height, width, size, fit)


def test_a_path_gives_what_its_bytes_give(tmp_path: Path) -> None:
    content = saved(picture(60, 70))
    (tmp_path / "a.png").write_bytes(content)  # the contents say what it is
    (tmp_path / "empty.jpg").write_bytes(b"")
    (tmp_path / "short.jpg").write_bytes(content[:2])
    assert same(decode(tmp_path / "a.png", size=(20, 20)), decode(content, size=(20, 20)))
    for name, reason in (
        ("empty", "it is empty"),
        ("short", "it is not an image, whatever its name says"),
        ("gone", "No such file"),
    ):
        with pytest.raises(DataError, match=reason):
            decode(tmp_path / f"{name}.jpg")


def test_a_smaller_scale_is_what_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    decoder, seen = jpeg._decoder(), []
    content = saved(picture(375, 500))

    class Watched:
        decode_jpeg_header = staticmethod(decoder.decode_jpeg_header)

        @staticmethod
        def decode_jpeg(*given: object, **more: object) -> NDArray[np.uint8]:
            array: NDArray[np.uint8] = decoder.decode_jpeg(*given, **more)
            seen.append(array.shape)
            return array

    monkeypatch.setattr(jpeg, "_decoder", lambda: Watched)
    for size in (None, (128, 128), (60, 60), (30, 30)):
        decode(content, size=size)
    assert seen == [(375, 500, 3), (188, 250, 3), (94, 125, 3), (47, 63, 3)]


@pytest.mark.parametrize("orientation", [*range(1, 9), 0, 9, 300])
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_rotation_is_that_of_pillow(orientation: int, mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = saved(picture(60, 91, mode), exif=exif)
    assert sound(content)
    for size in (None, (20, 20), (40, 11)):
        for fit in ("squash", "crop"):
            found = decode(content, size=size, fit=fit)
            with without(monkeypatch):
                assert same(decode(content, size=size, fit=fit), found)
    with without(monkeypatch):
        pixels = scan([content], deep=True).seen[0]
    assert scan([content], deep=True).seen[0] == pixels
    assert not pixels.problem
    assert (pixels.height, pixels.width) == ((91, 60) if 5 <= orientation <= 8 else (60, 91))


def test_what_is_unusual_is_left_to_pillow() -> None:
    assert not sound(saved(picture(40, 40, "CMYK")))
    assert not sound(saved(picture(7, 40)))
    assert not sound(saved(picture(40, 7)))
    assert sound(saved(picture(8, 40)))
    whole = saved(picture(40, 40))
    assert not sound(whole[:-2]), "without the marker of its end"
    assert not sound(whole[:-30])
    assert sound(whole + b"appended by a camera" * 9)


def test_a_damaged_file_is_left_to_pillow() -> None:
    """Its end is there, and its length is right: only a warning of the decoder tells."""
    content = bytearray(saved(picture(120, 90)))
    content[len(content) // 2 : len(content) // 2 + 2] = b"\xff\xd9"
    with opened(bytes(content)) as image:
        assert jpeg.sound(bytes(content), image, image.size) is None


@pytest.mark.parametrize("progressive", [False, True])
def test_a_file_cut_anywhere_is_refused_as_pillow_refuses_it(
    progressive: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = saved(picture(60, 70), progressive=progressive)
    refused = 0
    for end in range(0, len(whole), 7):
        for ending in (b"", b"\xff\xd9"):
            found = answer(whole[:end] + ending, (20, 20))
            refused += isinstance(found, str)
            with without(monkeypatch):
                assert same(answer(whole[:end] + ending, (20, 20)), found), end
    assert refused > len(whole) / 7 / 2


def test_mutated_files_are_read_or_refused_as_pillow_does(monkeypatch: pytest.MonkeyPatch) -> None:
    files = [
        saved(picture(40, 50)),
        saved(picture(33, 41, "L")),
        saved(picture(50, 40), progressive=True, exif=b"Exif\0\0" + bytes(30)),
    ]
    dice = random.Random(0)
    read = refused = fast = 0
    for _ in range(600):
        content = bytearray(dice.choice(files))
        for _ in range(dice.choice((1, 1, 3))):
            place = dice.randrange(2, dice.choice((200, len(content))))
            how = dice.randrange(4)
            if how == 0:
                content[place] ^= 1 << dice.randrange(8)
            elif how == 1:
                content[place] = dice.choice((0, 1, 0x7F, 0xD8, 0xD9, 0xFF))
            elif how == 2:
                content[place : place + 4] = dice.randbytes(4)
            else:
                content[place:place] = content[place : place + 16]
        size = dice.choice((None, (20, 20), (9, 6)))
        found = answer(bytes(content), size)
        with without(monkeypatch):
            assert same(answer(bytes(content), size), found), bytes(content).hex()
        read, refused = read + (not isinstance(found, str)), refused + isinstance(found, str)
        fast += not isinstance(found, str) and sound(bytes(content))
    assert read > 100 and refused > 100 and fast > 50


def test_a_file_that_the_decoder_reads_at_another_size_is_left_to_pillow() -> None:
    """Else a hostile header could make it allocate what the limits never saw."""
    content = saved(picture(60, 70))
    with opened(content) as image:
        assert jpeg.sound(content, image, (70, 60)) is not None
        assert jpeg.sound(content, image, (71, 60)) is None
        assert jpeg.sound(content, image, (60, 70)) is None


@pytest.mark.parametrize("lacks", ["simplejpeg", "libjpeg-turbo"])
def test_without_the_package_or_another_library_in_it_pillow_decodes(
    lacks: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = saved(picture(60, 70))
    found = decode(content, size=(20, 20))
    jpeg._decoder.cache_clear()
    try:
        if lacks == "simplejpeg":
            monkeypatch.setitem(sys.modules, "simplejpeg", None)  # importing it fails
        else:
            monkeypatch.setattr(features, "check_feature", lambda name: name != "libjpeg_turbo")
        assert not sound(content)
        assert same(decode(content, size=(20, 20)), found)
    finally:
        jpeg._decoder.cache_clear()
