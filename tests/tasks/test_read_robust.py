# SPDX-License-Identifier: Apache-2.0
"""read: pages that are hard to see, and pictures that show no text, with a stand-in for the network."""

from __future__ import annotations

import numpy as np
import pytest
from read_pages import CLASSES, PARAGRAPH, look, photographed, printed

from pellucid.tasks.read import forms
from pellucid.tasks.read.answers import page_of
from pellucid.tasks.read.believing import is_text
from pellucid.tasks.read.ink import noise_of, pen_of
from pellucid.tasks.read.lines import word_starts
from pellucid.tasks.read.metrics import aligned
from pellucid.tasks.read.page import Reading, read


def text(page: np.ndarray) -> list[str]:
    return page_of(read(np.ascontiguousarray(page), look), CLASSES).lines(CLASSES)


def edits(found: list[str], true: list[str]) -> int:
    one, other = "\n".join(true), "\n".join(found)
    return sum(a < 0 or b < 0 or one[a] != other[b] for a, b in aligned(one, other))


# -- noise


@pytest.mark.parametrize("sigma", [0.01, 0.05, 0.1])
def test_the_noise_of_a_page_is_estimated_from_itself_whatever_is_written_on_it(sigma: float) -> None:
    rng = np.random.default_rng(0)
    page = 0.5 + 0.3 * (printed(PARAGRAPH) < 0.5) + sigma * rng.standard_normal((500, 800))
    assert noise_of(page.astype(np.float32)) == pytest.approx(sigma, rel=0.1)


@pytest.mark.parametrize("noise", [0.03, 0.06, 0.09])
@pytest.mark.parametrize("light", [False, True])
def test_strong_noise_hides_no_ink(noise: float, light: bool) -> None:
    page = photographed(printed(PARAGRAPH, 30, (300, 900)), noise=noise, light=light)
    _, seen_light = pen_of(page.astype(np.float32) / 255)
    assert seen_light == light
    assert edits(text(page), PARAGRAPH) <= 2  # of 75; the stand-in is no great reader


@pytest.mark.parametrize("noise", [0.03, 0.08, 0.15])
def test_noise_alone_is_no_text(noise: float) -> None:
    assert text(photographed(np.zeros((300, 400), np.float32), 3, noise=noise, shadow=0.3)) == []


def test_a_page_of_letters_that_nobody_is_sure_of_is_no_text_and_says_how_many_there_are() -> None:
    page = photographed(printed(["SMALL WORDS", "IN A ROW"], 40, (180, 500)))
    sure = read(page, look)
    assert not sure.doubted and len(sure.lines) == 2
    unsure = read(page, lambda crops: 0.4 * look(crops) + 0.6 / (len(CLASSES) + 1))
    assert not unsure.lines and unsure.doubted >= 12  # of 16
    assert "the size of letters" in forms.row("page.png", page_of(unsure, CLASSES), CLASSES)["note"]


# -- letters that touch


def test_the_foot_of_a_letter_that_touches_the_next_one_stays_with_it() -> None:
    """L's foot is as thin as a bridge between two letters; without it, L is an I with a gap after it."""
    ink = printed(["LAZY LOCAL"], 40, (140, 500))
    apart = read(photographed(ink), look)
    box = [letter.box for letter in apart.lines[0].letters]
    joined = ink.copy()
    y = round(box[0][3]) - 3
    joined[y - 2 : y + 1, round(box[0][2]) - 3 : round(box[1][0]) + 3] = 1  # L to A
    assert text(photographed(joined)) == ["LAZY LOCAL"]


# -- words


def test_narrow_spaces_are_spaces_where_there_are_many() -> None:
    """Spaces of 0.35 of the letters' height, and gaps of 0.06 within words, both a little uneven."""
    rng = np.random.default_rng(0)
    lengths = [1, 4, 4, 4, 2, 4, 5, 5, 4, 2, 3, 5]
    gaps, true = [], [0]
    for number, length in enumerate(lengths):
        gaps += rng.normal(0.06, 0.05, length - 1).tolist()
        if number + 1 < len(lengths):
            gaps.append(rng.normal(0.37, 0.03))
            true.append(sum(lengths[: number + 1]))
    assert word_starts([[30 * gap for gap in gaps]], [30]) == [true]
    assert word_starts([rng.normal(3, 2, 30).tolist()], [30]) == [[0]]  # one long word has none


def test_words_of_a_wavy_line_stay_in_order() -> None:
    import cv2

    line = "ONE DAY THE HORSE RUNS ROUND A BARN"
    ink = printed([line], 30, (180, 1000), (30, 70))
    x, y = np.meshgrid(np.arange(1000, dtype=np.float32), np.arange(180, dtype=np.float32))
    waves = cv2.remap(ink, x, y - np.float32(15) * np.sin(x / 130), cv2.INTER_LINEAR)
    found = text(photographed(waves))
    assert len(found[0].split()) == len(line.split())
    assert edits(found, [line]) <= 6  # of 35: the stand-in knows letters that stand upright


# -- turns


def test_no_line_is_turned_against_its_page() -> None:
    """A line that reads as well upside down, and one that stands upside down, leave the others as they are."""
    lines = ["NO SWIMS ON", "FORTY FIVE CARS", "REGULAR HOUSES"]
    assert text(photographed(printed(lines, 30, (300, 500)))) == lines
    ink = printed(lines, 30, (300, 500))
    ink[35:90] = np.rot90(ink[35:90], 2)
    found = page_of(read(photographed(ink), look), CLASSES)
    assert found.turned == 0
    assert found.lines(CLASSES)[1:] == lines[1:]


@pytest.mark.parametrize("quarter", [0, 1, 2, 3])
def test_a_single_short_line_is_righted_too(quarter: int) -> None:
    page = photographed(printed(["KEEP HOUSE"], 40, (140, 560)))
    assert text(np.rot90(page, quarter)) == ["KEEP HOUSE"]


# -- little, and nothing


@pytest.mark.parametrize(("digit", "shadow"), [("7", 0.0), ("2", 0.5), ("4", 0.6), ("1", 0.3)])
def test_a_single_digit_is_read_in_a_shadow_too(digit: str, shadow: float) -> None:
    assert text(photographed(printed([digit], 60, (200, 160), (50, 60)), shadow=shadow)) == [digit]


def test_a_bar_alone_is_a_letter() -> None:
    assert text(photographed(printed(["I"], 60, (200, 160), (60, 60)))) == ["I"]


@pytest.mark.parametrize("name", ["astronaut", "camera", "coffee", "retina", "brick", "coins", "chelsea"])
def test_photographs_of_things_read_as_nothing(name: str) -> None:
    from skimage import data

    image = getattr(data, name)()
    grey = image if image.ndim == 2 else image.mean(2)
    assert text(grey[: 2 * (len(grey) // 2)].astype(np.uint8)) == []


def letters_of(page: np.ndarray) -> Reading:
    found = read(page, look)
    assert found.seen is not None
    return found


def test_letters_are_believed_for_three_reasons_each_of_which_is_needed() -> None:
    """The network's doubt, strokes of uneven width, and a busy ground each speak against text."""
    from dataclasses import replace

    import cv2

    found = letters_of(photographed(printed(["SOME LETTERS"], 40, (140, 500))))
    own = [letter for line in found.lines for letter in line.letters]
    seen = found.seen
    assert seen is not None and is_text(seen, own)
    doubtful = [replace(letter, shares=np.full_like(letter.shares, 1 / len(letter.shares))) for letter in own]
    assert not is_text(seen, doubtful)
    thick = seen.mask.copy()
    half = thick.shape[1] // 2
    thick[:, half:] = cv2.dilate(thick[:, half:].astype(np.uint8), np.ones((7, 7), np.uint8)).astype(bool)
    assert not is_text(replace(seen, mask=thick), own)
    busy = seen.contrast + 0.6 * (np.random.default_rng(0).random(seen.contrast.shape) < 0.2).astype(np.float32)
    assert not is_text(replace(seen, contrast=busy), own)


# -- kinds of paper


@pytest.mark.parametrize("kind", ["lined", "squared", "coloured", "small"])
def test_paper_of_any_kind(kind: str) -> None:
    import cv2
    import torch

    from pellucid.tasks.read.read import _grey

    page = photographed(printed(PARAGRAPH, 32, (340, 900)), rules=50 if kind in ("lined", "squared") else 0)
    if kind == "squared":
        page[:, 20::50] = (page[:, 20::50] * 0.87).astype(np.uint8)
    if kind == "coloured":  # dark blue on yellow
        light = page[None] / np.float32(255)
        ink = 1 - light / light.max()
        colours = (
            np.array([0.95, 0.85, 0.3])[:, None, None] * (1 - ink) + np.array([0.1, 0.1, 0.5])[:, None, None] * ink
        )
        page = _grey(torch.from_numpy((colours * 255).astype(np.uint8)))
    if kind == "small":
        page = cv2.resize(page, (320, 121), interpolation=cv2.INTER_AREA)
    assert edits(text(page), PARAGRAPH) <= (3 if kind == "small" else 1)
