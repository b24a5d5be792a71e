# SPDX-License-Identifier: Apache-2.0
"""A map as one HTML page that opens without a network: hover shows the image, a click its neighbours."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Sequence
from importlib.resources import files
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pellucid.lenses.embedding.figure import ALONE, OTHER, colours

__all__ = ["page"]

_MOST_PICTURED = 20_000  # thumbnails on the page
_LARGEST = 8_192  # px: the side of a picture that every browser draws


def page(
    places: NDArray[np.float64],
    fitted: int,
    labels: NDArray[np.int64],
    unlike: NDArray[np.bool_],
    near: NDArray[np.int64],
    distance: NDArray[np.float64],
    thumbs: NDArray[np.uint8],
    *,
    names: Sequence[str],
    splits: Sequence[str],
    classes: Sequence[str],
    title: str,
    words: str,
    coloured: str,
) -> bytes:
    """The page, which refers to nothing outside itself: images of a map, and new ones after them.

    Args:
        places: (N, 2).
        fitted: how many of these made the map; the others were placed on it.
        labels: (N,) classes, -1 for none.
        unlike: (N - fitted,) whether a new image is unlike any on the map.
        near: (N, k) the nearest in feature space, positions among the first `fitted`.
        distance: (N, k) to these.
        thumbs: (N, s, s, 1 or 3) uint8.
        names: (N,) of the images.
        splits: (N,) of the images.
        classes: the names of the classes.
        title: of the page.
        words: the finding.
        coloured: what the colours mean.
    """
    from jinja2 import Environment, select_autoescape

    sheet, columns, thumbs = _sheet(thumbs[:_MOST_PICTURED])
    paint = colours(labels[:fitted])
    data: dict[str, Any] = {
        "x": _short(places[:, 0]),
        "y": _short(places[:, 1]),
        "range": {"x": _short(_ends(places[:, 0])), "y": _short(_ends(places[:, 1]))},
        "fitted": fitted,
        "label": labels.tolist(),
        "unlike": unlike.astype(int).tolist(),
        "near": near.tolist(),
        "distance": [[float(f"{far:.4g}") for far in row] for row in distance.tolist()],
        "name": list(map(str, names)),
        "split": list(map(str, splits)),
        "classes": {int(i): str(classes[i]) for i in np.unique(labels) if 0 <= i < len(classes)},
        "palette": paint,
        "other": OTHER if paint else ALONE,
        "side": thumbs.shape[1],
        "columns": columns,
        "pictured": len(thumbs),
        "sheet": sheet,
        "first": fitted if len(places) > fitted else -1,
    }
    # inside <script> only "</" and "<!--" could end the data early
    written = json.dumps(data, separators=(",", ":"), ensure_ascii=False).replace("<", "\\u003c")
    text = files("pellucid").joinpath("templates/map.html").read_text(encoding="utf-8")
    template = Environment(autoescape=select_autoescape(default_for_string=True)).from_string(text)
    return template.render(title=title, words=words, coloured=coloured, data=written).encode()


def _sheet(thumbs: NDArray[np.uint8]) -> tuple[str, int, NDArray[np.uint8]]:
    """All thumbnails as one picture in a data URL, PNG if they are small, else JPEG; its columns, and the thumbnails in it."""
    from PIL import Image

    side = thumbs.shape[1]
    columns = int(np.ceil(np.sqrt(len(thumbs))))
    while columns * side > _LARGEST:  # of many thumbnails every second pixel is enough
        thumbs = thumbs[:, ::2, ::2]
        side = thumbs.shape[1]
    rows = -(-len(thumbs) // columns)
    whole = np.full((rows * columns, *thumbs.shape[1:]), 255, np.uint8)
    whole[: len(thumbs)] = thumbs
    # (rows · columns, side, side, planes) -> (rows · side, columns · side, planes)
    tiled = whole.reshape(rows, columns, side, side, -1).swapaxes(1, 2).reshape(rows * side, columns * side, -1)
    picture = Image.fromarray(tiled[..., 0] if tiled.shape[2] == 1 else tiled)
    kind = "png" if side <= 32 else "jpeg"
    file = io.BytesIO()
    picture.save(file, kind, **({"optimize": True} if kind == "png" else {"quality": 82}))
    return f"data:image/{kind};base64,{base64.b64encode(file.getvalue()).decode()}", columns, thumbs


def _short(values: NDArray[np.float64]) -> list[float]:
    return [float(f"{value:.5g}") for value in values.tolist()]


def _ends(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.array([values.min(), values.max()])
