# SPDX-License-Identifier: Apache-2.0
"""Occlusion against a loop over every patch, pixel by pixel, on tiny models; and what it leaves behind: nothing."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pellucid.errors import UsageError
from pellucid.lenses import Network
from pellucid.lenses.occlusion import Occlusion


def tiny(classes: int = 3, shape: tuple[int, int, int] = (3, 7, 6)) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(int(np.prod(shape)), classes)).eval()


def images(n: int = 2, shape: tuple[int, int, int] = (3, 7, 6)) -> Tensor:
    return torch.rand(n, *shape, generator=torch.Generator().manual_seed(1))


def starts(length: int, patch: int, stride: int) -> list[int]:
    """From the border on, and once more at the other border."""
    found = [at for at in range(0, length, stride) if at + patch <= length]
    return found if found[-1] == length - patch else [*found, length - patch]


@torch.no_grad()
def brute(model: nn.Module, image: Tensor, patch: int, stride: int, fill: str) -> tuple[Any, Any]:
    """Drop at each position and the mean over the covering positions at each pixel, one image and one pixel at a time."""
    height, width = image.shape[1:]
    before = model(image[None]).softmax(1)[0]
    top = int(before.argmax())
    tops, lefts = starts(height, patch, stride), starts(width, patch, stride)
    drop = np.zeros((len(tops), len(lefts)))
    total, count = np.zeros((height, width)), np.zeros((height, width))
    for i, y in enumerate(tops):
        for j, x in enumerate(lefts):
            covered = image.clone()
            for c in range(len(image)):
                covered[c, y : y + patch, x : x + patch] = 0.0 if fill == "zero" else image[c].mean()
            drop[i, j] = float(before[top] - model(covered[None]).softmax(1)[0, top])
            total[y : y + patch, x : x + patch] += drop[i, j]
            count[y : y + patch, x : x + patch] += 1
    return drop, np.divide(total, count, where=count > 0, out=np.zeros_like(total))


@pytest.mark.parametrize("fill", ["mean", "zero"])
@pytest.mark.parametrize(("patch", "stride"), [(1, 1), (2, 1), (3, 2), (4, 3), (2, 4), (6, 1)])
def test_it_is_the_loop_over_every_patch(patch: int, stride: int, fill: Literal["mean", "zero"]) -> None:
    model, given = tiny(), images()
    found = Occlusion(patch=patch, stride=stride, fill=fill).look(Network(model=model, images=given)).numbers
    for i, image in enumerate(given):
        drop, spread = brute(model, image, patch, stride, fill)
        np.testing.assert_allclose(found["drop"][i], drop, atol=1e-6)
        np.testing.assert_allclose(found["map"][i], spread, atol=1e-6)
        assert found["class"][i] == model(image[None]).argmax()
    assert found["map"].shape == (2, 7, 6)


def test_the_memory_budget_changes_nothing() -> None:
    one, many = (Occlusion().look(Network(model=tiny(), images=images(), memory=size))["drop"] for size in (1, 1 << 30))
    np.testing.assert_allclose(one, many, atol=1e-6)


def test_only_what_the_model_sees_matters() -> None:
    class Corner(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.stack([x[:, 0, :2, :2].sum((1, 2)), torch.zeros(len(x))], 1)

    view = Occlusion(patch=2, stride=1, fill="zero").look(Network(model=Corner(), images=torch.ones(1, 1, 8, 8)))
    drop = view.numbers["drop"][0]
    assert np.argmax(drop) == 0
    assert (drop[2:] == 0).all() and (drop[:, 2:] == 0).all()
    assert "changes most in image 1, at row 0, column 0 px" in view.words


def test_all_images_are_drawn_on_one_scale_and_noise_is_named() -> None:
    """A drop of a third of a point must not look like one of seventy, neither beside it nor alone."""

    class Sure(nn.Module):
        def forward(self, x: Tensor) -> Tensor:  # the second image is far from the border of the classes
            return torch.stack([x.sum((1, 2, 3)) * 4 - 2, torch.zeros(len(x))], 1)

    given = torch.zeros(2, 1, 8, 8)
    given[0, 0, 3, 3], given[1, 0, 2:5, 3] = 1.0, 0.9
    lens = Occlusion(patch=1, stride=1, fill="zero")
    both, alone = lens.look(Network(model=Sure(), images=given)), lens.look(Network(model=Sure(), images=given[1:]))
    tops = np.abs(both["drop"]).max((1, 2))
    assert tops[0] > 0.7 > 0.01 > tops[1] > 0.005
    for view, bar in ((both, 80.0), (alone, 5.0)):
        panels = [axes for axes in view.figure.axes if "points" in axes.get_title()]
        assert {axes.images[1].get_clim() for axes in panels} == {(-bar, bar)}
        texts = {text.get_text() for axes in view.figure.axes for text in axes.get_yticklabels()}
        assert {f"−{bar:g}", "0", f"+{bar:g}"} <= texts
        # how opaque the most sensitive pixel of the second image is
        drawn = panels[-1].images[1]
        assert np.max(np.asarray(drawn.cmap(drawn.norm(drawn.get_array())))[..., 3]) < 0.25
    said = f"{np.ceil(1000 * tops[1]) / 10:.1f} points"
    assert f"changes the probability of class 0 (100.0 %) by more than {said}: the map shows noise" in alone.words
    assert "In 1 of 2 images no window changes it by more than 1.0 points." in both.words
    assert panels[-1].get_title() == f"no change above {said}"


def test_evidence_is_followed_where_there_are_no_classes() -> None:
    class Same(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x

    network = Network(model=Same(), images=torch.ones(1, 1, 4, 4), evidence=lambda output: output.mean((1, 2, 3)))
    found = Occlusion(patch=2, stride=2, fill="zero").look(network)
    assert found.numbers["class"].tolist() == [-1]
    np.testing.assert_allclose(found.numbers["drop"][0], np.full((2, 2), 0.25), atol=1e-6)
    with pytest.raises(UsageError, match="not a vector of classes"):
        Occlusion().look(Network(model=Same(), images=torch.ones(1, 1, 4, 4)))


@pytest.mark.parametrize("fill", ["mean", "zero", "blur", "noise"])
def test_it_leaves_nothing_behind(fill: Any) -> None:
    model, given = tiny(), images()
    state, copy = {k: v.clone() for k, v in model.state_dict().items()}, given.clone()
    chance = torch.random.get_rng_state()
    Occlusion(fill=fill).look(Network(model=model, images=given))
    assert torch.equal(given, copy), "the images were written into"
    assert all(torch.equal(v, state[k]) for k, v in model.state_dict().items())
    assert not any(module._forward_hooks or module._forward_pre_hooks or module.training for module in model.modules())
    assert all(p.grad is None and p.requires_grad for p in model.parameters())
    assert torch.equal(chance, torch.random.get_rng_state()), "the common random numbers were drawn from"
    assert torch.is_grad_enabled()


def test_names_with_a_dollar_sign_are_drawn(tmp_path: Any) -> None:
    view = Occlusion().look(Network(model=tiny(), images=images(), classes=("$\\frac{", "$a$", "<b>")))
    view.figure.savefig(tmp_path / "out.png")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"patch": 9}, "patch=9"),
        ({"patch": 0}, "patch=0"),
        ({"stride": 0}, "stride=0"),
        ({"follow": "7"}, "follow='7'"),
        ({"fill": "pink"}, "fill='pink'"),
    ],
)
def test_an_option_that_cannot_be_is_said(options: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        Occlusion(**options).look(Network(model=tiny(), images=images()))


@pytest.mark.parametrize(
    ("follow", "title"), [(None, "brightness"), ("left", "left"), ("right", "right")], ids=["its own", "left", "right"]
)
def test_titles_and_words_name_the_score_that_is_followed(follow: str | None, title: str) -> None:
    pixels = {"left": (0, 0), "right": (3, 3), "brightness": (1, 1)}
    scores = {name: (lambda output, at=at: output[:, 0, at[0], at[1]]) for name, at in pixels.items()}
    image = torch.arange(1.0, 17).view(1, 1, 4, 4) / 16
    network = Network(
        nn.Identity(), image, evidence=scores.pop("brightness"), evidence_title="brightness", followable=scores
    )
    view = Occlusion(patch=1, stride=1, fill="zero", follow=follow).look(network)
    value = image[0, 0][pixels[title]].item()
    assert f"the score ({title}) falls from {value:.3g} to 0" in view.words
    titles = [axes.get_title() for axes in view.figure.axes] if view.figure is not None else []
    assert f"{title}: {value:.3g}" in titles
