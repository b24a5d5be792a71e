# SPDX-License-Identifier: Apache-2.0
"""Maps of codes in the plane (t-SNE, PCA, UMAP), and new images placed on a map that stays as it is."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any, Literal, final

import numpy as np
import torch
from numpy.typing import NDArray

from pellucid.errors import UsageError
from pellucid.lenses._index import Index, distinct
from pellucid.lenses.embedding import exact

__all__ = ["METHODS", "Map", "Method", "fit", "place"]

Method = Literal["tsne", "pca", "umap"]
METHODS: dict[Method, str] = {"tsne": "t-SNE", "pca": "PCA", "umap": "UMAP"}
"""The methods with the names in which papers write them."""

_LEAST = 6  # images: t-SNE has no perplexity above 1 for fewer
_ANGLE = 0.7  # Barnes-Hut θ: preserves as many neighbours as 0.5, in three quarters of the time at 10,000 images
_BETWEEN = 5.0  # perplexity of a new image on a UMAP, where it is at its neighbours' mean
_FEW = 2000  # images whose map takes a second on one thread: several would mostly wait for each other
_STEPS = 250  # steps of gradient descent for a new image


@final
@dataclass(frozen=True)
class Map:
    """A map of codes, and what is needed to place others on it."""

    method: Method
    codes: NDArray[np.float32]  # (N, D)
    places: NDArray[np.float64]  # (N, 2), centred at 0
    perplexity: float  # as used
    seed: int
    mean: NDArray[np.float64]  # (D,): of PCA
    components: NDArray[np.float64]  # (2, D): of PCA


def fit(codes: NDArray[Any], method: Method = "tsne", perplexity: float = 30.0, seed: int = 0) -> Map:
    """Lay out codes (N, D) in the plane; the same seed gives the same map.

    >>> codes = np.repeat(np.eye(4), 5, axis=0) + 0.01 * np.random.default_rng(0).standard_normal((20, 4))
    >>> chart = fit(codes, "pca")
    >>> chart.places.shape, chart.method
    ((20, 2), 'pca')

    Args:
        codes: of the images.
        method: tsne (van der Maaten & Hinton 2008, by openTSNE, with sums over all pairs where numba is installed), pca, or umap
            (McInnes, Healy & Melville 2018).
        perplexity: effective number of neighbours, for t-SNE and UMAP; at most a third of the images.
        seed: of the initialisation.

    Raises:
        UsageError: fewer than six images or six different codes, codes that are not finite, or UMAP is not installed.
    """
    codes = np.ascontiguousarray(codes, np.float32)
    if len(codes) < _LEAST:
        raise UsageError(f"images={len(codes)}: a map needs at least {_LEAST}; give more images, or look at a run.")
    if not np.isfinite(codes).all():
        raise UsageError(
            "layer=…: gives codes that are not finite; name another layer, or train with a lower learning rate."
        )
    if (count := distinct(codes)) < _LEAST:
        raise UsageError(
            f"layer=…: gives these {len(codes):,} images {count} different code{'s' * (count > 1)}, and a map needs at least "
            f"{_LEAST}; name another layer, or train with a lower learning rate if its units are dead."
        )
    perplexity = float(min(perplexity, max(1.0, (len(codes) - 1) / 3)))
    mean, components = _principal(codes)
    if method == "tsne":
        places = _tsne(codes, perplexity, seed, (codes - mean) @ components.T)
    elif method == "umap":
        places = _umap(codes, perplexity, seed)
    else:
        places = (codes - mean) @ components.T
    places = np.ascontiguousarray(places, np.float64)
    places -= (places.max(0) + places.min(0)) / 2
    return Map(method, codes, places, perplexity, seed, mean, components)


def place(chart: Map, codes: NDArray[Any], index: Index | None = None) -> NDArray[np.float64]:
    """(Q, 2): where new images are on a map. The map stays as it is, and new images do not move each other.

    On a t-SNE each new image starts at the median of its nearest neighbours and minimises its own share of the loss (Poličar,
    Stražar & Zupan 2019); PCA projects it; on a UMAP it is at its neighbours' mean, weighted by affinity, which is where UMAP's own
    transform starts. An image whose code is on the map takes the place of that one.

    >>> chart = fit(np.random.default_rng(0).standard_normal((20, 3)), "pca")
    >>> bool((place(chart, chart.codes[3:5]) == chart.places[3:5]).all())
    True
    """
    codes = np.ascontiguousarray(codes, np.float32)
    index = index or Index(chart.codes)
    nearest, distance = index.search(codes, 1)
    if chart.method == "pca":
        # projected together with the map's own codes, so that equal codes get bit for bit equal places
        raw = (np.concatenate([codes, chart.codes]) - chart.mean) @ chart.components.T
        whole = raw[len(codes) :]
        places = raw[: len(codes)] - (whole.max(0) + whole.min(0)) / 2
    else:
        places = _among(chart, codes, index)
    known = distance[:, 0] == 0
    places[known] = chart.places[nearest[known, 0]]
    return np.asarray(places)


def _principal(codes: NDArray[np.float32]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The mean (D,) and the two directions of most variance (2, D), the largest entry of each positive."""
    from scipy.linalg import eigh

    exact = codes.astype(np.float64)
    mean = exact.mean(0)
    exact -= mean
    wide = exact.shape[1] > len(exact)
    products = exact @ exact.T if wide else exact.T @ exact  # the smaller of the two problems
    last = len(products) - 1  # eigenvalues come in ascending order
    _, columns = eigh(products, subset_by_index=(max(0, last - 1), last), overwrite_a=True, check_finite=False)
    directions = columns.T[::-1]
    if wide:
        directions = directions @ exact
        spread = np.linalg.norm(directions, axis=1, keepdims=True)
        # codes on a line have one direction, and what rounding leaves of a second lies along the first
        directions = np.divide(directions, spread, out=np.zeros_like(directions), where=spread > 1e-7 * spread.max())
    if len(directions) < 2:  # codes of a single number
        directions = np.concatenate([directions, np.zeros_like(directions)])
    largest = np.take_along_axis(directions, np.abs(directions).argmax(1)[:, None], 1)
    return mean, directions * np.where(largest < 0, -1.0, 1.0)


def _tsne(
    codes: NDArray[np.float32], perplexity: float, seed: int, projected: NDArray[np.float64]
) -> NDArray[np.float64]:
    """The map that t-SNE makes of codes, from their PCA (N, 2) on."""
    from openTSNE import TSNE
    from openTSNE.affinity import PerplexityBasedNN
    from openTSNE.initialization import jitter, rescale
    from openTSNE.nearest_neighbors import PrecomputedNeighbors

    near = Index(codes).search(codes, max(2, int(3 * perplexity)), np.arange(len(codes)))
    threads = 1 if len(codes) <= _FEW else torch.get_num_threads()
    affinities = PerplexityBasedNN(knn_index=PrecomputedNeighbors(*near), perplexity=perplexity, n_jobs=threads)
    start = jitter(rescale(projected), random_state=seed)  # as openTSNE's own `pca` has it
    common: dict[str, Any] = {"perplexity": perplexity, "n_jobs": threads, "random_state": seed}
    if len(codes) <= exact.MOST and exact.available():
        with exact.objective(threads) as objective:
            plan = TSNE(**common, negative_gradient_method=objective)
            return np.array(plan.fit(affinities=affinities, initialization=start))
    # Barnes-Hut: at 10,000 images an iteration by interpolation on a grid took 7 times as long
    plan = TSNE(**common, negative_gradient_method="bh", theta=_ANGLE)
    return np.array(plan.fit(affinities=affinities, initialization=start))


def _among(chart: Map, codes: NDArray[np.float32], index: Index) -> NDArray[np.float64]:
    """(Q, 2): places among the nearest neighbours on a t-SNE or a UMAP."""
    from openTSNE import TSNEEmbedding, affinity
    from scipy.sparse import csr_matrix

    threads = torch.get_num_threads()
    # Poličar, Stražar & Zupan use a perplexity of 5 on a t-SNE. With the map's own, new images keep nearly as many neighbours as
    # in a new fit of everything (0.55 of 10 against 0.56; with 5 it is 0.52: 300 scanned digits placed among 1,000)
    perplexity = min(chart.perplexity, _BETWEEN) if chart.method == "umap" else chart.perplexity
    count = min(len(chart.codes), max(3, int(3 * perplexity)))

    class Frozen:  # has what TSNEEmbedding reads of openTSNE's Affinities
        """Affinities of new images to those of a map; those among the map's own images are not needed."""

        def __init__(self) -> None:
            self.P = csr_matrix((len(chart.codes),) * 2)

        def to_new(self, data: NDArray[Any], return_distances: bool = False) -> Any:
            near, distance = index.search(data, count)
            weights = affinity.joint_probabilities_nn(
                near, distance, [perplexity], symmetrize=False, normalization="point-wise",
                n_reference_samples=len(chart.codes), n_jobs=threads,
            )  # fmt: skip
            return (weights, near, distance) if return_distances else weights

    if chart.method == "umap":
        return np.asarray(Frozen().to_new(codes) @ chart.places)
    kept = TSNEEmbedding(
        chart.places, Frozen(), random_state=chart.seed, negative_gradient_method="bh", n_jobs=threads, theta=0.5
    )  # copies the places
    placed = kept.prepare_partial(codes, initialization="median", k=min(count, 25))
    placed.optimize(
        n_iter=_STEPS, learning_rate=0.1, exaggeration=1.5, momentum=0.8, max_grad_norm=0.25, inplace=True,
        propagate_exception=True,
    )  # fmt: skip
    return np.array(placed, np.float64)


def _umap(codes: NDArray[np.float32], neighbours: float, seed: int) -> NDArray[np.float64]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # numba warns of deprecations in itself
            from umap import UMAP
    except ImportError:
        raise UsageError(
            "method='umap': needs umap-learn; install it (pip install 'pellucid[umap]'), or choose tsne or pca."
        ) from None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = UMAP(n_neighbors=max(2, min(int(neighbours), len(codes) - 1)), random_state=seed, n_jobs=1)
        return np.asarray(made.fit_transform(codes))
