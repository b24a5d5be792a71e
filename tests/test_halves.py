# SPDX-License-Identifier: Apache-2.0
"""Worksheets and the command line work without the packages for images, and what needs these says so in one sentence."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pellucid import _halves
from pellucid.cli.cli import COMMANDS, main
from pellucid.errors import UsageError

# a process in which the packages for images cannot be imported, as if they were not installed
LIGHT = """
import sys
from importlib.machinery import PathFinder

class Without:
    @staticmethod
    def find_spec(name, path=None, target=None):
        return None if name.split(".")[0] in {absent!r} else PathFinder.find_spec(name, path, target)

sys.meta_path[sys.meta_path.index(PathFinder)] = Without
{body}
"""
WORDS = "needs torch, which is not installed; install what works on images with: pip install 'pellucid[images]'"


def light(body: str, folder: Path) -> subprocess.CompletedProcess[str]:
    code = LIGHT.format(absent=[*_halves.IMAGES], body=body)
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=folder, env=os.environ
    )


def test_the_worked_half_needs_no_packages_for_images(tmp_path: Path) -> None:
    (tmp_path / "given.txt").write_text("conv 4 = 28x28x4\n", encoding="utf-8")
    lines = [
        ["version"],
        ["list"],
        ["work", "--list"],
        ["work", "mlp"],
        ["work", "mlp", "--random", "--seed", "1", "--out", "exercise.html"],
        ["work", "lstm", "--out", "lstm.work"],
        ["work", "lstm.work", "--verify"],
        ["work", "derive", "exp(z_j)/sum(exp(z_k), k)", "--by", "z_l"],
        ["work", "iterate", "-h"],
        ["table", "input 32x32x3; conv 16 of 5x5; max-pool 2; flatten; dense 10"],
        ["table", "input 32x32x3; conv 4 of 5x5", "--answers", "given.txt"],
    ]
    done = light(
        f"from pellucid.cli.cli import main\nfor words in {lines!r}:\n    assert main(words) == 0, words", tmp_path
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stderr == ""


def test_a_verb_for_images_says_what_is_missing(tmp_path: Path) -> None:
    """On the command line with exit code 2, for every command but those of the worked half, and from Python."""
    verbs = [name for name in COMMANDS if name not in ("work", "table", "list", "completion", "version")]
    lines = [[verb, "runs/any", "curves"][: 1 if verb in ("train", "sweep", "data") else 3] for verb in verbs]
    lines = [words[:2] if words[0] in ("evaluate", "merge", "report", "export") else words for words in lines]
    done = light(
        f"""
from pellucid.cli.cli import main
for words in {lines!r}:
    assert main(words) == 2, words
    print("", end="", flush=True)
""",
        tmp_path,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stderr.splitlines() == [f"pellucid: {verb}: {WORDS}" for verb in verbs]
    assert not any(tmp_path.iterdir())


def test_from_python_the_sentence_is_an_import_error_too(tmp_path: Path) -> None:
    done = light(
        """
import pellucid, pydoc
from pellucid.errors import UsageError
assert "train" not in dir(pellucid)
assert "Pellucid trains" in pydoc.render_doc(pellucid)
for name in (*pellucid.__all__, "data"):
    try:
        getattr(pellucid, name)
    except UsageError as fault:
        assert isinstance(fault, ImportError)
        print(fault)
try:
    from pellucid import train
except ImportError as fault:
    print(fault)
""",
        tmp_path,
    )
    import pellucid

    assert done.returncode == 0, done.stderr[-2000:]
    verbs = [name for name in pellucid.__all__ if name not in ("Run", "load")]  # a run's record needs no torch
    assert done.stdout.splitlines() == [f"pellucid.{name}: {WORDS}" for name in (*verbs, "data", "train")]


def test_another_missing_module_is_a_bug(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """A misspelt import of ours must not be taken for packages that were not installed."""

    def bind(name: str, words: list[str]) -> None:
        raise ModuleNotFoundError("No module named 'pellucid.nothing'", name="pellucid.nothing")

    monkeypatch.setattr("pellucid.cli.binding.bind", bind)
    assert main(["list"]) == 1
    assert "This is a bug in pellucid" in capsys.readouterr().err
    assert issubclass(type(_halves.missing(ModuleNotFoundError(name="torch"), "x")), UsageError)


def test_an_installed_torch_is_kept() -> None:
    """The ranges of requirements hold for builds of torch for processors alone, whose version has a local part."""
    import tomllib

    from packaging.requirements import Requirement

    text = (Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8")
    images = [Requirement(word) for word in tomllib.loads(text)["project"]["optional-dependencies"]["images"]]
    ranges = {needed.name: needed.specifier for needed in images}
    assert ranges["torch"].contains("2.15.0+cpu")
    assert ranges["torch"].contains("2.11.0+cpu")
    assert ranges["torchvision"].contains("0.26.0+cpu")
    assert {str(needed.specifier)[:2] for needed in images} == {">="}, "a requirement that replaces what is installed"
