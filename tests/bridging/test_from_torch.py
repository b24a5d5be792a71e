# SPDX-License-Identifier: Apache-2.0
"""A torch module as a worksheet: its values and gradients against torch's own, over random networks; what is refused, and how."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pellucid.bridging.worksheet import from_torch, parameter_names
from pellucid.errors import DataError, PellucidError, UsageError
from pellucid.worked.notation.arrays import component_name

ACTIVATIONS: list[Callable[[], nn.Module]] = [
    nn.ReLU,
    nn.Sigmoid,
    nn.Tanh,
    lambda: nn.LeakyReLU(0.2),
    nn.ELU,
    nn.SiLU,
    nn.Softplus,
    nn.ReLU6,
    nn.Identity,
]
FUNCTIONS: dict[str, Callable[[Tensor, Any], Tensor]] = {
    "mse": F.mse_loss,
    "bce_with_logits": F.binary_cross_entropy_with_logits,
    "cross_entropy": F.cross_entropy,
}


class Residual(nn.Module):
    """Two layers around which the input goes."""

    def __init__(self, size: int, activation: nn.Module) -> None:
        super().__init__()
        self.first, self.second, self.activation = nn.Linear(size, size), nn.Linear(size, size, bias=False), activation

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x + self.second(self.activation(self.first(x))))


class Viewed(nn.Module):
    """A convolution whose output is flattened by hand, by its own size."""

    def __init__(self, dice: random.Random) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 2, 2, stride=2)
        self.scale = nn.Parameter(torch.tensor([0.5, -1.5]))
        self.out = nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.tanh(self.conv(x))
        return self.out(x.view(x.size(0), -1)) * self.scale - 0.25


class Block(nn.Module):
    """A transformer block: layer norm, attention, a sum; layer norm, two layers with GELU, a sum."""

    def __init__(self, dice: random.Random, activation: nn.Module) -> None:
        super().__init__()
        self.before, self.between = nn.LayerNorm(4), nn.LayerNorm(4, elementwise_affine=dice.random() < 0.5)
        self.attention = nn.MultiheadAttention(4, dice.choice([1, 2]), bias=dice.random() < 0.5, batch_first=True)
        self.first, self.second = nn.Linear(4, 3), nn.Linear(3, 4)
        self.gelu, self.activation = nn.GELU(dice.choice(["none", "tanh"])), activation

    def forward(self, x: Tensor) -> Tensor:
        z = self.before(x)
        x = x + self.attention(z, z, z, need_weights=False)[0]
        return self.activation(x + self.second(self.gelu(self.first(self.between(x)))))


def network(dice: random.Random) -> tuple[nn.Module, tuple[int, ...]]:
    """A network drawn at random, and the shape of what it takes."""
    act = dice.choice(ACTIVATIONS)
    n, hidden, out = dice.randint(1, 3), dice.randint(1, 4), dice.randint(1, 3)
    match dice.randrange(9):
        case 0:
            return nn.Sequential(nn.Linear(3, hidden), act(), nn.Linear(hidden, out)), (n, 3)
        case 1:
            norm = nn.BatchNorm1d(4, affine=dice.random() < 0.8)
            return nn.Sequential(
                nn.Linear(2, 4), norm, act(), nn.Dropout(0.5), Residual(4, act()), nn.Linear(4, out)
            ), (n, 2)
        case 2:
            stride, padding, dilation = dice.randint(1, 2), dice.randint(0, 2), dice.randint(1, 2)
            conv = nn.Conv1d(2, 2, 2, stride, padding, dilation, groups=dice.choice([1, 2]), bias=dice.random() < 0.7)
            pool = dice.choice([nn.MaxPool1d(2), nn.AvgPool1d(2, padding=1, count_include_pad=dice.random() < 0.5)])
            return nn.Sequential(conv, act(), pool, nn.Flatten(), nn.LazyLinear(out)), (n, 2, 7)
        case 3:
            conv2 = nn.Conv2d(1, 2, (2, 3), stride=(1, 2), padding=(1, dice.randint(0, 1)))
            pool2 = dice.choice([nn.MaxPool2d(2, 1), nn.AvgPool2d(2), nn.MaxPool2d((1, 2), padding=(0, 1))])
            return nn.Sequential(conv2, nn.BatchNorm2d(2), act(), pool2, nn.Flatten(), nn.LazyLinear(out)), (n, 1, 4, 5)
        case 4:
            return Viewed(dice), (n, 1, 4, 4)
        case 5:
            up = nn.ConvTranspose1d(
                2, 2, 2, dice.randint(1, 3), dice.randint(0, 1), bias=dice.random() < 0.7, groups=dice.choice([1, 2])
            )
            return nn.Sequential(up, act(), nn.Flatten(), nn.LazyLinear(out)), (n, 2, 3)
        case 6:
            up2 = nn.ConvTranspose2d(
                1, 2, (2, 3), stride=(2, 1), padding=(0, 1), output_padding=(1, 0), dilation=(1, 2)
            )
            return nn.Sequential(up2, act(), nn.Flatten()), (n, 1, 2, 2)
        case 7:
            return Block(dice, act()), (n, dice.randint(1, 3), 4)
    return nn.Sequential(nn.Conv2d(2, 2, 3, padding="same"), act(), nn.Conv2d(2, 1, 2), nn.Flatten()), (1, 2, 3, 3)


def compared(module: nn.Module, x: Tensor, target: Tensor, loss: str, tolerance: float) -> None:
    """The output, the loss and every gradient, of the input too."""
    sheet = from_torch(module, x, target, loss)
    solution = sheet.solve()
    given = x.clone().requires_grad_()
    output = module(given)
    wanted = FUNCTIONS[loss](output, target)
    wanted.backward()
    asked = [question.names[0] for question in sheet.questions if not question.of and question.names != ("L",)]
    found = [float(solution.value(name)) for name in asked]
    np.testing.assert_allclose(found, output.detach().reshape(-1), rtol=tolerance, atol=tolerance)
    assert float(solution.value("L")) == pytest.approx(wanted.item(), rel=tolerance, abs=tolerance)
    slopes = solution.graph.backward("L")
    called = parameter_names(module)
    tensors = {called[name]: each.grad for name, each in module.named_parameters()}
    assert given.grad is not None
    tensors["x"] = given.grad[0] if len(x) == 1 else given.grad
    for name, grad in tensors.items():
        assert grad is not None
        for where in np.ndindex(*grad.shape):
            mine = float(slopes.get(component_name(name, [n + 1 for n in where]), 0))
            assert mine == pytest.approx(grad[where].item(), rel=tolerance, abs=tolerance), (name, where)


BLOCKS = [pytest.param(block, marks=pytest.mark.slow) if block > 1 else block for block in range(10)]


@pytest.mark.parametrize("block", BLOCKS)
def test_values_and_gradients_are_those_of_torch(block: int) -> None:
    """200 random networks in float64, 40 of them always: linear layers, convolutions, poolings, batch norm, residuals, three losses."""
    for seed in range(20 * block, 20 * block + 20):
        dice = random.Random(seed)
        torch.manual_seed(seed)
        module, shape = network(dice)
        module.double().eval()
        x = torch.randn(shape, dtype=torch.float64)
        with torch.no_grad():
            for each in module.modules():  # running averages that are not 0 and 1
                if isinstance(each, (nn.BatchNorm1d, nn.BatchNorm2d)):
                    assert each.running_mean is not None and each.running_var is not None
                    each.running_mean.normal_()
                    each.running_var.uniform_(0.3, 2)
            output = module(x)
        loss = dice.choice(list(FUNCTIONS))
        target = torch.rand_like(output)
        if loss == "cross_entropy" and output.ndim == 2:
            target = torch.randint(output.shape[1], output.shape[:1])
        elif loss == "cross_entropy":
            loss = "mse"
        compared(module, x, target, loss, 1e-9)


def test_in_float32_to_its_precision() -> None:
    """float32's numbers are read as the shortest decimals that stand for them: W is 0.1, not 0.10000000149."""
    torch.manual_seed(1)
    module = nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 1))
    with torch.no_grad():
        module[0].weight.fill_(0.1)
    x, y = torch.randn(2, 2), torch.randn(2, 1)
    compared(module, x, y, "mse", 1e-5)
    assert str(from_torch(module, x, y).solve().value("W0_1_1")) == "1/10"


def test_derivatives_are_checked_by_central_differences_when_shown() -> None:
    torch.manual_seed(2)
    module = nn.Sequential(nn.Conv1d(1, 1, 2), nn.ReLU(), nn.Flatten(), nn.Linear(2, 1)).double()
    x = torch.tensor([[[1.0, -2.0, 3.0]]], dtype=torch.float64)
    shown = from_torch(module, x, torch.tensor([[1.0]], dtype=torch.float64)).solve().show(verify=True)
    assert shown.count("✓ central difference") > 8
    assert "? ∂L/∂W0₁₁₁" in shown


def test_a_layer_alone_a_shared_layer_and_a_sum_of_losses() -> None:
    layer = nn.Linear(2, 2).double()
    x, y = torch.randn(3, 2, dtype=torch.float64), torch.rand(3, 2, dtype=torch.float64)
    compared(layer, x, y, "bce_with_logits", 1e-9)
    twice = nn.Sequential(layer, nn.Tanh(), layer).double()
    layer.zero_grad()
    compared(twice, x, y, "mse", 1e-9)
    for given in (nn.MSELoss(reduction="sum"), nn.BCELoss(), F.binary_cross_entropy):
        squashed = nn.Sequential(layer, nn.Sigmoid())
        value = from_torch(squashed, x, y, given).solve().value("L")
        assert float(value) == pytest.approx(given(squashed(x), y).item(), rel=1e-9)


@pytest.mark.parametrize("affine", [False, True])
def test_batch_norm_in_training_mode_has_the_statistics_of_the_batch(affine: bool) -> None:
    """Values and gradients are torch's, and neither reading nor working moves the running averages of the module."""
    torch.manual_seed(4)
    for norm, shape in ((nn.BatchNorm1d(2, affine=affine), (4, 2)), (nn.BatchNorm2d(2, affine=affine), (2, 2, 2, 2))):
        module = nn.Sequential(norm, nn.Tanh()).double().train()
        x, target = torch.randn(shape, dtype=torch.float64), torch.rand(shape, dtype=torch.float64)
        if affine:
            nn.init.normal_(norm.weight)
        before = {name: buffer.clone() for name, buffer in module.named_buffers()}
        from_torch(module, x, target)
        assert all(torch.equal(buffer, before[name]) for name, buffer in module.named_buffers())
        compared(module, x, target, "mse", 1e-9)
        # without running averages the batch counts in eval mode too
        bare = type(norm)(2, affine=affine, track_running_stats=False).double().eval()
        compared(nn.Sequential(bare), x, target, "mse", 1e-9)


def test_attention_alone_is_self_attention_and_returns_its_weights() -> None:
    torch.manual_seed(5)
    layer = nn.MultiheadAttention(4, 2, batch_first=True).double()
    nn.init.normal_(layer.in_proj_bias)
    x, target = torch.randn(2, 3, 4, dtype=torch.float64), torch.randn(2, 3, 4, dtype=torch.float64)
    sheet = from_torch(layer, x, target)
    output, _ = layer(x, x, x)
    assert float(sheet.solve().value("L")) == pytest.approx(F.mse_loss(output, target).item(), rel=1e-9)

    class Weights(nn.Module):
        def __init__(self, average: bool) -> None:
            super().__init__()
            self.layer, self.average = layer, average

        def forward(self, x: Tensor) -> Tensor:
            weights: Tensor = self.layer(x, x, x, average_attn_weights=self.average)[1]
            return weights * 2

    for average in (True, False):
        module = Weights(average)
        theirs = module(x)
        sheet = from_torch(module, x, torch.zeros_like(theirs))
        assert float(sheet.solve().value("L")) == pytest.approx(theirs.square().mean().item(), rel=1e-9)


def test_names_differ_and_no_parameter_is_lost() -> None:
    module = nn.ModuleDict({"a_b": nn.Linear(1, 1), "ab": nn.Linear(1, 1), "bn": nn.BatchNorm2d(1)})
    called = parameter_names(module)
    assert len({*called.values()}) == len(called)
    assert called["a_b.weight"] == "W_ab" and called["bn.running_var"] == "v_bn"
    assert {*called} >= {name for name, _ in module.named_parameters()}


class Branching(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x if x.sum() > 0 else -x


@pytest.mark.parametrize(
    ("module", "shape", "loss", "said"),
    [
        (nn.Linear(300, 300), (1, 300), "mse", "has 90,300 parameters, more than the 1,000 of a worksheet"),
        (nn.Conv2d(1, 4, 3), (1, 1, 40, 40), "mse", "it has 7,416 quantities and sums of 51,984 products"),
        (nn.Linear(2, 2), (4000, 2), "mse", r"inputs.shape=(4000, 2): has 8,000 numbers"),
        (nn.MultiheadAttention(2, 1, dropout=0.5), (3, 2, 2), "mse", "is in training mode; call module.eval() first"),
        (nn.MultiheadAttention(2, 1), (3, 2, 2), "mse", "takes attention with batch_first=True"),
        (nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.5)), (1, 2), "mse", "module.1: is in training mode"),
        (nn.Hardswish(), (1, 2), "mse", "Hardswish has no worksheet"),
        (nn.MaxPool1d(2, ceil_mode=True), (1, 1, 3), "mse", "ceil_mode, return_indices and divisor_override"),
        (nn.Conv1d(1, 1, 2, padding_mode="reflect", padding=1), (1, 1, 3), "mse", "pads with reflect"),
        (Branching(), (1, 2), "mse", "forward cannot be traced"),
        (nn.Linear(3, 2), (1, 2), "mse", "the module does not accept it"),
        (nn.Linear(2, 2), (2,), "mse", "must be a batch"),
        (nn.Linear(2, 2), (1, 2), "hinge", "loss='hinge' is not known"),
        (nn.Linear(2, 2), (1, 2), nn.MSELoss(reduction="none"), "must be a mean or sum without weights"),
        (nn.Linear(2, 2), (1, 2), F.l1_loss, "loss=l1_loss: is not known"),
    ],
    ids=lambda value: str(getattr(value, "__name__", value)),  # a function's own text holds its address
)
def test_what_is_refused_is_said_in_a_sentence(module: nn.Module, shape: tuple[int, ...], loss: Any, said: str) -> None:
    with pytest.raises(PellucidError) as caught:
        from_torch(module, torch.zeros(shape), torch.zeros(shape), loss)
    assert said in str(caught.value)
    assert str(caught.value).endswith(".") and "\n" not in str(caught.value)
    assert isinstance(caught.value, (DataError, UsageError))


class Written(nn.Module):
    """A layer and what is made of its output h and the input x."""

    def __init__(self, how: Callable[[Written, Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.layer, self.relu, self.how = nn.Linear(2, 2), nn.ReLU(inplace=True), how

    def forward(self, x: Tensor) -> Tensor:
        return self.how(self, self.layer(x), x)


def _changed(own: Written, h: Tensor, x: Tensor) -> Tensor:
    other = h
    other += 1  # h too
    return other * h


@pytest.mark.parametrize(
    ("how", "said"),
    [
        (lambda own, h, x: torch.add(h, x, alpha=2), "add with alpha has no worksheet; write it with + and *"),
        (lambda own, h, x: h.sub(x, alpha=2), "sub with alpha has no worksheet"),
        (lambda own, h, x: own.relu(h) + h, "changes in place what is used again; set inplace=False"),
        (lambda own, h, x: F.relu(h, inplace=True) + h, "module.relu: changes in place what is used again"),
        (_changed, "give other numbers than the module itself"),
    ],
)
def test_what_would_give_other_numbers_than_torch_is_refused(how: Any, said: str) -> None:
    with pytest.raises(DataError, match=re.escape(said)):
        from_torch(Written(how), torch.ones(1, 2), torch.zeros(1, 2))


def test_an_input_by_its_name_and_one_that_is_changed_in_place() -> None:
    x, target = torch.tensor([[1.0, -2.0]]), torch.zeros(1, 2)
    for module in (
        Written(lambda own, h, x: torch.relu(input=h)),
        nn.Sequential(nn.ReLU(inplace=True), nn.Linear(2, 2)),
    ):
        value = float(from_torch(module, x, target).solve().value("L"))
        assert x.tolist() == [[1.0, -2.0]]  # the caller's own
        assert value == pytest.approx(F.mse_loss(module(x.clone()), target).item(), rel=1e-5)
    with pytest.raises(UsageError, match="without weights, smoothing and ignore_index"):
        from_torch(nn.Linear(2, 2), x, torch.tensor([1]), nn.CrossEntropyLoss(ignore_index=1))


def test_a_target_that_does_not_fit() -> None:
    module, x = nn.Linear(2, 2), torch.zeros(1, 2)
    with pytest.raises(DataError, match=r"target.shape=\(1, 3\): the output's is \(1, 2\)"):
        from_torch(module, x, torch.zeros(1, 3))
    with pytest.raises(DataError, match="the classes are 0 to 1"):
        from_torch(module, x, torch.tensor([2]), "cross_entropy")
    with pytest.raises(DataError, match="one class number for each sample"):
        from_torch(module, x, torch.zeros(1, 2), nn.CrossEntropyLoss())
    with pytest.raises(DataError, match="not finite"):
        from_torch(module, torch.full((1, 2), torch.nan), torch.zeros(1, 2))
