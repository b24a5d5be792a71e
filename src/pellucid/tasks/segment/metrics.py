# SPDX-License-Identifier: Apache-2.0
"""What is measured of an image's pixels: how often each class was taken for each, in all and near the borders."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pellucid.data.targets import VOID
from pellucid.tasks._metrics import Floats, Metric, Weights, summarise
from pellucid.tasks._records import Records
from pellucid.tasks.segment.borders import NEAR, near_borders

__all__ = ["BY_CLASS", "METRICS", "columns", "confusions", "details", "ranking", "ratios", "tally"]


def confusions(answer: Tensor, truth: Tensor, classes: int) -> NDArray[np.int32]:
    """(B, K, K): the pixels of each true class (row) that were taken for each class (column); void ones are left out.

    >>> truth, answer = torch.tensor([[[0, 0, 1, VOID]]]), torch.tensor([[[0, 1, 1, 1]]])
    >>> confusions(answer, truth, 2)[0].tolist()
    [[1, 1], [0, 1]]

    Args:
        answer: (B, H, W) of classes.
        truth: (B, H, W) of classes.
        classes: K.
    """
    count, known = len(truth), (truth != VOID).flatten(1)
    pairs = truth.flatten(1).long() * classes + answer.flatten(1).long()
    cells = classes * classes
    # void pixels fall into a cell of their own, beyond all others
    flat = (
        torch.where(known, pairs, cells) + torch.arange(count, device=truth.device)[:, None] * (cells + 1)
    ).flatten()
    counts = torch.bincount(flat, minlength=count * (cells + 1)).view(count, cells + 1)[:, :cells]
    return counts.view(count, classes, classes).cpu().numpy().astype(np.int32)


def tally(masks: Tensor) -> NDArray[np.int64]:
    """(N, K): the pixels of each class in each mask, up to the highest class that occurs.

    >>> tally(torch.tensor([[[0, 2, VOID]]])).tolist()
    [[1, 0, 1]]
    """
    flat, known = masks.flatten(1).long(), (masks != VOID).flatten(1)
    classes = int(flat[known].max()) + 1 if bool(known.any()) else 1
    flat = flat.masked_fill(~known, classes) + torch.arange(len(masks))[:, None] * (classes + 1)
    counts = torch.bincount(flat.flatten(), minlength=len(masks) * (classes + 1)).view(len(masks), classes + 1)
    return counts[:, :classes].numpy()


def columns(answer: Tensor, truth: Tensor, classes: int) -> dict[str, NDArray[Any]]:
    """The records of images of one size: "confusion" (B, K, K), and "border" (B, 2), pixels near a border: right, and all."""
    near = near_borders(truth)
    right = (near & (answer == truth)).flatten(1).sum(1)
    border = torch.stack([right, near.flatten(1).sum(1)], 1)
    return {"confusion": confusions(answer, truth, classes), "border": border.cpu().numpy().astype(np.int32)}


def ratios(cells: NDArray[Any]) -> dict[str, NDArray[np.float64]]:
    """Measures (…, K) of each class from confusions (…, K, K): iou, dice, tpr, tnr, ppv; NaN where a ratio is 0 / 0.

    The true and the predicted pixels of a class are two sets of pixels. A class that is in neither has no IoU.

    >>> {name: value.tolist() for name, value in ratios(np.array([[6, 2], [0, 0]])).items()}
    {'iou': [0.75, 0.0], 'dice': [0.857..., 0.0], 'tpr': [0.75, nan], 'tnr': [nan, 0.75], 'ppv': [1.0, 0.0]}
    """
    cells = np.asarray(cells, np.float64)
    both = np.diagonal(cells, axis1=-2, axis2=-1)
    true, taken, all_pixels = cells.sum(-1), cells.sum(-2), cells.sum((-2, -1))[..., None]
    with np.errstate(divide="ignore", invalid="ignore"):
        return {
            "iou": both / (true + taken - both),
            "dice": 2 * both / (true + taken),
            "tpr": both / true,
            "tnr": (all_pixels - true - taken + both) / (all_pixels - true),
            "ppv": both / taken,
        }


def _mean(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """The mean over the last axis without NaN; NaN where nothing else is left."""
    there = ~np.isnan(values)
    with np.errstate(invalid="ignore"):
        return np.asarray(np.where(there, values, 0).sum(-1) / there.sum(-1))


def _summed(records: Records, weights: Weights) -> NDArray[np.float64]:
    """(R, K, K): the confusions of all images that were drawn."""
    cells = np.asarray(records["confusion"])
    flat = cells.reshape(len(cells), -1).astype(np.float64)
    return (weights @ flat).reshape(len(weights), *cells.shape[1:])


def _over_classes(name: str) -> Callable[[Records, Weights], Floats]:
    return lambda records, weights: _mean(ratios(_summed(records, weights))[name])


def _accuracy(records: Records, weights: Weights) -> Floats:
    cells = np.asarray(records["confusion"], np.float64)
    counts = np.stack([np.trace(cells, axis1=1, axis2=2), cells.sum((1, 2))], 1)
    return _share(counts, weights)


def _border(records: Records, weights: Weights) -> Floats:
    return _share(np.asarray(records["border"], np.float64), weights)


def _share(counts: NDArray[np.float64], weights: Weights) -> Floats:
    right, total = (weights @ counts).T
    with np.errstate(divide="ignore", invalid="ignore"):  # NaN where there is no such pixel
        return np.asarray(right / total)


METRICS = [
    Metric("mean_iou", "mean IoU", over=_over_classes("iou"), needs=("confusion",), limits=(0, 1)),
    Metric("mean_dice", "mean Dice", over=_over_classes("dice"), needs=("confusion",), limits=(0, 1)),
    Metric("pixel_accuracy", "pixel accuracy", over=_accuracy, needs=("confusion",), limits=(0, 1)),
    Metric("class_accuracy", "mean tpr of classes", over=_over_classes("tpr"), needs=("confusion",), limits=(0, 1)),
    Metric("border_accuracy", f"accuracy within {NEAR} px of borders", over=_border, needs=("border",), limits=(0, 1)),
]
"""The mean IoU over the classes that occur decides, from the pixels of all images together (Everingham et al. 2010)."""

BY_CLASS = {"iou": "IoU", "dice": "Dice", "tpr": "tpr", "tnr": "tnr", "ppv": "ppv"}


def ranking(records: Records) -> NDArray[np.float64]:
    """(N,): the mean IoU of each image over the classes that it has; NaN for one that is all void."""
    return _mean(ratios(np.asarray(records["confusion"]))["iou"])


def details(records: Records, classes: Sequence[str]) -> dict[str, Any]:
    """A row for each class: the images that show it, its share of the pixels, and its measures with their intervals."""
    cells = np.asarray(records["confusion"], np.float64)
    true, taken, both = cells.sum(2), cells.sum(1), np.diagonal(cells, axis1=1, axis2=2)  # (N, K) each
    every = true.sum(1)
    rows = []
    for i, name in enumerate(classes):
        own = {"pixels": np.stack([both[:, i], true[:, i], taken[:, i], every], 1)}
        found = summarise(_OF_A_CLASS, own)
        row: dict[str, Any] = {
            "class": name,
            "images": int((true[:, i] > 0).sum()),
            "share of pixels": round(float(true[:, i].sum() / max(every.sum(), 1)), 6),
        }
        for metric in _OF_A_CLASS:
            one = found[metric.key]
            known = not np.isnan(one.value)
            row[metric.title] = {"value": one.value, "low": one.low, "high": one.high} if known else None
        rows.append(row)
    return {"per_class": rows}


def _of_a_class(name: str) -> Callable[[Records, Weights], Floats]:
    """A measure of one class from "pixels" (N, 4): right, true, taken for it, and all."""

    def over(records: Records, weights: Weights) -> Floats:
        both, true, taken, every = (weights @ records["pixels"]).T
        cells = np.stack([both, true - both, taken - both, every - true - taken + both], 1).reshape(-1, 2, 2)
        return ratios(cells)[name][:, 0]

    return over


_OF_A_CLASS = [Metric(name, title, over=_of_a_class(name), limits=(0, 1)) for name, title in BY_CLASS.items()]
