# SPDX-License-Identifier: Apache-2.0
"""Pages as rows of JSON, as plain text, and as hOCR and ALTO for other programs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from xml.sax.saxutils import escape, quoteattr

import numpy as np

from pellucid._pages import UNSURE
from pellucid.tasks.read.alphabet import character
from pellucid.tasks.read.answers import Letter, Lettered, Page

__all__ = ["LISTED", "alto", "hocr", "letter_rows", "row"]

LISTED = "letters"
"""The entry of a row that lists the letters."""

_TOP = 3
_SIDES = ("x0", "y0", "x1", "y1")


def letter_rows(prediction: Lettered, names: Sequence[str], classes: Sequence[str]) -> list[dict[str, Any]]:
    """A row for each image of a single letter."""
    rows = []
    for name, index, shares, nothing in zip(
        names, prediction.index.tolist(), prediction.probabilities.tolist(), prediction.nothing.tolist(), strict=True
    ):
        probabilities = {title: round(share, 6) for title, share in zip(classes, shares, strict=True)}
        rows.append(
            {
                "name": name,
                "label": classes[index],
                "probability": round(shares[index], 6),
                "no_letter": round(nothing, 6),
                "probabilities": probabilities,
            }
        )
    return rows


def row(name: str, page: Page, classes: Sequence[str]) -> dict[str, Any]:
    """A page's text, what was estimated from it, and every letter."""
    lines = page.lines(classes)
    unsure = sum(letter.probability < UNSURE for letter in page.letters)
    answer: dict[str, Any] = {
        "name": name,
        "text": "\n".join(lines),
        "lines": len(lines),
        "words": sum(len(line.split()) for line in lines),
        "unsure": unsure,
        "letter_height": round(page.tall, 1),
        **({"x_height": round(page.low, 1)} if page.low else {}),
        "stroke_width": round(page.pen, 1),
        "light_on_dark": page.light,
        "turned": page.turned,
        "skew": round(page.skew, 1),
        LISTED: [_letter(letter, classes) for letter in page.letters],
    }
    if not page.letters:
        answer["note"] = "No text was found."
        if page.doubted:  # where letters are unsure, or the page is busy
            shapes = "shape has" if page.doubted == 1 else "shapes have"
            answer["note"] = (
                f"No text was found: {page.doubted} {shapes} the size of letters, but too little speaks for a text."
            )
    return answer


def _letter(letter: Letter, classes: Sequence[str]) -> dict[str, Any]:
    order = np.argsort(-letter.shares, kind="stable")[:_TOP]
    return {
        "label": classes[letter.index],
        "probability": round(letter.probability, 6),
        "unsure": letter.probability < UNSURE,
        "decided_by": letter.decided,
        "top": {classes[k]: round(float(letter.shares[k]), 6) for k in order.tolist()},
        "line": letter.line + 1,
        "word": letter.word + 1,
        **{side: round(place, 2) for side, place in zip(_SIDES, letter.box, strict=True)},
    }


# -- forms of other programs, from rows


def hocr(one: Mapping[str, Any], size: tuple[int, int]) -> bytes:
    """A row as hOCR (Breuel 2007): a page of lines of words, each with its box and its confidence in %.

    Args:
        one: a row of `row`.
        size: (H, W) of the page in px.
    """
    height, width = size
    about = quoteattr(f"image {one['name']}; bbox 0 0 {width} {height}")
    out = [
        '<?xml version="1.0" encoding="UTF-8"?>',
        '<html xmlns="http://www.w3.org/1999/xhtml"><head><meta charset="utf-8"/>'
        '<meta name="ocr-system" content="pellucid"/>'
        '<meta name="ocr-capabilities" content="ocr_page ocr_line ocrx_word ocrx_cinfo"/></head><body>',
        f'<div class="ocr_page" title={about}>',
    ]
    for line in _nested(one):
        out.append(f'<span class="ocr_line" title="{_box(_flat(line))}">')
        for word in line:
            sure = 100 * min(letter["probability"] for letter in word)
            out.append(
                f'<span class="ocrx_word" title="{_box(word)}; x_wconf {sure:.0f}">'
                + "".join(
                    f'<span class="ocrx_cinfo" title="{_box([letter])}; x_conf {100 * letter["probability"]:.0f}">'
                    f"{escape(character(letter['label']))}</span>"
                    for letter in word
                )
                + "</span>"
            )
        out.append("</span>")
    return "\n".join([*out, "</div></body></html>", ""]).encode()


def alto(one: Mapping[str, Any], size: tuple[int, int]) -> bytes:
    """A row as ALTO 4 (Library of Congress): text lines of strings and spaces, and every glyph with its confidence."""
    height, width = size
    out = [
        '<?xml version="1.0" encoding="UTF-8"?>',
        '<alto xmlns="http://www.loc.gov/standards/alto/ns-v4#"><Description><MeasurementUnit>pixel</MeasurementUnit>'
        f"<sourceImageInformation><fileName>{escape(one['name'])}</fileName></sourceImageInformation></Description>",
        f'<Layout><Page ID="page" PHYSICAL_IMG_NR="1" WIDTH="{width}" HEIGHT="{height}"><PrintSpace>',
    ]
    lines = _nested(one)
    if lines:
        out.append(f'<TextBlock ID="block" {_place([letter for line in lines for letter in _flat(line)])}>')
    for number, line in enumerate(lines, 1):
        out.append(f'<TextLine ID="line{number}" {_place(_flat(line))}>')
        for place, word in enumerate(line, 1):
            content = "".join(character(letter["label"]) for letter in word)
            sure = min(letter["probability"] for letter in word)
            if place > 1:
                out.append("<SP/>")
            out.append(
                f'<String ID="line{number}word{place}" CONTENT={quoteattr(content)} WC="{sure:.3f}" {_place(word)}>'
                + "".join(
                    f'<Glyph CONTENT={quoteattr(character(letter["label"]))} GC="{letter["probability"]:.3f}" {_place([letter])}/>'
                    for letter in word
                )
                + "</String>"
            )
        out.append("</TextLine>")
    if lines:
        out.append("</TextBlock>")
    return "\n".join([*out, "</PrintSpace></Page></Layout></alto>", ""]).encode()


def _nested(one: Mapping[str, Any]) -> list[list[list[dict[str, Any]]]]:
    """The letters of each word of each line of a row."""
    lines: dict[int, dict[int, list[dict[str, Any]]]] = {}
    for letter in one[LISTED]:
        lines.setdefault(letter["line"], {}).setdefault(letter["word"], []).append(letter)
    return [list(words.values()) for words in lines.values()]


def _flat(line: Sequence[Sequence[dict[str, Any]]]) -> list[dict[str, Any]]:
    return [letter for word in line for letter in word]


def _corners(letters: Sequence[Mapping[str, Any]]) -> tuple[int, int, int, int]:
    return (
        int(min(one["x0"] for one in letters)),
        int(min(one["y0"] for one in letters)),
        int(np.ceil(max(one["x1"] for one in letters))),
        int(np.ceil(max(one["y1"] for one in letters))),
    )


def _box(letters: Sequence[Mapping[str, Any]]) -> str:
    return "bbox " + " ".join(str(place) for place in _corners(letters))


def _place(letters: Sequence[Mapping[str, Any]]) -> str:
    x0, y0, x1, y1 = _corners(letters)
    return f'HPOS="{x0}" VPOS="{y0}" WIDTH="{x1 - x0}" HEIGHT="{y1 - y0}"'
