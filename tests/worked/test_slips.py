# SPDX-License-Identifier: Apache-2.0
"""Every named slip, planted: its number is worked out here by hand, and the search names it."""

from __future__ import annotations

import math

import numpy as np
import pytest

from pellucid.errors import UsageError
from pellucid.worked import Worksheet
from pellucid.worked.answers.answers import check_answers
from pellucid.worked.answers.slips import SLIPS

NEURON = "x = 2; w = 0.7; b = 0.3; y = 1; z = w*x + b; a = sigmoid(z); L = (a - y)^2; ? L"
X, W, B, Y = 2, 0.7, 0.3, 1
Z = W * X + B
A = 1 / (1 + math.exp(-Z))

MSE = "x_1 = 1.5; x_2 = -2; w = 0.8; y_1 = 2; y_2 = 1; e_1 = w*x_1 - y_1; e_2 = w*x_2 - y_2; L = (e_1^2 + e_2^2)/2"
E1, E2 = 0.8 * 1.5 - 2, 0.8 * -2 - 1

NORM = "x_1 = 1; x_2 = 4; x_3 = 2.5; m = (x_1 + x_2 + x_3)/3; v = ((x_1 - m)^2 + (x_2 - m)^2 + (x_3 - m)^2)/3\n"
NORM += "s = sqrt(v + 0.01); g = 1.7; n_2 = g*(x_2 - m)/s; L = n_2^2"
DATA = np.array([1, 4, 2.5])
M, V = float(DATA.mean()), float(DATA.var())
S = math.sqrt(V + 0.01)

VAE = "mu = 0.4; sigma = 1.3; eps = -0.7; z = mu + sigma*eps; D = (mu^2 + sigma^2 - log(sigma^2) - 1)/2"

SOFT = "z_1 = 0.2; z_2 = -0.4; z_3 = 1.1; p = softmax(z_1, z_2, z_3); t_1 = 0.5; t_2 = 0.1; t_3 = 0.8\n"
SOFT += "L = p_1*t_1 + p_2*t_2 + p_3*t_3"
P = np.exp([0.2, -0.4, 1.1]) / np.exp([0.2, -0.4, 1.1]).sum()
T = np.array([0.5, 0.1, 0.8])

STEPS = "w = 1.5; u = -0.4; c = 3; L = (w - c)^2/2 + w*u^2"
G = 1.5 - 3 + 0.16  # ∂L/∂w
GU = 2 * 1.5 * -0.4

LAYER = "x = [1, -2]; W = [[0.5, 0.2], [0.1, -0.4]]; b = [0.3, -0.6]; z = x @ W + b; a = tanh(z); L = a_1*a_2"

CHAIN = "x = 1.5; w = 2; v = 3; y = 1; h = w*x; yhat = v*h; L = (yhat - y)^2\n"
CHAIN += "? v after sgd(lr=0.01) on L; ? w after sgd(lr=0.01) on L"
NEW_V = 3 - 0.01 * 2 * (9 - 1) * 3
FORWARD = 2 * (NEW_V * 3 - 1) * NEW_V * 1.5  # ∂L/∂w with everything worked out again

CLASSES = "x = 2; w = 0.4; y = 1; z = w*x; p = sigmoid(z); L = -(y*log(p) + (1 - y)*log(1 - p))"
PROB = 1 / (1 + math.exp(-0.8))

SHARED = "W = 0.9; h_0 = 0.5; h_1 = tanh(W*h_0); h_2 = tanh(W*h_1); L = (h_2 - 1)^2"
H1 = math.tanh(0.45)
H2 = math.tanh(0.9 * H1)

HEAD = "d = 2; Q_1 = 1.2; Q_2 = 0.4; K_1 = 0.9; K_2 = -1.1; S = (Q_1*K_1 + Q_2*K_2)/sqrt(d); A = sigmoid(S)"
SCORE = 1.2 * 0.9 - 0.4 * 1.1

PLANTED: list[tuple[str, str, str, float]] = [
    # slip, sheet, what is answered, the number that the slip leads to, worked out here by hand
    ("bias left out", NEURON, "z", W * X),
    ("bias left out", NEURON, "L", (1 / (1 + math.exp(-W * X)) - Y) ** 2),
    ("activation left out", NEURON, "a", Z),
    ("activation left out", NEURON, "L", (Z - Y) ** 2),
    ("square left out", NEURON, "L", A - Y),
    ("another activation", NEURON, "a", math.tanh(Z)),
    ("square of each term", NEURON, "L", A**2 - Y**2),
    ("sign of a term", NEURON, "z", W * X - B),
    ("missing factor of the power", NEURON, "dL/dz", (A - Y) * A * (1 - A)),
    ("missing factor of the power", NEURON, "dL/dw", (A - Y) * A * (1 - A) * X),
    ("derivative of the function left out", NEURON, "dL/dz", 2 * (A - Y)),
    ("derivative of the function left out", NEURON, "dL/dw", 2 * (A - Y) * X),
    ("sign", NEURON, "dL/dw", -2 * (A - Y) * A * (1 - A) * X),
    ("derivative at the wrong place", NEURON, "dL/dz", 2 * (A - Y) * Z * (1 - Z)),
    ("function applied twice", NEURON, "da/dz", math.exp(-A) / (1 + math.exp(-A)) ** 2),
    ("half of the derivative's formula", NEURON, "da/dz", A),
    ("the other factor", NEURON, "dz/dw", W),
    ("constant kept", NEURON, "dz/dw", X + B),
    ("link of the chain left out", NEURON, "dL/dw", A * (1 - A) * X),
    ("exponent not lowered", NEURON, "dL/da", 2 * (A - Y) ** 2),
    ("factor left out", MSE, "L", E1**2 + E2**2),
    ("factor left out", HEAD, "S", SCORE),
    ("factor left out", "p = 0.25; I = -log(p)/log(2)", "I", math.log(4)),
    ("variance for standard deviation", HEAD, "S", SCORE / 2),
    (
        "distance for its square",
        "x = [1.5, 2]; m = [4.3, 1]; d = (x_1 - m_1)^2 + (x_2 - m_2)^2",
        "d",
        math.hypot(2.8, 1),
    ),
    ("term left out", MSE, "L", E2**2 / 2),
    ("index off by one", MSE, "e_2", 0.8 * 1.5 - 1),
    ("path left out", MSE, "dL/dw", E1 * 1.5),
    ("variance for standard deviation", NORM, "n_2", 1.7 * (4 - M) / (V + 0.01)),
    ("variance for standard deviation", VAE, "z", 0.4 + 1.69 * -0.7),
    ("variance for standard deviation", VAE, "D", (0.16 + 1.3 - math.log(1.69) - 1) / 2),
    ("division by n − 1", NORM, "v", float(DATA.var(ddof=1))),
    ("brackets ignored", NORM, "m", 1 + 4 + 2.5 / 3),
    ("missing ½ of the root", NORM, "ds/dv", 1 / S),
    ("minus of the quotient rule", NORM, "dn_2/ds", 1.7 * (4 - M) / S**2),
    ("divisor not squared", NORM, "dn_2/ds", -1.7 * (4 - M) / S),
    ("another logarithm", VAE, "D", (0.16 + 1.69 - math.log10(1.69) - 1) / 2),
    ("softmax not normalised", SOFT, "p_3", math.exp(1.1)),
    ("softmax not normalised", SOFT, "p_3", 1.1 / 0.9),
    ("only the diagonal of the softmax Jacobian", SOFT, "dL/dz_3", T[2] * P[2] * (1 - P[2])),
    ("sign off the softmax diagonal", SOFT, "dL/dz_3", T[2] * P[2] * (1 - P[2]) + P[2] * (T[0] * P[0] + T[1] * P[1])),
    ("matrix transposed", LAYER, "z_2", 0.1 * 1 + -0.4 * -2 - 0.6),
    ("path left out", SHARED, "dL/dW", 2 * (H2 - 1) * (1 - H2**2) * H1),
    ("inner derivative left out", SHARED, "dh_1/dW", 1 - H1**2),
    ("sign of the inner derivative", "y = 3; h = 1.2; c = exp(y - h)*h", "dc/dh", math.exp(1.8) * 2.2),
    ("half of the product rule", "y = 3; h = 1.2; c = h*exp(y*h)", "dc/dh", math.exp(3.6)),
    ("another branch", "x = 1.5; f = piecewise(x^3 if x < 1, 2*x otherwise)", "f", 1.5**3),
    ("derivative of the function left out", "w = -2; x = 1.5; z = w*x; a = relu(z); L = (a - 2)^2", "dL/dw", -6.0),
    ("parameter used after its update", CHAIN, "dL/dw", 2 * 8 * NEW_V * 1.5),
    ("parameter used after its update", CHAIN, "w after sgd(lr=0.01) on L", 2 - 0.01 * 2 * 8 * NEW_V * 1.5),
    ("parameter used after its update", CHAIN, "w after sgd(lr=0.01) on L", 2 - 0.01 * FORWARD),
    ("target left out of the gradient", CLASSES, "dL/dz", PROB),
    ("target left out of the gradient", CLASSES, "dL/dw", 2 * PROB),
    ("target left out of the gradient", "z = [1, 2, 0.5]; p = softmax(z); L = -log(p_2)", "dL/dz_2", 0.628532),
    ("update added", STEPS, "w after sgd(lr=0.1) on L", 1.5 + 0.1 * G),
    ("learning rate left out", STEPS, "w after sgd(lr=0.1) on L", 1.5 - G),
    ("step for the new number", STEPS, "w after sgd(lr=0.1) on L", -0.1 * G),
    ("step for the new number", STEPS, "w after sgd(lr=0.1) on L", 0.1 * G),
    ("rule of the update", STEPS, "u after 2 sgd(lr=0.1) on L", -0.4 - 0.1 * GU),
    ("rule of the update", STEPS, "w after adam(lr=0.1) on L", 1.5 + 0.1 * 0.1 / math.sqrt(0.001)),
    ("variance for standard deviation in the update", STEPS, "w after adam(lr=0.1) on L", 1.5 - 0.1 / G),
    ("missing factor of the power", STEPS, "u after sgd(lr=0.1) on L", -0.4 - 0.1 * GU / 2),
    ("factor 2", "a = 3; b = exp(a)", "b", 2 * math.exp(3)),
    ("decimal point", "a = 3; b = exp(a)", "b", math.exp(3) / 100),
    ("rounded too early", NEURON, "L", (round(A, 2) - Y) ** 2),
]


@pytest.mark.parametrize(("slip", "text", "about", "number"), PLANTED, ids=lambda each: str(each)[:24])
def test_a_planted_slip_is_found(slip: str, text: str, about: str, number: float) -> None:
    """At six digits every slip is among those named, and nearly always the first."""
    report = check_answers(Worksheet(text), f"{about} = {number:.6g}")
    (one,) = report.checked
    assert (one.status, one.first) == ("wrong", True)
    assert slip in (one.slip, *(name for name, _ in one.others)), (one.slip, one.others)
    assert one.reason


def test_every_slip_is_planted() -> None:
    elsewhere = {"too few digits", "digits exchanged", "another quantity's number", "nearly"}
    assert {slip.name for slip in SLIPS} == {name for name, *_ in PLANTED} | elsewhere
    assert len(SLIPS) >= 12


def test_the_first_is_almost_always_the_planted_one() -> None:
    first = 0
    for slip, text, about, number in PLANTED:
        (one,) = check_answers(Worksheet(text), f"{about} = {number:.6g}").checked
        first += one.slip == slip
    assert first >= 0.9 * len(PLANTED)


@pytest.mark.parametrize(
    ("answer", "slip"),
    [
        ("L = 2.3", "too few digits"),
        ("L = 2.314", "digits exchanged"),
        ("dL/dw = 0.84", "another quantity's number"),
        ("L = 2.36", "nearly"),
        ("c = 7", "miscopied"),
    ],
)
def test_slips_of_the_number_itself(answer: str, slip: str) -> None:
    sheet = Worksheet("w = 1.2; c = 0.7; z = w*c; L = z + 1.5012")  # z = 0.84, L = 2.3412, ∂L/∂w = 0.7
    (one,) = check_answers(sheet, answer).checked
    assert (one.status, one.slip) == ("wrong", slip)


def test_a_short_number_of_another_kind_is_no_rounding() -> None:
    """1 for 0.707 is the score without √2, and 570 for 568 px a convolution too few."""
    score = Worksheet("q = 1; k = 1; d = 2; S = q*k/sqrt(d)")
    (one,) = check_answers(score, "S = 1").checked
    assert (one.slip, "too few digits" in dict(one.others)) == ("factor left out", True)
    sizes = Worksheet("n = 572; c = 2; s = c*2; e = n - s; d = e/2")
    (one, after) = check_answers(sizes, "e = 570; d = 285").checked
    assert "too few digits" not in (one.slip, *dict(one.others))
    assert after.status == "follows"


def test_a_slip_that_was_made_once_is_made_again() -> None:
    """The second line of a transposed matrix gives the number of a missing bias too."""
    sheet = Worksheet("x = [1, 3]; W = [[1, 1], [2, 1]]; b = [0.5, 1]; z = W @ x + b; ? z")
    first, second = check_answers(sheet, "z_1 = 7.5; z_2 = 5").checked
    assert (first.slip, second.slip) == ("matrix transposed", "matrix transposed")
    (alone,) = check_answers(sheet, "z_2 = 5").checked
    assert "bias left out" in (alone.slip, *(name for name, _ in alone.others))


@pytest.mark.parametrize(
    ("tolerance", "right"),
    [
        ("3s", ["0.727", "0.728", "0.7271"]),
        ("2s", ["0.73", "0.72", "0.727", "0.728", "0.7271"]),
        ("2d", ["0.73", "0.72", "0.727", "0.728", "0.7271", "0.735"]),
        ("1%", ["0.73", "0.72", "0.727", "0.728", "0.7271"]),
        ("0.5%", ["0.73", "0.727", "0.728", "0.7271"]),
        ("4s", ["0.7271"]),
    ],
)
def test_one_rule_judges_values_vectors_updates_and_what_follows(tolerance: str, right: list[str]) -> None:
    answers = ["0.73", "0.72", "0.727", "0.728", "0.7271", "0.735", "0.74", "0.7"]
    sheet = Worksheet("a = 0.7271; c = 1; q = a*c; r = [a, q]*1; L = c*0 + a*c; ? q; ? r; ? c after sgd(lr=1) on L")
    for number in answers:
        judged = [
            check_answers(sheet, f"q = {number}", tolerance=tolerance),
            check_answers(sheet, f"r = [{number}, {number}]", tolerance=tolerance),
            check_answers(sheet, f"dL/dc = {number}", tolerance=tolerance),
        ]
        verdicts = {answer.status == "right" for report in judged for answer in report.checked}
        assert verdicts == {number in right}, (number, tolerance)
        assert judged[0].tolerance.sentence in judged[0].show()
        # what follows from an earlier wrong number is judged by the same rule
        chain = Worksheet("x = 2; w = 1; z = x*w; q = z*0.36355; ? q")
        _, after = check_answers(chain, f"z = 4.0000000; q = {2 * float(number):.5g}", tolerance=tolerance).checked
        if tolerance.endswith("%"):
            assert (after.status == "follows") == (number in right), (number, tolerance)


def test_a_tolerance_that_is_none_is_refused() -> None:
    for text in ("0s", "3", "two", "-1d", "0%"):
        with pytest.raises(UsageError, match="must be significant digits, decimals or per cent"):
            check_answers(Worksheet("a = 1; b = a"), "b = 1", tolerance=text)
