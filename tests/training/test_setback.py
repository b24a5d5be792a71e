# SPDX-License-Identifier: Apache-2.0
"""A training that loses what it has learned says so, once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import pellucid
from pellucid.training.setback import setback


def rows(measures: list[float], losses: list[float], key: str = "psnr") -> list[dict[str, Any]]:
    both = zip(measures, losses, strict=True)
    return [{"epoch": epoch, key: value, "loss": loss} for epoch, (value, loss) in enumerate(both, start=1)]


def said(all_rows: list[dict[str, Any]], key: str = "psnr", sign: int = 1) -> list[int]:
    """The epochs after which something is said."""
    return [end for end in range(1, len(all_rows) + 1) if setback(all_rows[:end], key, sign, 0.1)]


def test_it_is_said_once_and_again_only_after_it_was_made_good() -> None:
    lost = [20.0, 25, 30, 19, 19, 19, 28, 18, 18]
    assert said(rows(lost, [-value for value in lost])) == [5, 9]


def test_one_bad_epoch_and_an_overconfident_classifier_are_none() -> None:
    assert not said(rows([20, 30, 19, 30, 31], [5, 1, 6, 1, 1]))
    assert not said(rows([0.5, 0.8, 0.85, 0.86, 0.86], [0.9, 0.6, 1.0, 1.2, 1.4], "accuracy"), "accuracy")
    assert not said(rows([20, 19, 18, 17], [1, 2, 3, 4])), "nothing was learned that could be lost"


def test_lower_may_be_better_and_numbers_may_be_none() -> None:
    assert said(rows([3, 1, 5, 5], [3, 1, 5e25, 5e25], "cost"), "cost", -1) == [4]
    assert said(rows([3, 1, np.nan, np.nan], [3, 1, np.nan, np.nan], "cost"), "cost", -1) == [4]
    assert not said([{"epoch": epoch, "loss": 1.0} for epoch in range(5)])


def test_a_training_with_far_too_high_a_rate_says_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from pellucid.training.recipe import Recipe

    usual = Recipe.rate

    def jumping(self: Recipe, step: int, steps: int, per_epoch: int) -> float:
        return 1e4 if 3 * per_epoch <= step < 3 * per_epoch + 3 else usual(self, step, steps, per_epoch)

    monkeypatch.setattr(Recipe, "rate", jumping)
    pellucid.train(
        "classify", "digits", "mlp", tmp_path / "run", hidden=[8], epochs=6, optimizer="sgd", lr=0.3, schedule="constant",
        seed=0,
    )  # fmt: skip
    printed = " ".join(capsys.readouterr().err.split())
    assert printed.count("what was learned is lost again") == 1
    assert "in epoch 3, whose weights are kept" in printed
    assert "(now --lr 0.3)" in printed
