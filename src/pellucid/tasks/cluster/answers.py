# SPDX-License-Identifier: Apache-2.0
"""What `predict` answers for many images at once: their tree and its cuts, new images in it, and copies sorted into folders."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pellucid._contact import TILES, as_bytes
from pellucid._png import drawn
from pellucid.data.batches import store
from pellucid.data.colour import to_channels
from pellucid.data.fits import Fit
from pellucid.data.fitting import fit_floats
from pellucid.data.given import UserImages, decodable, gather
from pellucid.errors import DataError, UsageError
from pellucid.files import make_folder, write_atomically
from pellucid.models import _building
from pellucid.tasks._wrapping import scale_of, unwrapped
from pellucid.tasks.cluster import dendrogram
from pellucid.tasks.cluster.hierarchy import Tree
from pellucid.tasks.cluster.options import ClusterOptions, ClusterTask
from pellucid.tasks.cluster.training import ClusterPrediction, codes_of

__all__ = ["answer"]

_AT_ONCE = 256


def answer(task: ClusterTask, model: nn.Module, images: Any, options: ClusterOptions) -> list[dict[str, Any]]:
    """One row per image with its cluster; with a hierarchy also the dendrogram, and a row for each image placed in the tree.

    Raises:
        UsageError: arrays that would have to be copied as files, a folder for copies that contains the images, or a cut into
            more clusters than images.
    """
    given = gather(images, scale_of(model))
    if options.sort_into and len(given.faults) < len(given.names):
        _check_copies(given, Path(options.sort_into))
    pictures, places, given = _inputs(model, given, task.fitting)
    if not places:
        return [{"name": given.names[place], "error": fault} for place, fault in sorted(given.faults.items())]
    names = [given.names[place] for place in places]
    prediction = _predictions(task, model, pictures)
    rows = dict(zip(places, task.write(prediction, names, ()), strict=True))
    labels = prediction.cluster.numpy()
    extra: list[dict[str, Any]] = []
    if options.hierarchy != "none":
        codes = _codes(model, pictures, task.agreement > 0)
        if (codes == codes[0]).all() and not bool((pictures == pictures[0]).all()):
            raise UsageError(
                f"hierarchy={options.hierarchy!r}: the model gives all {len(codes):,} images one and the same code, so there is "
                "no tree; train again with a lower lr or another activation."
            )
        tree = Tree(codes, options.hierarchy)
        k = options.cut or min(len(unwrapped(model).kept["centres"]), len(tree))
        labels = tree.cut_at(options.height) if options.height else tree.cut(k)
        for place, label in zip(places, labels.tolist(), strict=True):
            rows[place] = {**rows[place], "cluster": label}
        if options.place:
            extra = _placed(task, model, tree, labels, names, options.place)
        figure = dendrogram.draw(tree, labels, pictures)
        extra.append(
            {
                "name": f"dendrogram-{options.hierarchy}",
                "images": len(tree),
                "content": drawn(figure),
                "suffix": ".png",
            }
        )
    rows = _shown(rows, places, labels, pictures)
    if options.sort_into:
        copies = _copy(given, dict(zip(places, labels.tolist(), strict=True)), Path(options.sort_into))
        rows = {place: {**row, "copy": str(copies[place])} for place, row in rows.items()}
    rows |= {place: {"name": given.names[place], "error": fault} for place, fault in given.faults.items()}
    return [rows[place] for place in sorted(rows)] + extra


def _shown(
    rows: dict[int, dict[str, Any]], places: Sequence[int], labels: NDArray[Any], pictures: Tensor
) -> dict[int, dict[str, Any]]:
    """The rows with their groups, of which the first images have pictures for the contact sheet."""
    found, counts = dict(rows), Counter[int]()
    for number, (place, label) in enumerate(zip(places, labels.tolist(), strict=True)):
        counts[label] += 1
        tile = {"tile": as_bytes(pictures[number])} if counts[label] <= TILES else {}
        found[place] = {**rows[place], "group": f"cluster {label}", **tile}
    return found


def _inputs(model: nn.Module, given: UserImages, fit: Fit) -> tuple[Tensor, list[int], UserImages]:
    """All images as the model's input, (N, C, H, W) float32 in [0, 1], with their positions as given.

    The images come back with what turned out to be damaged among their faults.
    """
    description = _building.describe(model)
    (height, width), channels = description["size"], description["channels"]
    size = (int(height), int(width))
    try:
        parts = _decoded(given, channels, size, fit)
    except DataError:
        given = decodable(given, channels, size)
        parts = _decoded(given, channels, size, fit)
    for place, image in given.floats.items():
        parts[place] = fit_floats(to_channels(image, channels)[None], size, fit)[0]
    places = sorted(parts)
    stacked = torch.stack([parts[place] for place in places]) if places else torch.zeros(0, channels, *size)
    return stacked, places, given


def _decoded(given: UserImages, channels: int, size: tuple[int, int], fit: Fit) -> dict[int, Tensor]:
    """The 8-bit images by position as given, (C, H, W) float32 in [0, 1] each."""
    parts: dict[int, Tensor] = {}
    if len(given.split):
        decoded = store(given.split, size, channels, fit=fit, memory_share=0.0, disk_share=0.0)
        for batch in decoded.batches(_AT_ONCE):
            pictures = batch.images.float().div_(255)
            parts |= {given.places[int(i)]: picture for i, picture in zip(batch.index, pictures, strict=True)}
    return parts


def _predictions(task: ClusterTask, model: nn.Module, pictures: Tensor) -> ClusterPrediction:
    device = next(model.parameters()).device
    parts: list[Tensor] = pictures.split(_AT_ONCE)
    return ClusterPrediction.cat([task.predict(model, part.to(device)).to("cpu") for part in parts])


def _codes(model: nn.Module, pictures: Tensor, unit: bool) -> NDArray[np.float32]:
    """(N, D)."""
    device = next(model.parameters()).device
    parts: list[Tensor] = pictures.split(_AT_ONCE)
    return torch.cat([codes_of(model, part.to(device), unit).cpu() for part in parts]).numpy()


def _placed(
    task: ClusterTask, model: nn.Module, tree: Tree, labels: NDArray[np.int64], known: Sequence[str], new: Sequence[str]
) -> list[dict[str, Any]]:
    """A row for each new image, in their order: its cluster in the cut, its nearest image, and the height at which it joins."""
    given = gather(list(new), scale_of(model))
    pictures, places, given = _inputs(model, given, task.fitting)
    rows: dict[int, dict[str, Any]] = {
        place: {"name": given.names[place], "error": fault} for place, fault in given.faults.items()
    }
    if places:
        outliers = _predictions(task, model, pictures).unlike.tolist()
        codes = _codes(model, pictures, task.agreement > 0)
        for place, code, outlier in zip(places, codes, outliers, strict=True):
            where = tree.place(code, labels)
            found = {"placed": True, "cluster": where.cluster, "nearest": known[where.nearest], "height": where.height}
            rows[place] = {"name": given.names[place], **found, "unlike": bool(outlier)}
    return [rows[place] for place in sorted(rows)]


def _check_copies(given: UserImages, folder: Path) -> None:
    """Refuse what cannot be copied, before anything is written."""
    if given.floats or not given.split.names or not _sources(given):
        raise UsageError(
            f"sort_into={str(folder)!r}: copies files, and arrays were given; give files, folders or globs."
        )
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"sort_into={str(folder)!r}: is a file; name a folder.")
    inside = [source for source in _sources(given) if folder.resolve() in source.resolve().parents]
    if inside:
        raise UsageError(
            f"sort_into={str(folder)!r}: contains {inside[0].name}, which is to be sorted; name another folder."
        )


def _sources(given: UserImages) -> list[Path]:
    return [Path(source) for source in getattr(given.split.images, "sources", ())]


def _copy(given: UserImages, labels: dict[int, int], folder: Path) -> dict[int, Path]:
    """Copies in cluster-00, cluster-01, …; a name that exists already gets a number, so that nothing is overwritten."""
    digits = max(2, len(str(max(labels.values(), default=0))))
    copies: dict[int, Path] = {}
    for source, place in zip(_sources(given), given.places, strict=True):
        inside = make_folder(folder / f"cluster-{labels[place]:0{digits}d}")
        target, count = inside / source.name, 1
        while target.exists():
            count += 1
            target = inside / f"{source.stem}-{count}{source.suffix}"
        with write_atomically(target) as draft:
            shutil.copyfile(source, draft)
        copies[place] = target
    return copies
