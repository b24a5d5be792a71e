# SPDX-License-Identifier: Apache-2.0
"""Objects: the connected regions of a class, those that touch parted by a watershed, and what is measured of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, final

import numpy as np
from numpy.typing import NDArray

__all__ = ["NECK", "TABLE", "TOUCHING", "Found", "Seen", "Touching", "columns", "found", "parted", "table"]

Touching: TypeAlias = Literal["distance", "probability", "joined"]
TOUCHING: tuple[Touching, ...] = ("distance", "probability", "joined")

TABLE = "objects.csv"
_COLUMNS = (
    "image", "object", "class", "probability", "area_px", "x", "y", "x0", "y0", "x1", "y1", "perimeter_px", "eccentricity",
    "mean_intensity",
)  # fmt: skip
_IN_UM = ("area_um2", "perimeter_um")

NECK = 0.5
"""Objects are parted where the neck between them is narrower than this share of the narrower one."""
_ODDS = 1.0  # two objects are parted where the log-odds between them fall by this below those of the less certain one
_SMOOTH = 2.0  # px, of the Gaussian over the log-odds
_LEAST_P = 1e-4

Floats = NDArray[np.floating[Any]]
Labels = NDArray[np.int32]  # (H, W), 0 where there is no object


@final
@dataclass(frozen=True)
class Found:
    """The objects of one image, numbered from 1."""

    labels: Labels
    classes: NDArray[np.int64]  # (n,) of each object
    scores: NDArray[np.float64]  # (n,) the mean probability of its class over its pixels

    def __len__(self) -> int:
        return len(self.classes)


@final
@dataclass(frozen=True)
class Seen:
    """The objects of one image: those that were found, and the true ones."""

    image: NDArray[np.float32]  # (C, H, W)
    found: Found
    true: list[NDArray[np.bool_]]  # n of (H, W); they may overlap
    classes: NDArray[np.int64]  # (n,) of the true ones
    void: NDArray[np.bool_]  # (H, W): crowds, and pixels that count for nothing


def parted(region: NDArray[np.bool_], share: Floats, touching: Touching = "distance", neck: float = NECK) -> Labels:
    """The objects of a region, numbered from 1: connected over corners too, and parted at their necks.

    With "distance", objects begin at the maxima of the distance to the border, and are parted where the way between two of
    them is less than `neck` times as wide as the narrower one (watershed on h-maxima of the distance's logarithm, so that the
    rule is the same for small and large objects; Vincent 1993 for h-maxima). With "probability", they begin at the maxima
    of the smoothed log-odds of the class, and are parted where these fall by 1 between two of them.

    >>> disc = lambda x: np.hypot(*(np.mgrid[:24, :60] - np.array([12, x])[:, None, None])) < 10
    >>> pair = disc(15) | disc(34)
    >>> [int(parted(pair, pair.astype(float), way).max()) for way in ("joined", "distance")]
    [1, 2]

    Args:
        region: (H, W).
        share: (H, W), the probability of the class.
        touching: the rule for objects that touch.
        neck: the width of the neck at which they are parted, as a share of the narrower object's; up to 1.
    """
    from scipy.ndimage import distance_transform_edt, gaussian_filter
    from skimage.measure import label

    joined = np.asarray(label(region, connectivity=2), np.int32)
    if touching == "joined" or not region.any():
        return joined
    if touching == "distance":
        # the image's frame is no border: an object that is cut by it is as wide there as it was
        height = np.log(np.maximum(distance_transform_edt(region), 0.5))
        return _flooded(height, joined, -np.log(neck))
    odds = np.clip(share.astype(np.float64), _LEAST_P, 1 - _LEAST_P)
    return _flooded(gaussian_filter(np.log(odds / (1 - odds)), _SMOOTH), joined, _ODDS)


def _flooded(height: Floats, joined: Labels, drop: float) -> Labels:
    """Watershed of −height within the regions, from the maxima that stand out by more than `drop`."""
    from skimage.measure import label
    from skimage.morphology import local_maxima, reconstruction
    from skimage.segmentation import watershed

    inside = joined > 0
    low = float(height.min()) - drop - 1
    bounded = np.where(inside, height, low)
    # the h-maxima: what stands out by less is filled up before the maxima are looked for
    filled = reconstruction(np.where(inside, height - drop, low), bounded, method="dilation")
    marks = label(local_maxima(filled, connectivity=2) & inside, connectivity=2)
    return np.asarray(watershed(-bounded, marks, mask=inside, connectivity=2), np.int32)


def found(
    mask: NDArray[np.uint8],
    shares: Floats,
    classes: Sequence[int],
    touching: Touching = "distance",
    least: int = 1,
    neck: float = NECK,
) -> Found:
    """The objects of the chosen classes of an image, by class and then from the top down.

    Args:
        mask: (H, W) of classes.
        shares: (K, H, W) probabilities.
        classes: those that have objects.
        touching: the rule for objects that touch.
        least: px; smaller objects are left out.
        neck: the width at which touching objects are parted by the distance.
    """
    labels = np.zeros(mask.shape, np.int32)
    kinds: list[int] = []
    scores: list[float] = []
    for kind in classes:
        own = parted(mask == kind, shares[kind], touching, neck)
        sizes = np.bincount(own.ravel(), minlength=1)
        sums = np.bincount(own.ravel(), shares[kind].ravel().astype(np.float64), minlength=1)
        kept = np.flatnonzero(sizes >= least)
        kept = kept[kept > 0]
        numbers = np.zeros(len(sizes), np.int32)
        numbers[kept] = np.arange(len(kinds) + 1, len(kinds) + 1 + len(kept))
        labels += numbers[own]
        kinds += [kind] * len(kept)
        scores += (sums[kept] / sizes[kept]).tolist()
    return Found(labels, np.array(kinds, np.int64), np.array(scores))


def columns(pixel_size: float | None = None) -> tuple[str, ...]:
    """The columns of the table of objects."""
    return _COLUMNS if pixel_size is None else (*_COLUMNS, *_IN_UM)


def table(
    objects: Found, grey: Floats, name: str, classes: Sequence[str], pixel_size: float | None = None
) -> list[dict[str, Any]]:
    """A row for each object: its class, area, centroid, box, perimeter, eccentricity and mean intensity.

    Places are in px from the image's upper left corner, where pixel (i, j) covers [j, j + 1) × [i, i + 1); boxes end after
    their last pixel. The perimeter is that of Benkrid & Crookes (2000) in scikit-image, and the eccentricity that of the
    ellipse with the same second moments: 0 for a circle, near 1 for a line.

    Args:
        objects: of the image.
        grey: (H, W), the image's brightness in its own units.
        name: of the image.
        classes: names.
        pixel_size: side of a pixel in µm.
    """
    from skimage.measure import regionprops_table

    if not len(objects):
        return []
    wanted = ("label", "area", "centroid", "bbox", "perimeter", "eccentricity", "intensity_mean")
    values = regionprops_table(objects.labels, grey, properties=wanted)
    rows = []
    for i, number in enumerate(values["label"].tolist()):
        row: dict[str, Any] = {
            "image": name,
            "object": number,
            "class": classes[objects.classes[number - 1]],
            "probability": round(float(objects.scores[number - 1]), 6),
            "area_px": int(values["area"][i]),
            "x": round(float(values["centroid-1"][i]) + 0.5, 3),
            "y": round(float(values["centroid-0"][i]) + 0.5, 3),
            **{side: int(values[f"bbox-{k}"][i]) for side, k in (("x0", 1), ("y0", 0), ("x1", 3), ("y1", 2))},
            "perimeter_px": round(float(values["perimeter"][i]), 3),
            "eccentricity": round(float(values["eccentricity"][i]), 5),
            "mean_intensity": round(float(values["intensity_mean"][i]), 4),
        }
        if pixel_size is not None:
            row["area_um2"] = float(f"{row['area_px'] * pixel_size**2:.6g}")
            row["perimeter_um"] = float(f"{row['perimeter_px'] * pixel_size:.6g}")
        rows.append(row)
    return rows
