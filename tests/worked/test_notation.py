# SPDX-License-Identifier: Apache-2.0
"""The text of worksheets: what it means, what is refused with line and column, and after how many steps."""

from __future__ import annotations

import contextlib
import random
import resource
from fractions import Fraction

import pytest
from counting import calls
from hypothesis import given, settings
from hypothesis import strategies as st

from pellucid.errors import PellucidError, UsageError
from pellucid.worked import Worksheet
from pellucid.worked.expressions.arithmetic import BITS
from pellucid.worked.notation.expansion import Scope, expand, expanded_size
from pellucid.worked.notation.notation import parse, parse_expression
from pellucid.worked.notation.parser import Parser
from pellucid.worked.notation.statements import EquationStatement, QuestionStatement
from pellucid.worked.showing.terminal import Unicode


def value(text: str, name: str = "q") -> float:
    return float(Worksheet.parse(text).solve().value(name))


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("q = 1 + 2*3", 7),
        ("q = 2^3^2", 512),
        ("q = -2^2", -4),
        ("q = 2^-1", 0.5),
        ("q = (1 + 2)*3 - -4", 13),
        ("q = 12/2/3", 2),
        ("q = 2 × 3 · 4 ÷ 6 − 1", 3),
        ("q = 2**3", 8),
        ("q = 1.5e-1 + .5", 0.65),
        ("q = a - b - c\na = 9; b = 3; c = 2", 4),
        ("h_0 = 1; h[t] = 2*h[t-1] + t for t = 1..3; q = h_3", 19),
        ("x = [1, 2, 3]; q = sum(x_i*i, i = 1..3)", 14),
        ("x = [1, 2, 3]; q = sum(x) + max(x) - min(x)", 8),
        ("W = [[1, 2], [3, 4]]; x = [5, 6]; z = W @ x; q = z[1]*100 + z_2", 1739),
        ("W = [[1, 2], [3, 4]]; x = [5, 6]; z = x @ W; q = z[1]*100 + z_2", 2334),
        ("W = [[1, 2], [3, 4]]; x = [5, 6]; z_i = sum(W_{i,j}*x_j, j = 1..2) for i = 1..2; q = z_{2}", 39),
        ("W = [[1, 2], [3, 4]]; V = W @ W + 1; q = V[2,1]", 16),
        ("x = [3, 4]; q = x @ x", 25),
        ("x = [1, 4]; y = sqrt(x)*2 - [1, 1]; q = y_2", 3),
        ("W = [[1, 2], [3, 4]]; b = [10, 20]; z = W + b; q = z[2,2]", 24),
        ("q = softmax(1, 1, 1, 1)[3]", 0.25),
        ("z_1 = 0; z_2 = 0; p = softmax(z); q = p[2]", 0.5),
        ("x = 2; q = piecewise(x^2 if x < 1, 2*x - 1 if x <= 2, 5 otherwise)", 3),
        ("x = 3; q = piecewise(x^2 if x < 1, 2*x - 1 if x <= 2, 5)", 5),
        ("q = clip(7, 0, 6) + clamp(-1, 0, 6) + leaky_relu(-10) + leaky_relu(-10, 0.2) + abs(-2)", 5.9),
        ("q = sum(sum(i*j, j = 1..i), i = 1..3)", 25),
        ("a[i,j] = i*10 + j for i = 1..2, j = 1..i; q = a[2,1] + a_2_2", 43),
        ("q = sum(\n  2,\n  3)  # a remark\n", 5),
        ("q = 3 # ? q = 4", 3),
        ("σ_1 = 2; q = σ_1*ln(exp(3))", 6),
        # one spelling for what looks alike
        ("y = 1; ŷ = 0.3; q = (yhat - y)^2", 0.49),
        ("yhat_1 = 2; q = y\u0302_1 + ŷ₁", 4),
        ("λ = 2; q = lambda + x̄; xbar = 1", 3),
        ("x = 3; z = x²; q = z + x⁻¹*3", 10),
        ("h₀ = 1; W₁₂ = 4; hₜ = 2hₜ₋₁ for t = 1..2; q = h_2*W_12", 16),
        ("W = [[1, 2], [3, 4]]; q = W_12 + W_{21}", 5),
        # products by juxtaposition
        ("z = 4; q = 2z + 3(z + 1)", 23),
        ("z = 4; q = (z + 1)(z - 1)/3", 5),
        ("w = 2; x = 3; b = 1; q = w x + b", 7),
        ("x = 3; y = 2; q = 2x²y - x^2 y", 18),
        ("y = 3; t = 1; q = 1/2 (y - t)^2 + ½(y - t)²", 4),
        ("a = 2; q = a(3 + 1)", 8),
        # vectors and matrices
        ("W = [[1, 2], [3, 4]]; x = [1, 1]; z = W^T x; q = z_1*10 + z_2", 46),
        ("W = [[1, 2], [3, 4]]; x = [1, 1]; z = W.T @ x + transpose(W) @ x + Wᵀ x; q = z_1*10 + z_2", 138),
        ("W = [[1, 2], [3, 4]]; x = [1, 2]; q = x^T W x", 27),
        ("d = [1, 2]; x = [3, 4, 5]; G = d x^T; q = G[2,3]*100 + G_1_1", 1003),
        ("a[i,j] = 10i + j for i = 1..2, j = 1..2; b = a @ a; q = b_1_1", 11 * 11 + 12 * 21),
        ("h[t] = [t, 2t] for t = 1..2; q = h[2,2] + h_1_1", 5),
        ("W = [[1, 2], [3, 4]]; x = [5, 6]; z_i = sum(W_{ij} x_j, j = 1..2) for i = 1..2; q = z_2", 39),
        # indices in braces, raised indices
        ("W_{hh} = 2; h_{t} = 3; q = W_hh*h_t", 6),
        ("a^{(1)} = 3; a^{[2]}_1 = a^{(1)}^2; q = a__2_1", 9),
        ("a^{[0]} = 1; a^{[l]} = 2a^{[l-1]} + l for l = 1..2; q = a^{(2)}", 8),
        # functions by other spellings
        ("z = -2; q = RELU(z) + Relu(3) + LeakyReLU(z) + np.maximum(0, 1) + torch.relu(1)", 4.98),
        ("x = [1, 2, 3]; q = mean(x) + var(x) + np.std([1, 3])", 2 + 2 / 3 + 1),
        ("q = sin(1)^2 + cos(1)^2 + log10(100) + log2(8)", 6),
        ("q = softplus(0) - ln 2", 0),
        ("q = mse([1, 2], [0, 4]) + norm([3, 4]) + |−2|", 9.5),
        ("s = 2; q = e^(-s) e^2", 1),
        ("q = |(-1)|·|2 - |-3|| + √4 + cos(π)", 2),
        ("q := 7", 7),
        ("q = sum(i, i in 1..3) + sum(i, i = 1 to 3)", 12),
        # axes
        ("M = [[1, 2], [3, 4]]; s = sum(M, axis=0); q = s_1 + sum(M)", 14),
        ("M = [[0, 0], [7, 7]]; p = softmax(M); q = p[1,2] + p[2,1]", 1),
        ("M = [[0, 7], [0, 7]]; p = softmax(M, axis=0); q = p[1,1] + p[1,2]", 1),
        ("M = [[0, 0], [0, 0]]; p = softmax(M, axis=all); q = p[2,2]", 0.25),
        # LaTeX
        (r"\hat{y}_1 = 0.3; q = \frac{1}{2} \left(\hat{y}_{1} - 1\right)^{2}", 0.245),
        (r"\mathbf{W}_{hh} = 2; q = W_{hh} \cdot 3 \times 2", 12),
        (r"z_1 = 0; z_2 = 0; q = \frac{e^{z_1}}{\sum_k e^{z_k}}", 0.5),
        (r"x = [1, 2]; q = \sum_{i=1}^{2} x_i^2 + 1", 6),
        (
            r"W = \begin{pmatrix} 1 & 2 \\ 3 & 4 \end{pmatrix}; x = \begin{bmatrix} 1 \\ 1 \end{bmatrix}; z = W x; q = z_2",
            7,
        ),
        (r"x = 3; q = \begin{cases} x^2 & \text{if } x < 1 \\ 2x & \text{otherwise} \end{cases}", 6),
        (r"p = 0.5; q = -\ln p / \ln 2 + \sqrt{4}", 3),
        (r"$q = 4$", 4),
    ],
)
def test_what_is_written_means(text: str, wanted: float) -> None:
    assert value(text) == pytest.approx(wanted, rel=1e-15)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("W_h = 1\ny = W_g*2", "line 2, column 5: W_g: is used but not defined; did you mean 'W_h'?"),
        ("y = x", "line 1, column 5: x: is used but not defined; write x = … to define it."),
        ("a = b + 1\nb = c\nc = a*2", "line 1, column 1: a depends on itself (a needs b needs c needs a);"),
        ("a = a", "line 1, column 1: a depends on itself (a needs a)"),
        ("b = 1\na =\n", "line 2, column 1: a: has no value; write one after the =, as in a = 0.5."),
        ("a = 1\nb = 3/(a - 1)", "line 2, column 6: the divisor is 0"),
        ("a = -2\nb = 1 + log(a)", "line 2, column 9: log(-2): the logarithm needs a positive number"),
        ("b = sqrt(1 - 3)", "line 1, column 5: sqrt(-2): the square root needs a number of at least 0"),
        ("b = (-2)^0.5", "line 1, column 9: (-2)^0.5: a negative number takes only whole exponents"),
        ("a = 0\nb = a^-1", "line 2, column 6: 0 to a negative power is a division by 0"),
        ("a = 1\na = 2", "line 2, column 1: a: is already defined in line 1"),
        ("a = [1, 2]\na = 2", "line 2, column 1: a: is already defined"),
        (
            "w = 2\nL = w^2\nw := w - 0.1*dL/dw",
            "a step of gradient descent is a question, as in ? w after sgd(lr=0.1) on L",
        ),
        ("w = 2\nL = w^2\nw <- w - 0.1*dL/dw", "write a step of gradient descent as ? w after sgd(lr=0.1) on L"),
        ("w = 2\nL = w^2\nw -= 0.1*dL/dw", "write a step of gradient descent as ? w after sgd(lr=0.1) on L"),
        ("w = 2\nL = w^2\nupdate w by sgd(lr=0.1)", "write a step of gradient descent as ? w after sgd(lr=0.1) on L"),
        ("x = 1\na = x 2", "line 2, column 7: '2': an operator is missing before it; write a product as 2*x."),
        ("x = 1\na = 1/2x", "line 2, column 8: 'x': after a division it is unclear what is divided; write (a/b)*c"),
        ("x = 1\na = e^2x", "line 2, column 8: 'x': after a power it is unclear what the exponent is; write x^2*y"),
        ("x² = 10", "line 1, column 2: '^': an equation gives a name its value, not a power of it; write x = sqrt(10)"),
        ("x = 2½", "line 1, column 5: 2½: write a mixed number as 2.5."),
        ("x = 0,5", "line 1, column 6: ',': decimals are written with a point, as in 0.5, and thousands without"),
        ("x = √4^2", "line 1, column 7: '^': it is unclear what is under the root; write √(x^2) or (√x)^2."),
        ("x = \\foo{2}", "line 1, column 5: \\foo: has no meaning in a worksheet; write it without LaTeX"),
        ("x = [1, 2]; y = x x", "line 1, column 19: two vectors side by side have no product; write x^T y"),
        ("x = [1, 2]; y = x^T * x", "works component by component; for the product of a transposed vector"),
        ("z = [1, 2]; p = softmax(z, axis=1)", "axis=1: needs a matrix; leave it out, the vector has one axis."),
        ("a = sigmod(2)", "line 1, column 5: function='sigmod' is not known; did you mean 'sigmoid'?"),
        ("a = exp(1, 2)", "line 1, column 5: exp with 2 arguments: it takes 1; correct the call."),
        ("a = clip(1)", "line 1, column 5: clip with 1 arguments: it takes 3; correct the call."),
        ("a = 2 $ 3", "line 1, column 7: '$' has no meaning in a worksheet"),
        ("a = (2 + 3", "line 1, column 5: '(' is not closed; add ')'."),
        ("a = 2)", "line 1, column 6: ')' closes nothing"),
        ("a = (2]", "line 1, column 7: ']' closes nothing"),
        ("3 = a", "line 1, column 1: '3': an equation begins with a name"),
        ("a == 3", "line 1, column 3: '==': '=' is missing after a; add it."),
        ("a = 1\n? b", "line 2, column 3: b: is used but not defined"),
        ("a = 1\n? a/da", "line 2, column 3: a: a derivative needs a d before both names; write dL/dW."),
        ("a = 1\n? da/b", "line 2, column 6: b: a derivative needs a d before both names; write dL/dW."),
        ("a = 1\n? a after sgd() on b", "line 2, column 3: b: is used but not defined"),
        ("a = 1\n? a after sdg() on a", "line 2, column 11: optimiser='sdg' is not known; did you mean 'sgd'?"),
        ("a = 1\n? a after sgd(rote=1) on a", "line 2, column 15: option='rote' is not known"),
        ("a = 1\n? a after 0 sgd() on a", "line 2, column 11: steps=0: must be a whole number from 1 to 1000."),
        (
            "a = 1; b = 2*a\n? a after sgd(lr=b) on b",
            "line 2, column 3: lr: must be a number or the name of a given one",
        ),
        ("x = [1, 2]\ny = x + [1, 2, 3]", "line 2, column 5: 3 components and 2 components do not fit together"),
        ("x = [1, 2]\ny = x @ [[1, 2]]", "line 2, column 7: @: the left side has 2 components and the right side 1×2"),
        ("a = 1\ny = a @ a", "line 2, column 7: @: multiplies vectors or matrices"),
        ("W = [[1, 2], [3]]", "line 1, column 5: […]: the rows of a matrix must have one length"),
        ("x = [1, 2]; L = x[3]", "line 1, column 17: x_3: is used but not defined"),
        ("W = [[1, 2], [3, 4]]; V = W^{-1}", "line 1, column 28: ^-1: a worksheet does not invert matrices; write 1/W"),
        ("W = [[1, 2], [3, 4]]; V = sum(W, 0)", "line 1, column 27: sum: it is unclear what a number beside a vector"),
        ("x = 2; L = x^3; ? d²L/dx²", "line 1, column 19: 'd': a worksheet has first derivatives"),
        ("x = [1, 2]; q = ∏_k y", "line 1, column 17: k: no vector here carries this index"),
        ("x = [1, 2]; L = softmax(x)[3]", "line 1, column 17: component=[3]: there are 2 components, counted from 1"),
        ("a = 1; y = x[a]", "line 1, column 12: index: must be a whole number of at least 0"),
        ("q = sum(i, i = 3..1)", "line 1, column 5: i=3..1: is empty; begin with the smaller number."),
        ("q = piecewise(1 if 2, 3 otherwise)", "line 1, column 21: ',': a comparison must come here"),
        ("q = piecewise(1 otherwise)", "line 1, column 5: piecewise: needs a condition"),
        ("q = 1e400", "line 1, column 5: 1e400…: a number has at most 60 digits and an exponent of at most 300"),
        ("a = 1\x00", "line 1, column 6: '\\x00' has no meaning"),
        ("a = 0; b = sqrt(a); ? db/da", "line 1, column 8: ∂b/∂a has no value here: the divisor is 0"),
        ("a = 1; b = 2*a; L = b; ? b after sgd() on L", "column 26: b: is computed; only given numbers can be updated"),
    ],
)
def test_a_mistake_is_one_sentence_with_its_place(text: str, sentence: str) -> None:
    with pytest.raises(UsageError) as caught:
        Worksheet.parse(text).solve().show()
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


HOSTILE = {
    "10,000 lines": "a = 1\n" * 10_000,
    "10,000 equations": "; ".join(f"a_{n} = {n}" for n in range(10_000)),
    "brackets": "x = " + "(" * 50_000 + "1" + ")" * 50_000,
    "signs": "x = " + "-" * 100_000 + "1",
    "functions": "x = 1; y = " + "exp(" * 20_000 + "x" + ")" * 20_000,
    "powers": "x = 9^9^9^9^9^9",
    "a large power": "x = 10^(10^9)",
    "a large power of a name": "x = 2; y = x^x^x^x^x^x",
    "digits": "x = " + "9" * 150_000,
    "exponent": "x = 1e999999999",
    "exp": "x = exp(exp(exp(10)))",
    "nested sums": "x = sum(sum(sum(i*j*k, i = 1..1000), j = 1..1000), k = 1..1000)",
    "loops": "x[i, j] = i for i = 1..100000, j = 1..100000",
    "loops of sums": "\n".join(f"a{n}[i] = sum(i*j, j = 1..900) for i = 1..90" for n in range(33)),
    "a large matrix product": f"W = [{','.join(['[' + ','.join('1' * 200) + ']'] * 200)}]\nV = W @ W",
    "softmax": "z = [" + ",".join("1" * 990) + "]; p = softmax(z)",
    "divisions": "a = 1; b = " + "/".join(["a"] * 20_000),
    "questions": f"W = [{','.join(['[' + ','.join('1' * 50) + ']'] * 50)}]\nz = ["
    + ",".join("1" * 50)
    + "] @ W\n? dz/dW",
    "steps": "; ".join(f"a_{n} = {n}" for n in range(100)) + "\n? a_1 after 1000 sgd() on a_2",
    "words": "a = 1; b = " + "+".join(["a"] * 90_000),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_text_is_refused_after_few_steps(name: str) -> None:
    """Written out, most of these texts would need billions of calls, and gigabytes."""

    def refused() -> None:
        with pytest.raises(UsageError):
            Worksheet.parse(HOSTILE[name]).solve()

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert calls(refused) < 1_000_000
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300_000  # kilobytes


@pytest.mark.parametrize("name", ["nested sums", "loops of sums"])
def test_what_is_too_long_is_refused_before_it_is_written_out(name: str) -> None:
    def refused() -> None:
        with pytest.raises(UsageError, match="more than 100,000 terms"):
            Worksheet.parse(HOSTILE[name]).solve()

    assert calls(refused) < 100_000


@pytest.mark.parametrize(
    "text",
    [
        "sum(i*j, j = 1..i)",
        "sum(sum(i + j*k, k = i..j), j = i..4)",
        "sum(-x_j^2/exp(j), j = 2..9)",
        "sum(sum(3, k = 1..2), j = 1..5)",
    ],
)
def test_nodes_are_counted_as_they_are_written_out(text: str) -> None:
    expression = Parser(text).expression()
    for i in (1, 3):
        scope = Scope(lambda name, at: None)
        begin = scope.left
        expand(expression, scope, {"i": i})
        assert expanded_size(expression, {"i": i}) == begin - scope.left


def test_squaring_again_and_again_stays_short() -> None:
    """An exact fraction would have 2^200 digits; it becomes a decimal before."""
    text = "x_0 = 1/3\n" + "\n".join(f"x_{n} = x_{n - 1}^2 + 1/7" for n in range(1, 200))
    solution = Worksheet.parse(text).solve()
    # the attractive fixed point of x² + 1/7
    assert float(solution.value("x_199")) == pytest.approx((1 - (1 - 4 / 7) ** 0.5) / 2, rel=1e-12)
    exact = [number for number in solution.values.values() if isinstance(number, Fraction)]
    assert all(number.numerator.bit_length() + number.denominator.bit_length() <= BITS for number in exact)
    assert len(exact) < 50


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet="abxW_012+-*/^()[]{}=,;?. \nsumexpfori@<#∂dL", max_size=60))
def test_any_text_is_read_or_refused_in_words(text: str) -> None:
    with contextlib.suppress(PellucidError):
        assert Worksheet.parse(text).solve().show()


def _random_expression(rng: random.Random, depth: int) -> str:
    if depth == 0:
        return rng.choice(["a", "b", "2", "0.5", "3"])
    left, right = (_random_expression(rng, depth - 1) for _ in range(2))
    return rng.choice(
        [
            f"({left} + {right})",
            f"({left} - {right})",
            f"({left})*({right})",
            f"-({left})",
            f"({left})/(({right})^2 + 1)",
            f"({left})^2",
            f"({left} - ({right}))",
            f"tanh({left})",
        ]
    )


@pytest.mark.parametrize("block", range(4))
def test_what_is_written_out_means_the_same_again(block: int) -> None:
    """200 random expressions: brackets are where they must be, for the shown text parses to the same number."""
    plain = str.maketrans("²³₁₂", "\u0002\u0003\u0001\u0002")
    for seed in range(50 * block, 50 * block + 50):
        rng = random.Random(seed)
        text = _random_expression(rng, 4)
        shown = Unicode(digits=40).write(parse_expression(text)).translate(plain)
        shown = shown.replace("\u0002", "^2").replace("\u0003", "^3")
        begin = "a = 0.7; b = -1.3; q = "
        assert value(begin + shown) == pytest.approx(value(begin + text), rel=1e-12), (text, shown)


def test_statements_in_order() -> None:
    found = parse("a = 1\n? a, b\n? da/db; c = 2\n? a after 3 steps of adam(lr=0.1, beta1=0.5) on c")
    assert [type(each) for each in found] == [
        EquationStatement,
        QuestionStatement,
        QuestionStatement,
        EquationStatement,
        QuestionStatement,
    ]
    last = found[-1]
    assert isinstance(last, QuestionStatement)
    assert (last.steps, last.rule, dict(last.options)["beta1"]) == (3, "adam", 0.5)


def test_a_vector_question_asks_for_every_component() -> None:
    sheet = Worksheet.parse("x = [1, 2]; z = x*3; L = z @ z; ? z; ? dL/dx; ? dz/dx")
    titles = [question.title for question in sheet.questions]
    assert titles[:4] == ["z_1", "z_2", "dL/dx_1", "dL/dx_2"]
    assert titles[4:] == ["dz_1/dx_1", "dz_1/dx_2", "dz_2/dx_1", "dz_2/dx_2"]
    assert [float(answer.results[0][1]) for answer in sheet.solve().answers[2:]] == [18, 36, 3, 0, 0, 3]


def test_a_constant_without_a_value_is_said() -> None:
    assert "e is Euler's number" in Worksheet("s = 2; q = 1/(1 + e^(-s)); ? q").solve().show()
    assert "Euler" not in Worksheet("e = 2; q = e^3; ? q").solve().show()
