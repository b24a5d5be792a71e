# SPDX-License-Identifier: Apache-2.0
"""Measures of class probabilities against scikit-learn: ties, absent classes, one class alone, probabilities of 0 and 1."""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.text import Text
from PIL import Image
from sklearn import metrics

from pellucid._png import drawn as png_of
from pellucid.tasks import differences, summarise
from pellucid.tasks._metrics import resamples
from pellucid.tasks.classify import Classify, ranking
from pellucid.tasks.classify.metrics import columns

NAMES = tuple("abcdefgh")


def drawn(n: int, classes: int, seed: int, *, used: int | None = None, ties: bool = False) -> dict[str, Any]:
    """Records of random answers; only the first `used` classes occur, and with ties few different probabilities do."""
    rng = np.random.default_rng(seed)
    true = rng.integers(0, used or classes, n)
    shares = rng.dirichlet(np.full(classes, 0.6), n)
    shares[np.arange(n), true] += 0.3
    if ties:
        shares = np.round(shares * 4)  # many equal ones, of 0 and of 1 too
        shares[shares.sum(1) == 0, 0] = 1
    shares /= shares.sum(1, keepdims=True)
    return columns(torch.from_numpy(true), torch.from_numpy(shares).float())


def value(table: dict[str, Any], classes: Sequence[str], key: str, **options: Any) -> float:
    [metric] = [metric for metric in Classify(**options).metrics(classes) if metric.key == key]
    return metric.value(table)


def expected(table: dict[str, Any], classes: int, positive: int = 1) -> dict[str, float]:
    """All measures by scikit-learn, whose macro averages go over the classes that occur."""
    true, predicted, shares = table["true"], table["predicted"], table["probabilities"]
    known = [k for k in range(classes) if (true == k).any() and not (true == k).all()]
    own = [positive] if classes == 2 else known
    one_hot = np.eye(classes)[true]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of predicted classes that are not true anywhere
        found = {
            "balanced_accuracy": metrics.balanced_accuracy_score(true, predicted),
            "matthews": metrics.matthews_corrcoef(true, predicted),
            "log_loss": metrics.log_loss(true, y_proba=shares, labels=range(classes)),
            "roc_auc": np.mean([metrics.roc_auc_score(true == k, shares[:, k]) for k in own]),
            "average_precision": np.mean([metrics.average_precision_score(true == k, shares[:, k]) for k in own]),
            "brier": metrics.brier_score_loss(one_hot[:, positive], shares[:, positive])
            if classes == 2
            else ((one_hot - shares.astype(np.float64)) ** 2).sum(1).mean(),
        }
    if classes == 2:
        found["sensitivity"] = metrics.recall_score(true, predicted, pos_label=positive)
        found["specificity"] = metrics.recall_score(true, predicted, pos_label=1 - positive)
    if (
        classes > 5
    ):  # scikit-learn prefers the last of equal ones, accuracy the first: seen from the other end it is the same
        found["top5_accuracy"] = metrics.top_k_accuracy_score(
            classes - 1 - true, shares[:, ::-1], k=5, labels=range(classes)
        )
    return found


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize(("classes", "used"), [(2, 2), (3, 3), (6, 6), (8, 5)])
def test_measures_equal_scikit_learn(classes: int, used: int, ties: bool) -> None:
    for seed in range(3):
        table = drawn(157, classes, seed, used=used, ties=ties)
        wanted = expected(table, classes)
        assert set(wanted) <= {metric.key for metric in Classify().metrics(NAMES[:classes])}
        for key, number in wanted.items():
            assert value(table, NAMES[:classes], key) == pytest.approx(number, abs=2e-6), key


def test_brier_of_several_classes_is_that_of_scikit_learn() -> None:
    table = drawn(80, 4, 0)
    theirs = metrics.brier_score_loss(table["true"], table["probabilities"], labels=range(4))
    assert value(table, NAMES[:4], "brier") == pytest.approx(theirs, abs=1e-6)


def test_the_positive_class_is_the_one_that_is_named() -> None:
    table = drawn(120, 2, 3)
    wanted = expected(table, 2, positive=0)
    for key in ("sensitivity", "specificity", "roc_auc", "average_precision", "brier"):
        assert value(table, ("ill", "well"), key, positive="ill") == pytest.approx(wanted[key], abs=1e-6), key
    titles = {metric.key: metric.title for metric in Classify(positive="ill").metrics(("ill", "well"))}
    assert titles["sensitivity"] == "sensitivity (ill)"
    assert titles["average_precision"] == "average precision (ill)"
    other = {metric.key: metric.title for metric in Classify().metrics(("ill", "well"))}
    assert other["sensitivity"] == "sensitivity (well)"


@pytest.mark.parametrize(("classes", "has", "lacks"), [(2, "sensitivity", "top5_accuracy"), (5, "brier", "top5_accuracy"),
                                                       (6, "top5_accuracy", "sensitivity")])  # fmt: skip
def test_measures_that_say_nothing_are_not_there(classes: int, has: str, lacks: str) -> None:
    keys = [metric.key for metric in Classify().metrics(NAMES[:classes])]
    assert keys[0] == "accuracy" and has in keys and lacks not in keys


@pytest.mark.parametrize("classes", [2, 3])
def test_one_class_alone_cannot_be_ranked(classes: int) -> None:
    """What cannot be measured has no number, rather than 0 or 1; the others have theirs."""
    rng = np.random.default_rng(0)
    table = columns(torch.zeros(40, dtype=torch.int64), torch.from_numpy(rng.dirichlet(np.ones(classes), 40)).float())
    found = summarise(Classify().metrics(NAMES[:classes]), table)
    assert np.isnan(found["roc_auc"].value) and np.isnan(found["average_precision"].value)
    assert str(found["roc_auc"]) == "–"
    assert found["matthews"].value == 0 == metrics.matthews_corrcoef(table["true"], table["predicted"])
    assert found["log_loss"].value > 0 and found["balanced_accuracy"].value == found["accuracy"].value
    if classes == 2:
        assert np.isnan(found["sensitivity"].value) and found["specificity"].value == found["accuracy"].value


def test_a_simpler_method_that_never_saw_a_class_has_no_column_for_it() -> None:
    """The records of baselines can be narrower than the classes; the measures are those with a column of zeros."""
    narrow = columns(torch.tensor([0, 1, 0, 1]), torch.tensor([[0.9, 0.1], [0.6, 0.4], [0.7, 0.3], [0.2, 0.8]]))
    wide = {**narrow, "probabilities": np.pad(narrow["probabilities"], [(0, 0), (0, 5)])}
    for metric in Classify().metrics(NAMES[:7]):
        assert metric.value(narrow) == metric.value(wide), metric.key
    alone = columns(torch.zeros(3, dtype=torch.int64), torch.ones(3, 1))
    assert all(m.value(alone) is not None for m in Classify().metrics(("a", "b")))


def test_certain_and_wrong_costs_a_finite_loss_that_is_said() -> None:
    table = columns(torch.tensor([0, 1]), torch.tensor([[0.0, 1.0], [0.0, 1.0]]))
    least = float(np.finfo(np.float32).eps)
    assert value(table, ("a", "b"), "log_loss") == pytest.approx((-np.log(least) + least) / 2, rel=1e-6)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = metrics.log_loss(table["true"], y_proba=table["probabilities"], labels=[0, 1])
    assert value(table, ("a", "b"), "log_loss") == pytest.approx(theirs, rel=1e-5)


def test_resamples_are_those_of_the_images_drawn_one_by_one() -> None:
    """A weight of two is an image twice, one of zero an image less: ranking each resample again gives the same numbers."""
    for classes, ties in ((2, True), (4, False)):
        table = drawn(60, classes, 1, ties=ties)
        weights = next(resamples(60, 12))
        for metric in Classify().metrics(NAMES[:classes]):
            found = metric.values(table, weights)
            for row, number in zip(weights, found, strict=True):
                images = np.repeat(np.arange(60), row.astype(int))
                again = metric.value({name: column[images] for name, column in table.items()})
                assert number == pytest.approx(again, abs=1e-6, nan_ok=True), metric.key


def test_intervals_contain_their_value_and_have_a_width() -> None:
    for classes in (2, 3, 7):
        for name, one in summarise(Classify().metrics(NAMES[:classes]), drawn(150, classes, 5)).items():
            assert one.low <= one.value <= one.high and one.low < one.high, name


def test_the_order_of_the_images_changes_nothing() -> None:
    table = drawn(90, 3, 2, ties=True)
    turned = {name: column[::-1].copy() for name, column in table.items()}
    for metric in Classify().metrics(NAMES[:3]):
        assert metric.value(table) == pytest.approx(metric.value(turned), abs=1e-12), metric.key


def test_the_lower_loss_is_the_better_one() -> None:
    """Of two classifiers of which one is better, every measure says so in its own direction, paired as in `compare`."""
    good, bad = drawn(300, 6, 0), drawn(300, 6, 0)
    bad["probabilities"] = ((good["probabilities"] + 3 * good["probabilities"][::-1]) / 4).astype(np.float32)
    bad |= {"predicted": bad["probabilities"].argmax(1), "confidence": bad["probabilities"].max(1)}
    for metric in Classify().metrics(NAMES[:6]):
        if metric.key != "calibration_error":
            [(gap, low, high)] = differences(metric, [bad], good, 200)
            assert metric.sign * gap < 0 and metric.sign * (low + high) < 0, metric.key
    better = {metric.key: metric.better for metric in Classify().metrics(NAMES[:6])}
    assert {key for key, way in better.items() if way == "lower"} == {"log_loss", "brier", "calibration_error"}


def test_of_very_many_probabilities_fewer_resamples_are_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """The value is exact, and the interval that of the first resamples."""
    table, weights = drawn(50, 3, 0), next(resamples(50, 100))
    rankings = ranking.Rankings.of(table["true"], table["probabilities"], range(3))
    whole = rankings.measures(weights)[0]
    monkeypatch.setattr(ranking, "_MOST", 1)
    few = rankings.measures(weights)[0]
    assert np.array_equal(few[:20], whole[:20]) and np.isnan(few[20:]).all()
    assert np.array_equal(rankings.measures(np.ones((1, 50)))[0], rankings.measures(np.ones((2, 50)))[0][:1])


@pytest.mark.parametrize("ties", [False, True])
def test_curves_equal_scikit_learn(ties: bool) -> None:
    table = drawn(100, 3, 4, ties=ties)
    own, score = table["true"] == 1, table["probabilities"][:, 1]
    found = ranking.curve(own, score)
    false, true, at = metrics.roc_curve(own, score, drop_intermediate=False)
    assert found.false_alarms == pytest.approx(false) and found.recall == pytest.approx(true)
    assert found.scores == pytest.approx(at)
    precision, recall, _ = metrics.precision_recall_curve(own, score)
    # scikit-learn ends at full recall
    ends = np.searchsorted(found.recall, 1.0)
    assert found.precision[: ends + 1] == pytest.approx(precision[::-1][: ends + 1])
    assert found.recall[: ends + 1] == pytest.approx(recall[::-1][: ends + 1])


def test_figures_show_what_is_measured_and_leave_nothing_unsaid() -> None:
    task, names = Classify(), NAMES[:4]
    table = drawn(200, 4, 0, used=3)
    figures = {one.name: one for one in task.report_figures(table, {"majority class": drawn(200, 4, 1, used=3)}, names)}
    assert list(figures) == ["roc", "precision_recall", "reliability"]
    assert "Not in these images and left out of the mean: d." in figures["roc"].words
    for name, key, area in (("roc", "roc_auc", "AUC"), ("precision_recall", "average_precision", "AP")):
        legend = [text.get_text() for text in figures[name].figure.legends[0].get_texts()]
        assert legend[0] == f"this model, mean, {area} {value(table, names, key):.3f}"
        assert "majority class" in legend[1] and [entry[0] for entry in legend[2:]] == ["a", "b", "c"]
        line = figures[name].figure.axes[0].get_lines()[1 if name == "roc" else 0]
        across, up = (np.asarray(part, float) for part in line.get_data())
        assert np.trapezoid(up, across) == pytest.approx(value(table, names, key), abs=0.01)
    axes = figures["reliability"].figure.axes[0]
    rows = task.details(table, names)["reliability"]
    assert [text.get_text() for text in axes.texts] == [*(f"{row['n']:,}" for row in rows), "n"]
    assert [bar.get_height() for bar in axes.patches] == pytest.approx([row["accuracy"] for row in rows])
    assert f"is {value(table, names, 'calibration_error'):.3f}." in figures["reliability"].words


def test_figures_of_one_class_alone_are_the_reliability() -> None:
    table = columns(torch.zeros(9, dtype=torch.int64), torch.rand(9, 2).softmax(1))
    assert [one.name for one in Classify().report_figures(table, {}, ("a", "b"))] == ["reliability"]


def test_of_many_classes_the_lowest_curves_are_drawn() -> None:
    names = tuple(f"class {k}" for k in range(14))
    figure = Classify().report_figures(drawn(400, 14, 0), {}, names)[0]
    legend = figure.figure.legends[0].get_texts()
    assert len(legend) == 7 and "The 6 lowest of 14 classes are drawn." in figure.words


@pytest.mark.parametrize("names", [tuple("abcd"), tuple(f"a class with a long name {k}, $x$ and $y" for k in range(9))])
def test_charts_fit_a_page_of_390_px(names: tuple[str, ...]) -> None:
    table = drawn(200, len(names), 0)
    for one in Classify().report_figures(table, {"majority class": drawn(200, len(names), 1)}, names):
        with Image.open(io.BytesIO(png_of(one.figure))) as picture:
            shown = 355 / (picture.width / picture.info["dpi"][0])  # px of the page an inch
        letters = [text.get_fontsize() for text in one.figure.findobj(Text) if text.get_text() and text.get_visible()]
        assert min(letters) / 72 * shown >= 9, one.name
        renderer = one.figure.canvas.get_renderer()  # type: ignore[attr-defined]
        for legend in one.figure.legends:
            box, frame = legend.get_window_extent(renderer), one.figure.bbox
            assert frame.x0 <= box.x0 and box.x1 <= frame.x1 and frame.y0 <= box.y0
            assert box.y1 <= min(axes.get_tightbbox(renderer).y0 for axes in one.figure.axes)
