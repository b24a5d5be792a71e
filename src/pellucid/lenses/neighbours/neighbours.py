# SPDX-License-Identifier: Apache-2.0
"""neighbours: the images that a model finds most similar to an image, and images duplicated across splits."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from pellucid._spread import evenly_spread
from pellucid.errors import UsageError
from pellucid.lenses._codes import Coded, chosen_layer, joined, of_images, of_split
from pellucid.lenses._contract import Lens, View
from pellucid.lenses._index import Index, distinct
from pellucid.lenses._parts import Network, Splits
from pellucid.lenses.neighbours.figure import Pair, figure

__all__ = ["Neighbours"]

_SIDES = (16, 96)  # px: of the smallest and the largest thumbnail
_ALIKE = 1e-6  # of the largest number in a code: smaller differences are those of rounding
_AS_PIXELS = 0.02  # mean difference in [0, 1] up to which two images count as the same picture
_MEASURED = 5_000  # images of a split by which the typical distance is measured

_AXES: dict[str, tuple[str, ...]] = {
    "neighbour": ("image", "neighbour"),
    "distance": ("image", "neighbour"),
    "neighbour_name": ("image", "neighbour"),
    "neighbour_split": ("image", "neighbour"),
    "neighbour_label": ("image", "neighbour"),
    "codes": ("image", "number"),
    "names": ("image",),
    "duplicate": ("pair", "first and second"),
    "duplicate_name": ("pair", "first and second"),
    "duplicate_split": ("pair", "first and second"),
    "duplicate_label": ("pair", "first and second"),
    "duplicate_distance": ("pair",),
    "duplicate_pixels": ("pair",),
    "searched_name": ("searched image",),
    "searched_split": ("searched image",),
    "searched_place": ("searched image",),
    "searched_label": ("searched image",),
    "classes": ("class",),
}


@final
@dataclass(frozen=True)
class Neighbours(Lens[Network, Splits | None]):
    """The nearest neighbours of images in feature space, among a run's training, validation and test images.

    With a ready model the named images are searched themselves. Near-duplicates are images of different splits whose distance
    is below a share of the typical one: the median distance of a searched image to its nearest in its own split. Each pair has
    its mean difference of pixels beside it, since a model may find two different pictures similar.

    >>> import torch
    >>> images = torch.stack([torch.full((1, 4, 4), x) for x in (0.1, 0.2, 0.9)])
    >>> network = Network(torch.nn.Sequential(torch.nn.Flatten()), images)
    >>> view = Neighbours(k=1, layer="0").look(network)
    >>> view["neighbour"].tolist(), view["distance"].round(1).tolist()
    ([[1], [0], [1]], [[0.4], [0.4], [2.8]])
    """

    k: int = 8
    """number of neighbours"""
    layer: str | None = None
    """layer whose output is taken; by default the model's codes, or the input of its last dense layer"""
    limit: int | None = None
    """images searched in each split, spread evenly; by default all"""
    duplicate: float = 0.1
    """share of the typical nearest distance below which images of different splits are near-duplicates"""

    def __post_init__(self) -> None:
        if self.k < 1:
            raise UsageError(f"k={self.k}: must be at least 1 neighbour; give a larger number.")
        if self.limit is not None and self.limit < 1:
            raise UsageError(f"limit={self.limit}: must be at least 1 image; give a larger number.")
        if not 0 <= self.duplicate <= 1:
            raise UsageError(f"duplicate={self.duplicate:g}: must be in [0, 1]; give e.g. 0.1.")

    def look(self, network: Network, splits: Splits | None = None) -> View:
        layer = chosen_layer(network, self.layer)
        queries = of_images(network, layer, _SIDES[1])
        searched = queries if splits is None else self._searched(network, splits, queries, layer)
        if len(searched) < 2:
            raise UsageError(
                f"images={len(searched)}: have no neighbours among themselves; give two or more, or look at a run."
            )
        _refuse_alike(searched)
        index = Index(searched.codes, network.memory // 4)
        network.note(
            f"neighbours among {len(searched):,} images: {index.kind}, which finds {index.recall(self.k):.1%} of them"
        )
        own = np.arange(len(queries)) if splits is None else _own(queries, searched)
        near, distance = index.search(queries.codes, self.k, own)  # (Q, k) each
        typical = _typical(searched, network.memory // 4)
        pairs = _duplicates(searched, index, self.duplicate * typical)
        numbers = _numbers(queries, searched, near, distance, pairs, network) | {
            "typical": np.array(typical),
            "limit": np.array(self.duplicate * typical),
        }
        words = _words(self, network, queries, searched, near, distance, pairs, typical)
        drawing = functools.partial(figure, network, queries, searched, near, distance, pairs)
        return View(drawing, numbers, words, _AXES)

    def _searched(self, network: Network, splits: Splits, queries: Coded, layer: str | None) -> Coded:
        """The run's images among which neighbours are looked for."""
        parts = [part for part in ("train", "val", "test") if splits.counts.get(part)]
        total = sum(splits.count(part, self.limit) for part in parts)
        planes = queries.thumbs.shape[3]
        # a quarter of the memory is for thumbnails, since any image may turn out to be a neighbour
        side = int(np.clip(np.sqrt(network.memory / 4 / max(1, total) / planes), *_SIDES))
        return joined([of_split(network, splits, part, layer, self.limit, side) for part in parts])


def _refuse_alike(searched: Coded) -> None:
    """Refuse codes that are not finite, or the same for different pictures: no image is then nearer than another."""
    codes = searched.codes
    if not np.isfinite(codes).all():
        raise UsageError(
            f"layer={searched.where!r}: gives values that are not finite; name an earlier layer, or train with a lower "
            "learning rate."
        )
    alike = bool((np.ptp(codes, axis=0) <= _ALIKE * np.abs(codes).max(initial=0)).all())
    if alike and distinct(searched.thumbs) > 1:  # copies of one picture have equal codes rightly
        raise UsageError(
            f"layer=…: gives these {len(searched):,} images one and the same code, so none is nearer than another; name "
            "another layer, or train with a lower learning rate if its units are dead."
        )


def _own(queries: Coded, searched: Coded) -> NDArray[np.int64]:
    """(Q,): where each query is among the searched images, by its name; -1: nowhere."""
    places: dict[str, int] = {}
    for place, (name, split) in enumerate(zip(searched.names.tolist(), searched.splits.tolist(), strict=True)):
        if split == "test" or name not in places:  # the images that a run shows are from its test split
            places[name] = place
    own = np.array([places.get(name, -1) for name in queries.names.tolist()], np.int64)
    # a file of the same name is another image if its code differs
    gap = np.abs(queries.codes - searched.codes[own]).max(1, initial=0)
    same = gap <= 1e-4 * np.abs(queries.codes).max(initial=1e-9)
    return np.where((own >= 0) & same, own, -1)


def _typical(searched: Coded, memory: int) -> float:
    """The median distance of an image to its nearest in its own split; images with a copy there do not count."""
    lengths = []
    for split in np.unique(searched.splits):
        codes = searched.codes[searched.splits == split]
        if len(codes) > 1:
            rows = evenly_spread(_MEASURED, len(codes), floor=True)
            lengths.append(Index(codes, memory).search(codes[rows], 1, rows)[1][:, 0])
    whole = np.concatenate(lengths) if lengths else np.zeros(1)
    apart = whole[whole > 0]
    return float(np.median(apart)) if len(apart) else 0.0


def _duplicates(searched: Coded, index: Index, limit: float) -> list[Pair]:
    """Pairs from different splits (or within the only one) that are not farther apart than the limit."""
    pairs: dict[tuple[int, int], Pair] = {}  # by positions, so that a pair that both sides find counts once
    splits = np.unique(searched.splits)
    for split in splits:
        rest = np.flatnonzero(searched.splits != split) if len(splits) > 1 else np.arange(len(searched))
        rows = np.flatnonzero(searched.splits == split)
        if len(splits) > 1:  # only images of the other splits: a copy within one split leaks nothing
            near, far = Index(searched.codes[rest]).search(searched.codes[rows], 1)
        else:
            near, far = index.search(searched.codes[rows], 1, rows)
        for row, place, length in zip(rows.tolist(), rest[near[:, 0]].tolist(), far[:, 0].tolist(), strict=True):
            if length <= limit:
                first, second = min(row, place), max(row, place)
                gap = searched.thumbs[first].astype(np.float64) - searched.thumbs[second]
                pairs[first, second] = Pair(first, second, length, float(np.abs(gap).mean()) / 255)
    return sorted(pairs.values(), key=lambda pair: (pair.distance, pair.pixels, pair.first, pair.second))


def _numbers(
    queries: Coded,
    searched: Coded,
    near: NDArray[np.int64],
    distance: NDArray[np.float64],
    pairs: list[Pair],
    network: Network,
) -> dict[str, NDArray[Any]]:
    both = np.array([[pair.first, pair.second] for pair in pairs], np.int64).reshape(-1, 2)
    return {
        "neighbour": near,
        "distance": distance,
        "neighbour_name": searched.names[near],
        "neighbour_split": searched.splits[near],
        "neighbour_label": searched.labels[near],
        "codes": queries.codes,
        "names": queries.names,
        "duplicate": both,
        "duplicate_name": searched.names[both],
        "duplicate_split": searched.splits[both],
        "duplicate_label": searched.labels[both],
        "duplicate_distance": np.array([pair.distance for pair in pairs], np.float64),
        "duplicate_pixels": np.array([pair.pixels for pair in pairs], np.float64),
        "searched_name": searched.names,
        "searched_split": searched.splits,
        "searched_place": searched.places,
        "searched_label": searched.labels,
        "classes": np.array(network.classes, np.str_),
    }


def _words(
    lens: Neighbours,
    network: Network,
    queries: Coded,
    searched: Coded,
    near: NDArray[np.int64],
    distance: NDArray[np.float64],
    pairs: list[Pair],
    typical: float,
) -> str:
    first = int(near[0, 0])
    label = f" ({network.label(int(searched.labels[first]))})" if searched.labels[first] >= 0 else ""
    place = "" if searched.splits[first] == "given" else f" of {searched.splits[first]}"
    where = "the model's own codes" if searched.where == "encode" else searched.where
    words = (
        f"By {where}, the nearest to {queries.names[0]} is {searched.names[first]}{place}{label} at "
        f"{distance[0, 0]:.3g}; the typical nearest distance is {typical:.3g}."
    )
    across = "across splits" if len(np.unique(searched.splits)) > 1 else "among them"
    rule = f"nearer than {lens.duplicate:g} × the typical distance"
    if not pairs:
        return f"{words} No near-duplicates {across} ({rule})."
    same = sum(pair.pixels <= _AS_PIXELS for pair in pairs)
    one = pairs[0]
    named = " and ".join(f"{searched.names[i]} ({searched.splits[i]})" for i in (one.first, one.second))
    return (
        f"{words} {len(pairs):,} near-duplicate{'s' * (len(pairs) > 1)} {across} ({rule}), {same:,} of them with equal "
        f"pixels to within {100 * _AS_PIXELS:g} % of the brightness: {'first ' * (len(pairs) > 1)}{named}."
    )
