# SPDX-License-Identifier: Apache-2.0
"""read: from files to answers: EXIF, decompression bombs, pictures without text, and alphabets of one's own."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from read_pages import PARAGRAPH, photographed, printed

import pellucid
from pellucid.cli.cli import main
from pellucid.inference import predict
from pellucid.run import Run
from pellucid.tasks.read.metrics import aligned


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run that has hardly learned anything."""
    out = tmp_path_factory.mktemp("read") / "run"
    options = {"epochs": 1, "limit": 256, "device": "cpu", "progress": False, "widths": (8, 16)}
    return pellucid.train("read", "glyphs", out=out, **options)


@pytest.mark.parametrize("orientation", [3, 6, 8])
def test_a_file_is_read_as_its_exif_orientation_shows_it(small: Run, tmp_path: Path, orientation: int) -> None:
    """The same page stored in another orientation gives the same letters at the same places."""
    page = photographed(printed(PARAGRAPH))
    turned = np.ascontiguousarray(np.rot90(page, {3: 2, 6: 1, 8: 3}[orientation]))
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(turned).save(tmp_path / "page.png", exif=exif)
    Image.fromarray(page).save(tmp_path / "plain.png")
    found, plain = (predict(small, tmp_path / name)[0] for name in ("page.png", "plain.png"))
    assert {**found, "name": ""} == {**plain, "name": ""}


def test_a_decompression_bomb_is_refused_with_a_sentence(
    small: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Image.new("1", (15_000, 15_000)).save(tmp_path / "bomb.png")
    rows = predict(small, tmp_path / "bomb.png")
    assert (
        "cannot be read, because it decodes to 225,000,000 px, more than the 100,000,000 allowed;" in rows[0]["error"]
    )
    code = main(["predict", str(small.path), str(tmp_path / "bomb.png"), "--out", str(tmp_path / "out")])
    assert code == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1


def test_a_picture_without_text_gives_an_empty_text_in_every_form(small: Run, tmp_path: Path) -> None:
    from skimage import data

    Image.fromarray(data.chelsea()).save(tmp_path / "cat.png")
    rows = predict(small, tmp_path / "cat.png", tmp_path / "out", also=("txt", "hocr", "alto"))
    assert (rows[0]["text"], rows[0]["letters"]) == ("", [])
    assert rows[0]["note"].startswith("No text was found")
    assert (tmp_path / "out" / "cat.txt").read_text() == "\n"
    assert json.loads((tmp_path / "out" / "predictions.json").read_text())


@pytest.mark.slow
def test_small_letters_and_punctuation_of_ones_own_are_learned_and_read(tmp_path: Path) -> None:
    """Lower case by a folder of images, named by characters and Unicode names, and read from a page."""
    import unicodedata

    rng = np.random.default_rng(0)
    alphabet = "abdefghiklmnoprstuy!?"
    for letter in alphabet:
        folder = tmp_path / "letters" / (letter if letter.isalpha() else unicodedata.name(letter))
        folder.mkdir(parents=True)
        for k in range(40):
            face = ("DejaVuSans", "DejaVuSans-Oblique", "DejaVuSerif", "cmss10")[k % 4]
            ink = printed([letter], 26, (56, 56), (16 + int(rng.integers(-3, 4)), 8), face)
            Image.fromarray(photographed(ink, k, noise=0.02)).save(folder / f"{k}.png")
    run = pellucid.train(
        "read", tmp_path / "letters", out=tmp_path / "run", epochs=30, batch_size=32, device="cpu", progress=False
    )
    lines = ["the long road is near", "there are my brothers?", "run to it!"]
    page = photographed(printed(lines, 34, (300, 800)))
    found = predict(run, page)[0]
    true = "\n".join(lines)
    assert sum(a < 0 or b < 0 or true[a] != found["text"][b] for a, b in aligned(true, found["text"])) <= 1
