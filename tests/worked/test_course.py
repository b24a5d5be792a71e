# SPDX-License-Identifier: Apache-2.0
"""The page of exercises shows what its commands print; every sheet is listed; each kind of question is a short sheet or a command."""

from __future__ import annotations

import json
import math
import re
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pellucid import _catalog
from pellucid.cli.cli import main
from pellucid.worked import Name, Worksheet
from pellucid.worked.forms.topics import TOPICS, by_topic

PAGE = (Path(__file__).parents[2] / "docs" / "worked-course.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
Capture = pytest.CaptureFixture[str]


def test_the_page_shows_each_solution_in_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "Agg")
    monkeypatch.setenv("COLUMNS", "80")
    names: dict[str, object] = {}
    for language, text in BLOCKS:
        if language == "python":
            exec(compile(text, "worked-course.md", "exec"), names)
        elif language == "console":
            assert len(text.splitlines()) == 1
            assert main(shlex.split(text)[1:]) == 0, text
        else:
            assert language == ""
            assert capsys.readouterr().out == text, (
                "run docs/worked_course.py, which writes the solutions into the page"
            )
    assert capsys.readouterr().out == ""
    assert (tmp_path / "nesterov.png").exists()


def test_the_page_has_every_topic_of_a_course() -> None:
    sections = re.split(r"^## ", PAGE, flags=re.MULTILINE)[1:]
    assert [section.splitlines()[0] for section in sections] == [
        "Multilayer perceptrons",
        "Softmax and cross-entropy",
        "Back-propagation",
        "Convolution",
        "Pooling and upsampling",
        "Recurrent networks",
        "Optimisers",
        "Regularisation",
        "Autoencoders",
        "Generative models",
        "Measures of detection and segmentation",
    ]
    for section in sections:
        assert section.count("```console") == section.count("<summary>Solution</summary>\n\n```\n") >= 1
        assert "each checked" in section


def test_all_sheets_are_listed_with_their_questions(capsys: Capture) -> None:
    assert main(["work", "--list"]) == 0
    shown = capsys.readouterr().out
    topics = by_topic()
    words = [name for each in topics.values() for name in each]
    assert sorted(words) == _catalog.names("worked/builders")
    assert "other" not in topics and [*topics] == [topic for topic in TOPICS if topic in topics]
    for topic, members in topics.items():
        block = shown.split(f"{topic}\n")[1]
        for name, question in members.items():
            assert question.endswith("?") and question in " ".join(block.split())  # wrapped to the terminal's width
            assert f"  {name.replace('_', '-')} " in block
    assert main(["work"]) == 2
    assert "name a worksheet, or one of the words of `pellucid work --list`" in capsys.readouterr().err
    assert main(["work", "atention"]) == 2
    assert "did you mean attention? Else name a worksheet" in capsys.readouterr().err


def sigmoid(z: float) -> float:
    return 1 / (1 + math.exp(-z))


def applied(times: int) -> float:
    """tanh of tanh of … of 0.5."""
    x = 0.5
    for _ in range(times):
        x = math.tanh(x)
    return x


def with_nesterov(steps: int) -> float:
    """w of Sutskever et al. 2013, equations 3 and 4, for (w − 3)²/2 from 1."""
    w, v = 1.0, 0.0
    for _ in range(steps):
        v = 0.9 * v - 0.1 * (w + 0.9 * v - 3)
        w += v
    return w


def through_time() -> tuple[float, float]:
    """The loss of a recurrent network and its derivative by the weight of its state, by torch."""
    W = torch.tensor(0.5, dtype=torch.float64, requires_grad=True)
    h, loss = torch.tensor(0.0, dtype=torch.float64), torch.tensor(0.0, dtype=torch.float64)
    for x, y in ((1.0, 0.5), (-1.0, 0.2), (2.0, 1.0)):
        h = torch.tanh(W * h + 0.8 * x)
        loss = loss + (h - y) ** 2
    loss.backward()
    assert W.grad is not None
    return loss.item(), W.grad.item()


SHEETS: dict[str, tuple[str, dict[str, float]]] = {
    "a multilayer perceptron": (
        r"""
        x = [1, 2]; y = 1
        W = [[0.1, 0.6], [0.3, 0.4], [-0.2, 0]]; v = [-0.5, -0.3, 0.8]
        a = relu(W x)
        yhat = \sigma(v @ a)
        L = bce(yhat, y)
        ? yhat
        ? L
        ? dL/dv_1
        ? v after sgd(lr=0.01) on L
        """,
        {
            "yhat": sigmoid(-0.98),
            "L": math.log1p(math.exp(0.98)),
            "dL/dv_1": -1.3 * (1 - sigmoid(-0.98)),
            "v_1": -0.5 + 0.013 * (1 - sigmoid(-0.98)),
            "v_3": 0.8,
        },
    ),
    "a recurrent network through time": (
        """
        x = [1, -1, 2]; y = [0.5, 0.2, 1]; h_0 = 0
        W = 0.5; U = 0.8
        h[t] = tanh(W*h[t-1] + U*x[t]) for t = 1..3
        L = sum((h[t] - y[t])^2, t = 1..3)
        ? L
        ? dL/dW
        """,
        {"L": through_time()[0], "dL/dW": through_time()[1]},
    ),
    "softmax, sigmoid and tanh": (
        """
        z = [1, 2, 3]; u = 0.5
        p = softmax(z)
        s = sigmoid(u)
        t = tanh(u)
        d = t - (2*sigmoid(2*u) - 1)
        ? p_3
        ? dp_3/dz_1
        ? ds/du
        ? dt/du
        ? d
        """,
        {
            "p_3": 1 / (1 + math.exp(-1) + math.exp(-2)),
            "dp_3/dz_1": -math.exp(3) * math.exp(1) / (math.exp(1) + math.exp(2) + math.exp(3)) ** 2,
            "ds/du": sigmoid(0.5) * (1 - sigmoid(0.5)),
            "dt/du": 1 - math.tanh(0.5) ** 2,
            "d": 0,
        },
    ),
    "an iterated activation": (
        """
        x_0 = 0.5
        x[t] = tanh(x[t-1]) for t = 1..4
        ? x_4
        ? dx_4/dx_0
        """,
        {
            "x_4": applied(4),
            "dx_4/dx_0": math.prod(1 - applied(times) ** 2 for times in (1, 2, 3, 4)),
        },
    ),
    "output sizes": (
        """
        n = 227; f = 11; s = 4; p = 0
        o_1 = (n + 2p - f)/s + 1
        o_2 = (o_1 - 3)/2 + 1
        ? o_1
        ? o_2
        """,
        {"o_1": 55, "o_2": 27},
    ),
    "a convolution as a matrix": (
        """
        x = [1, 2, 0, -1]
        C = [[1, -2, 0, 0], [0, 1, -2, 0], [0, 0, 1, -2]]
        z = C x
        d = [1, 0, -1]
        g = C^T d
        ? z
        ? g
        """,
        {f"z_{i + 1}": value for i, value in enumerate(np.correlate([1, 2, 0, -1], [1, -2], "valid"))}
        | {f"g_{i + 1}": value for i, value in enumerate(np.convolve([1, 0, -1], [1, -2]))},
    ),
    "the extremes of dropout": (
        """
        x = [1, 2, 3, 4]; W = [1, -1, 2, 0.5]; q = 0.5
        c = x*W/q
        low = c[2] + c[1]
        high = c[3] + c[4]
        least = sum(min(c[i], 0), i = 1..4)
        most = sum(max(c[i], 0), i = 1..4)
        ? low
        ? high
        ? least
        ? most
        """,
        {"low": -2, "high": 16, "least": -4, "most": 18},
    ),
    "momentum and Nesterov": (
        """
        w = 1
        L = (w - 3)^2/2
        ? w after 2 momentum(lr=0.1, rho=0.9) on L
        """,
        {"w": 1.56},
    ),
    "Nesterov alone": ("w = 1; L = (w - 3)^2/2; ? w after 3 nesterov(lr=0.1, rho=0.9) on L", {"w": with_nesterov(3)}),
    "a gradient check": (
        """
        x = 2; y = 1; w = 0.5; h = 0.0001
        L = (sigmoid(w*x) - y)^2
        up = (sigmoid((w + h)*x) - y)^2
        down = (sigmoid((w - h)*x) - y)^2
        g = (up - down)/(2h)
        ? dL/dw
        ? g
        """,
        {"dL/dw": (slope := 2 * (sigmoid(1) - 1) * sigmoid(1) * (1 - sigmoid(1)) * 2), "g": slope},
    ),
}


@pytest.mark.parametrize("question", SHEETS)
def test_a_question_is_a_sheet_of_at_most_twelve_lines(question: str) -> None:
    text, wanted = SHEETS[question]
    assert len(text.strip().splitlines()) <= 12
    solution = Worksheet(text).solve()
    found = {key: float(value) for answer in solution.answers for key, value in answer_results(answer)}
    solution.show("terminal", verify=True)
    for key, value in wanted.items():
        assert found[key] == pytest.approx(value, rel=1e-7, abs=1e-12), key


def answer_results(answer: Any) -> list[tuple[str, Any]]:
    keys = [item.name if isinstance(item, Name) else item.key.replace("∂", "d") for item, _ in answer.results]
    return [*zip(keys, (value for _, value in answer.results), strict=True)]


def answered(words: str, capsys: Capture) -> dict[str, float]:
    """Every result of a command by name."""
    assert main([*shlex.split(words), "--format", "json"]) == 0
    document = json.loads(capsys.readouterr().out)
    return {
        result["name"].replace("∂", "d"): result["float"]
        for answer in document["answers"]
        for result in answer["results"]
    }


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        ("work mlp --compare y=0", {"yhat": 0.272892, "L": 1.298680, "L_other": 0.318680, "w_36": -0.490548}),
        ("work rnn", {"L": 2, "W_h": 1 - 0.01 * 8}),
        ("work softmax --z '1000 1001 1002' --target 3", {"p_3": 0.665241, "L": 0.407606, "dL/dz_3": -0.334759}),
        ("work dense", {"y_test": 7, "y_exact_low": -2, "y_exact_high": 16, "y_any_low": -4, "y_any_high": 18}),
        ("work optimizer --rules momentum --steps 2", {"w": 1.56}),
        ("work optimizer --rules nesterov --steps 3", {"w": with_nesterov(3)}),
        ("work convolution '1 2 3 4' --kernel '1 -1' --stride 1 --padding 0", {"z_1": -1, "z_3": -1}),
    ],
)
def test_a_question_is_one_command(words: str, wanted: dict[str, float], capsys: Capture) -> None:
    found = answered(words, capsys)
    for key, value in wanted.items():
        assert found[key] == pytest.approx(value, abs=6e-7), key


def test_questions_about_sizes_parameters_matrices_and_iterations_are_one_command(capsys: Capture) -> None:
    unknown = "input 300x200x2; conv 64 of 3x3xU_1; max-pool 2; conv 256 of 3x3xU_2; max-pool 2; flatten; N_2; N_3; output 60*100"
    assert main(["table", unknown]) == 0
    shown = capsys.readouterr().out
    assert "U_2 = 64" in shown and "N_2 stays open" in shown
    assert main(["table", "input 227x227x3; conv 96 of 11x11 stride 4; max-pool 3 stride 2", "--format", "json"]) == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert [row["output"] for row in rows] == [[227, 227, 3], [55, 55, 96], [27, 27, 96]]
    assert rows[1]["parameters"] == (11 * 11 * 3 + 1) * 96
    assert (
        main(
            [
                "work",
                "convolution",
                "x_0 x_1 x_2 x_3",
                "--kernel",
                "w_0 w_1 w_2",
                "--padding",
                "1",
                "--orientation",
                "both",
            ]
        )
        == 0
    )
    shown = capsys.readouterr().out
    assert "[ z₁ ]" not in shown and "w₁  w₂   0   0" in shown and "x₁  x₂  x₃" in shown
    assert main(["work", "iterate", "2*tanh(x)", "--times", "1000"]) == 0
    shown = capsys.readouterr().out
    x = 1.9
    for _ in range(200):
        x = 2 * math.tanh(x)
    assert f"{x:.6f}" in shown and "x = 0 stays" in shown
    assert main(["work", "derive", "(exp(x) - exp(-x))/(exp(x) + exp(-x))", "--by", "x"]) == 0
    assert "∂f/∂x = 1 − f^2" in capsys.readouterr().out


def test_a_gradient_check_is_one_call() -> None:
    from pellucid.worked.network.gradient_check import check_gradient

    def loss(p: dict[str, Any]) -> tuple[float, dict[str, Any]]:
        h = np.tanh(p["w"])
        return float((h**2).sum()), {"w": 2 * h * (1 - h**2)}

    assert check_gradient(loss, {"w": np.array([0.3, -1.2])}).verdict == "right"
    assert (
        check_gradient(lambda p: (loss(p)[0], {"w": loss(p)[1]["w"] / 2}), {"w": np.array([0.3, -1.2])}).verdict
        == "bug"
    )
