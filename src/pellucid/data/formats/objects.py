# SPDX-License-Identifier: Apache-2.0
"""The column `objects` of metadata tables and of Hugging Face's datasets: boxes of one image with their categories."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from numpy.typing import NDArray

from pellucid.data.annotations.mending import Mended
from pellucid.data.annotations.reading import Fault, number, numbers, shown
from pellucid.data.annotations.records import Annotated, Instance
from pellucid.errors import DataError
from pellucid.files import as_text

__all__ = ["NOTE", "doubts", "instances_of", "mended_objects", "object_classes", "plain_text", "with_names"]

NOTE = "Boxes of objects are read as x, y, width and height in px."

_CATEGORIES = ("category", "categories", "category_id", "label", "labels")


def plain_text(value: Any) -> str:
    """A label as text: whole numbers without a decimal point, whatever their type.

    >>> plain_text(2.0), plain_text(2), plain_text("cell")
    ('2', '2', 'cell')
    """
    return as_text(str(int(value)) if isinstance(value, float) and value.is_integer() else str(value))


def instances_of(cell: Any, name: str, where: str) -> tuple[Instance, ...]:
    """The objects of an image as written: a dictionary of lists, a list of dictionaries, or JSON text of either.

    >>> instances_of({"bbox": [[1, 2, 3, 4]], "category": ["cell"]}, "a.png", "table")[0].box
    (1.0, 2.0, 4.0, 6.0)

    Args:
        cell: what a row has in the column.
        name: the image's, for errors.
        where: the dataset's name, for errors.

    Raises:
        DataError: it is none of these.
    """
    try:
        objects = json.loads(cell) if isinstance(cell, str) else cell
        if isinstance(objects, list):
            if not all(isinstance(one, Mapping) for one in objects):
                raise Fault(f"it is {shown(objects)}")
            objects = {key: [one.get(key) for one in objects] for key in (objects[0] if objects else ())}
        if not isinstance(objects, Mapping):
            raise Fault(f"it is {shown(objects)}")
        boxes = _list(objects.get("bbox", objects.get("bboxes")) or [], "bbox")
        key = next((key for key in _CATEGORIES if key in objects), None)
        titles = ["object"] * len(boxes) if key is None else _names(objects[key])
        crowds = [
            bool(number(flag or 0, "iscrowd")) for flag in _list(objects.get("iscrowd") or [0] * len(boxes), "iscrowd")
        ]
        if not len(titles) == len(boxes) == len(crowds):
            raise Fault(f"it has {len(boxes)} boxes and {len(titles)} categories")
        made = []
        for i, (box, title, crowd) in enumerate(zip(boxes, titles, crowds, strict=True)):
            sides = numbers(box, "a box", finite=False).tolist()
            if len(sides) != 4:
                raise Fault(f"a box is {shown(box)}")
            left, top, width, height = sides
            made.append(Instance(title, (left, top, left + width, top + height), crowd=crowd, place=f"object {i + 1}"))
    except (ValueError, RecursionError) as fault:
        said = (
            "it is nested too deeply" if isinstance(fault, RecursionError) else str(fault).splitlines()[0].rstrip(".")
        )
        raise DataError(
            f"data={where!r}: objects of {name!r} cannot be parsed ({said}); give bbox as [x, y, width, height] "
            "lists in px and as many names in category."
        ) from fault
    return tuple(made)


def _list(value: Any, title: str) -> Sequence[Any]:
    if not isinstance(value, (list, tuple)):
        raise Fault(f"{title} is {shown(value)}, not a list")
    return value


def _names(titles: Any) -> list[str]:
    if not isinstance(titles, (list, tuple)) or not all(isinstance(one, (str, int, float)) for one in titles):
        raise Fault("category is not a list of names")
    return [plain_text(one) for one in titles]


def mended_objects(
    cells: Sequence[Any], names: Sequence[str], sizes: NDArray[Any], part: str, where: str, mended: Mended
) -> list[Annotated]:
    """The objects of a split's images as they are compared with these: clipped, sorted or dropped, which `mended` counts.

    Args:
        cells: one per image; None where it has no object.
        names: the images' names.
        sizes: (N, 2) heights and widths in px.
        part: the split.
        where: the dataset's name.
        mended: what was mended and dropped so far.
    """
    records = []
    for cell, name, (height, width) in zip(cells, names, sizes.tolist(), strict=True):
        written = () if cell is None else instances_of(cell, name, where)
        record = Annotated(name, written, (int(height), int(width)), part, where)
        records.append(record.replace(instances=mended.instances(record, name, (int(height), int(width)))))
    return records


def doubts(mended: Mended) -> list[str]:
    """A sentence if so many boxes reach beyond their images that they may be written by another rule."""
    beyond = mended.count("clipped") + mended.count("outside")
    if beyond < 3 or 3 * beyond < mended.kept:
        return []
    return [
        f"{beyond:,} of {mended.kept + mended.count('outside'):,} boxes reach beyond their images: bbox may hold two corners, "
        "x0, y0, x1, y1; write x, y, width and height."
    ]


# -- names of categories


def object_classes(feature: Any) -> list[str] | None:
    """The names of the categories in the description of a column `objects`, as `Features.to_dict` gives it; None without any.

    >>> object_classes({"feature": {"bbox": {}, "category": {"names": ["a", "b"], "_type": "ClassLabel"}}, "_type": "Sequence"})
    ['a', 'b']
    """
    while isinstance(feature, (list, Mapping)):
        if isinstance(feature, list):
            feature = feature[0] if feature else None
        elif key := next((key for key in _CATEGORIES if isinstance(feature.get(key), (list, Mapping))), None):
            feature = feature[key]
        elif isinstance(names := feature.get("names"), list):
            return [as_text(one) for one in names] if all(isinstance(one, str) for one in names) else None
        else:
            feature = feature.get("feature")
    return None


def with_names(cell: Any, names: Sequence[str], name: str, where: str) -> Any:
    """Objects with the names of their categories in place of their numbers.

    Raises:
        DataError: a category is neither one of the names nor the position of one.
    """

    def named(value: Any) -> Any:
        if isinstance(value, (list, tuple)):
            return [named(one) for one in value]
        if isinstance(value, str) and as_text(value) in names:
            return value
        if isinstance(value, (int, float)) and not isinstance(value, bool) and value in range(len(names)):
            return names[int(value)]
        raise DataError(
            f"data={where!r}: objects of {name!r} have category {shown(value)}, but names for {len(names)} classes; "
            f"give 0 to {len(names) - 1}."
        )

    if isinstance(cell, list) and all(isinstance(one, Mapping) for one in cell):
        return [with_names(one, names, name, where) for one in cell]
    if not isinstance(cell, Mapping):
        return cell
    key = next((key for key in _CATEGORIES if key in cell), None)
    return cell if key is None or cell[key] is None else {**cell, key: named(cell[key])}
