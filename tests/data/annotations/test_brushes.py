"""Regions painted with a brush in Label Studio: bits against an encoder of the tests' own."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from drawings import boxes_of, pictures, read
from numpy.typing import NDArray

from pellucid.data import open
from pellucid.data.annotations.rasters import region
from pellucid.data.formats.label_studio.brush import painted
from pellucid.errors import DataError


def written(folder: Path, rle: Any) -> Path:
    """Three images of 100×200 px, on the first of which a brush painted."""
    pictures(folder, "a.jpg", "b.jpg", "c.jpg")
    brush = {
        "type": "brushlabels",
        "original_width": 200,
        "original_height": 100,
        "value": {"format": "rle", "rle": rle, "brushlabels": ["car"]},
    }
    tasks = [
        {"id": i, "data": {"image": f"{name}.jpg"}, "annotations": [{"result": [brush] if name == "a" else []}]}
        for i, name in enumerate("abc")
    ]
    (folder / "export.json").write_text(json.dumps(tasks, indent=1), encoding="utf-8")
    return folder


def packed(values: Sequence[int], rng: np.random.Generator, bits: Sequence[int] = (3, 4, 8, 16)) -> list[int]:
    """Values of 8 bits as runs of equal ones and of others, chosen at random where both would do."""
    text = f"{len(values):032b}{7:05b}" + "".join(f"{n - 1:04b}" for n in bits)
    at = 0
    while at < len(values):
        same = next((i for i in range(at, len(values)) if values[i] != values[at]), len(values)) - at
        equal = same > 1 or rng.random() < 0.5
        length = min(same, 2 ** bits[3]) if equal else int(rng.integers(1, min(9, len(values) - at) + 1))
        size = next(k for k, n in enumerate(bits) if length <= 2**n)
        text += f"{int(equal)}{size:02b}{length - 1:0{bits[size]}b}"
        text += "".join(f"{value:08b}" for value in ([values[at]] if equal else values[at : at + length]))
        at += length
    text += "0" * (-len(text) % 8)
    return [int(text[i : i + 8], 2) for i in range(0, len(text), 8)]


@pytest.mark.parametrize("size", [(1, 1), (7, 5), (40, 60)])
def test_brushes_are_unpacked_bit_by_bit(size: tuple[int, int]) -> None:
    rng = np.random.default_rng(size)
    inside = rng.random(size) < 0.3
    inside[size[0] // 2 :] = True  # long runs too
    colours: NDArray[np.int64] = rng.integers(0, 256, (*size, 4))
    colours[..., 3] = np.where(inside, rng.integers(1, 256, size), 0)
    plain = np.repeat(np.where(inside, 255, 0)[..., None], 4, 2)
    for values in (colours, plain):
        assert np.array_equal(painted(packed(values.ravel().tolist(), rng), size), inside)


def test_a_brush_paints_its_image(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    inside = np.zeros((100, 200), bool)
    inside[20:31, 150:200] = rng.random((11, 50)) < 0.7
    inside[20, 150] = inside[30, 199] = True
    values = np.repeat(np.where(inside, 255, 0)[..., None], 4, 2).ravel().tolist()
    own = read(written(tmp_path, packed(values, rng)))[1]["a.jpg"]
    assert boxes_of(own) == [("car", [150, 20, 200, 31])]
    assert np.array_equal(region(own.instances[0], (100, 200)), inside)


@pytest.mark.parametrize(
    ("rle", "said"),
    [
        ([0, 0, 0, 4], "its rle ends too early"),
        ([0, 0, 0, 4, 57, 153, 156, 63, 240], "its rle has 4 values, and an image of 100×200 px has 80,000"),
        ([0, 300], "not a list of bytes"),
        (None, "its rle is null, not a list of bytes"),
    ],
)
def test_a_brush_that_cannot_be_unpacked_is_refused(tmp_path: Path, rle: Any, said: str) -> None:
    with pytest.raises(DataError, match=rf"export\.json': task 0, result 1: .*{said} in line \d+"):
        open(written(tmp_path, rle))
