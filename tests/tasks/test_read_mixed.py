# SPDX-License-Identifier: Apache-2.0
"""read: small letters, capitals and marks by their shapes and their places on the line, with a stand-in for the network."""

from __future__ import annotations

import numpy as np
import pytest
from read_pages import photographed, printed
from read_text import CLASSES, FOX, SPRING, look_of

from pellucid.data import open
from pellucid.data.embedded import handprint
from pellucid.errors import UsageError
from pellucid.tasks.read import Read, forms
from pellucid.tasks.read.alphabet import only
from pellucid.tasks.read.answers import Page, page_of
from pellucid.tasks.read.language import neighbourly
from pellucid.tasks.read.metrics import aligned
from pellucid.tasks.read.page import read
from pellucid.tasks.read.placing import Ruled, places_of

MIXED = ["Mary had a nice lamb,", "SOS WOW VOX COCO", "sos wow vox coco", "Sis Oz Cox Zoo Vow"]


def answered(page: np.ndarray, classes: tuple[str, ...] = CLASSES) -> Page:
    return page_of(read(page, look_of(classes), places_of(classes)), classes)


def text(page: np.ndarray, classes: tuple[str, ...] = CLASSES) -> list[str]:
    return answered(page, classes).lines(classes)


def edits(found: list[str], true: list[str]) -> int:
    one, other = "\n".join(true), "\n".join(found)
    return sum(a < 0 or b < 0 or one[a] != other[b] for a, b in aligned(one, other))


# -- places


def test_capitals_and_digits_alone_need_no_places() -> None:
    assert places_of(handprint.CLASSES) is None


def test_a_box_is_likelier_the_character_that_stands_so() -> None:
    """On a base line at y = 100 with capitals of 40 px and small letters of 28."""
    places = places_of(CLASSES)
    assert places is not None
    line = Ruled(np.array([0.0, 100.0]), 40, 0.7)
    for box, likely, unlikely in (
        ((0, 72, 20, 100), "csvwxzou", "CSVWXZOU"),
        ((0, 60, 20, 100), "CSVWXZOU", "csvwxzou"),
        ((0, 72, 20, 112), "pq", "PQ"),
        ((0, 94, 6, 100), ".", "'-"),
        ((0, 94, 6, 106), ",", "'-"),
        ((0, 60, 6, 75), "'", ".,-"),
        ((0, 83, 14, 88), "-", ".,'"),
    ):
        odds = places.odds(np.array([box], np.float64), line)[0]
        least = min(odds[CLASSES.index(one)] for one in likely)
        assert least > max(odds[CLASSES.index(one)] for one in unlikely) + 2, likely


def test_places_are_those_of_the_font_by_another_measure() -> None:
    """matplotlib's own reader of fonts gives the same extents."""
    from matplotlib.ft2font import FT2Font, LoadFlags

    from pellucid.data.embedded import glyphs

    places = places_of(CLASSES)
    assert places is not None
    font = FT2Font(glyphs.face("DejaVuSans", 10).path)
    font.set_size(1000, 72)
    unit = font.load_char(ord("H"), LoadFlags.NO_HINTING).bbox[3]
    for k, one in enumerate(CLASSES):
        _, low, _, high = font.load_char(ord(one), LoadFlags.NO_HINTING).bbox
        assert places.tops[k] == pytest.approx(high / unit, abs=0.03), one
        assert places.bottoms[k] == pytest.approx(low / unit, abs=0.03), one


# -- pages


@pytest.mark.parametrize("lines", [FOX, SPRING], ids=["fox", "spring"])
def test_sentences_of_both_cases_with_marks_are_read_and_heights_are_estimated(lines: list[str]) -> None:
    found = answered(photographed(printed(lines, 30, (330, 800))))
    assert edits(found.lines(CLASSES), lines) <= 2
    assert found.tall == pytest.approx(30, rel=0.1)
    assert found.low / found.tall == pytest.approx(0.75, abs=0.05)  # of DejaVu Sans
    assert forms.row("page", found, CLASSES)["x_height"] == pytest.approx(found.low, abs=0.05)


def test_what_looks_alike_is_told_apart_by_its_size_on_the_line() -> None:
    assert text(photographed(printed(MIXED, 30, (330, 800)))) == MIXED


def test_marks_are_read_by_their_places_and_go_on_from_one_another() -> None:
    lines = ["It's so: a-b, c.d; e!", "Well... (no) x/y + 1 = 2?"]
    assert edits(text(photographed(printed(lines, 32, (200, 800)))), lines) <= 1


@pytest.mark.parametrize("skew", [-9, 6])
def test_base_lines_follow_the_page(skew: int) -> None:
    assert edits(text(photographed(printed(MIXED, 30, (600, 900), (60, 170)), skew=skew)), MIXED) <= 2


def test_larger_and_smaller_lines_have_heights_of_their_own() -> None:
    ink = np.maximum(
        printed(["Some Small cows"], 44, (400, 900), (40, 20)), printed(MIXED[:2], 28, (400, 900), (40, 180))
    )
    assert text(photographed(ink)) == ["Some Small cows", *MIXED[:2]]


def test_specks_are_no_full_stops() -> None:
    import cv2

    ink = printed(FOX, 30, (400, 900))
    clean = text(photographed(ink))
    rng = np.random.default_rng(0)
    for x, y in zip(rng.integers(10, 890, 60), rng.integers(10, 390, 60), strict=True):
        cv2.circle(ink, (int(x), int(y)), int(rng.integers(1, 3)), 1.0, -1)
    specked = text(photographed(ink))
    assert len(specked) == len(clean)
    assert edits(specked, clean) <= 6  # of 110 characters: some specks touch letters, or stand where a full stop would


@pytest.mark.parametrize("noise", [0.03, 0.1])
def test_noise_and_specks_alone_read_as_nothing(noise: float) -> None:
    import cv2

    ink = np.zeros((300, 500), np.float32)
    rng = np.random.default_rng(1)
    for x, y in zip(rng.integers(10, 490, 40), rng.integers(10, 290, 40), strict=True):
        cv2.circle(ink, (int(x), int(y)), int(rng.integers(1, 4)), 1.0, -1)
    assert text(photographed(ink, 3, noise=noise)) == []
    assert text(photographed(np.zeros_like(ink), 3, noise=noise)) == []


# -- neighbours


@pytest.mark.parametrize(
    ("sure", "other", "begins", "word"),
    [
        ("hOt", "hot", False, "hot"),
        ("lt", "It", True, "It"),
        ("let", "Iet", False, "let"),
        ("COST", "cosT", False, "COST"),
        ("Zoe'S", "Zoe's", False, "Zoe's"),
        ("l985", "1985", False, "1985"),
        ("McDo", "McDo", False, "McDo"),  # nothing else is probable
    ],
)
def test_words_are_small_or_capital_or_begin_with_a_capital(sure: str, other: str, begins: bool, word: str) -> None:
    shares = np.full((len(sure), len(CLASSES)), 1e-5, np.float32)
    for row, one, second in zip(shares, sure, other, strict=True):
        row[CLASSES.index(one)] = 0.55
        row[CLASSES.index(second)] = max(0.4, row[CLASSES.index(second)])
    assert "".join(CLASSES[k] for k in neighbourly(shares, CLASSES, begins)) == word


# -- alphabets


def test_an_alphabet_is_chosen_by_kinds_or_characters() -> None:
    data = open("handprint_text")
    small = only(data, ["lower", "."])
    assert "".join(small.classes) == "abcdefghijklmnopqrstuvwxyz."
    true = data["test"].targets["label"].index  # type: ignore[attr-defined]
    kept = small["test"].targets["label"].index  # type: ignore[attr-defined]
    old = [place for place, k in enumerate(true.tolist()) if data.classes[k] in small.classes]
    assert [small.classes[k] for k in kept.tolist()] == [data.classes[k] for k in true[old].tolist()]
    np.testing.assert_array_equal(small["test"].images.read(5, 1), data["test"].images.read(old[5], 1))
    assert small.fingerprint != data.fingerprint
    assert Read(alphabet=("digits",)).read(data)[1].names == tuple("0123456789")


@pytest.mark.parametrize(
    ("data", "wanted", "sentence"),
    [
        ("handprint", ["lower"], r"alphabet='lower': handprint has no lower; give --data handprint_text"),
        ("handprint_text", ["Äa"], r"alphabet='Äa': handprint_text has no Ä; leave it out"),
        ("handprint_text", ["a"], r"must name at least two characters"),
    ],
)
def test_an_alphabet_that_the_data_lack_is_refused(data: str, wanted: list[str], sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        only(open(data), wanted)


def test_letters_of_ones_own_are_named_by_unicode_and_read_in_both_cases() -> None:
    names = ("LATIN CAPITAL LETTER A WITH DIAERESIS", "LATIN SMALL LETTER A WITH DIAERESIS", "LATIN SMALL LETTER SHARP S",
             "LATIN CAPITAL LETTER O WITH DIAERESIS", "LATIN SMALL LETTER O WITH DIAERESIS", *"BGHRTbeghnrt")  # fmt: skip
    lines = ["Öre hört Bär", "Größe tröge Äther"]
    assert edits(text(photographed(printed(lines, 40, (260, 700))), names), lines) <= 1
