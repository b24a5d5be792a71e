# SPDX-License-Identifier: Apache-2.0
"""Annotations as YOLO: a text file an image, a row an object, with settings that name the classes and the splits."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pellucid.data.annotations.pairing import parent
from pellucid.data.annotations.records import Annotated, Annotations
from pellucid.data.formats.finding import Found
from pellucid.data.formats.yolo.config import Config, config_of, configs, name_lists
from pellucid.data.formats.yolo.labels import Labels
from pellucid.data.formats.yolo.places import Places, by_folder, lists_of_images
from pellucid.data.formats.yolo.rows import instances_of
from pellucid.data.problems import counted, few
from pellucid.errors import DataError
from pellucid.files import as_text

__all__ = ["FORM", "fits", "read"]

FORM = "YOLO"

_OTHER_FORMS = (".xml", ".json")


def fits(path: Path, found: Found) -> Sequence[str]:
    """The files of settings and the folders of labels; of labels at the top, the files themselves."""
    if not found.images:
        return []
    settings, names = configs(path, found)
    labels = _labels(path, found).evidence
    if labels:
        return [*(settings or names), *labels]
    # settings without a single label are a data set that lacks them, unless something else holds the annotations
    return [] if any(name.lower().endswith(_OTHER_FORMS) for name in found.others) else settings


def read(path: Path, found: Found, evidence: Sequence[str]) -> Annotations:
    """The annotations.

    Raises:
        DataError: settings or a label file are broken, or no label belongs to an image.
    """
    config, used = _config(path, found, evidence)
    labels = _labels(path, found)
    by_part, notes, problems, left_out = _images(path, found, config, labels)
    read, again = [*used, *left_out], []
    records: list[Annotated] = []
    owners: dict[str, str] = {}
    for part, names in by_part.items():
        for name in names:
            if (label := labels.of(name)) is None:
                records.append(Annotated(name, part=part, source=config.source, unit="share"))
                continue
            if owners.setdefault(label, name) != name:
                raise DataError(
                    f"data={str(path)!r}: {as_text(label)} belongs to 2 images ({few([owners[label], name])}); keep one of them."
                )
            instances, twice = instances_of(path / label, config.names, config.points)
            again += [label] * twice
            read.append(label)
            records.append(Annotated(name, tuple(instances), None, part, label, "share"))
    if again:
        verb = (
            "row occurs twice in its file and counts"
            if len(again) == 1
            else "rows occur twice in their files and count"
        )
        problems.append(f"{len(again):,} {verb} once ({few(list(dict.fromkeys(again)))}).")
    if left := labels.unmatched([parent(record.file) for record in records]):
        verb = "has no image and is" if len(left) == 1 else "have no images and are"
        problems.append(f"{counted(len(left), 'label file')} {verb} dropped ({few(left)}).")
        read += left
    if config.note:
        notes.append(config.note)
    if config.names is None:
        notes.append("No file names the classes: their numbers are their names.")
    classes = tuple(config.names.values()) if config.names else ()
    return Annotations(
        FORM,
        records,
        classes,
        point_names=config.point_names,
        mirror=config.mirror,
        problems=tuple(problems),
        notes=tuple(notes),
        read=tuple(read),
    )


def _images(
    path: Path, found: Found, config: Config, labels: Labels
) -> tuple[dict[str | None, list[str]], list[str], list[str], list[str]]:
    """The images of each split, notes and problems in sentences, and files that these are about or that are lists.

    Raises:
        DataError: labels have no image's name, or the training images no labels.
    """
    places = Places(path, found, config)
    parts = places.parts()
    if parts is None and (lists := lists_of_images(path, found)):
        parts = {part: places.listed(file) for part, file in lists.items()}
    problems, read = places.problems, places.read
    inside = None if parts is None else {name for own in parts.values() for name in own}
    folders = set(labels.strange) if inside is None else {parent(name) for name in inside}
    if wrong := next((folder for folder in labels.strange if folder in folders), None):
        raise _without_match(path, found, wrong, labels.strange[wrong])
    if parts is None or inside is None:
        own = [name for name in found.images if parent(name) in labels.folders]
        if not own:
            raise DataError(
                f"data={str(path)!r}: {config.source} describes it, and no image has a label file; put the labels into a folder "
                "labels beside images, or beside the images."
            )
        return by_folder(own), places.notes, problems, read
    kept: dict[str | None, list[str]] = {}
    for part, names in parts.items():
        if any(labels.of(name) is not None for name in names):
            kept[part] = names
            continue
        if part == "train":
            raise DataError(
                f"data={str(path)!r}: none of its {counted(len(names), 'training image')} ({few(names)}) has a label file; "
                "put the labels into a folder labels beside images, or beside the images."
            )
        verb = "image has no labels and is" if len(names) == 1 else "images have no labels and are"
        problems.append(f"{len(names):,} {part} {verb} left out ({few(names)}).")
        read += names
    outside = {name: file for name in found.images if name not in inside and (file := labels.of(name)) is not None}
    if outside:
        verb = "is in no split and is" if len(outside) == 1 else "are in no split and are"
        problems.append(f"{counted(len(outside))} with labels {verb} left out ({few(list(outside))}).")
        read += [*outside, *outside.values()]
    return kept, places.notes, problems, read


def _labels(path: Path, found: Found) -> Labels:
    return Labels(path, found, [*name_lists(found), *lists_of_images(path, found).values()])


def _config(path: Path, found: Found, evidence: Sequence[str]) -> tuple[Config, list[str]]:
    """The settings, and the files that they are read from."""
    whole, names = configs(path, found)
    lists = name_lists(found)
    chosen = (
        [name for name in whole if name in evidence] or whole or [name for name in names if name in evidence] or names
    )
    if len(chosen) > 1:
        raise DataError(
            f"data={str(path)!r}: {chosen[0]} and {chosen[1]} both describe it; choose by the path: "
            f"{path / chosen[0]} or {path / chosen[1]}."
        )
    source = chosen[0] if chosen else ""
    return config_of(path, source, lists), [*chosen, *lists]


def _without_match(path: Path, found: Found, images: str, labels: str) -> DataError:
    image = next(name for name in found.images if parent(name) == images)
    label = next(name for name in found.others if parent(name) == labels and name.lower().endswith(".txt"))
    return DataError(
        f"data={str(path)!r}: no label file in {as_text(labels)} has the name of an image ({few([label])}, where the first image "
        f"is {few([image])}); give them the images' names."
    )
