# SPDX-License-Identifier: Apache-2.0
"""What is measured of a clustering: agreement with labels under the optimal matching, silhouettes, cluster sizes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pellucid.tasks._intervals import halves
from pellucid.tasks._metrics import Floats, Metric, Weights, mean
from pellucid.tasks._records import Records
from pellucid.tasks.cluster import partition

__all__ = ["agreement", "details", "matched", "metrics", "table"]


def metrics(classes: int) -> list[Metric]:
    """The measures, those that need labels only where there are classes. The first one decides."""

    def of_tables(rule: Callable[[NDArray[Any]], Floats]) -> Callable[[Records, Weights], Floats]:
        return lambda records, weights: rule(_tables(records, classes, weights))

    def adjusted(records: Records, weights: Weights) -> Floats:
        tables = _tables(records, classes, weights)
        # what chance reaches takes longer than all the rest, so that many resamples share it
        everyone = tables if len(tables) == 1 else _tables(records, classes, np.ones((1, weights.shape[1])))
        return partition.adjusted_mutual_information(tables, everyone[0])

    def alone(records: Records) -> float:
        return float(adjusted(records, np.ones((1, len(records["label"]))))[0])

    def held_out(choose: Callable[[NDArray[Any]], NDArray[np.int64]]) -> Callable[[Records], float]:
        return lambda records: _held_out(records, classes, choose)

    silhouettes = [
        mean("silhouette", "silhouette"),
        mean("unlike", "share flagged as outliers", better="neither"),
    ]
    if not classes:
        return silhouettes
    return [
        # under the matching of all images: resamples show how the share varies, not the matching
        Metric("accuracy", "accuracy", over=_accuracy, limits=(0, 1), corrected=held_out(partition.matching),
               live=held_out(partition.matching)),
        Metric("nmi", "NMI", over=of_tables(partition.mutual_information), limits=(0, 1), corrected=alone),
        Metric("ami", "AMI", over=adjusted, limits=(-1, 1)),
        Metric("ari", "ARI", over=of_tables(partition.adjusted_rand), limits=(-1, 1)),
        Metric("purity", "purity", over=of_tables(partition.purities), limits=(0, 1),
               corrected=held_out(partition.commonest)),
        *silhouettes,
    ]  # fmt: skip


def agreement(one: Records, other: Records) -> float:
    """The adjusted Rand index of the clusters of two models, for the same images."""
    return float(partition.stability([one["cluster"], other["cluster"]])[0])


def _accuracy(records: Records, weights: Weights) -> Floats:
    """(R,): the share of the labelled images whose label is the class of their cluster."""
    known = records["label"] >= 0
    right = (matched(records) == records["label"])[known].astype(np.float64)
    with np.errstate(invalid="ignore"):  # NaN where no label is known
        return np.asarray(weights[:, known] @ right / weights[:, known].sum(1))


def _held_out(records: Records, classes: int, choose: Callable[[NDArray[Any]], NDArray[np.int64]]) -> float:
    """The share of right images where the class of each cluster is chosen on one half of them and judged on the other.

    On the images that it is chosen on, even the best choice for random clusters is right more often than chance, and the
    more so the fewer images there are.
    """
    shares = []
    for one, other in halves(len(records["label"])):
        chosen, held = (_tables(records, classes, half)[0] for half in (one, other))  # (k, classes)
        match = choose(chosen)
        matched = np.flatnonzero(match >= 0)
        if held.sum():
            shares.append(held[matched, match[matched]].sum() / held.sum())
    return float(np.mean(shares)) if shares else np.nan


def _tables(records: Records, classes: int, weights: Weights) -> NDArray[np.float64]:
    """(R, k, classes): the weight of each cluster's images in each class, for each row of the weights (R, N)."""
    from scipy.sparse import csr_array

    k = int(records["cluster"].max()) + 1
    known = np.flatnonzero(records["label"] >= 0)
    cells = records["cluster"][known].astype(np.int64) * classes + records["label"][known]
    # one sparse product for all resamples: each labelled image is a single 1 in its cell's row
    onehot = csr_array((np.ones(len(cells)), (cells, known)), shape=(k * classes, weights.shape[1]))  # (k·classes, N)
    return np.asarray((onehot @ weights.T).T, np.float64).reshape(-1, k, classes)


def details(records: Records, classes: Sequence[str]) -> dict[str, Any]:
    """One row per cluster: its images, the class that is matched to it, and its purity."""
    sizes = np.bincount(records["cluster"])
    rows: list[dict[str, Any]] = []
    counts = table(records, len(classes)) if _labelled(records) else None
    match = None if counts is None else partition.matching(counts)
    for cluster, size in enumerate(sizes.tolist()):
        own = records["cluster"] == cluster
        row: dict[str, Any] = {"cluster": cluster, "images": size}
        if counts is not None and match is not None:
            row["matched class"] = classes[match[cluster]] if match[cluster] >= 0 else "–"
            row["commonest class"] = classes[int(counts[cluster].argmax())] if size else "–"
            row["purity"] = round(float(counts[cluster].max() / size), 4) if size else None
        row["silhouette"] = round(float(records["silhouette"][own].mean()), 4) if size else None
        rows.append(row)
    found: dict[str, Any] = {"clusters": rows}
    if counts is not None:
        found["random_clusters"] = _chance(records, len(classes))
    return found | {"verdict": partition.describe_sizes(sizes)}


def _chance(records: Records, classes: int) -> list[dict[str, Any]]:
    """The measures that chance raises, beside what random clusters of the same sizes reach."""
    clusters = int(records["cluster"].max()) + 1
    chance = partition.by_chance(records["cluster"], records["label"], clusters, classes)
    everyone = {metric.key: metric for metric in metrics(classes)}
    return [
        {
            "measure": everyone[key].title,
            "value": round(everyone[key].value(records), 4),
            "random clusters": round(value, 4),
        }
        for key, value in chance.items()
    ]


def matched(records: Records) -> NDArray[np.int64]:
    """(N,): the class of each image's cluster, −1 for none."""
    counts = table(records, int(records["label"].max()) + 1)
    return partition.matching(counts)[records["cluster"]]


def table(records: Records, classes: int) -> NDArray[np.int64]:
    """(k, classes) counts of the labelled records."""
    known = records["label"] >= 0
    clusters = int(records["cluster"].max()) + 1
    return partition.contingency(records["cluster"][known], records["label"][known], clusters, classes)


def _labelled(records: Records) -> bool:
    return bool((records["label"] >= 0).all())
