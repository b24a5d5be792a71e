# SPDX-License-Identifier: Apache-2.0
"""embedding: images as points of the plane, near each other where the model finds them alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, final

import numpy as np
from numpy.typing import NDArray

from pellucid.errors import UsageError
from pellucid.lenses._codes import Coded, chosen_layer, fingerprint, joined, of_images, of_split
from pellucid.lenses._contract import Lens, Subject, View
from pellucid.lenses._index import Index
from pellucid.lenses.embedding.agreement import kept, trustworthiness
from pellucid.lenses.embedding.figure import figure
from pellucid.lenses.embedding.file import AXES, Charted, read
from pellucid.lenses.embedding.maps import METHODS, fit, place
from pellucid.lenses.embedding.page import page

__all__ = ["Embedding"]

_JUDGED = 2_000  # images of the map on which its quality is measured
_REFITTED = 3_000  # images up to which a map is fitted anew for comparison where nothing else is said

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
class Embedding(Lens):
    """A map of images by their codes, and new images placed on it without moving it.

    For a run the map is of its own images, and the named ones are placed; for a ready model it is of the named ones. The .npz
    holds the map: `--map` places other images on it later. `unlike` marks new images whose nearest one on the map is farther
    than nearly every one of the map's own images has its nearest. `kept` is the share of an image's nearest neighbours in
    feature space that are its nearest on the map, `trust` the trustworthiness of Venna & Kaski (2001).

    >>> import torch
    >>> images = torch.rand(12, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    >>> view = Embedding(method="pca", layer="0").look(Subject(model=torch.nn.Sequential(torch.nn.Flatten()), images=images))
    >>> view["map"].shape, sorted(view.files)
    ((12, 2), ['embedding.html'])
    """

    method: Literal["tsne", "pca", "umap"] | None = None
    """how codes become places; by default tsne"""
    layer: str | None = None
    """whose output is taken; by default the model's codes, or what enters its last dense layer"""
    split: Literal["train", "val", "test", "all"] | None = None
    """the run's own images of which the map is; by default train"""
    limit: int | None = None
    """how many of them at most, spread evenly; by default 2000"""
    perplexity: float | None = None
    """how many neighbours an image has, for t-SNE and UMAP; by default 30"""
    map: str | None = None
    """the .npz of an earlier map, on which the images are placed"""
    nearest: int = 10
    """neighbours by which the map is judged, and which a click shows"""
    quantile: float = 0.99
    """a new image is unlike the others beyond this quantile of the map's own nearest distances"""
    refit: bool | None = None
    """compare with a map that is fitted anew with the new images; by default up to 3000 images"""

    def __post_init__(self) -> None:
        if self.method is not None and self.method not in METHODS:
            raise UsageError(f"method={self.method!r}: is not known; choose {', '.join(METHODS)}.")
        if self.limit is not None and self.limit < 6:
            raise UsageError(f"limit={self.limit}: a map needs 6 images or more; give a higher one.")
        if self.perplexity is not None and not self.perplexity >= 1:
            raise UsageError(f"perplexity={self.perplexity:g}: must be at least 1 neighbour; give another.")
        if self.nearest < 1:
            raise UsageError(f"nearest={self.nearest}: must be at least 1; give another.")
        if not 0 < self.quantile <= 1:
            raise UsageError(f"quantile={self.quantile:g}: must be above 0 and at most 1; give another.")
        if self.map is not None:
            for name in ("method", "layer", "split", "limit", "perplexity"):
                if getattr(self, name) is not None:
                    raise UsageError(
                        f"{name}={getattr(self, name)!r}: is the map's own; leave it out, or leave out --map."
                    )

    def look(self, subject: Subject) -> View:
        if subject.model is None or subject.images is None or not len(subject.images):
            raise UsageError("lens='embedding': needs a model and images; name a folder of images, or a run with data.")
        drawn, new = self._fitted(subject) if self.map is None else self._onto(subject, read(self.map))
        return _view(self, subject, drawn, new)

    def _fitted(self, subject: Subject) -> tuple[Charted, Coded | None]:
        """A map of the run's own images with the named ones as new, or of the named ones alone."""
        assert subject.model is not None and subject.images is not None
        layer = chosen_layer(subject, subject.images[0], self.layer)
        if subject.batches is None:
            for name in ("split", "limit"):
                if getattr(self, name) is not None:
                    raise UsageError(f"{name}={getattr(self, name)!r}: goes with a run's own images; leave it out.")
            images, new = of_images(subject, layer), None
        else:
            asked = self.split or "train"
            wanted = [part for part in ("train", "val", "test") if asked in (part, "all")]
            parts = [part for part in wanted if subject.counts.get(part)] or ["train" if asked == "all" else asked]
            limit, whole = self.limit or 2_000, max(1, sum(subject.counts.get(part, 0) for part in parts))
            shares = {part: -(-limit * subject.counts.get(part, 0) // whole) for part in parts}
            images = joined([of_split(subject, part, layer, share) for part, share in shares.items()])
            new = of_images(subject, layer)
        chart = fit(images.codes, self.method or "tsne", self.perplexity or 30.0, subject.seed)
        return Charted(chart, images, tuple(subject.classes), layer, fingerprint(subject.model, images.where)), new

    def _onto(self, subject: Subject, drawn: Charted) -> tuple[Charted, Coded | None]:
        assert subject.model is not None
        if fingerprint(subject.model, drawn.images.where) != drawn.model:
            raise UsageError(
                f"map={self.map!r}: was made with another model or other weights; make it anew with this one."
            )
        new = of_images(subject, drawn.layer)
        if new.codes.shape[1] != drawn.chart.codes.shape[1]:
            raise UsageError(
                f"images=…: have codes of {new.codes.shape[1]} numbers, those of the map {drawn.chart.codes.shape[1]}; "
                "give images of the same size."
            )
        return drawn, new


def _view(lens: Embedding, subject: Subject, drawn: Charted, new: Coded | None) -> View:
    chart, images = drawn.chart, drawn.images
    k = min(lens.nearest, len(chart.codes) - 1)
    index, flat = Index(chart.codes, subject.memory // 4), Index(chart.places, subject.memory // 4)
    subject.note(f"neighbours in feature space: {index.kind}; perplexity {chart.perplexity:g}, seed {chart.seed}")
    everyone = np.arange(len(chart.codes))
    near, distance = index.search(chart.codes, k, everyone)
    judged = np.unique(np.linspace(0, len(everyone) - 1, min(_JUDGED, len(everyone))).astype(np.int64))
    beside, _ = flat.search(chart.places[judged], k, judged)
    numbers: dict[str, NDArray[Any]] = drawn.numbers() | {
        "nearest": near,
        "distance": distance,
        "judged": judged,
        "kept": kept(near[judged], beside),
        "trust": trustworthiness(chart.codes, chart.codes[judged], beside, judged),
        "nearest_limit": np.array(np.quantile(distance[:, 0], lens.quantile)),
    }
    if new is not None:
        numbers |= _placed(lens, drawn, new, index, flat, k, float(numbers["nearest_limit"]))
    words = _words(lens, subject, drawn, numbers)
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
        classes=drawn.classes,
        title=f"{METHODS[chart.method]} of {len(images):,} images: {subject.title}",
        words=words,
        coloured=_coloured(images),
    )
    picture = figure(
        chart.places,
        images.labels,
        lambda i: _class(drawn.classes, i),
        METHODS[chart.method],
        numbers.get("new", np.zeros((0, 2))),
        numbers.get("unlike", none.astype(bool)),
        everything.thumbs[len(images) :],
        [] if new is None else _titles(drawn.classes, new),
    )
    return View(picture, numbers, words, _AXES, {"embedding.html": html})


def _placed(
    lens: Embedding, drawn: Charted, new: Coded, index: Index, flat: Index, k: int, limit: float
) -> dict[str, NDArray[Any]]:
    """Where the new images lie, and how well that keeps their neighbours, against fitting everything anew."""
    chart = drawn.chart
    places = place(chart, new.codes, index)
    near, distance = index.search(new.codes, k)
    beside, _ = flat.search(places, k)
    found: dict[str, NDArray[Any]] = {
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
        anew = fit(np.concatenate([chart.codes, new.codes]), chart.method, chart.perplexity, chart.seed).places
        again, _ = Index(anew[: len(chart.codes)]).search(anew[len(chart.codes) :], k)
        found["new_kept_refitted"] = kept(near, again)
    return found


def _words(lens: Embedding, subject: Subject, drawn: Charted, numbers: dict[str, NDArray[Any]]) -> str:
    chart, k = drawn.chart, numbers["nearest"].shape[1]
    of = [_SPLITS[part] for part in {*drawn.images.splits.tolist()} & {*_SPLITS}]
    said = (
        f"{METHODS[chart.method]} of {len(chart.codes):,} {f'{of[0]} ' if len(of) == 1 else ''}images by "
        f"{_where(drawn.images.where)} ({chart.codes.shape[1]:,} numbers): {_percent(numbers['kept'].mean())} of the "
        f"{k} nearest in feature space are among the {k} nearest on the map, trustworthiness {numbers['trust'].mean():.3f}."
    )
    if "new" not in numbers:
        return said
    count = len(numbers["new"])
    against = (
        f"{_percent(numbers['new_kept_refitted'].mean())} where all is fitted anew, "
        if "new_kept_refitted" in numbers
        else ""
    )
    said += (
        f" {_many(count, 'new image')} placed without moving it: {_percent(numbers['new_kept'].mean())} of "
        f"{'its' if count == 1 else 'their'} nearest are kept ({against}{_percent(k / len(chart.codes))} by chance)."
    )
    odd = np.flatnonzero(numbers["unlike"])
    limit = float(numbers["nearest_limit"])
    rule = f"{_percent(lens.quantile)} of the map's images have their nearest within {limit:.3g}"
    if not len(odd):
        return f"{said} None is unlike what the map has seen ({rule})."
    first = sorted(odd, key=lambda i: -numbers["new_distance"][i, 0])[:3]
    told = ", ".join(f"{numbers['new_name'][i]} at {numbers['new_distance'][i, 0]:.3g}" for i in first)
    more = "" if len(odd) == len(first) else f" and {len(odd) - len(first)} more"
    return f"{said} Unlike anything on the map: {told}{more} ({rule})."


def _many(count: int, what: str) -> str:
    return f"{count:,} {what} was" if count == 1 else f"{count:,} {what}s were"


def _where(where: str) -> str:
    return "the model's own codes" if where == "encode" else where


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %" if share >= 0.095 or share == 0 else f"{100 * share:.1f} %"


def _coloured(images: Coded) -> str:
    if (images.labels < 0).all():
        return "images"
    return "true class" if images.truth else "the model's answer"


def _class(classes: Sequence[str], index: int, longest: int = 18) -> str:
    name = classes[index] if 0 <= index < len(classes) else f"class {index}"
    return name if len(name) <= longest else f"{name[: longest - 1]}…"


def _titles(classes: Sequence[str], new: Coded) -> list[str]:
    found = []
    for name, label in zip(new.names.tolist(), new.labels.tolist(), strict=True):
        short = name if len(name) <= 20 else f"…{name[-19:]}"
        found.append(short if label < 0 else f"{short}: {_class(classes, label)}")
    return found
