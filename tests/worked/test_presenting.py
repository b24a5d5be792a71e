# SPDX-License-Identifier: Apache-2.0
"""The forms of convolutions, poolings, losses, measures and optimisers: every format, numbers read from words, and mistakes."""

from __future__ import annotations

import shutil
import subprocess
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from pellucid.cli.cli import main
from pellucid.errors import UsageError
from pellucid.worked.expressions.expression import Name, as_expr
from pellucid.worked.forms.numbers import read_tensor, read_vector
from pellucid.worked.showing.grids import Matrix, MatrixEquation, Table, as_json, show_grid
from pellucid.worked.worksheet.tensors import as_tensor, define
from pellucid.worked.worksheet.worksheet import Worksheet

WORDS = {
    "convolution": ("as a product of matrices", "z₂₂ = ", 4),
    "pooling": ("the gradient at the same places", "∂L/∂x₄₄ = ", 21),
    "iou": ("area of the intersection", "IoU = TP/(TP + FP + FN) = 16/(16 + 14 + 14) ≈ 0.363636", 3),
    "localization": ("no gradient reaches b̂", "∂L/∂b̂₂₄ = ", 13),
    "vae": ("? z₁", "D_KL = D₁ + D₂ = 0.818147 + 0.931853 ≈ 1.75000", 7),
    "gan": ("real images have the target 1", "L_D = L_real + L_fake = 0.220095 + 0.643669 ≈ 0.863764", 8),
    "psnr": ("in dB", "≈ 42.6901", 2),
    "optimizer": ("nesterov(lr=0.1, rho=0.9) on L", "     3   1.8498  −1.1502  0.42282  1.96482  0.535799", 4),
}


@pytest.mark.parametrize("word", WORDS)
def test_every_form_shows_its_example(word: str, capsys: pytest.CaptureFixture[str]) -> None:
    said, line, questions = WORDS[word]
    assert main(["work", word]) == 0
    shown = capsys.readouterr().out
    assert said in " ".join(shown.split()) and line in shown
    assert shown.count("\n? ") + shown.startswith("? ") == questions
    assert main(["work", word, "--verify", "--digits", "4", "--exact"]) == 0
    assert "✓ NumPy" in capsys.readouterr().out


@pytest.mark.parametrize("word", ["convolution", "optimizer"])
def test_matrices_and_tables_are_typeset(word: str, tmp_path: Path) -> None:
    if not shutil.which("pdflatex"):
        pytest.skip("pdflatex is not installed")
    path = tmp_path / f"{word}.tex"
    assert main(["work", word, "--out", str(path)]) == 0
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", path.name]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, errors="replace", check=False)
    assert done.returncode == 0, done.stdout[-800:]
    assert "Overfull" not in done.stdout


@pytest.mark.parametrize(("form", "mark"), [("markdown", "*as a product"), ("latex", "array"), ("html", "<mtable")])
def test_matrices_stand_before_the_answers(form: str, mark: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["work", "convolution", "--format", form]) == 0
    shown = capsys.readouterr().out
    assert mark in shown and shown.index("as a product of matrices") < shown.index("given")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["convolution", "1 2; 3"], "image: its rows have different lengths; give rows of one length."),
        (["convolution", "1 2 a"], "image='a': is not a number"),
        (["convolution", "[[[[[[1]]]]]]"], "must be lists of numbers at most five deep"),
        (
            ["convolution", "1 2", "--kernel", "1 2 3", "--padding", "0"],
            "it spans 3, more than the 2 of the padded image",
        ),
        (["convolution", "--padding", "100000"], "more than the 25,000 of a worksheet"),
        (["convolution", "--stride", "0"], "stride=(0,): must be a whole number of at least 1"),
        (["convolution", "--delta", "1 2"], "delta.shape=(2,): the output's is (2, 2)"),
        (["convolution", "--bias", "1 2"], "bias.shape=(2,): there are 1 filters"),
        (["convolution", "--delta", "1", "--target", "1"], "delta, target: each defines a loss"),
        (["pooling", "--padding", "2"], "is more than half the window"),
        (["pooling", "--kind", "average", "--dilation", "2"], "an average is taken over neighbours"),
        (["iou", "5 5 1 1", "0 0 1 1"], "truth=5 5 1 1: must be left, top, right, bottom"),
        (["iou", "--image", "5", "5"], "image=5 5: must be width and height, and hold both boxes"),
        (["iou", "1 0; 0 2", "1 0; 0 1"], "truth: must be a mask of 0 and 1"),
        (["iou", "--counts", "1", "2"], "counts=1 2: must be TP FP FN"),
        (["localization", "--objectness", "1 0.5"], "objectness: must be 1 where there is an object"),
        (["vae", "1", "0", "--epsilon", "1"], "sigma: is a standard deviation; give numbers above 0."),
        (["vae", "1", "1", "--log-variance", "0"], "sigma, log_variance: either gives the width"),
        (["gan", "1", "2", "--probabilities"], "real: are probabilities; give numbers between 0 and 1"),
        (["psnr", "1 2", "1 2"], "the error is 0 and the ratio infinite"),
        (["psnr", "1 2", "1 3", "--peak", "0"], "peak=0: is the largest value"),
        (["optimizer", "--start", "w"], "start='w': must be a name and its number"),
        (["optimizer", "--lr", "0"], "lr=0: must be above 0"),
        (["optimizer", "--rho", "1"], "rho=1: must be from 0 to below 1"),
        (["optimizer", "--steps", "0"], "steps=0: must be from 1 to 1000"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_mistake_is_one_sentence(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["work", *words]) == 2
    fault = capsys.readouterr().err
    assert said in fault and fault.count("\n") == 1


def test_numbers_are_read_exactly() -> None:
    assert read_vector("0.1, -1/3 2e-1 −4", "x") == [Fraction(1, 10), Fraction(-1, 3), Fraction(1, 5), -4]
    assert read_tensor("1 2; 3 4;", "x") == [[1, 2], [3, 4]]
    assert read_tensor("[[0.1], [2]]", "x") == [[Fraction(1, 10)], [2]]
    for bad in ("", "1;;2", "1/0", "nan", "1e999", "[]", "[1, nan]", "1" * 30_000, "[" * 20_000, "0x10"):
        with pytest.raises(UsageError) as caught:
            read_tensor(bad, "x")
        assert len(str(caught.value)) < 200 and str(caught.value).endswith(".")


def test_numbers_of_any_shape_become_quantities() -> None:
    sheet = Worksheet()
    names = define(sheet, "x", as_tensor(np.arange(8).reshape(2, 2, 2), "x"))
    assert names[1, 0, 1] == Name("x_2_1_2")
    assert sheet.solve().value("x_2_1_2") == 5
    assert as_tensor(np.float32(0.5), "x").shape == ()
    for bad in ([], [[1], [2, 3]], [[[1]], [2]], ["a"], [True], [float("nan")], np.zeros(2000)):
        with pytest.raises(UsageError):
            as_tensor(bad, "x")


def test_grids_in_every_format() -> None:
    product = MatrixEquation(
        "a < b", ((Name("t"), "=", Matrix(((as_expr(1), Name("x_1")),)), " ", Matrix(((Name("y"),),))),)
    )
    table = Table("a_b", ("step", Name("w_1")), (("0", as_expr(-0.5)), ("1", "")))
    assert show_grid(product) == "a < b\n\n  t = [ 1  x₁ ]   [ y ]"
    assert show_grid(table).splitlines()[2:] == ["  step    w₁", "  ──────────", "     0  −0.5", "     1"]
    assert as_json(table) == {"title": "a_b", "head": ["step", "w₁"], "rows": [["0", "−0.5"], ["1", ""]]}
    assert as_json(product)["lines"] == [["t", "=", [["1", "x₁"]], " ", [["y"]]]]
    assert "<h3>a &lt; b</h3>" in show_grid(product, "html") and "<mtable" in show_grid(product, "html")
    assert r"\begin{tabular}{rr}" in show_grid(table, "latex") and r"a\_b" in show_grid(table, "latex")
    assert "| step | $w_{1}$ |\n|---:|---:|\n| 0 | $-0.5$ |" in show_grid(table, "markdown")
