# SPDX-License-Identifier: Apache-2.0
"""neighbours: the images that a model finds most like an image, and copies that stand in two splits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from pellucid.errors import UsageError
from pellucid.lenses._codes import Coded, chosen_layer, joined, of_images, of_split
from pellucid.lenses._contract import Lens, Subject, View
from pellucid.lenses._index import Index
from pellucid.lenses.neighbours.figure import Pair, figure

__all__ = ["Neighbours"]

_SIDES = (16, 96)  # px: of the smallest and the largest thumbnail
_AS_PIXELS = 0.02  # mean difference in [0, 1] up to which two images are called the same picture too

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
class Neighbours(Lens):
    """The nearest neighbours of images in feature space, among a run's training, validation and test images.

    Of a ready model the images that were named are searched themselves. Near-duplicates are images of different splits whose
    distance is below a share of what is typical: the median distance of a searched image to its nearest in its own split.
    Each pair's mean difference of pixels stands beside it: a model may find two pictures alike that are not the same.

    >>> import torch
    >>> images = torch.stack([torch.full((1, 4, 4), x) for x in (0.1, 0.2, 0.9)])
    >>> view = Neighbours(k=1, layer="0").look(Subject(model=torch.nn.Sequential(torch.nn.Flatten()), images=images))
    >>> view["neighbour"].tolist(), view["distance"].round(1).tolist()
    ([[1], [0], [1]], [[0.4], [0.4], [2.8]])
    """

    k: int = 8
    """how many neighbours"""
    layer: str | None = None
    """whose output is taken; by default the model's codes, or what enters its last dense layer"""
    limit: int | None = None
    """images of each split that are searched, spread evenly; by default all"""
    duplicate: float = 0.1
    """images of different splits nearer than this share of the typical nearest distance are near-duplicates"""

    def __post_init__(self) -> None:
        if self.k < 1:
            raise UsageError(f"k={self.k}: must be at least 1 neighbour; give another.")
        if self.limit is not None and self.limit < 1:
            raise UsageError(f"limit={self.limit}: must be at least 1 image; give another.")
        if not 0 <= self.duplicate <= 1:
            raise UsageError(f"duplicate={self.duplicate:g}: must be a share in [0, 1]; give another.")

    def look(self, subject: Subject) -> View:
        if subject.model is None or subject.images is None or not len(subject.images):
            raise UsageError("lens='neighbours': needs a model and images; name images, or a run with data.")
        layer = chosen_layer(subject, subject.images[0], self.layer)
        asked = of_images(subject, layer, _SIDES[1])
        searched = self._searched(subject, asked, layer)
        if len(searched) < 2:
            raise UsageError(
                f"images={len(searched)}: have no neighbours among themselves; give two or more, or look at a run."
            )
        index = Index(searched.codes, subject.memory // 4)
        subject.note(
            f"neighbours among {len(searched):,} images: {index.kind}, which finds {index.recall(self.k):.1%} of them"
        )
        own = _own(asked, searched, subject)
        near, distance = index.search(asked.codes, self.k, own)
        typical = _typical(searched, subject)
        pairs = _duplicates(searched, index, self.duplicate * typical)
        numbers = _numbers(asked, searched, near, distance, pairs, subject) | {
            "typical": np.array(typical),
            "limit": np.array(self.duplicate * typical),
        }
        words = _words(self, subject, asked, searched, near, distance, pairs, typical)
        return View(figure(subject, asked, searched, near, distance, pairs), numbers, words, _AXES)

    def _searched(self, subject: Subject, asked: Coded, layer: str | None) -> Coded:
        """The images among which neighbours are looked for: those of the run, else those that were named."""
        assert subject.images is not None
        if subject.batches is None:
            return asked
        parts = [part for part in ("train", "val", "test") if subject.counts.get(part)]
        total = sum(min(subject.counts[part], self.limit or subject.counts[part]) for part in parts)
        planes = asked.thumbs.shape[3]
        # a quarter of the memory goes into thumbnails, of which the nearest are drawn
        side = int(np.clip(np.sqrt(subject.memory / 4 / max(1, total) / planes), *_SIDES))
        return joined([of_split(subject, part, layer, self.limit, side) for part in parts])


def _own(asked: Coded, searched: Coded, subject: Subject) -> NDArray[np.int64]:
    """Where each image that was asked for stands among those that are searched, by name; -1: nowhere."""
    if subject.batches is None:
        return np.arange(len(asked))
    places: dict[str, int] = {}
    for place, (name, split) in enumerate(zip(searched.names.tolist(), searched.splits.tolist(), strict=True)):
        if split == "test" or name not in places:  # a run shows images of its test split
            places[name] = place
    found = np.array([places.get(name, -1) for name in asked.names.tolist()], np.int64)
    # a file of the same name is another image if the model sees it otherwise
    gap = np.abs(asked.codes - searched.codes[found]).max(1, initial=0)
    same = gap <= 1e-4 * np.abs(asked.codes).max(initial=1e-9)
    return np.where((found >= 0) & same, found, -1)


def _typical(searched: Coded, subject: Subject) -> float:
    """The median distance of an image to its nearest in its own split; images with a copy there do not count."""
    lengths = []
    for split in np.unique(searched.splits):
        codes = searched.codes[searched.splits == split]
        if len(codes) > 1:
            rows = np.unique(np.linspace(0, len(codes) - 1, min(len(codes), 5_000)).astype(np.int64))
            lengths.append(Index(codes, subject.memory // 4).search(codes[rows], 1, rows)[1][:, 0])
    whole = np.concatenate(lengths) if lengths else np.zeros(1)
    apart = whole[whole > 0]
    return float(np.median(apart)) if len(apart) else 0.0


def _duplicates(searched: Coded, index: Index, limit: float) -> list[Pair]:
    """Pairs from different splits (from one, where there is one only) that are not farther apart than the limit."""
    found: dict[tuple[int, int], Pair] = {}
    splits = np.unique(searched.splits)
    for split in splits:
        rest = np.flatnonzero(searched.splits != split) if len(splits) > 1 else np.arange(len(searched))
        rows = np.flatnonzero(searched.splits == split)
        if len(splits) > 1:
            near, far = Index(searched.codes[rest]).search(searched.codes[rows], 1)
        else:
            near, far = index.search(searched.codes[rows], 1, rows)
        for row, place, length in zip(rows.tolist(), rest[near[:, 0]].tolist(), far[:, 0].tolist(), strict=True):
            if length <= limit:
                first, second = min(row, place), max(row, place)
                gap = searched.thumbs[first].astype(np.float64) - searched.thumbs[second]
                found[first, second] = Pair(first, second, length, float(np.abs(gap).mean()) / 255)
    return sorted(found.values(), key=lambda pair: (pair.distance, pair.pixels, pair.first, pair.second))


def _numbers(
    asked: Coded,
    searched: Coded,
    near: NDArray[np.int64],
    distance: NDArray[np.float64],
    pairs: list[Pair],
    subject: Subject,
) -> dict[str, NDArray[Any]]:
    both = np.array([[pair.first, pair.second] for pair in pairs], np.int64).reshape(-1, 2)
    return {
        "neighbour": near,
        "distance": distance,
        "neighbour_name": searched.names[near],
        "neighbour_split": searched.splits[near],
        "neighbour_label": searched.labels[near],
        "codes": asked.codes,
        "names": asked.names,
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
        "classes": np.array(subject.classes, np.str_),
    }


def _words(
    lens: Neighbours,
    subject: Subject,
    asked: Coded,
    searched: Coded,
    near: NDArray[np.int64],
    distance: NDArray[np.float64],
    pairs: list[Pair],
    typical: float,
) -> str:
    first = int(near[0, 0])
    label = f" ({subject.label(int(searched.labels[first]))})" if searched.labels[first] >= 0 else ""
    place = "" if searched.splits[first] == "given" else f" of {searched.splits[first]}"
    where = "the model's own codes" if searched.where == "encode" else searched.where
    said = (
        f"By {where}, nearest to {asked.names[0]} is {searched.names[first]}{place}{label} at "
        f"{distance[0, 0]:.3g}; {typical:.3g} is typical for the nearest."
    )
    across = "across splits" if len(np.unique(searched.splits)) > 1 else "among them"
    rule = f"nearer than {lens.duplicate:g} × the typical"
    if not pairs:
        return f"{said} No near-duplicates {across} ({rule})."
    same = sum(pair.pixels <= _AS_PIXELS for pair in pairs)
    one = pairs[0]
    told = " and ".join(f"{searched.names[i]} ({searched.splits[i]})" for i in (one.first, one.second))
    return (
        f"{said} {len(pairs):,} near-duplicate{'s' * (len(pairs) > 1)} {across} ({rule}), {same:,} of them with the same "
        f"pixels within {100 * _AS_PIXELS:g} % of the brightness: {'first ' * (len(pairs) > 1)}{told}."
    )
