# SPDX-License-Identifier: Apache-2.0
"""How sheets look: wrapped and aligned in a terminal, brief, backwards, numbered and boxed in LaTeX, typeset in notebooks."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from matplotlib import rc_context
from matplotlib.font_manager import FontProperties
from matplotlib.mathtext import MathTextParser

from pellucid import _catalog
from pellucid.cli.cli import main
from pellucid.worked import Worksheet, check_answers
from pellucid.worked.builders.derive import Derive
from pellucid.worked.derivation.presenting import present
from pellucid.worked.derivation.proofs import PROOFS
from pellucid.worked.forms.contract import Builder
from pellucid.worked.forms.presenting import compose
from pellucid.worked.layers.layers import table
from pellucid.worked.showing.latex import printed_length
from pellucid.worked.showing.wrapping import fold, packed, width_of

EXAMPLES = sorted((Path(__file__).parents[2] / "examples" / "worked").glob("*.work"))
BUILDERS = [
    name for name in _catalog.names("worked/builders") if issubclass(_catalog.find("worked/builders", name), Builder)
]
SHEETS = [*(path.name for path in EXAMPLES), *BUILDERS]


def shown(name: str, form: str = "terminal", width: int = 0, brief: bool = False) -> str:
    if name.endswith(".work"):
        path = next(path for path in EXAMPLES if path.name == name)
        return (
            Worksheet(path.read_text(encoding="utf-8")).solve().show(form, verify=not brief, width=width, brief=brief)
        )
    builder = _catalog.find("worked/builders", name)()
    solution = builder.worksheet().solve()
    return compose(solution, builder.grids(solution), format=form, verify=not brief, width=width, brief=brief)


@pytest.mark.parametrize("name", SHEETS)
def test_no_line_is_wider_than_the_terminal_and_nothing_is_lost(name: str) -> None:
    wide = shown(name)
    for width in (80, 100):
        lines = shown(name, width=width).splitlines()
        assert max(map(width_of, lines)) <= width
        assert sum(width_of(line) > 35 for line in lines) > 3 or len(lines) < 30  # not chopped into bits
        if name.endswith(".work"):  # matrices are laid out in rows, so that their signs come in another order
            assert re.sub(r"\s", "", "".join(lines)) == re.sub(r"\s", "", wide)


def test_equal_signs_stand_below_each_other() -> None:
    lines = packed("dL", [("=", "a·b + c·d"), ("=", "1·2 + 3·4"), ("≈", "14")], 18)
    assert lines == ["  dL = a·b + c·d", "     = 1·2 + 3·4", "     ≈ 14"]
    long = packed("y", [("=", "aaaa·bbbb + cccc·dddd + eeee·ffff")], 24)
    assert long == ["  y = aaaa·bbbb", "      + cccc·dddd", "      + eeee·ffff"]
    assert fold("(a + b)·(c + d)", 9, 9) == ["(a + b)·", "(c + d)"]
    assert packed("", [("", "a + b"), ("=", "3")], 0) == ["  a + b = 3"]


def test_brief_shows_what_is_asked_and_what_it_needs() -> None:
    text = "x = 0.5; w = 0.9; z = w*x; a = tanh(z); L = (a - 1)^2; ? L; ? dL/dw; ? w after sgd(lr=0.1) on L"
    solution = Worksheet(text).solve()
    brief = solution.show(brief=True)
    assert "local derivatives" not in brief and "paths" not in brief and "one path" not in brief
    lefts = re.findall(r"^  (\S+) [=≈←]", brief, re.MULTILINE)
    assert lefts == ["z", "a", "L", "∂L/∂w", "w"]
    for answer in solution.answers:
        for _, value in answer.results:
            assert f"{float(value):.6g}"[:7].replace("-", "−") in brief


def test_without_paths_a_derivative_goes_backwards_and_stays_the_same() -> None:
    text = next(path for path in EXAMPLES if path.name == "rnn.work").read_text(encoding="utf-8")
    by_paths, backwards = Worksheet(text).solve(), Worksheet(text).solve(paths=False)
    assert [answer.results for answer in by_paths.answers] == [answer.results for answer in backwards.answers]
    assert "paths from" in by_paths.show() and "paths from" not in backwards.show()
    assert "backwards from L" in backwards.show()


@pytest.mark.parametrize("name", ["rnn", "gru", "lstm"])
def test_recurrent_networks_are_shown_as_a_recursion(name: str) -> None:
    text = shown(name)
    state = "c_t" if name == "lstm" else "h_t"
    assert text.startswith(f"Backwards through time: ∂L/∂{state} = ")
    assert "paths from" not in text
    # each derivative by a quantity is worked out once
    lefts = re.findall(r"^  (∂L/∂\S+) = ", text, re.MULTILINE)
    assert len(lefts) == len(set(lefts)) > 5


def test_colours_tell_given_computed_and_asked_apart() -> None:
    text = Worksheet("a = 2; b = a^2; c = b + 1; ? c").solve().show(color=True)
    assert "\033[36m  given: a = 2\033[0m" in text
    assert "\033[32m4\033[0m" in text and "\033[1;33m5\033[0m" in text


def pieces(formula: str) -> list[str]:
    """What TeX may break a formula into: behind relations and binary operators outside of braces."""
    parts, depth = [""], 0
    for token in re.findall(r"\\[A-Za-z]+|\\.|.", formula):
        depth += (token in ("{", r"\left")) - (token in ("}", r"\right"))
        parts[-1] += token
        if depth == 0 and token in ("=", "+", "-", "/", r"\approx", r"\cdot", r"\leftarrow", r"\to"):
            parts.append("")
    return parts


def points(formula: str) -> float:
    """The width of a formula of 11 points, as matplotlib sets it in Computer Modern."""
    plain = re.sub(r"\\(displaystyle|boxed|bigl|bigr)\b", "", formula).replace(r"\frac", r"\dfrac")
    plain = re.sub(r"\\le\b", r"\\leq", re.sub(r"\\ge\b", r"\\geq", plain))
    plain = re.sub(r"\\(begin|end)\{cases\}|\\text\{[^}]*\}|\\\\|&", " ", plain).strip()
    with rc_context({"mathtext.fontset": "cm"}):
        return (
            float(MathTextParser("path").parse(f"${plain}$", dpi=72, prop=FontProperties(size=11))[0]) if plain else 0
        )


@pytest.mark.parametrize("name", SHEETS)
def test_no_line_of_latex_is_wider_than_the_page(name: str) -> None:
    body = shown(name, "latex").partition(r"\begin{document}")[2]
    # tables and matrices are made to fit by \resizebox
    loose = "\n".join(line for line in body.splitlines() if r"\fitted" not in line)
    every = {piece for formula in re.findall(r"(?<!\\)\$([^$]+)\$", loose) for piece in pieces(formula)}
    widest = sorted(every, key=printed_length)[-3:]
    # 16.6 cm, less the number of the line
    assert max(map(points, widest), default=0) < 430


@pytest.mark.parametrize("name", SHEETS)
def test_every_sign_of_latex_is_printed(name: str) -> None:
    """No sign is written as its code point, and none is left that pdflatex does not know."""
    text = shown(name, "latex")
    assert not re.search(r"U[0-9A-F]{2,5}\b", text)
    assert text.isascii() or not set(re.sub(r"[\x00-\x7f]", "", text)) - {"é", "…", "’"}
    body = text.partition(r"\begin{document}")[2]
    assert body.index(r"\bfseries") < min(body.index(word) for word in (r"\fitted", r"\section") if word in body)


@pytest.mark.parametrize("what", ["softmax", *PROOFS])
def test_derivations_in_latex_have_no_code_points(what: str) -> None:
    text = present(Derive.build(what), "latex")
    assert text.isascii() and not re.search(r"U[0-9A-F]{2,5}\b", text)


def test_the_list_and_reports_fit_a_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    (sheet := tmp_path / "a.work").write_text(
        "w = 2; v = 3; x = 1; y = 1; h = w*x; yhat = v*h; L = (yhat - y)^2; ? L; ? w, v after sgd(lr=0.1) on L"
    )
    (answers := tmp_path / "a.txt").write_text(
        "L = (3*2*1 - 1)^2 + 3*(2 - 1)*(4 - 1) - 5*(2 + 1) + 6*(1 + 0) = 25\n"
        "v after sgd(lr=0.1) on L = 1\nw after sgd(lr=0.1) on L = 1\nh = quite a lot of words and no number at all here, sorry"
    )
    for command in (["work", "--list"], ["work", str(sheet), "--answers", str(answers)]):
        main(command)
        lines = capsys.readouterr().out.splitlines()
        assert max(map(width_of, lines)) <= 80 and len(lines) > 10
    assert (
        check_answers(Worksheet("a = 1; b = 2*a"), "b = 2\na = 1").show().splitlines()[0] == "All 2 answers are right."
    )


def test_latex_is_numbered_titled_and_boxed() -> None:
    text = Worksheet("a = 2; b = a^2; L = b + 1; ? L; ? dL/da").solve().show("latex")
    assert r"{\Large\bfseries Worked by hand}" in text
    assert re.findall(r"\\boxed\{([^}]*)\}", text) == ["5", "4"]
    assert text.count(r"\numbered{") == 2 + 3
    assert text.count(r"\section{") == 2


def test_a_long_fraction_is_written_on_one_line_that_tex_can_break() -> None:
    terms = " + ".join(f"a{n}*b{n}" for n in range(12))
    names = "; ".join(f"a{n} = 1; b{n} = 2" for n in range(12))
    text = Worksheet(f"{names}; q = ({terms})/3; ? q").solve().show("latex")
    assert r"\frac{\mathrm" not in text and " / 3" in text


def test_notebooks_show_sheets_as_mathematics() -> None:
    sheet = Worksheet("a = 2; b = a^2; ? b")
    assert "<math" in sheet._repr_html_() and r"\boxed{4}" in sheet._repr_latex_()
    solution = sheet.solve()
    assert "<math" in solution._repr_html_() and solution._repr_latex_().startswith("$$")


def test_a_layer_table_fits_or_turns(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    net = "input 28x28x1; conv 6 5x5 padding 2; maxpool 2; flatten; fc 120; output 10"
    monkeypatch.setenv("COLUMNS", "80")
    assert main(["table", net]) == 0
    narrow = capsys.readouterr().out
    assert max(map(width_of, narrow.splitlines())) <= 80
    wide = table(net).write()
    assert table(net).write(width=200) == wide and "conv 6   " in wide
    for cell in re.findall(r"\S+", wide.split("─\n")[1].strip("─")):
        assert cell in narrow


@pytest.mark.parametrize("options", [["--brief"], ["--no-paths"], ["--paths"], ["--verify"]])
def test_the_command_has_the_options(
    options: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert main(["work", "rnn", *options]) == 0
    out = capsys.readouterr().out
    assert max(map(width_of, out.splitlines())) <= 80
    assert ("paths from" in out) == (options == ["--paths"])
