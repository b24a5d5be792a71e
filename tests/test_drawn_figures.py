# SPDX-License-Identifier: Apache-2.0
"""Figures as files: cut to what is on them, with their words, as matplotlib's own tight boxes cut them."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from pellucid._png import drawn


def made(layout: Any) -> Figure:
    figure = Figure(figsize=(4, 3), dpi=100, layout=layout)
    axes = figure.subplots()
    axes.plot([0, 1, 2], [0, 3, 1], label="a line")
    axes.set_box_aspect(1)  # leaves room at the sides, which is cut off
    axes.set(xlabel="across", title="a title")
    return figure


def inked(content: bytes) -> NDArray[np.bool_]:
    with Image.open(io.BytesIO(content)) as picture:
        return np.asarray(picture.convert("RGB")).min(2) < 255


@pytest.mark.parametrize("layout", ["constrained", None])
def test_a_figure_is_cut_to_its_tight_box(layout: Any) -> None:
    tight = io.BytesIO()
    made(layout).savefig(tight, format="png", bbox_inches="tight", facecolor="white")
    one, other = inked(drawn(made(layout))), inked(tight.getvalue())
    for axis in (0, 1):
        ink, wanted = (np.flatnonzero(pixels.any(axis)) for pixels in (one, other))
        assert abs((ink[-1] - ink[0]) - (wanted[-1] - wanted[0])) <= 2, "nothing is cut off, and nothing else is there"
        assert abs(one.shape[1 - axis] - other.shape[1 - axis]) <= 12
    assert abs(one.sum() / other.sum() - 1) < 0.05


def test_it_keeps_words_and_dots_per_inch() -> None:
    figure = made("constrained")
    small, large = drawn(figure), drawn(figure, 200, {"Title": "roc", "Description": "Δ is −3 %"})
    with Image.open(io.BytesIO(large)) as picture:
        assert (picture.info["Title"], picture.info["Description"]) == ("roc", "Δ is −3 %")
        assert picture.info["dpi"][0] == pytest.approx(200, abs=0.1)
        wide = picture.width
    with Image.open(io.BytesIO(small)) as picture:
        assert wide == pytest.approx(2 * picture.width, abs=6)
    assert figure.dpi == 100


def test_an_empty_figure_is_white() -> None:
    assert not inked(drawn(Figure(figsize=(1, 1), layout="constrained"))).any()


@pytest.mark.parametrize("dpi", [100, 200])
def test_pictures_that_are_measured_without_being_drawn_are_where_a_tight_box_has_them(dpi: int) -> None:
    def tiles() -> Figure:
        figure = Figure(figsize=(4, 3), dpi=100)
        for place in range(3):
            axes = figure.add_axes((0.1 + 0.3 * place, 0.4, 0.25, 0.5))
            axes.imshow(np.arange(12.0).reshape(4, 3) + place)  # keeps its pixels square, and so moves in its axes
            axes.set(title=f"tile {place} with a long title")
            axes.set_visible(place != 1)
        hidden = figure.add_axes((0, 0, 1, 0.1)).imshow(np.zeros((2, 9)))
        hidden.set_visible(False)
        hidden.axes.set_axis_off()
        return figure

    tight, figure = io.BytesIO(), tiles()
    tiles().savefig(tight, format="png", dpi=dpi, bbox_inches="tight", facecolor="white")
    with Image.open(io.BytesIO(drawn(figure, dpi))) as one, Image.open(tight) as other:
        assert (np.asarray(one) == np.asarray(other)).all()
    assert figure.dpi == 100
    assert [image.get_visible() for axes in figure.axes for image in axes.images] == [True, True, True, False]
