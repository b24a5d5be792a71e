# SPDX-License-Identifier: Apache-2.0
"""Answers as rows and files: masks with a palette, overlays, probabilities, run lengths, polygons, and tables of objects."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pellucid.data.inspection.tiles import colours
from pellucid.data.scales import Scale
from pellucid.data.targets import VOID
from pellucid.tasks.segment import objects, outlines
from pellucid.tasks.segment.options import SegmentOptions

__all__ = ["mask_file", "overlay", "palette", "row", "written"]

_VOID = (255, 255, 255)
_SHARE = 0.55  # of a class's colour in an overlay
_LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601

Classes = NDArray[np.uint8]  # (H, W)


def palette(classes: Sequence[str], known: Sequence[int] = ()) -> NDArray[np.uint8]:
    """(256, 3): the colour of each class: the data's own, else black for a first class "background"; void is white.

    >>> palette(["background", "cat"])[[0, 1, 255]].tolist()
    [[0, 0, 0], [255, 45, 85], [255, 255, 255]]
    >>> palette(["cat"], [0x8000FF])[0].tolist()
    [128, 0, 255]
    """
    shown = np.zeros((256, 3), np.uint8)
    first = int(_has_background(classes))
    for index, colour in enumerate(colours([f"{i} {name}" for i, name in enumerate(classes[first:])]).values(), first):
        shown[index] = tuple(bytes.fromhex(colour[1:]))
    if len(known) == len(classes):
        shown[: len(known)] = [tuple(colour.to_bytes(3, "big")) for colour in known]
    shown[VOID] = _VOID
    return shown


def _has_background(classes: Sequence[str]) -> bool:
    return tuple(classes[:1]) == ("background",)


def mask_file(mask: Classes, classes: Sequence[str], known: Sequence[int] = ()) -> bytes:
    """A mask (H, W) as a PNG whose numbers are the classes, shown in their colours."""
    from PIL import Image

    picture = Image.fromarray(mask, "L").convert("P")
    picture.putpalette(palette(classes, known).tobytes())
    return _png(picture)


def _png(picture: Any) -> bytes:
    file = io.BytesIO()
    picture.save(file, "PNG")
    return file.getvalue()


def overlay(
    image: NDArray[np.floating[Any]], mask: Classes, classes: Sequence[str], known: Sequence[int] = ()
) -> NDArray[np.float32]:
    """An image (C, H, W) in [0, 1] with its classes in colour, (H, W, 3); the background and void stay as they are.

    >>> overlay(np.zeros((1, 1, 2)), np.array([[0, 1]], np.uint8), ["background", "cat"])[0].tolist()
    [[0.0, 0.0, 0.0], [0.55..., 0.09..., 0.18...]]
    """
    planes = np.broadcast_to(image, (3, *image.shape[1:])).transpose(1, 2, 0)
    bare = (mask == VOID) | ((mask == 0) & _has_background(classes))
    share = np.where(bare, 0, _SHARE)[..., None].astype(np.float32)
    return np.asarray(planes * (1 - share) + palette(classes, known)[mask] / np.float32(255) * share, np.float32)


def row(name: str, mask: Classes, classes: Sequence[str], known: Sequence[int] = ()) -> dict[str, Any]:
    """The row of an image: the share of its pixels that each class has, and the mask."""
    counts = np.bincount(mask.ravel(), minlength=len(classes))[: len(classes)]
    shares = {title: round(float(count) / mask.size, 6) for title, count in zip(classes, counts, strict=True)}
    return {"name": name, "shares": shares, "content": mask_file(mask, classes, known), "suffix": ".png"}


def written(
    image: NDArray[np.float32],
    mask: Classes,
    shares: NDArray[np.float32],
    name: str,
    classes: Sequence[str],
    options: SegmentOptions,
    scale: Scale | None = None,
    known: Sequence[int] = (),
) -> dict[str, Any]:
    """The row of an image with all forms that are asked for, and the rows of its objects.

    Args:
        image: (C, H, W) in [0, 1].
        mask: (H, W) of classes.
        shares: (K, H, W) probabilities.
        name: of the image.
        classes: names.
        options: what is asked for.
        scale: what is black and white in images of more than 8 bits.
        known: colours of the classes, 0xRRGGBB.
    """
    made = row(name, mask, classes, known)
    found: objects.Found | None = None
    if options.objects:
        chosen = options.chosen(classes)
        found = objects.found(mask, shares, chosen, options.touching, options.least, options.neck)
        counts = np.bincount(found.classes, minlength=len(classes))
        made["objects"] = {classes[kind]: int(counts[kind]) for kind in chosen}
        rows = objects.table(found, _grey(image, scale), name, classes, options.pixel_size)
        made["tables"] = {objects.TABLE: rows}
    files: dict[str, bytes] = {}
    for form in options.also:
        if form == "overlay":
            files[form] = _overlay_file(image, mask, classes, found, known)
        elif form == "probabilities":
            files[form] = _probabilities_file(shares, classes)
        else:
            regions = list(_regions(mask, shares, found))
            files[form] = _rle_file(regions, classes, name) if form == "rle" else _polygon_file(regions, classes, known)
    return made | {"files": files} if files else made


def _grey(image: NDArray[np.float32], scale: Scale | None) -> NDArray[np.float64]:
    """(H, W): the brightness, in the image's own values: 0 to 255, or those of its scale."""
    planes = image.astype(np.float64)
    unit = planes[0] if len(planes) == 1 else np.tensordot(np.array(_LUMA), planes, 1)
    return unit * 255 if scale is None else scale.low + unit * (scale.high - scale.low)


def _overlay_file(
    image: NDArray[np.float32],
    mask: Classes,
    classes: Sequence[str],
    found: objects.Found | None,
    known: Sequence[int],
) -> bytes:
    """The image with its classes in colour, and with the objects' borders in white where they were told apart."""
    from PIL import Image
    from skimage.segmentation import find_boundaries

    shown = overlay(image, mask, classes, known)
    if found is not None and len(found):
        shown[find_boundaries(found.labels, connectivity=2, mode="inner")] = 1.0
    return _png(Image.fromarray((shown.clip(0, 1) * 255).round().astype(np.uint8)))


def _probabilities_file(shares: NDArray[np.float32], classes: Sequence[str]) -> bytes:
    """ "probabilities" (K, H, W) float16 and "classes" (K,)."""
    file = io.BytesIO()
    np.savez_compressed(file, probabilities=shares.astype(np.float16), classes=np.array(classes, np.str_))
    return file.getvalue()


def _regions(
    mask: Classes, shares: NDArray[np.float32], found: objects.Found | None
) -> Iterator[tuple[int, int, NDArray[np.bool_], float]]:
    """Number, class, pixels (H, W) and mean probability of each object, else of each class that occurs."""
    if found is not None:
        for number, (kind, score) in enumerate(zip(found.classes, found.scores, strict=True), 1):
            yield number, int(kind), found.labels == number, float(score)
        return
    for number, kind in enumerate(np.unique(mask).tolist(), 1):
        region = mask == kind
        yield number, kind, region, float(shares[kind][region].mean())


def _rle_file(regions: Sequence[tuple[int, int, NDArray[np.bool_], float]], classes: Sequence[str], name: str) -> bytes:
    """A list as COCO's results are: a region's class, its run lengths, its box (x, y, width, height), area and score."""
    rows = []
    for _, kind, region, score in regions:
        down, right = np.flatnonzero(region.any(1)), np.flatnonzero(region.any(0))
        box = [int(right[0]), int(down[0]), int(right[-1] - right[0] + 1), int(down[-1] - down[0] + 1)]
        rows.append(
            {
                "image": name,
                "category_id": kind,
                "category": classes[kind],
                "segmentation": outlines.run_lengths(region),
                "bbox": box,
                "area": int(region.sum()),
                "score": round(score, 6),
            }
        )
    return json.dumps(rows, ensure_ascii=False, indent=0).encode()


def _polygon_file(
    regions: Sequence[tuple[int, int, NDArray[np.bool_], float]], classes: Sequence[str], known: Sequence[int]
) -> bytes:
    """GeoJSON (RFC 7946) in px, with y downwards: a feature for each object, else for each connected part of a class."""
    shown = palette(classes, known)
    features = []
    for number, kind, region, score in regions:
        for polygon in outlines.polygons(region):
            about = {
                "class": classes[kind],
                "object": number,
                "probability": round(score, 6),
                # as QuPath reads it
                "classification": {"name": classes[kind], "color": shown[kind].tolist()},
            }
            geometry = {"type": "Polygon", "coordinates": polygon}
            features.append({"type": "Feature", "geometry": geometry, "properties": about})
    return json.dumps({"type": "FeatureCollection", "features": features}, ensure_ascii=False).encode()
