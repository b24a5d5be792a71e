# SPDX-License-Identifier: Apache-2.0
"""Answers as students hand them in: partly wrong chains, updated weights by their short names, matrices, products of derivatives."""

from __future__ import annotations

import pytest

from pellucid.worked import Worksheet, check_answers
from pellucid.worked.notation.operations import maximum, minimum

NEURON = """
x = 2; w = 0.5; b = 0.1; y = 1
z = w*x + b
a = sigmoid(z)
L = -(y*ln(a) + (1-y)*ln(1-a))
? L
? dL/dw
? w, b after sgd(lr=0.1) on L
"""
LAYER = """
W = [[1, 2], [3, 4]]; x = [1, 2]; y = [0, 0]
z = W x
L = ½||z - y||²
? L
? dL/dW
? W after sgd(lr=0.1) on L
"""
SOFTMAX = "z = [1, 2, 3]; y = [0, 0, 1]; p = softmax(z); L = -sum(y*log(p)); ? p; ? L; ? dL/dz"


@pytest.mark.parametrize(
    ("sheet", "answers", "verdicts"),
    [
        (NEURON, "z = 0.5*2 + 0.1 = 1.1\na = 1/(1+e^-1.1) = 0.7503\nL = -ln(0.7503) = 0.2873", "✓✓✓"),
        (NEURON, "dL/dw = (0.7503 - 1)*2 = -0.4994\nw = 0.5 - 0.1*(-0.4994) = 0.54994", "✓✓"),
        # a slip at first, then everything from it
        (NEURON, "z = 0.5*2 + 0.1 = 1.0\na = sigmoid(1.0) = 0.731\nL = -ln(0.731) = 0.313", "✗↳↳"),
        (NEURON, "dL/dw = (1 - 0.7503)*2 = 0.4994\nw = 0.5 - 0.1*0.4994 = 0.45", "✗↳"),
        # the short names of an updated weight
        (NEURON, "w_new = 0.55\nb' = 0.125", "✓✓"),
        (NEURON, "w_{new} = 0.55; b := 0.125", "✓✓"),
        (NEURON, "new w = 0.45", "✗"),
        (NEURON, "w after sgd(lr=0.1) on L: 0.55", "✓"),
        (NEURON, "w = 0.5", "✓"),  # the given number itself
        # products of derivatives, rounded on the way, and products with a bracket
        (NEURON, "dL/dw = dL/da * da/dz * dz/dw = -1.333*0.1874*2 = -0.4995", "✓"),
        (NEURON, "dL/dw = dL/da * da/dz * dz/dw = -1.333*0.1874*2 = -0.599", "✗"),
        (NEURON, "da/dz = a(1-a) = 0.1874\ndz/dw = x = 2\ndL/dz = a - y = 0.75026 - 1 = -0.24974", "✓✓✓"),
        (NEURON, "da/dz = a(1+a) = 0.1874", "✗"),
        (NEURON, "L = 0.125*8 = 0.2873", "✗"),
        (NEURON, "z = 1.100 + 0.4 = 1.1", "✗"),
        # vectors and matrices
        (LAYER, "z = (5, 11)\nL = 1/2*(25 + 121) = 73\ndL/dW = (z-y) x^T = [[5, 10], [11, 22]]", "✓✓✓✓✓✓✓"),
        (LAYER, "dL/dW = (z-y) x^T = [[5, 11], [10, 22]]", "✓✗✗✓"),
        (LAYER, "W after sgd(lr=0.1) on L = [0.5 1; 1.9 1.8]", "✓✓✓✓"),
        (LAYER, "W = W - 0.1 dL/dW = [[0.5, 1], [1.9, 1.8]]", "✓✓✓✓"),
        (SOFTMAX, "p = (e^1, e^2, e^3)/(e+e^2+e^3) = (0.0900, 0.2447, 0.6652)\nL = 0.4076", "✓✓✓✓"),
        (SOFTMAX, "dL/dz = p - y = [0.0900, 0.2447, -0.3348]", "✓✓✓"),
        (SOFTMAX, "dL/dz = y - p = [-0.0900, -0.2447, 0.3348]", "✗✗✗"),
    ],
)
def test_each_line_has_its_verdict(sheet: str, answers: str, verdicts: str) -> None:
    report = check_answers(Worksheet(sheet), answers)
    marks = {"right": "✓", "wrong": "✗", "follows": "↳"}
    assert not report.bad, report.bad
    assert "".join(marks[answer.status] for answer in report.checked) == verdicts


def test_a_formula_is_shown_as_it_was_written() -> None:
    report = check_answers(Worksheet(LAYER), "dL/dW = (z-y) x^T = [[5, 11], [10, 22]]")
    assert "The chain breaks after (z-y) x^T, which is 10." in report.show()


def test_the_square_of_a_norm_is_a_sum_of_squares() -> None:
    """Its derivative at 0 is 0, where that of the root has no value."""
    solution = Worksheet("x = [0, 0]; L = ||x||^2; ? dL/dx").solve()
    assert solution.derivative("L", "x_1") == 0
    assert Worksheet("x = [3, 4]; L = ‖x‖²; ? L").solve().value("L") == 25


def test_maxima_in_python_work_component_by_component_as_in_a_text() -> None:
    sheet = Worksheet()
    sheet.z = [-1, 2]
    sheet.a, sheet.m = maximum(0, sheet.z), maximum(sheet.z)
    sheet.c = [1, 1]
    sheet.b = minimum(sheet.z, sheet.c)
    solution = sheet.solve()
    assert [solution.value(name) for name in ("a_1", "a_2", "m", "b_1", "b_2")] == [0, 2, 2, -1, 1]
