# SPDX-License-Identifier: Apache-2.0
"""What is measured of a clustering from its records: agreement with labels by optimal matching, silhouettes, sizes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pellucid.tasks import _bootstrap
from pellucid.tasks._contract import Measure, Records
from pellucid.tasks.cluster import metrics

__all__ = ["details", "matched", "per_image", "summary", "table"]


def summary(records: Records, classes: int, seed: int = 0) -> dict[str, Measure]:
    """The measures with 95 % bootstrap intervals; those that need labels only where there are labels."""
    found: dict[str, Measure] = {}
    if _labelled(records):
        counts = table(records, classes)
        drawn = _bootstrap.resampled(counts.ravel(), seed).reshape(-1, *counts.shape)
        tables = np.concatenate([counts[None], drawn])
        rules = {
            "accuracy": metrics.accuracies,
            "nmi": metrics.mutual_information,
            "ari": metrics.adjusted_rand,
            "purity": metrics.purities,
        }
        for name, rule in rules.items():
            values = rule(tables)
            found[name] = Measure(float(values[0]), *_bootstrap.bounds(values[1:]))
    found["silhouette"] = Measure(*_bootstrap.of_mean(records["silhouette"], seed))
    if "unlike" in records:
        found["unlike"] = Measure(*_bootstrap.of_mean(records["unlike"].astype(np.float64), seed), better="neither")
    return found


def details(records: Records, classes: Sequence[str]) -> dict[str, Any]:
    """A row a cluster: its images, the class that it stands for, and how pure it is."""
    sizes = np.bincount(records["cluster"])
    rows: list[dict[str, Any]] = []
    counts = table(records, len(classes)) if _labelled(records) else None
    match = None if counts is None else metrics.matching(counts)
    for cluster, size in enumerate(sizes.tolist()):
        own = records["cluster"] == cluster
        row: dict[str, Any] = {"cluster": cluster, "images": size}
        if counts is not None and match is not None:
            row["stands for"] = classes[match[cluster]] if match[cluster] >= 0 else "–"
            row["commonest class"] = classes[int(counts[cluster].argmax())] if size else "–"
            row["purity"] = round(float(counts[cluster].max() / size), 4) if size else None
        row["silhouette"] = round(float(records["silhouette"][own].mean()), 4) if size else None
        rows.append(row)
    return {"clusters": rows, "verdict": metrics.verdict(sizes)}


def per_image(records: Records) -> NDArray[np.float64]:
    """(N,): 1 where the label is the one that the image's cluster stands for; the silhouette without labels."""
    if not _labelled(records):
        return np.asarray(records["silhouette"], np.float64)
    return np.asarray(matched(records) == records["label"], np.float64)


def matched(records: Records) -> NDArray[np.int64]:
    """(N,): the class that each image's cluster stands for, −1 for none."""
    counts = table(records, int(records["label"].max()) + 1)
    return metrics.matching(counts)[records["cluster"]]


def table(records: Records, classes: int) -> NDArray[np.int64]:
    """(k, classes) counts of the labelled records."""
    known = records["label"] >= 0
    clusters = int(records["cluster"].max()) + 1
    return metrics.contingency(records["cluster"][known], records["label"][known], clusters, classes)


def _labelled(records: Records) -> bool:
    return bool((records["label"] >= 0).all())
