# SPDX-License-Identifier: Apache-2.0
"""From annotations to a dataset: every number compared with its image, targets, and sentences on what was found."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from pellucid.data.annotations.mending import Mended
from pellucid.data.annotations.rasters import Outlined
from pellucid.data.annotations.records import Annotated, Annotations, Instance
from pellucid.data.dataset import Dataset, Split
from pellucid.data.decoding import opened
from pellucid.data.decoding.pictures import orientation_of
from pellucid.data.formats.finding import Found, left_out, readable
from pellucid.data.masks import Masks
from pellucid.data.partners import FACE_68, exchanges, named_partners, partners
from pellucid.data.problems import counted, few
from pellucid.data.splitting import finish, order
from pellucid.data.targets import Boxes, Label, Points, Target, Text
from pellucid.errors import DataError
from pellucid.files import as_text

__all__ = ["assemble", "boxes_of", "targets_of"]

BACKGROUND = "background"
"""The class 0 of masks that are painted from outlines."""


def assemble(path: Path, annotations: Annotations, found: Found, name: str = "") -> Dataset:
    """The dataset of annotated images.

    Annotations without an image are dropped, images without annotations left out, and both are named. An image that is
    annotated and has no instance is kept: it shows none of the classes.

    Args:
        path: the folder that all names are relative to.
        annotations: what a reader found there.
        found: what lies below the folder.
        name: the dataset's name, by default its path.

    Raises:
        DataError: no image is there, or an image has another size than its annotation says.
    """
    name = name or str(path)
    records, problems = _present(path, annotations, name)
    mended, turned, exchanged = Mended(), [], []
    splits: dict[str, Split] = {}
    classes = annotations.classes or _occurring(annotations.images)
    for part, own in _by_part(records).items():
        titles = [as_text(record.file) for record in own]
        good, images, unreadable = readable([path / record.file for record in own], titles)
        problems += unreadable
        kept, names = [own[i] for i in good], [titles[i] for i in good]
        clean = []
        for record, title, (height, width) in zip(kept, names, images.sizes.tolist(), strict=True):
            size = (int(height), int(width))
            orientation, strange = _orientation(path, record, size)
            if strange:
                raise DataError(
                    f"data={name!r}: {record.source} says that {title!r} has {_px(record.size)}, and it has {_px(size)}; "
                    "annotate the images as they are, or give those that were annotated."
                )
            if orientation > 1:
                turned.append(title)
            elif record.size is not None and record.size != size:
                exchanged.append(title)
            instances = mended.instances(record, title, size, orientation)
            clean.append(record.replace(instances=instances, size=size, unit="px"))
        splits[part] = Split(images, {}, names, clean)
    if not any(len(split) for split in splits.values()):
        raise DataError(f"data={name!r}: contains no image that can be read; the first: {problems[-1]}")
    every = [record for split in splits.values() for record in split.annotations]
    problems += mended.sentences
    if turned:
        problems.append(
            f"{counted(len(turned))} {'was' if len(turned) == 1 else 'were'} annotated without the rotation that EXIF asks for; "
            f"the annotations are turned along ({few(turned)})."
        )
    if exchanged:
        problems.append(
            f"{counted(len(exchanged), 'annotation')} {'has' if len(exchanged) == 1 else 'have'} height and width exchanged, "
            f"which is mended ({few(exchanged)})."
        )
    targets, more, notes = targets_of(splits, classes, annotations, name)
    splits = {part: Split(own.images, targets[part], own.names, own.annotations) for part, own in splits.items()}
    problems += more + _left_out(annotations, found)
    if not any({"label", "boxes", "mask"} & set(own) for own in targets.values()):
        classes = ()  # points and texts have none
    mask_classes = annotations.mask_classes
    if not mask_classes and any("mask" in own for own in targets.values()):
        mask_classes = (BACKGROUND, *classes)
    said = (_summary(annotations, every), *annotations.notes, *notes)
    pointed = any("points" in own for own in targets.values())
    point_names, skeleton = (annotations.point_names, annotations.skeleton) if pointed else ((), ())
    dataset = finish(name, splits, classes, problems, by_objects=True, mask_classes=mask_classes, notes=said)
    return dataset.replace(point_names=point_names, skeleton=skeleton, mask_colours=annotations.mask_colours)


def _px(size: tuple[int, int] | None) -> str:
    return "no size" if size is None else f"{size[0]}×{size[1]} px"


def _summary(annotations: Annotations, images: Sequence[Annotated]) -> str:
    total = sum(len(image.instances) for image in images)
    empty = sum(not image.instances for image in images)
    more = f", {counted(total, 'object')}, {empty:,} without any" if total else ""
    return f"Read as {annotations.form}: {counted(len(images))}{more}."


# -- which images


def _present(path: Path, annotations: Annotations, name: str) -> tuple[list[Annotated], list[str]]:
    """The annotations whose image is there, one for each image and split; and sentences on the others."""
    problems = list(annotations.problems)
    if not annotations.images:
        raise DataError(f"data={name!r}: has no image in its annotations ({annotations.form}); annotate some.")
    merged: dict[tuple[str, str | None], Annotated] = {}
    for record in annotations.images:
        key = (record.file, record.part)
        if key in merged:
            problems.append(f"{as_text(record.file)} is annotated twice; all of its objects count.")
            record = merged[key].replace(instances=(*merged[key].instances, *record.instances))
        merged[key] = record
    here = {key: _is_file(path / record.file) for key, record in merged.items()}
    missing = [as_text(key[0]) for key, there in here.items() if not there]
    if len(missing) == len(merged):
        raise DataError(
            f"data={name!r}: none of its {counted(len(missing), 'annotated image')} is there ({few(missing)}); "
            "put the images where the annotations say."
        )
    if missing:
        verb = "has no image and is dropped" if len(missing) == 1 else "have no image and are dropped"
        problems.append(f"{counted(len(missing), 'annotation')} {verb} ({few(missing)}).")
    return [record for key, record in merged.items() if here[key]], problems


def _is_file(file: Path) -> bool:
    try:
        return file.is_file()
    except (OSError, ValueError):  # too long for a name, or no text
        return False


def _by_part(records: Iterable[Annotated]) -> dict[str, list[Annotated]]:
    """The images of each split, in natural order; images of which nothing says a split are training images."""
    by_part: dict[str, list[Annotated]] = {}
    for record in records:
        by_part.setdefault(record.part or "train", []).append(record)
    if "train" not in by_part:  # a single split is what there is to train on
        by_part["train"] = by_part.pop(next(iter(by_part)))
    return {part: [own[i] for i in order([one.file for one in own])] for part, own in by_part.items()}


def _orientation(path: Path, record: Annotated, size: tuple[int, int]) -> tuple[int, bool]:
    """The EXIF orientation that coordinates have yet to go through, and whether the sizes contradict each other."""
    if record.size is None or record.size == size:
        return 1, False
    if record.size != size[::-1]:
        return 1, True
    with opened(path / record.file) as image:
        orientation = orientation_of(image)
    return (orientation if orientation > 4 else 1), False


def _occurring(images: Sequence[Annotated]) -> tuple[str, ...]:
    used = {one.category for image in images for one in image.instances} | {
        image.label for image in images if image.label is not None
    }
    unique = sorted(used)
    return tuple(unique[i] for i in order(unique))


def _left_out(annotations: Annotations, found: Found) -> list[str]:
    """Sentences on what lies in the folder and was not read."""
    annotated = {record.file for record in annotations.images} | set(annotations.read)
    bare = [name for name in found.images if name not in annotated]
    sentences = left_out([name for name in found.others if name not in annotated], found.closed, found.answers)
    if bare:
        verb = "has no annotation and is left out" if len(bare) == 1 else "have no annotations and are left out"
        sentences.insert(0, f"{counted(len(bare))} {verb} ({few(bare)}).")
    return sentences


# -- targets


def targets_of(
    splits: Mapping[str, Split], classes: Sequence[str], annotations: Annotations, name: str
) -> tuple[dict[str, dict[str, Target]], list[str], list[str]]:
    """The targets of each split's images, and problems and notes in sentences.

    Args:
        splits: images with their mended annotations.
        classes: the names of all classes.
        annotations: what was read.
        name: the dataset's name, for errors.

    Raises:
        DataError: a category is none of the classes, or images differ in what is annotated where all must have it.
    """
    every = [record for split in splits.values() for record in split.annotations]
    numbers = {title: i for i, title in enumerate(classes)}
    for record in every:
        used = [one.category for one in record.instances] + ([record.label] if record.label is not None else [])
        if strange := next((title for title in used if title not in numbers), None):
            raise DataError(
                f"data={name!r}: {record.source} has the class {strange!r} at {as_text(record.file)!r}, which is none of its classes "
                f"({few(classes, 6)}); correct it."
            )
    instances = [one for record in every for one in record.instances]
    boxes = any(one.box is not None for one in instances) and not all(one.points is not None for one in instances)
    boxes |= bool(annotations.classes) and any(one.box is not None for one in instances)
    outlined = [one for one in instances if one.runs is not None or (one.polygons and not _is_turned_box(one))]
    objects = [one for one in instances if not one.crowd]
    painted = bool(outlined) and all(one.polygons or one.runs is not None for one in objects)
    problems, notes = [], []
    if outlined and not painted:
        lacking = sum(not one.polygons and one.runs is None for one in objects)
        problems.append(
            f"{counted(lacking, 'object')} of {len(objects):,} {'has' if lacking == 1 else 'have'} a box alone: no masks are "
            "made from the outlines."
        )
    if painted:
        overlap = "Masks are painted from the outlines, larger objects below smaller ones."
        notes.append(overlap)
    masked = [record.mask is not None for record in every]
    counts = Counter(len(one.points) for one in instances if one.points is not None)
    if len(counts) > 1:
        problems.append(
            f"Objects have {few([str(n) for n in sorted(counts)], 6)} keypoints, not all the same number: they are left out."
        )
    several = sum(sum(one.points is not None for one in record.instances) > 1 for record in every)
    if several and len(counts) == 1:
        notes.append(
            f"{counted(several)} {'has' if several == 1 else 'have'} several objects with keypoints: those of the largest count."
        )
    labelled = [record.label is not None for record in every]
    if any(labelled) and not all(labelled):
        bare = [as_text(record.file) for record, has in zip(every, labelled, strict=True) if not has]
        verb = "has" if len(bare) == 1 else "have"
        problems.append(f"{counted(len(bare))} of {len(every):,} {verb} no class: labels are left out ({few(bare)}).")
    points: dict[str, Points] = {}
    if len(counts) == 1:
        points = {part: _points(split.annotations, next(iter(counts))) for part, split in splits.items()}
        points, said, doubtful = _mirrored(points, annotations)
        notes, problems = notes + said, problems + doubtful
    targets: dict[str, dict[str, Target]] = {}
    for part, split in splits.items():
        own: dict[str, Target] = {}
        records = split.annotations
        if all(labelled):
            own["label"] = Label(torch.tensor([numbers[str(record.label)] for record in records], dtype=torch.int64))
        if boxes:
            own["boxes"] = boxes_of(records, numbers)
        if any(masked):
            own["mask"] = _masks(records, split, name)
        elif painted:
            own["mask"] = Masks(
                [Outlined(record, record.size or (0, 0), {t: i + 1 for t, i in numbers.items()}) for record in records]
            )
        if len(counts) == 1:
            own["points"] = points[part]
        if any(record.text is not None for record in every):
            own["text"] = Text([record.text or "" for record in records])
        targets[part] = own
    return targets, problems, notes


def _is_turned_box(one: Instance) -> bool:
    """Whether an outline is that of a box alone, from which nobody expects a mask."""
    return one.box is not None and "rotation" in (one.more or {}) and [len(part) for part in one.polygons] == [4]


def boxes_of(records: Sequence[Annotated], numbers: Mapping[str, int]) -> Boxes:
    """The boxes of mended annotations, by the numbers of their categories."""
    placed = [[one for one in record.instances if one.box is not None] for record in records]
    corners = [torch.tensor([one.box for one in own], dtype=torch.float32).view(-1, 4) for own in placed]
    labels = [torch.tensor([numbers[one.category] for one in own], dtype=torch.int64) for own in placed]
    ignored = [torch.tensor([one.crowd for one in own], dtype=torch.bool) for own in placed]
    return Boxes(corners, labels, None, ignored if any(bool(one.any()) for one in ignored) else None)


def _masks(records: Sequence[Annotated], split: Split, name: str) -> Masks:
    sources = []
    for record in records:
        if record.mask is None:
            raise DataError(
                f"data={name!r}: {as_text(record.file)!r} has no mask, and other images have; add it, or remove the image."
            )
        if record.mask.size != record.size:
            raise DataError(
                f"data={name!r}: the mask of {as_text(record.file)!r} has {_px(record.mask.size)}, its image {_px(record.size)}; "
                "give a mask of the image's size."
            )
        sources.append(record.mask)
    return Masks(sources)


def _points(records: Sequence[Annotated], count: int) -> Points:
    """The keypoints of each image's largest object, NaN where there is none."""
    xy = np.full((len(records), count, 2), np.nan, np.float32)
    for i, record in enumerate(records):
        own = [one for one in record.instances if one.points is not None and one.box is not None]
        visible = [one for one in own if one.points is not None and not np.isnan(one.points).all()]
        if own:
            xy[i] = max(visible or own, key=lambda one: _area(one.box)).points
    return Points(torch.from_numpy(xy))


def _mirrored(points: Mapping[str, Points], annotations: Annotations) -> tuple[dict[str, Points], list[str], list[str]]:
    """The points of each split with their partners in a mirror, and notes and problems in sentences."""
    every = Points.cat(list(points.values())).xy
    mirror, count = annotations.mirror or partners(annotations.point_names, every), every.shape[1]
    notes, problems = [], []
    if mirror is not None and not exchanges(mirror, count):
        problems.append(
            f"What each of the {count} points becomes in a mirror is no exchange of pairs, and is not used."
        )
        mirror = None
    elif mirror == FACE_68 and not annotations.mirror:
        notes.append("The 68 points are numbered as in iBUG 300-W, by which --flip exchanges left and right.")
    elif (
        mirror is not None
        and count > 1
        and not annotations.mirror
        and named_partners(annotations.point_names) != mirror
    ):
        pairs = sum(to > own for own, to in enumerate(mirror))
        notes.append(
            f"Which points --flip exchanges was learned from their mean shape: {counted(pairs, 'pair')}, joined on the contact sheet."
        )
    return {part: Points(own.xy, mirror) for part, own in points.items()}, notes, problems


def _area(box: tuple[float, float, float, float] | None) -> float:
    return 0.0 if box is None else (box[2] - box[0]) * (box[3] - box[1])
