# SPDX-License-Identifier: Apache-2.0
"""What is measured of class probabilities: accuracy, macro averages, rankings, calibration, and tables per class."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar, final
from weakref import ref

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from pellucid.tasks._intervals import around, collapsed, halves
from pellucid.tasks._metrics import Floats, Metric, Weights, resamples
from pellucid.tasks._records import Records
from pellucid.tasks.classify import ranking
from pellucid.tasks.classify.tallies import Tallies

__all__ = ["BINS", "calibration_error", "columns", "details", "metrics", "ranked_by", "reliability"]

BINS = 15  # of the calibration error
_NEARLY = float(
    np.finfo(np.float32).eps
)  # the lowest probability in a log loss, and the distance of the highest from 1
_BEST = 5  # classes among which the true one counts as found, of more than as many

Found = TypeVar("Found")


def columns(truth: Tensor, probabilities: Tensor) -> dict[str, NDArray[Any]]:
    """The records of images whose true classes (B,) are known, from class probabilities (B, K)."""
    shares = probabilities.cpu().numpy()
    return {
        "true": truth.cpu().numpy(),
        "predicted": shares.argmax(1),
        "confidence": shares.max(1),
        "probabilities": shares.astype(np.float32),
    }


@final
class _Kept(Generic[Found]):
    """A function of arrays that keeps its last result: measures that are declared together ask for the same ones in turn."""

    def __init__(self, rule: Callable[..., Found]) -> None:
        self._rule = rule
        self._of: list[ref[NDArray[Any]]] = []
        self._found: list[Found] = []

    def __call__(self, *arrays: NDArray[Any]) -> Found:
        if not self._found or any(known() is not array for known, array in zip(self._of, arrays, strict=True)):
            self._found = [self._rule(*arrays)]
            self._of = [ref(array) for array in arrays]
        return self._found[0]


def metrics(classes: Sequence[str], positive: int = 1) -> list[Metric]:
    """The measures of a data set with these classes; accuracy decides.

    Macro averages are over the classes that occur. Of two classes, sensitivity and specificity are measured too, and the measures
    of a ranking are those of the positive class; of more than five, whether the true class is among the best five.
    """
    count, two = len(classes), len(classes) == 2
    tallied = _Kept(lambda true, predicted, weights: Tallies.of(true, predicted, count, weights))
    ranked = _Kept(lambda true, shares: ranking.Rankings.of(true, shares, ranked_by(count, shares, positive)))
    measured = _Kept(lambda true, shares, weights: ranked(true, shares).measures(weights))
    brier = _Kept(lambda true, shares: _brier(true, shares, positive if two else None))
    among_best = _Kept(_among_best)

    def macro(name: str) -> Any:
        def over(records: Records, weights: Weights) -> Floats:
            tallies = tallied(records["true"], records["predicted"], weights)
            return ranking.macro(getattr(tallies, name))  # (R, K) -> (R,)

        return over

    def matthews(records: Records, weights: Weights) -> Floats:
        return tallied(records["true"], records["predicted"], weights).matthews

    def of_ranking(place: int) -> Any:
        def over(records: Records, weights: Weights) -> Floats:
            return ranking.macro(measured(records["true"], records["probabilities"], weights)[place])

        return over

    def rate(key: str, title: str, own: bool) -> Metric:
        """The share of the images of the positive class, or of the other one, that are right."""
        return Metric(
            key,
            title,
            each=lambda records: records["true"] == records["predicted"],
            among=lambda records: (records["true"] == positive) == own,
            limits=(0, 1),
        )

    of = f" ({classes[positive]})" if two else ""
    known = ("probabilities",)
    found = [Metric("accuracy", "accuracy", each=lambda records: records["true"] == records["predicted"])]
    if count > _BEST:
        found.append(
            Metric("top5_accuracy", "top-5 accuracy", needs=known, limits=(0, 1),
                   each=lambda records: among_best(records["true"], records["probabilities"]))
        )  # fmt: skip
    found += [
        Metric("balanced_accuracy", "balanced accuracy", over=macro("hit_rate"), limits=(0, 1)),
        Metric("precision", "precision", over=macro("precision"), limits=(0, 1)),
        Metric("recall", "recall", over=macro("recall"), limits=(0, 1)),
        Metric("f1", "F1", over=macro("f1"), limits=(0, 1)),
    ]
    if two:
        found += [rate("sensitivity", f"sensitivity{of}", True), rate("specificity", f"specificity{of}", False)]
    return [
        *found,
        Metric("roc_auc", "ROC AUC", over=of_ranking(0), needs=known, limits=(0, 1)),
        Metric("average_precision", f"average precision{of}", over=of_ranking(1), needs=known, limits=(0, 1)),
        Metric("matthews", "Matthews correlation", over=matthews, limits=(-1, 1)),
        Metric("log_loss", "log loss", "", "lower", each=_log_loss, needs=known, limits=(0, -np.log(_NEARLY))),
        Metric("brier", "Brier score", "", "lower", needs=known, limits=(0, 1 if two else 2),
               each=lambda records: brier(records["true"], records["probabilities"])),
        Metric(
            "calibration_error",
            "calibration error",
            better="lower",
            over=calibration_error,
            limits=(0, 1),
            corrected=_corrected_calibration_error,
        ),
    ]  # fmt: skip


def ranked_by(classes: int, shares: NDArray[Any], positive: int) -> Sequence[int]:
    """The classes by whose probability images are ranked: of two classes the positive one.

    Simpler methods have no columns for classes that they have never seen and that are not there.
    """
    own = [positive] if classes == 2 else range(classes)
    return [k for k in own if k < shares.shape[1]]


def _among_best(true: NDArray[np.integer], shares: NDArray[np.floating]) -> NDArray[np.bool_]:
    """(N,): whether the true class is among the five most probable; of equal ones the first in the data are."""
    own = np.take_along_axis(shares, true[:, None], 1)  # (N, 1)
    before = (shares > own) | ((shares == own) & (np.arange(shares.shape[1]) < true[:, None]))
    return np.asarray(before.sum(1) < _BEST, bool)


def _log_loss(records: Records) -> Floats:
    """(N,) nats: −log of the probability of the true class, from the smallest to the largest that float32 tells from 0 and 1.

    So a class that is held to be impossible and is the true one costs 15.9 rather than infinity, as in scikit-learn.
    """
    shares, least = records["probabilities"], _NEARLY
    own = np.take_along_axis(shares, records["true"][:, None], 1)[:, 0].astype(np.float32)
    return -np.log(np.clip(own, least, 1 - least).astype(np.float64))


def _brier(true: NDArray[np.integer], shares: NDArray[np.floating], positive: int | None) -> Floats:
    """(N,): the squared error of the positive class's probability, or, of more classes, of all of them together (Brier 1950)."""
    exact = shares.astype(np.float64)
    if positive is not None:
        own = exact[:, positive] if positive < exact.shape[1] else np.zeros(len(true))
        return np.asarray((own - (true == positive)) ** 2, np.float64)
    exact[np.arange(len(true)), true] -= 1
    return np.asarray((exact**2).sum(1), np.float64)


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
    """The confidence bin of each image, the probability of its most probable class, and whether that one is right."""
    confidence = records["confidence"].astype(np.float64)
    place = np.clip(np.ceil(confidence * BINS).astype(np.int64) - 1, 0, BINS - 1)
    best = records.get(
        "most_probable", records["predicted"]
    )  # where a threshold decides, another class may be answered
    return place, confidence, (records["true"] == best).astype(np.float64)


def calibration_error(records: Records, weights: Weights) -> Floats:
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
    gap = np.zeros((len(place), BINS))
    gap[np.arange(len(place)), place] = confidence - right
    return gap


def reliability(records: Records) -> tuple[NDArray[np.int64], NDArray[np.int64], Floats, Floats]:
    """The confidence bins that have images: which they are, their numbers of images, mean confidence and accuracy."""
    place, confidence, right = _bins(records)
    counts = np.bincount(place, minlength=BINS)
    own = np.flatnonzero(counts)
    sums = np.bincount(place, confidence, BINS)[own], np.bincount(place, right, BINS)[own]
    return own, counts[own], sums[0] / counts[own], sums[1] / counts[own]


def _reliability(records: Records) -> list[dict[str, float]]:
    """For each confidence bin with images: their number, mean confidence and accuracy."""
    _, counts, confidence, accuracy = (column.tolist() for column in reliability(records))
    return [
        {"n": n, "confidence": sure, "accuracy": right}
        for n, sure, right in zip(counts, confidence, accuracy, strict=True)
    ]
