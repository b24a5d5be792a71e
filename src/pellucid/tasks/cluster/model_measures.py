# SPDX-License-Identifier: Apache-2.0
"""A clustering looked at as a whole: its silhouette, its stability over seeds, its sizes, and pictures of all that."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pellucid.data.batches import store
from pellucid.data.dataset import Split
from pellucid.data.targets import Label
from pellucid.tasks._contract import ModelMeasures, NamedFigure
from pellucid.tasks._metrics import Measure
from pellucid.tasks.cluster import figures, methods, partition, training
from pellucid.tasks.cluster.options import Clustering

__all__ = ["measure_model"]

_MOST = 10_000  # images of either split that are looked at
_SEEDS = 5  # partitions that are compared


def measure_model(
    task: Clustering, model: nn.Module, train: Split, test: Split, size: tuple[int, int], seed: int
) -> ModelMeasures:
    """What is measured and drawn of the clusters beside the per-image records."""
    unit = task.agreement > 0
    images, codes, labels, found = _seen(task, model, test, size, unit)
    clusters = found.cluster.numpy()
    measures: dict[str, Measure] = {}
    value = partition.silhouette(codes.numpy(), clusters, seed)
    if np.isfinite(value):
        measures["silhouette_of_pairs"] = Measure(value, value, value, title="silhouette of pairs")
    details: dict[str, Any] = {}
    kept: Any = model.kept
    k = len(kept["centres"])
    known = _seen(task, model, train, size, unit)[1] if len(train) else codes
    if len(known) >= 2 * k:
        rows, partitions = _reseeded(task, known.numpy(), codes, labels, k, seed)
        pairs = partition.stability(partitions)
        measures["stability"] = Measure(
            float(pairs.mean()), float(pairs.min()), float(pairs.max()), title="stability over seeds"
        )
        details["seeds"] = rows
    sizes = kept["sizes"].cpu().numpy()
    details["training_clusters"] = [
        {
            "cluster": i,
            "training images": int(n),
            "distance beyond which an image is unlike any": round(float(reach), 5),
        }
        for i, (n, reach) in enumerate(zip(sizes, kept["reach"].tolist(), strict=True))
    ]
    details["verdict_of_training"] = partition.verdict(sizes)
    pictures = [
        NamedFigure(
            "clusters",
            "Clusters",
            "A row a cluster: the test images nearest to its centre, and after the gap the farthest.",
            figures.rows(images, clusters, found.distance.numpy(), k, found.unlike.numpy()),
        ),
        NamedFigure(
            "map",
            "Map of the codes",
            "Two principal axes of the test images' codes, in the colours of their clusters.",
            figures.plane(codes.numpy(), clusters, images),
        ),
    ]
    if labels is not None and len(labels):
        table = partition.contingency(clusters, labels, k, int(labels.max()) + 1)
        words = "Test images by cluster and class; framed is the class that each cluster stands for."
        pictures.append(NamedFigure("contingency", "Clusters and classes", words, figures.table(table)))
    if "criterion" in kept:
        values, words = kept["criterion"].cpu().numpy(), f"The {task.criterion} chose {k} clusters."
        pictures.append(
            NamedFigure("criterion", "Number of clusters", words, figures.criterion(values, k, task.criterion))
        )
    if bool(found.unlike.any()):
        words = "Test images that are flagged: their distance or their reconstruction is beyond nearly all training images'."
        pictures.append(NamedFigure("unlike", "Unlike anything seen", words, figures.strange(images, found)))
    if hasattr(model, "filters"):
        words = "The first layer's filters, each on its own scale from black (lowest) to white (highest)."
        first = next(iter(model.filters().values()))  # type: ignore[operator]
        channels: int = model.description["channels"]  # type: ignore[index,assignment]
        shape = (channels, *size) if first.ndim == 2 else None
        pictures.append(NamedFigure("filters", "Filters", words, figures.filters(first.detach().cpu(), shape)))
    return ModelMeasures(measures, details, pictures)


def _batches(split: Split, size: tuple[int, int], channels: int) -> Iterator[Any]:
    chosen = np.unique(np.linspace(0, len(split) - 1, min(len(split), _MOST)).astype(np.int64))
    part = split if len(chosen) == len(split) else split.select(chosen)
    return store(part, size, channels).batches(256)


def _seen(
    task: Clustering, model: nn.Module, split: Split, size: tuple[int, int], unit: bool
) -> tuple[Tensor, Tensor, NDArray[np.int64] | None, training.Assigned]:
    """Images (N, C, H, W) in [0, 1], codes, labels where there are any, and answers."""
    device = next(model.parameters()).device
    channels: int = model.description["channels"]  # type: ignore[index,assignment]
    images, codes, labels, answers = [], [], [], []
    for batch in _batches(split, size, channels):
        input = batch.images.float().div_(255)
        label = batch.targets.get("label")
        if isinstance(label, Label):
            labels.append(label.index.cpu().numpy())
        answers.append(task.predict(model, input.to(device)).to("cpu"))
        codes.append(training.codes_of(model, input.to(device), unit).cpu())
        images.append(input)
    found = training.Assigned.cat(answers)
    return torch.cat(images), torch.cat(codes), np.concatenate(labels) if labels else None, found


def _reseeded(
    task: Clustering, known: NDArray[np.float32], codes: Tensor, labels: NDArray[np.int64] | None, k: int, seed: int
) -> tuple[list[dict[str, Any]], list[NDArray[np.int64]]]:
    """Partitions of the test codes by fits to the training codes from other seeds, one start each."""
    rows, partitions = [], []
    for other in range(seed, seed + _SEEDS):
        kept = training.partition(task, known, k, other, restarts=1)
        clusters = methods.assign(codes, kept).cluster.numpy()
        partitions.append(clusters)
        row: dict[str, Any] = {
            "seed": other,
            "clusters with images": int((np.bincount(clusters, minlength=k) > 0).sum()),
        }
        if labels is not None:
            table = partition.contingency(clusters, labels, k, int(labels.max()) + 1)[None]
            row |= {
                "accuracy": round(float(partition.accuracies(table)[0]), 4),
                "nmi": round(float(partition.mutual_information(table)[0]), 4),
                "ari": round(float(partition.adjusted_rand(table)[0]), 4),
            }
        rows.append(row)
    if labels is not None:
        names = ("accuracy", "nmi", "ari")
        mean = {name: round(float(np.mean([row[name] for row in rows])), 4) for name in names}
        spread = {name: round(float(np.std([row[name] for row in rows])), 4) for name in names}
        rows += [
            {"seed": "mean", "clusters with images": "", **mean},
            {"seed": "spread", "clusters with images": "", **spread},
        ]
    return rows, partitions
