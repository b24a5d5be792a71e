# SPDX-License-Identifier: Apache-2.0
"""`look`: a run or a ready classifier, through a lens."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from pellucid import _catalog
from pellucid.data.given import gather
from pellucid.errors import PellucidError, UnknownNameError, UsageError
from pellucid.files import write_atomically
from pellucid.inference import inputs, run_batches, unit
from pellucid.lenses import Sight, View
from pellucid.run import Run, load

__all__ = ["look", "sight_of", "without_images"]

_EXAMPLES = 6  # test images that are looked at where none are named


def look(
    what: Run | nn.Module | str | Path,
    lens: str,
    images: Any = (),
    out: str | Path | None = None,
    **options: Any,
) -> View:
    """Look through a lens; the figure and the numbers behind it are written, and a line of words comes back.

    Args:
        what: a run, its folder, a torch classifier, or the name of one ("torchvision/resnet18").
        lens: a name in the catalogue.
        images: what `predict` takes; by default a few of the run's own test images.
        out: the folder for LENS.png and LENS.npz; by default the run's figures/, and the current folder without a run.
        options: fields of the lens.

    Raises:
        UnknownNameError: a lens or an option that there is not.
        UsageError: the lens lacks something, e.g. images.
    """
    kind = _catalog.find("lenses", lens)
    known = {field.name for field in dataclasses.fields(kind)}
    for option in options:
        if option not in known:
            raise UnknownNameError("option", option, known)
    made = kind(**options)
    thing = load(what) if isinstance(what, (str, Path)) else what
    lack: PellucidError | None = None
    modes = {module: module.training for module in thing.modules()} if isinstance(thing, nn.Module) else {}
    try:
        if isinstance(thing, Run):
            try:
                sight = sight_of(thing, images)
            except PellucidError as fault:
                if not _nothing(images):
                    raise
                lack, sight = fault, without_images(thing)  # enough for a lens that looks at records alone
        else:
            sight = _sight_of_module(thing, images)
        view: View = made.look(sight)
    except UsageError as fault:
        raise lack or fault from None
    finally:  # a look leaves no mode change behind, also after an exception
        for module, mode in modes.items():
            module.training = mode
    folder = Path(out) if out is not None else thing.figures if isinstance(thing, Run) else Path()
    name = lens.replace("-", "_")
    with write_atomically(folder / f"{name}.png") as draft:
        view.figure.savefig(draft, format="png", bbox_inches="tight", facecolor="white")
    with write_atomically(folder / f"{name}.npz") as draft, draft.open("wb") as file:
        arrays: dict[str, Any] = dict(view.numbers)
        np.savez_compressed(file, **arrays)
    return view


def sight_of(run: Run, images: Any = ()) -> Sight:
    """All that a run has to look at; its model sees the named images, or a few of its own test images."""
    names, batch = _own_examples(run) if _nothing(images) else _named(run, images)
    return dataclasses.replace(
        without_images(run), model=run.model(), images=batch, evidence=run.task.evidence, names=names
    )


def without_images(run: Run) -> Sight:
    """What a run's folder tells without its data and its weights: history, classes and records."""
    return Sight(classes=run.classes, history=run.history, records=run.records())


def _nothing(images: Any) -> bool:
    return images is None or (isinstance(images, (list, tuple)) and not images)


def _own_examples(run: Run) -> tuple[list[str], Tensor]:
    splits = run.data().splits
    test = next(splits[part] for part in ("test", "val", "train") if len(splits[part]))
    chosen = np.unique(np.linspace(0, len(test) - 1, min(_EXAMPLES, len(test))).round().astype(np.int64))
    split = test.select(chosen)
    # pictures at their own size may differ, and one tensor holds one size: the first batch has equal ones
    batch = next(iter(run_batches(run, split, _EXAMPLES, torch.device("cpu"))))
    return [split.names[int(i)] for i in batch.index], unit(batch.images)


def _named(run: Run, images: Any) -> tuple[list[str], Tensor]:
    given = gather(images)
    for places, batch in inputs(run, given, 64, torch.device("cpu")):
        return [given.names[place] for place in places], batch
    fault = next(iter(given.faults.values()))
    raise UsageError(fault)


def _sight_of_module(model: nn.Module, images: Any) -> Sight:
    """A ready classifier sees images at the size that it was made for (`model.size`), the middle of them cut square."""
    given = gather(images)
    size = getattr(model, "size", (224, 224))
    tensors = [
        _square(unit(torch.from_numpy(np.array(given.split.images.read(i, 3)))), size) for i in range(len(given.split))
    ]
    tensors += [_square(image.expand(3, -1, -1), size) for image in given.floats.values()]
    if not tensors:
        raise UsageError(next(iter(given.faults.values())))
    names = [given.names[place] for place in [*given.places, *given.floats]]
    return Sight(model=model.eval(), images=torch.stack(tensors), names=names, classes=getattr(model, "classes", ()))


def _square(image: Tensor, size: tuple[int, int]) -> Tensor:
    """(C, H, W) to (C, *size): the shorter side brought to size / 0.875, then the middle, as ImageNet models are tested."""
    scale = min(size) / 0.875 / min(image.shape[1:])
    tall, wide = (max(side, round(have * scale)) for side, have in zip(size, image.shape[1:], strict=True))
    scaled = nn.functional.interpolate(image[None], (tall, wide), mode="bilinear", antialias=True)[0]
    top, left = (tall - size[0]) // 2, (wide - size[1]) // 2
    return scaled[:, top : top + size[0], left : left + size[1]]
