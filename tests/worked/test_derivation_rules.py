# SPDX-License-Identifier: Apache-2.0
"""Sums in sums, results in the function's own terms, branches, domains, second derivatives, matrices, names; against torch and SymPy."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import sympy
import torch

from pellucid.cli.cli import main
from pellucid.errors import UsageError
from pellucid.worked.builders.derive import Derive
from pellucid.worked.derivation.derivation import DERIVATIONS, derive
from pellucid.worked.derivation.matrices import derive_all
from pellucid.worked.derivation.presenting import present
from pellucid.worked.derivation.proofs import PROOFS
from pellucid.worked.derivation.symbolic import to_sympy
from pellucid.worked.showing.wrapping import width_of

CROSS_ENTROPY = "-sum(y_i*log(exp(z_i)/sum(exp(z_k), k)), i)"


def test_softmax_with_cross_entropy_is_one_derivation_by_name_and_from_its_formula() -> None:
    named, typed = Derive("softmax-cross-entropy").built(), derive(CROSS_ENTROPY, "z_j", "L")
    assert str(named) == str(typed)
    assert typed.simplified == "∂L/∂z_j = p_j·Σ_i y_i − y_j"
    assert typed.cases == (("where Σ_i y_i = 1", "p_j − y_j"),)
    rules = [step.rule for step in typed.steps]
    assert "written with p_i" in rules and "of δ_ij only the term i = j remains" in rules


def test_its_value_is_torchs_gradient() -> None:
    random = np.random.default_rng(2)
    z, y = random.standard_normal(5), random.uniform(0, 1, 5)  # targets that do not add up to 1
    leaf = torch.tensor(z, requires_grad=True)
    loss = -(torch.from_numpy(y) * torch.log_softmax(leaf, 0)).sum()
    (gradient,) = torch.autograd.grad(loss, leaf)
    p = np.exp(z) / np.exp(z).sum()
    np.testing.assert_allclose(p * y.sum() - y, gradient.numpy(), atol=1e-12)


@pytest.mark.parametrize(
    ("text", "by", "known"),
    [
        ("1/(1 + exp(-w*x))", "w", "∂f/∂w = f·(1 − f)·x"),
        ("x^n", "x", "∂f/∂x = n·f/x"),
        ("exp(a)/(exp(a) + exp(b))", "a", "∂f/∂a = f·(1 − f)"),
        ("exp(-x^2)", "x", "∂f/∂x = −2·x·f"),
        ("-(y*log(p) + (1 - y)*log(1 - p))", "p", "∂f/∂p = (p − y)/(p·(1 − p))"),
        ("log(x - 3)", "x", "∂f/∂x = 1/(x − 3)"),
        ("sqrt(-x)", "x", None),
        ("log(x - 20)", "x", None),
        ("-log(x)", "x", None),
        ("relu(2*x - 1)", "x", "∂f/∂x = {2 if 2·x − 1 > 0, 0 otherwise}"),
        ("|x|", "x", "∂f/∂x = {1 if x > 0, −1 if x < 0, 0 otherwise}"),
        ("leaky_relu(x)", "x", "∂f/∂x = {1 if x > 0, 1/100 otherwise}"),
        ("max(x^2, 1 - x)", "x", "∂f/∂x = {2·x if x^2 ≥ 1 − x, −1 otherwise}"),
        ("min(x, y, 2)", "x", None),
        ("clip(x, 0, 1)", "x", None),
        ("piecewise(x^2 if x < 1, 2*x - 1 otherwise)", "x", "∂f/∂x = {2·x if x < 1, 2 otherwise}"),
        ("softplus(x) + sin(x) - erf(x)", "x", None),
    ],
)  # fmt: skip
def test_the_derivative_is_right_and_in_its_textbook_form(text: str, by: str, known: str | None) -> None:
    found = derive(text, by)
    assert found.difference < 1e-7
    assert known is None or found.simplified == known, found.simplified


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("exp(a)/(exp(a) + exp(b))", "f = σ(a − b)"),
        ("1/(1 + exp(-x))", "f = σ(x)"),
        ("relu(x)", "at 0 the derivative of ReLU is taken as 0."),
    ],
)
def test_what_else_is_known_of_a_function_is_said(text: str, said: str) -> None:
    assert said in derive(text, "a" if "a" in text.replace("relu", "") else "x").remarks


def test_own_names() -> None:
    softmax = derive("exp(z_j)/sum(exp(z_k), k)", "z_l", "f_sm(z_j)")
    assert softmax.simplified == "∂f_sm(z_j)/∂z_l = f_sm(z_j)·(δ_jl − f_sm(z_l))"
    quotient = derive("x^2/(1 + exp(x))", "x", "g, h")
    assert quotient.steps[0].right == "(∂g/∂x·h − g·∂h/∂x)/h^2"
    assert [row.words for row in quotient.definitions] == ["f = g/h", "g = x^2", "h = 1 + exp(x)"]
    part = derive("log(1 + exp(x))", "x", "s(x); u = 1 + exp(x)")
    assert part.function == "log(u)" and part.title == "∂s(x)/∂x"


@pytest.mark.parametrize(
    ("text", "names", "said"),
    [
        ("x^2", "g, h", "this is none"),
        ("x/y", "x", "is a name in the expression already"),
        ("x/y", "u = x + y", "has no part x \\+ y"),
        ("x/y", "a, b, c, d", "too many names"),
        ("x/y", "2x", "is no name"),
    ],
)
def test_names_that_do_not_fit(text: str, names: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        derive(text, "x", names)


def test_second_derivatives_and_matrices_equal_sympys() -> None:
    sigmoid = derive_all("1/(1 + exp(-x))", "x", 2)
    assert sigmoid.matrix == "∂²f/∂x² = f·(1 − f)·(1 − 2·f)"
    text, names = "x^2*y + exp(x*y)", ("x", "y")
    symbols = [sympy.Symbol(name, real=True) for name in names]
    hessian = derive_all(text, "x, y", 2)
    expected = sympy.hessian(symbols[0] ** 2 * symbols[1] + sympy.exp(symbols[0] * symbols[1]), symbols)
    ours = sympy.Matrix([[to_sympy(entry) for entry in row] for row in hessian.entries])
    assert sympy.simplify(ours - expected) == sympy.zeros(2)
    jacobian = derive_all("[x*y, x + sin(y), 3]", "x, y")
    assert jacobian.matrix.splitlines()[1:] == ["  ⎡ y       x ⎤", "  ⎢ 1  cos(y) ⎥", "  ⎣ 0       0 ⎦"]
    softmax = derive_all("softmax(z_1, z_2, z_3)", "z_1, z_2, z_3")
    assert "−f_1·f_2" in softmax.matrix and "f_3·(1 − f_3)" in softmax.matrix


@pytest.mark.parametrize(
    ("text", "by", "order", "said"),
    [
        ("[x, y]", "x", 2, "is for one function"),
        ("x*y", "x, y", 3, "must be 1 or 2"),
        ("[a, b, c, d, e, f]", "a, b, c, d, e", 1, "more than 25 entries"),
    ],
)
def test_matrices_that_are_refused(text: str, by: str, order: int, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        derive_all(text, by, order)


def leaves(name: str) -> dict[str, torch.Tensor]:
    random = np.random.default_rng(5)
    return {
        key: torch.tensor(random.standard_normal(shape), requires_grad=True)
        for key, shape in PROOFS[name].random.items()
    }


@pytest.mark.parametrize(
    "name", ["dense-activation-backward", "convolution-backward", "batch-norm-backward", "attention-backward"]
)
def test_backward_passes_equal_torchs(name: str) -> None:
    v = leaves(name)
    if name.startswith("dense"):
        torch.tanh(v["x"] @ v["W"] + v["b"]).backward(v["g"].detach())
    elif name.startswith("convolution"):
        torch.nn.functional.conv2d(v["x"][None], v["w"], v["b"])[0].backward(v["δ"].detach())
    elif name.startswith("batch"):
        torch.nn.functional.batch_norm(v["x"], None, None, v["γ"], v["β"], training=True).backward(v["δ"].detach())
    else:
        torch.nn.functional.scaled_dot_product_attention(v["Q"], v["K"], v["V"]).backward(v["G"].detach())
    numbers = {key: value.detach().numpy() for key, value in v.items()}
    proof = PROOFS[name]
    assert sum(bool(key) for key in proof.by) >= 3
    for key, chain in zip(proof.by, proof.chains, strict=True):
        for line in chain if key else ():
            np.testing.assert_allclose(line.formula(numbers), v[key].grad, rtol=1e-9, atol=1e-11, err_msg=line.words)


@pytest.mark.parametrize("form", ["markdown", "latex", "html", "json"])
def test_every_format_shows_every_line(form: str) -> None:
    found = derive(CROSS_ENTROPY, "z_j", "L")
    shown = present(found, form)
    if form == "json":
        steps = [line for line in json.loads(shown)["answers"][0]["lines"] if line["kind"] == "step"]
        assert [step["rule"] for step in steps] == [row.rule for row in found.rows]
    else:
        assert shown.count("chain rule") >= 3 and "differences" in shown
    if form == "latex":
        assert r"\frac{\partial L}{\partial z_{j}}" in shown and shown.isascii() and shown.count("$") % 2 == 0
        assert shown.count(r"\numbered{") == len(found.rows)
    hessian = present(derive_all("x^2*y", "x, y", 2), form)
    assert "Hessian matrix" in hessian


def test_a_narrow_terminal_wraps_and_says_the_same() -> None:
    for what in (*DERIVATIONS, *PROOFS):
        built = Derive(what).built()
        narrow = present(built, "terminal", 80)
        assert max(map(width_of, narrow.splitlines())) <= 80, what
        squeezed = [re.sub(r"\s", "", text) for text in (narrow, present(built))]
        assert sorted(squeezed[0]) == sorted(squeezed[1]) or what in PROOFS


def test_the_command_takes_a_leading_minus_and_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    assert main(["work", "derive", "-log(x)"]) == 0
    assert "∂f/∂x = −1/x" in capsys.readouterr().out
    assert main(["work", "derive", "softmax", "--as", "f_sm(z_j)", "--out", str(tmp_path / "s.html")]) == 0
    page = (tmp_path / "s.html").read_text(encoding="utf-8")
    assert "<math" in page and "f" in page and "quotient rule" in page
    assert main(["work", "derive", "x*y", "--by", "x, y", "--order", "2"]) == 0
    assert "Hessian matrix" in capsys.readouterr().out
    assert main(["work", "derive", "softmax-shift", "--by", "x"]) == 2


@pytest.mark.parametrize(
    ("text", "by", "expected"),
    [
        ("sum(w_k*x_k, k)^2", "x_l", "∂²f/∂x_m∂x_l = 2·w_l·w_m"),
        ("sum(x_k^3, k)/6", "x_l, x_j", "∂²f/∂x_j∂x_l = x_l·δ_lj"),
        ("log(sum(exp(z_k), k))", "z_l", "∂²f/∂z_m∂z_l = g_l·(δ_lm − g_m)"),
        ("exp(x_k)", "x_l", "∂²f_k/∂x_m∂x_l = δ_kl·δ_km·exp(x_k)"),
    ],
)
def test_second_derivatives_of_components(text: str, by: str, expected: str) -> None:
    """Each of their lines is checked by central differences, where the sum may be negative too."""
    found = derive_all(text, by, 2)
    assert str(found).splitlines()[-1] == expected
    assert found.difference < 1e-7
    assert "sqrt" not in str(found)


def test_a_sum_may_be_negative() -> None:
    """2·√f·w_l would have the wrong sign there."""
    assert derive("sum(w_k*x_k, k)^2", "x_l").simplified == "∂f/∂x_l = 2·w_l·Σ_k w_k·x_k"


def test_a_word_is_a_function_or_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["work", "derive", "tanh"]) == 0
    assert "∂f/∂x = 1 − f^2" in capsys.readouterr().out
    assert main(["work", "derive", "sofmax"]) == 2
    assert "what='sofmax' is not known; did you mean 'softmax'?" in capsys.readouterr().err
    assert main(["work", "derive", "x^n"]) == 2
    assert "has the names n, x; say by which one, as in --by x." in capsys.readouterr().err
