# SPDX-License-Identifier: Apache-2.0
"""The tables and the plot of measures: comparable measures side by side, the others apart."""

from __future__ import annotations

import base64
import shutil
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, PngImagePlugin

from pellucid.reporting.formatting import interval, number, signed
from pellucid.reporting.measures import _limits, columns, counts, options, results, tables
from pellucid.reporting.pictures import figures, looks
from pellucid.run import Run


def measure(value: float | None, half: float = 0.01, better: str = "higher") -> dict[str, Any]:
    ends = {"low": None, "high": None} if value is None else {"low": value - half, "high": value + half}
    return {"value": value, **ends, "unit": "", "better": better}


def metrics(model: dict[str, Any], **baselines: dict[str, Any]) -> dict[str, Any]:
    return {"main": next(iter(model)), "model": model, "baselines": baselines, "on_same_images": None}


def test_the_best_of_each_column_is_marked() -> None:
    rows = results(
        metrics(
            {"psnr": measure(30), "mae": measure(0.1, better="lower"), "area": measure(1, better="neither")},
            median={"psnr": measure(31), "mae": measure(0.2, better="lower"), "area": measure(1, better="neither")},
        )
    )
    assert [row["best"] for row in rows] == [{"mae"}, {"psnr"}]


def test_a_floor_is_named_and_never_the_best() -> None:
    model = {"energy": measure(0.3, better="lower")}
    baselines = {
        "training images": {"energy": measure(0.1, better="lower")},
        "Gaussian": {"energy": measure(0.2, better="lower")},
    }
    rows = results(metrics(model, **baselines), floors=("training images",))
    assert [row["name"] for row in rows] == ["this model", "training images (the floor)", "Gaussian"]
    assert [row["best"] for row in rows] == [set(), set(), {"energy"}]


def test_columns_hold_what_can_be_compared() -> None:
    model = {"psnr": measure(30), "before": measure(20), "stability": measure(0.9)}
    rows = results(metrics(model, median={"psnr": measure(31), "before": measure(20)}))
    assert columns(rows, "psnr") == {"table": ["psnr"], "same": ["before"], "alone": ["stability"]}
    # without baselines there is nothing to tell apart
    assert columns(results(metrics(model)), "psnr")["table"] == ["psnr", "before", "stability"]
    # the main measure stays in the table, also where a baseline has none
    assert columns(results(metrics(model, median={})), "psnr")["table"] == ["psnr"]


def test_a_hopeless_baseline_does_not_squeeze_the_plot() -> None:
    near = {"a": {"accuracy": measure(0.98)}, "b": {"accuracy": measure(0.96)}}
    rows = results(metrics({"accuracy": measure(0.97)}, **near, majority={"accuracy": measure(0.1)}))
    assert _limits(rows, "accuracy") == pytest.approx((0.95, 0.99))
    rows = results(metrics({"accuracy": measure(0.97)}, **near, c={"accuracy": measure(0.93)}))
    assert _limits(rows, "accuracy") == pytest.approx((0.92, 0.99))
    # the model itself is always inside
    rows = results(metrics({"accuracy": measure(0.1)}, **near))
    assert _limits(rows, "accuracy") == pytest.approx((0.09, 0.99))


def test_the_limit_of_training_images_is_shown_where_it_bites() -> None:
    data = {"images": {"train": 100, "test": 20}, "counts": {}, "classes": []}
    assert [counts(data, {"limit": limit})["used"] for limit in (None, 30, 100)] == [None, 30, None]


def test_what_nobody_asked_for_is_a_default_also_in_a_family_of_tasks() -> None:
    """The options of `generate` belong to the family, and those of its training differ from the other tasks'."""
    gan = Path(__file__).parents[1] / "runs_0_1_0" / "gan"
    command = Run(gan).info["command"]
    changed = {name for group in options(Run(gan)) for name, _ in group["changed"]}
    assert changed
    assert [name for name in changed if f"--{name.replace(' ', '-')}" not in command] == []


def test_only_lists_of_rows_become_tables() -> None:
    details = {"per_class": [{"class": "a", "n": 1}], "confusion": [[1, 0], [0, 1]], "empty": []}
    assert [(table["title"], table["columns"]) for table in tables(details)] == [("per class", ["class", "n"])]


def test_numbers_have_the_digits_of_their_interval_and_a_minus_sign() -> None:
    found = {"value": -87.213, "low": -88.731, "high": -85.944}
    assert (number(found), interval(found)) == ("−87.2", "−88.7 to −85.9")
    assert (number(-0.5), number({"value": None}), number("a-b"), number(1200)) == ("−0.5", "–", "a-b", "1,200")
    assert signed(0.0, 0.0, 0.0) == ("+0", "+0", "+0")


def test_a_figure_of_evaluation_and_a_picture_of_a_lens_are_told_apart_by_their_caption(tmp_path: Path) -> None:
    """Both may have the same file name: the file belongs to whoever wrote it last."""
    shutil.copy(Path(__file__).parents[1] / "runs_0_1_0" / "denoise" / "run.json", tmp_path)
    (tmp_path / "figures").mkdir()
    file = tmp_path / "figures" / "neighbours.png"
    run, drawn = Run(tmp_path), {"pictures": [{"name": "neighbours", "title": "Samples", "words": "Beside them …"}]}
    Image.new("RGB", (4, 4), "red").save(file)
    [figure] = figures(run, drawn)
    assert base64.b64decode(figure["picture"].split(",")[1]) == file.read_bytes()
    assert looks(run) == []
    about = PngImagePlugin.PngInfo()
    about.add_text("Description", "The nearest are …")
    Image.new("RGB", (4, 4), "blue").save(file, pnginfo=about)
    assert figures(run, drawn) == []
    assert [(look["name"], look["words"]) for look in looks(run)] == [("neighbours", "The nearest are …")]
