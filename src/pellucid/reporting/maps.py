# SPDX-License-Identifier: Apache-2.0
"""The nearest neighbours of single images, and maps of the pixels that their answers rest on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from pellucid import _catalog
from pellucid.errors import PellucidError
from pellucid.lenses import Splits, View
from pellucid.looking.subjects import Subject
from pellucid.reporting.pictures import compact, png, thumbnail

__all__ = ["NEAREST", "Neighbour", "mapped", "nearest", "pictured", "plain", "searched"]

NEAREST = 6
"""Neighbours shown for each image."""
_SEARCHED = (200, 2000)  # images of each split, evenly spread, among which neighbours are searched: fewest and most
_LOOKED = 1e6  # pixels of each split that go through the network for the search
_WORK = 6e7  # pixels that go through the network for all occlusion maps of a page
_MAPS: dict[str, tuple[str, str]] = {
    "occlusion": ("percentage points", "drop of the score where the image is covered"),
    "attribution": ("", "contribution of each pixel to the score"),
}
"""Lenses with a map of each image: its unit if it follows a probability, and what it shows."""
_OVERVIEWS = {"occlusion"}  # lenses whose own picture of all images is on the page too
_LARGE = 192  # px: of a map

Neighbour = dict[str, Any]  # split, place, name, label, distance


def searched(image: Tensor) -> int:
    """Number of images of each split among which neighbours are searched: the larger the images, the fewer.

    >>> import torch
    >>> searched(torch.zeros(1, 28, 28)), searched(torch.zeros(3, 224, 224))
    (1275, 200)
    """
    height, width = image.shape[1:]
    return int(np.clip(_LOOKED / (height * width), *_SEARCHED))


def nearest(
    subject: Subject, images: Mapping[int, Tensor], names: Mapping[int, str]
) -> tuple[dict[int, list[Neighbour]], str]:
    """The nearest neighbours of each image by position; without any, {} and the reason."""
    view, reason = _seen(subject, "neighbours", images, names, k=NEAREST, limit=searched(next(iter(images.values()))))
    if view is None:
        return {}, reason
    neighbours: dict[int, list[Neighbour]] = {}
    for row, place in enumerate(images):
        neighbours[place] = [
            {
                "split": str(view["searched_split"][other]),
                "place": int(view["searched_place"][other]),
                "name": str(view["searched_name"][other]),
                "label": int(view["searched_label"][other]),
                "distance": float(view["distance"][row, k]),
            }
            for k, other in enumerate(view["neighbour"][row].tolist())
        ]
    return neighbours, ""


def mapped(
    subject: Subject, images: Mapping[int, Tensor], names: Mapping[int, str]
) -> tuple[dict[int, list[dict[str, str]]], list[dict[str, str]], list[str]]:
    """The maps of each image by position, the lenses' own pictures of all images, and why maps are missing."""
    maps: dict[int, list[dict[str, str]]] = {place: [] for place in images}
    overviews, missing = [], []
    for lens, (unit, what) in _MAPS.items():
        options: dict[str, Any] = {"depths": 0, "tested": 0}
        chosen = dict(images)
        if lens == "occlusion":
            side = min(min(image.shape[1:]) for image in images.values())
            stride = max(1, side // 10)
            options = {"stride": stride}
            chosen = _affordable(images, stride)
        view, reason = _seen(subject, lens, chosen, names, **options)
        if view is None:
            missing.append(reason)
            continue
        if lens in _OVERVIEWS:
            overviews.append({"name": lens, "words": view.words, "picture": png(view.figure)})
        for row, (place, image) in enumerate(chosen.items()):
            height, width = image.shape[1:]
            values = view["map"][row, :height, :width]
            percent = bool(unit) and view["class"][row] >= 0
            most = float(np.abs(values).max()) * (100 if percent else 1)
            words = f"{what}; the strongest colour is {most:.3g}{f' {unit}' if percent else ''}"
            maps[place].append({"name": lens, "words": words, "picture": _overlay(image, values)})
    return maps, overviews, missing


def _affordable(images: Mapping[int, Tensor], stride: int) -> dict[int, Tensor]:
    """The first images, at least one, as long as their pixels times the places of the patch fit the budget."""
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
    subject: Subject, lens: str, images: Mapping[int, Tensor], names: Mapping[int, str], **options: Any
) -> tuple[View | None, str]:
    """A lens's view of these images; if it has none, the reason in one sentence."""
    own = subject.showing([*images.values()], [names[place] for place in images])
    try:
        return own.look(_catalog.find("lenses", lens)(**options)), ""
    except PellucidError as fault:
        return None, plain(fault)
    except ImportError as fault:  # an optional dependency is not installed
        return None, f"lens={lens!r}: {fault}"


def plain(fault: Exception) -> str:
    """A lens's error for a reader who did not call the lens.

    >>> plain(ValueError("lens='neighbours': needs a model; name one."))
    'neighbours: needs a model; name one.'
    """
    words = str(fault)
    return words.replace("lens='", "", 1).replace("':", ":", 1) if words.startswith("lens='") else words


def _overlay(image: Tensor, values: NDArray[Any]) -> str:
    """A map over the grey image: red above zero, blue below, more opaque for larger values."""
    from matplotlib import colormaps
    from PIL import Image

    grey = image.detach().float().clamp(0, 1).cpu().numpy()[:3].mean(0)
    most = float(np.abs(values).max()) or 1.0
    strength = 0.85 * np.abs(values / most)[..., None] ** 0.7
    paint = colormaps["RdBu_r"](0.5 + 0.5 * values / most)[..., :3]
    # alpha blending: the stronger the value, the less of the image shows through
    blended = strength * paint + (1 - strength) * grey[..., None]  # (H, W, 3)
    shown = Image.fromarray((blended * 255).round().astype(np.uint8))
    times = _LARGE / max(shown.size)
    size = (max(1, round(shown.width * times)), max(1, round(shown.height * times)))
    kind = Image.Resampling.NEAREST if times > 1 else Image.Resampling.LANCZOS
    return compact(shown.resize(size, kind))


def pictured(splits: Splits, neighbours: Sequence[Neighbour], side: int) -> dict[tuple[str, int], str]:
    """Thumbnails of neighbours by split and position; each image is read once."""
    wanted: dict[str, list[int]] = {}
    for neighbour in neighbours:
        wanted.setdefault(neighbour["split"], []).append(neighbour["place"])
    thumbnails = {}
    for split, places in wanted.items():
        for batch in splits.batches(split, places=sorted(set(places))):
            for i, image in zip(batch.index.tolist(), batch.images, strict=True):
                thumbnails[split, i] = thumbnail(image, side)
    return thumbnails
