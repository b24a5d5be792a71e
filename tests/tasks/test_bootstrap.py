# SPDX-License-Identifier: Apache-2.0
"""Intervals: against normal theory, against drawing every image by hand, and against scikit-learn's measures."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import precision_recall_fscore_support

from pellucid.tasks._bootstrap import RESAMPLES, Tallies, bounds, of_mean, resampled


def test_the_interval_of_a_mean_is_that_of_normal_theory() -> None:
    values = np.random.default_rng(0).normal(3.0, 2.0, 4000)
    mean, low, high = of_mean(values)
    reach = 1.96 * values.std() / np.sqrt(len(values))
    assert mean == pytest.approx(values.mean())
    assert mean - low == pytest.approx(reach, rel=0.1) and high - mean == pytest.approx(reach, rel=0.1)


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


def test_resampled_tables_have_the_moments_of_a_multinomial_draw() -> None:
    counts = np.array([5, 0, 20, 75])
    tables = resampled(counts, 0)
    assert tables.shape == (RESAMPLES, 4) and (tables.sum(1) == 100).all() and not tables[:, 1].any()
    share = counts / 100
    np.testing.assert_allclose(tables.mean(0), counts, atol=0.6)
    np.testing.assert_allclose(tables.var(0), 100 * share * (1 - share), rtol=0.15)


def test_tables_give_the_intervals_that_drawing_every_image_gives() -> None:
    rng = np.random.default_rng(4)
    true = rng.integers(0, 3, 400)
    predicted = np.where(rng.random(400) < 0.8, true, rng.integers(0, 3, 400))
    matrix = np.bincount(true * 3 + predicted, minlength=9).reshape(3, 3)
    tallies = Tallies.of(matrix)
    rows = rng.integers(0, 400, (RESAMPLES, 400))
    accuracy = (true[rows] == predicted[rows]).mean(1)
    recall = ((true[rows] == 1) & (predicted[rows] == 1)).sum(1) / (true[rows] == 1).sum(1)
    np.testing.assert_allclose(bounds(tallies.accuracy[1:]), bounds(accuracy), atol=0.01)
    np.testing.assert_allclose(bounds(tallies.recall[1:, 1]), bounds(recall), atol=0.015)


@settings(max_examples=25)
@given(st.integers(2, 5), st.integers(0, 10_000))
def test_precision_recall_and_f1_are_scikit_learns(classes: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    true, predicted = rng.integers(0, classes, (2, 30))
    matrix = np.bincount(true * classes + predicted, minlength=classes**2).reshape(classes, classes)
    tallies = Tallies.of(matrix)
    found = np.stack([tallies.precision[0], tallies.recall[0], tallies.f1[0]])
    peer = precision_recall_fscore_support(true, predicted, labels=range(classes), zero_division=0)[:3]
    occurs = matrix.sum(0) + matrix.sum(1) > 0
    np.testing.assert_allclose(found[:, occurs], np.stack(peer)[:, occurs])
    assert np.isnan(found[:, ~occurs]).all()


def test_a_thousand_classes_take_no_million_cells() -> None:
    matrix = np.diag(np.full(1000, 2))
    matrix[0, 1] = 3
    tallies = Tallies.of(matrix)
    assert tallies.right.shape == (RESAMPLES + 1, 1000)
    assert tallies.recall[0, 0] == pytest.approx(0.4) and tallies.precision[0, 1] == pytest.approx(0.4)
    assert (tallies.true.sum(1) == 2003).all() and (tallies.predicted.sum(1) == 2003).all()
