# SPDX-License-Identifier: Apache-2.0
"""Numbers that float64 cannot check: tiny, huge, and what is left after digits cancel; each against its closed form."""

from __future__ import annotations

import contextlib
import math
import random
import warnings

import pytest

from pellucid.errors import PellucidError
from pellucid.worked import Worksheet


@pytest.mark.parametrize(
    ("text", "name", "wanted"),
    [
        ("a = 1; v = a/1e200", "v", 1e-200),
        ("a = 1e-200; v = 1/a/1e100", "v", 1e100),
        ("s = 40; L = -log(1 - sigmoid(s))", "L", 40.0),
        ("s = 70; p = sigmoid(s); L = -log(1 - p)", "L", 70.0),
        ("s = 700; p = sigmoid(s); L = -log(1 - p)", "L", 700.0),
        ("s = -800; p = sigmoid(s); L = -log(p)", "L", 800.0),
        ("s = 50; q = (1 - tanh(s))*1e43", "q", 2e43 * math.exp(-100)),
        ("s = 300; q = (1 - tanh(s))*1e255", "q", 2 * math.exp(-600 + 255 * math.log(10))),
        ("x = 1e8; y = (x + 1e-8) - x", "y", 1e-8),
        ("x = 2; y = sqrt(x)^2 - 2", "y", 0.0),
        ("x = 3; y = exp(log(x)) - x; z = y*1e100", "z", 0.0),
        ("u = 1e-3; q = (erf(u) - 2*u/sqrt(pi()))*1e9", "q", -2 / math.sqrt(math.pi) / 3),
    ],
)
def test_values_that_float64_cannot_check(text: str, name: str, wanted: float) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        solution = Worksheet(f"{text}; ? {name}").solve()
        assert float(solution.value(name)) == pytest.approx(wanted, rel=1e-5, abs=1e-300)
        assert "checked" in solution.show(verify=True)


@pytest.mark.parametrize(
    ("text", "of", "by", "wanted"),
    [
        ("s = 40; L = -log(1 - sigmoid(s))", "L", "s", 1.0),
        ("s = 70; p = sigmoid(s); L = -log(1 - p)", "L", "s", 1.0),
        ("s = 300; p = sigmoid(s); L = -log(1 - p)", "L", "s", 1.0),
        ("s = 50; q = (1 - tanh(s))*1e43", "q", "s", -4e43 * math.exp(-100)),
        ("a = 1e-90; b = log(a)", "b", "a", 1e90),
        ("a = 1e150; b = a^2/a", "b", "a", 1.0),
        ("x = 0.3; y = sin(x)^2 + cos(x)^2", "y", "x", 0.0),
    ],
)
def test_derivatives_that_float64_cannot_check(text: str, of: str, by: str, wanted: float) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        solution = Worksheet(f"{text}; ? d{of}/d{by}; ? {by} after sgd(lr=1e-300) on {of}").solve()
        assert float(solution.derivative(of, by)) == pytest.approx(wanted, rel=1e-6, abs=1e-200)
        assert solution.show()


def test_extreme_sheets_are_solved_or_refused_in_words() -> None:
    """No warning and no fault, whatever the size of the numbers."""
    sizes = ["0", "1e-300", "1e-160", "1e-20", "0.7", "-3", "40", "-900", "1e20", "1e160", "1e300"]
    calls = ["exp", "sigmoid", "tanh", "log", "sqrt", "relu", "softplus", "abs", "erf"]
    rng = random.Random(4)
    solved = 0
    for _ in range(150):
        a, b = rng.choices(sizes, k=2)
        inner = rng.choice(["a*b", "a + b", "a - b", "a/b", "a^2", "1 - a"])
        text = f"a = {a}; b = {b}; u = {inner}; v = {rng.choice(calls)}(u); L = {rng.choice(['v*a', '1 - v', 'v/b'])}"
        with warnings.catch_warnings(), contextlib.suppress(PellucidError):
            warnings.simplefilter("error")
            Worksheet(f"{text}; ? L; ? dL/da; ? b after momentum(lr=0.1) on L").solve().show()
            solved += 1
    assert solved > 60
