# SPDX-License-Identifier: Apache-2.0
"""docs/worked.md from top to bottom: its commands and code run, and what it shows is what they print."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from pellucid.cli.cli import main

PAGE = (Path(__file__).parents[2] / "docs" / "worked.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def test_the_page_shows_what_is_printed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "Agg")
    names: dict[str, object] = {}
    printed: list[str] = []
    for language, text in BLOCKS:
        if language == "python":
            exec(compile(text, "worked.md", "exec"), names)
        elif language == "console":
            for line in text.splitlines():
                assert main(shlex.split(line, comments=True)[1:]) == 0, line
            printed = capsys.readouterr().out.splitlines()
        else:
            assert [line for line in text.splitlines() if line and line not in printed] == []
    assert {"rnn.html", "net.work", "mlp-7.md", "mlp-7-solution.md", "cobweb.png", "table.md"} <= {
        file.name for file in tmp_path.iterdir()
    }


def test_every_section_of_the_page_has_an_example() -> None:
    sections = re.split(r"^## ", PAGE, flags=re.MULTILINE)[1:]
    assert len(sections) == 8
    assert all("```console" in each or "```python" in each for each in sections)
