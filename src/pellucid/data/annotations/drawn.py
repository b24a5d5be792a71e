# SPDX-License-Identifier: Apache-2.0
"""What people draw with annotation tools: objects and single points, put together to objects with keypoints."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np

from pellucid.data.annotations.mending import decoded_runs
from pellucid.data.annotations.outlines import around, corners_of, patch
from pellucid.data.annotations.records import Annotated, Instance
from pellucid.data.problems import counted, few
from pellucid.data.splitting import order
from pellucid.files import as_text

__all__ = ["JOINT", "TURNED", "Drawn", "Mark", "joined", "labelled", "merge", "natural"]

JOINT = "Shapes of one group and class are one object."
"""What is said where `merge` found some."""

TURNED = "A box that is turned becomes its outline, and the upright box around it."
"""What is said where there are such."""


@final
@dataclass(frozen=True)
class Mark:
    """A single point with a name."""

    name: str
    x: float
    y: float
    group: Hashable = None  # points and objects of one group belong together


@final
@dataclass(frozen=True)
class Drawn:
    """One image as it was drawn."""

    image: Annotated
    groups: tuple[Hashable, ...] = ()  # the group of each of its instances, None for none
    marks: tuple[Mark, ...] = ()
    label: str | None = None  # the class of the whole image


def natural(names: Sequence[str]) -> tuple[str, ...]:
    """Names in natural order, each once.

    >>> natural(["b10", "b2", "b10"])
    ('b2', 'b10')
    """
    unique = sorted(set(names))
    return tuple(unique[i] for i in order(unique))


def joined(drawn: Sequence[Drawn]) -> tuple[list[Annotated], tuple[str, ...], list[str]]:
    """The images with their points as keypoints of their objects, the keypoints' names, and sentences on what was left out.

    Points become keypoints where their names say which is which: no name occurs twice in an object, and each occurs in
    more than half of them; one that is missing is not visible. They belong to the object of their group, or to the only
    object of their image; where no image has any object, the points of an image are its object.

    >>> points = (Mark("eye", 2.0, 3.0), Mark("nose", 4.0, 5.0))
    >>> images, names, _ = joined([Drawn(Annotated("a.jpg", (Instance("cat", box=(0, 0, 9, 9)),)), (None,), points)])
    >>> names, images[0].instances[0].points.tolist()
    (('eye', 'nose'), [[2.0, 3.0], [4.0, 5.0]])
    """
    images = [one.image for one in drawn]
    total = sum(len(one.marks) for one in drawn)
    if not total:
        return images, (), []
    alone = not any(image.instances for image in images)
    figures: list[tuple[int, int | None, Mapping[str, Mark]]] = []  # image, its object, points by name
    for i, one in enumerate(drawn):
        by_group: dict[Hashable, list[Mark]] = {}
        for mark in one.marks:
            by_group.setdefault(mark.group, []).append(mark)
        for group, marks in by_group.items():
            owner = _owner(one, group)
            if owner is None and not alone:
                where = as_text(one.image.file)
                return images, (), [
                    f"{counted(total, 'point')} {_is(total)} not read: those of {where} belong to none of its objects; give each "
                    "the group of its object."
                ]  # fmt: skip
            figures.append((i, owner, {mark.name: mark for mark in marks}))
            if len(figures[-1][2]) < len(marks):
                twice = Counter(mark.name for mark in marks).most_common(1)[0][0]
                return images, (), [
                    f"{counted(total, 'point')} {_is(total)} not read: {as_text(one.image.file)} has {twice!r} more than once in "
                    "one object; name each keypoint of an object differently, and group those of one object."
                ]  # fmt: skip
    tally = Counter(name for _, _, named in figures for name in named)
    names = tuple(dict.fromkeys(name for _, _, named in figures for name in named))
    if rare := [name for name in names if tally[name] * 2 <= len(figures)]:
        return images, (), [
            f"{counted(total, 'point')} {_is(total)} not read: {few([repr(name) for name in rare])} "
            f"{'is' if len(rare) == 1 else 'are'} in at most half of the {len(figures):,} objects with points, so that they are "
            "no keypoints; give every object the same ones."
        ]  # fmt: skip
    instances = [list(image.instances) for image in images]
    for i, owner, named in figures:
        xy = np.array([(named[name].x, named[name].y) if name in named else (np.nan, np.nan) for name in names])
        if owner is None:
            instances[i].append(Instance(points=xy))
        else:
            instances[i][owner] = instances[i][owner].replace(points=xy)
    absent = len(figures) * len(names) - sum(tally.values())
    lacking = f"{counted(absent, 'keypoint')} {_is(absent)} missing and {'counts' if absent == 1 else 'count'} as not visible."
    done = [image.replace(instances=tuple(own)) for image, own in zip(images, instances, strict=True)]
    return done, names, [lacking] if absent else []


def merge(
    parts: Sequence[tuple[Instance, Hashable]], *, boxes: bool = True
) -> tuple[list[tuple[Instance, Hashable]], bool]:
    """The objects, where shapes of one group and class are parts of one; and whether there were any such.

    Args:
        parts: each shape with its group, None for none.
        boxes: whether boxes of a group are parts of one object too, or each an object.
    """
    members: dict[tuple[Hashable, ...], list[Instance]] = {}
    groups: dict[tuple[Hashable, ...], Hashable] = {}
    for i, (one, group) in enumerate(parts):
        alone = group is None or (one.box is not None and not boxes)
        key: tuple[Hashable, ...] = (i,) if alone else (group, one.category)
        members.setdefault(key, []).append(one)
        groups[key] = group
    found: list[tuple[Instance, Hashable]] = []
    for key, own in members.items():
        group = groups[key]
        if len(own) == 1 or len({one.runs is None for one in own}) > 1:
            found += [(one, group) for one in own]
        elif (first := own[0].runs) is not None:
            regions = [decoded_runs(one.runs) for one in own if one.runs is not None]
            found.append((own[0].replace(runs=patch(np.any(regions, axis=0), 0, 0, first.size)), group))
        else:
            outlines = [part for one in own for part in one.polygons or (corners_of(one.box or (0, 0, 0, 0)),)]
            every = np.concatenate([corners_of(one.box) if one.box else np.concatenate(one.polygons) for one in own])
            whole = around(every) if len(every) else None
            found.append((own[0].replace(box=whole, polygons=tuple(outlines), more=None), group))
    return found, len(found) < len(parts)


def labelled(images: Sequence[Annotated], labels: Sequence[str | None], what: str) -> tuple[list[Annotated], list[str]]:
    """The images with their classes, and a sentence where they are left out: beside objects of other classes.

    Args:
        images: with their objects.
        labels: the class of each image.
        what: where the classes stand, for the sentence: "Choices".
    """
    categories = {one.category for image in images for one in image.instances}
    strange = natural([label for label in labels if label is not None and label not in categories])
    if categories and strange:
        return list(images), [
            f"{what} for whole images are not read beside objects of other classes ({few(strange)}); open the images without the "
            "objects' annotations to classify them."
        ]
    return [image.replace(label=label) for image, label in zip(images, labels, strict=True)], []


def _owner(one: Drawn, group: Hashable) -> int | None:
    own = [k for k, other in enumerate(one.groups) if group is not None and other == group]
    if own:
        return own[0]
    return 0 if group is None and len(one.image.instances) == 1 else None


def _is(n: int) -> str:
    return "is" if n == 1 else "are"
