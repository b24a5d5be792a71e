# SPDX-License-Identifier: Apache-2.0
"""The options of convnet that serve long trainings: blocks that pool, a grid, and a first convolution that whitens."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from pellucid.errors import UsageError
from pellucid.models._building import build
from pellucid.training.plan import Plan
from pellucid.training.state import State


def made(name: str = "convnet", channels: int = 3, side: int = 32, **given: Any) -> Any:
    torch.manual_seed(0)
    return build({"name": name, "channels": channels, "outputs": 10, "size": [side, side], "options": given})


def test_convnet_that_pools() -> None:
    """What the layers say in words, computed by torch's functions: conv, the largest of 2×2, norm, ReLU, conv, norm, ReLU, average."""
    model = made("convnet", widths=(8, 4), batch_norm=True, pool=True, grid=1)
    kinds = [type(part).__name__ for part in model.features]
    assert kinds == ["Conv2d", "MaxPool2d", "BatchNorm2d", "ReLU", "Conv2d", "BatchNorm2d", "ReLU"] * 2
    images = torch.rand(4, 3, 32, 32)
    model.train()(images).sum().backward()
    assert bool(model.features[0].weight.grad.any())
    model.eval()
    x = model.normalize(images)
    for first, norm, second, after in ((0, 2, 4, 5), (7, 9, 11, 12)):
        x = F.max_pool2d(F.conv2d(x, model.features[first].weight, model.features[first].bias, padding=1), 2)
        x = F.relu(model.features[norm](x))
        x = F.relu(
            model.features[after](F.conv2d(x, model.features[second].weight, model.features[second].bias, padding=1))
        )
    assert x.shape == (4, 4, 8, 8)
    torch.testing.assert_close(model(images), model.head(x.mean((2, 3))))
    assert model(torch.rand(2, 3, 45, 70)).shape == (2, 10)


@pytest.mark.parametrize(("given", "least"), [({"grid": 1}, 8), ({"grid": 2}, 16), ({"heads": 2}, 24)])
def test_convnet_that_pools_halves_down_to_its_grid(given: dict[str, Any], least: int) -> None:
    model = made("convnet", side=least, widths=(4, 4, 4), pool=True, **given).eval()
    assert model(torch.rand(2, 3, least, least)).shape == (2, 10)
    with pytest.raises(UsageError, match=rf"^size={least - 1}×{least - 1}: is below {least}×{least} px"):
        made("convnet", side=least - 1, widths=(4, 4, 4), pool=True, **given)


@pytest.mark.parametrize(
    ("given", "told"),
    [({"grid": 0}, r"^grid=0: must be at least 1"), ({"pool": True, "stride": 2}, r"^stride=2: does not go with pool")],
)
def test_convnet_refuses_what_does_not_go_together(given: dict[str, Any], told: str) -> None:
    with pytest.raises(UsageError, match=told):
        made("convnet", **given)


def smooth(count: int, channels: int = 3, side: int = 16) -> torch.Tensor:
    """Images in [0, 1] whose neighbouring pixels are alike, and whose channels are too."""
    noise = torch.rand(count, 1, side + 4, side + 4, generator=torch.Generator().manual_seed(1))
    mixed = F.avg_pool2d(noise, 5, 1) + 0.1 * torch.rand(
        count, channels, side, side, generator=torch.Generator().manual_seed(2)
    )
    return mixed / mixed.amax()


@pytest.mark.parametrize("channels", [1, 3])
def test_the_first_convolution_whitens_patches(channels: int) -> None:
    """Its answers are uncorrelated, have the variance that its ε leaves, and come with both signs."""
    images = smooth(200, channels)
    model = made("convnet", channels, 16, widths=(4,), whiten=True)
    model.normalize.fit(images.mean((0, 2, 3)), images.std((0, 2, 3)))
    model.whiten(images)
    count = 4 * channels
    answers = model.features[0](model.normalize(images)).double()  # (N, 8·C, 15, 15)
    torch.testing.assert_close(answers[:, count:], -answers[:, :count])
    seen = torch.cov(answers[:, :count].transpose(0, 1).flatten(1))
    normal = model.normalize(images)
    patches = torch.stack(
        [normal[:, c, y : y + 15, x : x + 15].flatten() for c in range(channels) for y in (0, 1) for x in (0, 1)]
    )
    variances = torch.linalg.eigvalsh(torch.cov(patches.double())).flip(0)
    torch.testing.assert_close(seen, torch.diag(variances / (variances + 5e-4)), atol=1e-4, rtol=1e-3)
    assert variances[0] / variances[-1] > 10  # which they were not before


def test_what_whitens_is_not_learned_and_is_saved_with_the_weights() -> None:
    model = made("convnet", 3, 16, widths=(4,), whiten=True)
    before = model.features[0].weight.clone()
    assert before.flatten(1).abs().sum(1).eq(1).all()  # one pixel each
    model.whiten(smooth(50))
    assert not torch.equal(model.features[0].weight, before)
    assert not model.features[0].weight.requires_grad
    assert "features.0.weight" in model.state_dict()
    without = made("convnet", 3, 16, widths=(4,))
    weights = without.features[0].weight.clone()
    without.whiten(smooth(50))
    assert torch.equal(without.features[0].weight, weights)


def test_a_training_whitens_by_its_training_images_once(tmp_path: Path) -> None:
    options = {"widths": (4,), "whiten": True, "limit": 64, "epochs": 1, "device": "cpu"}
    plan = Plan.of("classify", "digits", "convnet", options)
    state = State.begin(plan)
    batch = state.feed.train.batch(torch.arange(64))
    expected = made("convnet", 1, 8, widths=(4,), whiten=True)
    expected.normalize.load_state_dict(state.model.normalize.state_dict())
    expected.whiten(batch.images.float() / 255)
    found = state.model.features[0].weight
    torch.testing.assert_close(found, expected.features[0].weight)
    assert not torch.equal(found, plan.build().features[0].weight)
    # a training that goes on takes them from its state, and one that sets out from weights from there
    again = State.begin(plan, fresh=False)
    assert torch.equal(again.model.features[0].weight, plan.build().features[0].weight)
    given = {name: value + 0.5 for name, value in state.model.state_dict().items()}
    begun = State.begin(Plan.of("classify", "digits", "convnet", options, weights=given))
    assert torch.equal(begun.model.features[0].weight, given["features.0.weight"])


def test_a_model_that_whitens_goes_through_training_and_back(tmp_path: Path) -> None:
    import pellucid

    options: dict[str, Any] = {"widths": (4, 8), "batch_norm": True, "pool": True, "grid": 1, "whiten": True}
    run = pellucid.train(
        "classify", "digits", "convnet", tmp_path / "run", progress=False, epochs=1, limit=64, size=9, **options
    )
    found = run.model().features[0].weight
    assert not found.flatten(1).abs().sum(1).eq(1).all()
    fresh = State.begin(Plan.of("classify", "digits", "convnet", {**options, "epochs": 1, "limit": 64, "size": 9}))
    torch.testing.assert_close(found.float().cpu(), fresh.model.features[0].weight)  # steps have not moved it
    words = pellucid.look(run, "filters", out=tmp_path / "filters").words
    assert words.startswith(
        "The filters of features.0 moved by 0 % of their norm (median) from the run's own start, seed 0."
    )
