# SPDX-License-Identifier: Apache-2.0
"""Which classes the numbers and colours of masks are: by what all of them hold, and by files that name them."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from test_mask_pairs import SIZE, made, photo, read, refused, regions, save

from pellucid import data

BIG = (48, 64)


def filled(top: Path, *masks: NDArray[np.generic], ending: str = "png", quality: int = 75) -> Path:
    """A set with these masks, numbers (H, W) or colours (H, W, 3)."""
    for i, mask in enumerate(masks):
        photo(top / f"images/p{i}.jpg", (mask.shape[0], mask.shape[1]))
        file = top / f"masks/p{i}.{ending}"
        file.parent.mkdir(exist_ok=True)
        Image.fromarray(mask).save(file, **({"quality": quality} if ending == "jpg" else {}))
    return top


def mask_of(top: Path, i: int = 0) -> NDArray[np.uint8]:
    return read(data.open(top))[f"images/p{i}.jpg"]


# -- numbers


def test_0_and_255_are_two_classes(tmp_path: Path) -> None:
    masks = [regions(i, (0, 255)) for i in range(5)]
    found = data.open(filled(tmp_path, *masks, np.zeros(SIZE, np.uint8)))
    assert found.mask_classes == ("background", "foreground")
    assert "Masks hold 0 and 255: 255 is read as class 1." in found.notes
    assert all((read(found)[f"images/p{i}.jpg"] == mask // 255).all() for i, mask in enumerate(masks))


def test_numbers_with_gaps_become_consecutive_and_keep_their_names(tmp_path: Path) -> None:
    masks = [regions(i, (0, 2, 3)) for i in range(4)] + [regions(i, (0, 4, 5)) for i in range(4, 6)]
    found = data.open(filled(tmp_path, *masks))
    assert found.mask_classes == ("0", "2", "3", "4", "5")
    assert "Masks hold 0, 2, 3, 4 and 5: they are read as classes 0 to 4, named by these values." in found.notes
    lookup = np.array([0, 99, 1, 2, 3, 4])
    assert (mask_of(tmp_path, 0) == lookup[masks[0]]).all() and (mask_of(tmp_path, 5) == lookup[masks[5]]).all()


def test_255_among_other_numbers_is_void(tmp_path: Path) -> None:
    masks = [regions(i, (0, 1, 255)) for i in range(6)]
    found = data.open(filled(tmp_path, *masks))
    assert found.mask_classes == ("0", "1")
    assert "The value 255 of masks is void and counts for nothing." in found.notes
    assert (mask_of(tmp_path) == masks[0]).all()


def test_masks_of_one_bit_count_as_black_and_white_and_beside_numbers_as_numbers(tmp_path: Path) -> None:
    marks = [regions(i, (0, 1)) for i in range(6)]
    for top, others in ((tmp_path / "bits", 0), (tmp_path / "with 1", 1), (tmp_path / "with 255", 255)):
        filled(top, *(mask * np.uint8(others) if others and i else mask.astype(bool) for i, mask in enumerate(marks)))
        assert all((mask_of(top, i) == mask).all() for i, mask in enumerate(marks))


def test_classes_that_nothing_names_are_said(tmp_path: Path) -> None:
    made(tmp_path)
    notes = " ".join(data.open(tmp_path).notes)
    assert "Masks hold 0, 1 and 2, and nothing names them: a file classes.txt" in notes


# -- formats


def small_png(file: Path, mask: NDArray[np.uint8], bits: int) -> None:
    """A grey PNG of 2 or 4 bits, written by hand: PNG, W3C (2003), sections 11.2.2 and 11.2.4."""
    rows = np.unpackbits(mask[..., None], axis=2)[..., 8 - bits :].reshape(len(mask), -1)
    packed = b"".join(b"\0" + np.packbits(row).tobytes() for row in rows)
    chunks = {
        b"IHDR": struct.pack(">IIBBBBB", mask.shape[1], mask.shape[0], bits, 0, 0, 0, 0),
        b"IDAT": zlib.compress(packed),
        b"IEND": b"",
    }
    content = b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in chunks.items()
    )
    file.write_bytes(b"\x89PNG\r\n\x1a\n" + content)


@pytest.mark.parametrize(("bits", "values"), [(2, (0, 1, 2, 3)), (4, (0, 1, 14, 15))])
def test_numbers_of_2_and_4_bits_are_not_spread_to_255(tmp_path: Path, bits: int, values: tuple[int, ...]) -> None:
    made(tmp_path)
    masks = [regions(i, values) for i in range(6)]
    for i, mask in enumerate(masks):
        small_png(tmp_path / f"masks/p{i}.png", mask, bits)
    assert data.open(tmp_path).mask_classes == tuple(map(str, values))
    assert all((mask_of(tmp_path, i) == np.searchsorted(values, mask)).all() for i, mask in enumerate(masks))
    (tmp_path / "classes.txt").write_text("\n".join("abcdefghijklmnop"))
    assert (mask_of(tmp_path) == masks[0]).all()


def test_the_indices_of_a_palette_are_the_classes(tmp_path: Path) -> None:
    masks = made(tmp_path)
    for i, mask in enumerate(masks):
        save(mask, tmp_path / f"masks/p{i}.png", "P")
    assert all((mask_of(tmp_path, i) == mask).all() for i, mask in enumerate(masks))


def test_palettes_that_differ_between_masks_are_read_by_their_colours(tmp_path: Path) -> None:
    masks = made(tmp_path)
    colours = np.array([[0, 0, 0], [0, 200, 0], [200, 0, 0]], np.uint8)
    for i, mask in enumerate(masks):
        shuffled = np.random.default_rng(i).permutation(3)
        image = Image.fromarray(np.argsort(shuffled)[mask].astype(np.uint8))
        image.putpalette(colours[shuffled].tobytes())
        image.save(tmp_path / f"masks/p{i}.png")
    found = data.open(tmp_path)
    assert found.mask_classes == ("#000000", "#00c800", "#c80000")
    assert all((mask_of(tmp_path, i) == mask).all() for i, mask in enumerate(masks))


def test_grey_saved_as_colour_and_with_full_opacity_is_read_as_numbers(tmp_path: Path) -> None:
    masks = made(tmp_path)
    for i, mask in enumerate(masks):
        Image.fromarray(mask).convert("RGBA" if i % 2 else "RGB").save(tmp_path / f"masks/p{i}.png")
    assert all((mask_of(tmp_path, i) == mask).all() for i, mask in enumerate(masks))


def test_half_transparent_pixels_are_refused(tmp_path: Path) -> None:
    made(tmp_path)
    layer = np.zeros((*SIZE, 4), np.uint8)
    layer[:4, :, 3], layer[4:8, :, 3] = 255, 100
    Image.fromarray(layer).save(tmp_path / "masks/p0.png")
    assert "the mask masks/p0.png has half-transparent pixels, which mix classes" in refused(tmp_path)


def test_16_bits_are_read_where_they_hold_classes_and_refused_where_they_number_objects(tmp_path: Path) -> None:
    masks = [regions(i).astype(np.uint16) for i in range(6)]
    assert (mask_of(filled(tmp_path / "small", *masks)) == masks[0]).all()
    white = [(mask > 0).astype(np.uint16) * 65535 for mask in masks]
    assert (mask_of(filled(tmp_path / "white", *white)) == (masks[0] > 0)).all()
    sentence = refused(filled(tmp_path / "objects", *(mask * 13000 for mask in masks)))
    assert "holds 26,000, which is no class but the number of an object; give masks of classes, 0 to 255." in sentence


def test_numbers_that_are_not_whole_are_refused(tmp_path: Path) -> None:
    made(tmp_path, mask="masks/{}.tif")
    Image.fromarray(np.full(SIZE, 0.5, np.float32)).save(tmp_path / "masks/p0.tif")
    assert "the mask masks/p0.tif holds no whole numbers of 8 bits" in refused(tmp_path)


# -- what formats and resizing do to masks


@pytest.mark.parametrize("values", [(0, 255), (0, 1, 2, 3), (0, 60, 120)])
def test_masks_that_were_saved_as_jpeg_are_refused(tmp_path: Path, values: tuple[int, ...]) -> None:
    sentence = refused(filled(tmp_path, *(regions(i, values, BIG) for i in range(4)), ending="jpg", quality=60))
    assert "is saved as JPEG or alike, which makes " in sentence
    assert sentence.endswith("grey levels of a few classes; save masks as PNG, and resize them by the nearest value.")


def test_jpeg_masks_that_kept_their_values_are_read(tmp_path: Path) -> None:
    blocks = [
        np.kron(np.random.default_rng(i).integers(0, 2, (6, 8)), np.full((8, 8), 255)).astype(np.uint8)
        for i in range(4)
    ]
    filled(tmp_path, *blocks, ending="jpg", quality=100)
    assert all((mask_of(tmp_path, i) == block // 255).all() for i, block in enumerate(blocks))


def test_masks_that_were_resized_with_interpolation_are_refused(tmp_path: Path) -> None:
    def smooth(i: int) -> NDArray[np.uint8]:
        mask = Image.fromarray(regions(i, (0, 255), (24, 32)))
        return np.asarray(mask.resize((64, 48), Image.Resampling.BICUBIC))

    sentence = refused(filled(tmp_path, *(smooth(i) for i in range(6))))
    assert "grey levels" in sentence and "as interpolation leaves them; save masks as PNG" in sentence


def test_lines_of_one_pixel_are_classes(tmp_path: Path) -> None:
    mask = np.zeros(BIG, np.uint8)
    mask[5], mask[9], mask[20] = 1, 2, 3
    assert (mask_of(filled(tmp_path, *[mask] * 4)) == mask).all()


def test_many_classes_are_no_smear(tmp_path: Path) -> None:
    values = np.arange(40, dtype=np.uint8)
    mask = np.kron(values.reshape(5, 8), np.ones((4, 4), np.uint8))
    assert len(data.open(filled(tmp_path, *(mask for _ in range(4)))).mask_classes) == 40


# -- colours

COLOURS = np.array([[128, 128, 128], [128, 0, 0], [0, 0, 0]], np.uint8)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("class_dict.csv", "name,r,g,b\nSky,128,128,128\nBuilding,128,0,0\nVoid,0,0,0\n"),
        ("labelmap.txt", "# label:color_rgb:parts:actions\nSky:128,128,128::\nBuilding:128,0,0::\nVoid:0,0,0::\n"),
        ("label_colors.txt", "128 128 128\tSky\n128 0 0\tBuilding\n0 0 0\tVoid\n"),
        ("colors.json", '{"Sky": [128, 128, 128], "Building": [128, 0, 0], "Void": [0, 0, 0]}'),
        ("masks/classes.txt", "Sky 128 128 128\nBuilding 128 0 0\nVoid 0 0 0"),
        ("class_dict.csv", "\ufeffr;g;b;name\r\n128;128;128;Sky\r\n128;0;0;Building\r\n0;0;0;Void\r\n"),
    ],
)
def test_a_file_names_the_colours(tmp_path: Path, name: str, content: str) -> None:
    masks = [regions(i) for i in range(6)]
    filled(tmp_path, *(COLOURS[mask] for mask in masks))
    (tmp_path / name).write_text(content)
    found = data.open(tmp_path)
    assert found.mask_classes == ("Sky", "Building")
    assert all((mask_of(tmp_path, i) == np.array([0, 1, 255])[mask]).all() for i, mask in enumerate(masks))
    assert "The value #000000 of masks (Void) is void and counts for nothing." in found.notes
    assert not any("not read as an image" in problem for problem in found.problems)


def test_a_colour_that_the_file_lacks_is_named(tmp_path: Path) -> None:
    filled(tmp_path, *(COLOURS[regions(i)] for i in range(6)))
    (tmp_path / "class_dict.csv").write_text("name,r,g,b\nSky,128,128,128\nVoid,0,0,0\n")
    assert "holds the colour #800000, which class_dict.csv does not name; add it there." in refused(tmp_path)


def test_colours_that_nothing_names_are_numbered_and_said(tmp_path: Path) -> None:
    masks = [regions(i) for i in range(6)]
    found = data.open(filled(tmp_path, *(COLOURS[mask] for mask in masks)))
    assert found.mask_classes == ("#000000", "#800000", "#808080")
    assert (mask_of(tmp_path) == np.array([2, 1, 0])[masks[0]]).all()
    assert "Masks hold 3 colours, which nothing names" in " ".join(found.notes)


def test_many_colours_are_refused(tmp_path: Path) -> None:
    colours = np.random.default_rng(0).integers(0, 256, (100, 3), np.uint8)
    mask = np.kron(np.arange(100).reshape(10, 10), np.ones((5, 5), int))
    assert "the masks hold 100 or more colours, too many to be classes" in refused(
        filled(tmp_path, *[colours[mask]] * 4)
    )


# -- files that name numbers


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("classes.txt", "road\nvoid\ncar\n"),
        ("codes.txt", "road\nUnlabelled\ncar"),
        ("labels.txt", "0 road\n1 ignore\n2 car\n"),
        ("labels.txt", "2: car\n0: road\n1: __ignore__\n"),
        ("classes.csv", "value,name\n0,road\n1,unlabeled\n2,car"),
        ("classes.csv", "name,id\nroad,0\ndon't care,1\ncar,2"),
        ("id2label.json", '{"0": "road", "1": "void", "2": "car"}'),
        ("dataset.json", '{"labels": {"road": 0, "ignore": 1, "car": 2}, "file_ending": ".png"}'),
        ("classes.json", '["road", "unlabelled", "car"]'),
        ("classes.txt", "\ufeffroad\r\nvoid\r\ncar\r\n"),
    ],
)
def test_a_file_names_the_numbers_and_the_void(tmp_path: Path, name: str, content: str) -> None:
    masks = made(tmp_path)
    (tmp_path / name).write_text(content)
    found = data.open(tmp_path)
    own = {"road": 0, "car": 1} if found.mask_classes == ("road", "car") else {"car": 0, "road": 1}
    assert set(found.mask_classes) == {"road", "car"}
    assert (mask_of(tmp_path) == np.array([own["road"], 255, own["car"]])[masks[0]]).all()
    assert f"Classes of masks are named in {name}." in found.notes
    assert any(
        note.startswith("The value 1 of masks (") and note.endswith("is void and counts for nothing.")
        for note in found.notes
    )


def test_a_number_that_the_file_lacks_is_named(tmp_path: Path) -> None:
    made(tmp_path)
    (tmp_path / "classes.txt").write_text("road\ncar")
    assert "holds 2, which classes.txt does not name; add it there." in refused(tmp_path)


def test_a_line_that_names_nothing_is_refused_with_its_number(tmp_path: Path) -> None:
    made(tmp_path)
    (tmp_path / "classes.txt").write_text("0 road\n0 car")
    assert "classes.txt': names the value 0 twice in line 2; correct the file." in refused(tmp_path)
    (tmp_path / "classes.txt").write_text("road 300 0 0\n")
    assert "has the colour 300, 0, 0, and 255 is the largest part of one in line 1;" in refused(tmp_path)


def test_black_and_white_with_two_names(tmp_path: Path) -> None:
    masks = [regions(i, (0, 255)) for i in range(6)]
    filled(tmp_path, *masks)
    (tmp_path / "classes.txt").write_text("tissue\ntumour")
    assert data.open(tmp_path).mask_classes == ("tissue", "tumour")
    assert (mask_of(tmp_path) == masks[0] // 255).all()
