# SPDX-License-Identifier: Apache-2.0
"""Sizes of activations and gradients: exact on networks whose sizes are known in closed form, and what is said of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pellucid.lenses import Labelled, Trial
from pellucid.lenses.flow.moments import Probe, follow
from pellucid.lenses.flow.rules import DEAD, RANGE, in_words, ratio, read, remedies
from pellucid.lenses.flow.sizes import Profile, measured, prepared


def chain(weights: Sequence[float], activation: Callable[[], nn.Module] = nn.Identity) -> nn.Sequential:
    """One unit a layer, without biases."""
    layers: list[nn.Module] = []
    for weight in weights:
        layer = nn.Linear(1, 1, bias=False)
        nn.init.constant_(layer.weight, weight)
        layers += [layer, activation()]
    return nn.Sequential(*layers[:-1])


def sizes(model: nn.Module, images: Tensor, loss: Callable[[Tensor], Tensor] = Tensor.mean) -> Profile:
    return measured(prepared(model), [images], lambda net, batch: loss(net(batch)))  # type: ignore[list-item]


# -- exact sizes


def test_a_linear_chain_has_the_products_of_its_weights() -> None:
    """a_l = w₁…w_l x, and ∂L/∂a_l = w_{l+1}…w_n; the gradient of w_l is a_{l-1} ∂L/∂a_l, in the mean over the images."""
    weights, x = [2.0, -0.5, 3.0, 0.25], torch.tensor([[1.0], [3.0]])
    found = sizes(chain(weights), x)
    root = math.sqrt(5)  # of the mean of 1 and 9
    np.testing.assert_allclose(found.activation, [2 * root, root, 3 * root, 0.75 * root], rtol=1e-6)
    np.testing.assert_allclose(found.gradient, [0.375, 0.75, 0.25, 1], rtol=1e-6)
    np.testing.assert_allclose(found.weight_gradient, [2 * 0.375, 4 * 0.75, 2 * 0.25, 6 * 1], rtol=1e-6)
    np.testing.assert_allclose(found.weight, np.abs(weights), rtol=1e-6)
    assert found.loss == pytest.approx(-0.75 * 2) and found.depth.tolist() == [1, 2, 3, 4]


def test_a_sigmoid_chain_passes_a_quarter_at_most() -> None:
    """σ' ≤ 1/4, with equality at 0: weights of 1 without input before a zero stay at the bound in the first layer alone."""
    found = sizes(chain([1.0] * 7, nn.Sigmoid), torch.zeros(3, 1))
    a = [0.5]
    for _ in range(5):
        a.append(1 / (1 + math.exp(-a[-1])))
    expected = [math.prod(one * (1 - one) for one in a[k + 1 :]) for k in range(6)]
    np.testing.assert_allclose(found.gradient[:6], expected, rtol=1e-5)
    np.testing.assert_allclose(found.activation[:6], a, rtol=1e-6)
    assert (found.gradient[:-2] / found.gradient[1:-1]).max() <= 0.25
    reading = read(found)
    assert reading.faults == ("vanishing",) and reading.gradient <= 0.25**5
    assert "a sigmoid passes on at most a quarter" in remedies(found, reading, fresh=True)


@pytest.mark.parametrize(("weight", "what"), [(3.0, "exploding"), (0.3, "vanishing"), (1.0, None)])
def test_a_chain_of_equal_weights_is_named(weight: float, what: str | None) -> None:
    found = sizes(chain([weight] * 7), torch.ones(2, 1))
    reading = read(found)
    assert reading.gradient == pytest.approx(weight**5, rel=1e-5)
    assert reading.faults[:1] == (() if what is None else (what,))
    assert f"times {weight:.2g} a layer" in in_words(reading)


def test_dead_units_are_counted_exactly() -> None:
    net = nn.Sequential(nn.Conv2d(1, 6, 3), nn.ReLU(), nn.Flatten(), nn.Linear(6 * 16, 9), nn.ReLU(), nn.Linear(9, 2))
    with torch.no_grad():
        for layer, dead in ((net[0], [1, 4]), (net[3], [0, 2, 3, 8])):
            layer.weight.abs_()  # type: ignore[union-attr,operator]
            layer.bias.fill_(0.1)  # type: ignore[union-attr,operator]
            layer.bias[dead] = -1000.0  # type: ignore[index]
    found = sizes(net, torch.rand(5, 1, 6, 6))
    assert found.units.tolist() == [6, 9, 0] and found.dead.tolist() == [2, 4, 0]
    np.testing.assert_allclose(found.silent[:2], [2 / 6, 4 / 9])
    reading = read(found)
    assert (reading.dead, reading.units) == (6, 15) and "dead units" in reading.faults
    assert "6 of 15 ReLU units dead" in in_words(reading) and "leaky ReLU" in remedies(found, reading, fresh=True)


def test_a_unit_that_one_image_wakes_is_not_dead() -> None:
    net = nn.Sequential(nn.Linear(2, 2, bias=False), nn.ReLU(), nn.Linear(2, 1))
    nn.init.eye_(net[0].weight)  # type: ignore[arg-type]
    asleep, awake = torch.tensor([[1.0, -1.0]] * 3), torch.tensor([[1.0, 2.0]])
    assert sizes(net, asleep).dead.tolist() == [1, 0]
    both = measured(net, [asleep, awake], lambda model, batch: model(batch).mean())  # type: ignore[list-item]
    assert both.dead.tolist() == [0, 0] and both.silent[0] == 3 / 8


@pytest.mark.parametrize(("kind", "edge"), [(nn.Sigmoid, 3.6369), (nn.Tanh, 1.8184)])
def test_a_unit_is_saturated_below_a_tenth_of_its_steepest_slope(kind: type[nn.Module], edge: float) -> None:
    """4σ(z)(1 − σ(z)) = 0.1 at z = 2 artanh √0.9, and 1 − tanh² z = 0.1 at half of it."""
    net = nn.Sequential(nn.Linear(1, 4), kind(), nn.Linear(4, 1))
    with torch.no_grad():
        net[0].weight.zero_()  # type: ignore[operator,union-attr]
        net[0].bias.copy_(torch.tensor([0.0, edge - 0.001, edge + 0.001, -edge - 0.001]))  # type: ignore[operator,union-attr]
    found = sizes(net, torch.zeros(2, 1))
    reading = read(found)
    assert (reading.saturated, reading.saturable, reading.units) == (2, 4, 0) and "saturated units" in reading.faults


# -- how a network is written does not matter


class Written(nn.Module):
    """A shortcut, a projection beside it, a nonlinearity that is used three times, and one inside a function."""

    def __init__(self, functional: bool, inplace: bool = False) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.one, self.two, self.three = (
            nn.Conv2d(1, 4, 3),
            nn.Conv2d(4, 6, 3, padding=1),
            nn.Conv2d(6, 6, 3, padding=1),
        )
        self.beside, self.head = nn.Conv2d(4, 6, 1), nn.Linear(6, 3)
        self.relu = nn.ReLU(inplace)
        self.act: Any = F.relu if functional else self.relu

    def forward(self, x: Tensor) -> Tensor:
        x = self.act(self.one(x))
        y = self.three(self.act(self.two(x)))
        y += self.beside(x)
        return self.head(self.act(y).mean((2, 3)))


def test_modules_functions_and_reuse_are_seen_alike() -> None:
    images = torch.randn(4, 1, 7, 7)
    found = [sizes(Written(*how), images) for how in ((False,), (True,), (False, True))]
    first = found[0]
    assert first.names == ("one", "two", "three", "beside", "head")
    assert first.nonlinear == ("relu", "relu", "relu", "", "")  # the block's answer belongs to its deepest layer
    assert first.depth.tolist() == [1, 2, 3, 2, 4] and first.path.tolist() == [True, True, True, False, True]
    assert first.shortcut and not first.norm
    for other in found[1:]:
        np.testing.assert_allclose(other.gradient, first.gradient, rtol=1e-6)
        np.testing.assert_allclose(other.activation, first.activation, rtol=1e-6)
        assert other.nonlinear == first.nonlinear


def test_gradients_are_autograds_and_do_not_depend_on_the_batches() -> None:
    model, images = Written(functional=True), torch.randn(8, 1, 7, 7)
    truth = torch.arange(8) % 3

    def loss(net: nn.Module, places: Any) -> Tensor:
        return F.cross_entropy(net(images[places]), truth[places])

    whole, parts = (measured(model, cut, loss) for cut in ([range(8)], [range(2), range(2, 5), range(5, 8)]))
    for size in ("activation", "gradient", "weight_gradient", "silent"):
        np.testing.assert_allclose(getattr(parts, size), getattr(whole, size), rtol=1e-5)
    assert parts.loss == pytest.approx(whole.loss)
    hidden = model.one(images).relu()
    answer = model.three(model.two(hidden).relu()) + model.beside(hidden)
    mean = F.cross_entropy(model.head(answer.relu().mean((2, 3))), truth)
    slope = 8 * torch.autograd.grad(mean, hidden)[0]  # of each image's own loss
    assert whole.gradient[0] == pytest.approx(float(slope.square().mean().sqrt()), rel=1e-5)


def test_batch_norm_takes_the_batchs_statistics_and_dropout_is_left_out() -> None:
    net = nn.Sequential(nn.Linear(3, 5), nn.BatchNorm1d(5), nn.ReLU(), nn.Dropout(0.9), nn.Linear(5, 2))
    images = 100 * torch.randn(64, 3)
    found = sizes(net, images)
    assert found.norm and found.nonlinear == ("relu", "")
    with torch.no_grad():
        z = net[0](images)
        expected = ((z - z.mean(0)) / (z.var(0, unbiased=False) + 1e-5).sqrt()).relu()
    assert found.activation[0] == pytest.approx(float(expected.square().mean().sqrt()), rel=1e-5)
    frozen = nn.Sequential(nn.Linear(3, 5), nn.BatchNorm1d(5).requires_grad_(False), nn.ReLU(), nn.Linear(5, 2))
    assert not prepared(frozen)[1].training  # type: ignore[index]


def test_relu6_is_known_by_what_torch_calls_it() -> None:
    net = nn.Sequential(nn.Linear(1, 3), nn.ReLU6(), nn.Linear(3, 1))
    with torch.no_grad():
        net[0].weight.zero_()  # type: ignore[operator,union-attr]
        net[0].bias.copy_(torch.tensor([-1.0, 3.0, 9.0]))  # type: ignore[operator,union-attr]
    found = sizes(net, torch.zeros(2, 1))
    assert found.nonlinear[0] == "relu6" and found.dead[0] == 2


def test_a_density_of_the_codes_is_no_nonlinearity_and_a_pooled_map_is_the_layers() -> None:
    class Coded(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two, self.head = nn.Conv2d(1, 3, 3), nn.Conv2d(3, 4, 3), nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Tensor:
            codes = self.two(F.max_pool2d(self.one(x), 2).relu())
            return self.head(codes.mean((2, 3))) + torch.sigmoid(1 - codes.abs()).mean()

    assert sizes(Coded(), torch.rand(2, 1, 10, 10)).nonlinear == ("relu", "", "")


# -- what is said


def profile(gradient: Sequence[float], activation: Sequence[float] | None = None, **more: Any) -> Profile:
    """Layers with these sizes, of which the last is the network's answer."""
    n = len(gradient)
    given: dict[str, Any] = {
        "names": tuple(f"layer{i}" for i in range(n)),
        "nonlinear": (*["relu"] * (n - 1), ""),
        "depth": np.arange(1, n + 1),
        "path": np.ones(n, bool),
        "activation": np.array(activation or [1.0] * n),
        "gradient": np.array(gradient),
        "units": np.array([*[100] * (n - 1), 0]),
        "dead": np.zeros(n, np.int64),
        **{size: np.ones(n) for size in ("weight", "weight_gradient", "silent")},
        "gain": np.full(n, 2**0.5),
        "loss": 1.0,
        "norm": False,
        "shortcut": False,
    }
    return Profile(**{**given, **more})


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        (profile([1.01 / RANGE, 1, 1]), ()),
        (profile([0.99 / RANGE, 1, 1]), ("vanishing",)),
        (profile([0.99 * RANGE, 1, 1]), ()),
        (profile([1.01 * RANGE, 1, 1]), ("exploding",)),
        (profile([0.0, 0.0, 1]), ("vanishing",)),
        (profile([1, 1, 1], [1, 0.009, 1]), ("fading",)),
        (profile([1, 1, 1], [1, 101, 1]), ("growing",)),
        (profile([1, 1, 1], [1, np.inf, 1]), ("exploding",)),
        (profile([1, 1, 1], loss=float("nan")), ("exploding",)),
        (profile([1, 1, 1], dead=np.array([10, 10, 0])), ()),
        (profile([1, 1, 1], dead=np.array([10, 11, 0])), ("dead units",)),
        (profile([1, 1, 1], units=np.array([900, 10, 0]), dead=np.array([0, 6, 0])), ("dead units",)),
        (profile([1e-9, 1]), ()),  # a single hidden layer
        (profile([0.0, 0.0, 1], weight=np.array([1.0, 1.0, 0.0])), ()),  # as some networks begin
    ],
    ids=str,
)
def test_the_rules_hold_to_their_bounds(made: Profile, expected: tuple[str, ...]) -> None:
    assert DEAD == 0.1
    reading = read(made)
    assert reading.faults == expected
    assert bool(remedies(made, reading, fresh=False)) == bool(expected)


def test_the_advice_knows_what_the_network_has() -> None:
    weak = profile([1e-4, 1e-2, 1, 1], gain=np.full(4, 3**-0.5))
    said = remedies(weak, read(weak), fresh=True)
    assert "He's initialisation (the weights' variance is 0.33/inputs, relu needs 2/inputs)" in said
    assert "batch norm" in said and "shortcuts" in said
    held = profile([1e-4, 1e-2, 1, 1], norm=True, shortcut=True)
    assert remedies(held, read(held), fresh=True) == ""  # none of the remedies that are known is missing
    late = profile([1e3, 1, 1])
    assert "a smaller learning rate" in remedies(late, read(late), fresh=False)
    assert remedies(profile([1, 1, 1]), read(profile([1, 1, 1])), True, update=0.2) == "a smaller learning rate"
    assert [ratio(size) for size in (0.0, 2.5e-4, 1e-9, 0.25, 250.0, 3e8, math.inf)] == [
        "0", "1/4,000", "1.0e-09", "0.25", "250", "3.0e+08", "not finite",
    ]  # fmt: skip


# -- over training


def stepping(rate: float) -> tuple[Trial, Tensor]:
    """Plain gradient descent on the mean of a chain's answers to two images of 1."""
    model, images = chain([1.0, 1.0, 1.0]), torch.ones(2, 1, 1, 1)
    model.insert(0, nn.Flatten())

    def step(own: float) -> float:
        loss = model(images).mean()
        grads = torch.autograd.grad(loss, list(model.parameters()))
        with torch.no_grad():
            for weight, grad in zip(model.parameters(), grads, strict=True):
                weight -= own * grad
        return float(loss.detach())

    return Trial(model, rate, 8, step), images


def test_a_course_is_measured_before_during_and_after() -> None:
    trial, images = stepping(0.1)
    asked = Probe(
        [Labelled(images, None, [], torch.arange(2), None)], lambda net, batch: net(batch.images).mean(), False, 0
    )
    course = follow(trial, 8, 3, asked, lambda items, words: items)
    assert [moment.step for moment in course.moments] == [0, 4, 8]
    w, rates, losses = 1.0, [0.05, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1], []  # the rate rises over the first two steps
    weights = []
    for rate in rates:
        weights.append(w)
        losses.append(w**3)
        w -= rate * w**2
    np.testing.assert_allclose(course.losses, losses, rtol=1e-5)
    for moment, before in zip(course.moments, [1.0, weights[4], w], strict=True):
        np.testing.assert_allclose(moment.profile.gradient, [before**2, before, 1], rtol=1e-5)
    update = course.moments[1].update
    assert update is not None
    np.testing.assert_allclose(update, [0.1 * weights[4]] * 3, rtol=1e-4)  # rate · w² / w


def test_a_loss_that_blows_up_ends_the_course() -> None:
    trial, images = stepping(-1e6)  # uphill
    asked = Probe(
        [Labelled(images, None, [], torch.arange(2), None)], lambda net, batch: net(batch.images).mean(), False, 0
    )
    course = follow(trial, 50, 2, asked, lambda items, words: items)
    assert len(course.losses) < 10 and not np.isfinite(course.losses[-1])
    assert [moment.step for moment in course.moments] == [0, len(course.losses)]
    assert "exploding" in read(course.moments[-1].profile).faults
