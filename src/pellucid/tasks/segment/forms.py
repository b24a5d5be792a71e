# SPDX-License-Identifier: Apache-2.0
"""Answers as rows and files: a mask with a palette."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pellucid.data.inspection.tiles import colours
from pellucid.data.targets import VOID

__all__ = ["mask_file", "palette", "row"]

_BACKGROUND, _VOID = (0, 0, 0), (255, 255, 255)

Classes = NDArray[np.uint8]  # (H, W)


def palette(classes: Sequence[str]) -> NDArray[np.uint8]:
    """(256, 3): the colour of each class, black for a first class "background", and white for void.

    >>> palette(["background", "cat"])[[0, 1, 255]].tolist()
    [[0, 0, 0], [255, 45, 85], [255, 255, 255]]
    """
    found = np.zeros((256, 3), np.uint8)
    first = int(tuple(classes[:1]) == ("background",))
    shown = colours([f"{i} {name}" for i, name in enumerate(classes[first:])])
    for index, colour in enumerate(shown.values(), first):
        found[index] = tuple(bytes.fromhex(colour[1:]))
    found[VOID] = _VOID
    return found


def mask_file(mask: Classes, classes: Sequence[str]) -> bytes:
    """A mask (H, W) as a PNG whose numbers are the classes, shown in their colours."""
    from PIL import Image

    picture = Image.fromarray(mask).convert("P")
    picture.putpalette(palette(classes).tobytes())
    file = io.BytesIO()
    picture.save(file, "PNG", optimize=False)
    return file.getvalue()


def row(name: str, mask: Classes, classes: Sequence[str]) -> dict[str, Any]:
    """The row of an image: the share of its pixels that each class has, and the mask."""
    counts = np.bincount(mask.ravel(), minlength=len(classes))[: len(classes)]
    shares = {title: round(float(count) / mask.size, 6) for title, count in zip(classes, counts, strict=True)}
    return {"name": name, "shares": shares, "content": mask_file(mask, classes), "suffix": ".png"}
