# SPDX-License-Identifier: Apache-2.0
"""What is measured of a clustering as a whole: its silhouette, its stability over seeds, its sizes, and pictures of these."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pellucid._spread import evenly_spread
from pellucid.data.batches import store
from pellucid.data.dataset import Split
from pellucid.data.targets import Label
from pellucid.models import _building
from pellucid.models._merging import Mergeable
from pellucid.tasks._contract import ModelMeasures, NamedFigure
from pellucid.tasks._metrics import Measure
from pellucid.tasks._wrapping import unwrapped
from pellucid.tasks.cluster import figures, methods, partition, training
from pellucid.tasks.cluster.options import ClusterTask

__all__ = ["measure_model"]

_MOST = 10_000  # images of each split
_SEEDS = 5  # partitions that are compared


def measure_model(
    task: ClusterTask, model: nn.Module, train: Split, test: Split, size: tuple[int, int], seed: int
) -> ModelMeasures:
    """Silhouette over pairs, what neighbours told of each other at the start, stability over seeds, sizes of the clusters, and pictures."""
    unit = task.agreement > 0
    images, codes, labels, prediction = _predicted(task, model, test, size, unit)
    clusters = prediction.cluster.numpy()
    measures: dict[str, Measure] = {}
    value = partition.silhouette(codes.numpy(), clusters, seed)
    if np.isfinite(value):
        measures["silhouette_of_pairs"] = Measure(value, np.nan, np.nan, title="silhouette of pairs")
    details: dict[str, Any] = {}
    kept = unwrapped(model).kept
    k = len(kept["centres"])
    if "information" in kept:
        title = "information shared by neighbours' clusters"
        measures["shared_information"] = Measure(float(kept["information"]), np.nan, np.nan, "nats", title=title)
    known = _predicted(task, model, train, size, unit)[1] if len(train) else codes
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
    details["verdict_of_training"] = partition.describe_sizes(sizes)
    pictures = [
        NamedFigure(
            "clusters",
            "Clusters",
            "One row per cluster: the test images nearest to its centre and, after the gap, the farthest ones.",
            figures.rows(images, clusters, prediction.distance.numpy(), k, prediction.unlike.numpy()),
        ),
        NamedFigure(
            "map",
            "Map of the codes",
            "The test images' codes on their two principal axes, coloured by cluster.",
            figures.plane(codes.numpy(), clusters, images),
        ),
    ]
    if labels is not None and len(labels):
        table = partition.contingency(clusters, labels, k, int(labels.max()) + 1)
        words = "Test images by cluster and class; a frame marks the class that is matched to each cluster."
        pictures.append(NamedFigure("contingency", "Clusters and classes", words, figures.table(table)))
    if "criterion" in kept:
        values, words = kept["criterion"].cpu().numpy(), f"The {task.criterion} chose {k} clusters."
        pictures.append(
            NamedFigure("criterion", "Number of clusters", words, figures.criterion(values, k, task.criterion))
        )
    if bool(prediction.unlike.any()):
        words = "Test images whose distance or reconstruction error exceeds that of nearly all training images."
        pictures.append(NamedFigure("unlike", "Outliers", words, figures.outliers(images, prediction)))
    if isinstance(model, Mergeable):
        words = "The first layer's filters, each on its own scale from black (lowest) to white (highest)."
        first = next(iter(model.filters().values()))
        # the filters of a dense layer are pictures of the image's size
        shape = (_building.describe(model)["channels"], *size) if first.ndim == 2 else None
        pictures.append(NamedFigure("first_layer", "Filters", words, figures.filters(first.detach().cpu(), shape)))
    return ModelMeasures(measures, details, pictures)


def _batches(split: Split, size: tuple[int, int], channels: int) -> Iterator[Any]:
    chosen = evenly_spread(_MOST, len(split), floor=True)
    part = split if len(chosen) == len(split) else split.select(chosen)
    return store(part, size, channels).batches(256)


def _predicted(
    task: ClusterTask, model: nn.Module, split: Split, size: tuple[int, int], unit: bool
) -> tuple[Tensor, Tensor, NDArray[np.int64] | None, training.ClusterPrediction]:
    """Images (N, C, H, W) in [0, 1], their codes (N, D), labels (N,) where there are any, and the model's answers."""
    device = next(model.parameters()).device
    channels = _building.describe(model)["channels"]
    images, codes, labels, predictions = [], [], [], []
    for batch in _batches(split, size, channels):
        input = batch.images.float().div_(255)
        label = batch.targets.get("label")
        if isinstance(label, Label):
            labels.append(label.index.cpu().numpy())
        predictions.append(task.predict(model, input.to(device)).to("cpu"))
        codes.append(training.codes_of(model, input.to(device), unit).cpu())
        images.append(input)
    prediction = training.ClusterPrediction.cat(predictions)
    return torch.cat(images), torch.cat(codes), np.concatenate(labels) if labels else None, prediction


def _reseeded(
    task: ClusterTask, known: NDArray[np.float32], codes: Tensor, labels: NDArray[np.int64] | None, k: int, seed: int
) -> tuple[list[dict[str, Any]], list[NDArray[np.int64]]]:
    """Partitions of the test codes (N, D), fitted to the training codes with other seeds and one start each."""
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
