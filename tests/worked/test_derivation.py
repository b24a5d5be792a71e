# SPDX-License-Identifier: Apache-2.0
"""Derivations: known results, SymPy's own derivative, torch's, and proofs that notice a false line."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import sympy
import torch

from pellucid.errors import PellucidError, UnknownNameError, UsageError
from pellucid.worked.builders.derive import Derive
from pellucid.worked.derivation.derivation import derive
from pellucid.worked.derivation.indexed import evaluate_at
from pellucid.worked.derivation.proofs import PROOFS, prove
from pellucid.worked.derivation.rules import differentiate
from pellucid.worked.derivation.symbolic import to_sympy
from pellucid.worked.derivation.text import to_text
from pellucid.worked.notation.notation import parse_expression


def test_the_softmax_comes_out_with_its_cases() -> None:
    found = derive("exp(z_j)/sum(exp(z_k), k)", "z_l")
    assert found.simplified == "∂f_j/∂z_l = f_j·(δ_jl − f_l)"
    assert found.cases == (("l = j", "f_j·(1 − f_j)"), ("l ≠ j", "−f_j·f_l"))
    assert [step.rule.split(",")[0].split(":")[0].split(" with")[0] for step in found.steps] == [
        "quotient rule", "exponential rule", "index rule", "sum rule", "exponential rule", "index rule",
    ]  # fmt: skip
    assert found.difference < 1e-9


@pytest.mark.parametrize(
    ("text", "known"),
    [
        ("1/(1 + exp(-x))", "f·(1 − f)"),
        ("tanh(x)", "1 − f^2"),
        ("(exp(x) - exp(-x))/(exp(x) + exp(-x))", "1 − f^2"),
        ("exp(x)/(1 + exp(x))", "f·(1 − f)"),
        ("x^3", "3·x^2"),
    ],
)
def test_textbook_forms(text: str, known: str) -> None:
    assert derive(text, "x").simplified == f"∂f/∂x = {known}"


def test_the_cross_entropy_of_a_softmax() -> None:
    found = derive("log(sum(exp(z_k), k)) - z_j", "z_l")
    assert found.simplified == "∂f_j/∂z_l = exp(z_l)/Σ_k exp(z_k) − δ_jl"


@pytest.mark.parametrize(
    ("text", "by", "known"),
    [
        ("sum(w_{j,k}*x_k, k)", "x_l", "∂f_j/∂x_l = w_{j,l}"),
        ("sum(w_{j,k}*x_k, k)", "w_{l,m}", "∂f_j/∂w_{l,m} = x_m·δ_jl"),
        ("\\sum_k w_{jk} x_k + b_j", "b_l", "∂f_j/∂b_l = δ_jl"),
        ("(sum(w_{j,k}*x_k, k) - y_j)^2", "x_l", "∂f_j/∂x_l = 2·w_{j,l}·(Σ_k w_{j,k}·x_k − y_j)"),
        ("\\sum_k w_{jk} x_k", "x_l", "∂f_j/∂x_l = w_{j,l}"),
        ("sum(w_jk*x_k, k)", "w_lm", "∂f_j/∂w_{l,m} = x_m·δ_jl"),
        ("e^(-z)/(1 + e^(-z))^2", "z", None),
    ],
)
def test_names_with_several_indices(text: str, by: str, known: str | None) -> None:
    found = derive(text, by)
    assert found.difference < 1e-7
    assert known is None or found.simplified == known, found.simplified


def test_a_dense_layers_derivative_equals_torchs() -> None:
    result, _ = differentiate(parse_expression("tanh(sum(w_{j,k}*x_k, k))"), "w_l_m")
    random = np.random.default_rng(1)
    w, x = random.standard_normal((3, 4)), random.standard_normal(4)
    theirs = torch.autograd.functional.jacobian(lambda t: torch.tanh(t @ torch.from_numpy(x)), torch.from_numpy(w))
    for j in range(3):
        for place in np.ndindex(3, 4):
            ours = evaluate_at(result, {"w": w, "x": x}, {"j": j, "l": place[0], "m": place[1]})
            assert ours == pytest.approx(theirs[(j, *place)].item(), abs=1e-12)


def test_the_softmaxs_derivative_equals_torchs() -> None:
    node = parse_expression("exp(z_j)/sum(exp(z_k), k)")
    result, _ = differentiate(node, "z_l")
    z = np.random.default_rng(0).standard_normal(5)
    jacobian = torch.autograd.functional.jacobian(lambda t: torch.softmax(t, 0), torch.from_numpy(z))
    for j in range(5):
        for place in range(5):
            assert evaluate_at(result, {"z": z}, {"j": j, "l": place}) == pytest.approx(
                jacobian[j, place].item(), abs=1e-12
            )


def drawn(random: np.random.Generator, depth: int) -> str:
    if depth == 0 or random.random() < 0.15:
        return str(random.choice(["x", "x", "a", "2", "3"]))
    one, two = drawn(random, depth - 1), drawn(random, depth - 1)
    forms = [f"({one} + {two})", f"({one} - {two})", f"({one}*{two})", f"({one}/(2 + ({two})^2))", f"({one})^2", f"tanh({one})",
             f"exp(-({one})^2)", f"log(1 + ({one})^2)", f"sqrt(1 + ({one})^2)", f"1/(1 + exp(-tanh({one})))", f"2^tanh({one})"]  # fmt: skip
    return str(random.choice(forms))


def test_200_random_expressions_agree_with_sympy() -> None:
    random = np.random.default_rng(3)
    x = sympy.Symbol("x", real=True)
    for _ in range(200):
        text = drawn(random, 3)
        node = parse_expression(text)
        result, _ = differentiate(node, "x")
        point = {"x": float(random.uniform(-2, 2)), "a": float(random.uniform(-2, 2))}
        symbols = {sympy.Symbol(name, real=True): number for name, number in point.items()}
        expected = float(sympy.diff(to_sympy(node), x).evalf(subs=symbols))
        assert evaluate_at(result, point, {}) == pytest.approx(expected, rel=1e-8, abs=1e-10), text
        reparsed = to_text(result).replace("·", "*").replace("−", "-")
        assert evaluate_at(parse_expression(reparsed), point, {}) == pytest.approx(expected, rel=1e-8, abs=1e-10), (
            reparsed
        )


def test_the_function_has_a_name_of_its_own() -> None:
    assert derive("f^2", "f").simplified == "∂g/∂f = 2·f"


def test_every_rule_has_a_line() -> None:
    rules = {step.rule for step in derive("(x^2 + exp(2*x))*log(x)/sqrt(x)", "x").steps}
    for wanted in ("quotient", "product", "sum", "power", "exponential", "logarithm", "chain"):
        assert any(wanted in rule for rule in rules), wanted


def test_sums_that_do_not_meet_the_index() -> None:
    found = derive("sum(w_k*x^2, k)", "x")
    assert found.result == "Σ_k 2·x·w_k"
    assert derive("sum(x + z_k, k)", "x").difference < 1e-9  # as often as there are components
    squared = derive("sum((y_k - t_k)^2, k)", "y_l")
    assert squared.simplified == "∂f/∂y_l = 2·(y_l − t_l)"


@pytest.mark.parametrize("name", PROOFS)
def test_proofs_hold(name: str) -> None:
    assert prove(name).check() < 1e-12
    assert ("proved:" if PROOFS[name].symbolic else "checked:") in str(PROOFS[name])
    assert PROOFS[name].forward is None or PROOFS[name].slope_error() < 1e-6


@pytest.mark.parametrize("name", PROOFS)
def test_a_false_line_is_noticed(name: str) -> None:
    proof = PROOFS[name]
    last = proof.chains[0][-1]
    false = dataclasses.replace(last, formula=lambda v: 2 * np.asarray(last.formula(v)))
    with pytest.raises(PellucidError, match="does not follow"):
        dataclasses.replace(proof, chains=((*proof.chains[0][:-1], false),)).check()


def test_the_dense_backward_pass_equals_torchs() -> None:
    random = np.random.default_rng(1)
    v = {name: random.standard_normal(shape) for name, shape in PROOFS["dense-backward"].random.items()}
    x, W, b = (torch.from_numpy(v[name]).requires_grad_() for name in "xWb")
    (x @ W + b).backward(torch.from_numpy(v["δ"]))
    for chain, parameter in zip(PROOFS["dense-backward"].chains, (W, x, b), strict=True):
        for claim in chain:
            np.testing.assert_allclose(claim.formula(v), parameter.grad, rtol=1e-10, atol=1e-12)


def test_the_command_prints() -> None:
    assert "f·(1 − f)" in Derive("1/(1 + exp(-x))").text()
    assert "∂J/∂W = xᵀδ" in Derive("dense-backward").text()


@pytest.mark.parametrize(
    ("text", "by", "error", "said"),
    [
        ("exp(", "x", UsageError, "line 1"),
        ("x^2", "y", UnknownNameError, "by='y'"),
        ("exp(z_j)/sum(exp(z_k), k)", "z_k", UsageError, "choose another index"),
        ("softmax(x, y)", "x", UsageError, "depends on several numbers"),
        ("log(-x^2)", "x", UsageError, "not defined"),
        ("x^2/(1 + 9^9^9)", "x", UsageError, "exponent of at most 64"),
        ("__import__(x)", "x", UsageError, "not known"),
        (
            "log(exp(z_{t-1})/sum(exp(z_k), k))",
            "z_j",
            UsageError,
            "column 9: z[…]: has a computed index; write a letter or a number",
        ),
        (
            "sum(x_j^2, j = 1..3)",
            "x_k",
            UsageError,
            "a sum over some j, or a product, needs a worksheet; write sum(x_j, j)",
        ),
        ("Σ_{j≠2} x_j^2", "x_k", UsageError, "a sum over some j, or a product, needs a worksheet"),
        ("x^T W x", "x", UsageError, "vectors and matrices need a worksheet"),
    ],
)
def test_mistakes_are_named(text: str, by: str, error: type[Exception], said: str) -> None:
    with pytest.raises(error) as found:
        derive(text, by)
    assert said in str(found.value)
    with pytest.raises(UsageError, match="as in --by x"):
        Derive("a*x").text()
