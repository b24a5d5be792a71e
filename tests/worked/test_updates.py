# SPDX-License-Identifier: Apache-2.0
"""Optimiser steps against torch's optimisers and the equations of the papers."""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction

import pytest
import torch

from pellucid.worked import Worksheet
from pellucid.worked.answers.variant import Variant
from pellucid.worked.worksheet.writing import write_worksheet


@pytest.mark.parametrize(
    ("rule", "torch_rule"),
    [
        ("sgd(lr=0.05)", lambda p: torch.optim.SGD(p, lr=0.05)),
        ("SGD(learning_rate=1/20, momentum=0.9)", lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9)),
        ("sgd(lr=0.05, wd=0.1)", lambda p: torch.optim.SGD(p, lr=0.05, weight_decay=0.1)),
        ("momentum(lr=0.05, weight_decay=0.1)", lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9, weight_decay=0.1)),
        ("Adam(lr=0.1, weight_decay=0.1)", lambda p: torch.optim.Adam(p, lr=0.1, weight_decay=0.1)),
        ("AdamW(lr=0.1)", lambda p: torch.optim.AdamW(p, lr=0.1)),
        (
            "adamw(lr=0.05, wd=0.3, beta_1=0.8)",
            lambda p: torch.optim.AdamW(p, lr=0.05, weight_decay=0.3, betas=(0.8, 0.999)),
        ),
        ("RMSprop(lr=0.05, alpha=0.9)", lambda p: torch.optim.RMSprop(p, lr=0.05, alpha=0.9)),
        ("rmsprop(lr=0.05, rho=0.8, wd=0.1)", lambda p: torch.optim.RMSprop(p, lr=0.05, alpha=0.8, weight_decay=0.1)),
        ("AdaGrad(lr=0.1, eps=1e-10)", lambda p: torch.optim.Adagrad(p, lr=0.1)),
        ("adagrad(lr=0.1, eps=1e-10, s=0.5)", lambda p: torch.optim.Adagrad(p, lr=0.1, initial_accumulator_value=0.5)),
        ("adam(lr=0.1)", lambda p: torch.optim.Adam(p, lr=0.1)),
    ],
)
def test_updates_equal_torch(rule: str, torch_rule: Callable[[list[torch.Tensor]], torch.optim.Optimizer]) -> None:
    text = "a = 0.7; b = -1.2; L = (a*b - 1)^2 + sigmoid(a); ? a, b after 4 " + rule + " on L"
    found = [float(value) for _, value in Worksheet.parse(text).solve().answers[0].results]
    a, b = (torch.tensor(v, dtype=torch.float64, requires_grad=True) for v in (0.7, -1.2))
    optimiser = torch_rule([a, b])
    for _ in range(4):
        optimiser.zero_grad()
        ((a * b - 1) ** 2 + torch.sigmoid(a)).backward()
        optimiser.step()
    assert found == pytest.approx([a.item(), b.item()], rel=1e-10)


@pytest.mark.parametrize("rule", ["momentum", "nesterov"])
def test_velocity_rules_follow_their_equations(rule: str) -> None:
    """v ← ρv − λ∂w, w ← w + v, on w² whose derivative is 2w; nesterov takes it at w + ρv."""
    text = f"w = 1; L = w^2; ? w after 5 {rule}(lr=0.1, rho=0.9) on L"
    found = Worksheet.parse(text).solve().answers[0].results[0][1]
    w, v = Fraction(1), Fraction(0)
    for _ in range(5):
        point = w + Fraction(9, 10) * v if rule == "nesterov" else w
        v = Fraction(9, 10) * v - Fraction(1, 10) * 2 * point
        w += v
    assert found == w


@pytest.mark.parametrize(
    ("rule", "w"),
    [
        # by hand at w = 1 with ∂L/∂w = w − 3 = −2
        ("momentum(lr=0.1, rho=0.9, v=0.5)", 1 + (0.9 * 0.5 + 0.2)),
        ("nesterov(lr=0.1, rho=0.9, v0=0.5)", 1 + (0.9 * 0.5 - 0.1 * (1 + 0.45 - 3))),
        ("rmsprop(lr=0.1, rho=0.9, v=0.6)", 1 + 0.1 * 2 / (math.sqrt(0.9 * 0.6 + 0.1 * 4) + 1e-8)),
        (
            "adam(lr=0.1, t=3, m=0.1, v=0.2)",
            1 - 0.1 * ((0.09 - 0.2) / (1 - 0.9**3)) / (math.sqrt((0.1998 + 0.004) / (1 - 0.999**3)) + 1e-8),
        ),
        ("SGD(lr=η)", 1 + 0.25 * 2),
        ("sgd(lr=1/4)", 1 + 0.25 * 2),
        ("sgd(lr=2*η/2)", 1 + 0.25 * 2),
    ],
)
def test_updates_may_begin_later(rule: str, w: float) -> None:
    sheet = Worksheet(f"w = 1; η = 0.25; L = (w - 3)^2/2; ? w after {rule} on L")
    assert float(sheet.solve().answers[0].results[0][1]) == pytest.approx(w, rel=1e-12)
    question = sheet.questions[0]
    assert float(Variant(sheet.solve().numbers).updated(question)["w"]) == pytest.approx(w, rel=1e-12)
    assert Worksheet(write_worksheet(sheet)).questions[0].options == question.options
