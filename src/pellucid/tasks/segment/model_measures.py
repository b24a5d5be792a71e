# SPDX-License-Identifier: Apache-2.0
"""The objects in the answers beside the true ones: how many there are, and how well their outlines fit."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pellucid._spread import evenly_spread
from pellucid.data.annotations.rasters import Outlined, region
from pellucid.data.batches import own_size_batches
from pellucid.data.colour import unit
from pellucid.data.dataset import Split
from pellucid.data.masks import Masks
from pellucid.data.targets import VOID, Mask, target_of
from pellucid.tasks._contract import ModelMeasures, NamedFigure
from pellucid.tasks._metrics import Floats, Metric, Weights, summarise
from pellucid.tasks._records import Ragged, Records
from pellucid.tasks.segment import objects
from pellucid.tasks.segment.objects import Seen
from pellucid.tasks.segment.options import SegmentOptions

__all__ = ["METRICS", "THRESHOLDS", "average_precision", "compared", "matched", "measured"]

_IMAGES = 200  # test images, at most
_SHOWN = 4
THRESHOLDS = np.arange(0.5, 1.0, 0.05).round(2)
"""IoU from which an object is found: those over which COCO averages (Lin et al. 2014)."""
_RECALLS = np.linspace(0, 1, 101)


def measured(
    predict: Callable[[Tensor], Mask],
    test: Split,
    classes: Sequence[str],
    channels: int,
    device: torch.device,
    colours: Sequence[int] = (),
) -> ModelMeasures:
    """The count and the average precision of objects, where the data tell objects apart or have a background.

    Args:
        predict: the answer for images (B, C, H, W).
        test: images with masks; where these were drawn from outlines, each outline is an object, else each connected region.
        classes: names.
        channels: of the model's images.
        device: where the model is.
        colours: of the classes, 0xRRGGBB.
    """
    masks = test.targets["mask"]
    outlined = isinstance(masks, Masks) and any(isinstance(own, Outlined) for own in masks.sources)
    if not (outlined or tuple(classes[:1]) == ("background",)):
        return ModelMeasures()
    part = test.select(evenly_spread(min(len(test), _IMAGES), len(test)))
    first = int(tuple(classes[:1]) == ("background",))
    kinds = list(range(first, len(classes)))
    seen = dict(_seen(predict, part, kinds, channels, device))
    records = compared([seen[place] for place in range(len(part))], kinds)
    measures = summarise(METRICS, records)
    shown = [seen[int(place)] for place in evenly_spread(min(_SHOWN, len(part)), len(part))]
    from pellucid.tasks.segment.figures import objects_figure

    words = (
        "Objects in a few test images: the true ones to the left, those found to the right with their number. "
        f"Objects of the same class that touch are parted at their necks. {len(part):,} images were counted."
    )
    picture = NamedFigure("objects", "Objects", words, objects_figure(shown, classes, colours))
    return ModelMeasures(measures, {"objects": _by_class(records, kinds, classes)}, (picture,))


def _seen(
    predict: Callable[[Tensor], Mask], part: Split, kinds: Sequence[int], channels: int, device: torch.device
) -> Iterator[tuple[int, Seen]]:
    usual = SegmentOptions()
    masks = part.targets["mask"]
    for batch in own_size_batches(part, channels, 64, device):
        input = unit(batch.images)
        answer, truths = predict(input), target_of(batch.targets, "mask", Mask).classes.cpu().numpy()
        assert answer.probabilities is not None, "an answer has them"
        for k, place in enumerate(batch.index.tolist()):
            mask, shares = answer.classes[k].cpu().numpy(), answer.probabilities[k].cpu().numpy()
            own = objects.found(mask, shares, kinds, usual.touching, usual.least, usual.neck)
            source = masks.sources[place] if isinstance(masks, Masks) else None
            yield place, Seen(input[k].cpu().numpy(), own, *_true(source, truths[k], kinds), truths[k] == VOID)


def _true(
    source: Any, truth: NDArray[np.uint8], kinds: Sequence[int]
) -> tuple[list[NDArray[np.bool_]], NDArray[np.int64]]:
    """The true objects of an image, and their classes."""
    if isinstance(source, Outlined):
        own = [one for one in source.image.instances if not one.crowd]
        regions = [(region(one, source.size), source.numbers[one.category]) for one in own]
    else:
        regions = []
        for kind in kinds:
            labels = objects.parted(truth == kind, np.zeros(0), "joined")
            regions += [(labels == number, kind) for number in range(1, int(labels.max()) + 1)]
    some = [(inside, kind) for inside, kind in regions if inside.any()]  # an outline may lie between pixels
    return [inside for inside, _ in some], np.array([kind for _, kind in some], np.int64)


def compared(seen: Sequence[Seen], kinds: Sequence[int]) -> dict[str, Any]:
    """The records of images: "true" and "found" (N, K) counts by class, and "objects", which are ragged.

    A row of "objects" is an object that was found: its score, the place of its class, and for each threshold whether it was
    matched. Those mostly within void pixels are left out.
    """
    rows, true, counts = [], [], []
    for own in seen:
        hits, kept = matched(own)
        kind = own.found.classes
        place = np.array([list(kinds).index(one) for one in kind], np.float64)
        columns = np.concatenate([own.found.scores[:, None], place[:, None], hits], 1)
        rows.append(columns[kept])
        true.append([(own.classes == one).sum() for one in kinds])
        counts.append([(kind[kept] == one).sum() for one in kinds])
    return {"true": np.array(true, np.int64), "found": np.array(counts, np.int64), "objects": Ragged.of(rows)}


def matched(seen: Seen) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """For each object found, whether it matches a true one at each threshold (n, T), and whether it counts (n,).

    The surest object takes the true one of its class that it fits best, if that is not taken yet.
    """
    n, sizes = len(seen.found), np.bincount(seen.found.labels.ravel(), minlength=len(seen.found) + 1)[1:]
    overlaps = np.zeros((n, len(seen.true)))
    for j, inside in enumerate(seen.true):
        both = np.bincount(seen.found.labels[inside], minlength=n + 1)[1:]
        overlaps[:, j] = both / (sizes + inside.sum() - both) * (seen.found.classes == seen.classes[j])
    hits = np.zeros((n, len(THRESHOLDS)), bool)
    for t, least in enumerate(THRESHOLDS):
        free = np.ones(len(seen.true), bool)
        for i in np.argsort(-seen.found.scores, kind="stable"):
            fit = np.where(free, overlaps[i], 0.0)
            if len(fit) and fit.max() >= least:
                hits[i, t], free[fit.argmax()] = True, False
    lost = np.bincount(seen.found.labels[seen.void], minlength=n + 1)[1:]
    return hits, hits[:, 0] | (2 * lost <= sizes)


def average_precision(records: Records, weights: Weights, kind: int, threshold: int) -> Floats:
    """(R,): the mean precision over 101 recalls of one class, as COCO computes it; NaN where there is no true object.

    Args:
        records: of `compared`.
        weights: (R, N) of the images.
        kind: the place of the class.
        threshold: the place of the threshold.
    """
    table, owners = records["objects"].values, records["objects"].owners
    own = np.flatnonzero(table[:, 1] == kind)
    own = own[np.argsort(-table[own, 0], kind="stable")]
    drawn, hits = weights[:, owners[own]], table[own, 2 + threshold]  # (R, D), (D,)
    total = weights @ records["true"][:, kind]  # (R,)
    right, every = np.cumsum(drawn * hits, 1), np.cumsum(drawn, 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        precision, recall = np.nan_to_num(right / every), right / total[:, None]
    # the best precision at this recall or a higher one
    best = np.maximum.accumulate(precision[:, ::-1], 1)[:, ::-1]
    found = np.full(len(weights), np.nan)
    for r in np.flatnonzero(total > 0):
        at = np.searchsorted(recall[r], _RECALLS - 1e-9)
        found[r] = best[r][at[at < len(own)]].sum() / len(_RECALLS)
    return found


def _mean_precision(thresholds: Sequence[int]) -> Callable[[Records, Weights], Floats]:
    """Over the classes that have true objects in a resample, and over thresholds."""

    def over(records: Records, weights: Weights) -> Floats:
        kinds = range(records["true"].shape[1])
        values = np.array([[average_precision(records, weights, k, t) for t in thresholds] for k in kinds])  # (K, T, R)
        there = ~np.isnan(values[:, 0])  # (K, R)
        with np.errstate(invalid="ignore"):
            return np.asarray(np.nan_to_num(values).mean(1).sum(0) / there.sum(0))

    return over


def _off(records: Records) -> NDArray[np.int64]:
    """(N,): by how many objects each image's counts are wrong, over all classes."""
    return np.asarray(np.abs(records["found"] - records["true"]).sum(1))


METRICS = [
    Metric("objects_ap50", "AP of objects, IoU ≥ 0.5", over=_mean_precision([0]), limits=(0, 1)),
    Metric("objects_ap", "AP of objects, IoU 0.5 to 0.95", over=_mean_precision(range(len(THRESHOLDS))), limits=(0, 1)),
    Metric("count_error", "error of the count", "objects", "lower", each=_off),
    Metric("count_bias", "objects too many", "objects", "neither", each=lambda rows: (rows["found"] - rows["true"]).sum(1)),
]  # fmt: skip


def _by_class(records: Records, kinds: Sequence[int], classes: Sequence[str]) -> list[dict[str, Any]]:
    """A row for each class that has objects, true or found."""
    rows = []
    for k, kind in enumerate(kinds):
        true, found = records["true"][:, k], records["found"][:, k]
        if not (true.sum() or found.sum()):
            continue
        own = {"true": true[:, None], "found": found[:, None], "objects": _of_class(records["objects"], k)}
        measures = summarise([METRICS[0], METRICS[2]], own)
        row: dict[str, Any] = {"class": classes[kind], "true": int(true.sum()), "found": int(found.sum())}
        for key, title in (("objects_ap50", "AP, IoU ≥ 0.5"), ("count_error", "error of the count")):
            one = measures[key]
            known = not np.isnan(one.value)
            row[title] = {"value": one.value, "low": one.low, "high": one.high} if known else None
        rows.append(row)
    return rows


def _of_class(found: Ragged, kind: int) -> Ragged:
    """The objects of one class, which is then the first."""
    rows = [row[row[:, 1] == kind] * np.where(np.arange(row.shape[1]) == 1, 0, 1) for row in found]
    return Ragged.of(rows)
