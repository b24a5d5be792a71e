# SPDX-License-Identifier: Apache-2.0
"""Annotations as LabelMe writes them: a JSON beside every image, with the shapes that were drawn on it.

Source: LabelMe's files as of version 5 and 6 (github.com/wkentaro/labelme); X-AnyLabeling adds `rotation` and `difficult`.
"""

from __future__ import annotations

import base64
import io
import math
from collections import defaultdict
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pellucid.data.annotations.drawn import JOINT, Drawn, Mark, joined, labelled, merge, natural
from pellucid.data.annotations.outlines import around, ellipse, pairs, patch, size_of
from pellucid.data.annotations.places import ImageFiles, kin, part_of
from pellucid.data.annotations.reading import Fault, json_fault, json_of, required, shown
from pellucid.data.annotations.records import Annotated, Annotations, Instance, RunLengths
from pellucid.data.decoding.pictures import LARGEST
from pellucid.data.formats.finding import Found
from pellucid.data.problems import counted, few
from pellucid.errors import DataError
from pellucid.files import as_text

__all__ = ["FORM", "fits", "read"]

FORM = "LabelMe"

_KEYS = (b'"shapes"', b'"imagePath"', b'"imageData"')
_ENDS = 4096  # bytes at either end of a file in which one of the keys stands: what lies between may be the image
_TRIES = 20  # files of another kind in a folder, after which no more of them are looked into
_LINES = frozenset({"line", "linestrip"})


def fits(path: Path, found: Found) -> Sequence[str]:
    """The JSON files of LabelMe, and in their folders those that have an image's name."""
    by_folder: dict[str, list[str]] = defaultdict(list)
    for name in found.others:
        if name.lower().endswith(".json"):
            by_folder[_folder(name)].append(name)
    stems = {_stem(name) for name in found.images} if by_folder else set()
    evidence = []
    for names in by_folder.values():
        own: list[str] = []
        for i, name in enumerate(names):
            if i - len(own) >= _TRIES and not own:
                break
            if _is_labelme(path / name):
                own.append(name)
        # one that broke shows no keys, and must be named rather than left out
        evidence += [name for name in names if name in set(own) or _stem(name) in stems] if own else []
    return evidence


def _is_labelme(file: Path) -> bool:
    try:
        with file.open("rb") as stream:
            ends = stream.read(_ENDS)
            if stream.seek(0, io.SEEK_END) > _ENDS:
                stream.seek(-_ENDS, io.SEEK_END)
                ends += stream.read()
    except OSError:
        return False
    ends = ends.replace(b"\0", b"")  # UTF-16
    return any(key in ends for key in _KEYS)


def read(path: Path, found: Found, evidence: Sequence[str]) -> Annotations:
    """The annotations; a single file means all of its form, in its folder or in those of the other splits."""
    if len(evidence) == 1:
        near = kin(evidence[0])
        evidence = [name for name in fits(path, found) if kin(name) == near] or evidence
    reader = _Reader(path, found)
    drawn = [reader.image(name) for name in evidence]
    reader.check(drawn)
    images, point_names, problems = joined(drawn)
    labels, unread = reader.labels()
    images, more = labelled(images, labels, "Flags")
    used = natural([one.category for image in images for one in image.instances])
    pointed = bool(point_names) and not any(one.image.instances for one in drawn)
    return Annotations(
        FORM,
        images,
        () if pointed or not used else used,
        point_names,
        problems=(*problems, *more, *unread, *reader.problems),
        notes=(JOINT,) if reader.joint else (),
        read=tuple(evidence),
    )


def _folder(name: str) -> str:
    return name.rpartition("/")[0]


def _stem(name: str) -> str:
    return name.rpartition("/")[2].rpartition(".")[0]


class _Reader:
    """Reads file by file and notes what it does not read."""

    def __init__(self, path: Path, found: Found) -> None:
        self._path, self._files = path, ImageFiles(found)
        self._beside: dict[tuple[str, str], list[str]] = defaultdict(list)
        for name in found.images:
            self._beside[_folder(name), _stem(name)].append(name)
        self._corresponding: dict[str, list[str]] = defaultdict(list)
        for name in found.images:
            self._corresponding[_stem(name)].append(name)
        self._every = frozenset(found.images)
        self._unread: dict[str, list[str]] = defaultdict(list)  # type of shape -> files, once for each shape
        self.joint = False  # whether shapes of a group were put together
        self._inside: list[str] = []  # files that hold their image, which is not there
        self._flags: list[list[str]] = []  # of each file, those that are true

    @property
    def problems(self) -> list[str]:
        """A sentence for each kind of shape that is not read, and on images that lie inside the files."""
        said = []
        for kind, names in self._unread.items():
            why = "without an area" if kind in _LINES else "of a kind that is not known"
            said.append(
                f"{counted(len(names), 'shape')} of type {kind!r} {'is' if len(names) == 1 else 'are'} {why} and not read "
                f"({few(list(dict.fromkeys(names)))})."
            )
        if self._inside:
            held = "holds its image inside" if len(self._inside) == 1 else "hold their images inside"
            said.append(
                f"{counted(len(self._inside), 'file')} {held} (imageData), which is not read ({few(self._inside)}); save the image "
                "beside the file under the name in imagePath, as labelme_export_json does."
            )
        return said

    def check(self, drawn: Sequence[Drawn]) -> None:
        """Refuse files whose images all lie inside them.

        Raises:
            DataError: no image is there.
        """
        if self._inside and not any(one.image.file in self._every for one in drawn):
            raise DataError(
                f"data={str(self._path)!r}: has its images only inside the files of LabelMe, the first in {as_text(self._inside[0])}; "
                "save each beside its file under the name in imagePath, as labelme_export_json does."
            )

    def labels(self) -> tuple[list[str | None], list[str]]:
        """Each image's class, which is its only true flag where every image has exactly one; and a sentence if not."""
        if all(len(own) == 1 for own in self._flags):
            return [own[0] for own in self._flags], []
        nothing: list[str | None] = [None] * len(self._flags)
        names = natural([flag for own in self._flags for flag in own])
        said = f"Flags are not read as classes, as not every image has exactly one ({few(names)})."
        return nothing, [said] if names else []

    def image(self, name: str) -> Drawn:
        """One file.

        Raises:
            DataError: it is broken; the sentence has its line.
        """
        file = self._path / name
        content = json_of(file)
        try:
            shapes = required(content, "shapes", "the file")
            size = size_of(content.get("imageHeight"), content.get("imageWidth"))
            if not isinstance(shapes, list):
                raise Fault(f"shapes is {shown(shapes)}, not a list")
            image = self._image(name, content.get("imagePath"))
        except Fault as fault:
            raise json_fault(file, fault) from fault
        flags = content.get("flags")
        own_flags = [as_text(flag) for flag, on in flags.items() if on is True] if isinstance(flags, Mapping) else []
        self._flags.append(own_flags)
        if image not in self._every and content.get("imageData"):
            self._inside.append(name)
        parts: list[tuple[Instance, Hashable]] = []
        marks: list[Mark] = []
        for i, shape in enumerate(shapes):
            try:
                self._shape(name, shape, size, f"shape {i + 1}", parts, marks)
            except Fault as fault:
                raise json_fault(file, f"shape {i + 1}: {fault}", "shapes", i) from fault
        merged, joint = merge(parts)
        self.joint = self.joint or joint
        record = Annotated(
            image, tuple(one for one, _ in merged), size, part_of(_folder(image)) or part_of(_folder(name)), name
        )
        return Drawn(record, tuple(group for _, group in merged), tuple(marks))

    def _image(self, name: str, written: Any) -> str:
        """The image of a file: its own name beside it counts before the path that is written in it.

        Raises:
            Fault: several images can be meant.
        """
        folder = _folder(name)
        base = written.replace("\\", "/").rpartition("/")[2] if isinstance(written, str) else ""
        own = self._beside[folder, _stem(name)]
        if len(own) > 1:
            meant = [one for one in own if one.rpartition("/")[2] == base]
            if not meant:
                raise Fault(f"the image can be {own[0]} or {own[1]}, and imagePath names neither")
            own = meant
        if own:
            return own[0]
        if base and (there := self._files.find(written, folder, part_of(folder))):
            return there
        same = [one for one in self._corresponding[_stem(name)] if _parts_agree(one, folder)]
        if len(same) > 1:
            raise Fault(f"the image can be {same[0]} or {same[1]}")
        if same:
            return same[0]
        return f"{folder}/{(base or _stem(name))[-100:]}".lstrip("/")

    def _shape(
        self,
        name: str,
        shape: Any,
        size: tuple[int, int] | None,
        place: str,
        parts: list[tuple[Instance, Hashable]],
        marks: list[Mark],
    ) -> None:
        label = required(shape, "label", "it")
        if isinstance(label, bool) or not isinstance(label, (str, int)) or label == "":
            raise Fault(f"its label is {shown(label)}, not a name")
        label, group = as_text(str(label)), shape.get("group_id")
        if isinstance(group, (list, dict)):
            raise Fault(f"its group_id is {shown(group)}, not a number")
        kind = shape.get("shape_type") or "polygon"
        if not isinstance(kind, str):
            raise Fault(f"its shape_type is {shown(kind)}, not a name")
        points = pairs(required(shape, "points", "it"))
        if kind in {"point", "points"}:
            several = len(points) > 1
            marks += [
                Mark(f"{label} {i + 1}" if several else label, x, y, group) for i, (x, y) in enumerate(points.tolist())
            ]
            return
        one = _instance(kind, points, shape, size)
        if one is None:
            self._unread[as_text(kind)].append(name)
            return
        parts.append((one.replace(category=label, crowd=shape.get("difficult") is True, place=place), group))


def _parts_agree(image: str, folder: str) -> bool:
    """Whether nothing says that an image is of another split than the annotations of a folder."""
    own, other = part_of(_folder(image)), part_of(folder)
    return own is None or other is None or own == other


def _instance(
    kind: str, points: NDArray[np.float64], shape: Mapping[str, Any], size: tuple[int, int] | None
) -> Instance | None:
    """What a shape shows; None for a kind that is not read.

    Raises:
        Fault: it has the wrong number of points, or a mask that cannot be read.
    """
    if kind == "polygon":
        return Instance(polygons=(points,))
    if kind == "rectangle":
        _expect(points, kind, 2, 4)
        # two opposite corners in any order: which were exchanged is of no interest, as the tool writes them as drawn
        return Instance(box=around(points))
    if kind in {"rotation", "oriented_rectangle"}:
        _expect(points, kind, 4)
        (x0, y0), (x1, y1) = points[:2].tolist()
        angle = math.degrees(math.atan2(y1 - y0, x1 - x0)) % 360
        return Instance(box=around(points), polygons=(points,), more={"rotation": angle})
    if kind == "circle":
        _expect(points, kind, 2)
        centre, edge = points.tolist()
        radius = math.dist(centre, edge)
        outline, box = ellipse((centre[0], centre[1]), (radius, radius))
        return Instance(box=box, polygons=(outline,))
    if kind == "mask":
        _expect(points, kind, 2)
        return Instance(runs=_mask(points, shape.get("mask"), size))
    return None


def _expect(points: NDArray[np.float64], kind: str, *counts: int) -> None:
    if len(points) not in counts:
        wanted = " or ".join(str(n) for n in counts)
        raise Fault(f"a {kind} has {wanted} points, and it has {len(points)}")


def _mask(points: NDArray[np.float64], encoded: Any, size: tuple[int, int] | None) -> RunLengths:
    """A painted mask: a PNG of the box whose first and last pixels are the two points."""
    from PIL import Image

    if size is None or size[0] * size[1] > LARGEST:
        raise Fault("it is a mask, and the file has no imageHeight and imageWidth, or none that is possible")
    try:
        if not isinstance(encoded, str):
            raise ValueError(f"it is {shown(encoded)}")
        with Image.open(io.BytesIO(base64.b64decode(encoded)), formats=("PNG",)) as picture:
            inside = np.asarray(picture.convert("L")) > 0
    except Exception as fault:  # Pillow raises many kinds
        reason = (str(fault).splitlines() or [type(fault).__name__])[0][:80]
        raise Fault(f"its mask is no PNG in base64 ({reason})") from fault
    if np.abs(points).max() > 10**9:
        raise Fault("its points lie far outside any image")
    (left, top), (right, bottom) = np.round(points).astype(np.int64).tolist()
    if (points == np.trunc(points)).all():
        inside = inside[: max(bottom - top + 1, 0), : max(right - left + 1, 0)]
    return patch(inside, left, top, size)
