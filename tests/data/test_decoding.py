# SPDX-License-Identifier: Apache-2.0
"""Image files to arrays: every format, mode and rotation against Pillow or a formula; damage is named; a look is remembered."""

from __future__ import annotations

import io
import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from pellucid import data
from pellucid.data import decoding
from pellucid.data.decoding import LARGEST, Files, decode, pictures, remember_faults, scan, scanning
from pellucid.data.decoding.index import Seen, Stamp
from pellucid.data.fits import Filling
from pellucid.errors import DataError

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (9, 13), dtype=np.uint8)
COLOUR = RNG.integers(0, 256, (9, 13, 3), dtype=np.uint8)


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    """An image file's bytes."""
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "BMP", "PPM", "WEBP"])
def test_formats_without_loss_come_back_exactly(kind: str) -> None:
    lossless = {"lossless": True} if kind == "WEBP" else {}
    assert (decode(saved(Image.fromarray(COLOUR), kind, **lossless)) == COLOUR.transpose(2, 0, 1)).all()
    found = decode(saved(Image.fromarray(GREY), kind, **lossless))
    if kind == "WEBP":  # the format knows no grey
        assert (found == GREY).all()
    else:
        assert found.shape == (1, 9, 13)
        assert (found[0] == GREY).all()


def test_jpeg_is_what_pillow_decodes() -> None:
    content = saved(Image.fromarray(COLOUR), "JPEG", quality=90)
    assert (decode(content) == np.asarray(Image.open(io.BytesIO(content))).transpose(2, 0, 1)).all()
    assert decode(saved(Image.fromarray(GREY), "JPEG")).shape == (1, 9, 13)


def test_cmyk_and_interlaced_files_are_read() -> None:
    content = saved(Image.fromarray(COLOUR).convert("CMYK"), "JPEG", quality=95)
    assert decode(content).shape == (3, 9, 13)
    assert decode(saved(Image.fromarray(COLOUR), "JPEG", progressive=True)).shape == (3, 9, 13)


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "PPM"])
def test_sixteen_bits_become_eight_by_257(kind: str) -> None:
    deep = RNG.integers(0, 65536, (9, 13), dtype=np.uint16)
    deep[0, :2] = 0, 65535
    found = decode(saved(Image.fromarray(deep), kind))[0]
    assert (found == np.round(deep / 257)).all()
    assert found[0, :2].tolist() == [0, 255]


def test_floating_point_tiffs_are_in_0_1_or_refused() -> None:
    ramp = np.linspace(0, 1, 117, dtype=np.float32).reshape(9, 13)
    assert (decode(saved(Image.fromarray(ramp), "TIFF"))[0] == np.round(ramp * 255)).all()
    for wrong in (ramp * 2, np.where(ramp > 0.5, np.nan, ramp).astype(np.float32)):
        with pytest.raises(DataError, match=r"floating-point pixels leave \[0, 1\]|NaN or infinite"):
            decode(saved(Image.fromarray(wrong), "TIFF"), name="deep.tif")


def test_palettes_are_looked_up() -> None:
    picture = Image.fromarray(COLOUR).quantize(16)
    assert (decode(saved(picture, "PNG")) == np.asarray(picture.convert("RGB")).transpose(2, 0, 1)).all()
    shades = Image.fromarray(GREY // 16, "P")
    shades.putpalette([v for i in range(256) for v in (i * 16 % 256,) * 3])
    found = decode(saved(shades, "PNG"))
    assert found.shape == (1, 9, 13)
    assert (found[0] == GREY // 16 * 16).all()


def test_one_bit_images_are_black_and_white() -> None:
    bits = Image.fromarray(GREY).convert("1")
    assert (decode(saved(bits, "PNG"))[0] == np.where(np.asarray(bits), 255, 0)).all()


def test_transparency_lies_over_white() -> None:
    alpha = RNG.integers(0, 256, (9, 13, 1), dtype=np.uint8)
    found = decode(saved(Image.fromarray(np.concatenate([COLOUR, alpha], 2)), "PNG"))
    weight = alpha / 255.0
    expected = COLOUR * weight + 255 * (1 - weight)
    assert np.abs(found.transpose(1, 2, 0) - expected).max() <= 1
    grey = decode(saved(Image.fromarray(np.stack([GREY, alpha[..., 0]], 2)), "PNG"))
    assert grey.shape == (1, 9, 13)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_rotation_is_applied(orientation: int) -> None:
    turns: dict[int, Callable[[NDArray[np.uint8]], NDArray[np.uint8]]] = {
        1: lambda a: a,
        2: np.fliplr,
        3: lambda a: np.rot90(a, 2),
        4: np.flipud,
        5: lambda a: a.T,
        6: lambda a: np.rot90(a, -1),
        7: lambda a: np.rot90(a, 2).T,
        8: np.rot90,
    }
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = saved(Image.fromarray(GREY), "PNG", exif=exif)
    upright = turns[orientation](GREY)
    assert (decode(content)[0] == upright).all()
    assert scan([content]).sizes[0].tolist() == [*upright.shape]


def test_channels_are_made_as_asked() -> None:
    content = saved(Image.fromarray(COLOUR), "PNG")
    assert (decode(content, 1)[0] == np.asarray(Image.fromarray(COLOUR).convert("L"))).all()
    assert (decode(saved(Image.fromarray(GREY), "PNG"), 3) == GREY).all()


def test_a_jpeg_that_shrinks_much_is_decoded_small_but_never_too_small(monkeypatch: pytest.MonkeyPatch) -> None:
    smooth = np.asarray(Image.fromarray(COLOUR).resize((640, 480), Image.Resampling.BICUBIC))
    content = saved(Image.fromarray(smooth), "JPEG", quality=95)
    seen: list[tuple[int, int]] = []
    resize = pictures.resize

    def watched(array: NDArray[np.uint8], size: tuple[int, int] | None, fit: Filling = "squash") -> NDArray[np.uint8]:
        seen.append((array.shape[1], array.shape[2]))
        return resize(array, size, fit)

    monkeypatch.setattr(pictures, "resize", watched)
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = saved(Image.fromarray(smooth), "JPEG", exif=exif)
    for file, size, before in (
        (content, (64, 64), (120, 160)),
        (content, (400, 400), (480, 640)),
        (turned, (100, 30), None),
    ):
        found = decode(file, size=size)
        assert found.shape[1:] == size
        whole = np.asarray(Image.open(io.BytesIO(content)))
        upright = np.rot90(whole, -1) if file is turned else whole
        exact = np.asarray(Image.fromarray(upright).resize(size[::-1], Image.Resampling.BILINEAR))
        assert np.abs(found.transpose(1, 2, 0).astype(int) - exact).mean() < 2
        assert before is None or seen[-1] == before
        assert min(seen[-1][0] / size[0], seen[-1][1] / size[1]) >= 1


# -- damage


def huge_png(side: int) -> bytes:
    """A PNG of a few hundred bytes whose header tells side × side pixels."""
    head = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    chunks = ((b"IHDR", head), (b"IDAT", zlib.compress(b"\0" * 100)), (b"IEND", b""))
    packed = (struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d)) for k, d in chunks)
    return b"\x89PNG\r\n\x1a\n" + b"".join(packed)


JPEG = saved(Image.fromarray(np.repeat(COLOUR, 20, 0)), "JPEG")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "it is empty"),
        (b"no picture at all, only words" * 10, "it is not an image, whatever its name says"),
        (JPEG[: len(JPEG) // 2], "it is truncated"),
        (saved(Image.fromarray(COLOUR), "PNG")[:-60], "it is truncated"),
        (huge_png(11_000), f"it decodes to 121,000,000 px, more than the {LARGEST:,} allowed"),
        (huge_png(20_000), f"it decodes to 400,000,000 px, more than the {LARGEST:,} allowed"),
    ],
    ids=["empty", "mislabelled", "cut JPEG", "cut PNG", "bomb", "large bomb"],
)
def test_damage_is_one_sentence_and_found_by_a_look(content: bytes, reason: str) -> None:
    sentence = f"image='photos/bad.jpg': cannot be read, because {reason}; replace or remove it."
    with pytest.raises(DataError) as caught:
        decode(content, name="photos/bad.jpg")
    assert str(caught.value) == sentence
    good = saved(Image.fromarray(GREY), "PNG")
    found = scan([good, content], ["good.png", "photos/bad.jpg"])
    assert found.problems == {1: sentence}
    assert found.sizes[0].tolist() == [9, 13]


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "BMP", "PPM", "WEBP"])
def test_a_file_cut_anywhere_is_found_or_decodes(kind: str) -> None:
    whole = saved(Image.fromarray(np.repeat(COLOUR, 8, 0)), kind)
    for end in np.linspace(0, len(whole) - 16, 12).astype(int):
        found = scan([whole[:end]])
        if not found.problems:
            decode(whole[:end])  # what a look lets pass is readable
    assert not scan([whole]).problems


def test_damage_inside_is_found_by_a_deep_look() -> None:
    content = bytearray(saved(Image.fromarray(np.repeat(COLOUR, 20, 0)), "WEBP", lossless=True))
    content[40:240] = b"\xff" * 200  # its length is right still
    assert not scan([bytes(content)]).problems
    assert list(scan([bytes(content)], deep=True).problems) == [0]


# -- the index of what was seen


def test_a_second_look_reads_nothing_that_has_not_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PELLUCID_CACHE", str(tmp_path / "cache"))
    (tmp_path / "photos").mkdir()
    files = [tmp_path / f"photos/{i}.png" for i in range(6)]
    for i, file in enumerate(files):
        Image.fromarray(GREY + np.uint8(i)).save(file)
    files[5].write_bytes(b"")
    first = scan(files)
    looked: list[Path] = []
    look = scanning._look

    def watched(source: decoding.Source, *more: object) -> Seen:
        assert isinstance(source, Path)
        looked.append(source)
        return look(source, *more)  # type: ignore[arg-type]

    monkeypatch.setattr(scanning, "_look", watched)
    second = scan(files)
    assert looked == []
    assert second.digests == first.digests
    assert second.problems == first.problems
    assert (second.sizes == first.sizes).all()
    Image.fromarray(COLOUR).save(files[2])
    third = scan(files)
    assert looked == [files[2]]
    assert third.digests[2] != first.digests[2]
    assert third.channels.tolist()[:5] == [1, 1, 3, 1, 1]


def test_a_damaged_or_unwritable_index_costs_a_look_and_no_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "one.png"
    Image.fromarray(GREY).save(file)
    cache = tmp_path / "cache"
    monkeypatch.setenv("PELLUCID_CACHE", str(cache))
    expected = scan([file]).digests
    (cache / "files-5.sqlite").write_bytes(b"no database" * 100)
    assert scan([file]).digests == expected
    assert scan([file]).digests == expected
    (tmp_path / "a-file").write_text("")
    monkeypatch.setenv("PELLUCID_CACHE", str(tmp_path / "a-file/cache"))
    assert scan([file]).digests == expected


def test_faults_that_decoding_found_are_remembered(tmp_path: Path) -> None:
    file = tmp_path / "one.png"
    Image.fromarray(GREY).save(file)
    assert not scan([file]).problems
    remember_faults([file], {0: "image='one.png': is damaged inside; remove it."})
    assert scan([file]).problems == {0: "image='one.png': is damaged inside; remove it."}


def test_files_are_images(tmp_path: Path) -> None:
    paths = [tmp_path / "a.png", tmp_path / "b.jpg"]
    Image.fromarray(GREY).save(paths[0])
    Image.fromarray(COLOUR).resize((20, 30)).save(paths[1])
    files = Files(paths, ["a", "b"])
    assert len(files) == 2
    assert files.sizes.tolist() == [[9, 13], [30, 20]]
    assert files.channels == 3
    assert files.select([0]).channels == 1
    assert (files.read(0, 3) == GREY).all()
    assert files.select([1]).digests == [files.digests[1]]
    paths[0].write_bytes(b"gone")
    with pytest.raises(DataError, match="image='a': cannot be read"):
        files.read(0, 1)


def exchanged(top: Path) -> Path:
    """Two class folders of files of equal sizes and times, exchanged after they were opened."""
    for name, shade in (("a", 10), ("b", 200)):
        (top / name).mkdir(parents=True)
        for i in range(20):
            file = top / name / f"{i}.bmp"
            Image.fromarray(np.full((8, 8), shade + i, np.uint8)).save(file)
            os.utime(file, ns=(10**18, 10**18))
    return top


@pytest.mark.parametrize("blind", [False, True], ids=["by inode", "by contents"])
def test_class_folders_that_were_exchanged_are_noticed(
    blind: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Path, size and time of every file are as before."""
    top = exchanged(tmp_path / "photos")
    if blind:  # as on a file system that gives files new numbers, or none
        of = Stamp.of
        monkeypatch.setattr(Stamp, "of", lambda *given: (stamp := of(*given)) and stamp._replace(inode=0, changed=0))
    before = data.open(top)
    assert data.open(top).fingerprint == before.fingerprint
    (top / "a").rename(top / "c")
    (top / "b").rename(top / "a")
    (top / "c").rename(top / "b")
    after = data.open(top)
    assert after.fingerprint != before.fingerprint
    for part in after.splits:
        for row, name in enumerate(after[part].names):
            assert (after[part].images.read(row, 1).mean() > 100) == name.startswith("a/")


@pytest.mark.parametrize("colours", [2, 16, 256])
@pytest.mark.parametrize("grey", [False, True])
def test_palette_bmps_are_read(colours: int, grey: bool) -> None:
    table = RNG.integers(0, 256, (colours, 3), dtype=np.uint8)
    table = np.repeat(table[:, :1], 3, 1) if grey else table
    index = RNG.integers(0, colours, (9, 13), dtype=np.uint8)
    content = bmp(index, table)
    found = decode(content)
    expected = table[index].transpose(2, 0, 1)
    assert (found == (expected[:1] if len(found) == 1 else expected)).all()
    seen = scan([content])
    assert not seen.problems
    assert seen.channels.tolist() == [len(found)]
    assert len(found) == (1 if grey else 3)


def bmp(index: NDArray[np.uint8], table: NDArray[np.uint8]) -> bytes:
    """A BMP with a palette, written by hand: 1, 4 or 8 bits a pixel, rows from the bottom, padded to four bytes."""
    bits = {2: 1, 16: 4, 256: 8}[len(table)]
    rows = []
    for row in index[::-1]:
        planes = np.unpackbits(row[:, None], axis=1)[:, 8 - bits :].ravel()
        packed = np.packbits(planes).tobytes()
        rows.append(packed + bytes(-len(packed) % 4))
    entries = b"".join(bytes([b, g, r, 0]) for r, g, b in table.tolist())
    start = 14 + 40 + len(entries)
    body = b"".join(rows)
    height, width = index.shape
    header = struct.pack("<2sIHHI", b"BM", start + len(body), 0, 0, start)
    return (
        header
        + struct.pack("<IiiHHIIiiII", 40, width, height, 1, bits, 0, len(body), 0, 0, len(table), 0)
        + entries
        + body
    )


def test_files_of_every_kind_in_a_folder_are_images(tmp_path: Path) -> None:
    picture = Image.fromarray(np.repeat(np.repeat(COLOUR, 4, 0), 4, 1))
    for name, kind in (
        ("a.jfif", "JPEG"),
        ("b.gif", "GIF"),
        ("c.avif", "AVIF"),
        ("d", "PNG"),
        ("e", "JPEG"),
        ("f.JPE", "JPEG"),
    ):
        (tmp_path / name).write_bytes(saved(picture, kind))
    (tmp_path / "README").write_text("words")
    for i in range(4):
        Image.fromarray(GREY + np.uint8(i)).save(tmp_path / f"{i}.png")
    found = data.open(tmp_path)
    names = {name for split in found.splits.values() for name in split.names}
    assert names == {"a.jfif", "b.gif", "c.avif", "d", "e", "f.JPE", "0.png", "1.png", "2.png", "3.png"}
    for split in found.splits.values():
        for row, name in enumerate(split.names):
            if name[0] in "abcdef":
                error = split.images.read(row, 3).astype(int) - np.asarray(picture).transpose(2, 0, 1)
                assert np.abs(error).mean() < (60 if name[0] == "b" else 40), name


def test_no_program_is_started_by_a_file_that_calls_itself_an_image(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pillow decodes EPS by Ghostscript; a format that is not named is never tried."""
    from PIL import EpsImagePlugin

    monkeypatch.setattr(EpsImagePlugin, "gs_binary", "gs")
    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", lambda *_, **__: pytest.fail("Ghostscript was started"))
    content = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n%%EOF\n"
    with pytest.raises(DataError, match="it is not an image, whatever its name says"):
        decode(content, name="a.png")
    assert "not an image" in scan([content], ["a.png"]).problems[0]
