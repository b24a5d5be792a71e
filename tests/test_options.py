# SPDX-License-Identifier: Apache-2.0
"""Options in a dataclass inside a dataclass: flat on the command line, in Python and in a run's record."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

import pytest

from pellucid import Run, train
from pellucid._options import build, options_of, unfolded, values_of
from pellucid.cli.cli import main
from pellucid.cli.options import of_class
from pellucid.data.transforms import Augment
from pellucid.errors import UsageError
from pellucid.tasks.classify import Classify


@dataclass(frozen=True)
class Restore:
    level: float = 0.1
    """strength of the noise"""
    augment: Augment = unfolded(
        Augment(rotate=15.0), "flip", "rotate", shift="crop", helps={"flip": "mirror half of the negatives"}
    )
    clip: bool = False
    """keep the noise within [0, 1]"""


def test_unfolded_fields_stand_where_their_dataclass_stands() -> None:
    assert list(options_of(Restore)) == ["level", "flip", "rotate", "shift", "clip"]
    assert options_of(Restore)["rotate"].default == 15.0
    assert values_of(Restore()) == {"level": 0.1, "flip": False, "rotate": 15.0, "shift": 0, "clip": False}


def test_values_survive_a_way_through_flat_options() -> None:
    task = Restore(0.3, Augment(rotate=15.0, flip=True, crop=3), True)
    assert build(Restore, values_of(task)) == task
    assert build(Restore, {}) == Restore()
    with pytest.raises(TypeError, match="turn"):
        build(Restore, {"turn": True})
    with pytest.raises(TypeError, match="Augment has no zoom"):
        unfolded(Augment(), "zoom")


def test_help_is_the_inner_field_s_unless_given() -> None:
    flags = {flag.name: flag for flag in of_class(Restore)}
    assert flags["flip"].help == "mirror half of the negatives"
    assert flags["flip"].kind is bool
    assert flags["rotate"].help == "rotate training images by up to this many degrees each way"
    assert flags["shift"].kind is int and "px" in flags["shift"].help
    # every field of Augment says what it is
    assert all(flag.help for flag in of_class(Augment))


def test_augmentation_is_flat_everywhere(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["train", "classify", "--data", "digits", "--model", "mlp", "--hidden", "4", "--epochs", "1"]
    words += ["--limit", "32", "--flip", "--rotate", "10"]
    assert main([*words, "--out", str(tmp_path / "a")]) == 0
    from_words = Run(tmp_path / "a")
    options = {"hidden": (4,), "epochs": 1, "limit": 32, "flip": True, "rotate": 10.0}
    from_python = train("classify", "digits", "mlp", tmp_path / "b", progress=False, **options)
    for run in (from_words, from_python):
        assert run.info["task"]["options"] == {
            "class_weights": False, "label_smoothing": 0.0, "positive": None, "threshold_by": "youden", "fit": "squash",
            "crop": 0, "flip": True, "rotate": 10.0, "stretch": 0.0, "slant": 0.0, "exposure": 0.0,
            "shading": 0.0, "contrast": 0.0, "noise": 0.0, "erase": 0.0, "mixup": 0.0, "cutmix": 0.0, "randaugment": [],
        }  # fmt: skip
        assert run.task == Classify(augment=Augment(flip=True, rotate=10.0))
        assert "--flip --rotate 10" in run.info["command"]
    assert from_words.history[-1]["loss"] == from_python.history[-1]["loss"]
    # the same command finds the run finished; another angle is another training
    capsys.readouterr()
    assert main([*words, "--out", str(tmp_path / "a")]) == 0
    assert main([*words[:-1], "20", "--out", str(tmp_path / "a")]) == 2
    assert "rotate=10" in capsys.readouterr().err


def test_the_help_lists_augmentation(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "classify", "-h"]) == 0
    shown = capsys.readouterr().out
    for field in dataclasses.fields(Augment):
        assert (f"--{field.name}" in shown) == (field.name not in ("turn", "scale"))


def test_a_value_out_of_range_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"^noise=2: must lie in \[0, 1\]; give another value\.$"):
        train("classify", "digits", "mlp", tmp_path / "run", noise=2)
    assert not (tmp_path / "run").exists()
