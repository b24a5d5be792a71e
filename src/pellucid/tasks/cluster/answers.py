# SPDX-License-Identifier: Apache-2.0
"""Answers about many images at once: their tree, its cuts, new images in it, and copies sorted into folders."""

from __future__ import annotations

import io
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from pellucid.data.batches import store
from pellucid.data.given import UserImages, gather
from pellucid.errors import UsageError
from pellucid.files import make_folder, write_atomically
from pellucid.tasks.cluster import dendrogram
from pellucid.tasks.cluster.hierarchy import Tree
from pellucid.tasks.cluster.options import Clustering, ClusterOptions
from pellucid.tasks.cluster.training import Assigned, codes_of

__all__ = ["answer"]

_AT_ONCE = 256


def answer(task: Clustering, model: nn.Module, images: Any, asked: ClusterOptions) -> list[dict[str, Any]]:
    """A row an image with its cluster; with a hierarchy also the dendrogram, and a row for each image placed in it.

    Raises:
        UsageError: arrays that are to be copied as files, a folder of copies that is one of the images' own, a cut into
            more clusters than images.
    """
    given = gather(images)
    if asked.sort_into:
        _check_copies(given, Path(asked.sort_into))
    pictures, names, places = _inputs(model, given)
    found = _assigned(task, model, pictures)
    rows = dict(zip(places, task.write(found, names, ()), strict=True))
    labels = found.cluster.numpy()
    extra: list[dict[str, Any]] = []
    if asked.hierarchy != "none":
        unit = task.agreement > 0
        tree = Tree(_codes(model, pictures, unit), asked.hierarchy)
        k = asked.cut or min(len(model.kept["centres"]), len(tree))  # type: ignore[index]
        labels = tree.cut_at(asked.height) if asked.height else tree.cut(k)
        for place, label in zip(places, labels.tolist(), strict=True):
            rows[place] = {**rows[place], "cluster": label}
        if asked.place:
            extra = _placed(task, model, tree, labels, names, asked.place)
        figure = dendrogram.draw(tree, labels, pictures)
        drawn = io.BytesIO()
        figure.savefig(drawn, format="png", bbox_inches="tight", facecolor="white")
        extra.append({"name": f"dendrogram-{asked.hierarchy}", "content": drawn.getvalue(), "suffix": ".png"})
    if asked.sort_into:
        copied = _copy(given, dict(zip(places, labels.tolist(), strict=True)), Path(asked.sort_into))
        rows = {place: {**row, "copy": str(copied[place])} for place, row in rows.items()}
    rows |= {place: {"name": given.names[place], "error": fault} for place, fault in given.faults.items()}
    return [rows[place] for place in sorted(rows)] + extra


def _inputs(model: nn.Module, given: UserImages) -> tuple[Tensor, list[str], list[int]]:
    """All images as the model takes them, (N, C, H, W) float32 in [0, 1], with their names and places."""
    description: dict[str, Any] = model.description  # type: ignore[assignment]
    size, channels = tuple(description["size"]), description["channels"]
    parts: dict[int, Tensor] = {}
    if len(given.split):
        kept = store(given.split, size, channels, memory_share=0.0, disk_share=0.0)
        for batch in kept.batches(_AT_ONCE):
            pictures = batch.images.float().div_(255)
            parts |= {given.places[int(i)]: picture for i, picture in zip(batch.index, pictures, strict=True)}
    for place, image in given.floats.items():
        one = image[None]
        if one.shape[1] != channels:
            luma = torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)
            one = one.expand(-1, 3, -1, -1) if channels == 3 else (one * luma).sum(1, keepdim=True)
        parts[place] = F.interpolate(one, size, mode="bilinear", antialias=True)[0] if one.shape[2:] != size else one[0]
    if not parts:
        raise UsageError("images=[…]: none of them can be read; give others.")
    places = sorted(parts)
    return torch.stack([parts[place] for place in places]), [given.names[place] for place in places], places


def _assigned(task: Clustering, model: nn.Module, pictures: Tensor) -> Assigned:
    device = next(model.parameters()).device
    parts: list[Tensor] = pictures.split(_AT_ONCE)
    return Assigned.cat([task.predict(model, part.to(device)).to("cpu") for part in parts])


def _codes(model: nn.Module, pictures: Tensor, unit: bool) -> NDArray[np.float32]:
    device = next(model.parameters()).device
    parts: list[Tensor] = pictures.split(_AT_ONCE)
    return torch.cat([codes_of(model, part.to(device), unit).cpu() for part in parts]).numpy()


def _placed(
    task: Clustering, model: nn.Module, tree: Tree, labels: NDArray[np.int64], known: Sequence[str], new: Sequence[str]
) -> list[dict[str, Any]]:
    """A row for each new image: the cluster of the cut that it falls into, its nearest image, the height at which it joins."""
    given = gather(list(new))
    rows: list[dict[str, Any]] = [{"name": given.names[place], "error": fault} for place, fault in given.faults.items()]
    pictures, names, _ = _inputs(model, given)
    strange = _assigned(task, model, pictures).unlike.tolist()
    for name, code, flag in zip(names, _codes(model, pictures, task.agreement > 0), strange, strict=True):
        found = tree.place(code, labels)
        where = {"placed": True, "cluster": found.cluster, "nearest": known[found.nearest], "height": found.height}
        rows.append({"name": name, **where, "unlike": bool(flag)})
    return rows


def _check_copies(given: UserImages, folder: Path) -> None:
    if given.floats or not given.split.names or not _sources(given):
        raise UsageError(
            f"sort_into={str(folder)!r}: copies files, and arrays were given; give files, folders or globs."
        )
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"sort_into={str(folder)!r}: is a file; name a folder.")
    inside = [source for source in _sources(given) if folder.resolve() in source.resolve().parents]
    if inside:
        raise UsageError(
            f"sort_into={str(folder)!r}: holds {inside[0].name}, which is to be sorted; name another folder."
        )


def _sources(given: UserImages) -> list[Path]:
    return [Path(source) for source in getattr(given.split.images, "sources", ())]


def _copy(given: UserImages, labels: dict[int, int], folder: Path) -> dict[int, Path]:
    """Copies in cluster-00, cluster-01, …; a name that is taken gets a number, so that nothing is overwritten."""
    digits = max(2, len(str(max(labels.values(), default=0))))
    found: dict[int, Path] = {}
    for source, place in zip(_sources(given), given.places, strict=True):
        inside = make_folder(folder / f"cluster-{labels[place]:0{digits}d}")
        target, count = inside / source.name, 1
        while target.exists():
            count += 1
            target = inside / f"{source.stem}-{count}{source.suffix}"
        with write_atomically(target) as draft:
            shutil.copyfile(source, draft)
        found[place] = target
    return found
