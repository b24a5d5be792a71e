# SPDX-License-Identifier: Apache-2.0
"""read: a network trained as it is by default, on pages of our own, on photographs of pages, and on photographs without text."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from read_pages import OTHER, PARAGRAPH, photographed, printed, ten_pages, written

from pellucid.inference import predict
from pellucid.run import Run
from pellucid.tasks.read import metrics
from pellucid.tasks.read.alphabet import comparable

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The run of `pellucid train read`, which sees no photograph; `PELLUCID_READ_RUN` names one that is there already."""
    from pellucid.training.training import train

    if "PELLUCID_READ_RUN" in os.environ:
        return Run(os.environ["PELLUCID_READ_RUN"])
    return train("read", out=tmp_path_factory.mktemp("read") / "run", epochs=8, device="cpu", progress=False)


def lines(run: Run, image: np.ndarray | Path) -> list[str]:
    rows = predict(run, image if isinstance(image, Path) else np.ascontiguousarray(image))
    return str(rows[0]["text"]).splitlines()


def edits(found: list[str], true: list[str], run: Run) -> int:
    one, other = comparable("\n".join(true), run.classes), comparable("\n".join(found), run.classes)
    return sum(a < 0 or b < 0 or one[a] != other[b] for a, b in metrics.aligned(one, other))


def test_ten_pages_have_at_most_two_percent_of_characters_wrong_with_one_setting(trained: Run) -> None:
    wrong = length = 0
    for page, true in ten_pages().values():
        found = lines(trained, page)
        assert len(found) == len(true)
        wrong += edits(found, true, trained)
        length += len(" ".join(true))
    assert wrong / length <= 0.02


def test_photographs_of_pages_are_read_line_by_line_and_word_by_word(trained: Run, real: Callable[[str], Path]) -> None:
    folder = real("text")
    for name, true in json.loads((folder / "truth.json").read_text()).items():
        found = lines(trained, folder / name)
        assert found == [comparable(line, trained.classes) for line in true]


def test_photographs_of_things_read_as_nothing(trained: Run) -> None:
    from skimage import data

    for name in ("chelsea", "astronaut", "coffee", "retina", "camera", "coins", "brick", "grass", "rocket", "moon"):
        assert lines(trained, getattr(data, name)()) == [], name


def test_texture_on_hundreds_of_photographs_invents_no_text(trained: Run, real: Callable[[str], Path]) -> None:
    """At most one in fifty; the bars of a cage do look like letters."""
    files = sorted(real("catsdogs").rglob("*.jpg"))[5::6] + sorted(real("camvid").glob("test/*.png"))[::8]
    rows = [row for file in files for row in predict(trained, file)]
    assert len(rows) > 100
    assert sum(bool(row["text"]) for row in rows) <= len(rows) / 50
    assert all("note" in row for row in rows if not row["text"])


@pytest.mark.parametrize("skew", [-20, -11, 6, 20])
def test_hands_askew_are_read(trained: Run, skew: int) -> None:
    page = photographed(written(OTHER, 60 + skew, size=(850, 1100), at=(80, 330)), 60 + skew, skew=skew)
    assert edits(lines(trained, page), OTHER, trained) <= 3


@pytest.mark.parametrize("quarter", [1, 2, 3])
def test_turned_pages_are_righted(trained: Run, quarter: int) -> None:
    for page, true in ((photographed(written(OTHER, 71)), OTHER), (photographed(printed(PARAGRAPH, 30)), PARAGRAPH)):
        assert edits(lines(trained, np.rot90(page, quarter)), true, trained) <= 2


def test_small_pages_and_long_lines_are_read(trained: Run) -> None:
    import cv2

    page = photographed(printed(PARAGRAPH, 40, (400, 1100), face="DejaVuSansMono"))
    small = cv2.resize(page, (300, round(400 * 300 / 1100)), interpolation=cv2.INTER_AREA)
    assert edits(lines(trained, small), PARAGRAPH, trained) <= 2
    line = "A VERY LONG LINE OF MANY SHORT WORDS THAT IS FAR WIDER THAN EIGHT TIMES ITS HEIGHT"
    assert edits(lines(trained, photographed(written([line], 140, size=(150, 4200)), 140)), [line], trained) <= 2


@pytest.mark.parametrize("character", ["0", "1", "4", "7", "I"])
def test_a_single_character_is_read(trained: Run, character: str) -> None:
    alike = {"0": "O", "1": "I", "I": "1"}  # alone, nothing tells these apart
    for page in (
        photographed(printed([character], 60, (200, 160), (50, 60)), shadow=0.5),
        photographed(written([character], 7, tall=70, size=(200, 170), at=(50, 60), pen=7)),
    ):
        assert lines(trained, page)[0] in {character, alike.get(character, character)}


def test_forty_million_pixels_are_read_in_less_than_1500_megabytes(trained: Run, tmp_path: Path) -> None:
    import cv2

    page = photographed(printed(PARAGRAPH, 30, (400, 900), face="DejaVuSansMono"))
    large = cv2.resize(page, (9600, 4200), interpolation=cv2.INTER_CUBIC)
    cv2.imwrite(str(tmp_path / "large.png"), large)
    script = (
        "import resource, sys, pellucid\n"
        "rows = pellucid.predict(sys.argv[1], sys.argv[2])\n"
        "print(rows[0]['text'])\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)\n"
    )
    answer = subprocess.run(
        [sys.executable, "-c", script, str(trained.path), str(tmp_path / "large.png")],
        capture_output=True, text=True, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    *text, peak = answer.stdout.splitlines()
    assert edits(text, PARAGRAPH, trained) <= 1
    assert int(peak) / 1024 < 1500  # KiB on Linux
