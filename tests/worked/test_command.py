# SPDX-License-Identifier: Apache-2.0
"""`pellucid work`: a file in, answers out; what is imported, and what is not."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from pellucid.cli.cli import main
from pellucid.worked import Worksheet

SHEETS = sorted((Path(__file__).parents[2] / "examples" / "worked").glob("*.work"))
RNN = next(sheet for sheet in SHEETS if sheet.stem == "rnn")


def test_a_worksheet_is_solved_and_shown_without_heavy_imports() -> None:
    code = (
        "import sys; from pellucid.worked import Worksheet\n"
        "Worksheet.parse('a = 1; b = exp(a); ? db/da').solve().show()\n"
        "print(*(name for name in ('torch', 'sympy', 'matplotlib', 'tyro', 'rich') if name in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["work", str(RNN)]) == 0
    shown = capsys.readouterr().out
    assert "? ∂L/∂W_h" in shown and "1 − 0.01·8 = 0.92" in shown and "✓" not in shown
    assert main(["work", str(RNN), "--verify"]) == 0
    assert "✓ central difference 8 (±" in capsys.readouterr().out
    page = tmp_path / "deep" / "sheet.html"
    assert main(["work", str(RNN), "--out", str(page)]) == 0
    assert page.read_text(encoding="utf-8").startswith("<!doctype html>")
    assert main(["work", str(tmp_path / "none.work")]) == 2
    assert "cannot be read (No such file or directory)" in capsys.readouterr().err
    (tmp_path / "bad.work").write_text("a = 2\nb = a +\n")
    assert main(["work", str(tmp_path / "bad.work")]) == 2
    assert (
        "line 2, column 8: end of the statement: a number, a name or a bracket must come here"
        in capsys.readouterr().err
    )
    (tmp_path / "latin.work").write_bytes(b"a = 2 # caf\xe9\n")
    assert main(["work", str(tmp_path / "latin.work")]) == 2
    assert "byte 11 is not UTF-8 text" in capsys.readouterr().err


def test_the_command_loads_no_torch() -> None:
    code = f"import sys; from pellucid.cli.cli import main; main(['work', {str(RNN)!r}]); assert 'torch' not in sys.modules"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode == 0


@pytest.mark.parametrize("sheet", SHEETS, ids=lambda sheet: str(sheet.stem))
def test_every_example_is_worked(sheet: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["work", str(sheet), "--exact", "--digits", "4", "--verify"]) == 0
    shown = capsys.readouterr().out
    assert shown.count("? ") == len(Worksheet.parse(sheet.read_text()).questions)
    assert "✓" in shown


def test_the_network_of_the_example() -> None:
    """σ(−0.98) = 0.272892, and BCE 0.98 + 0.318680 for y = 1; dead unit 5 leaves its weights as they are."""
    text = next(sheet for sheet in SHEETS if sheet.stem == "network").read_text()
    solution = Worksheet.parse(text).solve()
    assert f"{solution.value('yhat'):.6f}" == "0.272892"
    assert f"{solution.value('L'):.6f}" == "1.298680"
    after = {str(name): float(value) for name, value in solution.answers[-1].results}
    slope = 0.01 * (1 - float(solution.value("yhat")))
    wanted = [-0.5 + 1.3 * slope, -0.3 + 1.1 * slope, 0.8, 0.1 - 0.5 * slope, 0.3 - 0.3 * slope, -0.2]
    wanted += [0.6 - 2 * 0.5 * slope, 0.4 - 2 * 0.3 * slope, 0]
    assert [*after.values()] == pytest.approx(wanted, rel=1e-12)


def test_a_sheet_from_standard_input() -> None:
    command = [sys.executable, "-m", "pellucid", "work", "-"]
    done = subprocess.run(command, input="a = 2; b = a^10; ? b", capture_output=True, text=True, check=True)
    assert "b = a¹⁰ = 2¹⁰ = 1024" in done.stdout


def test_the_ending_of_a_file_decides_its_format_or_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Terminal text under the name of a picture misleads whoever opens it."""
    begins = {
        "md": "###",
        "tex": r"\documentclass",
        "html": "<!doctype html>",
        "json": "{",
        "txt": "?",
        "work": "x = 2",
    }
    table = {"md": "**", "json": "{", "txt": "layers"}
    (sheet := tmp_path / "a.work").write_text("x = 2; y = x^2; ? y; ? dy/dx")
    (answers := tmp_path / "mine.txt").write_text("y = 4")
    layers = ["table", "input 8x8x1; conv 4 of 3x3"]
    commands = {
        ("work", str(sheet)): begins,
        ("work", "psnr"): dict.fromkeys(begins, ""),
        ("work", str(sheet), "--answers", str(answers)): {"md": "**", "json": "{", "txt": "The answer"},
        tuple(layers): table,
        ("work", "iterate", "x/2"): {},
    }
    for command, known in commands.items():
        for ending in ("md", "tex", "html", "json", "txt", "work", "pdf", "docx", "svg", "csv"):
            out = tmp_path / f"out.{ending}"
            code = main([*command, "--out", str(out)])
            said = capsys.readouterr().err
            if ending in known:
                assert code == 0, said
                assert out.read_text(encoding="utf-8").lstrip().startswith(known[ending])
                out.unlink()
            else:
                assert (code, out.exists()) == (2, False), (command, ending)
                assert "end the name with" in said
    assert main(["work", str(sheet), "--out", str(tmp_path / "a.png")]) == 2
    assert main(["work", str(sheet), "--format", "latex", "--out", str(tmp_path / "a.html")]) == 2
    assert "format='latex' has another ending" in capsys.readouterr().err.splitlines()[-1]
    assert main(["work", str(sheet), "--format", "latex", "--out", str(tmp_path / "a.txt")]) == 0
