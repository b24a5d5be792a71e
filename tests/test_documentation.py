# SPDX-License-Identifier: Apache-2.0
"""What the documents say is true: commands parse, code runs, links lead somewhere."""

from __future__ import annotations

import ast
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from pellucid import _catalog
from pellucid.cli.binding import bind
from pellucid.cli.cli import COMMANDS, main
from pellucid.reporting.headline import headline
from pellucid.run import Run
from pellucid.worked.forms.running import Common

ROOT = Path(__file__).parents[1]
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
DEMO = ROOT / "examples" / "demo.py"
OWN = ("needs your own images", "serves until it is stopped")  # comments above blocks that cannot run as they stand


class Block(NamedTuple):
    """A fenced block of a page."""

    page: Path
    line: int
    language: str
    text: str
    runs: bool

    def __str__(self) -> str:
        return f"{self.page.name}:{self.line}"


def blocks(page: Path) -> list[Block]:
    text = page.read_text(encoding="utf-8")
    found = re.finditer(r"(<!-- (?P<note>[^>]*) -->\n)?^```(?P<language>\w*)\n(?P<text>.*?)^```$", text, re.M | re.S)
    return [
        Block(
            page,
            text[: match.start()].count("\n") + 1,
            match["language"],
            match["text"],
            not any(words in (match["note"] or "") for words in OWN),
        )
        for match in found
    ]


BLOCKS = [block for page in PAGES for block in blocks(page)]
CODE = [block for block in BLOCKS if block.language == "python"]
CONSOLE = [block for block in BLOCKS if block.language == "console"]


def commands(block: Block) -> list[list[str]]:
    """The words of every line of a console block, without its comments."""
    lines = block.text.replace("\\\n", " ").splitlines()
    return [words for line in lines if (words := shlex.split(line, comments=True))]


@pytest.mark.parametrize("block", CONSOLE, ids=str)
def test_every_command_is_one(block: Block) -> None:
    targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    for words in commands(block):
        if words[0] == "pellucid" and words[1:] != ["-h"]:
            assert words[1] in COMMANDS
            if any(".py:" in word for word in words):
                continue  # the page writes this file before the command, and is run as a whole
            bind(words[1], words[2:])
        elif words[0] == "make":
            assert set(words[1:]) <= set(targets)
        elif words[0] in ("torchrun", "accelerate"):
            own = words[words.index("pellucid") + 1 :]
            assert words[words.index("pellucid") - 1] == "-m"
            bind(own[0], own[1:])
        else:
            assert words[0] in (".", "pip", "pellucid"), words


@pytest.mark.parametrize("block", CODE, ids=str)
def test_every_python_block_parses(block: Block) -> None:
    ast.parse(block.text)


def test_every_block_has_a_language_that_is_looked_at() -> None:
    assert {block.language for block in BLOCKS} <= {"python", "console", ""}
    assert CODE
    assert CONSOLE


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)]+)\)", page.read_text(encoding="utf-8")):
        if "://" in target:
            continue
        name, _, anchor = target.partition("#")
        file = (page.parent / name).resolve() if name else page
        assert file.exists(), target
        if anchor:
            titles = re.findall(r"^#+ (.*)$", file.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}, target


def test_every_command_and_task_is_documented() -> None:
    text = "\n".join(page.read_text(encoding="utf-8") for page in PAGES if page.name != "CHANGELOG.md")
    assert [name for name in COMMANDS if f"pellucid {name}" not in text] == []
    tasks = _catalog.names("tasks")
    assert tasks
    assert [name for name in tasks if not (ROOT / "docs" / f"{name}.md").exists()] == []
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert [name for name in tasks if f"pellucid train {name}" not in readme] == []


def test_every_option_that_a_page_names_exists() -> None:
    """Options in running text, such as `--level`, belong to some command."""
    from pellucid.cli import commands, options

    groups = [
        group for task in _catalog.names("tasks") for group in options.of_training(task, _catalog.names("models"))
    ]
    flags = [flag for group in groups for flag in group.flags]
    flags += [flag for lens in _catalog.names("lenses") for flag in options.of_class(_catalog.find("lenses", lens))]
    flags += [flag for name in COMMANDS for flag in options.of_function(getattr(commands, name))]
    asked = [getattr(_catalog.find("tasks", task), "predict_options", None) for task in _catalog.names("tasks")]
    flags += [flag for kind in asked if kind is not None for flag in options.of_class(kind)]
    builders = [_catalog.find("worked/builders", name) for name in _catalog.names("worked/builders")]
    flags += [flag for kind in (Common, *builders) for flag in options.of_class(kind)]
    known = {flag.written for flag in flags} | {"--debug", "--version", "--help"}
    known |= {f"--no-{name[2:]}" for name in known}
    for page in PAGES:
        named = re.findall(r"`(?:[^`\n]* )?(--[\w-]+)", page.read_text(encoding="utf-8"))
        assert [name for name in named if name not in known] == [], page.name


@pytest.mark.slow
@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page)], ids=lambda page: page.name)
def test_a_page_runs_from_top_to_bottom(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every command and every Python block, in the order of the page, in one empty folder."""
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    for block in blocks(page):
        if not block.runs:
            continue
        if block.language == "python":
            exec(compile(block.text, str(block), "exec"), names)
        elif block.language == "console":
            for words in commands(block):
                if words[0] == "pellucid":
                    assert main(words[1:]) == 0, words


def run_example(example: Path, folder: Path) -> str:
    """What an example prints; its runs are in `folder`/runs."""
    words = [sys.executable, str(example), str(folder / "runs")]
    done = subprocess.run(words, cwd=folder, env=os.environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("example", [file for file in EXAMPLES if file != DEMO], ids=lambda file: file.name)
def test_an_example_runs(example: Path, tmp_path: Path) -> None:
    assert run_example(example, tmp_path)


@pytest.mark.slow
def test_the_demo_shows_networks_that_are_ahead_of_every_simpler_answer(tmp_path: Path) -> None:
    shown = run_example(DEMO, tmp_path)
    runs = [Run(folder) for folder in sorted((tmp_path / "runs").iterdir())]
    assert len(runs) == 2
    for run in runs:
        assert run.metrics is not None
        # against the best of them, image by image, with an interval that leaves out 0
        assert headline(run, run.metrics).verdict == "ahead", run.metrics
        assert str(run.path / "report.html") in shown
