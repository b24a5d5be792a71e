# SPDX-License-Identifier: Apache-2.0
"""Hundreds of damaged sets of masks, points and texts: each opens, or is refused in one sentence."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from test_mask_pairs import made, photo

from pellucid import data
from pellucid.data.dataset import Dataset
from pellucid.errors import DataError

ODD = [
    b"\0", b"\xff\xfe", b"-1", b"NaN", b"1e400", b"9" * 5000, b"\n", b",", b'"', b"{", b"}", b"[", b"[" * 3000, b"null", b":", b"\t", b";",
    b"\r",
    b"../", b"/", b"\xed\xa0\x80", b" ", b"p0.jpg", b"255", b"65536", b"\xef\xbb\xbf",
]  # fmt: skip


ROUNDS = 40


def masks(top: Path) -> list[Path]:
    made(top, n=3)
    (top / "classes.txt").write_text("0 road\n1 void\n2 car 1\n")
    return [top / "classes.txt", top / "masks/p0.png"]


def colours(top: Path) -> list[Path]:
    made(top, n=3)
    (top / "class_dict.csv").write_text("name,r,g,b\nroad,0,0,0\nvoid,1,1,1\ncar,2,2,2\n")
    return [top / "class_dict.csv"]


def names(top: Path) -> list[Path]:
    made(top, n=3)
    (top / "dataset.json").write_text('{"labels": {"road": 0, "ignore": 1, "car": 2}, "more": [1]}')
    return [top / "dataset.json"]


def lists(top: Path) -> list[Path]:
    made(top, "JPEGImages/{}.jpg", "SegmentationClass/{}.png", n=3)
    (top / "ImageSets/Segmentation").mkdir(parents=True)
    (top / "ImageSets/Segmentation/train.txt").write_text("p0\np1\n")
    return [top / "ImageSets/Segmentation/train.txt"]


def table(top: Path) -> list[Path]:
    rows = [f"p{i}.jpg,{i},2,3,4,5,6" for i in range(3)]
    (top / "points.csv").write_text("\n".join(["image,x0,y0,x1,y1,x2,y2", *rows]))
    return [top / "points.csv"]


def pts(top: Path) -> list[Path]:
    for i in range(3):
        (top / f"p{i}.pts").write_text("version: 1\nn_points: 3\n{\n1 2\n3 4\n5.5 6\n}\n")
    return [top / "p0.pts"]


def texts(top: Path) -> list[Path]:
    (top / "gt.txt").write_text("\n".join(f'p{i}.jpg, "text {i}"' for i in range(3)))
    return [top / "gt.txt"]


def lines(top: Path) -> list[Path]:
    (top / "truth.json").write_text(json.dumps({f"p{i}.jpg": [f"line {i}", "two"] for i in range(3)}))
    return [top / "truth.json"]


def beside(top: Path) -> list[Path]:
    for i in range(3):
        (top / f"p{i}.txt").write_text(f"line {i}\nmore")
    return [top / "p0.txt"]


def opened(path: Path) -> tuple[str, Dataset | None]:
    """The sentence of a refusal, or a dataset."""
    try:
        return "", data.open(path)
    except DataError as fault:
        return str(fault), None


@pytest.mark.parametrize("make", [masks, colours, names, lists, table, pts, texts, lines, beside])
def test_damaged_files_give_a_dataset_or_a_sentence(tmp_path: Path, make: Callable[[Path], list[Path]]) -> None:
    if make not in (masks, colours, names, lists):
        for i in range(3):
            photo(tmp_path / f"p{i}.jpg", (8, 8))
    targets = make(tmp_path)
    whole = {file: file.read_bytes() for file in targets}
    rng = np.random.default_rng(0)
    for _ in range(ROUNDS):
        file = targets[int(rng.integers(len(targets)))]
        content = bytearray(whole[file])
        for _ in range(int(rng.integers(1, 4))):
            start, end = sorted(rng.integers(0, len(content) + 1, 2).tolist())
            end = min(end, start + int(rng.integers(0, 12)))
            content[start:end] = ODD[int(rng.integers(len(ODD)))] if rng.random() < 0.8 else rng.bytes(3)
        file.write_bytes(content)
        sentence, found = opened(tmp_path)
        assert "\n" not in sentence and "\r" not in sentence, content
        for split in () if found is None else found.splits.values():
            assert all(len(target) == len(split) for target in split.targets.values())
        file.write_bytes(whole[file])
    shutil.rmtree(tmp_path)
