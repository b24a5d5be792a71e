# SPDX-License-Identifier: Apache-2.0
"""Worksheets against torch's autograd, closed forms and finite differences; what is said about branches and kinks."""

from __future__ import annotations

import math
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from counting import calls

from pellucid.errors import UnknownNameError, UsageError
from pellucid.worked import CheckError, Worksheet, leaky_relu, maximum, piecewise, relu, sigmoid, softmax, tanh, total
from pellucid.worked.expressions.numeric import STEP_SIZES, central_differences
from pellucid.worked.worksheet import verifying as verifying_module
from pellucid.worked.worksheet.solution import Solution

RNN = Path(__file__).parents[2] / "examples" / "worked" / "rnn.work"
NETWORK = """
x = [1, 2]
W = [[0.1, 0.3, -0.2], [0.6, 0.4, 0]]
v = [-0.5, -0.3, 0.8]
a = relu(x @ W)
s = sum(v[i]*a[i], i = 1..3)
yhat = sigmoid(s)
L = -log(1 - yhat)
"""


def test_the_recurrent_sheet() -> None:
    """The numbers that a person finds: 6, 2, 0, 8 and 0.92."""
    solution = Worksheet.parse(RNN.read_text()).solve()
    assert [solution.value(name) for name in ("yhat_2", "L")] == [6, 2]
    assert [solution.derivative("L", name) for name in ("h_1", "W_h")] == [0, 8]
    assert [result for answer in solution.answers for _, result in answer.results] == [6, 2, 0, 8, Fraction(92, 100)]


def test_a_shared_weight_shows_its_contribution_from_each_step() -> None:
    shown = Worksheet.parse(RNN.read_text()).solve().show()
    assert "contribution of h₁:  −4 + 4 = 0" in shown
    assert "W_h → h₂ → ŷ₂ → L:  ∂L/∂ŷ₂ · ∂ŷ₂/∂h₂ · ∂h₂/∂W_h = 2·2·2 = 8" in shown
    assert "= 0 + 8 = 8" in shown


def test_a_network_with_a_dead_unit() -> None:
    solution = Worksheet.parse(NETWORK + "? dL/dW[1,3]").solve()
    assert float(solution.value("yhat")) == pytest.approx(1 / (1 + np.exp(0.98)), abs=1e-15)
    assert round(float(solution.value("L")), 6) == 0.318680
    assert solution.derivative("L", "W_1_3") == 0
    assert "a dead ReLU" in solution.show()


def test_the_same_through_python() -> None:
    w = Worksheet()
    w.x, w.W, w.v = [1, 2], [[0.1, 0.3, -0.2], [0.6, 0.4, 0]], [-0.5, -0.3, 0.8]
    w.a = relu(w.x @ w.W)
    w.yhat = sigmoid(total(w.v * w.a))
    w.p = softmax(w.a)
    w.m = maximum(w.a)
    w.k = piecewise((w.yhat**2, w.yhat < 0.5), otherwise=1 - w.yhat)
    w.n = leaky_relu(-w.yhat, 0.1) + 2 / w.yhat - tanh(3 - w.yhat)
    text = Worksheet.parse(
        NETWORK.replace("L =", "LL =")
        + "p = softmax(a); m = max(a); k = piecewise(yhat^2 if yhat < 0.5, 1 - yhat otherwise)\n"
        + "n = leaky_relu(-yhat, 0.1) + 2/yhat - tanh(3 - yhat)"
    )
    mine, theirs = w.solve(), text.solve()
    for name in ("yhat", "p_1", "p_3", "m", "k", "n"):
        assert mine.value(name) == theirs.value(name)
        slopes = [float(each.derivative(name, "W_1_1")) for each in (mine, theirs)]
        assert slopes[0] == pytest.approx(slopes[1], rel=1e-15)


def test_numpy_arrays_and_numbers_can_be_given() -> None:
    w = Worksheet()
    w.x = np.array([[0.5, 1.0], [2.0, -3.0]])
    w.y = np.float32(0.5)
    w.z = w.x[2, 2] * w.y + np.float64(0.1)
    assert w.solve().value("z") == Fraction(-14, 10)


def _random_sheet(seed: int) -> tuple[str, dict[str, float], str]:
    """A random network of a few layers with every function, as text, as numbers, and as torch code."""
    rng = np.random.default_rng(seed)
    names = [f"u_{n}" for n in range(1, 5)]
    numbers = {name: float(np.round(rng.uniform(-2, 2), 2)) for name in names}
    lines, code = [f"{name} = {value}" for name, value in numbers.items()], []
    known = list(names)
    forms = [
        ("relu({a}) + {b}*{c}", "torch.relu({a}) + {b}*{c}"),
        ("sigmoid({a}*{b} - {c})", "torch.sigmoid({a}*{b} - {c})"),
        ("tanh({a}) - {b}^2/4 + {c}", "torch.tanh({a}) - {b}**2/4 + {c}"),
        ("leaky_relu({a} - {b}, 0.1)*{c}", "torch.nn.functional.leaky_relu({a} - {b}, 0.1)*{c}"),
        ("exp(-{a}^2) + abs({b})*{c}", "torch.exp(-{a}**2) + abs({b})*{c}"),
        ("log(1 + {a}^2) - sqrt({b}^2 + 1) + {c}", "torch.log(1 + {a}**2) - torch.sqrt({b}**2 + 1) + {c}"),
        ("max({a}, {b}, {c}) + {a}/({b}^2 + 1)", "torch.max(torch.stack([{a}, {b}, {c}])) + {a}/({b}**2 + 1)"),
        ("min({a}, {b}) - {c}/3", "torch.minimum({a}, {b}) - {c}/3"),
        ("clip({a}, -0.5, 0.5) + {b}*{c}", "torch.clip({a}, -0.5, 0.5) + {b}*{c}"),
        ("softmax({a}, {b}, {c})[2]", "torch.softmax(torch.stack([{a}, {b}, {c}]), 0)[1]"),
        ("piecewise({a}^2 if {b} < 0.3, {c} otherwise)", "torch.where({b} < 0.3, {a}**2, {c})"),
        ("sum({a}*{b}^k, k = 1..3) - {c}", "{a}*{b} + {a}*{b}**2 + {a}*{b}**3 - {c}"),
    ]
    for n in range(1, 8):
        chosen = dict(zip("abc", rng.choice(known[-6:], 3, replace=False), strict=True))
        mine, theirs = forms[rng.integers(len(forms))]
        lines.append(f"q_{n} = {mine.format(**chosen)}")
        code.append(f"q_{n} = {theirs.format(**chosen)}")
        known.append(f"q_{n}")
    return "\n".join(lines), numbers, "\n".join(code)


@pytest.mark.parametrize("block", range(10))
def test_values_and_derivatives_equal_torch(block: int) -> None:
    """200 random sheets of all functions: values, every derivative of the last quantity, and the paths' sum."""
    for seed in range(20 * block, 20 * block + 20):
        text, numbers, code = _random_sheet(seed)
        solution = Worksheet.parse(text).solve()
        leaves = {k: torch.tensor(v, dtype=torch.float64, requires_grad=True) for k, v in numbers.items()}
        scope: dict[str, torch.Tensor] = dict(leaves)
        for line in code.splitlines():
            name, _, right = line.partition(" = ")
            scope[name] = eval(right, {"torch": torch, "abs": abs}, scope)  # the test's own text
        assert float(solution.value("q_7")) == pytest.approx(scope["q_7"].item(), rel=1e-12, abs=1e-14)
        grads = torch.autograd.grad(scope["q_7"], list(leaves.values()), allow_unused=True)
        for name, grad in zip(leaves, grads, strict=True):
            wanted = 0.0 if grad is None else grad.item()
            assert float(solution.derivative("q_7", name)) == pytest.approx(wanted, rel=1e-11, abs=1e-14), (seed, name)
            along = sum(float(solution.graph.path_product(path)) for path in solution.graph.paths(name, "q_7"))
            assert along == pytest.approx(wanted, rel=1e-11, abs=1e-13)


def test_a_parameter_called_like_an_optimisers_state_keeps_its_number() -> None:
    text = "m = 1; v = 2; L = m^2 + v; ? m after adam(lr=0.1) on L\n? m, v after 2 momentum(lr=0.1) on L"
    first, second = Worksheet.parse(text).solve().answers
    assert float(first.results[0][1]) == pytest.approx(0.9, abs=1e-8)
    assert second.results[1][1] == Fraction(2) - Fraction(1, 10) - Fraction(19, 100)


@pytest.mark.parametrize(
    ("function", "slope", "words"),
    [
        ("relu(x)", 0, "at 0 the derivative of ReLU is taken as 0"),
        ("leaky_relu(x, 0.2)", Fraction(1, 5), "the slope on the left"),
        ("abs(x)", 0, "at 0 the derivative of the absolute value is taken as 0"),
        ("max(x, y)", 1, "of equal arguments the first counts"),
        ("clip(x, 0, 1)", 0, "at a limit the derivative of clip is taken as 0"),
        ("piecewise(x if x < 0, 3*x otherwise)", 3, "the derivative is that of the branch taken"),
    ],
)
def test_at_a_kink_the_convention_is_stated_and_the_check_holds_the_branch(
    function: str, slope: object, words: str
) -> None:
    solution = Worksheet.parse(f"x = 0; y = 0; z = {function}; L = 2*z; ? dL/dx").solve()
    assert solution.derivative("z", "x") == slope
    assert solution.numbers.check_derivative("L", "x").detail.endswith("branches fixed")
    assert words in solution.show()


def test_a_wrong_value_or_derivative_is_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """The checks find a planted fault: a value off by 1e-6, a slope off by 1e-4."""
    with pytest.raises(CheckError, match="NumPy computes 9 in float64"):
        verifying_module.check_value("b", Worksheet().a ** 2, Decimal("9.000009"), {"a": 3.0})
    L = Worksheet().a ** 2
    with pytest.raises(CheckError, match=r"central difference is (6|5\.99999999)"):
        verifying_module.check_derivatives([("L", L)], {"a": 3.0, "L": 9.0}, "L", {"a": Fraction(60006, 10000)})
    from pellucid.worked.expressions import differentiation

    monkeypatch.setattr(differentiation, "_negative", lambda node: node)
    with pytest.raises(CheckError):
        Worksheet.parse("a = 3; L = 2 - a; ? dL/da").solve().show()


def test_differences_are_right_for_each_of_many_columns() -> None:
    L = sum((Worksheet()[f"w_{n}"] ** 2 * n for n in range(2, 400)), start=Worksheet().w_1)
    numbers = {f"w_{n}": n / 100 for n in range(1, 400)}
    numbers["L"] = numbers["w_1"] + sum(n * (n / 100) ** 2 for n in range(2, 400))
    found = central_differences([("L", L)], numbers, "L", [f"w_{n}" for n in range(1, 400)])
    assert found["w_1"].agrees(1)
    assert all(found[f"w_{n}"].agrees(2 * n * n / 100) for n in range(2, 400))
    assert not found["w_9"].agrees(2 * 9 * 9 / 100 * 1.001)
    assert len(STEP_SIZES) == 4


def test_many_paths_are_worked_backwards_with_the_same_result() -> None:
    """2^12 paths: the backward recursion is shown; the derivative of (2·…)… is a closed form."""
    chain = "\n".join(f"a_{n} = x_{n - 1}; b_{n} = 2*x_{n - 1}; x_{n} = a_{n}*b_{n}/2" for n in range(1, 7))
    solution = Worksheet.parse(f"x_0 = 1\n{chain}\n? dx_6/dx_0").solve()
    assert solution.graph.path_count("x_0", "x_6") == 64
    more = Worksheet.parse(f"x_0 = 1\n{chain}\na_7 = x_6; b_7 = x_6; x_7 = a_7*b_7; ? dx_7/dx_0").solve()
    assert more.derivative("x_7", "x_0") == 2**7  # x_7 = x_0^128
    shown = more.show()
    assert "128 paths lead from x₀ to x₇" in shown
    assert "backwards from x₇" in shown
    assert "contribution of a₁:  ∂x₇/∂a₁ · ∂a₁/∂x₀ = 64·1 = 64" in shown
    assert "∂x₇/∂x₀ = ∂x₇/∂a₁ · ∂a₁/∂x₀ + ∂x₇/∂b₁ · ∂b₁/∂x₀ = 64·1 + 32·2 = 128" in shown


def test_a_quantity_that_does_not_occur() -> None:
    solution = Worksheet.parse("a = 1; b = 2; L = a^2; ? dL/db; ? dL/dL").solve()
    assert [answer.results[0][1] for answer in solution.answers] == [0, 1]
    assert "L does not depend on b" in solution.show()


def test_a_slope_names_what_it_uses() -> None:
    """softmax's derivative uses another component: its number has a line before it is put in."""
    shown = Worksheet.parse("z = [1, 2, 3]; p = softmax(z); ? dp_1/dz_2").solve().show()
    assert "∂p₁/∂z₂ = −p₁·p₂ = " in shown
    assert shown.index("p₂ = softmax₂") < shown.index("∂p₁/∂z₂ = ")


def test_numbers_stay_exact_where_they_can() -> None:
    solution = Worksheet.parse("a = 1/3; b = a^2 + 0.1; c = sqrt(9/4); d = sigmoid(0); e = 2^-3; f = exp(1)").solve(
        digits=30
    )
    assert [solution.value(name) for name in "bcde"] == [
        Fraction(19, 90),
        Fraction(3, 2),
        Fraction(1, 2),
        Fraction(1, 8),
    ]
    assert str(solution.value("f")).startswith("2.7182818284590452353602874713526624977")
    assert "2.71828182845904523536028747135" in solution.show()


def test_high_precision_agrees_with_known_digits() -> None:
    text = "a = tanh(0.5); b = log(2); c = pi(); d = sigmoid(1); e = tanh(0.0000000001)"
    shown = Worksheet.parse(text).solve(digits=30)
    known = {
        "a": "0.46211715726000975850231848364",
        "b": "0.69314718055994530941723212145",
        "c": "3.1415926535897932384626433832",
        "d": "0.73105857863000487925115924182",
        "e": "9.9999999999999999999666666666",
    }
    for name, digits in known.items():
        assert str(shown.value(name)).startswith(digits), name


def chain_of(count: int) -> tuple[Solution, str]:
    """A chain of tanh with a weight at every step, solved, and shown with the derivative by each weight."""
    lines = [f"w_{n} = {n % 7 - 3}/10" for n in range(1, count + 1)] + ["x_0 = 0.5"]
    lines += [f"x_{n} = tanh(w_{n}*x_{n - 1} + 0.3) + x_{n - 1}/2" for n in range(1, count)]
    lines += [f"L = x_{count - 1}^2", "? L", *(f"? dL/dw_{n}" for n in range(1, count + 1))]
    solution = Worksheet.parse("\n".join(lines)).solve()
    return solution, solution.show(verify=True)


def test_five_hundred_equations_with_as_many_derivatives() -> None:
    solution, shown = chain_of(250)
    assert len(solution.values) >= 501 and shown.count("? ∂L/∂w") == 250


def test_twice_as_many_equations_and_derivatives_take_no_more_than_four_times_the_steps() -> None:
    """Each derivative is a walk along the chain, no walk for each of its steps."""
    chain_of(10)  # what is imported on first use does not count
    assert calls(lambda: chain_of(80)) < 4 * calls(lambda: chain_of(40))


def test_unknown_names_and_digits() -> None:
    solution = Worksheet.parse("alpha = 1; b = 2*alpha").solve()
    with pytest.raises(UnknownNameError, match="did you mean 'alpha'"):
        solution.value("alpa")
    with pytest.raises(UnknownNameError, match="name='c' is not known"):
        solution.derivative("b", "c")
    for digits in (0, 51):
        with pytest.raises(UsageError, match=f"digits={digits}: must be from 1 to 50"):
            Worksheet.parse("a = 1").solve(digits=digits)
    with pytest.raises(UsageError, match="name='solve': is a method"):
        Worksheet().__setattr__("solve", 3)
    with pytest.raises(UsageError, match="value=nan: must be finite"):
        Worksheet().a = float("nan")
    with pytest.raises(UsageError, match="value='x': must be a number"):
        Worksheet().a = "x"


def test_python_equations_have_their_name_in_errors() -> None:
    w = Worksheet()
    w.a = 0
    w.b = 1 / w.a
    with pytest.raises(UsageError, match="equation of b: the divisor is 0"):
        w.solve()
    w = Worksheet()
    w.y = w.W_g * 2
    with pytest.raises(UsageError, match="equation of y: W_g: is used but not defined"):
        w.solve()
    deep = Worksheet()
    deep.a = 1
    node = deep.a
    for _ in range(200):
        node = -node
    with pytest.raises(UsageError, match="equation of b: the expression is nested more than 150 levels deep"):
        deep.b = node


def test_a_solution_is_what_its_type_says() -> None:
    solution = Worksheet("a = 2; L = a^3").solve()
    assert isinstance(solution, Solution)
    assert solution.gradient("L", ["a"]) == {"a": 12}
    assert str(solution) == str(Worksheet("a = 2; L = a^3"))


@pytest.mark.parametrize(
    ("right", "slope"),
    [
        ("(a - 5)^2", "2·(a − 5)"),
        ("(a - 5)^2/2", "a − 5"),
        ("(a - 5)^2/3", "2·(a − 5)/3"),
        ("-b*log(a)", "−b/a"),
        ("b/a", "−b/a²"),
        ("a^3*0.5", "1.5·a²"),
        ("sqrt(a)", "1/(2·L)"),
        ("tanh(b*a)", "(1 − L²)·b"),
        ("sigmoid(-a)", "−L·(1 − L)"),
        ("1/(1 + exp(-a))", "exp(−a)/(1 + exp(−a))²"),
        ("b^a", "b^a·ln(b)"),
        ("7", "0"),
    ],
)
def test_a_local_derivative_is_as_a_person_writes_it(right: str, slope: str) -> None:
    from pellucid.worked.showing.terminal import Unicode

    solution = Worksheet.parse(f"a = 2; b = 3; L = {right} + 0*a").solve()
    plain = Worksheet.parse(f"a = 2; b = 3; L = {right}").solve() if right != "7" else solution
    assert Unicode().write(plain.graph.local_derivative("L", "a")[0]) == slope
    assert float(plain.derivative("L", "a")) == pytest.approx(float(solution.derivative("L", "a")), rel=1e-15)


def test_a_number_that_is_a_fraction_can_be_updated() -> None:
    found = Worksheet.parse("w = 1/3; L = w^2; ? w after 2 sgd(lr=1/4) on L".replace("1/4", "0.25")).solve()
    assert found.answers[0].results[0][1] == Fraction(1, 12)


def test_a_long_descent_stays_checked_to_the_bottom() -> None:
    """Near the minimum L is 1e-30 and float64 sees 0 there: the tolerances know what it may lose."""
    solution = Worksheet.parse("w = 1; c = 3; L = (w - c)^2/2; ? w after 250 momentum(lr=0.1, rho=0.5) on L").solve()
    assert solution.show(verify=True).count("✓") == 4 * 250 + 1  # L, slope, v, w of each step; L at the end
    w, v = Fraction(1), Fraction(0)
    for _ in range(250):
        v = v / 2 - (w - 3) / 10
        w += v
    assert float(solution.answers[0].results[0][1] - 3) == pytest.approx(float(w - 3), rel=1e-9, abs=1e-32)


def test_the_softmax_of_a_matrix_says_that_it_runs_along_the_rows() -> None:
    sheet = Worksheet("z = [[1, 2], [3, 5]]; p = softmax(z); ? p")
    shown = sheet.solve().show()
    assert "runs along each row" in shown
    row = [math.exp(1), math.exp(2)]
    assert float(sheet.solve().value("p_1_2")) == pytest.approx(row[1] / sum(row), rel=1e-12)
    assert "runs along" not in Worksheet("z = [[1, 2], [3, 5]]; p = softmax(z, axis=1); ? p").solve().show()
    w = Worksheet()
    w.z = [[1, 2], [3, 5]]
    w.p, w.q, w.r = softmax(w.z), softmax(w.z, axis=0), softmax(w.z, axis=None)
    values = w.solve().values
    assert sum(float(values[f"p_2_{j}"]) for j in (1, 2)) == pytest.approx(1)
    assert sum(float(values[f"q_{i}_2"]) for i in (1, 2)) == pytest.approx(1)
    assert sum(float(values[f"r_{i}_{j}"]) for i in (1, 2) for j in (1, 2)) == pytest.approx(1)
