# SPDX-License-Identifier: Apache-2.0
"""Sums over all pairs for a t-SNE: against a plain loop in float64 and openTSNE's own, and without numba."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy.sparse import csr_matrix

from pellucid.lenses.embedding import embedding, exact, maps
from pellucid.lenses.embedding.maps import fit

pytest.importorskip("numba")


def affinities(count: int = 40, seed: int = 0) -> tuple[np.ndarray[Any, Any], Any]:
    """Places (N, 2) and sparse symmetric affinities whose sum is 1."""
    dice = np.random.default_rng(seed)
    dense = np.triu(dice.random((count, count)) * (dice.random((count, count)) < 0.2), 1)
    dense += dense.T
    return 3 * dice.standard_normal((count, 2)), csr_matrix(dense / dense.sum())


def codes() -> np.ndarray[Any, Any]:
    dice = np.random.default_rng(1)
    return (np.repeat(4 * np.eye(3, 6), 40, axis=0) + dice.standard_normal((120, 6))).astype(np.float32)


def test_gradient_and_divergence_are_those_of_a_plain_loop() -> None:
    places, P = affinities()
    dense, count = P.toarray(), len(places)
    w = np.array(
        [
            [0.0 if i == j else 1 / (1 + ((a - b) ** 2).sum()) for j, b in enumerate(places)]
            for i, a in enumerate(places)
        ]
    )
    q = w / w.sum()
    expected = np.array(
        [sum((dense[i, j] - q[i, j]) * w[i, j] * (places[i] - places[j]) for j in range(count)) for i in range(count)]
    )
    shown = dense > 0
    with exact.objective(2) as objective:
        loss, gradient = objective(places, P, 1, should_eval_error=True)
    np.testing.assert_allclose(gradient, expected, rtol=0, atol=1e-6 * np.abs(expected).max())
    assert loss == pytest.approx((dense[shown] * np.log(dense[shown] / q[shown])).sum(), rel=1e-6)


def test_they_are_those_of_opentsne_without_a_tree() -> None:
    from openTSNE.tsne import kl_divergence_bh

    places, P = affinities(300, seed=2)
    wanted, slope = kl_divergence_bh(places, P, 1, {"theta": 0.0}, should_eval_error=True)
    with exact.objective(1) as objective:
        loss, gradient = objective(places, P, 1, should_eval_error=True)
    np.testing.assert_allclose(gradient, slope, rtol=0, atol=1e-5 * np.abs(slope).max())
    assert loss == pytest.approx(wanted, rel=1e-5)


def test_the_number_of_threads_changes_no_bit() -> None:
    places, P = affinities(101)
    found = []
    for threads in (1, 3):
        with exact.objective(threads) as objective:
            found.append(objective(places, P, 1)[1].tobytes())
    assert found[0] == found[1]


def test_the_map_is_at_least_as_good_as_one_by_a_tree(monkeypatch: pytest.MonkeyPatch) -> None:
    """The divergence of both from the same affinities, computed pair by pair."""
    from openTSNE.affinity import PerplexityBasedNN

    P = PerplexityBasedNN(codes(), perplexity=10, method="exact").P.toarray()
    summed = fit(codes(), "tsne", perplexity=10).places
    monkeypatch.setattr(exact, "available", lambda: False)
    by_tree = fit(codes(), "tsne", perplexity=10).places
    assert not np.array_equal(summed, by_tree)
    losses = []
    for places in (summed, by_tree):
        w = 1 / (1 + ((places[:, None] - places[None]) ** 2).sum(2))
        np.fill_diagonal(w, 0)
        shown = P > 0
        losses.append((P[shown] * np.log(P[shown] / (w / w.sum())[shown])).sum())
    assert losses[0] <= losses[1] + 0.01


def test_many_images_take_a_tree(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(threads: int) -> None:
        raise AssertionError("summed over all pairs")

    monkeypatch.setattr(exact, "objective", refuse)
    monkeypatch.setattr(exact, "MOST", 119)
    assert np.isfinite(maps.fit(codes(), "tsne", perplexity=10).places).all()


@pytest.mark.parametrize(("least", "installed", "said"), [(0, False, 1), (0, True, 0), (1000, False, 0)])
def test_without_numba_a_map_of_many_images_says_what_is_faster(
    monkeypatch: pytest.MonkeyPatch, least: int, installed: bool, said: int
) -> None:
    from pellucid.lenses import Network

    monkeypatch.setattr(exact, "available", lambda: installed)
    monkeypatch.setattr(embedding, "_SLOW", least)
    monkeypatch.setattr(embedding, "fit", lambda *given: fit(given[0], "pca"))
    notes: list[str] = []
    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 3))
    images = torch.rand(12, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    network = Network(net, images, tuple(f"n{i}" for i in range(12)), ("a", "b", "c"))
    object.__setattr__(network, "note", notes.append)
    embedding.Embedding()._fitted(network, None)
    assert sum("pip install 'pellucid[tsne]'" in note for note in notes) == said
