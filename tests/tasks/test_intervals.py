# SPDX-License-Identifier: Apache-2.0
"""Intervals contain their value and cover the truth, at chance and where every image is right; differences likewise."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import binomtest
from sklearn.metrics import adjusted_mutual_info_score

from pellucid.comparison.difference import paired
from pellucid.tasks import Metric, summarise
from pellucid.tasks._intervals import around, collapsed
from pellucid.tasks.classify.metrics import details
from pellucid.tasks.classify.metrics import metrics as of_classes
from pellucid.tasks.cluster import metrics as of_clusters
from pellucid.tasks.cluster import partition

RIGHT = Metric("accuracy", "accuracy", each=lambda records: records["right"])
SHARED = [metric for metric in of_clusters.metrics(10) if "silhouette" not in metric.key and metric.key != "unlike"]


def clusters(n: int, share: float, rng: np.random.Generator) -> dict[str, NDArray[np.int64]]:
    """Ten clusters that are the classes for a share of the images, and independent of them for the others."""
    labels = rng.integers(0, 10, n)
    return {"cluster": np.where(rng.random(n) < share, labels, rng.integers(0, 10, n)), "label": labels}


def population(share: float) -> dict[str, float]:
    """The measures of infinitely many such images."""
    joint = np.full((10, 10), (1 - share) / 100) + np.eye(10) * share / 10
    pairs, chance = float((joint**2).sum()), 0.01  # ten equal rows and columns: Σ p² is 1/10 for both
    return {
        "accuracy": float(np.trace(joint)),
        "purity": float(joint.max(1).sum()),
        "nmi": float(partition.mutual_information(joint[None])[0]),
        "ari": (pairs - chance) / (0.1 - chance),
    }


@pytest.mark.parametrize(("n", "share", "least"), [(150, 0.0, 18), (300, 0.5, 17)])
def test_clusterings_have_intervals_that_cover_the_truth(n: int, share: float, least: int) -> None:
    rng, truth = np.random.default_rng(0), population(share)
    truth["ami"] = truth["nmi"]  # without limit of images, chance adds nothing
    covered = dict.fromkeys(truth, 0)
    for seed in range(20):
        found = summarise(SHARED, clusters(n, share, rng), seed)
        for key, expected in truth.items():
            assert found[key].low <= found[key].value <= found[key].high, key
            covered[key] += found[key].low <= expected <= found[key].high
    # of mutual information, what few dependent images show depends on their number: the interval is of as many images
    known = covered if not share else {key: covered[key] for key in ("accuracy", "purity", "ari")}
    assert min(known.values()) >= least, covered


@pytest.mark.slow
@pytest.mark.parametrize(("n", "share"), [(150, 0.0), (100, 0.9), (300, 0.5), (1000, 0.0)])
def test_intervals_cover_19_times_in_20(n: int, share: float) -> None:
    """The mean of the measure over data of this size, and the population value, which is 0 for NMI, AMI and ARI by chance."""
    rng, truth = np.random.default_rng(1), population(share)
    found = [summarise(SHARED, clusters(n, share, rng), seed) for seed in range(100)]
    for key in ("accuracy", "purity", "nmi", "ami", "ari"):
        middle = float(np.mean([one[key].value for one in found]))
        assert np.mean([one[key].low <= middle <= one[key].high for one in found]) >= 0.90, key
        if not share or key in ("accuracy", "purity", "ari"):
            expected = truth.get(key, 0.0)
            assert np.mean([one[key].low <= expected <= one[key].high for one in found]) >= 0.90, key


def test_adjusted_mutual_information_is_scikit_learns() -> None:
    records = clusters(200, 0.4, np.random.default_rng(3))
    found = next(metric for metric in SHARED if metric.key == "ami").value(records)
    assert found == pytest.approx(adjusted_mutual_info_score(records["label"], records["cluster"]))


def test_random_clusters_are_named_beside_the_measures() -> None:
    """The level of chance is that of shuffled labels, and a random clustering is at it."""
    records = clusters(150, 0.0, np.random.default_rng(4)) | {"silhouette": np.zeros(150)}
    rows = of_clusters.details(records, [str(k) for k in range(10)])["random_clusters"]
    by_measure = {row["measure"]: row for row in rows}
    assert set(by_measure) == {"accuracy", "NMI", "purity"}
    for row in rows:
        assert row["random clusters"] == pytest.approx(row["value"], abs=0.06) and row["random clusters"] > 0.1


@pytest.mark.parametrize("n", [40, 160, 640])
def test_the_accuracy_during_training_does_not_grow_with_fewer_images(n: int) -> None:
    """Under the best matching of random clusters 40 images are right in a third of the cases; the truth is a tenth."""
    rng, accuracy = np.random.default_rng(5), SHARED[0]
    assert accuracy.live is not None
    drawn = [clusters(n, 0.0, rng) for _ in range(30)]
    assert np.mean([accuracy.live(records) for records in drawn]) == pytest.approx(0.1, abs=0.03)
    assert np.mean([accuracy.value(records) for records in drawn]) > (0.25 if n == 40 else 0.13)


def test_a_calibrated_model_may_have_no_calibration_error() -> None:
    """Gaps of bins add up even if they are chance; the interval reaches to 0 for a calibrated model, not for another."""
    rng, metric = np.random.default_rng(6), of_classes(["a", "b"])[-1]
    reached = 0
    for seed in range(20):
        confidence = rng.uniform(0.5, 1, 300)
        for right, calibrated in ((rng.random(300) < confidence, True), (rng.random(300) < confidence - 0.2, False)):
            records = {"true": np.zeros(300, int), "predicted": (~right).astype(int), "confidence": confidence}
            found = summarise([metric], records, seed)[metric.key]
            assert 0 <= found.low <= found.value <= found.high
            if calibrated:
                reached += found.low == 0
            else:
                assert found.low > 0.05 and found.low <= 0.2 <= found.high + 0.02
    assert reached >= 18


# -- where every image is right


@pytest.mark.parametrize("n", [1, 5, 37, 400])
def test_all_right_has_the_interval_of_wilson(n: int) -> None:
    peer = binomtest(n, n).proportion_ci(method="wilson")
    for value, ends in ((1.0, (peer.low, 1.0)), (0.0, (0.0, 1 - peer.low))):
        assert collapsed(value, n) == pytest.approx(ends)
        found = summarise([RIGHT], {"right": np.full(n, value)})["accuracy"]
        assert (found.low, found.high) == pytest.approx(ends)


def test_no_measure_of_a_classifier_has_an_interval_of_no_width() -> None:
    rng = np.random.default_rng(0)
    for wrong in (0, 1, 37):
        true = rng.integers(0, 3, 37)
        predicted = np.where(np.arange(37) < wrong, (true + 1) % 3, true)
        shares = np.eye(3, dtype=np.float32)[predicted] * 0.9 + 0.1 / 3
        records = {"true": true, "predicted": predicted, "confidence": shares.max(1), "probabilities": shares}
        for measure in summarise(of_classes(["a", "b", "c"]), records).values():
            assert measure.low <= measure.value <= measure.high and measure.low < measure.high, measure
        for row in details(records, ["a", "b", "c"])["per_class"]:
            for name in ("precision", "recall"):
                assert (
                    row[name]["low"] <= row[name]["value"] <= row[name]["high"] and row[name]["low"] < row[name]["high"]
                )


def test_two_models_that_are_all_right_are_not_told_apart() -> None:
    true = np.arange(37) % 3
    perfect = {"true": true, "predicted": true, "confidence": np.ones(37)}
    for metric in of_classes(["a", "b", "c"])[:4]:
        [found] = paired(metric, [perfect], perfect)
        assert found.value == 0 and found.low < 0 < found.high and not found.real
        assert found.high == pytest.approx(collapsed(0.0, 37)[1])


@pytest.mark.parametrize(("alone", "real"), [(4, False), (5, False), (6, True), (20, True)])
def test_few_images_that_one_model_alone_has_right_are_no_difference(alone: int, real: bool) -> None:
    """As in McNemar's exact test: five of five to one side happen by chance in one of 16 cases, six of six in one of 32."""
    better, worse = ({"right": np.arange(60) >= wrong} for wrong in (0, alone))
    [found] = paired(RIGHT, [better], worse)
    assert found.real is real is bool(binomtest(alone, alone).pvalue < 0.05)
    assert found.low <= found.value <= found.high


def test_a_finer_partition_is_not_better_for_its_optimism() -> None:
    """Random clusters, fifty against ten, of the same images: purity is far higher, and it means nothing."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 10, 300)
    coarse, fine = ({"cluster": rng.integers(0, k, 300), "label": labels} for k in (10, 50))
    [purity] = paired(next(metric for metric in SHARED if metric.key == "purity"), [fine], coarse)
    assert purity.value > 0.1 and purity.low <= purity.value <= purity.high and not purity.real


def test_an_interval_stays_within_its_limits_and_around_its_value() -> None:
    drawn = np.random.default_rng(0).beta(50, 2, 1000)
    low, high = around(0.99, drawn, limits=(0, 1))
    assert low < 0.99 < high == 1
    assert np.isnan(around(float("nan"), np.full(3, np.nan))).all()
