# SPDX-License-Identifier: Apache-2.0
"""Spectral clustering: the groups of a graph of nearest neighbours, which need not be round."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pellucid.tasks.cluster.methods import Codes, Floats, nearest

__all__ = ["shared_information", "spectral"]

_NEIGHBOURS = 20
_SCALE_NEIGHBOUR = 7  # whose distance is the local width (Zelnik-Manor & Perona 2004, sec. 3)
_EXTRA = (0, 2, 4)  # eigenvectors beyond the number of clusters
_TIMES = (8, 16, 32)  # of diffusion
_PER_CLUSTER, _MOST = 4, 64  # eigenvectors of diffusion, if there are not more clusters
_SEEDS, _SEEDED = 5, 100  # partitions of each embedding, at most, and the clusters of all of them together
_RESTARTS = 3  # of k-means for each partition
_DENSE = 300  # codes up to which all eigenvectors are computed


def spectral(codes: Codes, k: int, seed: int) -> dict[str, Tensor]:
    """The mean codes of the clusters of a nearest-neighbour graph: spectral clustering (Ng, Jordan & Weiss 2001).

    An edge has the weight exp(−d²/(σᵢσⱼ)), where σᵢ is the distance to the seventh neighbour (Zelnik-Manor & Perona 2004);
    k-means clusters the rows of the leading eigenvectors, normalised to length 1. Clusters need not be round.

    We deviate from the paper in how many eigenvectors count, and how much. A small group far from all others takes up one of its
    own, and two clusters then share another. So several embeddings are tried: by k, k + 2 and k + 4 eigenvectors, and by diffusion
    maps, in which an eigenvector counts with a power of its eigenvalue (Coifman & Lafon 2006, eq. 9). Of all partitions, that is
    kept in which the clusters of neighbours have most in common (`shared_information`).

    >>> turn = np.linspace(0, 6, 60)[:, None]
    >>> rings = np.concatenate([np.hstack([np.cos(turn), np.sin(turn)]) * r + [x, 0] for r, x in ((1, 0), (1, 9))])
    >>> sorted(spectral(rings.astype(np.float32), 2, seed=0)["centres"][:, 0].round().abs().tolist())
    [0.0, 9.0]

    Args:
        codes: (N, D).
        k: number of clusters.
        seed: of the k-means.

    Returns:
        "centres" (k, D) float32, and the "information" () that the clusters of neighbours share, in nats.
    """
    from sklearn.cluster import KMeans

    graph = _graph(codes)
    partitions = [
        KMeans(k, n_init=_RESTARTS, random_state=seed + place).fit_predict(rows)
        for rows in _embeddings(graph, k)
        for place in range(max(1, min(_SEEDS, _SEEDED // k)))
    ]
    shared = [round(shared_information(graph, labels, k), 4) for labels in partitions]  # equal but for rounding
    labels = partitions[int(np.argmax(shared))]
    means = [codes[labels == group].mean(0) if (labels == group).any() else codes[group] for group in range(k)]
    return {"centres": torch.from_numpy(np.stack(means).astype(np.float32)), "information": torch.tensor(max(shared))}


def shared_information(graph: Any, labels: NDArray[np.integer], k: int) -> float:
    """What the cluster of an image tells about that of its neighbour: their mutual information in nats, at most log k.

    The clusters of both ends of an edge, drawn by its weight, have a joint distribution P (k, k); their mutual information is
    Σ P log(P/(p·p)) (Ji et al. 2019, eq. 3, for hard clusters). It rises with the agreement of neighbours, which one large cluster
    would make perfect, and with the evenness of the clusters' sizes, which random ones would have: it takes both.

    >>> pairs = np.kron(np.eye(3), np.ones((2, 2)))  # three pairs of neighbours
    >>> [round(shared_information(pairs, np.array(labels), 3), 3) for labels in ([0, 0, 1, 1, 2, 2], [0] * 6, [0, 1, 2, 0, 1, 2])]
    [1.099, 0.0, 0.059]

    Args:
        graph: (N, N) symmetric weights of at least 0, sparse or not.
        labels: (N,) in [0, k).
        k: number of clusters.
    """
    member = np.eye(k)[labels]  # (N, k)
    joint = member.T @ (graph @ member)  # (k, k)
    joint = joint / max(joint.sum(), 1e-12)
    apart = np.outer(joint.sum(1), joint.sum(0))
    some = joint > 0
    return float((joint[some] * np.log(joint[some] / apart[some])).sum())


def _graph(codes: Codes) -> Any:
    """(N, N) sparse symmetric weights between neighbours."""
    from scipy.sparse import csr_array

    images = len(codes)
    near = min(_NEIGHBOURS, images - 1)
    distances, places = nearest(codes, near)  # (N, near) each
    width = np.maximum(distances[:, min(_SCALE_NEIGHBOUR, near) - 1], 1e-12)  # (N,)
    weights = np.exp(-(distances**2) / (width[:, None] * width[places]))
    rows = np.repeat(np.arange(images), near)
    graph = csr_array((weights.ravel(), (rows, places.ravel())), shape=(images, images))
    return graph.maximum(graph.T)  # neighbours if either is among the other's nearest


def _embeddings(graph: Any, k: int) -> Iterator[Floats]:
    """Points (N, E) of length 1 whose groups are those of the graph."""
    from scipy.sparse import diags_array
    from scipy.sparse.linalg import eigsh

    images = graph.shape[0]
    degrees = np.maximum(np.asarray(graph.sum(1)).ravel(), 1e-12)
    scale = diags_array(1 / np.sqrt(degrees))
    laplacian = scale @ graph @ scale  # D^−½·W·D^−½, whose largest eigenvalues matter
    most = min(max(k + _EXTRA[-1], min(_PER_CLUSTER * k, _MOST)), images)
    if images <= max(_DENSE, most + 1):
        values, vectors = np.linalg.eigh(laplacian.toarray())
    else:
        values, vectors = eigsh(laplacian, k=most, which="LA", tol=1e-3, v0=np.ones(images))
    order = np.argsort(values)[-most:]
    values, vectors = values[order].clip(0), vectors[:, order]
    for extra in _EXTRA:
        yield _unit(vectors[:, -(k + extra) :])
    random_walk = vectors / np.sqrt(degrees)[:, None]  # eigenvectors of D⁻¹·W
    for time in _TIMES:
        yield _unit(random_walk * values**time)


def _unit(rows: Floats) -> Floats:
    unit: Floats = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
    return unit
