# SPDX-License-Identifier: Apache-2.0
"""Annotations as Pascal VOC: an XML file an image, in `Annotations/` or beside the images."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from pellucid.data.annotations.pairing import Images, bare, parent, part_of, same
from pellucid.data.annotations.places import kin
from pellucid.data.annotations.reading import lines_of
from pellucid.data.annotations.records import Annotated, Annotations
from pellucid.data.decoding import SUFFIXES
from pellucid.data.formats.finding import Found
from pellucid.data.formats.voc.counting import edges, from_one
from pellucid.data.formats.voc.files import Written, root_tag, written
from pellucid.data.formats.voc.sets import Lists, lists_of
from pellucid.data.problems import counted, few
from pellucid.errors import DataError
from pellucid.files import as_text

__all__ = ["FORM", "fits", "mask_folder", "read"]

FORM = "Pascal VOC"

_LOOKS = 5  # files of a folder that are looked into
_FOLDERS = 40  # folders of which as many are; one file of each of the others


def fits(path: Path, found: Found) -> Sequence[str]:
    """The folders that hold XML files of this form; for those at the top or beside images, the files themselves."""
    by_folder: dict[str, list[str]] = defaultdict(list)
    for name in _xml(found):
        by_folder[parent(name)].append(name)
    images, shared = Images(found.images), {parent(name) for name in found.images}
    evidence: list[str] = []
    for i, (folder, own) in enumerate(by_folder.items()):
        looks = own[:: max(1, len(own) // _LOOKS)] if i < _FOLDERS else own[:1]
        tags = {root_tag(path / name) for name in looks}
        # a file without any tag is broken, and `read` says so
        if "annotation" in tags or (tags == {None} and any(images.of(name) for name in looks)):
            evidence += [folder] if folder and folder not in shared else own
    return evidence


def read(path: Path, found: Found, evidence: Sequence[str]) -> Annotations:
    """The annotations.

    Raises:
        DataError: a file is broken, or one annotation has several images and names none of them.
    """
    folders = set(found.folders)
    if len(evidence) == 1 and evidence[0] not in folders:  # a file that chooses the form, for all splits
        evidence = [name for name in _xml(found) if kin(name) == kin(evidence[0])]
    tops = {name if name in folders else parent(name) for name in evidence}
    files = [
        name for name in _xml(found) if parent(name) in tops or any(top and name.startswith(f"{top}/") for top in tops)
    ]
    contents = {name: written(path, name) for name in files}
    every = [content for content in contents.values() if content is not None]
    masks = [name for name in found.images if mask_folder(name)]
    images, problems = _images(path, [name for name in found.images if not mask_folder(name)], every)
    if strange := [name for name, content in contents.items() if content is None]:
        verb = "is" if len(strange) == 1 else "are"
        problems.append(f"{counted(len(strange), 'XML file')} {verb} of another form and left out ({few(strange)}).")
    lists, listed = lists_of(path, found, [content.source for content in every])
    first, note = from_one(every)
    records, unlisted = [], []
    for content in every:
        file = images[content.source]
        part, counts = _part(content.source, file, lists)
        if not counts:
            unlisted.append(file)
            continue
        instances = tuple(edges(one, first, content.noted) for one in content.instances)
        records.append(Annotated(file, instances, content.size, part, content.source))
    problems += [sentence for one in lists for sentence in one.problems]
    if unlisted:
        verb = "is" if len(unlisted) == 1 else "are"
        problems.append(
            f"{counted(len(unlisted))} {verb} in none of the lists in ImageSets and {verb} left out ({few(unlisted)})."
        )
    notes = [note] if note else []
    if masks:
        folder = mask_folder(masks[0])
        notes.append(
            f"{as_text(folder)} holds masks, which are not read with the boxes; for masks, give {as_text(str(path / folder))}."
        )
    order, classes = _classes(path, found, files, records)
    used = (*files, *listed, *masks, *unlisted, *order)
    return Annotations(FORM, records, classes, problems=tuple(problems), notes=tuple(notes), read=used)


def _classes(
    path: Path, found: Found, files: Sequence[str], records: Sequence[Annotated]
) -> tuple[list[str], tuple[str, ...]]:
    """The file classes.txt above the annotations, and the classes: in its order, and then those that it lacks."""
    tops = {parent(parent(name)) for name in files}
    order = [name for name in found.others if name.rpartition("/")[2] == "classes.txt" and parent(name) in tops]
    if len(order) != 1:
        return [], ()
    listed = [line.strip() for line in lines_of(path / order[0]) if line.strip()]
    used = {one.category for record in records for one in record.instances}
    return order, tuple(dict.fromkeys([*listed, *sorted(used - set(listed))]))


def _xml(found: Found) -> list[str]:
    return [name for name in found.others if name.lower().endswith(".xml")]


def mask_folder(name: str) -> str:
    """The folder of VOC's masks that a file lies in or a folder is; "" if it is another.

    >>> mask_folder("VOC2012/SegmentationClass/a.png"), mask_folder("SegmentationObject"), mask_folder("masks/a.png")
    ('VOC2012/SegmentationClass', 'SegmentationObject', '')
    """
    steps = name.split("/")
    at = next((i for i, step in enumerate(steps) if step.lower().startswith("segmentation")), None)
    return "" if at is None else "/".join(steps[: at + 1])


def _part(source: str, image: str, lists: Sequence[Lists]) -> tuple[str | None, bool]:
    """The split of an annotation by the lists above it, or else by its image's folder; and whether it belongs to any."""
    own = next((one for one in lists if one.holds(source)), None)
    if own is None:
        return part_of(image) or part_of(source), True
    part = own.part(same(bare(source)))
    return part, part is not None or not own.whole


# -- which image


def _images(path: Path, names: Sequence[str], every: Sequence[Written]) -> tuple[dict[str, str], list[str]]:
    """The image of each annotation, by the annotation's own name, and sentences.

    Where not one annotation has an image of its own name, the names in <filename> count. An annotation without an image
    gets the name that its image would have.
    """
    images = Images(names)
    by_name = {content.source: images.of(content.source) for content in every}
    named = {content.source: content.filename.replace("\\", "/").rpartition("/")[2] for content in every}
    problems = []
    if not any(by_name.values()):
        by_name = {
            source: [name for name in images.of(f"{parent(source)}/{title}".lstrip("/")) if name.endswith(title)]
            for source, title in named.items()
            if title
        }
        if any(by_name.values()):
            problems.append("No annotation has an image of its own name: those in <filename> count.")
    elif others := [
        f"{source}: {named[source]}"
        for source, own in by_name.items()
        if own and named[source] and same(bare(named[source])) not in {same(bare(source)), same(bare(own[0]))}
    ]:
        verb = "names" if len(others) == 1 else "name"
        problems.append(
            f"{counted(len(others), 'annotation')} {verb} another file than their own ({few(others)}): "
            "the XML file's own name counts."
        )
    chosen: dict[str, str] = {}
    shared = []
    for source, own in by_name.items():
        if len(own) > 1:
            told = [name for name in own if same(name.rpartition("/")[2]) == same(named[source])]
            if len(told) != 1:
                raise DataError(
                    f"data={str(path)!r}: {as_text(source)} belongs to {counted(len(own))} ({few(own)}), and its <filename> decides "
                    "for none of them; keep one, or name it there."
                )
            shared.append(f"{source}: {told[0]}")
            own = told
        if own:
            chosen[source] = own[0]
    if shared:
        verb = (
            "has several images of its name and goes"
            if len(shared) == 1
            else "have several images of their name and go"
        )
        problems.append(
            f"{counted(len(shared), 'annotation')} {verb} to the one in <filename> ({few(shared)}); the others are left out."
        )
    place = {parent(source): parent(image) for source, image in chosen.items()}
    for content in every:
        if content.source not in chosen:
            folder = place.get(parent(content.source), parent(content.source))
            ending = os.path.splitext(named[content.source])[1]
            title = bare(content.source) + (ending if ending.lower() in SUFFIXES else ".jpg")
            chosen[content.source] = f"{folder}/{title}" if folder else title
    return chosen, problems
