# SPDX-License-Identifier: Apache-2.0
"""Over the catalogue: every builder works its example, draws problems that a person can work, hides solutions, and explains itself."""

from __future__ import annotations

import inspect
import json
import os
import re
import shutil
import subprocess
import sys
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from random import Random
from xml.etree import ElementTree

import pytest

import pellucid
from pellucid import _catalog
from pellucid.cli import options
from pellucid.cli.cli import main
from pellucid.worked import Worksheet, check_answers
from pellucid.worked.builders import builder
from pellucid.worked.forms.contract import Builder, Form
from pellucid.worked.forms.exercise import can_be_done_by_hand
from pellucid.worked.forms.running import Common
from pellucid.worked.worksheet.writing import write_worksheet

KINDS: dict[str, type[Form]] = {
    name: _catalog.find("worked/builders", name) for name in _catalog.names("worked/builders")
}
BUILDERS: dict[str, type[Builder]] = {name: kind for name, kind in KINDS.items() if issubclass(kind, Builder)}
SEEDS = range(4)


def drawn(name: str, seed: int) -> Builder:
    return BUILDERS[name]().draw(Random(seed))


@pytest.mark.parametrize("name", KINDS)
def test_it_runs_without_options_and_has_help(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["work", name]) == 0
    assert capsys.readouterr().out.strip()
    assert main(["work", name.replace("_", "-"), "-h"]) == 0
    shown = capsys.readouterr().out
    assert f"usage: pellucid work {name.replace('_', '-')}" in shown
    assert main(["work", "--list"]) == 0  # which `work -h` names
    assert name.replace("_", "-") in capsys.readouterr().out.split()
    assert callable(builder(name))


@pytest.mark.parametrize("name", KINDS)
def test_every_option_is_explained(name: str) -> None:
    flags = options.of_class(KINDS[name])
    assert all(re.match(r"\S", flag.help) for flag in flags), [flag.name for flag in flags if not flag.help]
    shared = {flag.name for flag in options.of_class(Common)}
    assert shared == {"random", "seed", "hide_solution", "exact", "digits", "verify", "format", "out", "brief", "paths"}
    if name in BUILDERS:
        assert not shared & {flag.name for flag in flags}, "an option that every builder has"
        assert set(BUILDERS[name].keeps) <= {flag.name for flag in flags}


@pytest.mark.parametrize("name", BUILDERS)
def test_the_example_is_solved_and_checked(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Every line by NumPy or a central difference: a line that disagrees would raise."""
    assert main(["work", name, "--verify", "--digits", "4"]) == 0
    shown = capsys.readouterr().out
    sheet = BUILDERS[name]().worksheet()
    assert shown.count("\n? ") + shown.startswith("? ") == len(sheet.questions) > 0
    assert "✓" in shown
    assert any(not equation.given for equation in sheet)


@pytest.mark.parametrize("name", BUILDERS)
def test_the_example_in_every_format(name: str, tmp_path: Path) -> None:
    questions = len(BUILDERS[name]().worksheet().questions)
    for ending in ("md", "tex", "html", "json"):
        path = tmp_path / f"{name}.{ending}"
        assert main(["work", name, "--exact", "--out", str(path)]) == 0
        written = path.read_text(encoding="utf-8")
        if ending == "json":
            assert len(json.loads(written)["answers"]) == questions
        elif ending == "html":
            body = written[written.index("<body") : written.index("</html>")]
            ElementTree.fromstring(body.replace("&#x2061;", ""))  # well formed
        elif ending == "tex":
            assert re.findall(r"\bU[0-9A-F]{4}\b", written) == []  # signs that LaTeX has no word for


@pytest.mark.parametrize("name", BUILDERS)
def test_random_problems_can_be_done_by_hand(name: str) -> None:
    """Given are small numbers of at most one decimal; nothing overflows, saturates or is at a kink; something depends on them."""
    for seed in SEEDS:
        sheet = drawn(name, seed).worksheet()
        solution = sheet.solve()
        assert can_be_done_by_hand(solution)
        for equation in sheet:
            value = solution.value(equation.name)
            assert abs(value) <= 50
            if equation.given:
                assert isinstance(value, Fraction) and (10 * value).denominator == 1 and abs(value) <= 15
        assert all(answer.blocks for answer in solution.answers)
        slopes = [value for answer in solution.answers if "/d" in answer.key for _, value in answer.results]
        assert not slopes or any(slopes)


@pytest.mark.parametrize("name", BUILDERS)
def test_a_seed_is_a_problem(name: str) -> None:
    texts = [write_worksheet(drawn(name, seed).worksheet()) for seed in [*range(6), 0]]
    assert texts[0] == texts[6]
    assert len(set(texts)) >= 5


@pytest.mark.parametrize("name", BUILDERS)
def test_a_random_problem_is_solved_and_checked(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["work", name, "--random", "--seed", "1", "--verify"]) == 0
    first = capsys.readouterr().out
    assert "✓" in first
    assert main(["work", name, "--random", "--seed", "2", "--verify"]) == 0
    assert capsys.readouterr().out != first


@pytest.mark.parametrize("name", BUILDERS)
def test_an_exercise_and_its_solution(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Two files: the exercise has what is given and asked, the solution every answer."""
    out = tmp_path / "exercise.json"
    assert main(["work", name, "--random", "--seed", "7", "--hide-solution", "--out", str(out)]) == 0
    assert capsys.readouterr().out.split() == [str(out), str(tmp_path / "exercise-solution.json")]
    exercise = json.loads(out.read_text(encoding="utf-8"))
    solution = json.loads((tmp_path / "exercise-solution.json").read_text(encoding="utf-8"))
    sheet = drawn(name, 7).worksheet()
    assert set(exercise["values"]) == {equation.name for equation in sheet if equation.given}
    assert [answer["question"] for answer in exercise["answers"]] == [q.title for q in sheet.questions]
    assert all(answer["results"] == answer["lines"] == [] for answer in exercise["answers"])
    assert [a["question"] for a in solution["answers"]] == [a["question"] for a in exercise["answers"]]
    assert all(answer["lines"] for answer in solution["answers"])
    assert set(solution["values"]) == set(sheet.equations)
    assert "grids" not in exercise
    said = "\n".join(exercise["remarks"])
    # no number that is worked out is in the exercise
    for name_, value in sheet.solve(digits=6).values.items():
        if not sheet.equations[name_].given and isinstance(value, Decimal):
            assert f"{abs(value):.4f}" not in said, name_


@pytest.mark.parametrize("name", BUILDERS)
def test_answers_to_it_are_judged(name: str) -> None:
    """Its own results, to six digits, are right; the first of them made larger by a tenth is the first wrong one."""
    sheet = drawn(name, 2).worksheet()
    # a question about several parameters at once has no line of its own
    asked = [(answer.key, answer.results[0][1]) for answer in sheet.solve().answers if len(answer.results) == 1][:6]
    lines = [f"{key} = {float(value):.6g}" for key, value in asked]
    report = check_answers(sheet, "\n".join(lines))
    assert not report.bad and [checked.status for checked in report.checked] == ["right"] * len(asked), lines
    wrong = check_answers(sheet, f"{asked[0][0]} = {1.1 * float(asked[0][1]) + 0.37:.6g}")
    assert wrong.first is not None


@pytest.mark.parametrize("name", BUILDERS)
def test_a_worksheet_written_as_a_text_is_the_same(name: str) -> None:
    for sheet in (BUILDERS[name]().worksheet(), drawn(name, 3).worksheet()):
        again = Worksheet.parse(write_worksheet(sheet))
        mine, theirs = sheet.solve(), again.solve()
        assert list(theirs.values) == list(mine.values)
        for key, value in mine.values.items():
            assert (
                abs(theirs.value(key) - value) <= abs(value) * Decimal("1e-30")
                if isinstance(value, Decimal)
                else theirs.value(key) == value
            )
        assert [q.title for q in again.questions] == [q.title for q in sheet.questions]
        wanted = [float(result) for answer in mine.answers for _, result in answer.results]
        found = [float(result) for answer in theirs.answers for _, result in answer.results]
        assert found == pytest.approx(wanted, rel=1e-14, abs=1e-28)


@pytest.mark.parametrize("name", BUILDERS)
def test_what_is_drawn_may_not_be_given_too(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    kind = BUILDERS[name]
    before, after = kind(), drawn(name, 5)
    changed = [flag.name for flag in options.of_class(kind) if getattr(before, flag.name) != getattr(after, flag.name)]
    assert changed and not set(changed) & set(kind.keeps)
    if isinstance(getattr(after, changed[0]), str):
        flag = next(flag for flag in options.of_class(kind) if flag.name == changed[0])
        value = getattr(after, changed[0])
        positional = inspect.signature(kind).parameters[flag.name].kind is not inspect.Parameter.KEYWORD_ONLY
        words = [value] if positional else [f"{flag.written}={value}"]
        assert main(["work", name, *words, "--random"]) == 2
        assert f"{flag.name}={value}: is drawn with --random; leave one of the two out." in capsys.readouterr().err


NEW = '''# SPDX-License-Identifier: Apache-2.0
"""parabola: a parabola, its loss and its gradient."""

from __future__ import annotations

from dataclasses import dataclass, replace
from random import Random
from typing import final

from pellucid.worked.forms.contract import Builder
from pellucid.worked.worksheet.worksheet import Worksheet

__all__ = ["Parabola"]


@final
@dataclass(frozen=True, kw_only=True)
class Parabola(Builder):
    """Work a parabola by hand, and its derivative."""

    a: int = 2
    """coefficient of x²"""
    x: int = 3
    """where it is worked out"""

    def worksheet(self) -> Worksheet:
        """The worksheet of the options."""
        return Worksheet(f"a = {self.a}; x = {self.x}; y = a*x^2 - 1; ? y; ? dy/dx")

    def draw(self, random: Random) -> Parabola:
        """Small whole numbers."""
        return replace(self, a=random.randint(1, 5), x=random.choice([-3, -2, -1, 1, 2, 3]))
'''


def test_a_new_builder_is_one_file(tmp_path: Path) -> None:
    """In a copy of the package, one new file is found, has its command, and passes these tests and those of the tree."""
    package = Path(pellucid.__file__).parent
    copy = tmp_path / "src" / "pellucid"
    shutil.copytree(package, copy, ignore=shutil.ignore_patterns("__pycache__"))
    (copy / "worked" / "builders" / "parabola.py").write_text(NEW, encoding="utf-8")
    tests = [str(Path(__file__)), str(Path(__file__).parents[1] / "test_architecture.py")]
    chosen = ["-q", "-p", "no:cacheprovider", "-n", "0", "--rootdir", str(tmp_path), "-k", "parabola", *tests]
    code = (
        f"import sys, pytest; failed = pytest.main({chosen!r})\n"
        "from pellucid.cli.cli import main\n"
        "sys.exit(failed or main(['work', 'parabola', '--verify']) or main(['list', 'builders']))"
    )
    environment = os.environ | {"PYTHONPATH": str(tmp_path / "src"), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    assert "y = a·x² − 1 = 2·3² − 1 = 17" in done.stdout
    assert re.search(r"^  parabola +Work a parabola by hand", done.stdout, re.MULTILINE)
    passed = re.search(r"(\d+) passed", done.stdout)
    assert passed and int(passed[1]) >= 10
