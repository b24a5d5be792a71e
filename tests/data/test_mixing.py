# SPDX-License-Identifier: Apache-2.0
"""Mixup, cut-mix and RandAugment against plain loops, and in a training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import beta, kstest
from torch import Tensor
from torch.nn import functional as F
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as change

from pellucid import data
from pellucid.data.draws import Draws
from pellucid.data.mixing import mixed
from pellucid.data.rand_augment import OPERATIONS, rand_augment
from pellucid.data.targets import Label
from pellucid.errors import UsageError
from pellucid.tasks.classify import Classify
from pellucid.training.training import train


def batch(count: int = 64, side: int = 12) -> tuple[Tensor, Tensor]:
    """Images, and the shares of their classes: each image is one value, its number, so that what comes from where is seen."""
    images = torch.arange(1.0, count + 1).view(-1, 1, 1, 1).expand(count, 3, side, side) / count
    return images.contiguous(), torch.eye(count)


def draws(count: int, step: int = 0) -> Draws:
    return Draws.step(0, step, slice(0, count), count)


def test_mixup_is_the_mean_of_two_images_and_of_their_classes() -> None:
    images, shares = batch()
    made, of_each = mixed(images, shares, draws(64), mixup=0.4)
    for i in range(64):
        weight = of_each[i, i]
        torch.testing.assert_close(made[i], weight * images[i] + (1 - weight) * images[i - 1])
        torch.testing.assert_close(of_each[i, i - 1], 1 - weight)
        assert int((of_each[i] > 0).sum()) <= 2


def test_shares_are_drawn_from_the_beta_distribution() -> None:
    count = 4000
    images = torch.zeros(count, 1, 1, 1)
    one_of_each = torch.zeros(count, 2)
    one_of_each[::2, 0] = one_of_each[1::2, 1] = 1
    for alpha in (0.2, 1.0, 3.0):
        _, shares = mixed(images, one_of_each, draws(count), mixup=alpha)
        own = shares[torch.arange(count), torch.arange(count) % 2]
        assert kstest(own.numpy(), beta(alpha, alpha).cdf).pvalue > 1e-3


def test_cutmix_puts_a_rectangle_of_one_image_into_another_and_shares_are_areas() -> None:
    images, shares = batch(side=16)
    made, of_each = mixed(images, shares, draws(64), cutmix=1.0)
    sizes = []
    for i in range(64):
        other = made[i, 0] == images[i - 1, 0]
        assert bool((other | (made[i, 0] == images[i, 0])).all())
        assert float(of_each[i, i]) == pytest.approx(1 - float(other.float().mean()), abs=1e-6)
        rows, columns = other.any(1), other.any(0)
        assert bool((other == (rows[:, None] & columns[None, :])).all())  # a full rectangle
        for side in (rows, columns):
            where = side.nonzero()[:, 0]
            assert len(where) == 0 or int(where[-1] - where[0]) + 1 == len(where)
        sizes.append(int(other.sum()))
    assert len(set(sizes)) > 20


def test_both_are_taken_each_for_about_half_of_the_images() -> None:
    images, shares = batch(400)
    made, _ = mixed(images, shares, draws(400), mixup=1.0, cutmix=1.0)
    blended = [
        len(made[i].unique()) == 1 and float(made[i].min()) not in (images[i].min(), images[i - 1].min())
        for i in range(400)
    ]
    assert 150 < sum(blended) < 250


def test_the_same_step_mixes_the_same_way() -> None:
    images, shares = batch()
    one, other, next_ = (mixed(images, shares, draws(64, step), mixup=0.3)[0] for step in (5, 5, 6))
    assert torch.equal(one, other)
    assert not torch.equal(one, next_)


def test_the_loss_of_mixed_images_is_the_mixed_loss() -> None:
    """−Σ shares · log p, by hand."""
    from torch import nn

    dataset, task = Classify(mixup=0.5, label_smoothing=0.1).read(data.open("digits"))
    split = dataset.splits["train"]
    from pellucid.data.batches import store

    made = store(split, (8, 8), 1).batch(torch.arange(16), torch.device("cpu"))
    images, truth = task.prepare(made, draws(16), training=True)
    assert truth.probabilities is not None
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    logits = model(images).detach()
    smooth = 0.9 * truth.probabilities + 0.1 / 10
    by_hand = -(smooth * logits.log_softmax(1)).sum(1).mean()
    torch.testing.assert_close(task.loss(model, images, truth)["loss"].detach(), by_hand)
    assert task.prepare(made, draws(16), training=False)[1].probabilities is None


def test_weights_of_the_classes_weigh_the_shares() -> None:
    from dataclasses import replace

    from torch import nn

    task = replace(Classify(mixup=0.5, class_weights=True), weights=(1.0, 3.0), classes=("a", "b"))
    shares = torch.tensor([[0.25, 0.75], [1.0, 0.0]])
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
    images = torch.rand(2, 1, 2, 2)
    chances = model(images).log_softmax(1)
    by_hand = -(shares * torch.tensor([1.0, 3.0]) * chances).sum() / 2
    torch.testing.assert_close(task.loss(model, images, Label(shares.argmax(1), shares))["loss"], by_hand)


# -- RandAugment: each operation of a whole batch is that of a single image by torchvision

STRENGTHS = (-0.6, 0.3, 1.0)


def alone(name: str, image: Tensor, strength: float) -> Tensor:
    """What torchvision's RandAugment does to one image, by its own table of magnitudes."""
    level = abs(strength) * 30
    bright = 1 + 0.9 * strength
    moves: dict[str, dict[str, Any]] = {
        "shear_x": {"shear": [float(np.degrees(np.arctan(0.3 * strength))), 0.0], "center": [0.0, 0.0]},
        "shear_y": {"shear": [0.0, float(np.degrees(np.arctan(0.3 * strength)))], "center": [0.0, 0.0]},
        "translate_x": {"translate": [round(150 / 331 * image.shape[-1] * strength), 0]},
        "translate_y": {"translate": [0, round(150 / 331 * image.shape[-2] * strength)]},
        "rotate": {"angle": 30.0 * strength},
    }
    if name in moves:
        asked = {"angle": 0.0, "translate": [0, 0], "scale": 1.0, "shear": [0.0, 0.0], **moves[name]}
        moved: Tensor = change.affine(image, interpolation=InterpolationMode.BILINEAR, fill=[0.0], **asked)
        return moved
    levels = (image * 255).round().to(torch.uint8)
    table: dict[str, Any] = {
        "identity": lambda: image,
        "brightness": lambda: change.adjust_brightness(image, bright),
        "colour": lambda: change.adjust_saturation(image, bright),
        "contrast": lambda: change.adjust_contrast(image, bright),
        "sharpness": lambda: change.adjust_sharpness(image, bright),
        "posterise": lambda: change.posterize(levels, 8 - round(level / 7.5)).float() / 255,
        "solarise": lambda: torch.where(image >= 1 - level / 30, 1 - image, image),
        "autocontrast": lambda: change.autocontrast(image),
        "equalise": lambda: change.equalize(levels).float() / 255,
    }
    made: Tensor = table[name]()
    return made


@pytest.mark.parametrize("name", OPERATIONS)
def test_an_operation_on_a_batch_is_that_on_each_image(name: str) -> None:
    images = torch.rand(5, 3, 16, 20, generator=torch.Generator().manual_seed(0))
    for strength in STRENGTHS:
        together = OPERATIONS[name](images, strength)
        apart = torch.stack([alone(name, image, strength) for image in images])
        torch.testing.assert_close(together, apart, rtol=1e-5, atol=1e-5)


def test_each_image_gets_operations_of_its_own_all_of_them_as_often() -> None:
    count = 1400
    image = torch.rand(3, 12, 12, generator=torch.Generator().manual_seed(1))
    made = rand_augment(image.expand(count, -1, -1, -1), 1, 18, draws(count))
    kinds = {name: [alone(name, image, sign * 18 / 30).clamp(0, 1) for sign in (1, -1)] for name in OPERATIONS}
    found = dict.fromkeys(kinds, 0)
    for one in made:
        [name, *_] = [name for name, ways in kinds.items() if any(torch.allclose(one, way, atol=1e-5) for way in ways)]
        found[name] += 1
    assert all(60 < seen < 145 for seen in found.values()), found


def test_grey_images_keep_their_one_channel() -> None:
    made = rand_augment(torch.rand(200, 1, 8, 8), 2, 30, draws(200))
    assert made.shape == (200, 1, 8, 8)
    assert 0 <= float(made.min()) <= float(made.max()) <= 1


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"mixup": -1.0}, r"mixup=-1.0: must not be negative; give e.g. 0.2, or 0 for none"),
        ({"cutmix": float("nan")}, r"cutmix=nan: must not be negative"),
        (
            {"randaugment": (2,)},
            r"randaugment=\(2,\): must be two numbers, how often from 1 and how strongly from 0 to 30",
        ),
        ({"randaugment": (2, 31)}, r"randaugment=\(2, 31\)"),
    ],
)
def test_amounts_that_cannot_be(options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        Classify(**options)


def test_a_training_with_all_three_learns_and_resumes(tmp_path: Path) -> None:
    options: dict[str, Any] = {
        "epochs": 8, "device": "cpu", "progress": False, "hidden": (64,), "mixup": 0.2, "cutmix": 1.0, "randaugment": (1, 3), "lr": 0.01,
    }  # fmt: skip
    run = train("classify", "digits", "mlp", tmp_path / "run", **options)
    assert run.evaluate(baselines=False)["model"]["accuracy"]["value"] > 0.7
    assert run.info["task"]["options"]["randaugment"] == [1, 3]
    assert F  # the loss is torch's


def test_features_are_not_kept_of_images_that_are_mixed(tmp_path: Path) -> None:
    with pytest.raises(
        UsageError, match=r"variants=2: would keep features of images, which are mixed differently in every batch"
    ):
        train("classify", "digits", "mobilenet_v2", tmp_path / "run", pretrained=False, frozen=True, size=32, epochs=1, limit=4,
              variants=2, mixup=0.2, device="cpu", progress=False)  # fmt: skip
