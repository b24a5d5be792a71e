# SPDX-License-Identifier: Apache-2.0
"""Completion offers what a command line takes, quickly, and in each shell."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pellucid import _catalog
from pellucid.cli import binding, commands, completing, options
from pellucid.cli.cli import COMMANDS, main
from pellucid.cli.completing import SCRIPTS, fitting
from pellucid.cli.flags import Flag


def offered(*words: str) -> list[str]:
    return fitting(words, [*COMMANDS])


def written(flags: list[Flag]) -> set[str]:
    return {flag.written for flag in flags if not flag.positional}


@pytest.mark.parametrize(
    ("task", "model"),
    [(task, "") for task in _catalog.names("tasks")] + [("denoise", model) for model in _catalog.names("models")],
)
def test_a_training_completes_to_exactly_its_options(task: str, model: str) -> None:
    """Read from sources, and the same as what the classes themselves say when they are imported."""
    groups = options.of_training(task, [model] if model else [])
    truth = written([*options.of_function(commands.train), *(flag for group in groups for flag in group.flags)])
    words = ["train", task, *(["--model", model] if model else [])]
    shown = {word for word in offered(*words, "--") if not word.startswith("--no-")}
    assert shown - {"--help"} == truth


@pytest.mark.parametrize("lens", _catalog.names("lenses"))
def test_a_lens_completes_to_exactly_its_options(lens: str) -> None:
    flags = [*options.of_function(commands.look), *options.of_class(_catalog.find("lenses", lens))]
    shown = {word for word in offered("look", "runs/x", lens, "--") if not word.startswith("--no-")}
    assert shown - {"--help"} == written(flags)


@pytest.mark.parametrize("builder", _catalog.names("worked/builders"))
def test_a_builder_completes_to_exactly_its_options(builder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Flag] = []

    def parse(words: object, groups: list[options.Group], *rest: object) -> dict[str, object]:
        seen.extend(flag for group in groups for flag in group.flags)
        raise SystemExit(0)

    monkeypatch.setattr(binding, "parse", parse)
    with pytest.raises(SystemExit):
        binding.bind("work", [builder])
    shown = {word for word in offered("work", builder, "--") if not word.startswith("--no-")}
    assert shown - {"--help"} == written(seen)


@pytest.mark.parametrize("task", _catalog.names("tasks"))
def test_a_prediction_completes_to_exactly_its_options(task: str, tmp_path: Path) -> None:
    """Those of the run's own task; of all tasks where the run is not there."""
    (tmp_path / "run.json").write_text(f'{{"task": {{"name": "{task}"}}}}', encoding="utf-8")
    asked = getattr(_catalog.find("tasks", task), "predict_options", None)
    own = written(options.of_class(asked)) if asked is not None else set()
    truth = own | written(options.of_function(commands.predict))
    shown = {word for word in offered("predict", str(tmp_path), "--") if not word.startswith("--no-")}
    assert shown - {"--help"} == truth
    assert truth <= set(offered("predict", str(tmp_path / "none"), "--"))


@pytest.mark.parametrize("command", [name for name in COMMANDS if name not in ("train", "sweep", "predict")])
def test_a_command_completes_to_exactly_its_options(command: str) -> None:
    shown = {word for word in offered(command, "--") if not word.startswith("--no-")}
    assert shown - {"--help"} == written(options.of_function(getattr(commands, command)))


def test_values_and_places() -> None:
    assert offered("") == [*COMMANDS]
    assert offered("re") == ["report"]
    assert offered("train", "") == offered("look", "") == _catalog.names("tasks")
    assert offered("look", "runs/x", "oc") == ["occlusion"]
    assert offered("work", "mas") == ["mask_measures"]
    assert offered("completion", "") == ["bash", "zsh", "fish"]
    assert offered("train", "classify", "--model", "res") == ["resnet"]
    assert offered("train", "classify", "--model", "resnet", "--dep") == ["--depth"]
    assert offered("train", "classify", "--schedule", "co") == ["constant", "cosine"]
    assert offered("train", "denoise", "--recipe", "") == ["thorough"]
    assert "--no-baselines" in offered("evaluate", "runs/x", "--no-")
    assert offered("export", "runs/x", "--formats", "onnx", "") == ["onnx", "torch"]
    # where a file may stand, the shell offers its files
    assert (
        offered("evaluate", "") == offered("predict", "runs/x", "") == offered("train", "classify", "--out", "") == []
    )
    assert offered("nonsense", "") == []


def test_an_answer_imports_no_library() -> None:
    code = (
        "import sys; from pellucid.cli.cli import main; main(['completion', 'words', 'train', 'detect', '--model', 'unet', '--']);"
        "heavy = {'torch', 'numpy', 'sympy', 'rich', 'tyro', 'matplotlib'}; assert not heavy & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "--widths" in done.stdout.split()


@pytest.mark.parametrize("shell", SCRIPTS)
def test_a_shell_completes(shell: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The script as the shell runs it, on a line that has been begun."""
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    assert main(["completion", shell]) == 0
    (tmp_path / "script").write_text(capsys.readouterr().out, encoding="utf-8")
    program = tmp_path / "pellucid"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m pellucid "$@"\n', encoding="utf-8")
    program.chmod(0o755)
    ask = {
        "bash": "source script; COMP_WORDS=(pellucid train classify --optim); COMP_CWORD=3; _pellucid; echo ${COMPREPLY[@]}",
        "zsh": "compdef() { :; }; compadd() { shift; echo $@; }; _files() { echo files; }; source script;"
        "words=(pellucid train classify --optim); CURRENT=4; _pellucid",
        "fish": "source script; complete -C 'pellucid train classify --optim'",
    }
    done = subprocess.run(
        [shell, "-c", ask[shell]],
        cwd=tmp_path,
        env=os.environ | {"PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.split() == ["--optimizer"], done.stderr
    assert completing.SCRIPTS[shell] in (tmp_path / "script").read_text(encoding="utf-8")
