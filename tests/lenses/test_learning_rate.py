# SPDX-License-Identifier: Apache-2.0
"""The range test against closed forms: descent on quadratics, whose rates of divergence are known."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pellucid.errors import UsageError
from pellucid.lenses import Labelled, Network, Training, Trial
from pellucid.lenses.learning_rate import LearningRate
from pellucid.lenses.learning_rate.range import Running, both_ways, limit, read
from pellucid.looking import subjects
from pellucid.looking.looking import look
from pellucid.training.training import train


def unused(model: nn.Module, batch: Labelled) -> Tensor:
    raise AssertionError("the range test takes the losses of the steps")


def descent(curvature: Tensor, start: Tensor, rate: float = 0.1, noise: float = 0.0) -> Callable[[], Trial]:
    """Trials of plain gradient descent on ½xᵀAx by torch's own SGD."""

    def begin() -> Trial:
        x = nn.Parameter(start.clone())
        optimizer = torch.optim.SGD([x], lr=1.0)
        dice = torch.Generator().manual_seed(0)

        def step(rate: float) -> float:
            loss = 0.5 * x @ curvature @ x
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.param_groups[0]["lr"] = rate
            optimizer.step()
            return float(loss.detach()) + noise * float(torch.randn((), generator=dice))

        return Trial(nn.Identity(), rate, 100, step)

    return begin


def test_the_losses_are_those_of_the_closed_form() -> None:
    curvature = 5.0
    begin = descent(torch.tensor([[curvature]], dtype=torch.float64), torch.tensor([3.0], dtype=torch.float64))
    view = LearningRate(1e-4, 20.0, steps=53, averaging=0.0).look(Training(begin, unused))
    rates = np.geomspace(1e-4, 20.0, 53)[: len(view["rate"])]
    np.testing.assert_allclose(view["rate"], rates)
    expected = 0.5 * curvature * 9 * np.cumprod((1 - curvature * rates) ** 2)
    np.testing.assert_allclose(view["loss"], expected, rtol=1e-9)
    # a step lowers the loss just if its rate is below 2/λ
    assert view["lowest_at"] == rates[rates < 2 / curvature].max()
    assert 2 / curvature < view["diverged_at"] == view["rate"][-1] < 20
    assert view["falls_from"] < view["suggested"] < view["lowest_at"]


def test_the_steepest_curvature_decides_where_least_squares_diverge() -> None:
    dice = np.random.default_rng(0)
    inputs = dice.standard_normal((40, 6)) * np.array([4.0, 2, 1, 1, 0.5, 0.2])
    hessian = inputs.T @ inputs / len(inputs)
    curvatures, directions = np.linalg.eigh(hessian)
    begin = descent(torch.from_numpy(hessian), torch.from_numpy(directions[:, -1].copy()))
    view = LearningRate(1e-4, 50.0, steps=60, averaging=0.0).look(Training(begin, unused))
    assert view["lowest_at"] == view["rate"][view["rate"] < 2 / curvatures[-1]].max()
    assert view["diverged_at"] > 2 / curvatures[-1]


@pytest.mark.parametrize("averaging", [0.5, 0.8, 0.95])
def test_smoothing_moves_no_rate_by_much(averaging: float) -> None:
    begin = descent(torch.diag(torch.tensor([1.0, 0.3, 0.1])), torch.ones(3), noise=0.002)
    plain = LearningRate(1e-4, 100.0, steps=200, averaging=0.0).look(
        Training(descent(torch.diag(torch.tensor([1.0, 0.3, 0.1])), torch.ones(3)), unused)
    )
    smooth = LearningRate(1e-4, 100.0, steps=200, averaging=averaging).look(Training(begin, unused))
    # one to the past alone would move it by 1/(1 − 0.95) steps of 7 %, a factor of 3.8
    assert abs(math.log(smooth["suggested"] / plain["suggested"])) < math.log(1.7)


def test_running_means_are_weighted_means() -> None:
    values = np.random.default_rng(1).standard_normal(30)
    mean = Running(0.7)
    for count, value in enumerate(values, 1):
        weights = 0.7 ** np.arange(count)[::-1]
        assert mean.add(float(value)) == pytest.approx(np.average(values[:count], weights=weights))
    line = np.linspace(3.0, 5.0, 201)
    np.testing.assert_allclose(both_ways(line, 0.8)[60:-60], line[60:-60], atol=1e-5)
    np.testing.assert_allclose(both_ways(np.full(9, 2.5), 0.9), 2.5)
    np.testing.assert_allclose(both_ways(values[::-1], 0.8), both_ways(values, 0.8)[::-1])
    np.testing.assert_array_equal(both_ways(values, 0.0), values)


def test_negative_losses_have_a_limit_too() -> None:
    assert limit(-3.0, -1.0, 4.0) == 6.0
    assert limit(0.0, 2.0, 4.0) == 2.0


@pytest.mark.parametrize("end", [math.nan, math.inf, 1e30])
def test_a_loss_that_is_no_number_ends_the_test(end: float) -> None:
    losses = iter([2.0] * 10 + [1.9, 1.5, 1.0, 0.8, 0.9, end])
    view = LearningRate(1e-5, 1.0, steps=40).look(
        Training(lambda: Trial(nn.Identity(), 1e-3, 9, lambda rate: next(losses)), unused)
    )
    assert len(view["rate"]) == 15
    assert view["diverged_at"] == view["rate"][14]
    assert view["lowest_at"] in view["rate"][11:14]
    assert np.isfinite(view["smoothed_loss"]).all() and not np.isinf(view["loss"]).any()
    assert "where it diverges" in view.words


def test_single_losses_that_leap_up_do_not_hide_the_fall() -> None:
    rates = np.logspace(-6, -2, 41)
    losses = 1.0 - 0.6 / (1 + np.exp(-6 * (np.log10(rates) + 3.5)))
    plain = read(rates, losses, 1.0, 0.8, diverged=False)
    leaping = losses.copy()
    leaping[[29, 33, 38]] = 50.0, 9.0, 1e6
    curve = read(rates, leaping, 1.0, 0.8, diverged=True)
    assert abs(math.log10(curve.steepest / plain.steepest)) < 0.35
    assert abs(math.log10(curve.begins / plain.begins)) < 0.35
    assert curve.smoothed.max() < 1.1


def test_without_a_fall_nothing_is_suggested() -> None:
    dice = np.random.default_rng(0)
    view = LearningRate(steps=60).look(
        Training(lambda: Trial(nn.Identity(), 1e-3, 9, lambda rate: 2.3 + 0.05 * dice.standard_normal()), unused)
    )
    assert math.isnan(view["suggested"]) and math.isnan(view["lowest_at"])
    assert "No learning rate lowers the loss of 2.31 by more than its noise" in view.words and "--lr" not in view.words


@pytest.mark.parametrize(
    ("own", "said"),
    [
        (1e-7, "below that range: training would be slow"),
        (0.3, "in that range"),
        (3.0, "above that range"),
        (90.0, "where the loss diverges"),
    ],
)
def test_the_recipes_own_rate_is_judged(own: float, said: str) -> None:
    begin = descent(torch.eye(1), torch.ones(1), own)
    view = LearningRate(1e-4, 1e3, steps=73, averaging=0.0).look(Training(begin, unused))
    assert said in view.words
    assert view["recipe_rate"] == own


def test_bounds_that_cut_the_curve_off_are_said() -> None:
    begin = descent(torch.eye(1), torch.ones(1))
    short = LearningRate(0.2, 0.9, steps=20, averaging=0.0).look(Training(begin, unused)).words
    assert "try --lowest-rate 0.002" in short and "try --highest-rate 90" in short


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"lowest_rate": 0.0}, "lowest_rate=0: must lie above 0"),
        ({"lowest_rate": 2.0, "highest_rate": 1.0}, "below highest_rate=1"),
        ({"highest_rate": math.inf}, "highest_rate=inf"),
        ({"steps": 9}, "steps=9: must be at least 10"),
        ({"averaging": 1.0}, "averaging=1: must be at least 0 and below 1"),
        ({"diverged": 1.0}, "diverged=1: must be above 1"),
    ],
)
def test_refusals(options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        LearningRate(**options)


def test_what_it_cannot_test_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="needs a training that can begin"):
        look(nn.Identity(), "learning_rate", np.zeros((4, 4)), tmp_path / "out")
    with pytest.raises(UsageError, match="discriminator and generator are trained against each other"):
        look("generate", "learning_rate", out=tmp_path / "out", data="digits", model="gan", limit=32, device="cpu")
    assert not (tmp_path / "out").exists()
    with pytest.raises(UsageError, match="the untrained model's loss is nan"):
        LearningRate().look(Training(lambda: Trial(nn.Identity(), 0.1, 9, lambda rate: math.nan), unused))


# -- trainings


OPTIONS: dict[str, Any] = {"hidden": (16,), "batch_size": 64, "limit": 320, "device": "cpu", "seed": 5}


def test_a_range_test_is_reproducible_and_leaves_the_model_alone(tmp_path: Path) -> None:
    with subjects.of_training("classify", "digits", "mlp", OPTIONS) as subject:
        network = subject.part(Network)
        assert network is not None
        before = {name: value.clone() for name, value in network.model.state_dict().items()}
        state = torch.random.get_rng_state()
        views = [subject.look(LearningRate(1e-5, 10, steps=40)) for _ in range(2)]
        assert torch.equal(state, torch.random.get_rng_state())
        assert all(torch.equal(value, before[name]) for name, value in network.model.state_dict().items())
    for name, values in views[0].numbers.items():
        np.testing.assert_array_equal(values, views[1][name])
    assert 1e-4 < views[0]["suggested"] < 0.3
    assert views[0]["lowest_at"] > views[0]["suggested"]
    seen = look(
        "classify", "learning_rate", out=tmp_path, data="digits", model="mlp", lowest_rate=1e-5, steps=40, **OPTIONS
    )
    np.testing.assert_array_equal(seen["loss"], views[0]["loss"])


def test_a_runs_own_training_begins_anew(tmp_path: Path) -> None:
    """The steps of the trial, at the recipe's rates, are those that the run took."""
    run = train("classify", "digits", "mlp", tmp_path / "run", epochs=2, progress=False, **OPTIONS)
    subject = subjects.of_run(run)
    network, training = subject.part(Network), subject.part(Training)
    assert network is not None and training is not None and training.begun
    state = torch.random.get_rng_state()
    trial = training.start()
    assert torch.equal(state, torch.random.get_rng_state())
    start = network.untrained(seed=5).state_dict()
    for name, value in trial.model.state_dict().items():
        torch.testing.assert_close(value, start[name], rtol=0, atol=0)
    rows = [row for row in run.history if row["split"] == "train"]
    assert len(rows) == trial.steps == 10
    for row in rows:
        assert trial.step(row["learning_rate"]) == pytest.approx(row["loss"], rel=1e-5)
    last = run.model("last").state_dict()
    for name, value in trial.model.state_dict().items():
        torch.testing.assert_close(value, last[name])
    assert "Suggested: --lr" in look(run, "learning_rate", steps=40, lowest_rate=1e-5).words
    assert (run.figures / "learning_rate.png").exists()


def test_curves_are_read_as_they_are_told() -> None:
    rates = np.logspace(-5, 1, 61)
    falling = 2.0 - 1.5 / (1 + np.exp(-4 * (np.log10(rates) + 2)))  # steepest at 10⁻²
    curve = read(rates, falling + 100 * np.maximum(0, np.log10(rates)) ** 2, 2.0, 0.0, diverged=False)
    assert curve.steepest == pytest.approx(1e-2)
    assert curve.lowest == pytest.approx(1.0, rel=0.3)
    assert math.isnan(curve.diverged)
    # a fifth of the fall: where the logistic curve is at 0.2
    assert curve.begins == pytest.approx(10 ** (-2 + math.log(0.2 / 0.8) / 4), rel=0.35)
