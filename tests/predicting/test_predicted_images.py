# SPDX-License-Identifier: Apache-2.0
"""Predictions for images that are damaged, hidden or oddly named: a row for each, and the others as if these were not there."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from brief import BRIEF
from pictures import damaged, names, save

from pellucid import files
from pellucid.cli.cli import main
from pellucid.inference import predict
from pellucid.run import Run
from pellucid.training.training import train


def test_the_exit_code_and_the_count(classifier: Run, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("a.png", "b.png", "c.png"):
        save(f"in/{name}")
    Path("in/d.png").write_bytes(b"no image")
    Path("in/e.png").write_bytes(b"")
    run = str(classifier.path)
    assert main(["predict", run, "in", "--out", "answers"]) == 0
    assert "3 of 5 images answered; not d.png, e.png (see error)" in capsys.readouterr().out
    assert main(["predict", run, "in/a.png"]) == 0
    assert "answered" not in capsys.readouterr().out
    assert main(["predict", run, "in/d.png", "in/e.png"]) == 2
    said = capsys.readouterr()
    assert said.err.count("\n") == 1
    assert "images: none of the 2 could be answered; the first: image='in/d.png': cannot be read, because" in said.err
    assert main(["predict", run, "a" * 5000]) == 2
    assert "is neither a file nor a folder and matches nothing" in capsys.readouterr().err
    assert main(["predict", run, "in/e.png", "--out", "e.png"]) == 2
    assert "image='in/e.png': cannot be read, because it is empty; replace or remove it." in capsys.readouterr().err


@pytest.mark.filterwarnings("ignore:noise:pellucid.errors.PellucidWarning")  # the pictures are noise
def test_damage_that_only_decoding_shows_is_a_row_each_time(denoiser: Run, classifier: Run, place: Path) -> None:
    for i in range(3):
        save(f"in/{i}.png", 12, 12, seed=i)
    damaged("in/1b.png")
    expected = None
    for run in (denoiser, classifier):
        for _ in range(2):
            rows = predict(run, "in", batch_size=2)
            assert ["error" in row for row in rows] == [False, False, True, False]
            assert rows[2]["name"] == "1b.png"
            expected = expected or rows[2]["error"]
            assert rows[2]["error"] == expected
        os.utime("in/1b.png", (1, 1))  # the cache has never seen this file
        alone = [predict(run, f"in/{i}.png")[0] for i in range(3)]
        for row, single in zip([rows[0], rows[1], rows[3]], alone, strict=True):
            assert row.get("label") == single.get("label")
            assert np.array_equal(row.get("picture", 0), single.get("picture", 0))


def test_the_cluster_of_the_others_is_told_beside_damage(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = train("cluster", "digits", "autoencoder", place / "run", method="kmeans", clusters=2, encoder=(8,), **BRIEF)
    for i in range(3):
        save(f"in/{i}.png", 12, 12, seed=i)
    damaged("in/1b.png")
    for _ in range(2):
        rows = predict(run, "in", hierarchy="ward", cut=2)
        assert ["error" in row for row in rows] == [False, False, True, False, False]
        assert rows[4]["name"] == "dendrogram-ward"
    assert main(["predict", "run", "in", "--hierarchy", "ward", "--cut", "2"]) == 0
    assert "3 of 4 images answered; not 1b.png" in capsys.readouterr().out
    (row,) = predict(run, "in/1b.png", hierarchy="ward")
    assert "error" in row


def test_hidden_files_and_litter_are_no_images(classifier: Run, place: Path) -> None:
    save("in/a.png")
    for name in ("in/._a.png", "in/.hidden.png", "in/.cache/b.png", "in/__MACOSX/._a.png", "in/__MACOSX/c.png"):
        (place / name).parent.mkdir(exist_ok=True)
        (place / name).write_bytes(b"resource fork")
    (place / "in/Thumbs.db").write_bytes(b"thumbnails")
    for images in ("in", "in/*", "in/**/*", ["in/Thumbs.db", "in/a.png", "in/__MACOSX"]):
        assert [row["name"] for row in predict(classifier, images)] == ["a.png"]


ODD = ["[red].png", "[/b].png", ":cat:.png", "=1+1.png", "-x.png", "@a.png", "'q.png", "two\nlines.png", "\tt.png"]


@pytest.fixture
def odd(place: Path) -> Callable[[], list[str]]:
    def make() -> list[str]:
        made = []
        for name in [*ODD, os.fsdecode(b"caf\xe9.png")]:
            try:
                save(place / "in" / name)
            except OSError:  # a file system that takes no such name
                continue
            made.append(name)
        return made

    return make


@pytest.mark.parametrize("format", ["json", "csv"])
def test_any_name_is_answered_printed_and_read_back(
    classifier: Run, denoiser: Run, odd: Any, format: str, capsys: pytest.CaptureFixture[str]
) -> None:
    made = odd()
    for run in (denoiser, classifier):
        assert main(["predict", str(run.path), "in", "--out", "answers", "--format", format]) == 0
        said = capsys.readouterr().out
        assert all(name in said for name in ("[red].png", "[/b].png", ":cat:.png", r"two\nlines.png"))
        text = (Path("answers") / f"predictions.{format}").read_text(encoding="utf-8")
        if format == "json":
            assert {row["name"] for row in json.loads(text)} == {*made}
        else:
            rows = list(csv.DictReader(text.splitlines(keepends=True)))
            assert all(row["name"][0] not in "=+-@\t\r" for row in rows), "a spreadsheet would run it"
            back = {row["name"].removeprefix("'") for row in rows}
            assert back == {name.encode("utf-8", "backslashreplace").decode() for name in made}
            assert run is denoiser or all(0 <= float(row["probability"]) <= 1 for row in rows)
    assert len(names(Path("answers"))) == len(made)


def test_numbers_in_a_csv_stay_numbers(tmp_path: Path) -> None:
    files.write_csv(tmp_path / "a.csv", [{"a": -1.5, "b": "-2", "c": "+x", "=d": ""}, {"a": None, "e": "\r"}])
    with (tmp_path / "a.csv").open(newline="") as file:
        rows = list(csv.reader(file))
    assert rows == [["a", "b", "c", "'=d", "e"], ["-1.5", "-2", "'+x", "", ""], ["", "", "", "", "'\r"]]


def test_classes_that_look_like_markup_are_printed(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for seed, label in enumerate(("[red]", "[x] [y]", ":cat:")):
        for i in range(12):
            save(f"data/{label}/{i}.png", 8, 8, seed=100 * seed + i)
    train("classify", "data", "mlp", place / "run", hidden=(4,), epochs=1, device="cpu", progress=False)
    for words in (["data", "data"], ["evaluate", "run"], ["predict", "run", "data/[red]"]):
        assert main(words) == 0, words
    said = capsys.readouterr().out
    assert all(label in said for label in ("[red]", "[x] [y]", ":cat:"))
