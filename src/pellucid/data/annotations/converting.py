# SPDX-License-Identifier: Apache-2.0
"""A dataset's images and annotations as a folder in another form."""

from __future__ import annotations

import importlib
import os
import re
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol, cast

import numpy as np

from pellucid.data.annotations.from_targets import records_of
from pellucid.data.annotations.records import Annotated
from pellucid.data.annotations.writing.sheets import Sheet
from pellucid.data.dataset import Dataset, Images, Pixels, Split
from pellucid.data.decoding import SUFFIXES, Files, opened
from pellucid.data.decoding.deep import Source
from pellucid.data.problems import counted
from pellucid.data.splitting import order
from pellucid.data.targets import Points
from pellucid.errors import DataError, UsageError, check_choice
from pellucid.files import as_text, make_folder

__all__ = ["WRITERS", "check_new", "convert", "write_files"]

WRITERS = ("coco", "voc", "yolo")
"""The forms that can be written, modules of `annotations/writing/`."""

_UNFIT = re.compile(r'[\x00-\x1f\x7f/\\:*?"<>|\ud800-\udfff]')  # characters that some system refuses in a name
_LONG = 100  # characters of a name
_ENDINGS = {"JPEG": ".jpg", "PNG": ".png", "TIFF": ".tif", "BMP": ".bmp", "GIF": ".gif", "WEBP": ".webp"}


class Writer(Protocol):
    """A module that writes one form."""

    FORM: str

    def place(self, part: str, file: str) -> str:
        """Where an image of a split lies below the folder."""

    def write(self, sheet: Sheet, folder: Path) -> list[str]:
        """Write everything but the images; a sentence on what the form cannot hold."""


def convert(dataset: Dataset, form: str, out: Path) -> list[str]:
    """Write a dataset with its annotations in another form; returns a sentence on what was written, and on what was left out.

    Images that are files are copied as they are, others become PNG. Splits stay as they are. The folder appears once all of it is
    written.

    >>> import tempfile
    >>> from pellucid.data.embedded.scenes import draw
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     print(convert(draw({"train": 3, "val": 1, "test": 1}), "yolo", Path(folder) / "scenes")[0].partition(",")[0])
    Written as YOLO: 5 images

    Args:
        dataset: with boxes, outlines or points.
        form: coco, voc or yolo.
        out: a folder that does not exist, or is empty.

    Raises:
        UsageError: the form is not known, or the folder is not empty or cannot be written.
        DataError: the dataset has no objects.
    """
    check_choice("convert", form, WRITERS)
    check_new(out, dataset.name)
    writer = _writer(form)
    records = {part: records_of(dataset, part, form == "coco") for part in dataset.splits}
    if not any(record.instances for own in records.values() for record in own):
        raise DataError(
            f"data={dataset.name!r}: has no boxes, outlines or points to write as {writer.FORM}; give annotated images."
        )
    with _draft(out) as draft:
        return write_files(dataset, records, form, draft)


def _writer(form: str) -> Writer:
    return cast(Writer, importlib.import_module(f"pellucid.data.annotations.writing.{form}"))


def write_files(dataset: Dataset, records: Mapping[str, Sequence[Annotated]], form: str, folder: Path) -> list[str]:
    """Write a dataset's images and these annotations into an empty folder; the sentences that `convert` returns.

    Args:
        dataset: the images with their names, and the classes in order.
        records: the annotations of each split's images.
        form: coco, voc or yolo.
        folder: that is there and empty.
    """
    writer = _writer(form)
    every = [record for own in records.values() for record in own]
    total = sum(len(record.instances) for record in every)
    names = _names(dataset)
    parts = {
        part: [record.replace(file=names[part][i]) for i, record in enumerate(own)] for part, own in records.items()
    }
    points = [split.targets.get("points") for split in dataset.splits.values()]
    mirror = next((own.mirror for own in points if isinstance(own, Points) and own.mirror is not None), ())
    sheet = Sheet(_classes(dataset, every), parts, dataset.point_names, dataset.skeleton, mirror)
    reduced = 0
    for part, split in dataset.splits.items():
        for i, name in enumerate(names[part]):
            file = folder / writer.place(part, name)
            file.parent.mkdir(parents=True, exist_ok=True)
            reduced += _write_image(split.images, i, file)
    lacking = writer.write(sheet, folder)
    said = [
        f"Written as {writer.FORM}: {counted(len(every))}, {counted(total, 'object')} of "
        f"{counted(len(sheet.classes), 'class').replace('classs', 'classes')}.",
        *lacking,
    ]
    if reduced:
        said.append(f"{counted(reduced)} of more than 8 bits {'is' if reduced == 1 else 'are'} written with 8.")
    return said


def check_new(out: Path, name: str = "") -> None:
    """Refuse a folder in which something is, or that lies within the dataset's own.

    Args:
        out: the folder to write.
        name: the dataset's name, which may be its path.

    Raises:
        UsageError: it cannot be written without harm.
    """
    try:
        empty = not os.path.lexists(out) or (out.is_dir() and not any(out.iterdir()))
    except OSError as fault:
        raise UsageError(f"out={str(out)!r}: cannot be opened ({fault.strerror}); name a new folder.") from fault
    if not empty:
        kind = "is a link to nothing" if not out.exists() else "is not empty" if out.is_dir() else "is a file"
        raise UsageError(f"out={str(out)!r}: {kind}; name a new folder, so that nothing is lost.")
    own = Path(name).expanduser()
    if name and own.is_dir() and out.resolve().is_relative_to(own.resolve()):
        raise UsageError(f"out={str(out)!r}: lies within the dataset {name!r}; name a folder outside it.")


@contextmanager
def _draft(out: Path) -> Iterator[Path]:
    """A folder beside `out` that takes its place once the block has ended, and is removed if it fails."""
    out = out.absolute().resolve()
    make_folder(out.parent)
    draft: Path | None = None
    try:
        draft = Path(tempfile.mkdtemp(prefix=f".{out.name[:_LONG]}.", dir=out.parent))
        yield draft
        draft.chmod(0o777 & ~_umask())
        os.rename(draft, out)  # onto an empty folder too
        draft = None
    except OSError as fault:
        raise UsageError(
            f"out={str(out)!r}: cannot be written ({fault.strerror or fault}), and nothing was; free some space, or name another folder."
        ) from fault
    finally:
        if draft is not None:
            shutil.rmtree(draft, ignore_errors=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _classes(dataset: Dataset, records: Sequence[Annotated]) -> tuple[str, ...]:
    """The classes of the objects in their order: the dataset's, unless these are of whole images alone."""
    used = list(dict.fromkeys(one.category for record in records for one in record.instances))
    if not used:
        return dataset.classes
    known = [
        names for names in (dataset.classes, dataset.mask_classes[1:], dataset.mask_classes) if set(used) & set(names)
    ]
    others = [title for title in used if not known or title not in known[0]]
    return (*(known[0] if known else ()), *(others[i] for i in order(others)))


# -- images


def _names(dataset: Dataset) -> dict[str, list[str]]:
    """A file's name for each image of each split, so that no two have one stem: its own, or if others share that, its path's."""
    whole = {part: [_path(split, i) for i in range(len(split))] for part, split in dataset.splits.items()}
    every = [path for own in whole.values() for path, _ in own]
    shared = Counter(_stem(path).casefold() for path in every)
    files = all(isinstance(split.images, Files) for split in dataset.splits.values() if len(split))
    kept = files or max(shared.values(), default=1) == 1  # images that were no files get names that are made alike
    taken: set[str] = set()
    names: dict[str, list[str]] = {}
    for part, own in whole.items():
        names[part] = []
        for path, ending in own:
            alone = kept and shared[_stem(path).casefold()] == 1
            stem = _stem(path) if alone else _fit(path.strip("/").replace("/", "-"))
            free, k = stem, 2
            while free.casefold() in taken:
                free, k = f"{stem}-{k}", k + 1
            taken.add(free.casefold())
            names[part].append(free + ending)
    return names


def _path(split: Split, i: int) -> tuple[str, str]:
    """An image's path without its ending, and the ending that its file gets."""
    images = split.images
    source = images.sources[i] if isinstance(images, Files) else None
    path = as_text(split.names[i]) if split.names else str(i)
    stem, ending = os.path.splitext(path)
    if ending.lower() not in SUFFIXES:
        stem, ending = path, ""
    return stem, ".png" if source is None else ending or _ending(source)


def _ending(source: Source) -> str:
    with opened(source) as image:
        return _ENDINGS.get(image.format, ".png")


def _stem(path: str) -> str:
    return _fit(path.rpartition("/")[2])


def _fit(name: str) -> str:
    """A name that every system takes, and that is not hidden."""
    return _UNFIT.sub("_", name)[-_LONG:].strip(". ") or "image"


def _write_image(images: Images, i: int, file: Path) -> bool:
    """Write one image; True if it has more bits than the file."""
    from PIL import Image

    if isinstance(images, Files):
        source = images.sources[i]
        if isinstance(source, bytes):
            file.write_bytes(source)
        else:
            shutil.copyfile(source, file)
        return False
    pixels = images.read(i, images.channels)  # (C, H, W)
    Image.fromarray(np.ascontiguousarray(pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0))).save(file)
    return isinstance(images, Pixels) and images.array.dtype != np.uint8
