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
_KNOWN = (
    ("CamVid as SegNet groups it", re.compile(r"(0001TP|0006R0|0016E5|Seq05VD)_f?\d+"), _CAMVID, 11),
    ("Pascal VOC", re.compile(r"20(07|08|09|10|11|12)_\d{6}"), _VOC, 255),
)


def known_table(images: Sequence[str], contents: Sequence[Contents]) -> Declared | None:
    """The classes of CamVid in SegNet's form, or of Pascal VOC, where the names of the files and the values of the masks are theirs.

    Args:
        images: the images' paths.
        contents: what each mask holds.
    """
    if any(own.kind != "number" for own in contents):
        return None
    values = {value for own in contents for value in own.values}
    for title, frame, classes, void in _KNOWN:
        if values <= {*range(len(classes)), void} and all(frame.fullmatch(_stem(image)) for image in images):
            said = f"By the names of the images this is {title}: its classes are named as there, unless a file classes.txt names them."
            return Declared(title, dict(enumerate(classes)), {}, said)
    return None


def _stem(name: str) -> str:
    return name.rpartition("/")[2].rpartition(".")[0]
