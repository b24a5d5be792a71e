# SPDX-License-Identifier: Apache-2.0
"""The verdict on curves: planted courses of every kind, through the noise of steps too, and what the figure shows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from pellucid.errors import UsageError
from pellucid.lenses import Sight
from pellucid.lenses._verdict import RULES, verdict
from pellucid.lenses.curves import Curves

EPOCHS, STEPS = 20, 20  # rows of training an epoch
Course = Callable[[float], float]


def rows(
    train: Course, val: Course | None = None, noise: float = 0.0, annealed: bool = False, epochs: int = EPOCHS
) -> list[dict[str, Any]]:
    """A history in which the losses follow the given courses of the epoch, with multiplicative noise of steps."""
    rng, found = np.random.default_rng(0), []
    for step in range(1, epochs * STEPS + 1):
        epoch = step / STEPS
        rate = 0.1 * (1 - 0.99 * epoch / epochs) if annealed else 0.1
        loss = train(epoch) * float(np.exp(noise * rng.normal()))
        place = {"step": step, "epoch": epoch, "learning_rate": rate, "seconds": epoch}
        found.append({**place, "split": "train", "loss": loss})
        if val is not None and step % STEPS == 0:
            found.append({**place, "split": "val", "loss": val(epoch), "accuracy": epoch / epochs})
    return found


def levelling(epoch: float) -> float:
    return 0.2 + 2.0 * float(np.exp(-epoch / 2))


PLANTED: dict[str, tuple[Course, Course]] = {
    "underfitting": (lambda e: 1.6 + 0.7 * float(np.exp(-e)), lambda e: 1.62 + 0.7 * float(np.exp(-e))),
    "overfitting": (lambda e: 2.0 * float(np.exp(-e / 5)), lambda e: 0.6 + 0.02 * (e - 5) ** 2),
    "learning rate too high": (
        lambda e: 2.0 - 0.2 * e if e < 6 else 0.9 + 0.3 * (e - 6),
        lambda e: 2.0 - 0.2 * e if e < 6 else 0.9 + 0.3 * (e - 6),
    ),
    "learning rate too low": (lambda e: 2.3 - 0.005 * e, lambda e: 2.3 - 0.005 * e),
    "stopped too early": (lambda e: 2.3 * float(np.exp(-e / 12)), lambda e: 2.4 * float(np.exp(-e / 12))),
    "healthy": (levelling, lambda e: 1.05 * levelling(e)),
}


@pytest.mark.parametrize("kind", PLANTED)
def test_a_planted_course_is_named(kind: str) -> None:
    found = verdict(rows(*PLANTED[kind]))
    assert found.kind == kind, found.words
    assert found.words.startswith(kind.capitalize() + ": ")
    assert found.words.endswith(".")


@pytest.mark.parametrize("kind", [kind for kind in PLANTED if kind != "learning rate too low"])
def test_the_noise_of_steps_changes_no_verdict(kind: str) -> None:
    """A loss that hardly moves is lost in such noise, every other course is not."""
    assert verdict(rows(*PLANTED[kind], noise=0.05)).kind == kind


def test_every_rule_has_a_planted_course() -> None:
    assert {*RULES, "healthy"} == set(PLANTED)


def test_overfitting_tells_when_and_how_wide_the_gap_is() -> None:
    history = rows(*PLANTED["overfitting"])
    losses = {split: [row["loss"] for row in history if row["split"] == split] for split in ("train", "val")}
    gap = losses["val"][-1] - np.mean(losses["train"][-STEPS:])  # the training loss is the mean over the last epoch
    words = verdict(history).words
    assert f"lowest after epoch {int(np.argmin(losses['val'])) + 1} of {EPOCHS}" in words
    assert f"the generalisation gap is {gap:.3g}" in words


def test_a_loss_that_is_not_finite_is_a_rate_too_high() -> None:
    history = rows(levelling, levelling)
    history[-2]["loss"] = float("nan")
    assert verdict(history).kind == "learning rate too high"


def test_a_rate_that_comes_down_may_still_gain_a_little_at_the_end() -> None:
    """The last gain of an annealed training is not a promise of more."""
    late = {"train": lambda e: 2.3 * float(np.exp(-e / 50)), "val": lambda e: 2.4 * float(np.exp(-e / 50))}
    assert verdict(rows(**late)).kind == "stopped too early"
    assert verdict(rows(**late, annealed=True)).kind != "stopped too early"


def test_without_validation_the_training_loss_is_judged() -> None:
    assert verdict(rows(levelling)).kind == "healthy"
    assert "without validation images" in verdict(rows(levelling)).words
    assert verdict(rows(PLANTED["stopped too early"][0])).kind == "stopped too early"


@pytest.mark.parametrize("epochs", [1, 2])
def test_one_or_two_epochs_are_too_short_to_judge(epochs: int) -> None:
    history = rows(levelling, levelling, epochs=epochs)
    assert verdict(history).kind == "too short"
    history[-2]["loss"] = float("inf")  # but a loss that explodes shows at once
    assert verdict(history).kind == "learning rate too high"


def test_losses_below_zero_are_not_judged() -> None:
    assert verdict(rows(lambda e: 1 - e, lambda e: 1 - e)).kind == "not judged"


def test_the_numbers_are_those_of_the_history() -> None:
    history = rows(*PLANTED["overfitting"])
    view = Curves().look(Sight(history=history))
    for split in ("train", "val"):
        own = [row for row in history if row["split"] == split]
        np.testing.assert_array_equal(view.numbers[f"{split}/loss"], [row["loss"] for row in own])
        np.testing.assert_array_equal(view.numbers[f"{split}/epoch"], [row["epoch"] for row in own])
    assert view.words == verdict(history).words


@pytest.mark.parametrize(("kind", "marked"), [("overfitting", True), ("healthy", False)])
def test_the_gap_is_marked_where_it_is_the_finding(kind: str, marked: bool) -> None:
    losses, measure = Curves().look(Sight(history=rows(*PLANTED[kind]))).figure.axes
    assert any("gap" in text.get_text() for text in losses.texts) is marked
    assert "validation accuracy" in measure.get_title()


@pytest.mark.parametrize("history", [rows(levelling), rows(levelling, levelling, epochs=1)], ids=["train only", "one"])
def test_little_can_be_drawn_too(history: Sequence[Any]) -> None:
    axes = Curves().look(Sight(history=history)).figure.axes[0]
    assert axes.get_ylim()[0] > 0
    assert "generalisation gap" not in [text.get_text() for text in axes.get_legend().get_texts()]


def test_no_history_is_said() -> None:
    with pytest.raises(UsageError, match="train for at least one epoch"):
        Curves().look(Sight())
