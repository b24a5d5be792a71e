# SPDX-License-Identifier: Apache-2.0
"""COCO: one JSON a split with `images`, `annotations` and `categories`; https://cocodataset.org/#format-data."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, final

from pellucid.data.annotations.coco_values import Category, Key, category_of, instance, key_of, size_of
from pellucid.data.annotations.places import ImageFiles, inside, part_of
from pellucid.data.annotations.reading import Fault, broken, json_fault, json_of, required, shown
from pellucid.data.annotations.records import Annotated, Annotations, Instance
from pellucid.data.formats.finding import Found
from pellucid.data.problems import counted, few
from pellucid.errors import DataError
from pellucid.files import as_text

__all__ = ["FORM", "fits", "read"]

FORM = "COCO"

_FIRST, _MORE = 4096, 1 << 16  # bytes read of a file to see whether it is COCO
_TOP = re.compile(r'"(?:images|annotations|categories|info|licenses)"\s*:')
_KEYS = {
    "images": re.compile(r'"images"\s*:\s*\['),
    "annotations": re.compile(r'"annotations"\s*:\s*\['),
    "categories": re.compile(r'"categories"\s*:\s*\['),
}
_OWN = re.compile(r'"(?:file_name|image_id|category_id)"\s*:')


def fits(path: Path, found: Found) -> Sequence[str]:
    """The COCO files below a folder, by the keys at their beginnings and ends."""
    return [name for name in found.others if name.lower().endswith(".json") and _is_coco(path / name)]


def _is_coco(file: Path) -> bool:
    try:
        with file.open("rb") as stream:
            start = stream.read(_FIRST)
            text = _decoded(start)
            if not text.startswith("{") or not _TOP.search(text):
                return False
            text = _decoded(start + stream.read(_MORE))
            if (more := file.stat().st_size - stream.tell()) > 0:
                stream.seek(-min(more, _MORE), 2)
                text += " " + stream.read().decode("utf-8", "replace")
    except OSError:
        return False
    keys = [key for key, pattern in _KEYS.items() if pattern.search(text)]
    return len(keys) > 1 or (bool(keys) and keys != ["categories"] and bool(_OWN.search(text)))


def _decoded(content: bytes) -> str:
    wide = content[:2] in (b"\xff\xfe", b"\xfe\xff")
    return content.decode("utf-16" if wide else "utf-8-sig", "replace").lstrip()


def read(path: Path, found: Found, evidence: Sequence[str]) -> Annotations:
    """The annotations of all splits.

    Images are found by name (`ImageFiles`). The split comes from a word in the JSON's name or folder, else from the images'
    folders. One file named by the user brings those of the other splits with it, whose names differ in that word alone.

    Raises:
        DataError: a file is broken, or two annotate the same images.
    """
    every = fits(path, found)
    if set(evidence) < set(every):
        kinds = {_without_part(name) for name in evidence if part_of(name) is not None}
        evidence = [name for name in every if name in evidence or _without_part(name) in kinds]
    for name in _beside(evidence, found):
        json_of(path / name)  # an empty or cut file of a split would leave this split to be taken from another
    files = ImageFiles(found)
    documents = []
    problems: list[str] = []
    for name in evidence:
        document = _Document(path, name, files)
        problems += document.problems
        if document.why:
            problems.append(document.why)
        else:
            documents.append(document)
    if not documents:
        raise DataError(f"data={str(path)!r}: has no objects in its annotations ({problems[-1]}); give instances.")
    _check_apart(path, documents)
    categories = [category for document in documents for category in document.categories.values()]
    used = {one.category for document in documents for image in document.images for one in image.instances}
    groups = {one.above for one in categories if one.above != one.name} - used
    classes = tuple(dict.fromkeys(one.name for one in categories if one.name not in groups))
    notes = [note for document in documents for note in document.notes]
    if left := list(dict.fromkeys(one.name for one in categories if one.name in groups)):
        verb = (
            "is above others, has no objects and is" if len(left) == 1 else "are above others, have no objects and are"
        )
        notes.append(f"The category{'' if len(left) == 1 else 's'} {few(left)} {verb} no class.")
    points = {(one.points, one.skeleton) for one in categories if one.points}
    names, skeleton = points.pop() if len(points) == 1 else ((), ())
    return Annotations(
        FORM,
        [image for document in documents for image in document.images],
        classes,
        point_names=names,
        problems=tuple(problems),
        notes=tuple(dict.fromkeys(notes)),
        read=tuple(evidence),
        skeleton=skeleton,
    )


def _beside(evidence: Sequence[str], found: Found) -> list[str]:
    """The JSON files that are called as those of other splits are, and do not look like COCO."""
    kinds = {_without_part(name) for name in evidence if part_of(name) is not None}
    others = [name for name in found.others if name.lower().endswith(".json") and name not in evidence]
    return [name for name in others if part_of(name) is not None and _without_part(name) in kinds]


def _without_part(name: str) -> str:
    """A file's path without the word for its split."""
    part = part_of(name)
    return re.sub(r"[^\W_\d]+", lambda word: "" if part_of(word[0]) == part else word[0], name)


def _check_apart(path: Path, documents: Sequence[_Document]) -> None:
    """Refuse files that annotate the same images of a split in two ways: instances and keypoints, or a part and the whole."""
    listed = [(document, {image.file for image in document.images}) for document in documents]
    for i, (one, own) in enumerate(listed):
        for other, theirs in listed[i + 1 :]:
            parts = {part for document in (one, other) if (part := part_of(document.name)) is not None}
            if len(parts) < 2 and 2 * len(own & theirs) > min(len(own), len(theirs)):
                raise DataError(
                    f"data={str(path)!r}: {one.name} and {other.name} annotate the same images; choose by the path: "
                    f"{path / one.name} or {path / other.name}."
                )


@final
@dataclass
class _Document:
    """One COCO file as records."""

    path: Path
    name: str  # relative to the dataset's folder
    files: ImageFiles
    categories: dict[Key, Category] = field(default_factory=dict)
    images: list[Annotated] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    why: str = ""  # it is not read

    def __post_init__(self) -> None:
        content = json_of(self.path / self.name)
        if not isinstance(content, dict):
            raise broken(self.path / self.name, f"is {shown(content)}, not an object with images and annotations", 1)
        for key in ("images", "annotations", "categories"):
            if key in content and not isinstance(content[key], list):
                raise json_fault(self.path / self.name, f"{key} is {shown(content[key])}, not a list", key)
        self.why = self._unread(content)
        if self.why:
            return
        self._read_categories(content.get("categories") or [])
        listed = self._listed(content.get("images") or [])
        instances = self._instances(content["annotations"], listed)
        folder, part = self.name.rpartition("/")[0], part_of(self.name)
        self._place(listed, instances, folder, part)

    def _unread(self, content: Mapping[str, Any]) -> str:
        """Why the file has no objects to read, "" if it has."""
        if "annotations" not in content:
            return f"{self.name} lists images without annotations and is not read."
        entries = [entry for entry in content["annotations"] if isinstance(entry, dict)]
        if entries and not content.get("categories") and all("caption" in entry for entry in entries):
            return f"{self.name} has captions instead of objects and is not read."
        if entries and all("segments_info" in entry for entry in entries):
            return f"{self.name} is panoptic, with its regions in pictures, and is not read."
        return ""

    def _read_categories(self, entries: Sequence[Any]) -> None:
        for i, entry in enumerate(entries):
            try:
                key, category = key_of(required(entry, "id", "a category"), "id"), category_of(entry)
                if self.categories.get(key, category).name != category.name:
                    raise Fault(f"the category id {key} is {self.categories[key].name!r} and {category.name!r}")
            except Fault as fault:
                raise json_fault(self.path / self.name, fault, "categories", i) from fault
            self.categories[key] = category
        names = Counter(one.name for one in self.categories.values())
        if twice := [name for name, n in names.items() if n > 1]:
            verb = "is the name" if len(twice) == 1 else "are each the name"
            self.notes.append(f"{few(twice)} {verb} of several categories, which are one class.")
        numbers = [int(key) for key in self.categories if key.lstrip("-").isdecimal()]
        if len(numbers) == 1 and numbers[0] not in (0, 1):
            only = next(iter(self.categories.values())).name
            self.notes.append(
                f"The single category has the id {numbers[0]}: classes go by name, so {only} is the only one."
            )
        elif len(numbers) > 1 and sorted(numbers) not in ([*range(len(numbers))], [*range(1, len(numbers) + 1)]):
            self.notes.append(
                f"The category ids have gaps, {min(numbers)} to {max(numbers)} for {len(numbers)}: classes go by name."
            )

    def _listed(self, entries: Sequence[Any]) -> dict[Key, tuple[int, str, tuple[int, int] | None]]:
        """The position, the file's name and the size of each image by its id."""
        listed: dict[Key, tuple[int, str, tuple[int, int] | None]] = {}
        for i, entry in enumerate(entries):
            try:
                key = key_of(required(entry, "id", "an image"), "id")
                file = entry.get("file_name", entry.get("coco_url"))  # LVIS has addresses alone
                file = required(entry, "file_name", "an image") if file is None else file
                if not isinstance(file, str) or not file.strip():
                    raise Fault(f"file_name is {shown(file)}, not a name")
                if key in listed and listed[key][1] != file:
                    raise Fault(f"the image id {key} is {shown(listed[key][1])} and {shown(file)}")
                listed[key] = (i, file, size_of(entry))
            except Fault as fault:
                raise json_fault(self.path / self.name, fault, "images", i) from fault
        return listed

    def _instances(
        self, entries: Sequence[Any], listed: Mapping[Key, tuple[int, str, tuple[int, int] | None]]
    ) -> dict[Key, list[Instance]]:
        """The instances of each image by its id; those of images that are not listed are dropped, and said."""
        instances: dict[Key, list[Instance]] = defaultdict(list)
        lost: list[Key] = []
        unnamed: dict[Key, Category] = {}
        for i, entry in enumerate(entries):
            try:
                image = key_of(required(entry, "image_id", "an annotation"), "image_id")
                if image not in listed:
                    lost.append(image)
                    continue
                if self.categories:
                    own = key_of(required(entry, "category_id", "an annotation"), "category_id")
                    if own not in self.categories:
                        known = few(list(self.categories), 4)
                        raise Fault(f"category_id is {own}, which is none of the categories ({known})")
                    category = self.categories[own]
                else:
                    own = key_of(entry.get("category_id", "object"), "category_id")
                    category = unnamed.setdefault(own, Category(as_text(own)))
                size = listed[image][2]
                instances[image].append(instance(entry, category, f"annotation {entry.get('id', i)}", size))
            except Fault as fault:
                raise json_fault(self.path / self.name, fault, "annotations", i) from fault
        if lost:
            verb = (
                "belongs to no image that is listed and is"
                if len(lost) == 1
                else "belong to no image that is listed and are"
            )
            ids = list(dict.fromkeys(lost))
            self.problems.append(
                f"{counted(len(lost), 'annotation')} of {self.name} {verb} dropped (image id{'' if len(ids) == 1 else 's'} {few(ids)})."
            )
        if unnamed:
            self.problems.append(
                f"{self.name} has no categories: classes are called by their ids ({few(list(unnamed))})."
            )
        return instances

    def _place(
        self,
        listed: Mapping[Key, tuple[int, str, tuple[int, int] | None]],
        instances: Mapping[Key, Sequence[Instance]],
        folder: str,
        part: str | None,
    ) -> None:
        """The images with their instances where they lie below the dataset's folder."""
        whose: dict[str, str] = {}
        for key, (i, written, size) in listed.items():
            try:
                file = self.files.find(written, folder, part)
                if file is not None and whose.setdefault(file, written) != written:
                    raise Fault(f"the images {shown(whose[file])} and {shown(written)} are both {as_text(file)}")
            except Fault as fault:
                raise json_fault(self.path / self.name, fault, "images", i) from fault
            own = tuple(instances.get(key, ()))
            regions = (one.runs.size for one in own if one.runs is not None)
            self.images.append(
                Annotated(
                    inside(written) if file is None else file,
                    own,
                    size or next(regions, None),
                    part or (None if file is None else part_of(file.rpartition("/")[0])),
                    self.name,
                )
            )
