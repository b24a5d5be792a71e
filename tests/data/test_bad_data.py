# SPDX-License-Identifier: Apache-2.0
"""Data that cannot be used, or not all of it: the sentence, the exit code, and that nothing was lost or left half-written."""

from __future__ import annotations

import io
import json
import os
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from refusals import refused, small_disk

from pellucid.cli.cli import main
from pellucid.data.formats import arrays
from pellucid.run import Run


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


RNG = np.random.default_rng(0)


def photos(top: Path, classes: int = 2, each: int = 20) -> Path:
    """A folder of class folders with small grey images."""
    for i in range(classes * each):
        file = top / f"kind {i % classes}" / f"{i}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(RNG.integers(0, 256, (8, 8), dtype=np.uint8)).save(file)
    return top


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-30])


def bomb(file: Path) -> None:
    Image.new("1", (15_000, 15_000)).save(file)


DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "truncated": (cut, "cannot be read, because it is truncated; replace or remove it."),
    "zero-byte": (lambda file: file.write_bytes(b""), "cannot be read, because it is empty; replace or remove it."),
    "mislabelled": (
        lambda file: file.write_text("words"),
        "cannot be read, because it is not an image, whatever its name says;",
    ),
    "bomb": (bomb, "cannot be read, because it decodes to 225,000,000 px, more than the 100,000,000 allowed;"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_files_are_named_and_never_trained_on(
    damage: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    do, reason = DAMAGES[damage]
    photos(tmp_path / "photos")
    do(tmp_path / "photos/kind 1/7.png")
    words = "train classify --data photos --model mlp --hidden 8 --epochs 1 --out run"
    assert main(words.split()) == 0
    shown = capsys.readouterr()
    told = " ".join((shown.out + shown.err).split())
    assert f"'kind 1/7.png': {reason}" in told
    used = Run(tmp_path / "run").info["data"]["counts"]
    assert sum(sum(own.values()) for own in used.values()) == 39
    assert main(["data", "photos", "--out", "sheet.png"]) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert f"'kind 1/7.png': {reason}" in told
    assert main(["predict", "run", "photos/kind 1", "--out", "answers"]) == 0
    rows = {row["name"]: row for row in json.loads((tmp_path / "answers/predictions.json").read_text())}
    assert len(rows) == 20
    assert reason in rows["7.png"]["error"]
    assert all("label" in row for name, row in rows.items() if name != "7.png")


def empty(top: Path) -> Path:
    (top / "sub").mkdir(parents=True)
    return top


def strange_class(top: Path) -> Path:
    photos(top / "train")
    photos(top / "test", classes=3)
    return top


def nan_pixels(top: Path) -> Path:
    pixels = RNG.random((40, 8, 8))
    pixels[3, 2, 2] = np.nan
    np.savez(top.with_suffix(".npz"), images=pixels, labels=np.arange(40) % 2)
    return top.with_suffix(".npz")


def wrong_mask(top: Path) -> Path:
    photos(top)
    files = sorted(top.rglob("*.png"))
    Image.fromarray(np.zeros((4, 8), np.uint8)).save(top / "mask.png")
    rows = [f"{file.relative_to(top)},{i % 2},mask.png" for i, file in enumerate(files)]
    (top / "metadata.csv").write_text("\n".join(["file_name,label,mask_file_name", *rows]))
    return top


BAD_DATA: dict[str, tuple[Callable[[Path], Path], str]] = {
    "no images": (empty, "data='photos': contains no images; give a folder with .avif,"),
    "a folder with one class": (
        lambda top: photos(top, classes=1),
        "data='photos': has no labels, which classify needs (All images belong to a single class, 'kind 0': they are read without",
    ),
    "a class in test that is not in train": (
        strange_class,
        "data='photos': class 'kind 2' of test is missing from train; add images of it there, or remove it.",
    ),
    "a mask of the wrong size": (
        wrong_mask,
        "mask='mask.png': is 4×8 px, its image 8×8; give a mask of the image's size.",
    ),
    "NaN pixels": (
        nan_pixels,
        "images=1 of 40: contain NaN or infinite pixels in data='photos.npz', the first at position 3; replace them, or remove",
    ),
}


@pytest.mark.parametrize("case", BAD_DATA)
def test_data_that_cannot_be_used(case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make, start = BAD_DATA[case]
    where = make(tmp_path / "photos").relative_to(tmp_path)
    sentence = refused(["train", "classify", "--data", str(where), "--out", "run"], capsys)
    assert sentence.startswith(start), sentence


def test_mixed_channels_are_read_as_colour(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    photos(tmp_path / "photos")
    Image.fromarray(RNG.integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(tmp_path / "photos/kind 0/colour.png")
    assert (
        main(
            [
                "train",
                "classify",
                "--data",
                "photos",
                "--model",
                "mlp",
                "--hidden",
                "8",
                "--epochs",
                "1",
                "--out",
                "run",
            ]
        )
        == 0
    )
    told = " ".join("".join(capsys.readouterr()).split())
    assert "40 of 41 images are grey, the others in colour: all are read in colour." in told
    assert Run(tmp_path / "run").channels == 3


def test_answers_go_into_a_folder_that_can_be_written_or_nowhere(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photos(tmp_path / "photos")
    assert (
        main(
            [
                "train",
                "denoise",
                "--data",
                "photos",
                "--model",
                "unet",
                "--widths",
                "4",
                "--epochs",
                "1",
                "--out",
                "run",
            ]
        )
        == 0
    )
    capsys.readouterr()
    assert "cannot be written" in refused("predict run photos --out /proc/pellucid", capsys)
    (tmp_path / "file").write_text("a file")
    assert refused("predict run photos --out file", capsys).startswith("out='file': cannot be written")
    with small_disk(60):
        assert main(["predict", "run", "photos", "--out", "answers"]) == 2
    assert "the disk is full" in capsys.readouterr().err
    for file in (tmp_path / "answers").rglob("*.png"):
        with Image.open(file) as picture:
            assert picture.size == (8, 8)


def test_a_zip_bomb_is_refused_before_it_is_unpacked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arrays, "_LARGE", 2**25)
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "|u1", "fortran_order": False, "shape": (1024, 256, 256)})
    with (
        zipfile.ZipFile(tmp_path / "bomb.npz", "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("images.npy", "w") as file,
    ):
        file.write(header.getvalue())
        for _ in range(1024 * 256 * 256 // 2**24):
            file.write(bytes(2**24))
    tracemalloc.start()
    sentence = refused("data bomb.npz --out sheet.png", capsys)
    assert tracemalloc.get_traced_memory()[1] < 20_000_000
    tracemalloc.stop()
    assert "data='bomb.npz': unpacks to 0.1 GiB, " in sentence


def oddly_named(top: Path) -> Path:
    """Names that are markup for rich or for HTML, and bytes that are not UTF-8."""
    for name in (b"[red]", b"[", b"cat\xff", b"<i>"):
        folder = top / os.fsdecode(name)
        folder.mkdir(parents=True)
        for i in range(10):
            picture = Image.fromarray(RNG.integers(0, 256, (8, 8), dtype=np.uint8))
            picture.save(folder / os.fsdecode(b"\xe9%d.png" % i))
    (top / "[red]" / os.fsdecode(b"[b]\xe9.png")).write_text("no image")
    return top


def test_names_that_are_markup_or_not_utf_8_are_printed_as_they_are(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    top = oddly_named(tmp_path / os.fsdecode(b"photos\xff")).name
    assert main(["data", top, "--out", "sheet.png"]) == 0
    shown = capsys.readouterr().out
    rows = [line.split()[:2] for line in shown.splitlines()]
    assert all([name, "7"] in rows for name in ("[red]", "[", r"cat\xff", "<i>"))
    assert r"'[red]/[b]\\xe9.png': cannot be read, because it is not an image" in shown
    words = ["train", "classify", "--data", top, "--model", "mlp", "--hidden", "4", "--epochs", "1", "--out", "run"]
    assert main(words) == 0
    shown = " ".join("".join(capsys.readouterr()).split())
    assert r"'[red]/[b]\\xe9.png': cannot be read" in shown
    run = Run(tmp_path / "run")
    assert run.info["data"]["what"] == top and set(run.classes) == {"[red]", "[", r"cat\xff", "<i>"}
    assert len(run.data()["train"]) == 28


@pytest.mark.slow
def test_reports_and_lenses_show_such_names_as_they_are(tmp_path: Path) -> None:
    top = oddly_named(tmp_path / os.fsdecode(b"photos\xff")).name
    words = ["train", "classify", "--data", top, "--model", "mlp", "--hidden", "4", "--epochs", "1", "--out", "run"]
    assert main(words) == 0 and main(["evaluate", "run"]) == 0 and main(["report", "run", "--maps", "0"]) == 0
    page = (tmp_path / "run/report.html").read_text()
    assert "&lt;i&gt;" in page and "<i>" not in page and "[red]" in page and r"cat\xff" in page
    assert main(["look", "run", "embedding"]) == 0 and main(["look", "run", "filters"]) == 0
    # what `data` warns of is in the report too
    assert "4 of 4 classes have fewer than 10 training images" in page
    assert "The val split has 4 images: accuracy moves in steps of 25 points, too coarse" in page
