# SPDX-License-Identifier: Apache-2.0
"""embedding: images as points in the plane, near each other where the model finds them similar."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, final

import numpy as np
from numpy.typing import NDArray

from pellucid._spread import evenly_spread
from pellucid.errors import UsageError, check_choice
from pellucid.lenses._codes import Coded, chosen_layer, fingerprint, joined, of_images, of_split
from pellucid.lenses._contract import Lens, View
from pellucid.lenses._index import Index
from pellucid.lenses._parts import Network, Splits, class_name
from pellucid.lenses._wording import clipped_start, percent
from pellucid.lenses.embedding import exact
from pellucid.lenses.embedding.agreement import kept, trustworthiness
from pellucid.lenses.embedding.figure import figure
from pellucid.lenses.embedding.file import AXES, SavedMap, read
from pellucid.lenses.embedding.maps import METHODS, fit, place
from pellucid.lenses.embedding.page import page
from pellucid.lenses.embedding.pixels import WHERE, of_pixels

__all__ = ["Embedding"]

_MEASURED = 2_000  # images of the map on which its quality is measured
_SLOW = 2_000  # images from which a t-SNE by a tree is worth a word about a faster way
_REFITTED = 1_000  # images up to which everything is fitted again for comparison by default: it doubles the time

_SPLITS = {"train": "training", "val": "validation", "test": "test"}

_AXES = AXES | {
    "nearest": ("image", "neighbour"),
    "distance": ("image", "neighbour"),
    "judged": ("judged",),
    "kept": ("judged",),
    "trust": ("judged",),
    "new": ("new image", "x and y"),
    **dict.fromkeys(("new_kept", "new_trust", "new_kept_refitted", "new_label", "new_name", "unlike"), ("new image",)),
    "new_codes": ("new image", "number"),
    "new_nearest": ("new image", "neighbour"),
    "new_distance": ("new image", "neighbour"),
}


@final
@dataclass(frozen=True)
class Embedding(Lens[Network, Splits | None]):
    """A map of images by their codes, and new images placed on it without moving it; or of pixels by their features.

    The map of a run shows its own images, with the named ones placed on it; that of a ready model shows the named ones. The .npz
    holds the map: `--map` places other images on it later. `unlike` marks new images whose nearest one on the map is farther than
    nearly all of the map's own images have theirs. `kept` is the share of an image's nearest neighbours in feature space that are
    among its nearest on the map, `trust` the trustworthiness of Venna & Kaski (2001).

    >>> import torch
    >>> images = torch.rand(12, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    >>> view = Embedding(method="pca", layer="0").look(Network(torch.nn.Sequential(torch.nn.Flatten()), images))
    >>> view["map"].shape, sorted(view.files)
    ((12, 2), ['embedding.html'])
    """

    method: Literal["tsne", "pca", "umap"] | None = None
    """method of dimension reduction; by default tsne"""
    layer: str | None = None
    """layer whose output is taken; by default the model's codes, or the input of its last dense layer"""
    split: Literal["train", "val", "test", "all"] | None = None
    """split of the run that the map shows; by default train"""
    pixels: bool = False
    """map pixels rather than images, as many of each class as an image shows; of a run that has a class for each pixel"""
    limit: int | None = None
    """images (or pixels) on the map at most, spread evenly; by default 2000"""
    perplexity: float | None = None
    """effective number of neighbours, for t-SNE and UMAP; by default 30"""
    map: str | None = None
    """the .npz of an earlier map, on which the images are placed"""
    nearest: int = 10
    """neighbours by which the map is measured, and which a click shows"""
    quantile: float = 0.99
    """new images are marked as unlike beyond this quantile of the map's own nearest distances"""
    refit: bool | None = None
    """compare with a new fit of everything; by default up to 1000 images"""

    def __post_init__(self) -> None:
        if self.method is not None:
            check_choice("method", self.method, METHODS)
        if self.limit is not None and self.limit < 6:
            raise UsageError(f"limit={self.limit}: a map needs at least 6 images; give a larger limit.")
        if self.perplexity is not None and not self.perplexity >= 1:
            raise UsageError(f"perplexity={self.perplexity:g}: must be at least 1 neighbour; give a larger number.")
        if self.nearest < 1:
            raise UsageError(f"nearest={self.nearest}: must be at least 1; give a larger number.")
        if not 0 < self.quantile <= 1:
            raise UsageError(f"quantile={self.quantile:g}: must be above 0 and at most 1; give e.g. 0.99.")
        if self.map is not None:
            for name in ("method", "layer", "split", "limit", "perplexity", "pixels"):
                if getattr(self, name):
                    raise UsageError(
                        f"{name}={getattr(self, name)!r}: is fixed by the earlier map; leave it out, or leave out --map."
                    )

    def look(self, network: Network, splits: Splits | None = None) -> View:
        saved, new = self._fitted(network, splits) if self.map is None else self._earlier(network, read(self.map))
        return _view(self, network, saved, new)

    def _fitted(self, network: Network, splits: Splits | None) -> tuple[SavedMap, Coded | None]:
        """A map of the run's own images with the named ones as new, or of the named ones alone."""
        layer = self.layer if self.pixels else chosen_layer(network, self.layer)
        if splits is None:
            for name in ("split", "limit", "pixels"):
                if getattr(self, name):
                    raise UsageError(f"{name}={getattr(self, name)!r}: applies to a run's own images; leave it out.")
            images, new = of_images(network, layer), None
        else:
            asked = self.split or "train"
            wanted = [part for part in ("train", "val", "test") if asked in (part, "all")]
            parts = [part for part in wanted if splits.counts.get(part)] or ["train" if asked == "all" else asked]
            # of several splits each gives its share of the limit, rounded up
            limit, whole = self.limit or 2_000, max(1, sum(splits.counts.get(part, 0) for part in parts))
            shares = {part: -(-limit * splits.counts.get(part, 0) // whole) for part in parts}
            coded = of_pixels if self.pixels else of_split
            images = joined([coded(network, splits, part, layer, share) for part, share in shares.items()])
            new = None if self.pixels else of_images(network, layer)
        if (self.method or "tsne") == "tsne" and _SLOW <= len(images) <= exact.MOST and not exact.available():
            network.note(
                "t-SNE takes several times as long without numba; install it with: pip install 'pellucid[tsne]'"
            )
        chart = fit(images.codes, self.method or "tsne", self.perplexity or 30.0, network.seed)
        return SavedMap(chart, images, tuple(network.classes), layer, fingerprint(network.model, images.where)), new

    def _earlier(self, network: Network, saved: SavedMap) -> tuple[SavedMap, Coded]:
        """An earlier map, and the named images as new."""
        if fingerprint(network.model, saved.images.where) != saved.model:
            raise UsageError(
                f"map={self.map!r}: was made with another model or other weights; make a new one with this model."
            )
        if saved.images.where.startswith(WHERE):
            raise UsageError(f"map={self.map!r}: is of pixels, and takes no images; make one of images.")
        new = of_images(network, saved.layer)
        if new.codes.shape[1] != saved.map.codes.shape[1]:
            raise UsageError(
                f"images=…: have codes of {new.codes.shape[1]} numbers, those of the map {saved.map.codes.shape[1]}; "
                "give images of the same size."
            )
        return saved, new


def _view(lens: Embedding, network: Network, saved: SavedMap, new: Coded | None) -> View:
    chart, images = saved.map, saved.images
    k = min(lens.nearest, len(chart.codes) - 1)
    # neighbours are looked for in feature space, and on the map
    index, flat = Index(chart.codes, network.memory // 4), Index(chart.places, network.memory // 4)
    network.note(f"neighbours in feature space: {index.kind}; perplexity {chart.perplexity:g}, seed {chart.seed}")
    near, distance = index.search(chart.codes, k, np.arange(len(chart.codes)))  # (N, k) each
    measured = evenly_spread(_MEASURED, len(chart.codes), floor=True)
    beside, _ = flat.search(chart.places[measured], k, measured)
    numbers: dict[str, NDArray[Any]] = saved.numbers() | {
        "nearest": near,
        "distance": distance,
        "judged": measured,
        "kept": kept(near[measured], beside),
        "trust": trustworthiness(chart.codes, chart.codes[measured], beside, measured),
        "nearest_limit": np.array(np.quantile(distance[:, 0], lens.quantile)),
    }
    if new is not None:
        numbers |= _placed(lens, saved, new, index, flat, k, float(numbers["nearest_limit"]))
    words = _words(lens, saved, numbers)
    everything = images if new is None else joined([images, replace(new, splits=np.full(len(new), "placed"))])
    none = np.zeros(0, np.int64)
    html = page(
        np.concatenate([chart.places, numbers.get("new", np.zeros((0, 2)))]),
        len(images),
        np.concatenate([images.labels, numbers.get("new_label", none)]),
        numbers.get("unlike", none.astype(bool)),
        np.concatenate([near, numbers.get("new_nearest", none.reshape(0, k))]),
        np.concatenate([distance, numbers.get("new_distance", np.zeros((0, k)))]),
        everything.thumbs,
        names=everything.names.tolist(),
        splits=everything.splits.tolist(),
        classes=saved.classes,
        title=f"{METHODS[chart.method]} of {len(images):,} {_unit(images)}: {network.title}",
        words=words,
        coloured=_coloured(images),
    )
    picture = figure(
        chart.places,
        images.labels,
        lambda i: class_name(saved.classes, i, 18),
        METHODS[chart.method],
        numbers.get("new", np.zeros((0, 2))),
        numbers.get("unlike", none.astype(bool)),
        everything.thumbs[len(images) :],
        [] if new is None else _titles(saved.classes, new),
    )
    return View(picture, numbers, words, _AXES, {"embedding.html": html})


def _placed(
    lens: Embedding, saved: SavedMap, new: Coded, index: Index, flat: Index, k: int, limit: float
) -> dict[str, NDArray[Any]]:
    """Where the new images are, and how well that preserves their neighbours, compared with a new fit of everything."""
    chart = saved.map
    places = place(chart, new.codes, index)  # (Q, 2)
    near, distance = index.search(new.codes, k)
    beside, _ = flat.search(places, k)
    numbers: dict[str, NDArray[Any]] = {
        "new": places,
        "new_codes": new.codes,
        "new_label": new.labels,
        "new_name": new.names,
        "new_nearest": near,
        "new_distance": distance,
        "new_kept": kept(near, beside),
        "new_trust": trustworthiness(chart.codes, new.codes, beside),
        "unlike": distance[:, 0] > limit,
    }
    if lens.refit or (lens.refit is None and len(chart.codes) + len(new) <= _REFITTED):
        refitted = fit(np.concatenate([chart.codes, new.codes]), chart.method, chart.perplexity, chart.seed).places
        again, _ = Index(refitted[: len(chart.codes)]).search(refitted[len(chart.codes) :], k)
        numbers["new_kept_refitted"] = kept(near, again)
    return numbers


def _words(lens: Embedding, saved: SavedMap, numbers: dict[str, NDArray[Any]]) -> str:
    chart, k = saved.map, numbers["nearest"].shape[1]
    of = [_SPLITS[part] for part in {*saved.images.splits.tolist()} & {*_SPLITS}]
    words = (
        f"{METHODS[chart.method]} of {len(chart.codes):,} {f'{of[0]} ' if len(of) == 1 else ''}{_unit(saved.images)} by "
        f"{_where(saved.images.where)} ({chart.codes.shape[1]:,} numbers): {percent(numbers['kept'].mean())} of the "
        f"{k} nearest in feature space are among the {k} nearest on the map, trustworthiness {numbers['trust'].mean():.3f}."
    )
    if "new" not in numbers:
        return words
    count = len(numbers["new"])
    against = (
        f"{percent(numbers['new_kept_refitted'].mean())} in a new fit of everything, "
        if "new_kept_refitted" in numbers
        else ""
    )
    words += (
        f" {count:,} new image{' was' if count == 1 else 's were'} placed without moving it: "
        f"{percent(numbers['new_kept'].mean())} of {'its' if count == 1 else 'their'} nearest are kept "
        f"({against}{percent(k / len(chart.codes))} by chance)."
    )
    odd = np.flatnonzero(numbers["unlike"])
    rule = (
        f"{percent(lens.quantile)} of the map's images have their nearest within {float(numbers['nearest_limit']):.3g}"
    )
    if not len(odd):
        return f"{words} None is unlike the map's images ({rule})."
    first = sorted(odd, key=lambda i: -numbers["new_distance"][i, 0])[:3]
    named = ", ".join(f"{numbers['new_name'][i]} at {numbers['new_distance'][i, 0]:.3g}" for i in first)
    more = "" if len(odd) == len(first) else f" and {len(odd) - len(first)} more"
    return f"{words} Unlike any image of the map: {named}{more} ({rule})."


def _unit(images: Coded) -> str:
    return "pixels" if images.where.startswith(WHERE) else "images"


def _where(where: str) -> str:
    return "the model's own codes" if where == "encode" else where.removeprefix(WHERE).lstrip()


def _coloured(images: Coded) -> str:
    """What the colours of the points mean."""
    if (images.labels < 0).all():
        return _unit(images)
    return "true class" if images.truth else "the model's answer"


def _titles(classes: Sequence[str], new: Coded) -> list[str]:
    """A line for each new image: its name, and its class if it has one."""
    names = [clipped_start(name, 20) for name in new.names.tolist()]
    labels = new.labels.tolist()
    return [
        name if label < 0 else f"{name}: {class_name(classes, label, 18)}"
        for name, label in zip(names, labels, strict=True)
    ]
