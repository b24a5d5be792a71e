# SPDX-License-Identifier: Apache-2.0
"""A report on a phone: curves and confusion matrix in 390 px, the first batch, and what colours mean."""

from __future__ import annotations

import base64
import re

import pytest

from pellucid._colours import MODEL, OTHER, SIMPLE
from pellucid.inference import evaluate
from pellucid.reporting.measures import interval_plot
from pellucid.reporting.reporting import report
from pellucid.training.training import train


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    place = tmp_path_factory.mktemp("phone") / "run"
    train("classify", "digits", "mlp", place, hidden=(8,), epochs=3, progress=False)
    evaluate(place)
    return report(place, maps=0).read_text(encoding="utf-8")


def decoded(uri: str) -> bytes:
    return base64.b64decode(uri.split(",", 1)[1])


def test_curves_lie_below_each_other_where_the_page_is_narrow(page: str) -> None:
    found = re.search(r'<source media="\(max-width: 640px\)" srcset="([^"]+)"><img src="([^"]+)"', page)
    assert found is not None
    sides = []
    for uri in found.groups():
        box = re.search(rb'<svg[^>]* viewBox="0 0 ([\d.]+) ([\d.]+)"', decoded(uri))
        assert box is not None
        sides.append((float(box[1]), float(box[2])))  # points
    (narrow, tall), (wide, low) = sides
    assert narrow * 96 / 72 <= 390 < wide * 96 / 72, "px of CSS"
    assert tall > narrow and low < wide


def test_the_matrix_of_a_phone_has_the_same_links_in_390_px(page: str) -> None:
    desk, phone = (
        re.search(rf'<svg class="matrix {kind}" style="max-width: (\d+)px" viewBox="0 0 (\d+) (\d+)"(.*?)</svg>', page, re.S)
        for kind in ("desk", "phone")
    )  # fmt: skip
    assert desk is not None and phone is not None
    cells = [re.findall(r'href="(#cell-[^"]+)"', found[4]) for found in (desk, phone)]
    assert cells[0] == cells[1] and cells[0]
    width, height = float(phone[2]), float(phone[3])
    assert width / 130 * 96 <= 390, "at 130 dots per inch"
    for rect in re.findall(r'<rect x="([\d.]+)" y="([\d.]+)" width="([\d.]+)" height="([\d.]+)"', phone[4]):
        x, y, wide, tall = map(float, rect)
        assert x + wide <= width and y + tall <= height
        assert wide >= 28, "a cell holds its number in letters of 7 points"


def test_the_report_shows_the_first_batch(page: str) -> None:
    assert 'alt="The first batch"' in page


def test_the_model_and_the_best_simpler_method_have_their_colours() -> None:
    def row(name: str, value: float, own: bool = False) -> dict[str, object]:
        measure = {
            "value": value,
            "low": value - 0.01,
            "high": value + 0.01,
            "better": "higher",
            "unit": "",
            "title": "accuracy",
        }
        return {"name": name, "own": own, "measures": {"accuracy": measure}}

    rows = [row("this model", 0.9, own=True), row("a", 0.7), row("b", 0.8)]
    drawn = decoded(interval_plot(rows, "accuracy")).decode()
    order = [m for m in re.findall("#[0-9a-f]{6}", drawn) if m in (MODEL, SIMPLE, OTHER)]
    firsts = list(dict.fromkeys(order))
    assert firsts == [SIMPLE, OTHER, MODEL], "from the lowest row up: b, the best of the simpler ones, a, the model"
