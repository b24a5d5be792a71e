# SPDX-License-Identifier: Apache-2.0
"""A map with its images, as the arrays of an .npz from which it can be read again, to place other images on it."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from pellucid.errors import UsageError
from pellucid.lenses._codes import Coded
from pellucid.lenses.embedding.maps import METHODS, Map

__all__ = ["AXES", "Charted", "read"]

AXES: dict[str, tuple[str, ...]] = {
    "map": ("image", "x and y"),
    "codes": ("image", "number"),
    "label": ("image",),
    "name": ("image",),
    "split": ("image",),
    "thumbnail": ("image", "y", "x", "plane"),
    "classes": ("class",),
    "pca_mean": ("number",),
    "pca_components": ("component", "number"),
}


@final
@dataclass(frozen=True)
class Charted:
    """A map, its images, and which model made their codes."""

    chart: Map
    images: Coded
    classes: tuple[str, ...]
    layer: str | None  # that was asked for or found; None: the model's features
    model: str  # the fingerprint

    def numbers(self) -> dict[str, NDArray[Any]]:
        """All of it as arrays."""
        chart, images = self.chart, self.images
        return {
            "map": chart.places,
            "codes": chart.codes,
            "label": images.labels,
            "name": images.names,
            "split": images.splits,
            "thumbnail": images.thumbs,
            "classes": np.array(self.classes, np.str_),
            "pca_mean": chart.mean,
            "pca_components": chart.components,
            "method": np.array(chart.method),
            "perplexity": np.array(chart.perplexity),
            "seed": np.array(chart.seed),
            "labels_are_true": np.array(images.truth),
            "layer": np.array(self.layer or ""),
            "where": np.array(images.where),
            "model": np.array(self.model),
        }


def read(path: str | Path) -> Charted:
    """The map of an .npz that was written before.

    Raises:
        UsageError: there is no such file, or it holds no map.
    """
    if not Path(path).is_file():
        raise UsageError(f"map={str(path)!r}: is no file; name the .npz of an embedding.")
    try:
        with np.load(path, allow_pickle=False) as file:
            held: Mapping[str, NDArray[Any]] = {name: file[name] for name in file.files}
        return _of(held)
    except (KeyError, ValueError, OSError, EOFError, zipfile.BadZipFile):
        raise UsageError(f"map={str(path)!r}: holds no map; name the .npz of an embedding.") from None


def _of(held: Mapping[str, NDArray[Any]]) -> Charted:
    method: Any = str(held["method"])
    places, codes = held["map"], held["codes"]
    if method not in METHODS or places.shape != (len(codes), 2) or places.dtype != np.float64:
        raise ValueError
    chart = Map(
        method, codes, places, float(held["perplexity"]), int(held["seed"]), held["pca_mean"], held["pca_components"]
    )
    images = Coded(
        codes, held["name"], held["split"], held["label"], bool(held["labels_are_true"]), held["thumbnail"], str(held["where"]),
        np.arange(len(codes)),
    )  # fmt: skip
    if not len(codes) == len(images.names) == len(images.splits) == len(images.labels) == len(images.thumbs):
        raise ValueError
    return Charted(chart, images, tuple(held["classes"].tolist()), str(held["layer"]) or None, str(held["model"]))
