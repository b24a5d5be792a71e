# SPDX-License-Identifier: Apache-2.0
"""From codes to clusters: k-means and Gaussian mixtures, the number of clusters, and limits for outliers."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["CRITERIA", "Assignment", "assign", "choose", "kmeans", "mixture", "nearest", "neighbours", "reaches"]

CRITERIA = ("silhouette", "gap", "bic")
RESTARTS = 10
_CHOSEN_ON = 3000  # codes on which the number of clusters is chosen
_REFERENCES = 5  # uniform samples behind each gap
_NEIGHBOURS = 10  # over which an image's soft assignment is averaged
_FLOOR = 1e-4  # share of the mean variance that is added to each variance of a mixture

Codes = NDArray[np.float32]
Floats = NDArray[np.float64]


@final
@dataclass(frozen=True)
class Assignment:
    """The cluster of each code, its distance, and its simplified silhouette."""

    cluster: Tensor  # (N,) int64
    distance: Tensor  # (N,) float32, in units of the codes; of mixtures in standard deviations (Mahalanobis)
    silhouette: Tensor  # (N,) float32 in [-1, 1]: (b − a)/max(a, b), distances to the own and the next centre


def assign(codes: Tensor, kept: Mapping[str, Tensor]) -> Assignment:
    """The cluster of each code (N, D).

    The nearest of the "centres" (k, D); or, for a Gaussian mixture, the component with the largest posterior: "factors"
    (k, D, D) are Cholesky factors of the inverse covariances, "weights" (k,) the prior probabilities.
    The simplified silhouette (Hruschka et al. 2004) needs the distances to the centres only, not to all other images.

    >>> assigned = assign(torch.tensor([[0.1], [4.0]]), {"centres": torch.tensor([[0.0], [5.0]])})
    >>> assigned.cluster.tolist(), [round(x, 2) for x in assigned.distance.tolist() + assigned.silhouette.tolist()]
    ([0, 1], [0.1, 1.0, 0.98, 0.75])
    """
    with torch.autocast(codes.device.type, enabled=False):  # distances need more digits than bf16 has
        return _assigned(codes.float(), kept)


def _assigned(codes: Tensor, kept: Mapping[str, Tensor]) -> Assignment:
    centres = kept["centres"]
    # (N, k); the form by matrix products loses digits where distances are small
    euclidean = torch.cdist(codes, centres, compute_mode="donot_use_mm_for_euclid_dist")
    if "factors" in kept:
        white = torch.einsum("nkd,kde->nke", codes[:, None] - centres, kept["factors"])  # whitened, (N, k, D)
        distances = white.norm(dim=2)  # Mahalanobis
        halves = kept["factors"].diagonal(dim1=1, dim2=2).abs().clamp_min(1e-30).log().sum(1)  # log √det of the inverse
        # log π − ½·log det Σ − ½·d²: the log of the posterior, up to a constant
        cluster = (kept["weights"].clamp_min(1e-30).log() + halves - distances**2 / 2).argmax(1)
    else:
        distances, cluster = euclidean, euclidean.argmin(1)
    rows = torch.arange(len(codes), device=codes.device)
    own = euclidean[rows, cluster]
    if len(centres) > 1:
        others = euclidean.clone()
        others[rows, cluster] = math.inf
        next_one = others.amin(1)
        silhouette = (next_one - own) / torch.maximum(next_one, own).clamp_min(1e-12)
    else:
        silhouette = torch.zeros_like(own)
    return Assignment(cluster, distances[rows, cluster], silhouette)


def kmeans(codes: Codes, k: int, seed: int, start: Codes | None = None, restarts: int = RESTARTS) -> dict[str, Tensor]:
    """The centres of k-means (Lloyd 1982) for codes (N, D): the best of several k-means++ starts, or from `start` (k, D).

    >>> fitted = kmeans(np.array([[0.0], [1.0], [9.0]], np.float32), 2, seed=0)
    >>> sorted(fitted["centres"].flatten().tolist())
    [0.5, 9.0]
    """
    from sklearn.cluster import KMeans

    first = "k-means++" if start is None else start
    model = KMeans(k, init=first, n_init=restarts if start is None else 1, random_state=seed).fit(codes)
    return {"centres": torch.from_numpy(np.asarray(model.cluster_centers_, np.float32))}


def mixture(codes: Codes, k: int, seed: int, start: Codes) -> dict[str, Tensor]:
    """A mixture of k Gaussians with full covariances, by expectation–maximisation from centres (k, D)."""
    from sklearn.mixture import GaussianMixture

    floor = _FLOOR * float(codes.var(0).mean()) + 1e-9
    model = GaussianMixture(k, means_init=start, reg_covar=floor, random_state=seed, max_iter=100)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it may not converge in 100 iterations, which matters less than the start
        model.fit(codes.astype(np.float64))
    kept = {"centres": model.means_, "factors": model.precisions_cholesky_, "weights": model.weights_}
    return {name: torch.from_numpy(np.asarray(value, np.float32)) for name, value in kept.items()}


def neighbours(codes: Codes) -> NDArray[np.int64]:
    """(N, 11): the positions of each code (N, D) itself and of its ten nearest neighbours; fewer where there are fewer.

    >>> neighbours(np.array([[0.0], [1.0], [5.0]], np.float32)).tolist()
    [[0, 1, 2], [1, 0, 2], [2, 1, 0]]
    """
    near = min(_NEIGHBOURS, len(codes) - 1)
    return np.hstack([np.arange(len(codes))[:, None], nearest(codes, near)[1]])


def nearest(codes: Codes, near: int) -> tuple[Floats, NDArray[np.int64]]:
    """Distances and positions (N, near) of the nearest other codes."""
    from sklearn.neighbors import NearestNeighbors

    # without an argument, a code is not its own neighbour
    distances, places = NearestNeighbors(n_neighbors=near).fit(codes).kneighbors()
    return distances, places


def reaches(assigned: Assignment, k: int, beyond: float) -> Tensor:
    """(k,): the distance that the share `beyond` of each cluster's training images exceeds; 0 for empty clusters."""
    reach = torch.zeros(k)
    for cluster in range(k):
        own = assigned.distance[assigned.cluster == cluster]
        if len(own):
            reach[cluster] = torch.quantile(own.float(), 1 - beyond)
    return reach


def choose(codes: Codes, most: int, criterion: str, seed: int) -> tuple[int, Floats]:
    """The number of clusters from 2 to `most`, and the criterion at each, (most − 1,).

    silhouette: the largest mean silhouette (Rousseeuw 1987). gap: the smallest k whose gap to uniform samples is within a
    standard error of the next one (Tibshirani et al. 2001, sec. 3), else the k with the largest gap. bic: the best Bayesian
    information criterion of a Gaussian mixture (Schwarz 1978), as −BIC per code.

    >>> rng = np.random.default_rng(0)
    >>> codes = np.concatenate([rng.normal(place, 0.1, (50, 2)) for place in (0, 3, 6)]).astype(np.float32)
    >>> [choose(codes, 5, criterion, seed=0)[0] for criterion in ("silhouette", "gap", "bic")]
    [3, 3, 3]
    """
    rng = np.random.default_rng(seed)
    if len(codes) > _CHOSEN_ON:
        codes = codes[rng.choice(len(codes), _CHOSEN_ON, replace=False)]
    counts = np.arange(2, most + 1)
    if criterion == "gap":
        return _by_gap(codes, counts, rng, seed)
    if criterion == "bic":
        values = np.array([_bic(codes, int(k), seed) for k in counts])
    else:
        from pellucid.tasks.cluster.partition import silhouette

        values = np.array([silhouette(codes, _labels(codes, int(k), seed), seed) for k in counts])
    return int(counts[np.nanargmax(values)]), values


def _labels(codes: Codes, k: int, seed: int) -> NDArray[np.int64]:
    """(N,), by k-means."""
    from sklearn.cluster import KMeans

    return np.asarray(KMeans(k, n_init=3, random_state=seed).fit_predict(codes), np.int64)


def _bic(codes: Codes, k: int, seed: int) -> float:
    """−BIC per code: the larger, the better."""
    from sklearn.mixture import GaussianMixture

    start = kmeans(codes, k, seed, restarts=3)["centres"].numpy()
    model = GaussianMixture(
        k, means_init=start, reg_covar=_FLOOR * float(codes.var(0).mean()) + 1e-9, random_state=seed
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(codes.astype(np.float64))
    return -float(model.bic(codes.astype(np.float64))) / len(codes)


def _by_gap(codes: Codes, counts: NDArray[np.int64], rng: np.random.Generator, seed: int) -> tuple[int, Floats]:
    """By the gap to samples that are uniform over the box of the codes' principal axes (the paper's reference b)."""
    centred = codes - codes.mean(0)
    axes = np.linalg.svd(centred, full_matrices=False)[2]
    turned = centred @ axes.T
    low, high = turned.min(0), turned.max(0)
    references = [rng.uniform(low, high, turned.shape).astype(np.float32) for _ in range(_REFERENCES)]
    gaps, errors = [], []
    for k in counts:
        drawn = np.array([_log_inertia(sample, int(k), seed) for sample in references])
        gaps.append(float(drawn.mean()) - _log_inertia(turned, int(k), seed))
        errors.append(float(drawn.std()) * math.sqrt(1 + 1 / _REFERENCES))
    values = np.array(gaps)
    within = np.flatnonzero(values[:-1] >= values[1:] - np.array(errors[1:]))
    return int(counts[within[0] if len(within) else values.argmax()]), values


def _log_inertia(codes: NDArray[np.floating], k: int, seed: int) -> float:
    """The log of the sum of squared distances to the centres of k-means."""
    from sklearn.cluster import KMeans

    return math.log(max(float(KMeans(k, n_init=3, random_state=seed).fit(codes).inertia_), 1e-30))
