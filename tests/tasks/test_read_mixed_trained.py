# SPDX-License-Identifier: Apache-2.0
"""read: networks trained on small letters, capitals and marks, on pages in fonts and hands that are not those of the training."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from read_pages import photographed, printed
from read_text import FOX, sentences

from pellucid.data.embedded import glyphs
from pellucid.inference import predict
from pellucid.run import Run
from pellucid.tasks.read.metrics import aligned

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """`pellucid train read --data handprint_text --epochs 8`; `PELLUCID_READ_TEXT_RUN` names a run that is there already."""
    from pellucid.training.training import train

    if "PELLUCID_READ_TEXT_RUN" in os.environ:
        return Run(os.environ["PELLUCID_READ_TEXT_RUN"])
    folder = tmp_path_factory.mktemp("text")
    return train("read", "handprint_text", out=folder / "run", epochs=8, device="cpu", progress=False)


def edits(run: Run, page: np.ndarray, true: list[str]) -> int:
    one, other = "\n".join(true), predict(run, np.ascontiguousarray(page))[0]["text"]
    return sum(a < 0 or b < 0 or one[a] != other[b] for a, b in aligned(one, other))


def share_wrong(run: Run, pages: list[tuple[np.ndarray, list[str]]]) -> float:
    return sum(edits(run, page, true) for page, true in pages) / sum(len("\n".join(true)) for _, true in pages)


def test_sentences_in_fonts_and_hands_that_are_not_those_of_the_training_have_few_errors(trained: Run) -> None:
    assert not set(glyphs.FONTS["test"]) & set(glyphs.FONTS["train"])
    pages = sentences()
    assert share_wrong(trained, [own for name, own in pages.items() if not name.startswith("hand")]) <= 0.03
    assert share_wrong(trained, [own for name, own in pages.items() if name.startswith("hand")]) <= 0.04


def test_a_turned_page_is_righted_and_noise_is_nothing(trained: Run) -> None:
    page = photographed(printed(FOX, 30, (330, 900), face="DejaVuSansMono"))
    for quarter in (1, 2, 3):
        assert edits(trained, np.rot90(page, quarter), FOX) <= 3
    for noise in (0.03, 0.1):
        assert predict(trained, photographed(np.zeros((300, 500), np.float32), 2, noise=noise))[0]["text"] == ""


def test_photographs_of_things_read_as_nothing(trained: Run) -> None:
    from skimage import data

    for name in ("chelsea", "astronaut", "coffee", "retina", "camera", "coins", "brick", "grass", "rocket", "moon"):
        assert predict(trained, getattr(data, name)())[0]["text"] == "", name


def test_a_folder_of_letters_of_ones_own_is_learned_and_read(tmp_path: Path) -> None:
    """Ä, Ö, Ü in both sizes, ß and a few others, in folders of their Unicode names."""
    import unicodedata

    import cv2

    from pellucid.training.training import train

    rng = np.random.default_rng(0)
    for letter in "ÄÖÜäöüßBGHMRTbeghmnrtu":
        (tmp_path / "letters" / unicodedata.name(letter)).mkdir(parents=True)
        for k, face in enumerate(glyphs.FONTS["train"] * 3):
            if glyphs.extent(letter, face) == (0, 0, 0, 0):  # the font lacks it
                continue
            ink = cv2.resize(glyphs.filling(face, [letter])[0], (40, 40), interpolation=cv2.INTER_AREA)
            image = photographed(ink.astype(np.float32), int(rng.integers(1000)), noise=0.01 * (k % 3))
            cv2.imwrite(str(tmp_path / "letters" / unicodedata.name(letter) / f"{k}.png"), image)
    run = train(
        "read", tmp_path / "letters", out=tmp_path / "run", epochs=30, batch_size=32, device="cpu", progress=False
    )
    lines = ["Größe tut Bühne hört", "Ähre Übung mähen Öhr"]
    page = photographed(printed(lines, 40, (260, 900), face="DejaVuSansMono"))
    assert edits(run, page, lines) <= 2
