# SPDX-License-Identifier: Apache-2.0
"""Lenses on models with dead units, with NaN or with one output, and on images of one pixel or one colour."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from torch import Tensor, nn

from pellucid.errors import UsageError
from pellucid.looking.looking import look

LENSES = (
    "occlusion",
    "attribution",
    "adversarial",
    "neighbours",
    "filters",
    "flow",
)  # guided_backprop is an attribution
SLOW = (pytest.mark.slow, pytest.mark.hostile)


class Small(nn.Module):
    """Two convolutions and a dense layer; `middle` stands between the convolutions."""

    def __init__(self, middle: Any = lambda x: x, outputs: int = 3, end: Any = lambda x: x) -> None:
        super().__init__()
        self.middle, self.end = middle, end
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.first, self.second = nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 6, 3, padding=1)
            self.last = nn.Linear(6, outputs)

    def forward(self, x: Tensor) -> Any:
        found = self.middle(torch.relu(self.first(x)))
        return self.end(self.last(torch.relu(self.second(found)).mean((2, 3))))


def dead() -> nn.Module:
    """No unit of the first layer ever responds."""
    model = Small().eval()
    model.first.bias.data.fill_(-100)
    return model


IMAGES = {
    "noise": [np.random.default_rng(i).random((10, 10)) for i in range(3)],
    "one colour": [np.full((10, 10), 0.5)] * 2,
    "one pixel": [np.full((1, 1), value) for value in (0.2, 0.7)],
    "a row": [np.random.default_rng(i).random((1, 12)) for i in range(2)],
}


def seen(model: nn.Module, lens: str, images: str, folder: Path) -> Any:
    options: dict[str, Any] = {"depths": 2, "tested": 1} if lens == "attribution" else {}
    view = look(model, lens, IMAGES[images], folder, **options)
    canvas = FigureCanvasAgg(view.figure)
    canvas.draw()
    assert np.asarray(canvas.buffer_rgba())[..., :3].std() > 1, "something is drawn"
    assert " nan" not in view.words and "not finite of" not in view.words
    return view


@pytest.mark.parametrize("lens", LENSES)
def test_dead_units_are_named(lens: str, tmp_path: Path) -> None:
    wanted = {
        "occlusion": "by more than 0.1 points: the map shows noise.",
        "attribution": "3 of 3 maps are empty: no pixel changes the score",
        "adversarial": "the gradient of 3 is 0 everywhere",
        "filters": "Dead for the 3 images shown, with one value everywhere: 4 of 4 filters of first, 6 of 6 filters of second.",
        "flow": "of 10 ReLU units dead",
    }
    if lens == "neighbours":
        with pytest.raises(UsageError, match="gives these 3 images one and the same code"):
            seen(dead(), lens, "noise", tmp_path)
        return
    words = seen(dead(), lens, "noise", tmp_path).words
    assert wanted[lens] in words
    assert "falls faster" not in words and "grows" not in words


@pytest.mark.parametrize("lens", [lens for lens in LENSES if lens != "flow"])
@pytest.mark.parametrize("images", ["one pixel", *(pytest.param(name, marks=SLOW) for name in ("one colour", "a row"))])
def test_images_without_detail_are_seen(lens: str, images: str, tmp_path: Path) -> None:
    seen(Small().eval(), lens, images, tmp_path)


@pytest.mark.parametrize("lens", LENSES)
def test_values_that_are_no_numbers_are_one_sentence(lens: str, tmp_path: Path) -> None:
    model = Small(middle=lambda x: x / 0 - x / 0).eval()
    if lens in ("filters", "flow"):
        assert "not finite" in seen(model, lens, "noise", tmp_path).words
    else:
        with pytest.raises(UsageError, match=r"NaN\)|not finite") as told:
            seen(model, lens, "noise", tmp_path)
        assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    ("lens", "end"),
    [
        ("occlusion", lambda x: x),
        ("attribution", lambda x: x.sigmoid()[:, 0]),
        ("adversarial", lambda x: x),
        ("flow", lambda x: x.sigmoid()[:, 0]),
    ],
)
def test_one_output_is_seen(lens: str, end: Any, tmp_path: Path) -> None:
    assert "class 1" in seen(Small(outputs=1, end=end).eval(), lens, "noise", tmp_path).words


def test_an_output_without_a_gradient_is_said(tmp_path: Path) -> None:
    assert "the output has no gradient" in seen(Small(end=lambda x: x.detach()).eval(), "flow", "noise", tmp_path).words


def test_a_faint_attribution_is_named_noise_and_drawn_pale(tmp_path: Path) -> None:
    faint = Small(end=lambda x: x.detach() + 1e-4 * x).eval()
    view = look(faint, "attribution", IMAGES["noise"][:1], tmp_path, method="saliency", depths=0)
    assert "the map shows noise, since all pixels together change the score by less than 0.01" in view.words
    drawn = next(axes.images[0] for axes in view.figure.axes if axes.get_title() == "saliency")
    assert drawn.get_clim()[1] > 5 * np.abs(view["map"]).max()


def test_feature_maps_of_a_layer_have_one_scale(tmp_path: Path) -> None:
    """A channel that hardly varies is dark beside one that does, rather than stretched to the same contrast."""
    model = Small().eval()
    model.first.weight.data[1] *= 1e-4
    model.first.bias.data[1] = 0
    view = look(model, "filters", IMAGES["noise"][:1], tmp_path)
    maps = view["maps/first"][0]
    texts = [text.get_text() for axes in view.figure.axes for text in axes.texts]
    assert f"first   4×10×10   from {maps.min():.2g} to {maps.max():.2g}" in texts
    drawn = [np.asarray(one.get_array()) for axes in view.figure.axes for one in axes.images]
    _, *tiles = [tile for tile in drawn if tile.shape == (10, 10, 3)][:5]  # the image, and the four channels
    spans = [float(np.ptp(tile.reshape(-1, 3), axis=0).max()) for tile in tiles]
    assert spans[-1] < 0.01 < 0.5 < spans[0], "the faint channel, which varies least, comes last"
