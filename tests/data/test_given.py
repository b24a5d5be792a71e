# SPDX-License-Identifier: Apache-2.0
"""Images to answer for: files, folders, globs, arrays, tensors and Pillow images, in their order and with their names."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pellucid.data.decoding import scan
from pellucid.data.given import Encoded, decodable, gather
from pellucid.errors import UsageError

COLOUR = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("a/1.png", "a/2.png", "b/1.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.fromarray(COLOUR).save(tmp_path / name)
    (tmp_path / "a/notes.txt").write_text("no image")
    return tmp_path


def test_folders_globs_and_files(folder: Path) -> None:
    assert list(gather(folder).names) == ["a/1.png", "a/2.png", "b/1.png"]
    assert list(gather(str(folder / "a" / "*.png")).names) == ["1.png", "2.png"]
    assert list(gather([folder / "b/1.png", str(folder / "a/2.png")]).names) == ["1.png", "2.png"]
    assert list(gather([folder / "b/1.png", folder / "a/1.png"]).names) == ["b/1.png", "a/1.png"]


def test_damaged_files_are_told_and_the_others_answered(folder: Path) -> None:
    (folder / "a/1.png").write_bytes(b"")
    found = gather(folder / "a")
    assert found.places == [1]
    assert list(found.split.names) == ["2.png"]
    assert "it is empty" in found.faults[0]


def test_arrays_tensors_and_pillow_agree() -> None:
    planes = COLOUR.transpose(2, 0, 1)
    for one in (COLOUR, Image.fromarray(COLOUR), torch.from_numpy(planes.copy()), COLOUR[None], [COLOUR]):
        assert (gather(one).split.images.read(0, 3) == planes).all()
    floats = gather([COLOUR / 255.0, torch.from_numpy(planes.copy()) / 255])
    for place in (0, 1):
        torch.testing.assert_close(floats.floats[place], torch.from_numpy(planes / 255.0).float())
    assert gather(COLOUR[..., 0]).split.images.channels == 1


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ([], r"images=\[\]: is empty"),
        ("no/such/file.png", "images='no/such/file.png': is neither a file nor a folder and matches nothing"),
        (np.zeros((2, 3, 4, 5, 6)), "are not images"),
        (np.zeros((4, 4), np.complex64), "have type complex64; give whole numbers, or floats"),
        (np.full((4, 4), np.nan), "contain NaN or infinite pixels"),
        (np.full((4, 4), 200.0), r"range from 200 to 200, but floats must lie in \[0, 1\]"),
        (["a.png", np.zeros((4, 4))], "a.png"),
    ],
)
def test_what_is_no_image(wrong: object, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        gather(wrong)


def test_an_empty_folder(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"contains no images; give a folder with \.avif"):
        gather(tmp_path)


def _pngs() -> dict[str, bytes]:
    """PNGs of every mode that Pillow writes, with and without transparency, an orientation, and damage."""
    grey, palette = Image.fromarray(COLOUR[..., 0]), Image.fromarray(COLOUR).quantize(8)
    shades = grey.copy()
    shades = shades.convert("P", palette=Image.Palette.ADAPTIVE, colors=8)
    turned = Image.Exif()
    turned[0x0112] = 6
    images = {
        "grey": (grey, {}),
        "bilevel": (grey.convert("1"), {}),
        "grey and alpha": (grey.convert("LA"), {}),
        "palette": (palette, {}),
        "palette of greys": (shades, {}),
        "palette with a clear colour": (palette, {"transparency": 0}),
        "palette of greys with a clear one": (shades, {"transparency": 0}),
        "grey with a clear shade": (grey, {"transparency": 3}),
        "bilevel with a clear shade": (grey.convert("1"), {"transparency": 0}),
        "colour": (Image.fromarray(COLOUR), {}),
        "colour with a clear one": (Image.fromarray(COLOUR), {"transparency": (1, 2, 3)}),
        "colour and alpha": (Image.fromarray(COLOUR).convert("RGBA"), {}),
        "16 bits": (Image.fromarray(COLOUR[..., 0].astype(np.uint16) * 200), {}),
        "turned": (Image.fromarray(COLOUR), {"exif": turned}),
    }
    files = {}
    for name, (image, options) in images.items():
        file = io.BytesIO()
        image.save(file, "PNG", **options)
        files[name] = file.getvalue()
    files["truncated"] = files["colour"][:-20]
    files["no image"] = b"\x89PNG\r\n\x1a\n" + bytes(40)
    return files


@pytest.mark.parametrize("name", _pngs())
def test_a_quick_scan_of_a_png_tells_what_decoding_it_tells(name: str) -> None:
    content = _pngs()[name]
    [quick], [whole] = scan([content], quick=True).seen, scan([content]).seen
    for field in ("height", "width", "channels", "problem", "low", "high", "floats", "pages"):
        assert getattr(quick, field) == getattr(whole, field), field


def test_damage_that_a_quick_scan_leaves_is_found_when_it_is_decoded() -> None:
    content = bytearray(_pngs()["colour"])
    content[content.index(b"IDAT") + 10] ^= 255
    [problem] = [one.problem for one in scan([bytes(content)], ["a.png"]).seen]
    assert problem
    given = gather([Encoded("a.png", bytes(content)), Encoded("b.png", _pngs()["colour"])])
    assert given.places == [0, 1]
    assert decodable(given).faults == {0: problem}
