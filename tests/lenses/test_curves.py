# SPDX-License-Identifier: Apache-2.0
"""The verdict on curves: planted courses of every kind, through the noise of steps too, and what the figure shows."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pellucid.errors import RunError, UsageError
from pellucid.inference import evaluate
from pellucid.lenses import TrainingLog
from pellucid.lenses.curves import Curves
from pellucid.lenses.curves.comparable import comparable
from pellucid.lenses.curves.regions import regions
from pellucid.lenses.curves.verdict import RULES, verdict
from pellucid.looking.looking import look
from pellucid.training.training import train

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
    beyond_losses = {"nothing learnt", "posterior collapse"}  # need the loss by chance, or the latent loss
    assert {*RULES, "healthy"} == {*PLANTED, *beyond_losses}


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
    late = {
        split: lambda e: 1.0 - 0.07 * max(0.0, (e - 15) / 5) + 1.3 * float(np.exp(-e)) for split in ("train", "val")
    }
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


def test_a_loss_at_chance_is_nothing_learnt() -> None:
    """Of ten classes: the biases fall to ln 10 and stay there. Just below it, or where chance is not known, it is underfitting."""
    stuck = {split: lambda e: float(np.log(10)) + 0.6 * float(np.exp(-2 * e)) for split in ("train", "val")}
    chance = float(np.log(10))
    assert verdict(rows(**stuck), chance).kind == "nothing learnt"
    assert "2.3" in verdict(rows(**stuck), chance).words
    assert verdict(rows(**stuck), chance / 0.9).kind == verdict(rows(**stuck)).kind == "underfitting"
    assert [region.kind for region in regions(rows(**stuck), chance)] == ["underfitting"]


def test_little_learnt_is_never_healthy() -> None:
    """A loss at 0.8 of chance that fell by 7 % in the last half is neither flat nor steep."""
    slow = {split: lambda e: 0.8 * 2.3 + 0.5 * float(np.exp(-e / 8)) for split in ("train", "val")}
    assert verdict(rows(**slow, annealed=True), 2.3).kind == "underfitting"


def test_losses_that_jump_up_and_down_are_a_rate_too_high() -> None:
    """Not underfitting, whose way out would be a higher rate."""

    def jumping(epoch: float) -> float:
        return 2.1 + 0.1 * (-1) ** int(np.ceil(epoch - 1e-9))

    assert verdict(rows(jumping, jumping), 2.3).kind == "learning rate too high"
    assert verdict(rows(jumping, jumping, annealed=True), 2.3).kind != "learning rate too high"


def test_shuffled_labels_that_are_learnt_by_heart_are_overfitting() -> None:
    history = rows(lambda e: 2.3 * float(np.exp(-e / 4)), lambda e: 2.35 + 0.1 * e)
    assert verdict(history, float(np.log(10))).kind == "overfitting"


@pytest.mark.parametrize(
    ("train", "val", "kind"), [(0.001, 0.09, "overfitting"), (0.01, 0.09, "healthy"), (60, 108, "overfitting")]
)
def test_a_rate_that_comes_down_does_not_hide_a_gap(train: float, val: float, kind: str) -> None:
    """90 times the training loss, or 48 nats of a VAE above it: flat curves are not health."""
    top = 200.0 if val > 1 else 2.3
    history = rows(*(lambda e, end=end: end + top * float(np.exp(-e)) for end in (train, val)), annealed=True)
    found = verdict(history, None if val > 1 else 2.3)
    assert found.kind == kind
    if kind == "overfitting":
        assert f"the generalisation gap is {val - train:.2g}" in found.words
        assert "overfitting" in {region.kind for region in regions(history, None if val > 1 else 2.3)}


@pytest.mark.parametrize(("latent", "kind"), [(0.02, "posterior collapse"), (4.0, "healthy")])
def test_codes_that_say_nothing_are_a_collapse(latent: float, kind: str) -> None:
    history = [row | {"latent": latent} for row in rows(levelling, levelling)]
    assert verdict(history).kind == kind


def test_nothing_is_underfitting_where_validation_is_perfect() -> None:
    """A loss that goes on falling towards zero says nothing more; only the epochs before are shaded."""
    history = rows(lambda e: 2.3 * float(np.exp(-e)), lambda e: 2.3 * float(np.exp(-e)))
    shown = [row | {"accuracy": min(1.0, 0.5 + row["epoch"] / 10)} if row["split"] == "val" else row for row in history]
    [region] = regions(shown)
    assert (region.kind, region.first) == ("underfitting", 1) and region.last <= 4
    assert verdict(shown).kind != "underfitting"


def test_losses_below_zero_are_not_judged() -> None:
    assert verdict(rows(lambda e: 1 - e, lambda e: 1 - e)).kind == "not judged"


def test_the_numbers_are_those_of_the_history() -> None:
    history = rows(*PLANTED["overfitting"])
    view = Curves().look(TrainingLog(history=history))
    for split in ("train", "val"):
        own = [row for row in history if row["split"] == split]
        np.testing.assert_array_equal(view.numbers[f"{split}/loss"], [row["loss"] for row in own])
        np.testing.assert_array_equal(view.numbers[f"{split}/epoch"], [row["epoch"] for row in own])
    assert view.words == verdict(history).words


@pytest.mark.parametrize(("kind", "marked"), [("overfitting", True), ("healthy", False)])
def test_the_gap_is_marked_where_it_is_the_finding(kind: str, marked: bool) -> None:
    losses, measure = Curves().look(TrainingLog(history=rows(*PLANTED[kind]))).figure.axes
    assert any("gap" in text.get_text() for text in losses.texts) is marked
    assert "validation accuracy" in measure.get_title()


@pytest.mark.parametrize("history", [rows(levelling), rows(levelling, levelling, epochs=1)], ids=["train only", "one"])
def test_little_can_be_drawn_too(history: Sequence[Any]) -> None:
    axes = Curves().look(TrainingLog(history=history)).figure.axes[0]
    assert axes.get_ylim()[0] > 0
    assert "generalisation gap" not in [text.get_text() for text in axes.get_legend().get_texts()]


# -- regions with known answers


def validated(val: Sequence[float], train: Sequence[float]) -> list[dict[str, Any]]:
    """One row of each split an epoch."""
    return [
        {"step": e, "epoch": e, "split": split, "loss": loss, "learning_rate": 0.1, "seconds": e}
        for e, pair in enumerate(zip(train, val, strict=True), start=1)
        for split, loss in zip(("train", "val"), pair, strict=True)
    ]


FALLING = [2.0, 1.5, 1.1, 0.8, 0.6, 0.45, 0.3, 0.2]
KNOWN: dict[str, tuple[list[float], list[float], list[tuple[str, float, float]]]] = {
    "a valley": (
        [2.0, 1.6, 1.2, 1.05, 1.0, 1.05, 1.2, 1.4],
        FALLING,
        [("underfitting", 1, 3), ("overfitting", 7, 8)],
    ),
    "a valley with a bump": (  # the rise at epoch 6 does not last
        [2.0, 1.2, 1.0, 1.05, 1.09, 1.3, 1.0, 1.2],
        FALLING,
        [("underfitting", 1, 2), ("overfitting", 8, 8)],
    ),
    "a plateau above a falling training loss": (
        [2.0, 1.4, 1.02, 1.0, 1.0, 1.0, 1.0, 1.0],
        FALLING,
        [("underfitting", 1, 2), ("overfitting", 6, 8)],  # from 0.45 on it is more than twice as high
    ),
    "both level off": ([2.0, 1.2, 0.6, 0.42, 0.4, 0.4, 0.4, 0.4], [2.0, 1.1, 0.55, 0.4, 0.38, 0.38, 0.38, 0.38], [("underfitting", 1, 3)]),
    "nothing is learnt": ([2.31] * 8, [2.3, 2.3, 2.29, 2.3, 2.3, 2.29, 2.3, 2.3], [("underfitting", 1, 8)]),
    "below zero": ([1.0, 0.5, -0.5, -1.0], [1.0, 0.5, -0.5, -1.0], []),
    "two epochs": ([2.0, 1.0], [2.0, 1.0], []),
}  # fmt: skip


@pytest.mark.parametrize("course", KNOWN)
def test_regions_follow_the_stated_rules(course: str) -> None:
    val, train, expected = KNOWN[course]
    view = Curves().look(TrainingLog(history=validated(val, train)))
    found = [(kind, *ends) for kind, ends in zip(view["region_kind"].tolist(), view["region"].tolist(), strict=True)]
    assert found == expected
    named = [text.get_text() for text in view.figure.axes[0].texts if text.get_text().endswith("fitting")]
    assert named == [kind for kind, *_ in expected]
    np.testing.assert_allclose(view["gap"], np.subtract(val, train))


@pytest.mark.parametrize("kind", PLANTED)
def test_a_region_of_overfitting_goes_with_that_verdict(kind: str) -> None:
    history = rows(*PLANTED[kind])
    assert ("overfitting" in {region.kind for region in regions(history)}) is (verdict(history).kind == "overfitting")


def test_the_gap_is_to_the_mean_over_the_epoch() -> None:
    history = rows(*PLANTED["overfitting"], noise=0.05)
    own = [row["loss"] for row in history if row["split"] == "train"][-STEPS:]
    last = [row["loss"] for row in history if row["split"] == "val"][-1]
    assert Curves().look(TrainingLog(history=history))["gap"][-1] == pytest.approx(last - np.mean(own))


# -- several runs


def made(name: str, course: str, images: int, value: float | None) -> TrainingLog:
    measured = {"accuracy": {"value": value, "low": 0.9, "high": 1.0, "unit": "", "better": "higher"}}
    metrics = {} if value is None else {"main": "accuracy", "split": "test", "model": measured}
    return TrainingLog(history=rows(*PLANTED[course]), title=name, trained_on=images, metrics=metrics)


def beside(*runs: TrainingLog) -> Any:
    first = dataclasses.replace(runs[0], beside=lambda folders: runs)
    return Curves(runs=tuple(run.title for run in runs[1:])).look(first)


def test_several_runs_have_a_colour_a_region_and_a_name_each() -> None:
    runs = made("a", "overfitting", 100, None), made("b", "healthy", 100, None), made("c", "underfitting", 100, None)
    view = beside(*runs)
    losses = view.figure.axes[0]
    assert len({line.get_color() for line in losses.lines}) == 3 and len(losses.lines) == 6
    assert [text.get_text() for text in view.figure.legends[0].get_texts()] == ["a", "b", "c"]
    assert view.words.startswith("a: overfitting from epoch ") and "b: healthy; c: underfitting." in view.words
    assert "b has the lowest validation loss" in view.words
    for run in runs:
        own = [row["loss"] for row in run.history if row["split"] == "val"]
        np.testing.assert_array_equal(view[f"{run.title}/val/loss"], own)
    assert "learning_curve" not in view.numbers
    assert len(view.figure.axes) == 3  # losses, regions, the measure


def test_runs_on_several_numbers_of_images_make_a_learning_curve() -> None:
    view = beside(
        made("large", "healthy", 800, 0.97), made("small", "overfitting", 50, 0.91), made("new", "healthy", 200, None)
    )
    np.testing.assert_allclose(view["learning_curve"], [[50, 0.91, 0.9, 1.0], [800, 0.97, 0.9, 1.0]])
    assert view["learning_curve_run"].tolist() == ["small", "large"]
    assert "From 50 to 800 training images accuracy on test went from 0.91 to 0.97." in view.words
    assert "Not evaluated, so not on the learning curve: new." in view.words
    assert view.figure.axes[-1].get_xscale() == "log"


def test_runs_beside_a_run_are_read_from_their_folders(tmp_path: Path) -> None:
    made_runs = [
        train("classify", "digits", "mlp", tmp_path / f"limit={n}", epochs=3, limit=n, hidden=(8,), batch_size=16,
              device="cpu", progress=False)
        for n in (32, 128)
    ]  # fmt: skip
    for run in made_runs:
        evaluate(run, baselines=False)
    view = look(made_runs[0], "curves", runs=(str(made_runs[1].path), str(made_runs[0].path)))
    assert view["learning_curve"][:, 0].tolist() == [32, 128]
    assert view["learning_curve_run"].tolist() == ["limit=32", "limit=128"]
    accuracy = [run.metrics["model"]["accuracy"]["value"] for run in made_runs if run.metrics]
    np.testing.assert_allclose(view["learning_curve"][:, 1], accuracy)
    with pytest.raises(RunError, match="no run"):
        look(made_runs[0], "curves", runs=(str(tmp_path / "none"),))


def test_runs_stand_beside_a_run_only() -> None:
    with pytest.raises(UsageError, match="can only be compared with a run"):
        Curves(runs=("other",)).look(TrainingLog(history=rows(levelling)))


def clustering() -> list[dict[str, Any]]:
    """A training loss of ten times a contrast and then clusters beside the reconstruction, which is all that validation has."""
    rows: list[dict[str, Any]] = []
    for epoch in range(1, 9):
        error = 0.3 + 0.5 / epoch
        part = {"contrast": 4.0} if epoch < 5 else {"clusters": 0.2}
        loss = error + 10 * sum(part.values())
        rows.append({"step": epoch, "epoch": epoch, "split": "train", "loss": loss, "reconstruction": error, **part,
                     "learning_rate": 1e-3, "seconds": epoch})  # fmt: skip
        rows.append({"step": epoch, "epoch": epoch, "split": "val", "loss": error + 0.01, "reconstruction": error + 0.01,
                     "accuracy": epoch / 10, "learning_rate": 1e-3, "seconds": epoch})  # fmt: skip
    return rows


def test_losses_of_other_parts_are_not_compared() -> None:
    """The gap is that of the part which both have; the numbers keep the loss as it was lowered, and the picture says it."""
    rows = clustering()
    view = Curves().look(TrainingLog(rows))
    assert view["gap"] == pytest.approx(0.01)
    assert view["train/loss"].tolist() == [row["loss"] for row in rows if row["split"] == "train"]
    assert view.words.endswith(" Losses are without contrast, clusters, which only the training has.")
    assert view.figure is not None
    assert view.figure.axes[0].get_title() == "loss without contrast, clusters"
    drawn = [line.get_ydata()[-1] for line in view.figure.axes[0].get_lines()]
    assert drawn == pytest.approx([0.3625, 0.3725])


def test_parts_that_add_up_on_both_sides_are_left_alone() -> None:
    both = [{**row, "loss": row["reconstruction"]} for row in clustering()]  # what else is logged is in no loss
    assert comparable(both) == (both, [])
    same = [{name: value for name, value in row.items() if name not in ("contrast", "clusters")} for row in both]
    assert comparable(same) == (same, [])
    other = [{**row, "loss": row["loss"] + 1} for row in clustering()]  # validation has more than its parts, too
    assert comparable(other) == (other, [])
    played = [{**row, "critic/loss": 1.0} if row["split"] == "train" else row for row in clustering()]
    assert comparable(played) == (played, [])
    alone = [row for row in clustering() if row["split"] == "train"]
    assert comparable(alone) == (alone, [])
