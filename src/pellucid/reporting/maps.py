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
from pellucid.lenses import Subject, View, guarded
from pellucid.reporting.pictures import compact, png, thumbnail

__all__ = ["NEAREST", "Neighbour", "mapped", "nearest", "pictured", "plain", "searched"]

NEAREST = 6
"""Neighbours of an image that are shown."""
_SEARCHED = (200, 2000)  # images of each split, spread evenly, among which they are looked for: at least, and at most
_LOOKED = 2.5e6  # pixels of a split that go through the network for it, in all
_WORK = 6e7  # pixels that go through the network, in all, for the maps of a page by occlusion
_MAPS: dict[str, tuple[str, str]] = {
    "occlusion": ("percentage points", "how far the score falls where it is covered"),
    "attribution": ("", "what each pixel adds to the score"),
}
"""Lenses with a map for each image: the unit where a probability is followed, and what the map shows."""
_DRAWN = {"occlusion"}  # of which the page has the picture of all images too
_LARGE = 192  # px: of a map

Neighbour = dict[str, Any]  # split, place, name, label, distance


def searched(image: Tensor) -> int:
    """Images of each split among which neighbours are looked for: fewer of larger ones.

    >>> import torch
    >>> searched(torch.zeros(1, 28, 28)), searched(torch.zeros(3, 224, 224))
    (2000, 200)
    """
    height, width = image.shape[1:]
    return int(np.clip(_LOOKED / (height * width), *_SEARCHED))


def nearest(
    subject: Subject, images: Mapping[int, Tensor], names: Mapping[int, str]
) -> tuple[dict[int, list[Neighbour]], str]:
    """The nearest of each image among the run's own, by position; and a sentence, where there are none."""
    view, lack = _seen(subject, "neighbours", images, names, k=NEAREST, limit=searched(next(iter(images.values()))))
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
    subject: Subject, images: Mapping[int, Tensor], names: Mapping[int, str]
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
        view, lack = _seen(subject, lens, chosen, names, **options)
        if view is None:
            lacks.append(lack)
            continue
        if lens in _DRAWN:
            overviews.append({"name": lens, "words": view.words, "picture": png(view.figure)})
        for row, (place, image) in enumerate(chosen.items()):
            height, width = image.shape[1:]
            values = view["map"][row, :height, :width]
            percent = bool(unit) and view["class"][row] >= 0
            most = float(np.abs(values).max()) * (100 if percent else 1)
            said = f"{what}; the strongest colour is {most:.3g}{f' {unit}' if percent else ''}"
            found[place].append({"name": lens, "words": said, "picture": _drawn(image, values)})
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
    subject: Subject, lens: str, images: Mapping[int, Tensor], names: Mapping[int, str], **options: Any
) -> tuple[View | None, str]:
    """What a lens shows of these images, or the one sentence why it shows nothing."""
    own = dataclasses.replace(subject, images=[*images.values()], names=[names[place] for place in images])
    try:
        with guarded(subject.model):
            return _catalog.find("lenses", lens)(**options).look(own), ""
    except PellucidError as fault:
        return None, plain(fault)
    except ImportError as fault:  # an extra that is not there
        return None, f"lens={lens!r}: {fault}"


def plain(fault: Exception) -> str:
    """What a lens says that it lacks, for a reader who did not ask for it.

    >>> plain(ValueError("lens='neighbours': needs a model; name one."))
    'neighbours: needs a model; name one.'
    """
    said = str(fault)
    return said.replace("lens='", "", 1).replace("':", ":", 1) if said.startswith("lens='") else said


def _drawn(image: Tensor, values: NDArray[Any]) -> str:
    """A map over its image in grey, red above zero and blue below, as strong as its values are large."""
    from matplotlib import colormaps
    from PIL import Image

    grey = image.detach().float().clamp(0, 1).cpu().numpy()[:3].mean(0)
    most = float(np.abs(values).max()) or 1.0
    strength = 0.85 * np.abs(values / most)[..., None] ** 0.7
    paint = colormaps["RdBu_r"](0.5 + 0.5 * values / most)[..., :3]
    blended = strength * paint + (1 - strength) * grey[..., None]  # (H, W, 3)
    shown = Image.fromarray((blended * 255).round().astype(np.uint8))
    times = _LARGE / max(shown.size)
    size = (max(1, round(shown.width * times)), max(1, round(shown.height * times)))
    kind = Image.Resampling.NEAREST if times > 1 else Image.Resampling.LANCZOS
    return compact(shown.resize(size, kind))


def pictured(subject: Subject, neighbours: Sequence[Neighbour], side: int) -> dict[tuple[str, int], str]:
    """Thumbnails of neighbours by split and position, each image read once."""
    wanted: dict[str, list[int]] = {}
    for each in neighbours:
        wanted.setdefault(each["split"], []).append(each["place"])
    found = {}
    assert subject.batches is not None
    for split, places in wanted.items():
        for batch in subject.batches(split, places=sorted(set(places))):
            for i, image in zip(batch.index.tolist(), batch.images, strict=True):
                found[split, i] = thumbnail(image, side)
    return found
