# SPDX-License-Identifier: Apache-2.0
"""Spectral clustering: what a graph of neighbours finds, and by what a partition is chosen."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.sparse import csr_array
from sklearn.metrics import mutual_info_score

from pellucid.tasks.cluster import methods
from pellucid.tasks.cluster.spectral import shared_information, spectral


def test_a_graph_of_neighbours_parts_what_no_centres_can() -> None:
    """A ring around a ball: their middles coincide."""
    turn = np.linspace(0, 2 * np.pi, 200, endpoint=False)
    ring = np.stack([np.cos(turn), np.sin(turn)], 1) * 5
    codes = np.concatenate([np.random.default_rng(0).standard_normal((200, 2)) * 0.5, ring]).astype(np.float32)
    # the graph's groups come back as their mean codes, which here both lie in the middle
    centres = spectral(codes, 2, seed=0)["centres"].numpy()
    assert np.linalg.norm(centres, axis=1).max() < 0.6
    by_centres = methods.kmeans(codes, 2, seed=0)["centres"].numpy()
    assert np.linalg.norm(by_centres, axis=1).max() > 1


def test_a_small_distant_group_takes_no_cluster_from_larger_ones() -> None:
    rng = np.random.default_rng(0)
    places = [(0, 0), (6, 0), (3, 5)]
    large = np.concatenate([rng.standard_normal((200, 2)) + place for place in places])
    small = rng.standard_normal((25, 2)) * 0.1 + (3, 12)
    found = spectral(np.concatenate([large, small]).astype(np.float32), 3, seed=0)["centres"].numpy()
    # the distant group joins one of them, whose mean it draws
    distance = np.linalg.norm(found[:, None] - np.array(places), axis=2)
    assert sorted(distance.argmin(0)) == [0, 1, 2]
    assert distance.min(0).max() < 1.2


def test_the_same_seed_finds_the_same_clusters_and_few_codes_suffice() -> None:
    codes = np.random.default_rng(1).standard_normal((12, 3)).astype(np.float32)
    one, other = (spectral(codes, 5, seed=3)["centres"] for _ in range(2))
    assert (one == other).all()
    assert one.shape == (5, 3)
    assert np.isfinite(one.numpy()).all()


def test_shared_information_is_that_of_all_pairs_of_neighbours() -> None:
    rng = np.random.default_rng(2)
    counts = rng.integers(0, 3, (30, 30))
    counts += counts.T
    labels = rng.integers(0, 4, 30)
    ends = [(labels[i], labels[j]) for i in range(30) for j in range(30) for _ in range(counts[i, j])]
    expected = mutual_info_score(*zip(*ends, strict=True))
    assert shared_information(counts.astype(float), labels, 4) == pytest.approx(expected, abs=1e-12)
    assert shared_information(csr_array(counts.astype(float)), labels, 4) == pytest.approx(expected, abs=1e-12)
    assert shared_information(csr_array((30, 30)), labels, 4) == 0
