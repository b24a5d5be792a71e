# SPDX-License-Identifier: Apache-2.0
"""`open`: a dataset from a name, a path or a hub id."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pellucid.data.dataset import Dataset, Split
from pellucid.data.decoding import SUFFIXES, Files, decode
from pellucid.data.problems import counted, few
from pellucid.data.scales import Scale
from pellucid.data.scaling import scaled
from pellucid.data.splitting import SPLITS, cutting, finish
from pellucid.errors import DataError, UnknownNameError

if TYPE_CHECKING:
    from pellucid.data.formats.finding import Found

__all__ = ["open"]

_ANNOTATIONS = {
    ".json",
    ".xml",
    ".yaml",
    ".yml",
    ".csv",
    ".tsv",
    ".txt",
    ".pts",
}  # endings of files that a folder's images may need
_FILES = {".npz", ".mat", ".parquet", ".gz", ".zip", ".csv", ".json", *SUFFIXES}  # endings that no hub id has


def open(what: Any, range: Sequence[float] | Scale | None = None, *, cut: str = "stratified") -> Dataset:
    """Open a dataset by the name of an embedded one, by path, by hub id, or from arrays and samples in memory.

    >>> open("digits").counts["test"]["0"] > 20
    True

    A path may be a folder of class folders (with or without train, val and test above them), a folder of plain images,
    Hugging Face's image folder with a metadata table, MNIST-style idx files, a .npz, a .mat, or a parquet file; or images with
    annotations as COCO, Pascal VOC, YOLO, LabelMe, CVAT, Label Studio, masks, tables of points or lines of text, or the file of
    annotations itself. Missing splits are taken from train by content hash, class by class: 20 % for test, then 10 % of the rest
    for val.

    Args:
        what: an embedded name (`pellucid list data`), a path, a short name (mnist, fashion_mnist, svhn, cifar10) or a
            hub id `owner/name` (`owner/name:configuration` where it has several); or arrays `(x, y)`, a list of (image, target), a
            torch or Hugging Face dataset, or a dict of these by split, as `data.formats.memory` says.
        range: the value that is black and the one that is white in images with more than 8 bits; by default 0 and the largest
            number of as many bits as all of them need, or 0 and 1 for floating-point images.
        cut: the rule for missing splits: "stratified", or "threshold", by which each image's hash alone decides, as for runs
            that were recorded before there were others.

    Raises:
        DataError: the path does not exist or cannot be used; the sentence says why, and what to do.
        UnknownNameError: a single word that is neither a name nor a path.
    """
    with cutting(cut):
        dataset = _open(what)
        images = [split.images for split in dataset.splits.values()]
        refreshed = [one.refreshed() for one in images if isinstance(one, Files)]
        if any(refreshed):
            dataset = _open(what)
    return scaled(dataset, range)


def _open(what: Any) -> Dataset:
    from pellucid.data.embedded import embedded

    if isinstance(what, str) and what in embedded.names():
        return embedded.load(what)
    from pellucid.data.formats import hub, memory  # an embedded dataset needs none of what reads others

    if not isinstance(what, (str, Path)):
        return memory.from_memory(what)
    text = str(what)
    path = Path(text).expanduser()
    if text.startswith(memory.NAME):
        return memory.recalled(text)
    if path.is_dir():
        from pellucid.data.formats import finding

        own = finding.walk(path)
        above = _holder(path, own)
        if above is not None:
            return _open_directory(above, [path.absolute().relative_to(above).as_posix()], text)
        return _open_directory(path, found=own)
    if path.is_file() and (above := _holder(path)) is not None:
        return _open_directory(above, [path.absolute().relative_to(above).as_posix()], text)
    if path.is_file():
        return _open_file(path)
    if text in hub.SHORT or (re.fullmatch(r"[\w.-]+/[\w.-]+(:[\w.-]+)?", text) and Path(text).suffix not in _FILES):
        return hub.open_hub(text)
    if re.fullmatch(r"[\w-]+", text):
        raise UnknownNameError("data", text, [*embedded.names(), *hub.SHORT])
    raise DataError(f"data={text!r}: does not exist; check the path, or give a name from `pellucid list data`.")


def _holder(path: Path, own: Found | None = None) -> Path | None:
    """The folder of the dataset whose annotations a path names: a file of them, or a folder without a dataset of its own.

    `own` is what lies in a folder.
    """
    from pellucid.data.annotations import choosing
    from pellucid.data.annotations.mask_names import is_mask_folder
    from pellucid.data.formats import finding

    if own is not None:
        masks = is_mask_folder(path.name) and not any(reader.fits(path, own) for reader in choosing.readers().values())
        if own.images and not masks:  # it is a dataset itself
            return None
    elif path.suffix.lower() not in _ANNOTATIONS:
        return None

    def holds(above: Path) -> bool:
        found = finding.walk(above)
        name = path.absolute().relative_to(above).as_posix()
        return bool(found.images) and choosing.names_annotations(above, found, name)

    above = path.absolute().parents
    depth = 2 + any(folder.name.lower() in SPLITS for folder in above[:2])  # labels/train/a.json
    for i, folder in enumerate(above[:depth]):
        if holds(folder):
            # the folder of a split belongs to the data set around it, as the other splits do
            around = above[i + 1 : i + 2] if folder.name.lower() in SPLITS else ()
            return next((wider for wider in around if holds(wider)), folder)
    return None


def _open_directory(path: Path, only: Sequence[str] = (), name: str = "", found: Found | None = None) -> Dataset:
    """A folder; `only` names the files or folders in it that the user chose, and then the dataset is called `name`.

    `found` is what lies in the folder, if that is known already.
    """
    from pellucid.data.annotations import choosing
    from pellucid.data.annotations.assembling import assemble
    from pellucid.data.formats import arrays, finding, folders, hub, idx, matlab

    found = finding.without_answers(path, found or finding.walk(path))
    if annotations := choosing.chosen(path, found, only):
        return assemble(path, annotations, found, name)
    if not folders.has_classes(found):  # folders of classes and splits win over a stray file of another kind
        if by_split := idx.idx_files(path):
            read = [file for own in by_split.values() for file in own.values()]
            return _without_others(path, found, read, idx.open_idx(path, by_split))
        if tables := hub.parquet_files(path):
            read = [file for own in tables.values() for file in own]
            return _without_others(path, found, read, hub.open_parquet(path, tables))
        for suffix, reader in ((".npz", arrays.open_npz), (".mat", matlab.open_mat)):
            files = sorted(path.glob(f"*{suffix}"))
            if files and len(found.images) <= len(files):  # arrays with a picture or two beside them
                return _without_others(path, found, files, _open_one_of(path, files, reader))
    return folders.open_folder(path, found)


def _without_others(path: Path, found: Found, read: Sequence[Path], dataset: Dataset) -> Dataset:
    """A dataset from files in a folder, with sentences on what else is there."""
    from pellucid.data.formats.finding import left_out

    names = {file.relative_to(path).as_posix() for file in read}
    problems = left_out([name for name in found.others if name not in names])
    if found.images:
        verb = "is" if len(found.images) == 1 else "are"
        problems.insert(0, f"{counted(len(found.images))} beside the data files {verb} left out ({few(found.images)}).")
    return dataset.replace(problems=(*dataset.problems, *problems))


def _open_one_of(path: Path, files: list[Path], reader: Callable[[Path], Dataset]) -> Dataset:
    """The training file with those of the other splits beside it; a file on its own may have any name."""
    from pellucid.data.formats.arrays import siblings
    from pellucid.data.splitting import SPLITS, split_word

    train = [file for file in files if SPLITS.get(split_word(file.stem) or "") == "train"]
    if len(files) > 1 and len(train) != 1:
        raise DataError(
            f"data={str(path)!r}: has {len(files)} files ({files[0].name}, {files[1].name}, …), not exactly one of which is "
            "named train; give the path of one of them."
        )
    first = (train or files)[0]
    ignored = [file.name for file in files if file not in siblings(first).values()]
    dataset = reader(first).replace(name=str(path))
    if not ignored:
        return dataset
    sentence = f"{', '.join(ignored)} beside {first.name} {'is' if len(ignored) == 1 else 'are'} ignored."
    return dataset.replace(problems=(*dataset.problems, sentence))


def _open_file(path: Path) -> Dataset:
    from pellucid.data.formats import arrays, hub, idx, matlab
    from pellucid.data.formats.tables import METADATA

    if path.stat().st_size == 0:
        raise DataError(f"data={str(path)!r}: is empty; download or write it again.")
    if path.name in METADATA:
        return _open_directory(path.parent)
    if path.suffix == ".npz":
        return arrays.open_npz(path)
    if path.suffix == ".mat":
        return matlab.open_mat(path)
    if path.suffix == ".parquet":
        return hub.open_parquet(path, {part: [file] for part, file in arrays.siblings(path).items()})
    by_split = idx.idx_files(path.parent)
    if any(path in own.values() for own in by_split.values()):
        return idx.open_idx(path.parent, by_split)
    if path.suffix.lower() in SUFFIXES:
        return _open_picture(path)
    raise DataError(
        f"data={str(path)!r}: is a {path.suffix or 'file without a suffix'}, which cannot be read as a dataset; "
        "give a folder of images, idx, .npz, .mat or .parquet."
    )


def _open_picture(path: Path) -> Dataset:
    """A single picture, for training on the patches of its known part (`train inpaint --on-image`)."""
    picture = Files([path], [path.name])
    decode(path, picture.channels)  # refuses one that cannot be read
    return finish(str(path), {"train": Split(picture, {}, [path.name])})
