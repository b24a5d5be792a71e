# SPDX-License-Identifier: Apache-2.0
"""The command line from end to end: one small run through every command, and its help."""

from __future__ import annotations

import csv
import importlib.util
import inspect
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pellucid import _catalog
from pellucid.cli import listing
from pellucid.cli.cli import COMMANDS, main

TRAIN = ["train", "classify", "--data", "digits", "--model", "mlp", "--hidden", "24", "--epochs", "4", "--seed", "3"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which `pellucid train` has made the run runs/small."""
    folder = tmp_path_factory.mktemp("cli")
    before = Path.cwd()
    os.chdir(folder)
    try:
        assert main([*TRAIN, "--out", "runs/small"]) == 0
    finally:
        os.chdir(before)
    return folder


@pytest.fixture
def place(trained: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(trained)
    return trained


def info(place: Path) -> dict[str, object]:
    found: dict[str, object] = json.loads((place / "runs/small/run.json").read_text())
    return found


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    for words in ([], ["-h"], ["--help"], ["help"]):
        assert main(words) == 0
        shown = capsys.readouterr().out
        assert re.findall(r"^  (\w+) {2,}\w", shown.split("options:")[0], re.MULTILINE) == [*COMMANDS]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([command, "-h"]) == 0
    shown = capsys.readouterr().out
    assert f"usage: pellucid {command}" in shown
    assert "-h, --help" in shown


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        (
            "train -h",
            ["classify options", "convnet options", "training options", "--epochs INT", "--batch-size INT"],
        ),
        ("train denoise -h", ["denoise options", "unet options", "--level FLOAT"]),
        ("train --model mlp -h", ["mlp options", "--hidden INT", "--dropout FLOAT"]),
        ("sweep classify --model mlp convnet -h", ["mlp options", "convnet options", "--lr FLOAT …"]),
        ("look runs/x occlusion -h", ["occlusion options"]),
    ],
)
def test_help_shows_the_options_of_what_is_named(
    words: str, wanted: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words.split()) == 0
    shown = capsys.readouterr().out
    assert [text for text in wanted if text not in shown] == []


def test_the_help_of_train_says_where_the_options_of_another_model_are(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "-h"]) == 0
    shown = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert "`--model NAME -h` shows the options of another one" in shown


@pytest.mark.parametrize("task", _catalog.names("tasks"))
def test_every_option_says_what_it_is(task: str) -> None:
    from pellucid.cli.options import of_training

    silent = [
        f"{group.title}: {flag.written}"
        for group in of_training(task, _catalog.names("models"))
        for flag in group.flags
        if len(flag.help) < 5
    ]
    assert silent == []


def test_train_records_what_was_asked(place: Path) -> None:
    found = info(place)
    assert found["status"] == "finished"
    assert found["model"]["options"] == {"hidden": [24]}  # type: ignore[index]
    assert found["recipe"]["epochs"] == 4  # type: ignore[index]
    assert found["seed"] == 3


def test_the_recorded_command_means_the_same_run(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = info(place)
    assert main(str(before["command"]).split()[1:]) == 0
    assert info(place) == before
    assert "finished" in capsys.readouterr().out


def test_evaluate(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", "runs/small"]) == 0
    shown = capsys.readouterr().out
    metrics = json.loads((place / "runs/small/metrics.json").read_text())
    assert "accuracy" in shown
    assert f"{metrics['model']['accuracy']['value']:.2f}" in shown
    assert all(name in shown for name in metrics["baselines"])


def test_evaluate_takes_the_newest_run(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", "--no-baselines", "--split", "val"]) == 0
    assert "digits, val split" in capsys.readouterr().out


def test_predict_writes_what_it_shows(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    images = place / "images"
    images.mkdir(exist_ok=True)
    dice = np.random.default_rng(0)
    for name in ("b", "a"):
        Image.fromarray(dice.integers(0, 256, (11, 9), dtype=np.uint8)).save(images / f"{name}.png")
    assert main(["predict", "runs/small", "images", "--out", "answers", "--format", "csv"]) == 0
    assert "a.png" in capsys.readouterr().out
    with (place / "answers/predictions.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [Path(row["name"]).name for row in rows] == ["a.png", "b.png"]
    assert main(["predict", "runs/small", "images/b.png", "images/a.png", "--out", "answers"]) == 0
    answers = json.loads((place / "answers/predictions.json").read_text())
    assert [Path(row["name"]).name for row in answers] == ["b.png", "a.png"]
    assert answers[1]["label"] == rows[0]["label"]


def test_look_report_and_export(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["look", "runs/small", "curves"]) == 0
    assert len(capsys.readouterr().out.strip()) > 20
    assert main(["report", "runs/small", "--maps", "1"]) == 0
    assert Path(capsys.readouterr().out.strip()).read_text(encoding="utf-8").startswith("<!doctype html")
    assert main(["export", "runs/small", "--formats", "torch", "--out", "exported"]) == 0
    assert "takes float32 images in [0, 1], (batch, 1, 8, 8)" in capsys.readouterr().out
    assert [file.name for file in (place / "exported").iterdir()] == ["model.pt2"]


def test_compare_and_sweep(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["sweep", "classify", *TRAIN[2:-6], "--epochs", "2", "--hidden", "8", "16,8", "--lr", "0.01"]
    assert main([*words, "--out", "swept"]) == 0
    found = [json.loads(file.read_text()) for file in sorted((place / "swept").glob("**/run.json"))]
    assert sorted(tuple(run["model"]["options"]["hidden"]) for run in found) == [(8,), (16, 8)]
    assert {run["recipe"]["lr"] for run in found} == {0.01}
    capsys.readouterr()
    runs = [str(file.parent) for file in (place / "swept").glob("**/run.json")]
    assert main(["compare", "runs/small", runs[0], "--out", "compared"]) == 0
    assert "small" in capsys.readouterr().out
    assert {file.suffix for file in (place / "compared").iterdir()} >= {".csv", ".png"}


def test_data(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "digits", "--out", "sheet.png"]) == 0
    shown = capsys.readouterr().out
    assert all(split in shown for split in ("train", "val", "test"))
    with Image.open(place / "sheet.png") as sheet:
        assert min(sheet.size) > 100


@pytest.mark.parametrize("kind", listing.KINDS)
def test_list(kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", kind]) == 0
    shown = capsys.readouterr().out
    members = listing.about(kind)
    assert members
    for name, line in members.items():
        assert len(line) > 10, name
        assert re.search(rf"^  {name} +{re.escape(line)}$", shown, re.MULTILINE)


def test_list_imports_no_torch() -> None:
    code = "import sys; from pellucid.cli.cli import main; main(['list']); assert 'torch' not in sys.modules"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode == 0


def test_a_closed_pipe_is_no_error() -> None:
    line = f"{sys.executable} -m pellucid list | head -n 1; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="triton is not installed")
def test_what_is_left_at_the_end_of_a_command_is_not_listed() -> None:
    """As after an export, which imports it: what others say at the end is still said, and only the list is not."""
    code = """
import sys, triton
sys.argv = ["pellucid", *sys.argv[1:]]
from pellucid.cli.cli import main
code = main()
import atexit
atexit.register(print, "closed", file=sys.stderr)
sys.exit(code)
"""
    for words, expected in ((["list"], 0), (["train", "nothing"], 2)):
        done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=False)
        assert done.returncode == expected
        assert [line for line in done.stderr.splitlines() if not line.startswith("pellucid: task=")] == ["closed"]
        assert bool(done.stdout) is (expected == 0)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="triton is not installed")
def test_output_that_could_not_be_written_at_the_end_is_said() -> None:
    code = "import sys, triton; sys.argv = ['pellucid', 'version']; from pellucid.cli.cli import main; sys.exit(main())"
    with open("/dev/full", "w", encoding="utf-8") as full:
        done = subprocess.run([sys.executable, "-c", code], stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode != 0 and "No space left" in done.stderr


@pytest.mark.parametrize(
    ("words", "given", "policy"),
    [("main()", {}, "passive"), ("main()", {"OMP_WAIT_POLICY": "active"}, "active"), ("main(['version'])", {}, None)],
    ids=["the command's own process", "as the user says", "somebody else's process"],
)
def test_idle_threads_of_a_command_sleep(words: str, given: dict[str, str], policy: str | None) -> None:
    known = {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME"}
    plain = {name: value for name, value in os.environ.items() if name not in known}
    code = f"""
import os, sys
sys.argv = ["pellucid", "version"]
from pellucid.cli.cli import main
{words}
assert "torch" not in sys.modules, "its threads read this when they are loaded"
print(os.environ.get("OMP_WAIT_POLICY"))
"""
    done = subprocess.run([sys.executable, "-c", code], env=plain | given, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == str(policy)


@pytest.mark.parametrize("kind", ["tasks", "models", "lenses"])
def test_the_list_says_of_each_member_what_its_class_says(kind: str) -> None:
    for name, line in listing.about(kind).items():
        said = (inspect.getdoc(_catalog.find(kind, name)) or "").split("\n")[0]
        assert re.sub(r" Weights on this machine(: .*)?\.$", "", line) == said, name


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        (["classify", "train", "--epochs", "2"], "pellucid train classify --epochs 2"),
        (["runs/my run", "evaluate"], "pellucid evaluate 'runs/my run'"),
        (["runs/a", "occlusion", "look"], "pellucid look runs/a occlusion"),
    ],
    ids=["task first", "run first", "command last"],
)
def test_swapped_words_are_put_right(words: list[str], meant: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    assert capsys.readouterr().err.rstrip().endswith(f"is; write: {meant}")


@pytest.mark.parametrize("words", [["derive", "x^2", "--by", "x"], ["derive", "work", "x^2", "--by", "x"]])
def test_a_word_of_work_is_put_behind_it(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    assert capsys.readouterr().err.rstrip().endswith("is a word of work; write: pellucid work derive 'x^2' --by x")


def test_the_version_has_a_word_too(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["version"]) == 0 and main(["--version"]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first == second and first.startswith("pellucid ")
