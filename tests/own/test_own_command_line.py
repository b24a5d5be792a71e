# SPDX-License-Identifier: Apache-2.0
"""Classes of one's own on the command line: FILE.py:NAME at each command."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pellucid.cli.cli import main
from pellucid.own import parts

NET = '''
from torch import nn
from layers import activation

class Net(nn.Module):
    """Two dense layers."""

    def __init__(self, channels: int, outputs: int, size: tuple[int, int], width: int = 8):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Flatten(), nn.Linear(channels * size[0] * size[1], width), activation(), nn.Linear(width, outputs)
        )

    def forward(self, images):
        return self.layers(images)
'''
TASK = '''
from dataclasses import dataclass
from pellucid.tasks.classify import Classify

@dataclass(frozen=True)
class Mine(Classify):
    """Which class does an image show, as I see it?"""

    sharpness: float = 1.0
    """how sure the answers are made"""

    def evidence(self, output):
        return super().evidence(output * self.sharpness)
'''
SMALL = "--epochs 1 --device cpu --limit 256"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("files")
    (place / "my.py").write_text(NET)
    (place / "layers.py").write_text("from torch import nn\n\ndef activation():\n    return nn.Tanh()\n")
    (place / "task.py").write_text(TASK)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        assert main(f"train classify --data digits --model my.py:Net --out run --width 12 {SMALL}".split()) == 0
    return place


@pytest.fixture
def place(trained: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of the files, in what is to each command a new process."""
    monkeypatch.chdir(trained)
    before = dict(sys.modules)
    for name in ("my", "layers", "task"):
        sys.modules.pop(name, None)
    parts._given.clear()
    parts._latest.clear()
    yield trained
    for name in {*sys.modules} - {*before}:
        if name in ("my", "layers", "task"):
            del sys.modules[name]


def test_the_run_names_the_file_and_holds_the_source_of_all_that_the_class_uses(place: Path) -> None:
    info = json.loads((place / "run" / "run.json").read_text())
    own = info["model"]["own"]
    assert (info["model"]["name"], own["class"], own["file"]) == ("my:Net", "Net", "my.py")
    assert info["model"]["options"] == {"width": 12}
    assert "return nn.Tanh()" in own["source"]  # of layers.py, which the class imports
    assert "--model my.py:Net" in info["command"]


def test_the_recorded_command_finds_its_run_again(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    info = json.loads((place / "run" / "run.json").read_text())
    assert main(shlex.split(info["command"])[1:]) == 0
    assert "finished" in capsys.readouterr().out
    assert json.loads((place / "run" / "run.json").read_text())["digests"] == info["digests"]


@pytest.mark.parametrize(
    "command", ["evaluate run", "predict run zero.png", "export run --formats torch", "look run filters"]
)
def test_without_the_class_each_command_says_what_is_missing(
    place: Path, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Image.fromarray(np.zeros((8, 8), np.uint8)).save("zero.png")
    assert main(command.split()) == 2
    said = capsys.readouterr().err
    assert "its model is Net of the module 'my', which is not in pellucid" in said
    assert "--model my.py:Net (its source is in run.json)" in said
    assert len(said.strip().splitlines()) == 1


@pytest.mark.parametrize(
    "command",
    [
        "evaluate run --no-baselines",
        "predict run zero.png",
        "export run --formats torch",
        "look run occlusion zero.png --patch 4 --stride 4",
        pytest.param("report run --maps 0", marks=pytest.mark.slow),
    ],
)
def test_with_the_class_given_again_each_command_works(
    place: Path, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Image.fromarray(np.zeros((8, 8), np.uint8)).save("zero.png")
    assert main([*command.split(), "--model", "my.py:Net"]) == 0
    assert "warning" not in capsys.readouterr().err
    if command.startswith("report"):
        page = (place / "run" / "report.html").read_text()
        digest = json.loads((place / "run" / "run.json").read_text())["model"]["own"]["digest"]
        assert f"Net of my.py, source {digest[:12]}" in page


def test_a_file_that_was_changed_since_is_said(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (place / "later.py").write_text(NET.replace("activation()", "nn.ReLU()"))
    assert main(["evaluate", "run", "--no-baselines", "--model", "later.py:Net"]) == 0
    assert "its model was Net, and Net is of another source (digest" in capsys.readouterr().err
    assert main(f"train classify --data digits --model later.py:Net --out run --width 12 {SMALL}".split()) == 2
    assert "holds a run of model Net of another source" in capsys.readouterr().err


def test_a_helper_that_was_changed_since_is_said(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    layers = (place / "layers.py").read_text()
    (place / "layers.py").write_text(layers.replace("Tanh", "ReLU"))
    try:
        assert main(["evaluate", "run", "--no-baselines", "--model", "my.py:Net"]) == 0
        assert "of another source" in capsys.readouterr().err
        for name in ("my", "layers"):
            sys.modules.pop(name, None)
        assert main(f"train classify --data digits --model my.py:Net --out run --width 12 {SMALL}".split()) == 2
        assert "holds a run of model Net of another source" in capsys.readouterr().err
    finally:
        (place / "layers.py").write_text(layers)


def test_help_shows_the_options_of_the_class(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "classify", "--model", "my.py:Net", "-h"]) == 0
    shown = capsys.readouterr().out
    assert "--width" in shown
    assert "Two dense layers" in shown


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("--model my.py:Nett", "model='my.py:Nett': there is no Nett in my.py; it has Net."),
        ("--model my.py", "model='my.py': names no class; write my.py:Net."),
        ("--model no.py:Net", "model='no.py:Net': there is no file no.py; name one that has the class."),
        ("--model bad.py:Net", "bad.py cannot be run (SyntaxError"),
        ("--model quits.py:Net", "quits.py cannot be run (SystemExit"),
        ("--model my.py:Net --wide 3", "option='--wide' is not known; did you mean '--width'?"),
        ("--task my.py:Net", "task=Net: is no task; give a class that is made from pellucid.tasks.Task."),
    ],
)
def test_what_cannot_be_is_one_sentence(
    place: Path, words: str, sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (place / "bad.py").write_text("class Net(:\n")
    (place / "quits.py").write_text("import sys\nsys.exit(3)\n")
    before = {*place.iterdir()}
    assert main(["train", *words.split(), "--data", "digits", "--out", "new"]) == 2
    said = capsys.readouterr().err
    assert sentence in said
    assert len(said.strip().splitlines()) == 1
    assert {*place.iterdir()} == before or {path.name for path in {*place.iterdir()} - before} == {"__pycache__"}


def test_a_task_of_ones_own(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = f"train --task task.py:Mine --data digits --model mlp --hidden 4 --sharpness 2 --out mine {SMALL}"
    assert main(words.split()) == 0
    info = json.loads((place / "mine" / "run.json").read_text())
    assert (info["task"]["name"], info["task"]["own"]["class"]) == ("task:Mine", "Mine")
    assert info["task"]["options"]["sharpness"] == 2.0
    assert "how sure" in info["task"]["own"]["source"]
    assert main(shlex.split(info["command"])[1:]) == 0
    sys.modules.pop("task")
    parts._given.clear()
    parts._latest.clear()
    capsys.readouterr()
    assert main(["evaluate", "mine", "--no-baselines"]) == 2
    assert "its task is Mine of the module 'task'" in capsys.readouterr().err
    assert main(["evaluate", "mine", "--no-baselines", "--task", "task.py:Mine"]) == 0


def test_a_sweep_over_a_class_and_a_model_of_the_catalogue(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(f"sweep classify --data digits --model my.py:Net mlp --out swept {SMALL}".split()) == 0
    assert {path.name for path in (place / "swept").iterdir() if (path / "run.json").exists()} == {"my_Net", "mlp"}
    cases = ["--case", "own: --model my.py:Net --width 4", "other: --model=my.py:Net --width=6"]
    assert main(["sweep", "classify", "--data", "digits", *cases, "--out", "cases", *SMALL.split()]) == 0
    widths = {
        path.parent.name: json.loads(path.read_text())["model"]["options"]
        for path in (place / "cases").glob("*/run.json")
    }
    assert widths == {"own": {"width": 4}, "other": {"width": 6}}


def test_an_installed_module_hides_no_file_of_its_name(place: Path) -> None:
    (place / "json.py").write_text(NET.replace("from layers import activation\n", "activation = nn.ReLU\n"))
    try:
        assert main(f"train classify --data digits --model json.py:Net --out named {SMALL}".split()) == 0
    finally:
        (place / "json.py").unlink()
    assert sys.modules["json"] is json
    assert json.loads((place / "named" / "run.json").read_text())["model"]["own"]["file"] == "json.py"
