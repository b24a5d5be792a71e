# SPDX-License-Identifier: Apache-2.0
"""Annotations as CVAT exports them for images: one XML with every image of a task or project.

Source: "CVAT for images 1.1" (docs.cvat.ai/docs/dataset_management/formats/xml_format).
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Hashable, Sequence
from pathlib import Path
from xml.etree.ElementTree import Element

import numpy as np
from numpy.typing import NDArray

from pellucid.data.annotations.drawn import JOINT, TURNED, Drawn, Mark, joined, labelled, merge
from pellucid.data.annotations.outlines import around, corners_of, ellipse, patch, size_of, turned
from pellucid.data.annotations.places import ImageFiles, part_of
from pellucid.data.annotations.reading import Fault, XmlFile, number, shown, xml_of
from pellucid.data.annotations.records import Annotated, Annotations, Instance
from pellucid.data.decoding.pictures import LARGEST
from pellucid.data.formats.finding import Found
from pellucid.data.problems import counted, few
from pellucid.errors import DataError
from pellucid.files import as_text

__all__ = ["FORM", "fits", "read"]

FORM = "CVAT for images"

_START = re.compile(rb"<annotations[\s>]")
_LOOKS = 5  # files with an image's name that are looked into
_BEGINNING = 4096  # bytes in which the root stands
_CORNERS = [f"{axis}{corner}{face}" for face in "12" for corner in ("tl", "bl", "tr", "br") for axis in "xy"]
_SKIPPED = frozenset({"attribute", "tag"})


def fits(path: Path, found: Found) -> Sequence[str]:
    """The XML files whose root is CVAT's; those with an image's name are mostly Pascal VOC's, so that a few of them tell."""
    names = [name for name in found.others if name.lower().endswith(".xml")]
    stems = {_stem(name) for name in found.images} if names else set()
    own = [name for name in names if _stem(name) in stems]
    looks = names if any(_is_cvat(path / name) for name in own[:_LOOKS]) else set(names) - set(own)
    return [name for name in names if name in looks and _is_cvat(path / name)]


def _stem(name: str) -> str:
    return name.rpartition("/")[2].rpartition(".")[0]


def _is_cvat(file: Path) -> bool:
    try:
        with file.open("rb") as stream:
            return bool(_START.search(stream.read(_BEGINNING).replace(b"\0", b"")))  # without the zeros of UTF-16
    except OSError:
        return False


def read(path: Path, found: Found, evidence: Sequence[str]) -> Annotations:
    """The annotations."""
    reader = _Reader(found)
    drawn = [one for name in evidence for one in reader.images(path, name)]
    images, point_names, problems = joined(drawn)
    images, more = labelled(images, [one.label for one in drawn], "Tags")
    objects = any(one.image.instances for one in drawn)
    used = {one.category for image in images for one in image.instances} | {image.label for image in images} - {None}
    marks = {mark.name.rpartition(" ")[0] or mark.name for one in drawn for mark in one.marks} | set(point_names)
    classes = [label for label in reader.labels if label in used or label not in marks | reader.tags]
    if not objects and not any(image.label for image in images):
        classes = []  # nothing, or points alone
    return Annotations(
        FORM,
        images,
        tuple(classes),
        point_names or reader.skeleton,
        problems=(*problems, *more, *reader.problems),
        notes=(*([TURNED] if reader.turned else []), *([JOINT] if reader.joint else [])),
        read=tuple(evidence),
    )


class _Reader:
    """Reads file by file and notes what it does not read."""

    def __init__(self, found: Found) -> None:
        self._files = ImageFiles(found)
        self._bare = _without_endings(found)
        self.labels: dict[str, None] = {}  # of all files, in their order
        self.tags: set[str] = set()
        self.turned = self.joint = False  # whether there were boxes that are turned, and objects of several outlines
        self._elements: dict[str, list[str]] = {}  # of each skeleton, the names of its points
        self._unread: dict[str, list[str]] = defaultdict(list)  # kind -> images, once for each shape
        self._several: list[str] = []  # images with several tags

    @property
    def skeleton(self) -> tuple[str, ...]:
        """The names of the points, where all skeletons have the same."""
        every = {tuple(names) for names in self._elements.values()}
        return next(iter(every)) if len(every) == 1 else ()

    @property
    def problems(self) -> list[str]:
        """A sentence for each kind of shape that is not read, and on images with several tags."""
        said = []
        for kind, names in self._unread.items():
            why = "without an area" if kind == "polyline" else "of a kind that is not known"
            said.append(
                f"{counted(len(names), kind)} {'is' if len(names) == 1 else 'are'} {why} and not read "
                f"({few(list(dict.fromkeys(names)))})."
            )
        if self._several:
            verb = "has" if len(self._several) == 1 else "have"
            said.append(
                f"{counted(len(self._several))} {verb} several tags, which are not read ({few(self._several)})."
            )
        return said

    def images(self, path: Path, name: str) -> list[Drawn]:
        """The images of one file.

        Raises:
            DataError: it is broken, or of a video; the sentence has its line.
        """
        xml = xml_of(path / name)
        if xml.root.tag != "annotations":
            raise xml.fault(f"its root is {shown(xml.root.tag)}, not annotations", xml.root)
        if (track := xml.root.find("track")) is not None:
            raise DataError(
                f"data={str(xml.file)!r}: has the tracks of a video in line {xml.line(track):,}; export the task as "
                "'CVAT for images 1.1'."
            )
        self._labels(xml.root)
        images = xml.root.findall("image")
        skeletons = xml.root.findall("image/skeleton")
        for skeleton in skeletons:  # in the order of the first, where the labels say nothing
            names = self._elements.setdefault(_label(xml, skeleton), [])
            names += [one for point in skeleton.findall("points") if (one := _label(xml, point)) not in names]
        return [self._image(xml, name, image) for image in images]

    def _labels(self, root: Element) -> None:
        for label in root.findall("meta//label"):
            title = as_text((label.findtext("name") or "").strip())
            parent = as_text((label.findtext("parent") or "").strip())
            if title and parent:  # a point of a skeleton
                if title not in (names := self._elements.setdefault(parent, [])):
                    names.append(title)
            elif title:
                self.labels[title] = None
                if (label.findtext("type") or "").strip() == "tag":
                    self.tags.add(title)

    def _image(self, xml: XmlFile, name: str, image: Element) -> Drawn:
        try:
            written = _required(image, "name")
            size = size_of(image.get("height"), image.get("width"))
            subset = as_text(image.get("subset") or "")
            part = part_of(subset) or part_of(name)
            file = self._find(written, name, subset, part)
        except Fault as fault:
            raise xml.fault(f"image: {fault}", image) from fault
        title = as_text(file)
        parts: list[tuple[Instance, Hashable]] = []
        marks: list[Mark] = []
        tags: list[str] = []
        for shape in image:
            if shape.tag == "tag":
                tags.append(_label(xml, shape))
            if shape.tag in _SKIPPED:
                continue
            label, group = _label(xml, shape), shape.get("group_id")
            try:
                if shape.tag == "points":
                    points = _points(shape, "points").tolist()
                    several = len(points) > 1
                    marks += [
                        Mark(f"{label} {i + 1}" if several else label, x, y, group) for i, (x, y) in enumerate(points)
                    ]
                    continue
                one = self._instance(shape, label, size)
            except Fault as fault:
                raise xml.fault(f"{shape.tag} of {title!r}: {fault}", shape) from fault
            if one is None:
                self._unread[as_text(shape.tag)].append(title)
                continue
            self.labels.setdefault(label)
            more = {**_attributes(shape), **(one.more or {})} or None
            parts.append((one.replace(category=label, place=f"line {xml.line(shape)}", more=more), group))
        if len(tags) > 1:
            self._several.append(title)
        self.tags.update(tags)
        self.labels.update(dict.fromkeys(tags))
        # a group of boxes may be two people; outlines of one group and label are parts of one object, as in CVAT's COCO
        merged, joint = merge(parts, boxes=False)
        self.joint = self.joint or joint
        record = Annotated(file, tuple(one for one, _ in merged), size, part or part_of(file.rpartition("/")[0]), name)
        return Drawn(record, tuple(group for _, group in merged), tuple(marks), tags[0] if len(tags) == 1 else None)

    def _find(self, written: str, name: str, subset: str, part: str | None) -> str:
        """The image of a name in one of the files; frames of a video have no ending."""
        folder = name.rpartition("/")[0]
        for tried in [f"{subset}/{written}", written] if subset else [written]:
            if there := self._files.find(tried, folder, part):
                return there
        clean = written.replace("\\", "/").rpartition("/")[2]
        own = self._bare.get(clean, [])
        if len(own) > 1:
            raise Fault(f"the image {written!r} can be {own[0]} or {own[1]}")
        return own[0] if own else clean[-100:] or "?"

    def _instance(self, shape: Element, label: str, size: tuple[int, int] | None) -> Instance | None:
        """What a shape shows; None for a kind that is not read."""
        if shape.tag == "box":
            x0, y0, x1, y1 = (number(_required(shape, side), side) for side in ("xtl", "ytl", "xbr", "ybr"))
            angle = number(shape.get("rotation") or 0, "rotation")
            if angle % 360 == 0:
                return Instance(box=(x0, y0, x1, y1))
            self.turned = True
            outline = turned(corners_of((x0, y0, x1, y1)), angle, ((x0 + x1) / 2, (y0 + y1) / 2))
            return Instance(box=around(outline), polygons=(outline,), more={"rotation": angle})
        if shape.tag == "polygon":
            return Instance(polygons=(_points(shape, "points"),))
        if shape.tag == "ellipse":
            x, y, rx, ry = (number(_required(shape, side), side) for side in ("cx", "cy", "rx", "ry"))
            angle = number(shape.get("rotation") or 0, "rotation")
            outline, box = ellipse((x, y), (rx, ry), angle)
            return Instance(box=box, polygons=(outline,), more={"rotation": angle} if angle else None)
        if shape.tag == "cuboid":  # the box around the eight corners as they are seen
            seen = np.array([number(_required(shape, side), side) for side in _CORNERS]).reshape(-1, 2)
            return Instance(box=around(seen))
        if shape.tag == "mask":
            return _mask(shape, size)
        if shape.tag == "skeleton":
            return self._skeleton(shape, label)
        return None

    def _skeleton(self, shape: Element, label: str) -> Instance:
        names = self._elements[label]
        xy = np.full((len(names), 2), np.nan)
        for point in shape.findall("points"):
            if point.get("outside") != "1":
                xy[names.index(as_text(_required(point, "label")))] = _points(point, "points")[0]
        return Instance(points=xy)


def _without_endings(found: Found) -> dict[str, list[str]]:
    names: dict[str, list[str]] = defaultdict(list)
    for name in found.images:
        names[_stem(name)].append(name)
    return names


def _required(element: Element, key: str) -> str:
    if (value := element.get(key)) is None:
        raise Fault(f"it has no {key}")
    return value


def _label(xml: XmlFile, element: Element) -> str:
    if not (label := element.get("label")):
        raise xml.fault(f"{element.tag} has no label", element)
    return as_text(label)


def _attributes(shape: Element) -> dict[str, str | bool]:
    """What else is said of an object: its attributes, and whether something hides a part of it."""
    named = {as_text(one.get("name") or ""): as_text((one.text or "").strip()) for one in shape.findall("attribute")}
    told: dict[str, str | bool] = {name: text for name, text in named.items() if name and name != "rotation"}
    return {**told, "occluded": True} if shape.get("occluded") == "1" else told


def _points(element: Element, key: str) -> NDArray[np.float64]:
    """Points (k, 2) from "x,y;x,y".

    Raises:
        Fault: it is something else.
    """
    text = _required(element, key)
    pairs = [pair.split(",") for pair in text.split(";")]
    if any(len(pair) != 2 for pair in pairs):
        raise Fault(f"its {key} are {shown(text)}, not pairs of numbers")
    return np.array([[number(value.strip(), f"a number of its {key}") for value in pair] for pair in pairs])


def _mask(element: Element, size: tuple[int, int] | None) -> Instance:
    """Run lengths row by row within a box, from a run outside; masks of images have no other form in CVAT."""
    left, top, width, height = (
        round(number(_required(element, side), side)) for side in ("left", "top", "width", "height")
    )
    if size is None or size[0] * size[1] > LARGEST or max(abs(left), abs(top)) > LARGEST:
        raise Fault("it is a mask, and its image has no size, or none that is possible")
    counts = [number(run, "a run of its rle") for run in _required(element, "rle").split(",")]
    if min(width, height) < 1 or width * height > LARGEST or min(counts) < 0 or sum(counts) > width * height:
        raise Fault(f"the runs of its rle do not fit its {width}×{height} px")
    runs = [int(run) for run in counts]
    flat = np.repeat(np.arange(len(runs) + 1) % 2 == 1, [*runs, 0])
    inside = np.zeros(width * height, np.bool_)
    inside[: len(flat)] = flat
    return Instance(runs=patch(inside.reshape(height, width), left, top, size))
