# SPDX-License-Identifier: Apache-2.0
"""Which form of annotations lies in a folder."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol, cast

from pellucid.data.annotations.records import Annotations
from pellucid.data.formats.finding import Found
from pellucid.data.formats.voc import mask_folder
from pellucid.errors import DataError

__all__ = ["FORMS", "Reader", "chosen", "names_annotations", "readers"]

FORMS = ("coco", "voc", "yolo", "labelme", "cvat", "label_studio", "mask_pairs", "point_tables", "text_lines")
"""The readers, modules of `data/formats/`, in the order in which they are asked."""


class Reader(Protocol):
    """A module that reads one form of annotations."""

    FORM: str
    """The form's own name: "COCO"."""

    def fits(self, path: Path, found: Found) -> Sequence[str]:
        """The files or folders, relative to `path`, that show that this form lies there; empty if it does not.

        It is quick: names decide, or the beginnings of a few files. A fault in a file is no reason to say no: `read` names it.
        """

    def read(self, path: Path, found: Found, evidence: Sequence[str]) -> Annotations:
        """The annotations; `evidence` is what `fits` returned, or the one file or folder that the user gave.

        Raises:
            DataError: a file of annotations is broken; the sentence has its name and line.
        """


def readers() -> dict[str, Reader]:
    """The readers by the names of their modules."""
    return {name: cast(Reader, importlib.import_module(f"pellucid.data.formats.{name}")) for name in FORMS}


def chosen(path: Path, found: Found, only: Sequence[str] = ()) -> Annotations | None:
    """The annotations in a folder, None if there are none.

    Args:
        path: the folder.
        found: what lies below it.
        only: the files or folders, relative to `path`, that the user named to choose a form.

    Raises:
        DataError: two forms fit; the sentence names both and says how to choose.
    """
    every = {name: _chosen(reader.fits(path, found), only) for name, reader in readers().items()}
    if every["voc"] and all(map(mask_folder, every["mask_pairs"])):
        every["mask_pairs"] = []  # of the same images; `read` of VOC says how to get them
    for name in ("point_tables", "text_lines"):  # rows of 7 4 2 … are no table of an image 7.png
        every[name] = [one for one in every[name] if not every["yolo"] or not _chosen([one], every["yolo"])]
    fitting = [(reader, every[name]) for name, reader in readers().items() if every[name]]
    if len(fitting) > 1:
        (one, first), (other, second) = fitting[:2]
        raise DataError(
            f"data={str(path)!r}: has annotations as {one.FORM} ({first[0]}) and as {other.FORM} ({second[0]}); choose by the path: "
            f"{path / first[0]} or {path / second[0]}."
        )
    return fitting[0][0].read(path, found, fitting[0][1]) if fitting else None


def names_annotations(path: Path, found: Found, name: str) -> bool:
    """Whether a file or folder in a dataset's folder holds annotations that a reader can read."""
    return any(_chosen(reader.fits(path, found), [name]) for reader in readers().values())


def _chosen(evidence: Sequence[str], only: Sequence[str]) -> Sequence[str]:
    """What was chosen of the evidence: all of it, or that which the named files and folders are or hold."""
    if not only:
        return evidence
    return [name for name in evidence if any(name == one or name.startswith(f"{one}/") for one in only)]
