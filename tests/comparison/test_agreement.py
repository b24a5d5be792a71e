# SPDX-License-Identifier: Apache-2.0
"""Runs of several seeds against each other, without labels."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score

from pellucid.comparison.comparison import compare
from pellucid.inference import predict
from pellucid.run import Run
from pellucid.training.training import train

BRIEF: Mapping[str, Any] = {"limit": 200, "epochs": 1, "clusters": 5, "widths": (4, 8), "progress": False}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Run]:
    """Two seeds of one setting, and one of another."""
    folder = tmp_path_factory.mktemp("agreement")
    return [
        train("cluster", "digits", None, folder / f"{method}{seed}", method=method, seed=seed, **BRIEF)
        for method, seed in (("kmeans", 0), ("kmeans", 1), ("mixture", 0))
    ]


def test_runs_agree_as_far_as_their_clusters_of_the_validation_images_do(runs: list[Run], tmp_path: Path) -> None:
    found = compare(runs, tmp_path)
    images = runs[0].data()["val"].images
    pictures = [images.read(i, channels=1)[0] for i in range(len(images))]
    clusters = [[row["cluster"] for row in predict(run, pictures)] for run in runs[:2]]
    truth = adjusted_rand_score(*clusters)
    first, second, alone = found.rows
    assert first.agreement == second.agreement == pytest.approx(truth, abs=0.02)
    assert 0 < truth < 1
    assert alone.agreement is None, "there is no other seed of it"
    assert any("takes no labels" in note for note in found.notes)
    lines = list(csv.DictReader((tmp_path / "comparison.csv").read_text(encoding="utf-8").splitlines()))
    assert [line["agreement"] for line in lines] == [str(first.agreement), str(second.agreement), ""]


def test_a_run_and_its_copy_are_no_two_seeds(runs: list[Run], tmp_path: Path) -> None:
    """One training twice would agree with itself, which says nothing of another seed."""
    shutil.copytree(runs[0].path, tmp_path / "again")
    found = compare([runs[0], Run(tmp_path / "again")], tmp_path / "compared")
    assert [row.agreement for row in found.rows] == [None, None]


def test_without_validation_images_it_says_so(runs: list[Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read = Run.read

    def without(self: Run, what: Any = None) -> Any:
        data, task = read(self, what)
        return replace(data, splits={**data.splits, "val": data.splits["val"].select(np.arange(0))}), task

    monkeypatch.setattr(Run, "read", without)
    found = compare(runs[:2], tmp_path)
    assert [row.agreement for row in found.rows] == [None, None]
    assert sum("could not be measured: data='digits': has no validation images" in note for note in found.notes) == 2


def test_other_tasks_have_no_such_column(tmp_path: Path) -> None:
    short: dict[str, Any] = {"hidden": (8,), "epochs": 1, "limit": 100, "progress": False}
    pair = [train("classify", "digits", "mlp", tmp_path / str(seed), seed=seed, **short) for seed in (0, 1)]
    found = compare(pair)
    assert [row.agreement for row in found.rows] == [None, None]
    assert "agreement" not in found.frame.columns
    assert np.isfinite(found.frame["accuracy"]).all()
