# SPDX-License-Identifier: Apache-2.0
"""What results show in a notebook's cell, and their data frames."""

from __future__ import annotations

import base64
import csv
import io
import json
import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from pellucid import data
from pellucid._notebooks import Rows
from pellucid.bridging.tables import layer_table
from pellucid.comparison.comparison import compare
from pellucid.data.inspection import inspect
from pellucid.looking.looking import look
from pellucid.run import Run
from pellucid.training.training import train


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Run]:
    folder = tmp_path_factory.mktemp("shown")
    made = [
        train(
            "classify", "digits", "mlp", folder / f"<{width}>", hidden=(width,), epochs=1, device="cpu", progress=False
        )
        for width in (4, 16)
    ]
    for run in made:
        run.evaluate(baselines=run is made[0])
    return made


def texts(page: str) -> list[list[str]]:
    """The cells of a table, row by row; it is well-formed."""
    root = ElementTree.fromstring(page)
    return [["".join(cell.itertext()) for cell in row if cell.tag in ("td", "th")] for row in root.iter("tr")]


def test_a_run_shows_what_it_is(runs: list[Run]) -> None:
    rows = dict(texts(runs[0]._repr_html_())[1:])
    assert rows["folder"] == str(runs[0].path)  # whose brackets are no tags
    assert (rows["task"], rows["model"], rows["status"]) == ("classify", "mlp", "finished")
    assert rows["best"].startswith("epoch 1, validation accuracy 0.")


def test_measures_show_a_table_and_stay_a_dict(runs: list[Run]) -> None:
    metrics = runs[0].metrics
    assert metrics is not None
    assert metrics == json.loads((runs[0].path / "metrics.json").read_text())
    head, *rows = texts(metrics._repr_html_())
    assert head[1:3] == ["accuracy", "top-5 accuracy"]
    assert [row[0] for row in rows] == ["model", *metrics["baselines"]]
    assert rows[0][1].startswith(f"{metrics['model']['accuracy']['value']:.4g} (")
    frame: Any = metrics.frame
    assert [*frame.columns[:3]] == ["owner", "measure", "value"]
    own = frame[(frame.owner == "model") & (frame.measure == "accuracy")].iloc[0]
    assert own.value == metrics["model"]["accuracy"]["value"]
    assert len(frame) == sum(len(measures) for measures in (metrics["model"], *metrics["baselines"].values()))


def test_the_history_is_a_list_and_a_frame(runs: list[Run]) -> None:
    history = runs[0].history
    assert history == [json.loads(line) for line in (runs[0].path / "history.jsonl").read_text().splitlines()]
    frame: Any = history.frame
    assert frame.loss.tolist() == [row["loss"] for row in history]
    head, *rows = texts(history._repr_html_())
    epochs = [row for row in history if row["split"] == "val"]
    assert [row[head.index("loss")] for row in rows] == [f"{row['loss']:.4g}" for row in epochs]
    assert "loss" in texts(Rows([{"step": 1, "loss": None}])._repr_html_())[0] and Rows()._repr_html_()


def test_a_comparison_is_a_table_and_a_frame(runs: list[Run], tmp_path: Path) -> None:
    found = compare(runs, tmp_path)
    page = found._repr_html_()
    assert page.startswith("<pre")
    assert "&lt;16&gt;" in page
    frame: Any = found.frame
    with found.files[0].open(newline="") as file:
        rows = [*csv.DictReader(file)]
    assert [*frame.columns] == [*rows[0]]
    assert frame.accuracy.tolist() == [pytest.approx(float(row["accuracy"])) for row in rows]
    assert frame.run.tolist() == [row["run"] for row in rows]


def test_a_view_shows_its_picture_and_its_words(runs: list[Run], tmp_path: Path) -> None:
    view = look(runs[0], "occlusion", np.zeros((8, 8), np.uint8), tmp_path, patch=4, stride=4)
    page = view._repr_html_()
    root = ElementTree.fromstring(page)
    [picture] = root.iter("img")
    kind, _, inside = picture.attrib["src"].partition(",")
    assert kind == "data:image/png;base64"
    image = Image.open(io.BytesIO(base64.b64decode(inside)))
    assert image.width > 100
    assert np.asarray(image.convert("L")).std() > 1
    [caption] = root.iter("figcaption")
    assert caption.text == view.words


def test_other_tables_show_themselves() -> None:
    assert "1,797 images" in inspect(data.open("digits"))._repr_html_()
    shown = layer_table("mlp", (1, 8, 8), 10)._repr_html_()
    assert re.match(r"<pre>", shown)
    assert "dense" in shown.lower() or "Linear" in shown
