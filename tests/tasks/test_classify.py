# SPDX-License-Identifier: Apache-2.0
"""classify against scikit-learn, closed forms and per-image resampling."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from counting import calls
from sklearn import metrics
from torch import nn
from torch.nn import functional as F

from pellucid._options import build
from pellucid.data import open as open_data
from pellucid.data.dataset import Batch, Dataset, Pixels, Split
from pellucid.data.draws import Draws
from pellucid.data.targets import Label
from pellucid.data.transforms import Augment
from pellucid.errors import DataError, UsageError
from pellucid.tasks import Measure, summarise
from pellucid.tasks.classify import Classify


def records(n: int, classes: int, seed: int = 0, used: int | None = None) -> dict[str, np.ndarray]:
    """Answers of a middling classifier; only the first `used` classes occur."""
    rng = np.random.default_rng(seed)
    true = rng.integers(0, used or classes, n)
    logits = rng.standard_normal((n, classes))
    logits[:, used or classes :] = -50
    logits[np.arange(n), true] += 1.5
    shares = (np.exp(logits) / np.exp(logits).sum(1, keepdims=True)).astype(np.float32)
    return {"true": true, "predicted": shares.argmax(1), "confidence": shares.max(1), "probabilities": shares}


def measured(table: Mapping[str, Any], classes: Sequence[str], seed: int = 0) -> dict[str, Measure]:
    return summarise(Classify().metrics(classes), table, seed)


def labelled(labels: list[int], classes: int = 3) -> Dataset:
    rng = np.random.default_rng(0)
    images = Pixels(rng.integers(0, 256, (len(labels), 1, 4, 4), dtype=np.uint8))
    split = Split(images, {"label": Label(torch.tensor(labels))})
    empty = Split(images.select([]), {"label": Label(torch.zeros(0, dtype=torch.int64))})
    names = tuple("abcdefgh"[:classes])
    return Dataset("drawn", {"train": split, "val": empty, "test": split}, classes=names)


@pytest.mark.parametrize("used", [4, 6])
def test_measures_equal_scikit_learn(used: int) -> None:
    table = records(500, 6, used=used)
    found = measured(table, tuple("abcdef"))
    true, predicted = table["true"], table["predicted"]
    with np.errstate(all="ignore"):
        p, r, f, _ = metrics.precision_recall_fscore_support(true, predicted, average="macro", zero_division=0)
    expected = {"accuracy": metrics.accuracy_score(true, predicted), "precision": p, "recall": r, "f1": f}
    for name, value in expected.items():
        assert found[name].value == pytest.approx(value, abs=1e-12), name
        assert found[name].low <= value <= found[name].high


def test_details_equal_scikit_learn_per_class() -> None:
    table = records(400, 5)
    details = Classify().details(table, tuple("abcde"))
    assert details["confusion"] == metrics.confusion_matrix(table["true"], table["predicted"]).tolist()
    p, r, _, n = metrics.precision_recall_fscore_support(table["true"], table["predicted"])
    for row, precision, recall, count in zip(details["per_class"], p, r, n, strict=True):
        assert row["n"] == count
        assert row["precision"]["value"] == pytest.approx(precision)
        assert row["recall"]["value"] == pytest.approx(recall)
        assert row["recall"]["low"] < recall < row["recall"]["high"]


def test_a_class_that_does_not_occur_has_no_precision_or_recall() -> None:
    row = Classify().details(records(100, 4, used=3), tuple("abcd"))["per_class"][3]
    assert row == {"class": "d", "n": 0, "precision": None, "recall": None}


def test_interval_of_accuracy_is_the_binomial_one() -> None:
    right = np.arange(1000) < 900
    found = measured({**records(1000, 2), "true": np.zeros(1000, int), "predicted": np.where(right, 0, 1)}, ("a", "b"))
    reach = 1.96 * np.sqrt(0.9 * 0.1 / 1000)
    assert found["accuracy"].low == pytest.approx(0.9 - reach, abs=0.003)
    assert found["accuracy"].high == pytest.approx(0.9 + reach, abs=0.003)


def test_drawing_counts_is_drawing_images() -> None:
    table = records(300, 3, seed=2)
    fast = measured(table, tuple("abc"))["f1"]
    rng = np.random.default_rng(5)
    slow = []
    for _ in range(400):
        rows = rng.integers(0, 300, 300)
        slow.append(metrics.f1_score(table["true"][rows], table["predicted"][rows], average="macro"))
    assert (fast.low, fast.high) == pytest.approx(np.percentile(slow, [2.5, 97.5]), abs=0.012)


def test_calibration_error_in_closed_form() -> None:
    # all say 0.75 and half are right: the gap is 0.25; those who say 0.55 are right by 0.55 exactly
    confidence = np.repeat([0.75, 0.55], [100, 100])
    right = np.r_[np.arange(100) < 50, np.arange(100) < 55]
    true = np.zeros(200, np.int64)
    shares = np.stack([confidence, 1 - confidence], 1)
    table = {"true": true, "predicted": np.where(right, 0, 1), "confidence": confidence, "probabilities": shares}
    found = measured(table, ("a", "b"))["calibration_error"]
    assert found.value == pytest.approx(0.125)
    assert found.better == "lower"
    bins = Classify().details(table, ("a", "b"))["reliability"]
    assert [row["n"] for row in bins] == [100, 100]
    assert bins[1]["accuracy"] == pytest.approx(0.5)
    assert bins[1]["confidence"] == pytest.approx(0.75)


def test_intervals_are_repeatable_and_follow_the_seed() -> None:
    table = records(200, 3)
    one, same, other = (measured(table, tuple("abc"), seed) for seed in (1, 1, 2))
    assert one == same
    assert one["f1"].low != other["f1"].low


def test_intervals_of_ten_thousand_images_are_made_in_blocks() -> None:
    """Resamples are drawn a block at a time: one by one they would take a thousand times the steps, image by image a minute."""
    few, many = records(100, 10), records(10_000, 10)
    classes = tuple("abcdefghij")
    measured(few, classes)  # what is imported on first use does not count
    assert calls(lambda: measured(many, classes)) < 10 * calls(lambda: measured(few, classes))


def test_a_thousand_classes_need_no_table_of_a_thousand_million_cells() -> None:
    table = records(3000, 1000)
    found = measured(table, [str(i) for i in range(1000)])
    assert found["accuracy"].value == pytest.approx((table["true"] == table["predicted"]).mean())


class Fixed(nn.Module):
    """Gives these logits whatever the images."""

    logits: torch.Tensor

    def __init__(self, logits: torch.Tensor) -> None:
        super().__init__()
        self.register_buffer("logits", logits)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.logits[: len(images)]


def test_weighted_loss_makes_classes_count_alike_and_batches_add_up() -> None:
    labels = [0] * 6 + [1] * 3 + [2]
    _, task = Classify(class_weights=True, label_smoothing=0.1).read(labelled(labels))
    logits = torch.randn(10, 3, generator=torch.Generator().manual_seed(0))
    truth = torch.tensor(labels)
    whole = task.loss(Fixed(logits), torch.zeros(10, 1), Label(truth))["loss"]
    weights = torch.tensor([10 / 18, 10 / 9, 10 / 3])
    # over the whole training set the weights' mean is 1, so that torch's weighted mean is the same
    assert whole == pytest.approx(float(F.cross_entropy(logits, truth, weights, label_smoothing=0.1)), rel=1e-5)
    halves = [
        task.loss(Fixed(logits[half]), torch.zeros(5, 1), Label(truth[half]))["loss"]
        for half in (slice(0, 5), slice(5, 10))
    ]
    assert float(sum(halves) / 2) == pytest.approx(float(whole), rel=1e-6)


def test_loss_without_weights_is_cross_entropy() -> None:
    logits, truth = torch.randn(6, 4), torch.tensor([0, 1, 2, 3, 0, 1])
    found = Classify(label_smoothing=0.2).loss(Fixed(logits), torch.zeros(6, 1), Label(truth))["loss"]
    assert float(found) == pytest.approx(float(F.cross_entropy(logits, truth, label_smoothing=0.2)), rel=1e-6)


def test_a_class_without_training_images_has_weight_one() -> None:
    _, task = Classify(class_weights=True).read(labelled([0, 0, 1]))
    loss = task.loss(Fixed(torch.zeros(1, 3)), torch.zeros(1, 1), Label(torch.tensor([2])))["loss"]
    assert float(loss) == pytest.approx(np.log(3))


def test_weights_that_were_never_read_are_refused() -> None:
    with pytest.raises(
        UsageError,
        match=r"class_weights=True: the weights come from the training images; use the task that read\(data\) returns",
    ):
        Classify(class_weights=True).loss(Fixed(torch.zeros(1, 3)), torch.zeros(1, 1), Label(torch.tensor([0])))


def test_weights_of_training_stay_when_data_without_a_training_part_are_read() -> None:
    data = labelled([0, 0, 0, 1])
    _, task = Classify(class_weights=True).read(data)
    alone = data.replace(splits={"train": data.splits["val"], "val": data.splits["val"], "test": data.splits["test"]})
    answer = Fixed(torch.tensor([[0.0, 1.0, 0.0]])), torch.zeros(1, 1), Label(torch.tensor([1]))
    before = task.loss(*answer)["loss"]
    assert float(task.read(alone)[1].loss(*answer)["loss"]) == float(before)
    assert "weights" not in task.options, "they are learned, no option"


def test_data_without_labels_are_refused() -> None:
    data = labelled([0, 1])
    bare = data.replace(splits={name: Split(split.images) for name, split in data.splits.items()}, classes=())
    with pytest.raises(DataError, match=r"data='drawn': has no labels.*folder of its own"):
        Classify().read(bare)


@pytest.mark.parametrize(
    "options", [{"label_smoothing": 1.0}, {"label_smoothing": -0.1}, {"rotate": 270.0}, {"crop": -1}]
)
def test_option_out_of_range_is_refused_by_name(options: dict[str, float]) -> None:
    with pytest.raises(
        UsageError, match=rf"^{next(iter(options))}={next(iter(options.values()))}: must lie in .*; give"
    ):
        build(Classify, options)


def test_augmentation_is_for_training_only() -> None:
    task = Classify(augment=Augment(crop=2, flip=True, exposure=0.5))
    images = torch.randint(0, 256, (8, 3, 12, 12), dtype=torch.uint8)
    batch = Batch(images, {"label": Label(torch.arange(8) % 2)}, torch.arange(8))
    trained, _ = task.prepare(batch, Draws.step(0, 0, slice(0, 8), 8), training=True)
    tested, target = task.prepare(batch, Draws.images(0, batch.index), training=False)
    assert torch.equal(tested, images.float() / 255)
    assert not torch.equal(trained, tested)
    assert target is batch.targets["label"]


def test_prediction_is_the_softmax_and_a_row_says_it() -> None:
    logits = torch.tensor([[0.0, 2.0, 0.0], [3.0, 0.0, 0.0]])
    task = Classify()
    answer = task.predict(Fixed(logits), torch.zeros(2, 1, 4, 4))
    assert answer.probabilities is not None
    assert torch.allclose(answer.probabilities, logits.softmax(1))
    rows = task.write(answer, ["x.png", "y.png"], ("a", "b", "c"))
    assert [row["label"] for row in rows] == ["b", "a"]
    assert (
        rows[0]["probability"] == rows[0]["probabilities"]["b"] == pytest.approx(np.exp(2) / (np.exp(2) + 2), abs=1e-6)
    )
    assert list(rows[0]["probabilities"]) == ["a", "b", "c"]
    table = task.score(torch.zeros(2, 1), answer, Label(torch.tensor([1, 1])))
    assert table["predicted"].tolist() == [1, 0]
    assert table["probabilities"].dtype == np.float32
    assert task.ranking(table) == pytest.approx([float(answer.probabilities[0, 1]), float(answer.probabilities[1, 1])])


def test_baselines_on_digits_agree_with_scikit_learn() -> None:
    from sklearn.neighbors import KNeighborsClassifier

    data, task = Classify().read(open_data("digits"))
    train, test = data.splits["train"], data.splits["test"]
    found = task.baselines(train, test, (8, 8))
    assert list(found) == ["majority class", "5 nearest neighbours", "logistic regression"]
    truth = test.targets["label"].index.numpy()  # type: ignore[attr-defined]
    for table in found.values():
        assert (table["true"] == truth).all()
        assert table["probabilities"].sum(1) == pytest.approx(1, abs=1e-5)
    pixels = [np.stack([part.images.read(i, 1).ravel() for i in range(len(part))]) / 255.0 for part in (train, test)]
    judge = KNeighborsClassifier(5).fit(pixels[0], train.targets["label"].index.numpy())  # type: ignore[attr-defined]
    nearest = found["5 nearest neighbours"]["predicted"]
    assert (nearest == truth).mean() == pytest.approx(
        judge.score(pixels[1], truth), abs=0.006
    )  # ties differ by rounding
    accuracy = {name: measured(table, data.classes)["accuracy"].value for name, table in found.items()}
    assert accuracy["majority class"] < 0.15 < 0.93 < accuracy["logistic regression"]


def test_baselines_say_how_many_images_they_learnt_from(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pellucid.tasks.classify.classify._BASELINE_IMAGES", 1000)
    data = open_data("digits")
    found = Classify().baselines(data.splits["train"], data.splits["test"], (8, 8))
    assert list(found)[1:] == ["5 nearest neighbours (1,000 images)", "logistic regression (1,000 images)"]


def test_baselines_need_training_images_and_bear_a_single_class() -> None:
    data = labelled([1, 1, 1, 1, 1, 1])
    assert Classify().baselines(data.splits["val"], data.splits["test"], (4, 4)) == {}
    for table in Classify().baselines(data.splits["train"], data.splits["test"], (4, 4)).values():
        assert (table["predicted"] == 1).all()


def test_figure_shows_every_image_once_and_marks_the_truth() -> None:
    shares = torch.tensor([[0.7, 0.2, 0.1], [0.1, 0.8, 0.1]])
    truth = Label(torch.tensor([0, 2]))
    figure = Classify().draw(
        torch.rand(2, 3, 9, 9), Label(shares.argmax(1), shares), truth, ["a.png", "b.png"], tuple("xyz")
    )
    assert sum(len(axes.images) for axes in figure.axes) == 2
    said = [text.get_text() for axes in figure.axes for text in axes.texts]
    assert "x  70 %" in said
    assert "z (true)  10 %" in said
