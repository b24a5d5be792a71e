# SPDX-License-Identifier: Apache-2.0
"""What a page shows of single images: their nearest neighbours, and maps of what the answer rests on."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from pellucid import _catalog
from pellucid.errors import PellucidError
from pellucid.lenses import Sight, View, guarded
from pellucid.reporting_pictures import png, thumbnail

__all__ = ["NEAREST", "SEARCHED", "Neighbour", "mapped", "nearest", "pictured"]

NEAREST = 6
"""Neighbours of an image that are shown."""
SEARCHED = 2000
"""Images of each split, spread evenly, among which they are looked for."""
_WORK = 6e7  # pixels that go through the network, in all, for the maps of a page by occlusion
_MAPS: dict[str, tuple[str, str]] = {
    "occlusion": ("percentage points", "drop of the score where it is covered"),
    "attribution": ("", "contribution of each pixel"),
}
"""Lenses with a map for each image: the unit where a probability is followed, and what the map shows."""

Neighbour = dict[str, Any]  # split, place, name, label, distance


def nearest(
    sight: Sight, images: Mapping[int, Tensor], names: Mapping[int, str]
) -> tuple[dict[int, list[Neighbour]], str]:
    """The nearest of each image among the run's own, by position; and a sentence, where there are none."""
    view, lack = _seen(sight, "neighbours", images, names, k=NEAREST, limit=SEARCHED)
    if view is None:
        return {}, lack
    found: dict[int, list[Neighbour]] = {}
    for row, place in enumerate(images):
        found[place] = [
            {
                "split": str(view["searched_split"][other]),
                "place": int(view["searched_place"][other]),
                "name": str(view["searched_name"][other]),
                "label": int(view["searched_label"][other]),
                "distance": float(view["distance"][row, k]),
            }
            for k, other in enumerate(view["neighbour"][row].tolist())
        ]
    return found, ""


def mapped(
    sight: Sight, images: Mapping[int, Tensor], names: Mapping[int, str]
) -> tuple[dict[int, list[dict[str, str]]], list[dict[str, str]], list[str]]:
    """Maps of each image by position, the lenses' own pictures of all of them, and what does not make sense here."""
    found: dict[int, list[dict[str, str]]] = {place: [] for place in images}
    overviews, lacks = [], []
    for lens, (unit, what) in _MAPS.items():
        options: dict[str, Any] = {"depths": 0, "tested": 0}
        chosen = dict(images)
        if lens == "occlusion":
            side = min(min(image.shape[1:]) for image in images.values())
            stride = max(1, side // 10)
            options = {"stride": stride}
            chosen = _affordable(images, stride)
        view, lack = _seen(sight, lens, chosen, names, **options)
        if view is None:
            lacks.append(lack)
            continue
        overviews.append({"name": lens, "words": view.words, "picture": png(view.figure)})
        for row, (place, image) in enumerate(chosen.items()):
            height, width = image.shape[1:]
            percent = bool(unit) and view["class"][row] >= 0
            drawn = _drawn(
                image, view["map"][row, :height, :width] * (100 if percent else 1), unit if percent else "score"
            )
            found[place].append({"name": lens, "words": what, "picture": drawn})
    return found, overviews, lacks


def _affordable(images: Mapping[int, Tensor], stride: int) -> dict[int, Tensor]:
    """As many of the images, the first one at least, as their pixels times the places of the patch allow."""
    chosen: dict[int, Tensor] = {}
    work = 0.0
    for place, image in images.items():
        height, width = image.shape[1:]
        work += height * width * (0.8 * height / stride + 1) * (0.8 * width / stride + 1)
        if chosen and work > _WORK:
            break
        chosen[place] = image
    return chosen


def _seen(
    sight: Sight, lens: str, images: Mapping[int, Tensor], names: Mapping[int, str], **options: Any
) -> tuple[View | None, str]:
    """What a lens shows of these images, or the one sentence why it shows nothing."""
    own = dataclasses.replace(sight, images=[*images.values()], names=[names[place] for place in images])
    try:
        with guarded(sight.model):
            return _catalog.find("lenses", lens)(**options).look(own), ""
    except PellucidError as fault:
        return None, str(fault)
    except ImportError as fault:  # an extra that is not there
        return None, f"lens={lens!r}: {fault}"


def _drawn(image: Tensor, values: NDArray[Any], unit: str) -> str:
    """A map over its image, as strong as its values are large, with a scale of its own."""
    from matplotlib.figure import Figure

    grey = image.detach().float().clamp(0, 1).cpu().numpy()[:3].mean(0)
    most = float(np.abs(values).max()) or 1.0
    figure = Figure(figsize=(2.5, 2.0), dpi=110, layout="constrained")
    axes = figure.subplots()
    smooth = None if max(grey.shape) > 96 else "nearest"
    axes.imshow(grey, cmap="gray", vmin=0, vmax=1, interpolation=smooth)
    drawn = axes.imshow(
        values, cmap="RdBu_r", vmin=-most, vmax=most, alpha=0.85 * np.abs(values / most) ** 0.7, interpolation="nearest"
    )
    axes.set_axis_off()
    bar = figure.colorbar(drawn, ax=axes, fraction=0.05, pad=0.02, aspect=18)
    if bar.solids is not None:
        bar.solids.set_alpha(1.0)
    bar.set_label(unit, fontsize=6.5)
    bar.ax.tick_params(labelsize=6.5, length=2, pad=1.5)
    return png(figure)


def pictured(sight: Sight, neighbours: Sequence[Neighbour], side: int) -> dict[tuple[str, int], str]:
    """Thumbnails of neighbours by split and position, each image read once."""
    wanted: dict[str, list[int]] = {}
    for each in neighbours:
        wanted.setdefault(each["split"], []).append(each["place"])
    found = {}
    assert sight.batches is not None
    for split, places in wanted.items():
        for batch in sight.batches(split, places=sorted(set(places))):
            for i, image in zip(batch.index.tolist(), batch.images, strict=True):
                found[split, i] = thumbnail(image, side)
    return found
