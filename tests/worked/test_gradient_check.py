# SPDX-License-Identifier: Apache-2.0
"""The gradient check: it finds each of three faults planted in a network, and finds none in 200 that are right."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import pytest

from pellucid.errors import DataError, UsageError
from pellucid.worked.network.gradient_check import GradientReport, check_gradient, check_network
from pellucid.worked.network.network import Network

Arrays = dict[str, np.ndarray]
SMOOTH, KINKED = ("identity", "sigmoid", "tanh"), ("relu", "leaky_relu")


def pooled_network(
    x: np.ndarray, y: np.ndarray, fault: str = ""
) -> Callable[[Arrays], tuple[float, Mapping[str, np.ndarray]]]:
    """Dense with ReLU, max-pooling of neighbours, dense with sigmoid, squared error; and its gradient, right or with a fault."""

    def function(p: Arrays) -> tuple[float, Mapping[str, np.ndarray]]:
        z = x @ p["W_1"] + p["b_1"]
        a = np.maximum(z, 0)
        pairs = a.reshape(len(x), -1, 2)
        pooled = pairs.max(axis=2)
        s = 1 / (1 + np.exp(-(pooled @ p["W_2"] + p["b_2"])))
        value = float(np.square(s - y).sum())
        delta = 2 * (s - y) * (1 if fault == "sigmoid" else s * (1 - s))
        back = delta @ p["W_2"].T
        first = pairs.argmax(axis=2)
        if fault == "pooling":  # the gradient goes to the other of the two
            first = 1 - first
        routed = np.zeros_like(pairs)
        np.put_along_axis(routed, first[:, :, None], back[:, :, None], axis=2)
        delta_1 = routed.reshape(len(x), -1) * (1 if fault == "relu" else z > 0)
        gradient = {"W_1": x.T @ delta_1, "b_1": delta_1.sum(0), "W_2": pooled.T @ delta, "b_2": delta.sum(0)}
        if fault == "one entry":
            gradient["W_1"][2, 5] += 0.01
        return value, gradient

    return function


def example(seed: int = 0) -> tuple[np.ndarray, np.ndarray, Arrays]:
    random = np.random.default_rng(seed)
    x, y = random.standard_normal((4, 5)), random.random((4, 3))
    shapes = {"W_1": (5, 8), "b_1": (8,), "W_2": (4, 3), "b_2": (3,)}
    return x, y, {name: 0.7 * random.standard_normal(shape) for name, shape in shapes.items()}


def test_the_right_gradient_is_right() -> None:
    x, y, parameters = example()
    report = check_gradient(pooled_network(x, y), parameters, entries=None)
    assert report.verdict == "right"
    assert max(finding.error for finding in report.findings) < 1e-6
    assert [finding.checked for finding in report.findings] == [40, 8, 12, 3]


@pytest.mark.parametrize(
    ("fault", "named"),
    [
        ("sigmoid", {"W_1", "b_1", "W_2", "b_2"}),
        ("pooling", {"W_1", "b_1"}),
        ("relu", {"W_1", "b_1"}),
        ("one entry", {"W_1"}),
    ],
)
def test_a_bug_is_named_with_its_parameter(fault: str, named: set[str]) -> None:
    x, y, parameters = example()
    report = check_gradient(pooled_network(x, y, fault), parameters, entries=None)
    assert report.verdict == "bug"
    assert set(report.bugs) == named


def test_a_bug_in_an_entry_that_was_not_drawn_is_found_along_a_line() -> None:
    x, y, parameters = example()
    report = check_gradient(pooled_network(x, y, "one entry"), parameters, entries=3, seed=1)
    assert report.bugs == ["W_1"]
    assert "entries=None" in report.findings[0].sentence


@pytest.mark.parametrize("distance", [0.0, 1e-9, 1e-7, 2e-6])
@pytest.mark.parametrize("place", ["relu", "pooling"])
def test_a_kink_is_told_from_a_bug(place: str, distance: float) -> None:
    x, y, parameters = example()
    x = x[:1]
    y = y[:1]
    z = x @ parameters["W_1"] + parameters["b_1"]
    active = int(np.flatnonzero(z[0] > 0)[0])
    other = active ^ 1
    if place == "relu":
        parameters["b_1"][other] -= 5.0  # the partner is silent: the unit alone speaks
        parameters["b_1"][active] -= z[0, active] - distance
    else:
        parameters["b_1"][other] += z[0, active] - z[0, other] - distance
    kinked = check_gradient(pooled_network(x, y), parameters, entries=None)
    assert kinked.verdict == "kink", str(kinked)
    assert {f.parameter for f in kinked.findings if f.verdict == "kink"} == {"W_1", "b_1"}
    assert not kinked.bugs
    wrong = check_gradient(pooled_network(x, y, "sigmoid"), parameters, entries=None)
    assert {"W_2", "b_2"} <= set(wrong.bugs)  # the bug is found although there is a kink


@pytest.mark.parametrize("step", [1e-15, 1e-13, 1e-12])
def test_a_step_too_small_is_called_rounding_and_hides_no_bug(step: float) -> None:
    x, y, parameters = example()
    assert check_gradient(pooled_network(x, y), parameters, step=step, entries=None).verdict == "rounding"
    wrong = check_gradient(pooled_network(x, y, "pooling"), parameters, step=step, entries=None)
    assert set(wrong.bugs) == {"W_1", "b_1"}


def test_a_step_too_large_is_called_curvature() -> None:
    network = Network((3, 4, 2), "tanh", seed=1)
    report = check_network(network, np.eye(3), np.array([0, 1, 0]), step=0.1)
    assert report.verdict == "curvature"


def kinks_within(network: Network, x: np.ndarray, h: float) -> bool:
    """Whether some neuron's input comes near enough to 0 that moving one parameter by h may carry it across."""
    reach = (
        4 * h * (1 + np.abs(x).max()) * (1 + max(float(np.abs(layer.W).max()) for layer in network.layers)) ** 4 * 10
    )
    near = False
    a = x
    for layer in network.layers[:-1]:
        z = a @ layer.W + layer.b
        near |= layer.f.name in KINKED and bool(np.abs(z).min() < reach)
        a = layer.f.apply(z.copy())
    return near


def test_no_false_alarm_in_200_random_correct_networks() -> None:
    random = np.random.default_rng(11)
    verdicts: list[str] = []
    for number in range(200):
        widths = (*random.integers(1, 6, random.integers(2, 5)).tolist(), int(random.integers(2, 5)))
        names = random.choice([*SMOOTH, *KINKED], len(widths) - 2).tolist()
        loss = str(random.choice(["cross_entropy", "binary_cross_entropy", "squared_error"]))
        network = Network(widths, names, loss=loss, seed=number)
        n = int(random.integers(1, 5))
        x = random.standard_normal((n, widths[0]))
        outputs = {"cross_entropy": random.integers(0, widths[-1], n), "squared_error": random.random((n, widths[-1]))}
        target = outputs.get(loss, random.integers(0, 2, (n, widths[-1])))
        if number % 4:  # a quarter keeps biases of 0, where whole layers may sit on the kink
            for layer in network.layers:
                layer.b += 0.3 * random.standard_normal(layer.b.shape)
        report = check_network(network, x, target, entries=6, seed=number)
        assert report.verdict in ("right", "kink"), f"network {number}, {widths}, {names}, {loss}:\n{report}"
        if report.verdict == "kink":
            assert kinks_within(network, x, 1e-5), f"network {number}:\n{report}"
        verdicts.append(report.verdict)
    assert verdicts.count("right") > 170


def test_single_precision_has_its_own_tolerance() -> None:
    random = np.random.default_rng(0)
    x, target = random.standard_normal((8, 20)).astype(np.float32), random.integers(0, 3, 8)
    network = Network((20, 10, 3), "tanh", dtype=np.float32)
    assert check_network(network, x, target).verdict == "right"
    assert check_network(network, x, target, step=1e-6).verdict == "rounding"


def test_the_network_is_left_as_it_was() -> None:
    network = Network((3, 4, 2), "relu", seed=5)
    before = {name: value.copy() for name, value in network.parameters.items()}
    check_network(network, np.eye(3), np.array([0, 1, 0]))
    assert all((network.parameters[name] == value).all() for name, value in before.items())


def test_a_common_pattern_is_named() -> None:
    def off(factor: float) -> GradientReport:
        return check_gradient(
            lambda p: (float((p["w"] ** 3).sum()), {"w": factor * 3 * p["w"] ** 2}), {"w": np.arange(1.0, 5)}
        )

    assert "every entry has the wrong sign" in off(-1).findings[0].sentence
    assert "every entry is off by the factor 2" in off(0.5).findings[0].sentence
    assert "the gradient is 0 and should not be" in off(0).findings[0].sentence


def test_the_report_is_a_table() -> None:
    x, y, parameters = example()
    lines = str(check_gradient(pooled_network(x, y, "pooling"), parameters)).splitlines()
    assert lines[0].split() == ["parameter", "verdict", "largest", "relative", "error", "checked"]
    assert [line.split()[:2] for line in lines[1:5]] == [
        ["W_1", "bug"],
        ["b_1", "bug"],
        ["W_2", "right"],
        ["b_2", "right"],
    ]
    assert lines[5].startswith("W_1: bug: at ")


@pytest.mark.parametrize(
    ("function", "parameters", "options", "error", "words"),
    [
        (lambda p: (0.0, {}), {"w": np.ones(2)}, {}, DataError, "lacks 'w'"),
        (lambda p: (0.0, {"w": np.ones(3)}), {"w": np.ones(2)}, {}, DataError, "shape=(3,)"),
        (lambda p: (0.0, {"w": np.ones(2)}), {"w": np.ones(2, int)}, {}, DataError, "needs float"),
        (lambda p: (0.0, {}), {}, {}, DataError, "nothing to check"),
        (lambda p: (0.0, {}), {"w": np.ones(2)}, {"step": -1}, UsageError, "step=-1"),
        (lambda p: (0.0, {}), {"w": np.ones(2)}, {"entries": 0}, UsageError, "entries=0"),
    ],
)
def test_mistakes_are_named(
    function: object, parameters: Arrays, options: dict[str, float], error: type[Exception], words: str
) -> None:
    with pytest.raises(error) as found:
        check_gradient(function, parameters, **options)
    assert words in str(found.value)
