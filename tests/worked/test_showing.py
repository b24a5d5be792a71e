# SPDX-License-Identifier: Apache-2.0
"""What people see: each format is whole, says the same numbers, and shows each line's check."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
import xml.etree.ElementTree as ElementTree
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import pytest

from pellucid.errors import UnknownNameError
from pellucid.worked import Worksheet, check_answers
from pellucid.worked.builders import builder
from pellucid.worked.layers.layers import check_table
from pellucid.worked.notation.notation import parse_expression
from pellucid.worked.showing.html import MathML
from pellucid.worked.showing.latex import Latex
from pellucid.worked.showing.lines import Line
from pellucid.worked.showing.numerals import numeral
from pellucid.worked.showing.terminal import Unicode

SHEETS = sorted((Path(__file__).parents[2] / "examples" / "worked").glob("*.work"))
MANY = """
x = [1, 2]; W = [[0.1, 0.3, -0.2], [0.6, 0.4, 0]]; alpha = 0.1; b_in = -1/3
z = x @ W
a = leaky_relu(z, alpha)
s = sum(a_i^i, i = 1..3) + abs(b_in) + min(a) - clip(z[1], -1, 1)
t = sum(x_1*i, i = 1..12)
yhat = sigmoid(s)/2 + 10^-7
q = piecewise(s^2 if s < -2, 2*s if s <= 0, sqrt(s)/exp(-s) otherwise)
L = -log(1 - yhat) + q*pi() + 0.00001*t
? L
? dL/dW[1,3]
? dL/db_in
? W, alpha after 2 adam(lr=0.1) on L
"""


@pytest.mark.parametrize(
    ("text", "terminal", "latex"),
    [
        ("a - (b - c)", "a − (b − c)", "a - (b - c)"),
        ("(a + b)*c", "(a + b)·c", r"(a + b) \cdot c"),
        ("-(a + b)", "−(a + b)", "-(a + b)"),
        ("(-a)^2", "(−a)²", "(-a)^{2}"),
        ("a*-2", "a·(−2)", r"a \cdot (-2)"),
        ("a/(b*c)", "a/(b·c)", r"\frac{a}{b \cdot c}"),
        ("(a/b)^2", "(a/b)²", r"\left(\frac{a}{b}\right)^{2}"),
        ("-2/7*a", "(−2/7)·a", r"\frac{-2}{7} \cdot a"),
        ("a/b/c", "(a/b)/c", r"\frac{\frac{a}{b}}{c}"),
        ("x^(n + 1)", "x^(n + 1)", "x^{n + 1}"),
        ("2^-1", "2⁻¹", "2^{-1}"),
        ("sqrt(a + 1)*abs(b)", "√(a + 1)·|b|", r"\sqrt{a + 1} \cdot \left|b\right|"),
        ("W_12 + xhat_1 - sigma", "W₁₂ + x̂₁ − σ", r"W_{12} + \hat{x}_{1} - \sigma"),
        ("leaky_relu(z_h, 0.1)", "leakyReLU(z_h, 0.1)", r"\mathrm{leakyReLU}(z_{h}, 0.1)"),
        ("loss_tr", "loss_tr", r"\mathrm{loss}_{\mathrm{tr}}"),
        ("0.00000125", "1.25·10⁻⁶", r"1.25 \cdot 10^{-6}"),
    ],
)
def test_how_mathematics_is_written(text: str, terminal: str, latex: str) -> None:
    node = parse_expression(text)
    assert Unicode().write(node) == terminal
    assert Latex().write(node) == latex
    ElementTree.fromstring(f"<math>{MathML().write(node)}</math>")


@pytest.mark.parametrize(
    ("value", "digits", "exact", "shown"),
    [
        (Fraction(1, 3), 6, False, "≈ 0.333333"),
        (Fraction(1, 3), 6, True, "= 1/3"),
        (Fraction(-7, 2), 6, False, "= −3.5"),
        (Fraction(1234567), 6, False, "= 1234567"),
        (Fraction(12345671, 10), 6, False, "≈ 1.23457·10⁶"),
        (Fraction(123456789012), 6, False, "= 123456789012"),
        (Fraction(3 * 10**9), 6, False, "= 3·10⁹"),
        (Fraction(1, 10**9), 6, False, "= 10⁻⁹"),
        (Fraction(2, 3), 2, False, "≈ 0.67"),
        (Decimal("0.31868"), 6, False, "≈ 0.318680"),
        (Decimal("99999.99"), 3, False, "≈ 1.00·10⁵"),
        (Fraction(0), 6, False, "= 0"),
        (Fraction(123456789, 1000), 6, True, "= 123456.789"),
    ],
)
def test_how_numbers_are_written(value: Fraction | Decimal, digits: int, exact: bool, shown: str) -> None:
    from pellucid.worked.expressions.expression import Const

    sign = "=" if numeral(value, digits, exact).exact else "≈"
    assert f"{sign} {Unicode(digits, exact).write(Const(value))}" == shown


def test_every_line_is_checked_and_says_so() -> None:
    solution = Worksheet.parse(MANY).solve()
    lines = [block for answer in solution.answers for block in answer.blocks if isinstance(block, Line)]
    assert all(line.check is not None for line in lines)
    for line in lines:
        assert line.check is not None
        assert abs(line.check.value - float(line.value)) <= line.check.tolerance * (1 + 1e-12)
        assert line.check.tolerance <= max(1e-5 * abs(float(line.value)), 1e-7)
    shown = solution.show(verify=True)
    assert shown.count("✓") == len(lines)
    assert "✓" not in solution.show()
    assert f"{len(lines)} lines, each checked: " in shown


def test_the_results_are_the_same_in_every_format() -> None:
    solution = Worksheet.parse(MANY).solve()
    result = f"{float(solution.value('L')):.6g}"
    for form in ("terminal", "markdown", "latex", "html", "fragment", "latex-fragment"):
        assert result in solution.show(form), form
    assert json.loads(solution.show("json"))["values"]["L"]["float"] == float(solution.value("L"))


@pytest.mark.parametrize(
    "text", [MANY, *(sheet.read_text() for sheet in SHEETS)], ids=["many", *(s.stem for s in SHEETS)]
)
def test_html_is_whole_and_needs_no_network(text: str) -> None:
    page = Worksheet.parse(text).solve().show("html", verify=True)
    found = re.findall(r"<math.*?</math>", page, re.DOTALL)
    assert len(found) > 10
    for each in found:
        tree = ElementTree.fromstring(each)
        allowed = {"math", "mrow", "mi", "mn", "mo", "mfrac", "msub", "msup", "mover", "msqrt", "munderover"}
        allowed |= {"mtable", "mtr", "mtd", "mtext"}
        assert {node.tag for node in tree.iter()} <= allowed
        sizes = {"mfrac": 2, "msub": 2, "msup": 2, "mover": 2, "munderover": 3}
        assert all(len(node) == sizes[node.tag] for node in tree.iter() if node.tag in sizes), each
    assert not re.search(r"https?:|<script|<link|url\(|@import", page)
    assert page.count("<section>") == page.count("</section>")


def test_names_are_escaped() -> None:
    assert "&lt;" in MathML().text(("a < b",))
    assert Latex().text(("50 % of a_b & {c} ≤ −1 ~ ^",)) == (
        r"50 \% of a\_b \& \{c\} $\le$ $-$1 \textasciitilde{} \textasciicircum{}"
    )


def test_json_says_every_line() -> None:
    solution = Worksheet.parse("a = 1/3; L = a^2; ? dL/da").solve()
    found = json.loads(solution.show("json"))
    assert found["values"]["L"] == {"exact": "1/9", "float": 1 / 9}
    answer = found["answers"][0]
    assert answer["question"] == "dL/da"
    assert answer["results"][0]["exact"] == "2/3"
    last = answer["lines"][-1]
    assert (last["left"], last["forms"][0]) == ("∂L/∂a", "2·a")
    assert last["check"]["how"] == "central difference"
    assert last["check"]["value"] == pytest.approx(2 / 3, rel=1e-6)


def _balanced(text: str) -> bool:
    depth = 0
    for sign in re.sub(r"\\[{}]", "", text):
        depth += (sign == "{") - (sign == "}")
        if depth < 0:
            return False
    return depth == 0


@pytest.mark.parametrize(
    "text", [MANY, *(sheet.read_text() for sheet in SHEETS)], ids=["many", *(s.stem for s in SHEETS)]
)
def test_latex_is_balanced_ascii_of_known_commands(text: str) -> None:
    document = Worksheet.parse(text).solve().show("latex", verify=True)
    assert document.isascii()
    for paragraph in document.partition(r"\begin{document}")[2].split("\n\n"):
        assert re.sub(r"\\\$", "", paragraph).count("$") % 2 == 0, paragraph
        assert _balanced(paragraph), paragraph
        assert paragraph.count(r"\left") - paragraph.count(r"\leftarrow") == paragraph.count(r"\right") - 0, paragraph
    known = {
        "documentclass",
        "usepackage",
        "setlength",
        "parindent",
        "parskip",
        "relpenalty",
        "binoppenalty",
        "sloppy",
        "raggedright",
        "begin",
        "end",
        "section",
        "textit",
        "nopagebreak",
        "displaystyle",
        "frac",
        "partial",
        "hat",
        "mathrm",
        "cdot",
        "left",
        "right",
        "approx",
        "leftarrow",
        "le",
        "ge",
        "to",
        "pm",
        "checkmark",
        "small",
        "footnotesize",
        "quad",
        "text",
        "sqrt",
        "sigma",
        *("alpha", "beta", "gamma", "delta", "epsilon", "lambda", "mu", "rho"),
        "pi",
        "ln",
        "exp",
        "tanh",
        "max",
        "min",
        "sum",
        "textasciicircum",
        *("Large", "bfseries", "numbered", "boxed", "bigl", "bigr"),
    }
    assert set(re.findall(r"\\([A-Za-z]+)", document.partition(r"\begin{document}")[2])) <= known


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="pdflatex is not installed")
@pytest.mark.parametrize("number", range(3))
def test_latex_compiles(number: int, tmp_path: Path) -> None:
    text = [MANY, SHEETS[0].read_text(), SHEETS[-1].read_text()][number]
    (tmp_path / "sheet.tex").write_text(Worksheet.parse(text).solve().show("latex", verify=True), encoding="utf-8")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "sheet.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:]
    assert "Missing character" not in done.stdout
    assert (tmp_path / "sheet.pdf").stat().st_size > 10_000


def test_markdown_has_its_mathematics_between_dollars() -> None:
    shown = Worksheet.parse(MANY).solve().show("markdown", verify=True)
    for line in shown.splitlines():
        assert line.replace(r"\$", "").count("$") % 2 == 0, line
    assert shown.startswith("### $L$")
    assert "- $\\frac{\\partial L}{\\partial q} = \\pi" in shown


def test_jupyter_sees_html_and_latex() -> None:
    sheet = Worksheet.parse("a = 2; b = a^2; ? b")
    assert "<math" in sheet._repr_html_() and "<html" not in sheet._repr_html_()
    assert sheet.solve()._repr_latex_().startswith("$$\\begin{array}")
    derived = builder("derive")
    for shown in (
        *(derived("x^2*exp(x)"), derived("[x*y, x + y]", "x, y"), derived("attention-backward")),
        *(builder("iterate")("2*tanh(x)"), check_table("input 8x8x1; conv 4 3x3", "1 = 7x7x4")),
    ):
        assert shown._repr_html_() == f"<pre>{html.escape(str(shown))}</pre>"
    assert check_answers(sheet, "b = 4")._repr_markdown_().startswith("**The answer is right.**")


def test_colour_is_only_where_it_is_asked() -> None:
    solution = Worksheet.parse("a = 2; b = a^2; ? b").solve()
    assert "\033[" in solution.show(color=True)
    assert "\033[" not in solution.show()
    plain = re.sub(r"\033\[[\d;]*m", "", solution.show(color=True, verify=True))
    assert plain.removesuffix("\ngiven computed asked") == solution.show(verify=True) != plain
    assert "\033[36m  given: a = 2\033[0m" in solution.show(color=True)
    assert solution.show(color=True).count("\033[1;33m4\033[0m") == 1


def test_an_unknown_format() -> None:
    with pytest.raises(UnknownNameError, match="form='pdf' is not known"):
        Worksheet.parse("a = 1").solve().show("pdf")


def test_a_sheet_without_questions_shows_what_nothing_uses() -> None:
    shown = Worksheet.parse("a = 2; b = a^2; c = b + 1; d = a/4").solve().show()
    assert "? c" in shown and "? d" in shown and "? b" not in shown
    assert "write an equation such as y = 2*3" in Worksheet.parse("").solve().show()


@pytest.mark.parametrize(
    ("written", "latex", "terminal"),
    [
        ("ŷ", r"\hat{y}", "ŷ"),
        ("y\u0302_1", r"\hat{y}_{1}", "ŷ₁"),
        ("x̄", r"\bar{x}", "x̄"),
        ("σ̃", r"\tilde{\sigma}", "σ̃"),
        ("é", r"\acute{e}", "é"),
        ("größe", r"\mathrm{gr\ddot{o}UDFe}", "größe"),
        ("ế", r"\acute{\hat{e}}", "ế"),
        ("a^{(2)}_1", "a^{(2)}_{1}", "a⁽²⁾₁"),
        ("W_{hh}", r"W_{\mathrm{hh}}", "W_hh"),
    ],
)
def test_accents_are_kept_in_every_form(written: str, latex: str, terminal: str) -> None:
    """`ŷ − y` printed as y − y is another loss."""
    solution = Worksheet(f"y = 1; e = 2; {written} = 0.25; L = ({written} - y)^2*e; ? L").solve()
    assert f"({latex} - y)^{{2}}" in solution.show("latex")
    assert f"({latex} - y)^{{2}}" in solution.show("markdown")
    assert f"({terminal} − y)²" in solution.show()


def test_what_looks_alike_is_one_name() -> None:
    sheet = Worksheet("yhat = 3; sigma = 2; L = ŷ*σ; ? dL/dŷ")
    assert [*sheet.equations] == ["yhat", "sigma", "L"]
    sheet["x̂"] = 4
    assert "xhat" in sheet and "x̂" in sheet
    solution = sheet.solve()
    assert (solution.value("ŷ"), solution.derivative("L", "σ"), solution.value("x̂")) == (3, 3, 4)
    assert check_answers(sheet, "dL/dŷ = 2").count("right") == 1
