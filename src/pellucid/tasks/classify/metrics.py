# SPDX-License-Identifier: Apache-2.0
"""What is measured of class probabilities: accuracy, macro averages, calibration, and tables per class."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from pellucid.tasks._intervals import around, collapsed, halves
from pellucid.tasks._metrics import Floats, Metric, Weights, resamples
from pellucid.tasks._records import Records
from pellucid.tasks.classify.tallies import Tallies

__all__ = ["columns", "details", "metrics"]

_BINS = 15  # of the calibration error


def columns(truth: Tensor, probabilities: Tensor) -> dict[str, NDArray[Any]]:
    """The records of images whose true classes (B,) are known, from class probabilities (B, K)."""
    shares = probabilities.cpu().numpy()
    return {
        "true": truth.cpu().numpy(),
        "predicted": shares.argmax(1),
        "confidence": shares.max(1),
        "probabilities": shares.astype(np.float32),
    }


def metrics(classes: Sequence[str]) -> list[Metric]:
    """Accuracy, which decides, macro precision, recall and F1 over the classes that occur, and the calibration error."""

    def macro(name: str) -> Any:
        def over(records: Records, weights: Weights) -> Floats:
            tallies = Tallies.of(records["true"], records["predicted"], len(classes), weights)
            return np.asarray(np.nanmean(getattr(tallies, name), 1), np.float64)  # (R, K) -> (R,)

        return over

    return [
        Metric("accuracy", "accuracy", each=lambda records: records["true"] == records["predicted"]),
        Metric("precision", "precision", over=macro("precision"), limits=(0, 1)),
        Metric("recall", "recall", over=macro("recall"), limits=(0, 1)),
        Metric("f1", "F1", over=macro("f1"), limits=(0, 1)),
        Metric(
            "calibration_error",
            "calibration error",
            better="lower",
            over=_calibration_error,
            limits=(0, 1),
            corrected=_corrected_calibration_error,
        ),
    ]


def details(records: Records, classes: Sequence[str]) -> dict[str, Any]:
    """The confusion matrix, precision and recall of each class with intervals, and the reliability by confidence."""
    true, predicted, count = records["true"], records["predicted"], len(classes)
    cells = np.bincount(true.astype(np.int64) * count + predicted, minlength=count * count)
    matrix = cells.reshape(count, count)  # (K, K): a row a true class, a column a predicted one
    here = Tallies.of(true, predicted, count, np.ones((1, len(true))))
    drawn = [Tallies.of(true, predicted, count, weights) for weights in resamples(len(true))]
    per_class = [
        {"class": title, "n": int(matrix[i].sum())}
        | {
            name: _interval(
                float(getattr(here, name)[0, i]),
                np.concatenate([getattr(t, name)[:, i] for t in drawn]),
                float(getattr(here, of)[0, i]),
            )
            for name, of in (("precision", "predicted"), ("recall", "true"))
        }
        for i, title in enumerate(classes)
    ]
    return {"confusion": matrix.tolist(), "per_class": per_class, "reliability": _reliability(records)}


def _interval(value: float, drawn: Floats, n: float) -> dict[str, float] | None:
    """Value, low and high of a share of n images; None for a class that does not occur."""
    if np.isnan(value):
        return None
    low, high = collapsed(value, n) if value in (0, 1) else around(value, drawn, limits=(0, 1))
    return {"value": value, "low": low, "high": high}


def _bins(records: Records) -> tuple[NDArray[np.int64], Floats, Floats]:
    """The confidence bin of each image, its confidence, and whether it was right."""
    confidence = records["confidence"].astype(np.float64)
    place = np.clip(np.ceil(confidence * _BINS).astype(np.int64) - 1, 0, _BINS - 1)
    return place, confidence, (records["true"] == records["predicted"]).astype(np.float64)


def _calibration_error(records: Records, weights: Weights) -> Floats:
    """Expected calibration error over 15 equal bins (Guo et al. 2017, eq. 5): the mean gap of confidence and accuracy."""
    return np.asarray(np.abs(weights @ _gaps(records)).sum(1) / weights.sum(1))


def _corrected_calibration_error(records: Records) -> float:
    """The same where the sign of each bin's gap is taken from the other half: chance gaps cancel rather than add up."""
    gap = _gaps(records)
    drawn = [(np.sign(one @ gap) * (other @ gap)).sum() / other.sum() for one, other in halves(len(gap))]
    return max(0.0, float(np.mean(drawn))) if len(gap) > 1 else 0.0


def _gaps(records: Records) -> Floats:
    """(N, bins): confidence minus correctness of each image, in its own bin."""
    place, confidence, right = _bins(records)
    gap = np.zeros((len(place), _BINS))
    gap[np.arange(len(place)), place] = confidence - right
    return gap


def _reliability(records: Records) -> list[dict[str, float]]:
    """For each confidence bin with images: their number, mean confidence and accuracy."""
    place, confidence, right = _bins(records)
    counts = np.bincount(place, minlength=_BINS)
    sums = np.bincount(place, confidence, _BINS), np.bincount(place, right, _BINS)
    return [
        {"n": int(n), "confidence": float(sums[0][i] / n), "accuracy": float(sums[1][i] / n)}
        for i, n in enumerate(counts)
        if n
    ]
