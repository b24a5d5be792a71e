# SPDX-License-Identifier: Apache-2.0
"""Well-known data sets of masks, whose files hold numbers and nowhere say what these mean."""

from __future__ import annotations

import re
from collections.abc import Sequence

from pellucid.data.annotations.class_tables import Declared
from pellucid.data.annotations.mask_contents import Contents

__all__ = ["known_table"]

# Badrinarayanan et al., "SegNet" (2017), groups CamVid's 32 classes (Brostow et al. 2009) into eleven and void
_CAMVID = ("sky", "building", "pole", "road", "pavement", "tree", "sign", "fence", "car", "pedestrian", "cyclist", "void")  # fmt: skip
_VOC = (
    "background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable", "dog",
    "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)  # fmt: skip
_CITYSCAPES = (
    "road", "sidewalk", "building", "wall", "fence", "pole", "traffic light", "traffic sign", "vegetation", "terrain", "sky", "person",
    "rider", "car", "truck", "bus", "train", "motorcycle", "bicycle",
)  # fmt: skip
# the numbers of labelIds that count in Cityscapes' benchmark, in the order of its classes; all others are void there
_LABEL_IDS = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)
_SAID = "By the names of the files this is {}: its classes are named as there, unless a file classes.txt names them."
_KNOWN = (
    ("CamVid as SegNet groups it", re.compile(r"(0001TP|0006R0|0016E5|Seq05VD)_f?\d+"), _CAMVID, 11),
    ("Pascal VOC", re.compile(r"20(07|08|09|10|11|12)_\d{6}"), _VOC, 255),
)


def known_table(images: Sequence[str], masks: Sequence[str], contents: Sequence[Contents]) -> Declared | None:
    """The classes of CamVid, Pascal VOC and Cityscapes, where the names of the files and the values of the masks are theirs.

    Args:
        images: the images' paths.
        masks: the masks' paths.
        contents: what each mask holds.
    """
    if any(own.kind != "number" for own in contents):
        return None
    values = {value for own in contents for value in own.values}
    for title, frame, classes, void in _KNOWN:
        if values <= {*range(len(classes)), void} and all(frame.fullmatch(_stem(image)) for image in images):
            return Declared(title, dict(enumerate(classes)), {}, _SAID.format(title))
    for ending in ("_gtFine_labelIds.png", "_gtFine_labelTrainIds.png"):
        ids = ending == "_gtFine_labelIds.png"
        if all(mask.endswith(ending) for mask in masks) and values <= {
            *range(34 if ids else 19),
            *(() if ids else (255,)),
        }:
            numbers = dict(zip(_LABEL_IDS, _CITYSCAPES, strict=True)) if ids else dict(enumerate(_CITYSCAPES))
            # in their order first: a class's number is its place among the names
            table = {**numbers, **{value: "void" for value in values if value not in numbers and value != 255}}
            return Declared("Cityscapes", table, {}, _SAID.format("Cityscapes"))
    return None


def _stem(name: str) -> str:
    return name.rpartition("/")[2].rpartition(".")[0]
