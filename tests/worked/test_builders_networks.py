# SPDX-License-Identifier: Apache-2.0
"""Worksheets of networks and layers against torch's autograd on random instances, closed forms, and counting all cases."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from pellucid.worked import Worksheet
from pellucid.worked.builders import builder
from pellucid.worked.builders._gates import Gate
from pellucid.worked.builders.mlp.neurons import EXAMPLE, Neuron

INSTANCES = range(200)
ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "identity": lambda z: z,
    "relu": F.relu,
    "leaky_relu": F.leaky_relu,
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
}
batch_norm, dense, gru, lstm = (builder(name) for name in ("batch_norm", "dense", "gru", "lstm"))
mlp, residual, rnn, softmax = (builder(name) for name in ("mlp", "residual", "rnn", "softmax"))


def numbers(random: np.random.Generator, *shape: int, size: float = 1.5) -> Any:
    """Decimals of two places; a number, a list or a list of lists."""
    return np.round(random.uniform(-size, size, shape), 2).tolist()


def leaf(value: Any) -> Tensor:
    return torch.tensor(value, dtype=torch.float64, requires_grad=True)


def flat(sheet: Worksheet, name: str) -> list[str]:
    return sheet.components(name)


def agree(
    sheet: Worksheet, values: Mapping[str, Tensor], loss: Tensor, leaves: Mapping[str, Tensor], thorough: bool
) -> None:
    """Values and gradients are torch's; `thorough` has every gradient checked by central differences too."""
    solution = sheet.solve()
    for name, tensor in {**values, "L": loss}.items():
        found = [float(solution.value(each)) for each in flat(sheet, name)]
        np.testing.assert_allclose(found, tensor.detach().reshape(-1).numpy(), rtol=1e-10, atol=1e-12, err_msg=name)
    names = [each for name in leaves for each in flat(sheet, name)]
    back = solution.gradient("L", names) if thorough else solution.graph.backward("L")
    slopes = torch.autograd.grad(loss, list(leaves.values()), allow_unused=True)
    for (name, tensor), slope in zip(leaves.items(), slopes, strict=True):
        wanted = torch.zeros_like(tensor) if slope is None else slope
        found = [float(back.get(each, 0)) for each in flat(sheet, name)]
        np.testing.assert_allclose(found, wanted.reshape(-1).numpy(), rtol=1e-9, atol=1e-11, err_msg=f"dL/d{name}")


def test_the_network_of_the_lecture() -> None:
    """σ(−0.98) = 0.272892, BCE 0.318680 for y = 0; for y = 1 the loss and every weight after one step, in closed form."""
    assert round(float(mlp(EXAMPLE, [1, 2], 0, loss="binary_cross_entropy").solve().value("L")), 6) == 0.318680
    sheet = mlp(EXAMPLE, [1, 2], 1, loss="binary_cross_entropy", learning_rate=0.01)
    solution = sheet.solve()
    assert solution.value("z_6") * 100 == -98
    assert round(float(solution.value("yhat")), 6) == 0.272892
    assert float(solution.value("L")) == pytest.approx(math.log1p(math.exp(0.98)), rel=1e-14)
    after = {item.name: float(value) for item, value in solution.answers[-1].results}  # type: ignore[union-attr]
    step = 0.01 * (1 - 1 / (1 + math.exp(0.98)))  # −0.01·∂L/∂z_6
    before = {"w_36": -0.5, "w_46": -0.3, "w_56": 0.8}
    before |= {"w_13": 0.1, "w_14": 0.3, "w_15": -0.2, "w_23": 0.6, "w_24": 0.4, "w_25": 0.0}
    moves = {"w_36": 1.3, "w_46": 1.1, "w_56": 0.0, "w_13": -0.5, "w_23": -1.0, "w_14": -0.3, "w_24": -0.6}
    assert after == pytest.approx(
        {name: value + step * moves.get(name, 0) for name, value in before.items()}, rel=1e-13
    )


@pytest.mark.parametrize("loss", ["squared_error", "binary_cross_entropy", "cross_entropy"])
def test_mlp_equals_torch(loss: str) -> None:
    """Two layers, several activations, samples and outputs, and a weight that skips a layer."""
    reference: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
        "squared_error": lambda z, y: (z - y).square().sum(),
        "binary_cross_entropy": lambda z, y: F.binary_cross_entropy(z, y, reduction="sum"),
        "cross_entropy": lambda z, y: F.cross_entropy(z[None], y[None]),
    }
    for number in INSTANCES:
        random = np.random.default_rng(number)
        hidden, outputs = int(random.integers(1, 4)), int(random.integers(2 if loss == "cross_entropy" else 1, 4))
        kinds = [str(random.choice(list(ACTIVATIONS))) for _ in range(hidden)]
        last = {"binary_cross_entropy": "sigmoid", "cross_entropy": "identity"}.get(
            loss, str(random.choice(list(ACTIVATIONS)))
        )
        W, b = numbers(random, hidden, 2), numbers(random, hidden)
        V, c = numbers(random, outputs, hidden + 1), numbers(random, outputs)
        units = [f"h{k}" for k in range(hidden)]
        table = [Neuron(u, dict(zip("12", W[k], strict=True)), b[k], kinds[k]) for k, u in enumerate(units)]
        table += [Neuron(f"o{k}", dict(zip([*units, "1"], V[k], strict=True)), c[k], last) for k in range(outputs)]
        count = int(random.integers(1, 3))
        x = numbers(random, count, 2)
        if loss == "cross_entropy":
            y: Any = [int(each) for each in random.integers(1, outputs + 1, count)]
        else:
            y = [[float(each) for each in random.integers(0, 2, outputs)] for _ in range(count)]
        reduction = str(random.choice(["mean", "sum"]))
        sheet = mlp(table, x if count > 1 else x[0], y if count > 1 else y[0], loss=loss, reduction=reduction)
        tensors = [leaf(each) for each in (W, b, V, c)]
        losses = []
        for sample, target in zip(x, y, strict=True):
            given = torch.tensor(sample, dtype=torch.float64)
            z = tensors[0] @ given + tensors[1]
            a = torch.stack([ACTIVATIONS[kind](z[k]) for k, kind in enumerate(kinds)])
            out = ACTIVATIONS[last](tensors[2] @ torch.cat([a, given[:1]]) + tensors[3])
            wanted = torch.tensor(target - 1) if loss == "cross_entropy" else torch.tensor(target, dtype=torch.float64)
            losses.append(reference[loss](out, wanted))
        total = torch.stack(losses).mean() if reduction == "mean" else torch.stack(losses).sum()
        slopes = torch.autograd.grad(total, tensors)
        solution = sheet.solve()
        assert float(solution.value("L")) == pytest.approx(total.item(), rel=1e-10, abs=1e-12)
        names = [[f"w_{s}_h{k}" for s in "12"] for k in range(hidden)]
        more = [[f"w_{s}_o{k}" for s in [*units, "1"]] for k in range(outputs)]
        grouped = [names, [f"b_h{k}" for k in range(hidden)], more, [f"b_o{k}" for k in range(outputs)]]
        every = [np.array(group).ravel().tolist() for group in grouped]
        back = solution.gradient("L", [*itertools.chain(*every)]) if number % 10 == 0 else solution.graph.backward("L")
        for group, slope in zip(every, slopes, strict=True):
            found = [float(back[name]) for name in group]
            np.testing.assert_allclose(found, slope.reshape(-1).numpy(), rtol=1e-9, atol=1e-11)


def test_rnn_equals_torch() -> None:
    """Numbers and vectors, each activation, one to four steps, a target a step or one at the end."""
    for number in INSTANCES:
        random = np.random.default_rng(number)
        steps, vectors, last = int(random.integers(1, 5)), number % 2 == 1, random.random() < 0.3
        kind = ("identity", "tanh", "relu")[number % 3]
        H, D, out = ((2,), (int(random.integers(1, 3)),), (int(random.integers(1, 3)),)) if vectors else ((), (), ())
        x, y = numbers(random, steps, *D), numbers(random, *([] if last else [steps]), *out)
        given = {"W_h": numbers(random, *H, *H), "W_x": numbers(random, *H, *D), "W_y": numbers(random, *out, *H)}
        given["h_0"] = numbers(random, *H)
        given |= {"b_h": numbers(random, *H), "b_y": numbers(random, *out)} if random.random() < 0.5 else {}
        sheet = rnn(x, y, **given, activation=kind)
        leaves = {name: leaf(value) for name, value in given.items()}
        wide = {name: tensor.reshape(_wide(name, H, D, out)) for name, tensor in leaves.items()}
        state, loss, seen = wide["h_0"], torch.zeros((), dtype=torch.float64), {}
        goals = torch.tensor(y, dtype=torch.float64).reshape(1 if last else steps, -1)
        bias = wide.get("b_h", torch.zeros_like(state))
        for t in range(steps):
            step = torch.tensor(x[t], dtype=torch.float64).reshape(-1)
            if kind == "identity":
                state = wide["W_h"] @ state + wide["W_x"] @ step + bias
            else:
                state = (torch.rnn_tanh_cell if kind == "tanh" else torch.rnn_relu_cell)(
                    step[None], state[None], wide["W_x"], wide["W_h"], bias, torch.zeros_like(bias)
                )[0]
            if not last or t == steps - 1:
                seen[f"yhat_{t + 1}"] = wide["W_y"] @ state + wide.get("b_y", 0.0)
                loss = loss + F.mse_loss(seen[f"yhat_{t + 1}"], goals[0 if last else t], reduction="sum")
        agree(sheet, seen, loss, leaves, number % 10 == 0)


def _wide(name: str, H: tuple[int, ...], D: tuple[int, ...], out: tuple[int, ...]) -> tuple[int, ...]:
    h, d, o = (each[0] if each else 1 for each in (H, D, out))
    return {"W_h": (h, h), "W_x": (h, d), "W_y": (o, h), "b_y": (o,)}.get(name, (h,))


def cell(random: np.random.Generator, letters: str, vectors: bool) -> tuple[dict[str, Gate], dict[str, Tensor]]:
    """Random gates, and their leaves by the names that they have in the worksheet."""
    H, D = ((2,), (2,)) if vectors else ((), ())
    gates = {x: Gate(numbers(random, *H, *D), numbers(random, *H, *H), numbers(random, *H)) for x in letters}
    leaves = {f"{kind}_{x}": leaf(getattr(gate, kind)) for x, gate in gates.items() for kind in "WUb"}
    return gates, leaves


def stacked(leaves: Mapping[str, Tensor], kind: str, letters: str, size: int) -> Tensor:
    return torch.cat([leaves[f"{kind}_{x}"].reshape(size, -1) for x in letters])


def test_lstm_equals_torch() -> None:
    for number in INSTANCES:
        random = np.random.default_rng(number)
        vectors, steps = number % 4 == 3, int(random.integers(1, 4 if number % 4 != 3 else 2))
        size = 2 if vectors else 1
        gates, leaves = cell(random, "ifgo", vectors)
        shape = (2,) if vectors else ()
        x, y = numbers(random, steps, *shape), numbers(random, *shape)
        h, c = numbers(random, *shape), numbers(random, *shape)
        sheet = lstm(x, **gates, h_0=h, c_0=c, target=y)
        leaves |= {"h_0": leaf(h), "c_0": leaf(c)}
        state, memory = leaves["h_0"].reshape(1, -1), leaves["c_0"].reshape(1, -1)
        W, U, b = (stacked(leaves, kind, "ifgo", size) for kind in "WUb")
        for each in x:
            step = torch.tensor(each, dtype=torch.float64).reshape(1, -1)
            state, memory = torch.lstm_cell(step, (state, memory), W, U, b[:, 0], torch.zeros_like(b[:, 0]))
        loss = F.mse_loss(state[0], torch.tensor(y, dtype=torch.float64).reshape(-1), reduction="sum")
        agree(sheet, {f"h_{steps}": state, f"c_{steps}": memory}, loss, leaves, number % 20 == 0)


def test_gru_equals_torch() -> None:
    """With the reset after the product, torch's cell; with it before, the paper's equations."""
    for number in INSTANCES:
        random = np.random.default_rng(number)
        vectors, steps, before = number % 4 == 3, int(random.integers(1, 4 if number % 4 != 3 else 2)), number % 3 == 1
        size = 2 if vectors else 1
        gates, leaves = cell(random, "rzn", vectors)
        shape = (2,) if vectors else ()
        x, y, h = numbers(random, steps, *shape), numbers(random, *shape), numbers(random, *shape)
        leaves["h_0"] = leaf(h)
        extra = {} if before else {"d_n": numbers(random, *shape)}
        leaves |= {name: leaf(value) for name, value in extra.items()}
        sheet = gru(x, **gates, **extra, reset="before" if before else "after", h_0=h, target=y)
        state = leaves["h_0"].reshape(1, -1)
        W, U, b = (stacked(leaves, kind, "rzn", size) for kind in "WUb")
        for each in x:
            step = torch.tensor(each, dtype=torch.float64).reshape(1, -1)
            if before:
                (Wr, Wz, Wn), (Ur, Uz, Un), (br, bz, bn) = (each.chunk(3) for each in (W, U, b[:, 0]))
                reset = torch.sigmoid(step @ Wr.T + state @ Ur.T + br)
                keep = torch.sigmoid(step @ Wz.T + state @ Uz.T + bz)
                state = (1 - keep) * torch.tanh(step @ Wn.T + (reset * state) @ Un.T + bn) + keep * state
            else:
                inner = torch.cat([torch.zeros(2 * size, dtype=torch.float64), leaves["d_n"].reshape(-1)])
                state = torch.gru_cell(step, state, W, U, b[:, 0], inner)
        loss = F.mse_loss(state[0], torch.tensor(y, dtype=torch.float64).reshape(-1), reduction="sum")
        agree(sheet, {f"h_{steps}": state}, loss, leaves, number % 20 == 0)


def test_dense_with_dropout_equals_torch_and_the_enumeration_of_all_masks() -> None:
    for number in INSTANCES:
        random = np.random.default_rng(number)
        units, count = int(random.integers(0, 3)), int(random.integers(2, 6))
        p = float(random.choice([0, 0.25, 0.5, 0.5, 0.8]))
        kind = str(random.choice(list(ACTIVATIONS)))
        shape = (units,) if units else ()
        x, W, b = numbers(random, count, size=3), numbers(random, count, *shape), numbers(random, *shape)
        mask, y = random.integers(0, 2, count).tolist(), numbers(random, *shape)
        sheet = dense(x, W, b, activation=kind, dropout=p, mask=mask, target=y)
        leaves = {"x": leaf(x), "W": leaf(W), "b": leaf(b)}
        active, act = torch.tensor(mask, dtype=torch.float64), ACTIVATIONS[kind]
        out = act((active / (1 - p) * leaves["x"]) @ leaves["W"] + leaves["b"])
        test = act(leaves["x"] @ leaves["W"] + leaves["b"])
        loss = (out - torch.tensor(y, dtype=torch.float64)).square().sum()
        agree(sheet, {"y": out, "y_test": test}, loss, leaves, number % 20 == 0)
        masks = np.array(list(itertools.product([0, 1], repeat=count)))
        sums = (masks * np.array(x) / (1 - p)) @ np.array(W).reshape(count, -1) + np.array(b).reshape(-1)
        outputs = act(torch.from_numpy(sums)).numpy()
        solution = sheet.solve()
        kept = masks.sum(1) == round(count * (1 - p), 9)
        for j in range(max(units, 1)):
            end = f"_{j + 1}" if units else ""
            for reading, rows in (("any", outputs), ("exact", outputs[kept])):
                if not len(rows):  # no whole number of units
                    assert f"y_exact_low{end}" not in sheet
                    continue
                found = [float(solution.value(f"y_{reading}_{word}{end}")) for word in ("low", "high")]
                assert found == pytest.approx([rows[:, j].min(), rows[:, j].max()], rel=1e-12, abs=1e-12)


def test_batch_norm_equals_torch() -> None:
    """Training, gradients, running statistics, and test time."""
    for number in INSTANCES:
        random = np.random.default_rng(number)
        features, count = (number % 4 == 0) * 2, int(random.integers(2, 5))
        shape = (features,) if features else ()
        x, slopes = numbers(random, count, *shape, size=4), numbers(random, count, *shape)
        gamma, beta, mean = (numbers(random, *shape) for _ in range(3))
        var = np.round(random.uniform(0.2, 3, shape), 2).tolist()
        if min(np.ptp(np.array(x).reshape(count, -1), axis=0)) < 0.3:
            x = np.array(x) + np.arange(count).reshape(-1, *([1] * len(shape)))  # else the curvature is enormous
            x = np.round(x, 2).tolist()
        eps, k = float(random.choice([1e-5, 0.1])), float(random.choice([0.1, 0.3]))
        end = {"delta": slopes} if number % 2 else {"target": slopes}
        sheet = batch_norm(x, gamma, beta, eps=eps, **end, running_mean=mean, running_var=var, momentum=k)
        leaves = {"x": leaf(x), "gamma": leaf(gamma), "beta": leaf(beta)}
        wide = [leaves["x"].reshape(count, -1), leaves["gamma"].reshape(-1), leaves["beta"].reshape(-1)]
        stats = [torch.tensor(each, dtype=torch.float64).reshape(-1) for each in (mean, var)]
        y = F.batch_norm(wide[0], *stats, wide[1], wide[2], training=True, momentum=k, eps=eps)
        test = F.batch_norm(wide[0], *stats, wide[1], wide[2], training=False, eps=eps)
        other = torch.tensor(slopes, dtype=torch.float64).reshape(count, -1)
        loss = (other * y).sum() if number % 2 else F.mse_loss(y, other, reduction="sum")
        agree(sheet, {}, loss, leaves, number % 20 == 0)
        solution = sheet.solve()
        names = [f"_{c + 1}" for c in range(features)] if features else [""]
        for name, tensor in (("mu_new", stats[0]), ("v_new", stats[1])):
            found = [float(solution.value(f"{name}{end}")) for end in names]
            assert found == pytest.approx(tensor.tolist(), rel=1e-12)
        for name, tensor in (("y", y), ("y_test", test)):
            found = [float(solution.value(f"{name}_{n + 1}{end}")) for n in range(count) for end in names]
            assert found == pytest.approx(tensor.reshape(-1).tolist(), rel=1e-9, abs=1e-11)


def test_residual_equals_torch() -> None:
    for number in INSTANCES:
        random = np.random.default_rng(number)
        D, H = ((2,), (int(random.integers(1, 4)),)) if number % 2 else ((), ())
        kind, after = (str(random.choice(list(ACTIVATIONS))) for _ in range(2))
        given = {"x": numbers(random, *D), "W": numbers(random, *D, *H), "V": numbers(random, *H, *D)}
        given |= {"b": numbers(random, *H), "c": numbers(random, *D)} if random.random() < 0.5 else {}
        y = numbers(random, *D)
        sheet = residual(**given, activation=kind, after=after, target=y)
        leaves = {name: leaf(value) for name, value in given.items()}
        d, h = D[0] if D else 1, H[0] if H else 1
        x = leaves["x"].reshape(d)
        a = ACTIVATIONS[kind](x @ leaves["W"].reshape(d, h) + leaves.get("b", torch.tensor(0.0)).reshape(-1))
        f = a @ leaves["V"].reshape(h, d) + leaves.get("c", torch.tensor(0.0)).reshape(-1)
        out = ACTIVATIONS[after](x + f)
        loss = F.mse_loss(out, torch.tensor(y, dtype=torch.float64).reshape(d), reduction="sum")
        agree(sheet, {"y": out}, loss, leaves, number % 20 == 0)


def test_softmax_equals_torch_however_large_the_logits() -> None:
    for number in INSTANCES:
        random = np.random.default_rng(number)
        classes, offset = int(random.integers(2, 6)), float(random.choice([0, 0, 300, -1000, 20000]))
        z = (np.round(random.uniform(-4, 4, classes), 2) + offset).round(2).tolist()
        if number % 10 == 3:
            z[1] = z[0] = max(z)  # two largest ones: the shift still cancels
        target: Any = int(random.integers(1, classes + 1))
        if number % 3 == 0:
            target = [0.5, 0.5, *[0] * (classes - 2)]
        leaves = {"z": leaf(z)}
        wanted = torch.tensor(target - 1 if isinstance(target, int) else target)
        loss = F.cross_entropy(leaves["z"][None], wanted[None] if wanted.ndim == 0 else wanted[None].double())
        sheet = softmax(z, target)
        agree(sheet, {"p": F.softmax(leaves["z"], 0)}, loss, leaves, number % 20 == 0)
        solution = sheet.solve()
        assert float(solution.graph.backward("L")["m"]) == 0
        if offset in (0, 300):
            assert [float(solution.value(f"q_{k + 1}")) for k in range(classes)] == pytest.approx(
                [float(solution.value(f"p_{k + 1}")) for k in range(classes)], rel=1e-14
            )
        else:
            assert "q_1" not in sheet
