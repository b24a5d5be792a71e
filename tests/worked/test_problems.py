# SPDX-License-Identifier: Apache-2.0
"""Random problems, exercises without their solution, builders on the command line, and worksheets written as texts."""

from __future__ import annotations

import re
from fractions import Fraction
from pathlib import Path
from random import Random
from typing import Any

import pytest

from pellucid import _catalog
from pellucid.cli.cli import main
from pellucid.errors import PellucidError, UsageError
from pellucid.worked import Worksheet
from pellucid.worked.builders import builder
from pellucid.worked.builders._gates import Gate
from pellucid.worked.builders.mlp.neurons import EXAMPLE, Neuron, read_table
from pellucid.worked.builders.softmax import Softmax
from pellucid.worked.forms.contract import Builder
from pellucid.worked.forms.exercise import by_hand, can_be_done_by_hand
from pellucid.worked.worksheet.writing import write_expression, write_worksheet


def problems(word: str, seeds: range, **options: str) -> list[Worksheet]:
    kind: type[Builder] = _catalog.find("worked/builders", word)
    return [kind(**options).draw(Random(seed)).worksheet() for seed in seeds]


@pytest.mark.parametrize(
    ("word", "option", "values"),
    [
        ("mlp", "loss", ["squared_error", "binary_cross_entropy", "cross_entropy"]),
        ("rnn", "activation", ["identity", "tanh", "relu"]),
        ("dense", "activation", ["identity", "relu", "leaky_relu", "sigmoid", "tanh"]),
        ("gru", "reset", ["after", "before"]),
        ("localization", "box_loss", ["squared", "smooth_l1"]),
        ("gan", "generator", ["non_saturating", "minimax"]),
        ("pooling", "kind", ["max", "average"]),
    ],
)
def test_problems_of_every_kind_are_found(word: str, option: str, values: list[str]) -> None:
    for value in values:
        texts = {write_worksheet(sheet) for sheet in problems(word, range(6), **{option: value})}
        assert len(texts) >= 5


def test_a_problem_of_dropout_tells_the_two_readings_apart() -> None:
    for sheet in problems("dense", range(20)):
        value = sheet.solve().value
        assert value("y_any_low") < value("y_exact_low") < value("y_exact_high") < value("y_any_high")


def test_the_files_are_named_for_the_problem(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["work", "mlp", "--random", "--seed", "7", "--hide-solution"]) == 0
    assert main(["work", "softmax", "--hide-solution", "--format", "html"]) == 0
    names = ["mlp-7.md", "mlp-7-solution.md", "softmax.html", "softmax-solution.html"]
    assert capsys.readouterr().out.split() == names
    text = Path("mlp-7.md").read_text(encoding="utf-8")
    assert text.startswith("Exercise mlp-7: Work a small network") and "4 questions" in text and "\\approx" not in text
    assert "\\approx" in Path("mlp-7-solution.md").read_text(encoding="utf-8")
    assert Path("softmax-solution.html").read_text(encoding="utf-8").startswith("<!doctype html>")


def test_an_exercise_keeps_to_itself_which_units_are_active(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    out = tmp_path / "drop.txt"
    assert main(["work", "dense", "--random", "--hide-solution", "--out", str(out)]) == 0
    exercise, solution = out.read_text(), (tmp_path / "drop-solution.txt").read_text()
    assert "y_exact,low = " not in exercise and "y_any,high = " not in exercise and "smallest c" not in exercise
    assert "y_exact,low = " in solution and "smallest c" in solution and "? y_exact,low" in exercise


def test_the_lecture_on_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["work", "mlp"]) == 0
    shown = capsys.readouterr().out
    assert "ŷ = σ(z₆) = σ(−0.98) ≈ 0.272892" in shown and "a dead ReLU" in shown
    assert "w₃₆ ← w₃₆ − 0.01 · ∂L/∂w₃₆ = −0.5 − 0.01·(−0.945241) ≈ −0.490548" in shown
    assert main(["work", "mlp", "--targets", "0"]) == 0
    assert "≈ 0.318680" in capsys.readouterr().out


def test_a_table_from_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = tmp_path / "network.txt"
    table.write_text(f"# the lecture's\n{EXAMPLE}\n")
    assert main(["work", "mlp", "--table", str(table)]) == 0
    assert "≈ 0.272892" in capsys.readouterr().out
    assert main(["work", "mlp", "--table", str(tmp_path / "none")]) == 2
    assert "cannot be read" in capsys.readouterr().err


def test_a_recurrent_network_of_vectors_on_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--W-h", "0.5 0; 0.1 1", "--W-x", "1; -1", "--W-y", "1 1", "--inputs", "1; 2", "--targets", "1"]
    assert main(["work", "rnn", *words]) == 0
    assert "h₂₁ = W_h₁₁·h₁₁ + W_h₁₂·h₁₂ + W_x₁₁·x₂₁ = 0.5·1.5 + 0·0.1 + 1·2 = 2.75" in capsys.readouterr().out


def test_a_long_recurrence_is_worked_backwards() -> None:
    sheet = builder("rnn")([1, -1] * 40, 1, W_h=0.5, W_x=1, W_y=1, activation="tanh")
    solution = sheet.solve()
    assert "paths lead from W_h to L" in solution.show()
    assert 0 < abs(solution.derivative("L", "h_1")) < Fraction(1, 10**20)  # the gradient has all but vanished


@pytest.mark.parametrize(
    "text",
    [
        "-(a + 2)^2/(b*(c - 0.25))",
        "a - (b - c) - (-d)",
        "a*(b/c)*d/(e*f)",
        "(a^b)^c + a^(b^c) + (-2)^3 + a^(-2)",
        "piecewise(a^2 if a < 1, 1/3 if b >= 2, -a)",
        "leaky_relu(a, 0.1)*clip(b, -1, 1) - max(a, b, 0)*pi()",
        "-a*b + -(a*b) - -3/7",
        "(a + b)*(a - b)/(-(a*b))",
    ],
)
def test_an_expression_written_again_has_the_same_value(text: str) -> None:
    given = "a = 1.5; b = 2; c = -3; d = 0.7; e = 4; f = 0.9\n"
    one = Worksheet.parse(f"{given}s = {text}")
    right = write_expression(one.equations["s"].right)
    two = Worksheet.parse(f"{given}s = {right}")
    assert two.solve().value("s") == one.solve().value("s")
    assert write_expression(two.equations["s"].right) == right


def test_a_builder_becomes_a_file_to_edit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "sheet.work"
    assert main(["work", "batch_norm", "--random", "--seed", "2", "--out", str(out)]) == 0
    assert main(["work", str(out)]) == 0
    assert "by central differences" in capsys.readouterr().out
    assert main(["work", "batch_norm", "--out", str(out), "--hide-solution"]) == 2
    assert "a worksheet solves itself and hides nothing" in capsys.readouterr().err


def test_nothing_that_cannot_be_done_by_hand_is_drawn() -> None:
    for text in ("a = 51", "a = 1/3; b = a^9", "a = 5; b = exp(a)", "a = 0; b = relu(a)", "a = -1; b = relu(a)"):
        assert not can_be_done_by_hand(Worksheet(text).solve()), text
    for text in ("a = 3; b = a/7", "a = 1; b = exp(a)*relu(a)", "a = 1; b = relu(a) + relu(2*a) + relu(-a)"):
        assert can_be_done_by_hand(Worksheet(text).solve()), text
    with pytest.raises(PellucidError, match="none of 500 problems could be done by hand"):
        by_hand(lambda: Softmax(z="9 1"))


GATE = Gate(1, 1, 0)
MISTAKES = [
    (lambda: read_table("3 relu 1"), "neurons, line 1: '3 relu 1' must be a name, an activation and weights"),
    (lambda: read_table("3 relu 1:2 1:3"), "3 has two weights from the same place"),
    (lambda: builder("mlp")("3 relu 4:1; 4 relu 3:1", [1], 1), "3, 4 feed each other in a circle"),
    (lambda: builder("mlp")("3 relu 1:1", [1, 2], 1), "inputs: the network has 1 (1); give one number for each"),
    (lambda: builder("mlp")("3 relu 1:1", [[1], [2]], [1]), "there are 2 samples; give a target for each"),
    (lambda: builder("mlp")("3 relu 1:1; 3 relu 1:1", [1], 1), "two of them have the same name"),
    (lambda: builder("mlp")("3 relu 1:1", [1], 1, loss="binary_cross_entropy"), "needs sigmoid outputs"),
    (lambda: builder("mlp")("3 sigmoid 1:1", [1], 2, loss="binary_cross_entropy"), "must be from 0 to 1"),
    (lambda: builder("mlp")("3 identity 1:1", [1], 1, loss="cross_entropy"), "needs two or more outputs"),
    (lambda: builder("mlp")("3 identity 1:1; 4 identity 1:1", [1], 3, loss="cross_entropy"), "must be 1 to 2"),
    (lambda: builder("mlp")([Neuron("3", {"1": 1}, activation="selu")], [1], 1), "activation='selu' is not known"),
    (lambda: builder("mlp")("3 relu 1:1", [1], 1, learning_rate=-1), "learning_rate=-1: must be a positive number"),
    (lambda: builder("mlp")("3 relu 1:1", [1], 1, loss="hinge"), "loss='hinge' is not known"),
    (lambda: builder("rnn")([1], [1], W_h=[[1]], W_x=1, W_y=1), "must be three numbers, or matrices"),
    (lambda: builder("rnn")([1, 2, 3], [1, 2], W_h=1, W_x=1, W_y=1), "there are 3 steps; give a target for each"),
    (lambda: builder("rnn")([1], 1, W_h=1, W_x=1, W_y=1, activation="sigmoid"), "activation='sigmoid' is not known"),
    (lambda: builder("lstm")([[1]], i=GATE, f=GATE, g=GATE, o=GATE), "inputs: must be numbers, one a step"),
    (lambda: builder("gru")([1], r=GATE, z=GATE, n=GATE, reset="before", d_n=1), "d_n: there is no bracket for it"),
    (lambda: builder("gru")([1], r=GATE, z=GATE, n=Gate([[1]], 1)), "W_n: is 1×1 numbers and must be one number"),
    (lambda: builder("dense")([1, 2], [1, 2], dropout=1), "dropout=1.0: is a probability"),
    (lambda: builder("dense")([1, 2], [1, 2], mask=[1, 2]), "must be 2 zeros and ones"),
    (lambda: builder("dense")([1, 2], [1, 2], target=1), "give the mask of it too"),
    (lambda: builder("batch_norm")([1]), "one sample alone has no variance"),
    (lambda: builder("batch_norm")([1, 2], running_mean=1), "go together; give both or none"),
    (lambda: builder("batch_norm")([2, 2], eps=0), "the divisor is 0"),
    (lambda: builder("batch_norm")([1, 2], target=[1, 2], delta=[1, 2]), "give one of the two"),
    (lambda: builder("residual")([1, 2], [[1], [2]], [[1]]), "V: is 1×1 numbers and must be 1×2 numbers"),
    (lambda: builder("softmax")([1]), "must be two or more numbers"),
    (lambda: builder("softmax")([1, 2], [0.5, 0.6]), "must be 2 probabilities that sum to 1"),
]


@pytest.mark.parametrize(("make", "says"), MISTAKES, ids=[says for _, says in MISTAKES])
def test_mistakes_are_told(make: Any, says: str) -> None:
    with pytest.raises(UsageError, match=re.escape(says)):
        make().solve()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["mlp", "--random", "--inputs", "1 3"], "inputs=1 3: is drawn with --random"),
        (["mlp", "--random", "--seed", "-1"], "seed=-1: must be from 0 to"),
        (["mlp", "--seed", "3"], "seed=3: draws a random problem; write --random too"),
        (["mlp", "--targets", "2"], "targets=[2.0]: of a binary cross-entropy must be from 0 to 1"),
        (["lstm", "--candidate", "1"], "must be W, U and b"),
        (["softmax", "--z", "1 two"], "z='two': is not a number"),
        (["dense", "--dropout", "nan"], "must be finite"),
    ],
)
def test_mistakes_on_the_command_line(words: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["work", *words]) == 2
    assert says in capsys.readouterr().err


@pytest.mark.parametrize("form", ["terminal", "markdown", "latex", "html", "json"])
def test_what_is_said_of_the_whole_sheet_stands_before_the_answers(form: str) -> None:
    sheet = Worksheet("a = 3; b = a^2; ? b")
    sheet.remark("All numbers are in metres, as ", sheet["a"] * 2, " is.")
    shown = sheet.solve().show(form)
    assert shown.index("All numbers are in metres") < shown.rindex("9")
    assert sheet.solve().show(form).count("metres") == 1
    plain = Worksheet("a = 3; b = a^2; ? b").solve().show(form)
    assert "metres" not in plain and len(plain) < len(shown)


def test_what_cancels_is_shown_as_nothing() -> None:
    """The gradient by the shift of a softmax is 0, and no rounding of the last digits stands in its place."""
    shown = builder("softmax")([2, 1, -1], 2).solve().show()
    assert "+ (−0.0351190) ≈ 0\n" in shown
    assert "10⁻³" not in shown


def test_none_takes_a_part_away(capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["softmax"], ["lstm"], ["gru"], ["residual"], ["batch_norm"], ["dense", "--mask", "None"]):
        assert main(["work", *words, "--target", "None"]) == 0
        shown = capsys.readouterr().out
        assert "∂L" not in shown and "? L" not in shown, words
    words = ["--target", "None", "--delta", "1 0 0 1", "--running-mean", "0", "--running-var", "1"]
    assert main(["work", "batch_norm", *words]) == 0
    shown = capsys.readouterr().out
    assert "L = δ₁·y₁" in shown and "? y_test₁" in shown and "the unbiased one, v·4/3" in shown
