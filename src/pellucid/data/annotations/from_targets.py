# SPDX-License-Identifier: Apache-2.0
"""Annotations from a dataset's targets: boxes, masks and points as objects, for datasets that were not read from annotations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np
from faster_coco_eval import mask as run_lengths
from numpy.typing import NDArray

from pellucid.data.annotations.rasters import Outlined
from pellucid.data.annotations.records import Annotated, Corners, Instance, RunLengths
from pellucid.data.dataset import Dataset, Split
from pellucid.data.masks import VOID, Masks, MaskSource
from pellucid.data.targets import Boxes, Label, Mask, Points, Text

__all__ = ["records_of"]


@final
@dataclass(frozen=True)
class _Kept(MaskSource):
    """A mask in memory."""

    classes: NDArray[np.uint8]

    @property
    def size(self) -> tuple[int, int]:
        return self.classes.shape[0], self.classes.shape[1]

    @property
    def digest(self) -> bytes:
        return self.classes.tobytes()

    def read(self) -> NDArray[np.uint8]:
        return self.classes


def records_of(dataset: Dataset, part: str, regions: bool = True) -> list[Annotated]:
    """The annotations of a split's images, in px of the upright image.

    Those that were read stay as they are. What only targets hold is added: boxes become objects; masks become the outlines
    of boxes where each connected region belongs to one, and objects of their own where there are no boxes; points go to
    the largest object. A class of the whole image and a text stay with the image, as does a mask that cannot be told by objects.

    >>> from pellucid.data.embedded.scenes import draw
    >>> scenes = draw({"train": 2, "val": 1, "test": 1})
    >>> records_of(scenes, "val")[0].instances[0].category in scenes.classes
    True

    Args:
        dataset: the dataset.
        part: train, val or test.
        regions: make objects of the classes in masks where there are no boxes; whoever takes boxes alone is misled by theirs.
    """
    split = dataset.splits[part]
    records = list(split.annotations) or _bare(split, part)
    boxes, points, label, text = (split.targets.get(kind) for kind in ("boxes", "points", "label", "text"))
    if isinstance(boxes, Boxes) and not any(one.box is not None for record in records for one in record.instances):
        records = [record.replace(instances=_of_boxes(boxes, i, dataset.classes)) for i, record in enumerate(records)]
    records = _with_masks(split, records, dataset, regions)
    if isinstance(points, Points) and not any(one.points is not None for record in records for one in record.instances):
        records = [_with_points(record, points.xy[i].numpy()) for i, record in enumerate(records)]
    if isinstance(label, Label) and dataset.classes:
        records = [
            record.replace(label=dataset.classes[k]) for record, k in zip(records, label.index.tolist(), strict=True)
        ]
    if isinstance(text, Text):
        records = [record.replace(text=line) for record, line in zip(records, text.lines, strict=True)]
    return records


def _bare(split: Split, part: str) -> list[Annotated]:
    sizes = split.images.sizes.tolist()
    names = split.names or [str(i) for i in range(len(split))]
    return [Annotated(name, (), (int(h), int(w)), part) for name, (h, w) in zip(names, sizes, strict=True)]


# -- boxes and points


def _of_boxes(boxes: Boxes, i: int, classes: Sequence[str]) -> tuple[Instance, ...]:
    crowds = [False] * len(boxes.labels[i]) if boxes.ignored is None else boxes.ignored[i].tolist()
    return tuple(
        Instance(classes[label] if label < len(classes) else str(label), _short(corners), crowd=crowd)
        for corners, label, crowd in zip(boxes.corners[i].numpy(), boxes.labels[i].tolist(), crowds, strict=True)
    )


def _short(corners: NDArray[np.float32]) -> Corners:
    """Corners as the shortest decimals that are the same in 32 bits."""
    left, top, right, bottom = (float(str(side)) for side in corners)
    return left, top, right, bottom


def _with_points(record: Annotated, xy: NDArray[np.float32]) -> Annotated:
    """The points (K, 2) at the largest object, or at one of their own."""
    if np.isnan(xy).all():
        return record
    points = np.array([[float(str(side)) for side in pair] for pair in xy])
    if not record.instances:
        low, high = np.nanmin(points, 0), np.nanmax(points, 0)
        return record.replace(instances=(Instance(box=(*low.tolist(), *high.tolist()), points=points),))
    areas = [0.0 if one.box is None else _area(one.box) for one in record.instances]
    largest = int(np.argmax(areas))
    return record.replace(
        instances=tuple(one.replace(points=points) if i == largest else one for i, one in enumerate(record.instances))
    )


def _area(box: Corners) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])


# -- masks


def _with_masks(split: Split, records: list[Annotated], dataset: Dataset, regions: bool) -> list[Annotated]:
    """The records with the outlines that masks hold; a mask that cannot be told by outlines stays with its image."""
    target = split.targets.get("mask")
    if not isinstance(target, (Mask, Masks)):
        return records
    if isinstance(target, Masks) and all(isinstance(source, Outlined) for source in target.sources):
        return records  # painted from outlines that the records have
    boxed = "boxes" in split.targets or any(record.instances for record in records)
    done = []
    for i, record in enumerate(records):
        mask = target.classes[i].numpy() if isinstance(target, Mask) else target.sources[i].read()
        own = _outlined(record, mask, dataset) if boxed else _regions(mask, dataset) if regions else None
        kept = _Kept(mask) if own is None else None
        done.append(record.replace(instances=record.instances if own is None else own, mask=kept))
    return done


def _outlined(record: Annotated, mask: NDArray[np.uint8], dataset: Dataset) -> tuple[Instance, ...] | None:
    """The objects with their regions, None where these do not make up the mask."""
    from scipy import ndimage

    numbers = {title: i + 1 for i, title in enumerate(dataset.classes)}
    regions = [np.zeros(mask.shape, np.uint8) for _ in record.instances]
    for value in np.unique(mask[mask != 0]).tolist():
        pieces, _ = ndimage.label(mask == value, np.ones((3, 3)))
        for k, where in enumerate(ndimage.find_objects(pieces), 1):
            rows, columns = where
            owners = [
                (_area(one.box), j)
                for j, one in enumerate(record.instances)
                if one.box is not None and numbers.get(one.category) == value and _holds(one.box, rows, columns)
            ]
            if not owners:
                return None
            regions[min(owners)[1]][pieces == k] = 1
    if not all(region.any() for region in regions):
        return None
    return tuple(one.replace(runs=_runs(region)) for one, region in zip(record.instances, regions, strict=True))


def _holds(box: Corners, rows: slice, columns: slice) -> bool:
    """Whether a region lies in a box, up to a pixel."""
    left, top, right, bottom = box
    return bool(
        columns.start >= left - 1 and rows.start >= top - 1 and columns.stop <= right + 1 and rows.stop <= bottom + 1
    )


def _regions(mask: NDArray[np.uint8], dataset: Dataset) -> tuple[Instance, ...] | None:
    """One object for each class in a mask; pixels of no class are a crowd. None where a number has no name."""
    names = dataset.mask_classes
    background = not names or names[0] == "background"
    found = []
    for value in np.unique(mask).tolist():
        if value == 0 and background:
            continue
        if value != VOID and names and value >= len(names):
            return None
        # a crowd counts for no class, but must have one
        title = (names[-1] if names else "1") if value == VOID else names[value] if names else str(value)
        region = (mask == value).astype(np.uint8)
        inside_rows, inside_columns = np.flatnonzero(region.any(1)), np.flatnonzero(region.any(0))
        box = (
            float(inside_columns[0]), float(inside_rows[0]), float(inside_columns[-1] + 1), float(inside_rows[-1] + 1),
        )  # fmt: skip
        found.append(Instance(title, box, runs=_runs(region), crowd=value == VOID))
    return tuple(found)


def _runs(region: NDArray[Any]) -> RunLengths:
    packed = run_lengths.encode(np.asfortranarray(region.astype(np.uint8)))
    return RunLengths((region.shape[0], region.shape[1]), packed["counts"].decode())
