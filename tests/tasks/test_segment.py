# SPDX-License-Identifier: Apache-2.0
"""segment: losses and measures against values worked out another way, and masks that move with their images."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn.metrics import confusion_matrix, jaccard_score, precision_recall_fscore_support
from torch import Tensor
from torch.nn import functional as F
from torchmetrics.segmentation import DiceScore, MeanIoU
from torchvision.ops import sigmoid_focal_loss

from pellucid import data
from pellucid.data.dataset import Batch, Dataset, Pixels, Split
from pellucid.data.draws import Draws
from pellucid.data.splitting import finish
from pellucid.data.targets import VOID, Mask
from pellucid.data.transforms import Augment
from pellucid.errors import DataError, UsageError
from pellucid.lenses import Evaluation
from pellucid.lenses.confusion import Confusion
from pellucid.tasks import summarise
from pellucid.tasks.segment import Segment, borders, losses, metrics

K = 4


def masks_of(seed: int, n: int = 6, side: int = 12, void: float = 0.2, classes: int = K) -> tuple[Tensor, Tensor]:
    """Random answers and truths (n, side, side); some pixels of the truths are void, and most images lack a class."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, classes, (n, side, side))
    truth[truth == np.arange(n)[:, None, None] % classes] = 0
    answer = np.where(rng.random(truth.shape) < 0.6, truth, rng.integers(0, classes, truth.shape))
    truth[rng.random(truth.shape) < void] = VOID
    return torch.from_numpy(answer.astype(np.uint8)), torch.from_numpy(truth.astype(np.uint8))


def logits_of(seed: int, n: int = 3, classes: int = K, side: int = 5) -> Tensor:
    return torch.randn(n, classes, side, side, generator=torch.Generator().manual_seed(seed)) * 2


# -- losses


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("focus", [0.0, 2.0])
def test_the_loss_of_pixels_is_that_of_a_plain_loop(weighted: bool, focus: float) -> None:
    logits, (_, truth) = logits_of(0), masks_of(0, n=3, side=5)
    weights = [0.5, 1.0, 2.0, 3.0] if weighted else [1.0] * K
    expected = np.zeros(3)
    for b in range(3):
        for y in range(5):
            for x in range(5):
                true = int(truth[b, y, x])
                if true != VOID:
                    powers = [math.exp(float(z)) for z in logits[b, :, y, x]]
                    p = powers[true] / sum(powers)
                    expected[b] -= weights[true] * (1 - p) ** focus * math.log(p) / 25
    found = losses.pixel_loss(logits, truth, torch.tensor(weights) if weighted else None, focus)
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-4)


def test_cross_entropy_and_focal_loss_are_those_of_torch() -> None:
    """Values and slopes, without void pixels: torch divides by the pixels that count."""
    logits = logits_of(1).requires_grad_()
    _, truth = masks_of(1, n=3, side=5, void=0.0)
    ours = torch.autograd.grad(losses.pixel_loss(logits, truth).mean(), logits)[0]
    torch.testing.assert_close(ours, torch.autograd.grad(F.cross_entropy(logits, truth.long()), logits)[0])
    # with two classes, the focal loss of torchvision on the difference of their scores
    two, truth = logits_of(2, classes=2).requires_grad_(), (truth > 1).to(torch.uint8)
    theirs = sigmoid_focal_loss(two[:, 1] - two[:, 0], truth.float(), alpha=-1, gamma=1.5, reduction="mean")
    ours_loss = losses.pixel_loss(two, truth, focus=1.5).mean()
    torch.testing.assert_close(ours_loss, theirs)
    pair = [torch.autograd.grad(loss, two)[0] for loss in (ours_loss, theirs)]
    torch.testing.assert_close(pair[0], pair[1])


def test_a_pixel_that_is_surely_right_has_no_endless_slope() -> None:
    logits = torch.tensor([200.0, -200.0]).view(1, 2, 1, 1).requires_grad_()
    loss = losses.pixel_loss(logits, torch.zeros(1, 1, 1, dtype=torch.uint8), focus=0.5).sum()
    assert torch.autograd.grad(loss, logits)[0].isfinite().all()


def test_dice_of_a_sure_answer_is_that_of_its_pixels() -> None:
    """1 − the mean F1 over the classes that an image shows, by scikit-learn, on the pixels that are not void."""
    answer, truth = masks_of(3)
    sure = 60.0 * F.one_hot(answer.long(), K).movedim(3, 1)
    for found, mine, true in zip(losses.dice_loss(sure, truth), answer, truth, strict=True):
        known = true != VOID
        shown = np.unique(true[known])
        *_, f1, _ = precision_recall_fscore_support(true[known], mine[known], labels=shown, zero_division=0)
        assert float(found) == pytest.approx(1 - f1.mean(), abs=1e-5)


def test_void_pixels_cost_nothing_and_move_nothing() -> None:
    logits, (_, truth) = logits_of(4).requires_grad_(), masks_of(4, n=3, side=5)
    for focus, dice in ((0.0, 0.0), (2.0, 1.0)):
        loss = losses.losses(logits, truth, torch.arange(1.0, 1 + K), focus, dice)["loss"]
        slope = torch.autograd.grad(loss, logits)[0]
        void = (truth == VOID)[:, None].expand_as(slope)
        assert bool((slope[void] == 0).all()) and bool((slope[~void] != 0).any())
    nothing = losses.losses(logits, torch.full_like(truth, VOID), None, 2.0, 1.0)
    assert all(float(value.detach()) == 0 for value in nothing.values())


def test_the_loss_of_a_batch_is_the_mean_of_its_halves() -> None:
    """However unequal their void pixels: several processes then train as one."""
    logits, (_, truth) = logits_of(5, n=4), masks_of(5, n=4, side=5)
    truth[0, :4] = VOID
    for focus, dice in ((0.0, 0.5), (1.0, 0.0)):
        whole, *halves = (
            losses.losses(logits[part], truth[part], torch.arange(1.0, 1 + K), focus, dice)
            for part in (slice(0, 4), slice(0, 2), slice(2, 4))
        )
        for name, value in whole.items():
            torch.testing.assert_close(value, (halves[0][name] + halves[1][name]) / 2)


def test_parts_are_those_of_the_loss() -> None:
    logits, (_, truth) = logits_of(6), masks_of(6, n=3, side=5)
    assert losses.losses(logits, truth, None, 0.0, 0.0).keys() == {"loss"}
    found = losses.losses(logits, truth, None, 0.0, 0.5)
    assert found.keys() == {"loss", "cross_entropy", "dice"}
    torch.testing.assert_close(found["loss"], found["cross_entropy"] + 0.5 * found["dice"])
    assert "focal" in losses.losses(logits, truth, None, 2.0, 0.5)


def test_weights_of_classes_are_the_median_frequency_over_their_own() -> None:
    """Eigen & Fergus 2015: pixels of a class over those of the images that show it, by a plain loop."""
    _, truth = masks_of(7, classes=5)
    truth[truth == 3] = 0
    frequencies = {}
    for index in range(5):
        own = every = 0
        for mask in truth:
            if bool((mask == index).any()):
                own += int((mask == index).sum())
                every += int((mask != VOID).sum())
        if every:
            frequencies[index] = own / every
    middle = float(np.median([*frequencies.values()]))
    expected = [middle / frequencies[i] if i in frequencies else 1.0 for i in range(5)]
    assert losses.median_frequency(metrics.tally(truth)) == pytest.approx(expected)
    assert expected[3] == 1.0


# -- measures


def test_confusions_are_those_of_a_peer() -> None:
    answer, truth = masks_of(8)
    found = metrics.confusions(answer, truth, K)
    for cells, mine, true in zip(found, answer, truth, strict=True):
        known = true != VOID
        np.testing.assert_array_equal(cells, confusion_matrix(true[known], mine[known], labels=range(K)))
    # K = 16 and more: the cells beyond 255 of a byte
    answer, truth = masks_of(9, classes=40)
    known = truth != VOID
    total = metrics.confusions(answer, truth, 40).sum(0)
    np.testing.assert_array_equal(total, confusion_matrix(truth[known], answer[known], labels=range(40)))


@pytest.mark.parametrize("seed", range(3))
def test_measures_are_those_of_peers_with_absent_classes_and_void(seed: int) -> None:
    """A class in neither truth nor answer leaves the mean as it is, where some tools count it as 0; 255 counts nowhere."""
    answer, truth = masks_of(seed)
    answer[answer == 2], truth[truth == 2] = 1, 1  # no pixel has class 2 of 4
    records = metrics.columns(answer, truth, K)
    found = summarise(metrics.METRICS, records)
    known = truth != VOID
    mine, true = answer[known].numpy(), truth[known].numpy()
    assert found["mean_iou"].value == pytest.approx(jaccard_score(true, mine, labels=[0, 1, 3], average="macro"))
    theirs = MeanIoU(num_classes=K, input_format="index", per_class=True)
    theirs.update(torch.from_numpy(mine).long()[None], torch.from_numpy(true).long()[None])
    assert found["mean_iou"].value == pytest.approx(float(theirs.compute()[[0, 1, 3]].mean()), rel=1e-5)
    dice = DiceScore(num_classes=K, input_format="index", average="none", aggregation_level="global")
    dice.update(torch.from_numpy(mine).long()[None], torch.from_numpy(true).long()[None])
    assert found["mean_dice"].value == pytest.approx(float(dice.compute()[[0, 1, 3]].mean()), rel=1e-5)
    assert found["pixel_accuracy"].value == pytest.approx((mine == true).mean())
    rows = metrics.details(records, list("abcd"))["per_class"]
    ppv, tpr, f1, _ = precision_recall_fscore_support(true, mine, labels=range(K), zero_division=np.nan)
    for i, row in enumerate(rows):
        if i == 2:
            assert row["IoU"] is None and row["tpr"] is None and row["images"] == 0
            assert row["tnr"]["value"] == 1
            continue
        tnr = ((mine != i) & (true != i)).sum() / (true != i).sum()
        values = [row[title]["value"] for title in ("IoU", "Dice", "tpr", "tnr", "ppv")]
        iou = ((mine == i) & (true == i)).sum() / ((mine == i) | (true == i)).sum()
        assert values == pytest.approx([iou, f1[i], tpr[i], tnr, ppv[i]])
        assert row["IoU"]["low"] <= row["IoU"]["value"] <= row["IoU"]["high"]
        assert row["images"] == int((truth == i).flatten(1).any(1).sum())


def test_a_class_that_is_only_answered_counts_as_wrong() -> None:
    truth = torch.zeros(1, 2, 2, dtype=torch.uint8)
    answer = torch.tensor([[[0, 0], [0, 1]]], dtype=torch.uint8)
    found = summarise(metrics.METRICS, metrics.columns(answer, truth, 3))
    assert found["mean_iou"].value == pytest.approx((3 / 4 + 0) / 2)


def test_the_mean_iou_of_a_resample_is_over_the_classes_in_it() -> None:
    """From summed counts: neither a mean of images' means nor one over classes that were not drawn."""
    answer, truth = masks_of(11)
    metric, records = metrics.METRICS[0], metrics.columns(answer, truth, K)
    weights = np.array([[2, 0, 0, 1, 0, 0], [0, 1, 1, 0, 0, 3], [1, 0, 0, 0, 0, 0]], float)
    for row, found in zip(weights.astype(int), metric.values(records, weights), strict=True):
        chosen = np.repeat(np.arange(6), row)
        known = truth[chosen] != VOID
        mine, true = answer[chosen][known], truth[chosen][known]
        there = np.union1d(mine, true)
        assert found == pytest.approx(jaccard_score(true, mine, labels=there, average="macro"))
    lone = summarise(metrics.METRICS, metrics.columns(answer[:1], torch.full_like(truth[:1], VOID), K))
    assert math.isnan(lone["mean_iou"].value) and math.isnan(lone["border_accuracy"].value)


def test_the_ranking_is_the_mean_iou_of_each_image() -> None:
    answer, truth = masks_of(12)
    found = metrics.ranking(metrics.columns(answer, truth, K))
    for value, mine, true in zip(found, answer, truth, strict=True):
        known = true != VOID
        there = np.union1d(mine[known], true[known])
        assert value == pytest.approx(jaccard_score(true[known], mine[known], labels=there, average="macro"))


@pytest.mark.parametrize("radius", [1, 3])
def test_borders_by_a_plain_loop(radius: int) -> None:
    rng = np.random.default_rng(radius)
    truth = np.kron(rng.integers(0, 3, (2, 3, 4)), np.ones((5, 4), int)).astype(np.uint8)  # (2, 15, 16) blocks
    truth[rng.random(truth.shape) < 0.1] = VOID
    expected: NDArray[np.bool_] = np.zeros(truth.shape, bool)
    for b, y, x in np.ndindex(*truth.shape):
        for v, u in np.ndindex(*truth.shape[1:]):
            close = (v - y) ** 2 + (u - x) ** 2 <= radius**2
            if close and VOID not in (truth[b, y, x], truth[b, v, u]) and truth[b, y, x] != truth[b, v, u]:
                expected[b, y, x] = True
    found = borders.near_borders(torch.from_numpy(truth), radius).numpy()
    np.testing.assert_array_equal(found, expected)
    answer = torch.from_numpy(np.where(rng.random(truth.shape) < 0.7, truth, 1).astype(np.uint8))
    counts = metrics.columns(answer, torch.from_numpy(truth), 256)["border"] if radius == 3 else None
    if counts is not None:
        right = (answer.numpy() == truth) & expected
        np.testing.assert_array_equal(counts, np.stack([right.sum((1, 2)), expected.sum((1, 2))], 1))


def test_borders_of_an_image_smaller_than_their_reach() -> None:
    assert borders.near_borders(torch.tensor([[[0, 1]]], dtype=torch.uint8)).tolist() == [[[True, True]]]
    assert borders.near_borders(torch.zeros(2, 1, 1, dtype=torch.uint8)).tolist() == [[[False]], [[False]]]


def test_the_lens_confusion_counts_the_same_pixels() -> None:
    answer, truth = masks_of(13)
    records = metrics.columns(answer, truth, K)
    view = Confusion().look(Evaluation(records, classes=tuple("abcd")))
    known = truth != VOID
    np.testing.assert_array_equal(view["confusion"], confusion_matrix(truth[known], answer[known]))
    assert f"of {int(known.sum()):,} pixels are wrong" in view.words


# -- images and masks


def painted(n: int = 8, side: int = 16, classes: tuple[str, ...] = ("background", "cat", "dog")) -> Dataset:
    """Images whose grey level tells the class of each pixel, so that what was moved can be read from it."""
    rng = np.random.default_rng(0)
    masks = np.kron(rng.integers(0, len(classes), (n, 4, 4)), np.ones((side // 4, side // 4), int)).astype(np.uint8)
    images = np.repeat((masks * 100)[:, None], 3, 1).astype(np.uint8)
    split = Split(Pixels(images), {"mask": Mask(torch.from_numpy(masks))}, [f"{i}.png" for i in range(n)])
    parts = {"train": split, "val": split.select([0]), "test": split.select([1, 2])}
    return finish("painted", parts, (), mask_classes=classes)


@pytest.mark.parametrize("augment", [Augment(crop=3, flip=True), Augment(turn=True), Augment(rotate=40, scale=0.3)])
def test_image_and_mask_move_together(augment: Augment) -> None:
    dataset, task = Segment(augment=augment).read(painted())
    split = dataset["train"]
    truth = split.targets["mask"]
    assert isinstance(split.images, Pixels) and isinstance(truth, Mask)
    batch = Batch(torch.from_numpy(split.images.array), {"mask": truth}, torch.arange(8))
    input, moved = task.prepare(batch, Draws.step(0, 0, slice(0, 8), 8), training=True)
    assert not torch.equal(moved.classes, truth.classes)
    known = moved.classes != VOID
    levels = (input[:, 0] * 255 / 100).round().to(torch.uint8)
    agree = float((levels == moved.classes)[known].float().mean())
    # bilinear pictures and nearest classes differ at borders only
    assert agree == 1 if not augment.rotate else agree > 0.85
    assert set(moved.classes.unique().tolist()) <= {0, 1, 2, VOID}


def test_evaluation_leaves_images_and_masks_as_they_are() -> None:
    dataset, task = Segment(augment=Augment(flip=True, crop=4)).read(painted())
    truth = dataset["test"].targets["mask"]
    assert isinstance(truth, Mask) and isinstance(dataset["test"].images, Pixels)
    batch = Batch(torch.from_numpy(dataset["test"].images.array), {"mask": truth}, torch.arange(2))
    input, known = task.prepare(batch, Draws.images(0, batch.index), training=False)
    assert torch.equal(known.classes, truth.classes) and input.max() <= 1


def test_data_without_masks_or_with_one_class_are_refused() -> None:
    with pytest.raises(DataError, match=r"data='digits': has no masks, which segment needs; give images with masks"):
        Segment().read(data.open("digits"))
    with pytest.raises(DataError, match=r"data='painted': all pixels of its masks are 'cat'; give masks with two"):
        Segment().read(painted(classes=("cat",)))


def test_options_out_of_range_are_refused() -> None:
    with pytest.raises(UsageError, match=r"focus=-1: must lie in \[0, 10\]"):
        Segment(focus=-1)
    with pytest.raises(UsageError, match=r"balance='inverse'"):
        Segment(balance="inverse")


def test_classes_are_those_of_pixels() -> None:
    """A data set with labels and masks: the classes of images and those of pixels are not the same."""
    dataset, task = Segment().read(data.open("scenes"))
    assert dataset.classes == ("background", *data.open("scenes").classes)
    assert task.outputs(dataset, (64, 64)) == 9
    assert set(dataset["train"].targets) == {"mask"} and dataset.counts == {}
