# SPDX-License-Identifier: Apache-2.0
"""Answers checked: planted slips are found, right numbers are never called wrong, wrong ones never right."""

from __future__ import annotations

import decimal
import json
import math
import random
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from pellucid.cli.cli import main
from pellucid.errors import UnknownNameError, UsageError
from pellucid.worked import Worksheet
from pellucid.worked.answers.answers import check_answers
from pellucid.worked.answers.entry import agrees, literal
from pellucid.worked.answers.report import Report

RNN = (Path(__file__).parents[2] / "examples" / "worked" / "rnn.work").read_text(encoding="utf-8")

NEURON = "x = 2; w = 0.7; b = 0.3; y = 1; z = w*x + b; a = sigmoid(z); L = (a - y)^2; ? L"
X, W, B, Y = 2, 0.7, 0.3, 1
Z = W * X + B
A = 1 / (1 + math.exp(-Z))

LAYER = "x = [1, -2]; W = [[0.5, 0.2], [0.1, -0.4]]; b = [0.3, -0.6]; z = x @ W + b; a = tanh(z); L = a_1*a_2"


def told(report: Report) -> list[tuple[str, str]]:
    return [(each.key, each.status) for each in report.checked]


def test_a_wrong_value_is_carried_forward() -> None:
    """z without its bias is wrong; all that is rightly worked out from it follows, and is not wrong again."""
    z = W * X
    a = round(1 / (1 + math.exp(-z)), 6)
    loss, slope = (a - 1) ** 2, 2 * (a - 1) * a * (1 - a)
    text = f"z = {z}\na = {a}\nL = {loss:.6g}\ndL/dz = {slope:.6g}\ndL/dw = {slope * X:.6g}\n"
    text += f"w after sgd(lr=0.5) on L = {W - 0.5 * slope * X:.6g}"
    report = check_answers(Worksheet(NEURON), text)
    assert [status for _, status in told(report)] == ["wrong", *["follows"] * 5]
    assert report.first is not None and report.first.key == "z"
    assert all(each.after == (1,) for each in report.checked[1:])


def test_a_wrong_number_without_a_known_slip_is_carried_forward() -> None:
    """The loss follows from a number that nothing explains, the sheet being in any order of lines."""
    text = f"L = {(0.1234 - 1) ** 2:.4g}  # from a below\n\na = 0.1234"
    report = check_answers(Worksheet(NEURON), text)
    assert told(report) == [("L", "follows"), ("a", "wrong")]
    assert report.first is not None and report.first.key == "a" and not report.first.slip
    assert report.checked[0].after == (3,)


def test_what_is_worked_out_from_more_digits_than_were_written_follows() -> None:
    """a is written to three digits; the loss comes from those that were not written."""
    report = check_answers(Worksheet(NEURON), f"a = 0.123\nL = {(0.12345 - 1) ** 2:.6f}\ndL/da = {2 * (0.12 - 1):.3f}")
    assert [each.status for each in report.checked] == ["wrong", "follows", "wrong"]


def test_wrong_numbers_from_which_there_is_no_way_on() -> None:
    """A probability of −2 has no logarithm; the line that should follow is held against the right numbers."""
    sheet = Worksheet("z = 0.7; p = sigmoid(z); L = -log(p)")
    right = math.log(1 + math.exp(-0.7))
    report = check_answers(sheet, f"p = -2.0\nL = {-right:.6g}\ndL/dz = p*z + dL/dp")
    assert [(each.status, each.slip) for each in report.checked] == [
        ("wrong", ""),
        ("wrong", "sign of a term"),
        ("wrong", ""),
    ]
    assert [each.status for each in check_answers(sheet, f"p = -2.0\nL = {right:.6g}").checked] == ["wrong", "right"]


def test_a_second_slip_is_named_beside_what_follows() -> None:
    z = W * X
    a = 1 / (1 + math.exp(-z))
    text = f"z = {z}\na = {a:.6g}\nL = {(a - 1) ** 2:.6g}\ndL/dz = {(a - 1) * a * (1 - a):.6g}"
    report = check_answers(Worksheet(NEURON), text)
    assert [each.status for each in report.checked] == ["wrong", "follows", "follows", "wrong"]
    assert [each.slip for each in report.checked] == ["bias left out", "", "", "missing factor of the power"]
    assert [each.first for each in report.checked] == [True, False, False, False]


def test_the_same_slip_made_again_follows() -> None:
    """σ′ left out in ∂L/∂z reaches ∂L/∂w and ∂L/∂b, which are right from there on."""
    slope = 2 * (A - Y)
    report = check_answers(Worksheet(NEURON), f"dL/dw = {slope * X:.6g}\ndL/db = {slope:.6g}")
    assert [each.status for each in report.checked] == ["wrong", "follows"]


def test_going_on_with_right_numbers_after_a_wrong_one_is_right() -> None:
    report = check_answers(Worksheet(NEURON), f"z = {W * X}\na = {A:.5f}\nL = {(A - 1) ** 2:.5g}")
    assert [each.status for each in report.checked] == ["wrong", "right", "right"]


def test_rounded_numbers_of_earlier_lines() -> None:
    """0.845 is right, and what is worked out from it to six digits is not."""
    report = check_answers(Worksheet(NEURON), f"a = {A:.3f}\nL = {(round(A, 3) - 1) ** 2:.6g}")
    assert [(each.status, each.slip) for each in report.checked] == [("right", ""), ("wrong", "rounded too early")]


def test_formulas() -> None:
    sheet = Worksheet(RNN)
    text = """
    yhat_2 = W_y*h_2
    dL/dW_h = dL/dh_1*h_0 + dL/dh_2*h_1
    ∂L/∂h_2 = 2*(yhat_2 - y_2)*W_y
    dL/dh_1 = 2*(yhat_2 - y_2)*W_y*W_h     # the way over yhat_1 is missing
    L = 2*yhat_2 - 10
    """
    report = check_answers(sheet, text)
    assert [status for _, status in told(report)] == ["right", "right", "right", "wrong", "right"]
    assert report.checked[3].slip == "path left out" and report.checked[3].value == 4
    assert not any(each.reason for each in report.checked[:3])
    assert report.checked[4].reason[0].startswith("right with these numbers")  # type: ignore[union-attr]


def test_vectors_and_updates_of_several() -> None:
    sheet = Worksheet(LAYER + "; ? a")
    z = np.array([1, -2]) @ np.array([[0.5, 0.2], [0.1, -0.4]]) + [0.3, -0.6]
    a = np.tanh(z)
    slope = a[::-1] * (1 - a**2)
    text = f"a = [{a[0]:.5g}, {a[1]:.5g}]\ndL/dz = [{slope[0]:.5g},\n  {-slope[1]:.5g}]\n"
    text += f"b_1, b_2 after sgd(lr=1) on L = {0.3 - slope[0]:.5g}, {-0.6 - slope[1]:.5g}\ndL/dW[1,2] = {slope[1]:.5g}"
    report = check_answers(sheet, text)
    assert [status for _, status in told(report)] == ["right", "right", "right", "wrong", "right", "right", "right"]
    assert report.first is not None and (report.first.key, report.first.slip) == ("dL/dz_2", "sign")


BAD = [
    ("q = 3", "line 1, column 1: name='q' is not known"),
    ("\n  L 0.5", "line 2, column 3: an answer is written name = value"),
    ("L =", "line 1, column 4: end of the statement: a number, a name or a bracket must come here"),
    ("L = 0,5", "line 1, column 6: ',': decimals are written with a point"),
    ("L = w 2", "line 1, column 7: '2': an operator is missing before it"),
    ("# remark\nL = (2", "line 2, column 5: '(' is not closed"),
    ("L = 2\nL = 3", "line 2, column 1: L: is answered in line 1; keep one."),
    ("L = 1; a = v", "line 1, column 12: name='v' is not known"),
    ("L = [1, 2]", "line 1, column 1: 2 are given where 1 number is asked for"),
    ("dL/dq = 2", "line 1, column 4: name='q' is not known"),
    ("L = $2", "line 1, column 5: '$' has no meaning"),
    ("w after foo() on L = 2", "line 1, column 9: optimiser='foo' is not known"),
    ("z after sgd() on L = 2", "line 1, column 1: z: is computed; only given numbers can be updated."),
    ("L = 1/0", "line 1, column 6: the divisor is 0"),
    ("z = sum(w, w = 1..10^9)", "line 1, column"),
    ("a = " + "(" * 200 + "1" + ")" * 200, "line 1, column"),
    ("a = 9^9^9^9", "line 1, column"),
]


@pytest.mark.parametrize(("text", "sentence"), BAD, ids=lambda each: each[:16])
def test_a_bad_line_is_named_and_the_others_are_checked(text: str, sentence: str) -> None:
    report = check_answers(Worksheet(NEURON), text + f"\n\n  b = {B}  # a number that is given\n")
    assert len(report.bad) == 1
    assert report.bad[0].sentence.startswith(sentence)
    assert (report.checked[-1].key, report.checked[-1].status) == ("b", "right")


def test_hostile_texts_are_bounded() -> None:
    with pytest.raises(UsageError, match="at most 5,000 are read"):
        check_answers(Worksheet(NEURON), "L = 1\n" * 10_000)
    assert check_answers(Worksheet(NEURON), "").show().startswith("No answer could be read.")
    assert len(check_answers(Worksheet(NEURON), "L" * 100_000).bad) == 1


def test_questions_that_are_not_answered() -> None:
    report = check_answers(Worksheet(RNN), "yhat_2 = 6\nL = 2")
    assert report.missing == ("dL/dh_1", "dL/dW_h", "W_h after sgd(lr=0.01) on L")
    assert "Not answered: dL/dh_1; dL/dW_h; W_h after sgd(lr=0.01) on L." in report.show()


def random_sheet(rng: random.Random) -> str:
    """A network of random size with given numbers, a loss, and questions."""
    inputs, hidden = rng.randint(1, 3), rng.randint(1, 3)
    lines = [f"x_{i} = {rng.uniform(-2, 2):.2f}" for i in range(1, inputs + 1)]
    activation = rng.choice(["sigmoid", "tanh", "relu", "exp", "leaky_relu"])
    for j in range(1, hidden + 1):
        lines += [f"w_{i}_{j} = {rng.uniform(-1, 1):.2f}" for i in range(1, inputs + 1)]
        lines += [f"b_{j} = {rng.uniform(-1, 1):.2f}"]
        total = " + ".join(f"w_{i}_{j}*x_{i}" for i in range(1, inputs + 1))
        lines += [f"z_{j} = {total} + b_{j}", f"a_{j} = {activation}(z_{j})"]
    lines += [f"v_{j} = {rng.choice([-1, 1]) * rng.uniform(0.2, 2):.3f}" for j in range(1, hidden + 1)]
    lines += ["yhat = " + " + ".join(f"v_{j}*a_{j}" for j in range(1, hidden + 1)), f"y = {rng.uniform(1, 3):.1f}"]
    return "\n".join([*lines, "L = (yhat - y)^2/" + str(rng.choice([1, 2, 3]))])


def abouts(sheet: Worksheet) -> list[str]:
    values = [name for name, each in sheet.equations.items() if not each.given]
    slopes = [f"dL/d{name}" for name in sheet.equations if name[0] in "wbzav" and name != "y"]
    return [*values, *slopes, "w_1_1 after sgd(lr=0.05) on L"]


def truth(sheet: Worksheet, about: str) -> Fraction:
    sheet.ask(about)
    return Fraction(sheet.solve(digits=30).answers[-1].results[0][1])


def written(value: Fraction, digits: int, rounding: str) -> str:
    context = decimal.Context(prec=digits, rounding=rounding)
    found = context.divide(Decimal(value.numerator), Decimal(value.denominator))
    return f"{found:f}" if abs(found.adjusted()) < 12 else str(found)


@pytest.mark.parametrize("seed", range(200))
def test_right_answers_are_never_called_wrong(seed: int) -> None:
    """Rounded or cut off at any number of digits from 3 on."""
    rng = random.Random(seed)
    text = random_sheet(rng)
    lines = []
    for about in rng.sample(every := abouts(Worksheet(text)), min(6, len(every))):
        value = truth(Worksheet(text), about)
        rounding = rng.choice([decimal.ROUND_HALF_EVEN, decimal.ROUND_HALF_UP, decimal.ROUND_DOWN])
        lines.append(f"{about} = {written(value, rng.randint(3, 14), rounding)}")
    report = check_answers(Worksheet(text), "\n".join(lines))
    assert not report.bad
    assert [each.status for each in report.checked] == ["right"] * len(lines), (text, lines)


@pytest.mark.parametrize("seed", range(200))
def test_wrong_answers_are_never_called_right(seed: int) -> None:
    """A random number that is off by more than its last digit, and by more than the third significant one."""
    rng = random.Random(1000 + seed)
    text = random_sheet(rng)
    about = rng.choice(abouts(Worksheet(text)))
    value = truth(Worksheet(text), about)
    digits = rng.randint(3, 10)
    share = rng.choice([-1, 1]) * 10 ** rng.uniform(1.1 - digits if digits < 4 else -1.9, 1)
    wrong = Decimal(written(value * (1 + Fraction(share)) or Fraction(1), digits, decimal.ROUND_HALF_EVEN))
    if value == 0:
        wrong = Decimal(f"{rng.uniform(0.001, 5):.3g}")
    (one,) = check_answers(Worksheet(text), f"{about} = {wrong:f}").checked
    assert (one.status, one.first) == ("wrong", True), (text, about, value, wrong)


def test_random_numbers_are_not_explained() -> None:
    """A slip is named because it leads to the number: to random numbers of six digits hardly one does."""
    rng = random.Random(7)
    named = 0
    for _ in range(100):
        text = random_sheet(rng)
        about = rng.choice(abouts(Worksheet(text)))
        (one,) = check_answers(Worksheet(text), f"{about} = {rng.uniform(-3, 3):.5f}").checked
        named += bool(one.slip) and one.slip != "nearly"
    assert named <= 2


@pytest.mark.parametrize(
    ("text", "true", "right"),
    [
        ("0.667", Fraction(2, 3), True),
        ("0.666", Fraction(2, 3), True),
        ("0.668", Fraction(2, 3), False),
        ("0.67", Fraction(2, 3), False),
        ("0", Fraction(0), True),
        ("0.000", Fraction(0), True),
        ("0.0001", Fraction(0), False),
        ("0.000", Fraction(3, 10_000), False),
        ("6", Fraction(6), True),
        ("6.00", Fraction(6), True),
        ("123000", Fraction(123_456), True),
        ("124500", Fraction(123_456), False),
        ("1.23e5", Fraction(123_456), True),
        ("-0.5", Fraction(1, 2), False),
        ("100", Fraction(9_996, 100), True),
        ("100", Fraction(997, 10), False),
    ],
)
def test_the_tolerance_follows_the_digits(text: str, true: Fraction, right: bool) -> None:
    assert agrees(literal(text), true) is right
    assert agrees(literal("-" + text.removeprefix("-")), -abs(true)) is (right or text == "-0.5")


def test_a_quantity_at_the_start_of_a_sentence_keeps_its_letter() -> None:
    sheet = Worksheet("x_1 = 2; x_2 = 3; w = 0.5; h_2 = w*x_2 + 1")
    assert "  x₁ is used instead of x₂: h₂ = w·x₁ + 1" in check_answers(sheet, "h_2 = 2.0").show()


def test_shown_in_three_formats() -> None:
    report = check_answers(Worksheet(NEURON), "z = 1.4\na = 0.80218\nL = 0.5\nfoo\n")
    shown = report.show()
    assert shown.startswith(
        "None of the 3 answers is right, 2 are wrong, 1 follows from these. The first wrong one is in line 1."
    )
    assert "  ✗ line 1  z = 1.4       first wrong; right: 1.7\n" in shown
    assert "The bias b is left out: z = w·x = 0.7·2 = 1.4." in shown
    assert "↳ line 2  a = 0.80218   follows from line 1   (right: ≈ 0.845535)" in shown
    assert "\033" not in shown and "\033[31m✗\033[0m" in report.show(color=True)
    page = report.show("markdown")
    assert "| ✗ | 1 | z = 1.4 | 1.7 | **first wrong**<br>The bias b is left out" in page
    data = json.loads(report.show("json"))
    assert data["counts"] == {"right": 0, "wrong": 2, "follows": 1}
    assert data["first_wrong"] == "z" and data["answers"][0]["slip"] == "bias left out"
    assert data["answers"][1]["follows_from_lines"] == [1]
    assert data["bad_lines"][0]["line"] == 4
    with pytest.raises(UnknownNameError, match="format='html' is not known"):
        report.show("html")


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sheet, answers = tmp_path / "sheet.work", tmp_path / "theirs.txt"
    sheet.write_text(RNN, encoding="utf-8")
    answers.write_text("yhat_2 = 6\nL = 2.000\ndL/dW_h = 8\nW_h after sgd(lr=0.01) on L = 1.08\n", encoding="utf-8")
    assert main(["work", str(sheet), "--answers", str(answers)]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("3 of 4 answers are right, 1 is wrong. The first wrong one is in line 4.")
    assert "The step is added instead of subtracted" in shown
    assert main(["work", str(sheet), "--answers", str(answers), "--out", str(tmp_path / "report.json")]) == 0
    assert json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))["first_wrong"] is not None
    capsys.readouterr()
    answers.write_text("L = 2\nM = 3\n", encoding="utf-8")
    assert main(["work", str(sheet), "--answers", str(answers)]) == 2
    assert "line 2, column 1: name='M' is not known" in capsys.readouterr().out
    assert main(["work", str(sheet), "--answers", str(tmp_path / "none.txt")]) == 2
    assert "cannot be read (No such file or directory); name a text of answers." in capsys.readouterr().err


PEOPLE = "w = 3; y = 1; L = (w - y)^2; acc = 0.75*1; q = L/3; x = [1, 2]; z = 2*x; ŷ = 3*w; ? L; ? dL/dw; ? acc"


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        ("L = (3-1)^2 = 4", "right"),
        ("L = (w-y)^2 = (3 - 1)² = 2^2 = 4", "right"),
        ("L = (3-1)^2 = 5", "link of a chain"),
        ("L = (3-1)*2 + 1 = 4", "link of a chain"),
        ("L = (w - y)^2 = 3 = 4", "link of a chain"),
        ("dL/dw = 2(w-y) = 2·2 = 4", "right"),
        ("dL/dw = 2*(3 - 1) = 6", "link of a chain"),
        ("q = 4/3 ≈ 1.33", "right"),
        ("z = 2*[1, 2] = [2, 4]", "right"),
        ("acc = 75%", "right"),
        ("acc = 75 %", "right"),
        ("acc = 25 %", "wrong"),
        ("L = 4 ± 0.1", "right"),
        ("L = 4.1 ± 0.1", "right"),
        ("L = 4.2 ± 0.1", "wrong"),
        ("$L = 4$", "right"),
        ("The loss is L = 4.", "right"),
        ("so dL/dw = 4, as expected", "right"),
        ("Therefore L = (w-y)^2 = (3-1)^2 = 4.", "right"),
        ("so dL/dw = 2(w - y) = 2·2 = 4, as expected", "right"),
        ("Hence L = (3-1)^2 = 5.", "link of a chain"),
        ("L is about 4.00", "right"),
        ("L = 4 (rounded)", "right"),
        ("Answer: L = 5 px", "wrong"),
        (r"\frac{\partial L}{\partial w} = 4", "right"),
        ("ŷ = 9; yhat = 9", "right"),
        ("z₂ = 4", "right"),
        ("L := 4", "right"),
        ("L = 4 or 5", "bad"),
        ("L = 4 ± 3", "bad"),
        ("the loss M = 4", "bad"),
    ],
)
def test_answers_in_the_style_of_a_person(answer: str, status: str) -> None:
    report = check_answers(Worksheet(PEOPLE), answer)
    if status == "bad":
        assert not report.checked
        assert report.bad[0].sentence.startswith("line 1, column ")
        return
    found = report.checked[0]
    assert status in (found.status, found.slip), report.show()
    assert report.show("markdown") and report.show("json")


def test_the_last_digits_of_a_printed_float_are_rounding() -> None:
    """What NumPy prints, as in 0.1 + 0.2, is no wrong answer; a digit before them still is."""
    sheet = Worksheet("a = 0.1; b = 0.2; c = a + b; L = c^2; ? c; ? L")
    for text, status in (
        ("c = 0.30000000000000004", "right"),
        ("L = 0.09000000000000002", "right"),
        ("c = 0.30000000004", "wrong"),
    ):
        assert check_answers(sheet, text).checked[0].status == status, text


def test_a_chain_of_a_learner_who_goes_on_from_a_wrong_number_is_whole() -> None:
    sheet = Worksheet("w = 3; z = w + 2; L = z^2; ? z; ? L")
    first, second = check_answers(sheet, "z = 4; L = z^2 = 4^2 = 16").checked
    assert (first.status, second.status) == ("wrong", "follows")
    first, second = check_answers(sheet, "z = 4; L = 4^2 = 15").checked
    assert (second.status, second.slip) == ("wrong", "link of a chain")
