# SPDX-License-Identifier: Apache-2.0
"""What is measured of an image's objects: how well they were ranked, named and placed."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pellucid import _boxes
from pellucid.data.targets import Boxes
from pellucid.tasks._metrics import Floats, Metric, Weights
from pellucid.tasks._records import Ragged, Records
from pellucid.tasks.detect.objects import Detected

__all__ = ["METRICS", "columns"]

ENOUGH = 0.5  # IoU


def columns(answer: Detected, truth: Boxes) -> dict[str, Any]:
    """The records of images: of each detection its score, its class and whether it is a hit; of each object its class."""
    answer, truth = answer.to("cpu"), truth.to("cpu")
    hits = [_hits(answer, truth, i) for i in range(len(answer))]
    return {
        "score": Ragged.of([own.numpy() for own in answer.scores]),
        "label": Ragged.of([own.numpy() for own in answer.labels]),
        "hit": Ragged.of(hits),
        "true_label": Ragged.of([own.numpy() for own in truth.counting]),
        "threshold": answer.threshold.numpy(),
    }


def _hits(answer: Detected, truth: Boxes, i: int) -> NDArray[np.bool_]:
    """(n,): whether each detection, by falling score, is the first to fit an object of its class."""
    fits = _boxes.iou(answer.corners[i], truth.corners[i])
    same = answer.labels[i][:, None] == truth.labels[i]
    free = np.ones(len(truth.labels[i]), bool) if truth.ignored is None else ~truth.ignored[i].numpy()
    hits = np.zeros(len(fits), bool)
    for row, own in enumerate(torch.where(same, fits, -1.0).numpy()):
        left = np.where(free, own, -1)
        if len(left) and left.max() >= ENOUGH:
            hits[row], free[left.argmax()] = True, False
    return hits


def _precision(records: Records, weights: Weights) -> Floats:
    """(R,): the mean over the classes of the area below the curve of precision and recall."""
    scores, labels, hits = records["score"], records["label"], records["hit"]
    true = records["true_label"]
    found = []
    for kind in np.unique(true.values):
        total = weights @ np.bincount(true.owners[true.values == kind], minlength=len(true))
        own = labels.values == kind
        order = np.argsort(-scores.values[own], kind="stable")
        drawn = weights[:, scores.owners[own][order]]
        right = (drawn * hits.values[own][order]).cumsum(1)
        with np.errstate(divide="ignore", invalid="ignore"):
            recall = right / total[:, None]
            precision = np.where(drawn.cumsum(1) > 0, right / drawn.cumsum(1), 1.0)
            best = np.maximum.accumulate(precision[:, ::-1], 1)[:, ::-1]
            area = (np.diff(recall, axis=1, prepend=0) * best).sum(1)
        found.append(np.where(total > 0, area, np.nan))
    if not found:
        return np.full(len(weights), np.nan)
    return np.asarray(np.nanmean(np.stack(found), 0), np.float64)


METRICS = [Metric("ap50", "AP at IoU 0.5", over=_precision, limits=(0, 1))]
