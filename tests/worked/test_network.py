# SPDX-License-Identifier: Apache-2.0
"""The dense network in NumPy: gradients and updates against torch, what a training does, what zero weights cannot do."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torch.nn import functional as F
from torch.optim.adam import adam
from torch.optim.sgd import sgd

from pellucid.errors import DataError, UnknownNameError, UsageError
from pellucid.worked.network.activations import ACTIVATIONS
from pellucid.worked.network.network import INITIALISATIONS, Network
from pellucid.worked.network.objectives import OBJECTIVES
from pellucid.worked.network.optimisers import OPTIMISERS
from pellucid.worked.network.pictures import draw_confusion, draw_history, mosaic
from pellucid.worked.network.training import accuracy, confusion, distinct_neurons, train

TORCH = {
    "identity": lambda z: z,
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "relu": torch.relu,
    "leaky_relu": F.leaky_relu,
}


def drawn(random: np.random.Generator) -> tuple[Network, np.ndarray, np.ndarray]:
    """A random network of any kind with a batch for it."""
    widths = tuple(random.integers(1, 7, random.integers(2, 6)).tolist())
    loss = str(random.choice([*OBJECTIVES]))
    names = random.choice([*ACTIVATIONS], len(widths) - 2).tolist()
    output = str(random.choice([*ACTIVATIONS])) if loss == "squared_error" else "identity"
    kind = str(random.choice(INITIALISATIONS[1:]))
    network = Network(widths, names, output=output, loss=loss, initialisation=kind, seed=int(random.integers(1 << 30)))
    for layer in network.layers:
        layer.b += random.standard_normal(layer.b.shape)
    n = int(random.integers(1, 6))
    x = random.standard_normal((n, widths[0]))
    target = {
        "cross_entropy": lambda: random.integers(0, widths[-1], n),
        "binary_cross_entropy": lambda: random.integers(0, 2, (n, widths[-1])),
        "squared_error": lambda: random.standard_normal((n, widths[-1])),
    }[loss]()
    return network, x, target


def torch_loss(network: Network, parameters: list[torch.Tensor], x: np.ndarray, target: np.ndarray) -> torch.Tensor:
    a = torch.from_numpy(x)
    for layer, W, b in zip(network.layers, parameters[::2], parameters[1::2], strict=True):
        a = TORCH[layer.f.name](a @ W + b)
    y = torch.from_numpy(target)
    if network.objective.name == "cross_entropy":
        return F.cross_entropy(a, y)
    if network.objective.name == "binary_cross_entropy":
        return F.binary_cross_entropy_with_logits(a, y.to(a.dtype), reduction="sum") / len(x)
    return (a - y).square().sum() / len(x)


def leaves(network: Network) -> list[torch.Tensor]:
    return [torch.from_numpy(value.copy()).requires_grad_() for value in network.parameters.values()]


def test_gradients_equal_torchs_on_200_random_networks() -> None:
    random = np.random.default_rng(7)
    for _ in range(200):
        network, x, target = drawn(random)
        parameters = leaves(network)
        expected = torch_loss(network, parameters, x, target)
        expected.backward()
        assert network.gradient(x, target) == pytest.approx(expected.item(), rel=1e-10, abs=1e-12)
        assert network.loss(x, target) == pytest.approx(expected.item(), rel=1e-10, abs=1e-12)
        for (name, found), parameter in zip(network.gradients.items(), parameters, strict=True):
            np.testing.assert_allclose(found, parameter.grad, rtol=1e-9, atol=1e-12, err_msg=name)


def test_the_benchmarks_network_has_torchs_gradients_in_float32() -> None:
    network = Network((1024, 64, 36), "relu", dtype=np.float32, seed=3)
    random = np.random.default_rng(3)
    x, target = random.random((32, 1024), dtype=np.float32), random.integers(0, 36, 32)
    parameters = leaves(network)
    torch_loss(network, parameters, x, target).backward()
    network.gradient(x, target)
    for (name, found), parameter in zip(network.gradients.items(), parameters, strict=True):
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, parameter.grad, atol=1e-6, rtol=0, err_msg=name)


@pytest.mark.parametrize("name", OPTIMISERS)
def test_updates_equal_torchs(name: str) -> None:
    network = Network((5, 4, 3), "tanh", seed=1)
    random = np.random.default_rng(1)
    x, target = random.standard_normal((8, 5)), random.integers(0, 3, 8)
    parameters = leaves(network)
    ahead = leaves(network)  # Nesterov written out: the gradient at w + ρv
    speed = [torch.zeros_like(w) for w in ahead]
    zeros = [[torch.zeros_like(w) for w in parameters] for _ in range(2)]
    steps = [torch.zeros(()) for _ in parameters]
    train(network, x, target, epochs=5, batch_size=8, rate=0.1, optimiser=name)
    for _ in range(5):
        if name == "nesterov":
            there = [(w + 0.9 * v).detach().requires_grad_() for w, v in zip(ahead, speed, strict=True)]
            slopes = torch.autograd.grad(torch_loss(network, there, x, target), there)
            speed = [0.9 * v - 0.1 * g for v, g in zip(speed, slopes, strict=True)]
            parameters = ahead = [(w + v).detach() for w, v in zip(ahead, speed, strict=True)]
        else:
            slopes = torch.autograd.grad(torch_loss(network, parameters, x, target), parameters)
            with torch.no_grad():  # the functions beneath torch.optim, whose classes take seconds to load
                if name == "adam":
                    adam(parameters, [*slopes], *zeros, [], steps, foreach=False, amsgrad=False, beta1=0.9, beta2=0.999,
                         lr=0.1, weight_decay=0, eps=1e-8, maximize=False)  # fmt: skip
                else:
                    rho = 0.9 if name == "momentum" else 0
                    sgd(parameters, [*slopes], zeros[0], foreach=False, weight_decay=0, momentum=rho, lr=0.1, dampening=0,
                        nesterov=False, maximize=False)  # fmt: skip
    for found, expected in zip(network.parameters.values(), parameters, strict=True):
        np.testing.assert_allclose(found, expected.detach(), rtol=1e-8, atol=1e-10)


def test_a_far_output_gives_a_finite_loss_and_torchs() -> None:
    network = Network((1, 2), initialisation="zero")
    network.layers[0].W[:] = [[1000.0, -1000.0]]
    assert network.loss(np.ones((1, 1)), np.array([1])) == 2000.0
    binary = Network((1, 1), loss="binary_cross_entropy", initialisation="zero")
    binary.layers[0].W[:] = -1000.0
    assert binary.loss(np.ones((1, 1)), np.array([[1]])) == 1000.0
    assert binary.gradient(np.ones((1, 1)), np.array([[1]])) == 1000.0
    assert binary.gradients["W_1"].tolist() == [[-1.0]]


def test_initialisations_have_their_spread() -> None:
    spread = {"zero": 0.0, "uniform": 1 / np.sqrt(3 * 400), "xavier": np.sqrt(2 / 700), "he": np.sqrt(2 / 400)}
    for name, expected in spread.items():
        W = Network((400, 300), initialisation=name, seed=2).layers[0].W
        assert W.std() == pytest.approx(expected, rel=0.02)
        assert abs(W.mean()) < 0.002
    linear = nn.Linear(400, 300)
    bound = 1 / np.sqrt(400)  # torch's own default for a linear layer has the bound of `uniform`
    assert linear.weight.abs().max() <= bound
    assert np.abs(Network((400, 300), initialisation="uniform").layers[0].W).max() <= bound


def test_zero_weights_stay_alike_and_random_ones_do_not() -> None:
    random = np.random.default_rng(0)
    x = random.standard_normal((60, 4))
    target = (x[:, 0] * x[:, 1] > 0).astype(np.int64)
    alike = Network((4, 16, 2), "sigmoid", initialisation="zero")
    different = Network((4, 16, 2), "sigmoid", initialisation="xavier")
    for network in (alike, different):
        train(network, x, target, epochs=300, batch_size=20, rate=1.0)
    assert distinct_neurons(alike)[0] == 1
    assert np.abs(alike.layers[0].W).max() > 0.01  # it moved, all neurons together
    assert distinct_neurons(different)[0] == 16
    assert accuracy(different, x, target) > 0.9 > accuracy(alike, x, target)


def test_a_training_learns_measures_and_draws(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    pattern = random.random((3, 64))
    target = random.integers(0, 3, 300)
    x = pattern[target] + 0.3 * random.standard_normal((300, 64))
    network = Network((64, 10, 3), "relu", seed=0)
    before = network.layers[0].W.copy()
    history = train(
        network, x[:200], target[:200], epochs=12, optimiser="adam", rate=0.01, held_out=(x[200:], target[200:])
    )
    assert history.loss[-1] < 0.3 * history.loss[0]
    assert history.held_out_accuracy[-1] > 0.9
    assert (history.first_before == before).all()
    assert (history.first_after == network.layers[0].W).all()
    assert len(history.loss) == len(history.accuracy) == len(history.held_out_loss) == 12
    counts = confusion(network, x[200:], target[200:])
    assert counts.sum() == 100
    assert counts.sum(axis=1).tolist() == np.bincount(target[200:], minlength=3).tolist()
    assert np.trace(counts) / 100 == pytest.approx(history.held_out_accuracy[-1])
    for file in (draw_history(history, tmp_path / "network.png"), draw_confusion(counts, tmp_path / "confusion.png")):
        with Image.open(file) as picture:
            assert min(picture.size) > 300


def test_the_same_seed_gives_the_same_training() -> None:
    x, target = np.random.default_rng(0).standard_normal((50, 4)), np.arange(50) % 3
    networks = [Network((4, 5, 3), seed=seed) for seed in (1, 1, 2)]
    losses = [train(network, x, target, epochs=3, seed=4, batch_size=16).loss for network in networks]
    assert losses[0] == losses[1] != losses[2]


def test_a_mosaic_holds_every_neurons_weights() -> None:
    W = np.random.default_rng(0).standard_normal((6, 5))
    grid = mosaic(W, (2, 3))
    assert grid.shape == (2 * 3 - 1, 3 * 4 - 1)
    assert np.sort(grid[np.isfinite(grid)]).tolist() == np.sort(W.ravel()).tolist()
    assert (grid[3:5, :3] == W[:, 3].reshape(2, 3)).all()


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: Network((3,)), UsageError, "widths=(3,)"),
        (lambda: Network((3, 2, 1), "relux"), UnknownNameError, "did you mean 'relu'?"),
        (lambda: Network((3, 2), loss="hinge"), UnknownNameError, "loss='hinge'"),
        (lambda: Network((3, 2, 2), initialisation="xavir"), UnknownNameError, "did you mean 'xavier'?"),
        (lambda: Network((3, 2, 2), ["relu", "tanh"]), UsageError, "has 1 hidden layers"),
        (lambda: Network((3, 2), output="tanh"), UsageError, "includes its own activation"),
        (lambda: Network((3, 2)).loss(np.ones((2, 4)), np.zeros(2, int)), DataError, "needs (n, 3)"),
        (lambda: Network((3, 2)).loss(np.ones((2, 3)), np.zeros(3, int)), DataError, "target.shape=(3,)"),
        (lambda: Network((3, 2)).loss(np.ones((2, 3)), np.zeros(2)), DataError, "give integers"),
        (lambda: Network((3, 2)).loss(np.ones((1, 3)), np.array([2])), DataError, "classes are 0 to 1"),
        (lambda: train(Network((3, 2)), np.ones((2, 3)), np.zeros(2, int), rate=0), UsageError, "rate=0"),
        (lambda: train(Network((3, 2)), np.ones((2, 3)), np.zeros(2, int), epochs=0), UsageError, "epochs=0"),
        (lambda: mosaic(np.ones((7, 2))), UsageError, "7 weights"),
    ],
)
def test_mistakes_are_named(call: object, error: type[Exception], words: str) -> None:
    with pytest.raises(error) as found:
        call()
    assert words in str(found.value)
