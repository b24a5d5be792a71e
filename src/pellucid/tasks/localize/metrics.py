# SPDX-License-Identifier: Apache-2.0
"""What is measured of an image's one object: whether it was found, what it is, and how well its box fits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from pellucid import _boxes
from pellucid.tasks._metrics import Floats, Metric, Weights, summarise
from pellucid.tasks._records import Records, taken
from pellucid.tasks.localize.objects import Located

__all__ = ["ENOUGH", "METRICS", "columns", "details", "outcomes", "quality"]

ENOUGH = 0.5  # IoU from which a box counts as right (Everingham et al. 2010, section 4.2)


def columns(answer: Located, truth: Located, size: tuple[int, int]) -> dict[str, NDArray[Any]]:
    """The records of images of one size (H, W), from answers and truths in its px.

    "true" and "predicted" are classes, and the number of classes where there is no object; "probabilities" (N, K + 1) of them.
    """
    shares = answer.probabilities
    assert shares is not None, "an answer has them"
    answer, truth, shares = answer.to("cpu"), truth.to("cpu"), shares.float().cpu()
    answer = answer.within(truth.frame)
    nothing, present, found = shares.shape[1], truth.present > 0.5, answer.found
    joint = np.concatenate(
        [(shares * answer.present[:, None]).numpy(), 1 - answer.present[:, None].numpy()], 1
    )  # (N, K + 1)
    fit = (_boxes.paired(answer.corners, truth.corners) * present * found).numpy()
    return {
        "true": np.where(present, truth.index, nothing),
        "predicted": np.where(found, answer.index, nothing),
        "probabilities": joint.astype(np.float32),
        "present": present.numpy(),
        "found": found.numpy(),
        "named": ((answer.index == truth.index) & present).numpy(),
        "iou": fit.astype(np.float32),
        "box": answer.corners.numpy(),
        "true_box": truth.corners.numpy(),
        "pixels": _pixels(answer.corners * found[:, None], truth.corners, _area(truth, size)),
    }


def _area(truth: Located, size: tuple[int, int]) -> NDArray[np.int64]:
    """(N,): the pixels of each image, without padding, and with what was cut off."""
    if truth.frame is None:
        return np.full(len(truth), size[0] * size[1], np.int64)
    frame = _inside(truth.frame.double().numpy())
    return np.asarray((frame[:, 2:] - frame[:, :2]).prod(1), np.int64)


def _pixels(answer: Tensor, truth: Tensor, area: NDArray[np.int64]) -> NDArray[np.int64]:
    """(N, 4): pixels in both boxes, in the answer's alone, in the truth's alone, and in neither.

    A pixel is in a box if its centre is; an image without a box has an empty set of them.
    """
    ours, theirs = (_inside(box.double().numpy()) for box in (answer, truth))  # (N, 4) whole numbers each
    shared = np.concatenate([np.maximum(ours[:, :2], theirs[:, :2]), np.minimum(ours[:, 2:], theirs[:, 2:])], 1)
    both, own, other = (np.maximum(box[:, 2:] - box[:, :2], 0).prod(1) for box in (shared, ours, theirs))
    return np.stack([both, own - both, other - both, area - own - other + both], 1)


def _inside(box: NDArray[np.float64]) -> NDArray[np.int64]:
    """The first and the last but one column and row whose centres, at j + ½, lie in a box."""
    return np.ceil(box - 0.5).astype(np.int64)


def quality(records: Records) -> NDArray[np.float64]:
    """(N,): the IoU where the class is right, 1 where nothing was found and there is nothing, else 0.

    This is what panoptic quality (Kirillov et al. 2019) is of images with at most one object, for any overlap.
    """
    fit = records["iou"] * records["named"]
    return np.asarray(np.where(records["present"], fit, ~records["found"]), np.float64)


def _right(records: Records) -> NDArray[np.bool_]:
    """(N,): nothing was found where there is nothing, or the class is right and the box fits."""
    fits = records["found"] & records["named"] & (records["iou"] >= ENOUGH)
    return np.asarray(np.where(records["present"], fits, ~records["found"]), bool)


def _ratio(above: Sequence[int], below: Sequence[int]) -> Any:
    """A ratio of sums over all images of columns of "pixels"."""

    def over(records: Records, weights: Weights) -> Floats:
        sums = weights @ records["pixels"].astype(np.float64)  # (R, 4)
        with np.errstate(divide="ignore", invalid="ignore"):  # NaN where no pixel is in the set
            return np.asarray(sums[:, above].sum(1) / sums[:, below].sum(1))

    return over


def _present(records: Records) -> NDArray[np.bool_]:
    return np.asarray(records["present"])


def _absent(records: Records) -> NDArray[np.bool_]:
    return ~np.asarray(records["present"])


_BOTH, _OURS, _THEIRS, _NEITHER = range(4)  # columns of "pixels": true and false positives, false and true negatives

METRICS = [
    Metric("quality", "quality", each=quality),
    Metric("right", "images answered right", each=_right),
    Metric("class_accuracy", "class accuracy", each=lambda records: records["named"], among=_present),
    Metric("found", "objects found", each=lambda records: records["found"], among=_present),
    Metric("located", f"objects found with IoU ≥ {ENOUGH}", each=lambda rows: rows["iou"] >= ENOUGH, among=_present),
    Metric("false_alarms", "false alarms", "", "lower", each=lambda records: records["found"], among=_absent),
    Metric("mean_iou", "mean IoU", each=lambda records: records["iou"], among=_present),
    Metric("pixel_tpr", "tpr of pixels", over=_ratio([_BOTH], [_BOTH, _THEIRS]), limits=(0, 1)),
    Metric("pixel_tnr", "tnr of pixels", over=_ratio([_NEITHER], [_NEITHER, _OURS]), limits=(0, 1)),
    Metric("pixel_ppv", "ppv of pixels", over=_ratio([_BOTH], [_BOTH, _OURS]), limits=(0, 1)),
    Metric("pixel_iou", "IoU of pixels", over=_ratio([_BOTH], [_BOTH, _OURS, _THEIRS]), limits=(0, 1)),
]
"""The quality decides: unlike a share of right answers, it still tells models apart whose classes are all right."""


def outcomes(classes: Sequence[str]) -> list[str]:
    """The names of the numbers in "true" and "predicted".

    >>> outcomes(["cat"])
    ['cat', 'no object']
    """
    return [*classes, "no object"]


def details(records: Records, classes: Sequence[str]) -> dict[str, Any]:
    """The confusion matrix, with the images without an object last, and the measures of each class's objects."""
    count = len(outcomes(classes))
    cells = np.bincount(records["true"].astype(np.int64) * count + records["predicted"], minlength=count * count)
    per_class = []
    for i, name in enumerate(classes):
        own = taken(records, np.flatnonzero(records["true"] == i))
        row: dict[str, Any] = {"class": name, "n": len(own["true"])}
        chosen = [metric for metric in METRICS if metric.key in ("class_accuracy", "found", "mean_iou")]
        found = summarise(chosen, own) if row["n"] else {}
        per_class.append(
            row
            | {
                metric.title: {"value": one.value, "low": one.low, "high": one.high} if one is not None else None
                for metric in chosen
                for one in [found.get(metric.key)]
            }
        )
    return {"confusion": cells.reshape(count, count).tolist(), "per_class": per_class}
