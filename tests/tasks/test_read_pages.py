"""read: the way of a page from ink to text, with letters that a stand-in for the network knows."""

from __future__ import annotations

import numpy as np
import pytest
from read_pages import CLASSES, look, photographed, printed

from pellucid.tasks.read.answers import page_of
from pellucid.tasks.read.metrics import aligned
from pellucid.tasks.read.page import read

LINES = ["PACK MY BOX WITH FIVE DOZEN", "JUGS OF LIQUOR 4937 TIMES", "AND 2658 MORE"]


def text(page: np.ndarray) -> list[str]:
    return page_of(read(page, look), CLASSES).lines(CLASSES)


def mistakes(read_lines: list[str]) -> int:
    """Edits from what was read to `LINES`, if these are as many; else many."""
    if len(read_lines) != len(LINES):
        return 99
    pairs = [(one, other, aligned(one, other)) for one, other in zip(LINES, read_lines, strict=True)]
    return sum(a < 0 or b < 0 or one[a] != other[b] for one, other, own in pairs for a, b in own)


def test_a_printed_page_is_read_line_by_line_and_word_by_word() -> None:
    assert text(photographed(printed(LINES))) == LINES


@pytest.mark.parametrize("tall", [16, 90])
def test_one_setting_reads_small_and_large_letters(tall: int) -> None:
    size = (8 * tall, 40 * tall)
    page = photographed(printed(LINES, tall, size, (2 * tall, tall)), noise=0.005)
    assert mistakes(text(page)) <= 1  # of 64 characters; the stand-in is no great reader


def test_what_is_estimated_of_the_page_is_right() -> None:
    found = page_of(read(photographed(printed(LINES, 30)), look), CLASSES)
    assert found.tall == pytest.approx(30, rel=0.12)
    assert found.pen == pytest.approx(5, abs=1)  # strokes of DejaVu Sans are about a sixth of its capitals' height
    assert not found.light


def test_light_letters_on_something_dark_are_read() -> None:
    found = page_of(read(photographed(printed(LINES), light=True), look), CLASSES)
    assert found.light
    assert found.lines(CLASSES) == LINES


def test_a_shadow_across_the_page_changes_nothing() -> None:
    assert text(photographed(printed(LINES), shadow=0.6)) == LINES


@pytest.mark.parametrize("degrees", [-20, -7, 4, 20])
def test_lines_askew_by_up_to_twenty_degrees_are_followed(degrees: int) -> None:
    ink = printed(LINES, size=(700, 900), at=(80, 260))
    found = page_of(read(photographed(ink, skew=degrees), look), CLASSES)
    assert found.skew == pytest.approx(degrees, abs=1)
    assert mistakes(found.lines(CLASSES)) <= 1


@pytest.mark.parametrize("quarter", [1, 2, 3])
def test_a_turned_page_is_righted_as_a_whole_and_its_boxes_lie_on_its_letters(quarter: int) -> None:
    page = photographed(printed(LINES))
    turned = np.ascontiguousarray(np.rot90(page, quarter))
    found = page_of(read(turned, look), CLASSES)
    assert found.lines(CLASSES) == LINES
    upright = page_of(read(page, look), CLASSES)
    for one, other in zip(found.letters, upright.letters, strict=True):
        x0, y0, x1, y1 = (round(side) for side in other.box)
        mask = np.zeros_like(page)
        mask[y0:y1, x0:x1] = 1
        rows, columns = np.nonzero(np.rot90(mask, quarter))
        expected = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
        assert one.box == pytest.approx(expected, abs=4)


def test_the_lines_of_the_paper_are_no_letters() -> None:
    assert text(photographed(printed(LINES), rules=44)) == LINES


def test_columns_are_read_one_after_the_other() -> None:
    left, right = ["FIRST OF THE", "COLUMNS THAT", "GO ON DOWN"], ["THEN ANOTHER", "COLUMN WITH", "OTHER WORDS"]
    ink = np.maximum(printed(left, size=(400, 900), at=(40, 60)), printed(right, size=(400, 900), at=(520, 60)))
    assert text(photographed(ink)) == left + right


def test_a_long_line_keeps_all_of_its_words() -> None:
    line = "A VERY LONG LINE OF MANY SHORT WORDS THAT IS FAR WIDER THAN EIGHT TIMES ITS HEIGHT"
    assert text(photographed(printed([line], 24, (110, 1900)))) == [line]


def test_a_single_digit_is_read() -> None:
    assert text(photographed(printed(["7"], 60, (200, 160), (50, 60)))) == ["7"]


@pytest.mark.parametrize("seed", range(3))
def test_paper_without_text_gives_an_empty_text(seed: int) -> None:
    page = photographed(np.zeros((400, 600), np.float32), seed, shadow=0.4 * (seed % 2), noise=0.03)
    assert page_of(read(page, look), CLASSES).letters == ()


def test_a_photograph_of_a_cat_reads_as_nothing() -> None:
    from skimage import data

    cat = data.chelsea().mean(2).astype(np.uint8)
    assert text(cat) == []


def test_letters_that_touch_are_parted() -> None:
    ink = printed(["CODE OF HOPE"], 40, (160, 700))
    apart = read(photographed(ink), look)
    boxes = [letter.box for letter in apart.lines[0].letters]
    joined = ink.copy()
    for one, other in ((1, 2), (2, 3), (7, 8)):  # O-D, D-E and O-P, at half of their height
        y = round((boxes[one][1] + boxes[one][3]) / 2)
        joined[y - 1 : y + 2, round(boxes[one][2]) - 4 : round(boxes[other][0]) + 4] = 1
    page = photographed(joined)
    again = read(page, look)
    assert len(again.parts.boxes) == len(apart.parts.boxes) - 3  # type: ignore[union-attr]
    found = [letter.box for letter in again.lines[0].letters]
    assert len(found) == len(boxes)
    assert np.abs(np.array(found) - np.array(boxes)).max() <= 5  # each is cut where the bridge begins and ends
