# SPDX-License-Identifier: Apache-2.0
"""Measures and their intervals: against normal theory, against drawing images by hand, against scikit-learn; and ragged records."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.metrics import precision_recall_fscore_support, roc_auc_score

from pellucid.tasks import (
    Metric,
    Ragged,
    Records,
    as_arrays,
    bounds,
    differences,
    from_arrays,
    gaps,
    joined,
    summarise,
    taken,
)
from pellucid.tasks._metrics import RESAMPLES, Weights, mean, resamples
from pellucid.tasks.classify.tallies import Tallies

VALUE = mean("x", "x")


def of_mean(values: NDArray[np.float64], seed: int = 0) -> tuple[float, float, float]:
    found = summarise([VALUE], {"x": values}, seed)["x"]
    return found.value, found.low, found.high


def test_the_interval_of_a_mean_is_that_of_normal_theory() -> None:
    values = np.random.default_rng(0).normal(3.0, 2.0, 4000)
    value, low, high = of_mean(values)
    reach = 1.96 * values.std() / np.sqrt(len(values))
    assert value == pytest.approx(values.mean())
    assert value - low == pytest.approx(reach, rel=0.1) and high - value == pytest.approx(reach, rel=0.1)


def test_the_interval_covers_the_true_mean_19_times_in_20() -> None:
    rng = np.random.default_rng(1)
    covered = 0
    for seed in range(200):
        _, low, high = of_mean(rng.exponential(1.0, 150), seed)  # skewed, as errors are
        covered += low <= 1.0 <= high
    assert 180 <= covered <= 199


def test_equal_values_leave_no_room() -> None:
    assert of_mean(np.full(50, 0.25)) == (0.25, 0.25, 0.25)
    assert of_mean(np.array([7.0])) == (7.0, 7.0, 7.0)


def test_the_seed_decides() -> None:
    values = np.random.default_rng(3).normal(size=200)
    assert of_mean(values, 1) == of_mean(values, 1) != of_mean(values, 2)


@pytest.mark.parametrize("n", [1, 7, 400, 30_000])
def test_weights_are_draws_with_replacement(n: int) -> None:
    weights = np.concatenate(list(resamples(n, 60, seed=2)))
    assert weights.shape == (60, n) and (weights == weights.round()).all() and (weights >= 0).all()
    assert weights.sum(1) == pytest.approx(n, rel=0.02)  # groups of many images differ by one image in size
    if n > 100:
        assert weights.mean() == pytest.approx(1, abs=0.01) and weights.var() == pytest.approx(1, rel=0.1)


def test_many_images_in_groups_have_the_interval_of_normal_theory() -> None:
    values = np.random.default_rng(0).gamma(2.0, size=50_000)
    value, low, high = of_mean(values)
    reach = 1.96 * values.std() / np.sqrt(len(values))
    assert [value - low, high - value] == pytest.approx([reach, reach], rel=0.1)


def test_all_measures_see_the_same_draws() -> None:
    """The sum of two columns has the very interval of their sum: no measure draws for itself."""
    rng = np.random.default_rng(5)
    records = {"a": rng.normal(size=100), "b": rng.normal(size=100)}
    both = Metric("c", "c", each=lambda table: table["a"] - table["b"])
    _, drawn = gaps(mean("a", "a"), [records], {"a": records["b"], "b": records["b"]}, 300)
    values = np.concatenate([both.values(records, weights) for weights in resamples(100, 300)])
    np.testing.assert_allclose(drawn[:, 0], values, atol=1e-12)


# -- a measure that is no mean


def auc(records: Records, weights: Weights) -> NDArray[np.float64]:
    """The area under the ROC curve with weighted images: the share of pairs that are in order (Mann & Whitney)."""
    right = records["true"] == 1
    first, second = records["score"][right, None], records["score"][None, ~right]
    ordered = (first > second) + 0.5 * (first == second)  # (positives, negatives)
    of, among = weights[:, right], weights[:, ~right]
    return np.asarray(((of @ ordered) * among).sum(1) / (of.sum(1) * among.sum(1)))


def test_the_area_of_these_tests_is_scikit_learns() -> None:
    rng = np.random.default_rng(6)
    true, weights = rng.integers(0, 2, 60), rng.integers(0, 3, (5, 60)).astype(np.float64)
    records = {"true": true, "score": (true + rng.normal(size=60)).round(1)}
    theirs = [roc_auc_score(true, records["score"], sample_weight=row) for row in weights]
    np.testing.assert_allclose(auc(records, weights), theirs)


def test_a_measure_that_is_no_mean_has_the_interval_of_drawing_images() -> None:
    rng = np.random.default_rng(7)
    true = rng.integers(0, 2, 200)
    records = {"true": true, "score": true + rng.normal(size=200)}
    metric = Metric("auc", "AUC", over=auc)
    found = summarise([metric], records)["auc"]
    assert found.value == pytest.approx(roc_auc_score(true, records["score"]))
    drawn = []
    for _ in range(500):
        rows = rng.integers(0, 200, 200)
        drawn.append(float(auc(taken(records, rows), np.ones((1, 200)))[0]))
    assert (found.low, found.high) == pytest.approx(np.percentile(drawn, [2.5, 97.5]), abs=0.012)


def test_the_difference_of_such_a_measure_is_paired() -> None:
    """Scores that differ little leave a much narrower interval than two separate ones would."""
    rng = np.random.default_rng(8)
    true = rng.integers(0, 2, 200)
    one = {"true": true, "score": true + rng.normal(size=200)}
    other = {"true": true, "score": one["score"] + 0.2 * true}
    metric = Metric("auc", "AUC", over=auc)
    value, drawn = gaps(metric, [other], one, 300)
    low, high = bounds(drawn[:, 0])
    alone = summarise([metric], one)["auc"]
    assert 0 < low < value[0] < high
    assert high - low < (alone.high - alone.low) / 2


def test_a_measure_without_its_columns_is_left_out_and_undefined_resamples_do_not_count() -> None:
    assert [*summarise([VALUE, mean("y", "y")], {"x": np.ones(3)})] == ["x"]
    assert bounds(np.array([np.nan, 1.0, 2.0, np.nan])) == pytest.approx((1.025, 1.975))
    assert np.isnan(bounds(np.full(3, np.nan))).all()


# -- tallies


def test_tallies_give_the_intervals_that_drawing_every_image_gives() -> None:
    rng = np.random.default_rng(4)
    true = rng.integers(0, 3, 400)
    predicted = np.where(rng.random(400) < 0.8, true, rng.integers(0, 3, 400))
    drawn = np.concatenate([Tallies.of(true, predicted, 3, weights).recall[:, 1] for weights in resamples(400)])
    assert len(drawn) == RESAMPLES
    rows = rng.integers(0, 400, (RESAMPLES, 400))
    recall = ((true[rows] == 1) & (predicted[rows] == 1)).sum(1) / (true[rows] == 1).sum(1)
    np.testing.assert_allclose(bounds(drawn), bounds(recall), atol=0.015)


@settings(max_examples=25, deadline=None)
@given(st.integers(2, 5), st.integers(0, 10_000))
def test_precision_recall_and_f1_are_scikit_learns(classes: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    true, predicted = rng.integers(0, classes, (2, 30))
    weights = rng.integers(0, 4, 30).astype(np.float64)
    tallies = Tallies.of(true, predicted, classes, weights[None])
    found = np.stack([tallies.precision[0], tallies.recall[0], tallies.f1[0]])
    peer = precision_recall_fscore_support(
        true, predicted, labels=range(classes), sample_weight=weights, zero_division=0
    )[:3]
    occurs = np.isin(np.arange(classes), np.concatenate([true[weights > 0], predicted[weights > 0]]))
    np.testing.assert_allclose(found[:, occurs], np.stack(peer)[:, occurs])
    assert np.isnan(found[:, ~occurs]).all()


def test_a_thousand_classes_take_no_million_cells() -> None:
    true = np.r_[np.repeat(np.arange(1000), 2), [0, 0, 0]]
    predicted = np.r_[np.repeat(np.arange(1000), 2), [1, 1, 1]]
    tallies = Tallies.of(true, predicted, 1000, np.ones((5, 2003)))
    assert tallies.right.shape == (5, 1000)
    assert tallies.recall[0, 0] == pytest.approx(0.4) and tallies.precision[0, 1] == pytest.approx(0.4)
    assert (tallies.true.sum(1) == 2003).all() and (tallies.predicted.sum(1) == 2003).all()


# -- ragged records


rows = st.lists(st.integers(0, 4), min_size=1, max_size=9)


@given(rows, st.integers(0, 99))
@settings(deadline=None)
def test_ragged_columns_behave_as_lists_of_arrays(lengths: list[int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    listed = [rng.normal(size=(n, 2)) for n in lengths]
    column = Ragged.of(listed)
    assert len(column) == len(listed) and column.lengths.tolist() == lengths
    for one, other in zip(column, listed, strict=True):
        np.testing.assert_array_equal(one, other)
    index = rng.integers(0, len(listed), 12)
    for one, place in zip(column[index], index, strict=True):
        np.testing.assert_array_equal(one, listed[place])
    np.testing.assert_array_equal(column[-1], listed[-1])
    both = joined([column, column])
    assert both.lengths.tolist() == lengths * 2
    assert column.owners.tolist() == [i for i, n in enumerate(lengths) for _ in range(n)]


def test_ragged_records_survive_a_file() -> None:
    from io import BytesIO

    records = {"boxes": Ragged.of([np.ones((2, 4)), np.zeros((0, 4))]), "n": np.array([2, 0])}
    stream = BytesIO()
    np.savez(stream, **as_arrays(records, "model/"))  # type: ignore[arg-type]
    stream.seek(0)
    with np.load(stream, allow_pickle=False) as arrays:
        back = from_arrays({name.removeprefix("model/"): arrays[name] for name in arrays.files})
    assert [*back] == ["boxes", "n"]
    np.testing.assert_array_equal(back["boxes"][0], np.ones((2, 4)))
    assert back["boxes"][1].shape == (0, 4)
    assert taken(back, np.array([1]))["boxes"].lengths.tolist() == [0]


def test_a_ragged_measure_is_resampled_by_image() -> None:
    """The share of right boxes over all boxes: a ratio of sums over images, no mean of ratios."""
    rng = np.random.default_rng(3)
    lengths = rng.integers(0, 6, 150)
    records = {"right": Ragged.of([(rng.random(n) < 0.7).astype(float) for n in lengths])}

    def share(table: Records, weights: Weights) -> NDArray[np.float64]:
        column = table["right"]
        of_image = np.bincount(column.owners, column.values, len(column))
        return np.asarray((weights @ of_image) / (weights @ column.lengths))

    found = summarise([Metric("share", "share", over=share)], records)["share"]
    assert found.value == pytest.approx(records["right"].values.mean())
    drawn = []
    for _ in range(400):
        some = records["right"][rng.integers(0, 150, 150)]
        drawn.append(some.values.mean())
    assert (found.low, found.high) == pytest.approx(np.percentile(drawn, [2.5, 97.5]), abs=0.012)


def test_a_mean_among_some_images_is_that_of_these_images_alone() -> None:
    """Value and difference; of a rate, the significance too comes from these images."""
    rng = np.random.default_rng(0)
    chosen = rng.random(400) < 0.3
    one, other = ({"value": rng.random(400) < share, "chosen": chosen} for share in (0.9, 0.6))
    some = Metric("rate", "rate", each=lambda rows: rows["value"], among=lambda rows: rows["chosen"])
    every = Metric("rate", "rate", each=lambda rows: rows["value"])
    alone = [{"value": rows["value"][chosen]} for rows in (one, other)]
    assert some.value(one) == every.value(alone[0])
    [inner], [expected] = (
        differences(metric, [first], second, 400)
        for metric, first, second in ((some, one, other), (every, alone[0], alone[1]))
    )
    assert inner[0] == pytest.approx(expected[0]) and inner[1:] == pytest.approx(expected[1:], abs=0.03)
    # images that do not count change nothing, whatever is recorded of them
    noisy = {**one, "value": np.where(chosen, one["value"], True)}
    assert some.value(noisy) == some.value(one)
    assert np.isnan(some.value({"value": np.ones(3), "chosen": np.zeros(3, bool)}))
