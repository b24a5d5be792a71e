# SPDX-License-Identifier: Apache-2.0
"""A map with its images, as the arrays of an .npz: read again, it takes new images."""

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

__all__ = ["AXES", "SavedMap", "read"]

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
class SavedMap:
    """A map, its images, and which model made their codes."""

    map: Map
    images: Coded
    classes: tuple[str, ...]
    layer: str | None  # of the codes; None: the model's features
    model: str  # the fingerprint of its weights

    def numbers(self) -> dict[str, NDArray[Any]]:
        """Everything as arrays."""
        chart, images = self.map, self.images
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


def read(path: str | Path) -> SavedMap:
    """The map in an .npz that the lens wrote.

    Raises:
        UsageError: the file does not exist or holds no map.
    """
    if not Path(path).is_file():
        raise UsageError(f"map={str(path)!r}: does not exist; name the .npz of an embedding.")
    try:
        with np.load(path, allow_pickle=False) as file:
            held: Mapping[str, NDArray[Any]] = {name: file[name] for name in file.files}
        return _restored(held)
    except (KeyError, ValueError, OSError, EOFError, zipfile.BadZipFile):
        raise UsageError(f"map={str(path)!r}: holds no map; name the .npz of an embedding.") from None


def _restored(held: Mapping[str, NDArray[Any]]) -> SavedMap:
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
    return SavedMap(chart, images, tuple(held["classes"].tolist()), str(held["layer"]) or None, str(held["model"]))
