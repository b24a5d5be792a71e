# SPDX-License-Identifier: Apache-2.0
"""Measures of a partition against brute force and scikit-learn; clusters of codes against the peers' own answers."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from sklearn import metrics
from sklearn.mixture import GaussianMixture

from pellucid.tasks import summarise
from pellucid.tasks.cluster import methods, partition
from pellucid.tasks.cluster.metrics import details, matched
from pellucid.tasks.cluster.metrics import metrics as declared

RNG = np.random.default_rng(0)


def blobs(places: list[tuple[float, float]], each: int = 60, width: float = 0.3) -> np.ndarray:
    rng = np.random.default_rng(1)
    return np.concatenate([rng.normal(place, width, (each, 2)) for place in places]).astype(np.float32)


@pytest.mark.parametrize(("k", "classes"), [(4, 4), (5, 3), (3, 5)])
def test_accuracy_is_that_of_the_best_matching_of_all(k: int, classes: int) -> None:
    table = RNG.integers(0, 20, (k, classes))
    found = partition.accuracies(table[None])[0]
    small, large = sorted((k, classes))
    tall = table if k <= classes else table.T
    best = max(sum(tall[i, j] for i, j in enumerate(way)) for way in itertools.permutations(range(large), small))
    assert found == pytest.approx(best / table.sum())
    match = partition.matching(table)
    assert (match >= 0).sum() == small
    assert len(set(match[match >= 0])) == small


@pytest.mark.parametrize("k", [2, 7, 10])
def test_agreement_is_what_scikit_learn_finds(k: int) -> None:
    labels = RNG.integers(0, 6, 400)
    clusters = np.where(RNG.random(400) < 0.6, labels % k, RNG.integers(0, k, 400))
    table = partition.contingency(clusters, labels, k, 6)[None]
    assert partition.mutual_information(table)[0] == pytest.approx(
        metrics.normalized_mutual_info_score(labels, clusters)
    )
    assert partition.adjusted_rand(table)[0] == pytest.approx(metrics.adjusted_rand_score(labels, clusters))
    assert partition.purities(table)[0] == pytest.approx(np.max(table[0], axis=1).sum() / 400)


def test_names_of_clusters_do_not_matter() -> None:
    table = RNG.integers(0, 30, (6, 6))
    turned = table[RNG.permutation(6)]
    for rule in (
        partition.accuracies,
        partition.purities,
        partition.mutual_information,
        partition.adjusted_rand,
    ):
        assert rule(table[None])[0] == pytest.approx(rule(turned[None])[0])


def test_many_tables_are_measured_as_each_alone() -> None:
    tables = RNG.integers(0, 30, (5, 3, 4))
    for rule in (partition.purities, partition.mutual_information, partition.adjusted_rand):
        np.testing.assert_allclose(rule(tables), [rule(one[None])[0] for one in tables])


def test_silhouette_is_scikit_learns_and_nan_for_one_cluster() -> None:
    codes, clusters = blobs([(0, 0), (4, 4)]), np.repeat([0, 1], 60)
    assert partition.silhouette(codes, clusters) == pytest.approx(metrics.silhouette_score(codes, clusters))
    assert np.isnan(partition.silhouette(codes, np.zeros(120, int)))


def test_stability_is_one_for_renamed_and_near_zero_for_independent_partitions() -> None:
    one = RNG.integers(0, 5, 2000)
    assert partition.stability([one, (one + 2) % 5]).tolist() == [1.0]
    assert abs(partition.stability([one, RNG.integers(0, 5, 2000)])[0]) < 0.01


@pytest.mark.parametrize(
    ("sizes", "said"),
    [
        ([5, 0, 0], "Clusters 1 and 2 are empty."),
        ([200, 1, 200], "Cluster 1 is nearly empty: at most 1 image of 401."),
        ([950, 25, 25], "The clusters have collapsed: cluster 0 contains 95 % of the images."),
        ([10, 12], "All 2 clusters contain images, from 10 to 12 each."),
    ],
)
def test_empty_and_collapsed_clusters_are_named(sizes: list[int], said: str) -> None:
    assert said in partition.describe_sizes(np.array(sizes))


def test_records_are_summed_up_with_intervals_and_each_images_share() -> None:
    labels = RNG.integers(0, 3, 300)
    clusters = np.where(RNG.random(300) < 0.9, (labels + 1) % 3, 0)
    records = {
        "cluster": clusters,
        "label": labels,
        "silhouette": RNG.random(300).astype(np.float32),
        "unlike": np.zeros(300, bool),
    }
    found = summarise(declared(3), records)
    assert found["accuracy"].low < found["accuracy"].value < found["accuracy"].high
    assert (matched(records) == labels).mean() == pytest.approx(found["accuracy"].value)
    assert found["unlike"].value == 0
    rows = details(records, ("a", "b", "c"))["clusters"]
    assert [row["matched class"] for row in rows] == ["c", "a", "b"]
    without = {**records, "label": np.full(300, -1)}
    alone = summarise(declared(0), without)
    assert [*alone] == ["silhouette", "unlike"]
    assert alone["silhouette"].value == pytest.approx(records["silhouette"].mean())


def test_images_without_a_label_count_neither_as_right_nor_as_wrong() -> None:
    labels = RNG.integers(0, 3, 200)
    records = {"cluster": labels, "label": labels.copy(), "silhouette": np.ones(200)}
    records["label"][:50] = -1
    found = summarise(declared(3), records)
    assert [found[name].value for name in ("accuracy", "nmi", "ari", "purity")] == pytest.approx([1, 1, 1, 1])


def test_the_nearest_centre_and_the_simplified_silhouette() -> None:
    codes, centres = torch.randn(50, 4), torch.randn(6, 4)
    found = methods.assign(codes, {"centres": centres})
    apart = (codes[:, None] - centres).square().sum(2).sqrt().sort(1)
    torch.testing.assert_close(found.distance, apart.values[:, 0])
    assert found.cluster.equal(apart.indices[:, 0])
    torch.testing.assert_close(found.silhouette, (apart.values[:, 1] - apart.values[:, 0]) / apart.values[:, 1])


def test_a_mixture_answers_as_scikit_learns_does() -> None:
    codes = np.concatenate([blobs([(0, 0)]) * [6, 1], blobs([(0, 3), (8, 8)])]).astype(np.float32)
    start = methods.kmeans(codes, 3, seed=0)["centres"].numpy()
    kept = methods.mixture(codes, 3, 0, start)
    floor = 1e-4 * float(codes.var(0).mean()) + 1e-9
    peer = GaussianMixture(3, means_init=start, reg_covar=floor, random_state=0).fit(codes.astype(np.float64))
    found = methods.assign(torch.from_numpy(codes), kept)
    assert (found.cluster.numpy() == peer.predict(codes.astype(np.float64))).mean() > 0.99
    own = found.cluster.numpy()
    away = codes - peer.means_[own]
    distance = np.sqrt(np.einsum("ni,nij,nj->n", away, peer.precisions_[own], away))
    np.testing.assert_allclose(found.distance.numpy(), distance, rtol=1e-3)


@pytest.mark.parametrize("criterion", methods.CRITERIA)
def test_every_criterion_finds_four_clear_groups(criterion: str) -> None:
    codes = blobs([(0, 0), (5, 0), (0, 5), (5, 5)], each=40)
    k, values = methods.choose(codes, 7, criterion, seed=0)
    assert k == 4
    assert values.shape == (6,)
    assert np.isfinite(values).all()


def test_the_reach_of_a_cluster_leaves_the_stated_share_outside() -> None:
    codes = torch.from_numpy(blobs([(0, 0), (9, 9)], each=1000))
    found = methods.assign(codes, {"centres": torch.tensor([[0.0, 0.0], [9.0, 9.0], [99.0, 99.0]])})
    reach = methods.reaches(found, 3, 0.05)
    assert float((found.distance > reach[found.cluster]).float().mean()) == pytest.approx(0.05, abs=0.002)
    assert reach[2] == 0
