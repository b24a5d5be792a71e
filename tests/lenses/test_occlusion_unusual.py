# SPDX-License-Identifier: Apache-2.0
"""Occlusion of models that are legal and odd: the map is that of a loop which computes one covered image at a time."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations

from pellucid.lenses import Network, guarded
from pellucid.lenses.occlusion import Occlusion

CLOSE = 1e-4  # of a probability
SHAPE = (3, 18, 15)
PATCH, STRIDE = 4, 3


class Model(nn.Module):
    """A small network whose middle is a function of its map (B, 6, H, W) and the module."""

    def __init__(self, middle: Callable[[Any, Tensor], Tensor], parts: dict[str, Any] | None = None) -> None:
        super().__init__()
        self.middle = middle
        self.stem, self.head = nn.Conv2d(3, 6, 3, padding=1), nn.LazyLinear(4)
        for name, part in (parts or {}).items():
            setattr(self, name, part)

    def forward(self, x: Tensor) -> Tensor:
        found = self.middle(self, F.relu(self.stem(x)))
        scores: Tensor = self.head(found.flatten(1)) * 3
        return scores


def parameter(*shape: int) -> nn.Parameter:
    return nn.Parameter(torch.randn(*shape))


def conditional(m: Any, x: Tensor) -> Tensor:
    """A kernel for each image, mixed from experts, applied as groups of one convolution (Yang et al. 2019)."""
    batch, channels, height, width = x.shape
    share = m.route(x.mean((2, 3))).softmax(1)  # (B, 3)
    kernels = torch.einsum("be,eocij->bocij", share, m.experts).reshape(-1, channels, 3, 3)
    y = F.conv2d(x.reshape(1, batch * channels, height, width), kernels, padding=1, groups=x.shape[0])
    return y.reshape(batch, -1, height, width)


def excited(m: Any, x: Tensor) -> Tensor:
    return x * torch.sigmoid(m.gate(F.adaptive_avg_pool2d(x, 1)))


def attended(m: Any, x: Tensor) -> Tensor:
    tokens = x.flatten(2).transpose(1, 2)
    found, _ = m.attention(tokens, tokens, tokens, need_weights=False)
    return tokens + found


def spectral(m: Any, x: Tensor) -> Tensor:
    return torch.fft.irfft2(torch.fft.rfft2(x) * torch.view_as_complex(m.filter), s=x.shape[2:])


def shuffled(m: Any, x: Tensor) -> Tensor:
    batch, channels, height, width = x.size()
    y = x.view(batch, 2, channels // 2, height, width).transpose(1, 2).contiguous().view(batch, -1, height, width)
    mixed: Tensor = m.conv(y)
    return mixed


def written_in(m: Any, x: Tensor) -> Tensor:
    y = m.conv(x)
    y[:, 0] = y[:, 0].clamp(max=0.2)
    return F.relu(y, True)


class Standardised(nn.Conv2d):
    """A convolution whose weights are standardised at each call."""

    def forward(self, x: Tensor) -> Tensor:
        weight = (self.weight - self.weight.mean((1, 2, 3), keepdim=True)) / self.weight.std((1, 2, 3), keepdim=True)
        return F.conv2d(x, weight, self.bias, padding=1)


def hooked() -> nn.Module:
    conv = nn.Conv2d(6, 6, 3, padding=1)
    conv.register_forward_hook(lambda module, given, answer: answer.tanh() * 2)
    return conv


class Remembering(nn.Module):
    """Keeps its last input, and makes a grid of positions at its first call."""

    def __init__(self) -> None:
        super().__init__()
        self.grid: Tensor | None = None
        self.last: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        if self.grid is None or self.grid.shape[-2:] != x.shape[-2:]:
            self.grid = torch.linspace(0, 1, x.shape[-1]).expand(x.shape[-2], x.shape[-1])
        self.last = x
        return x * self.grid


def conv(**options: Any) -> nn.Conv2d:
    return nn.Conv2d(6, 6, **{"kernel_size": 3, "padding": 1, **options})


# alone: answers that depend on the image only
ALONE: dict[str, Callable[[], nn.Module]] = {
    "conditional convolution": lambda: Model(conditional, {"route": nn.Linear(6, 3), "experts": parameter(3, 6, 6, 3, 3)}),
    "squeeze and excitation": lambda: Model(excited, {"gate": nn.Conv2d(6, 6, 1)}),
    "dynamic weights": lambda: Model(
        lambda m, x: F.conv2d(x, m.made(x.mean((0, 2, 3))).view(6, 6, 1, 1)) if len(x) == 1 else torch.cat([
            F.conv2d(one[None], m.made(one.mean((1, 2))).view(6, 6, 1, 1)) for one in x]), {"made": nn.Linear(6, 36)}),
    "rows of an adaptive pooling": lambda: Model(lambda m, x: m.pool(x), {"pool": nn.AdaptiveAvgPool2d((1, None))}),
    "adaptive pooling to its size": lambda: Model(lambda m, x: F.adaptive_avg_pool2d(x, (18, 15))),
    "adaptive max pooling": lambda: Model(lambda m, x: F.adaptive_max_pool2d(x, 3)),
    "float64": lambda: Model(lambda m, x: m.conv(x).mean((2, 3)), {"conv": conv()}).double(),
    "float64 inside": lambda: Model(lambda m, x: m.conv(x.double()).float().mean((2, 3)), {"conv": conv().double()}),
    "complex reshape": lambda: Model(
        lambda m, x: x.unfold(2, 4, 2).unfold(3, 4, 2).permute(0, 2, 3, 1, 4, 5).flatten(3).mean((1, 2))),
    "shape-dependent parameters": lambda: Model(
        lambda m, x: F.max_pool2d(x, kernel_size=(x.shape[2] // 4, x.shape[3] // 3), stride=x.shape[3] // 5)),
    "where": lambda: Model(lambda m, x: torch.where(x > x.mean((2, 3), keepdim=True), m.conv(x), x * 0.1), {"conv": conv()}),
    "spectral mixing": lambda: Model(spectral, {"filter": parameter(6, 18, 8, 2)}),
    "attention": lambda: Model(attended, {"attention": nn.MultiheadAttention(6, 2, batch_first=True)}),
    "channel shuffle": lambda: Model(shuffled, {"conv": conv(groups=2)}),
    "written in place": lambda: Model(written_in, {"conv": conv()}),
    "standardised weights": lambda: Model(lambda m, x: m.conv(x), {"conv": Standardised(6, 6, 3, padding=1)}),
    "spectral norm": lambda: Model(lambda m, x: m.conv(x), {"conv": parametrizations.spectral_norm(conv())}),
    "a hook": lambda: Model(lambda m, x: m.conv(x), {"conv": hooked()}),
    "a row of parameters": lambda: Model(lambda m, x: m.conv(x * m.row) + m.column, {
        "conv": conv(), "row": parameter(1, 1, 1, 15), "column": parameter(18, 1)}),
    "one row of the map": lambda: Model(lambda m, x: m.conv(x) * x[:, :, 4:5, :] + x[:, :, :, :1], {"conv": conv()}),
    "positions": lambda: Model(lambda m, x: m.conv(torch.cat([x, m.map.expand(x.shape[0], -1, -1, -1)], 1)), {
        "map": parameter(1, 2, 18, 15), "conv": nn.Conv2d(8, 6, 3)}),
    "remembering": lambda: Model(lambda m, x: m.conv(m.again(x)), {"again": Remembering(), "conv": conv()}),
    "reflected padding": lambda: Model(lambda m, x: m.conv(x), {"conv": conv(padding_mode="reflect")}),
    "same padding": lambda: Model(lambda m, x: m.conv(x), {"conv": conv(padding="same", dilation=2)}),
    "pooling by index": lambda: Model(lambda m, x: F.max_unpool2d(*F.max_pool2d(x, 3, return_indices=True), 3)),
    "blurred and enlarged": lambda: Model(
        lambda m, x: F.interpolate(F.avg_pool2d(x, 3, 2, 1, count_include_pad=False),
                                   scale_factor=1.7, mode="bilinear")),
    "unequal output padding": lambda: Model(lambda m, x: m.up(x), {"up": nn.ConvTranspose2d(6, 6, 3, 2, output_padding=1)}),
    "negative padding": lambda: Model(lambda m, x: m.conv(F.pad(x, (-1, 2, 3, -2))), {"conv": conv()}),
    "stepped and flipped": lambda: Model(lambda m, x: m.conv(x[:, :, ::2, 1:].flip(3)), {"conv": conv()}),
    "group and instance norm": lambda: Model(lambda m, x: m.conv(m.a(x)) + m.b(x), {
        "conv": conv(), "a": nn.GroupNorm(2, 6), "b": nn.InstanceNorm2d(6)}),
    "local response": lambda: Model(lambda m, x: F.local_response_norm(m.conv(x), 3), {"conv": conv()}),
    "a question about values": lambda: Model(lambda m, x: torch.stack([m.conv(o) if o.sum() > 60 else o for o in x]), {"conv": conv()}),
    "softmax over places": lambda: Model(lambda m, x: (m.conv(x).flatten(2).softmax(2) * x.flatten(2)).sum(2), {"conv": conv()}),
    "a sort": lambda: Model(lambda m, x: m.conv(x).sort(dim=3).values[..., -3:], {"conv": conv()}),
    "a recurrent network": lambda: Model(lambda m, x: m.lstm(x.mean(2).transpose(1, 2))[0][:, -1], {
        "lstm": nn.LSTM(6, 5, batch_first=True)}),
}  # fmt: skip

# coupled: in a batch, images change each other's answers
COUPLED: dict[str, Callable[[], nn.Module]] = {
    "batch norm without statistics": lambda: Model(
        lambda m, x: m.norm(x), {"norm": nn.BatchNorm2d(6, track_running_stats=False)}),
    "functional batch norm": lambda: Model(lambda m, x: F.batch_norm(x, None, None, training=True)),
    "the largest of all": lambda: Model(lambda m, x: x / x.max()),
    "weights from the batch's mean": lambda: Model(
        lambda m, x: F.conv2d(x, m.made(x.mean((0, 2, 3))).view(6, 6, 1, 1)), {"made": nn.Linear(6, 36)}),
    "the first image decides": lambda: Model(lambda m, x: x * x[:1].mean((1, 2, 3), keepdim=True)),
    "the last image decides": lambda: Model(lambda m, x: x * x[-1].mean()),
    "neighbours in the batch": lambda: Model(lambda m, x: x + x.roll(1, 0)),
    "attention over the batch": lambda: Model(
        lambda m, x: m.attention(*[x.flatten(2).permute(0, 2, 1)] * 3)[0], {"attention": nn.MultiheadAttention(6, 2)}),
    "one image at a time": lambda: Model(lambda m, x: x.reshape(1, 6, 18, 15).mean(2)),
}  # fmt: skip


# of each kind one: the rest is for `make hostile`
FAST = {
    "conditional convolution", "dynamic weights", "rows of an adaptive pooling", "float64", "where", "standardised weights",
    "a hook", "a row of parameters", "one row of the map", "batch norm without statistics", "the largest of all",
    "weights from the batch's mean", "the last image decides", "one image at a time",
}  # fmt: skip


def cases(models: dict[str, Callable[[], nn.Module]]) -> list[Any]:
    return [
        pytest.param(name, marks=() if name in FAST else (pytest.mark.slow, pytest.mark.hostile)) for name in models
    ]


def built(make: Callable[[], nn.Module]) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = make()
        first = next(model.parameters())
        with torch.no_grad():
            model(torch.rand(1, *SHAPE, dtype=first.dtype))
            for part in model.modules():
                if isinstance(part, nn.Conv2d) and type(part.weight) is nn.Parameter:
                    part.weight.normal_(0, (2 / part.weight[0].numel()) ** 0.5)
    return model.eval()


def image() -> Tensor:
    found = torch.rand(*SHAPE, generator=torch.Generator().manual_seed(1))
    found[:, 5:7, 6:9] *= 3.0  # something that a patch can cover
    return found / 3


@torch.no_grad()
def loop(model: nn.Module, given: Tensor) -> Any:
    """The probabilities of the uncovered image's top class, one covered image after another."""
    kind = next(model.parameters()).dtype
    with guarded(model):
        top = int(model(given[None].to(kind)).argmax())
        rows = []
        for y in sorted({*range(0, SHAPE[1] - PATCH, STRIDE), SHAPE[1] - PATCH}):
            for x in sorted({*range(0, SHAPE[2] - PATCH, STRIDE), SHAPE[2] - PATCH}):
                covered = given.clone()
                covered[:, y : y + PATCH, x : x + PATCH] = given.mean((1, 2), keepdim=True)
                rows.append(model(covered[None].to(kind)).float().softmax(1)[0, top])
    return torch.stack(rows).numpy()


def seen(model: nn.Module) -> tuple[Any, list[str]]:
    network = Network(model, [image()])
    return Occlusion(patch=PATCH, stride=STRIDE).look(network)["score_at"][0].ravel(), network.remarks


@pytest.mark.parametrize("name", cases(ALONE))
def test_the_map_is_that_of_a_loop(name: str) -> None:
    model = built(ALONE[name])
    expected = loop(model, image())
    assert np.ptp(expected) > 1e-3, "the patch changes the answer"
    found, remarks = seen(model)
    np.testing.assert_allclose(found, expected, atol=CLOSE)
    assert not any("one by one" in sentence for sentence in remarks)


@pytest.mark.parametrize("name", cases(COUPLED))
def test_images_that_change_each_other_are_computed_one_by_one(name: str) -> None:
    model = built(COUPLED[name])
    expected = loop(model, image())
    assert np.ptp(expected) > 1e-3
    found, remarks = seen(model)
    np.testing.assert_allclose(found, expected, atol=CLOSE)
    assert [sentence for sentence in remarks if "one by one" in sentence]


def test_half_precision_is_computed_in_half_precision() -> None:
    model = built(lambda: Model(lambda m, x: m.conv(x).mean((2, 3)), {"conv": conv()})).half()
    found, remarks = seen(model)
    np.testing.assert_allclose(found, loop(model, image()), atol=0.01)
    assert remarks == []


def test_an_answer_that_changes_from_call_to_call_is_named() -> None:
    noisy = built(lambda: Model(lambda m, x: F.dropout(x, 0.5, training=True)))
    assert "changes from call to call" in seen(noisy)[1][0]


def test_a_fault_that_the_check_did_not_meet_is_computed_whole() -> None:
    """A layer that fails at its first batch of more than nine images, and the check has nine at most."""

    class Once(nn.Module):
        failed = False

        def forward(self, x: Tensor) -> Tensor:
            if len(x) > 9 and not self.failed:
                self.failed = True
                raise RuntimeError("too many images")
            return x * 2

    model = built(lambda: Model(lambda m, x: m.once(x), {"once": Once()}))
    expected = loop(model, image())
    found, remarks = seen(model)
    np.testing.assert_allclose(found, expected, atol=CLOSE)
    assert "(too many images)" in remarks[0]


STEPS: list[Callable[[], Any]] = [
    lambda: conv(stride=2),
    lambda: conv(dilation=2, padding=0),
    lambda: conv(groups=3),
    lambda: conv(kernel_size=(1, 4), padding=(0, 3), stride=(2, 1)),
    lambda: conv(padding_mode="circular"),
    lambda: nn.ConvTranspose2d(6, 6, 3, 2, 1),
    lambda: nn.ConvTranspose2d(6, 6, (2, 3), (1, 2), (0, 1), groups=2, dilation=2),
    lambda: nn.MaxPool2d(3, 1, 1),
    lambda: nn.MaxPool2d(3, 2, 1, dilation=2, ceil_mode=True),
    lambda: nn.AvgPool2d(2, 1),
    lambda: nn.AvgPool2d(3, 2, 1, ceil_mode=True),
    lambda: nn.AvgPool2d(2, divisor_override=3),
    lambda: nn.BatchNorm2d(6),
    lambda: nn.InstanceNorm2d(6),
    lambda: nn.PReLU(6),
    lambda: nn.ReLU(inplace=True),
    lambda: nn.Upsample(scale_factor=2),
    lambda: nn.Upsample(size=(11, 13), mode="bilinear"),
    lambda: nn.ZeroPad2d((1, 0, 2, 3)),
    lambda: nn.ReplicationPad2d(2),
    lambda: nn.ReflectionPad2d(1),
    lambda: nn.AdaptiveAvgPool2d((None, 5)),
    lambda: nn.Dropout2d(),
    lambda: Remembering(),
    lambda: F.silu,
    lambda: lambda x: x + x.flip(2),
    lambda: lambda x: x * x.mean((2, 3), keepdim=True),
    lambda: lambda x: x - x.amax(3, keepdim=True),
    lambda: lambda x: x[:, :, 1:, :-1],
    lambda: lambda x: x[..., ::2],
    lambda: lambda x: torch.cat([x[:, :3], x[:, 3:].abs()], 1),
    lambda: lambda x: x * torch.linspace(0, 1, x.shape[3]),
    lambda: lambda x: x.transpose(2, 3),
    lambda: lambda x: F.pad(x, (2, 1, 0, 3), value=0.3),
    lambda: lambda x: F.pad(x, (1, 1, 2, 0), "replicate"),
    lambda: lambda x: torch.maximum(x, 0.5 * x.sum(1, keepdim=True)),
    lambda: lambda x: F.pixel_shuffle(torch.cat([x, x, x, x], 1), 2),
    lambda: lambda x: x.clamp(-1, 1) ** 2 / (1 + x.abs()),
]  # fmt: skip


class Chain(nn.Module):
    """Steps one after another, some of them with a shortcut around them."""

    def __init__(self, steps: list[Any], shortcuts: list[bool]) -> None:
        super().__init__()
        self.steps, self.shortcuts = steps, shortcuts
        self.parts = nn.ModuleList(step for step in steps if isinstance(step, nn.Module))

    def forward(self, x: Tensor) -> Tensor:
        for step, around in zip(self.steps, self.shortcuts, strict=True):
            found = step(x)
            x = found + x if around and found.shape == x.shape else found
        return x


@pytest.mark.slow
@pytest.mark.hostile
@pytest.mark.parametrize("seed", range(80))
def test_random_chains_of_layers(seed: int) -> None:
    chance = np.random.default_rng(seed)
    while True:
        chosen = [STEPS[int(i)]() for i in chance.integers(0, len(STEPS), 7)]
        chain = Chain(chosen, list(map(bool, chance.integers(0, 2, 7))))
        try:
            model = built(functools.partial(Model, lambda m, x: m.chain(x), {"chain": chain}))
            expected = loop(model, image())
        except (RuntimeError, ValueError):  # these layers do not fit each other
            continue
        break
    found, _ = seen(model)
    np.testing.assert_allclose(found, expected, atol=CLOSE)
