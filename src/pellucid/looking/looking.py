# SPDX-License-Identifier: Apache-2.0
"""`look`: a run, a ready model or a training that has not begun, seen through a lens."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Iterable, Iterator, Sequence, Sized
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import nn

from pellucid import _catalog
from pellucid._png import drawn
from pellucid._values import check_kinds
from pellucid.errors import UnknownNameError, UsageError
from pellucid.files import check_space, folder_of, write_atomically
from pellucid.lenses import View
from pellucid.looking import subjects
from pellucid.own.files import is_reference
from pellucid.own.parts import take
from pellucid.run import Run, load

if TYPE_CHECKING:
    pass

__all__ = ["look"]

_DRAWN_AT = 200  # dots per inch of the written picture, fit for print


def look(
    what: Run | nn.Module | str | Path,
    lens: str,
    images: Any = (),
    out: str | Path | None = None,
    *,
    data: Any = None,
    model: Any = None,
    size: int | Sequence[int] = (),
    letter: int | Sequence[int] = (),
    memory: float | None = None,
    seed: int | None = None,
    progress: bool = False,
    verbose: bool = False,
    **options: Any,
) -> View:
    """Look through a lens: writes the figure and the numbers behind it, and returns them with a line of words.

    >>> class Bright(nn.Module):  # any module that takes images in [0, 1]
    ...     def forward(self, x): return torch.stack([x.mean((1, 2, 3)), x[:, 0, 0, 0]], 1)
    >>> import tempfile, torch
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     view = look(Bright(), "occlusion", np.ones((8, 8)), folder, patch=4, stride=4)
    >>> view.axes["drop"], view["drop"].shape
    (('image', 'row', 'column'), (1, 2, 2))

    Args:
        what: a run, its folder, a torch model, the name of a ready one ("torchvision/resnet18", "timm/NAME",
            "efficientnet_lite0"), or the name of a task: a training that has not begun, with its untrained model.
        lens: a name in the catalogue.
        images: what `predict` takes; by default a few of the run's own test images.
        out: folder for LENS.png, LENS.npz and further files of the lens; by default the run's figures/, or the current folder
            if there is no run.
        data: data instead of the run's own, or those of the training.
        model: of the training that has not begun, as `train` takes it; by default the task's default model.
        size: (H, W) or one number, px, to which a ready model's images are resized; by default what it was made for.
        letter: the numbers of the letters, in reading order from 1, that are looked at on each page, of a run that reads pages;
            images are pages then, and without any it is one made of the run's own letters.
        memory: GiB that the look may take; by default 2.
        seed: of random numbers; by default the run's, else 0.
        progress: show a progress bar.
        verbose: say more about what is done.
        options: fields of the lens, and options of the training.

    Raises:
        UnknownNameError: an unknown lens or option.
        UsageError: something that the lens needs is missing, e.g. images.
    """
    kind = _catalog.find("lenses", lens)
    known = {field.name for field in dataclasses.fields(kind)}
    task, model = _task(what), take("models", model).name
    rest = {} if task is None else {name: options.pop(name) for name in [*options] if name not in known}
    for option in options:
        if option not in known:
            raise UnknownNameError("option", option, known)
    if memory is not None and not memory > 0:
        raise UsageError(f"memory={memory:g}: must be above 0 GiB; give another value.")
    check_kinds(kind, options)
    made = kind(**options)
    sides = (size, size) if isinstance(size, int) else tuple(size)
    if any(side < 1 for side in sides) or len(sides) > 2:
        raise UsageError(f"size={size}: must be one or two numbers of px above 0; give e.g. --size 224.")
    letters = (letter,) if isinstance(letter, int) else tuple(letter)
    asked = _asked(memory, seed, progress, verbose)
    folder = folder_of(out, "a look") if out is not None else Path()
    weights = ""  # the digest of a run's weights
    if task is not None:
        check_space(folder / f"{lens}.png")
        training = {**rest, **({"seed": seed} if seed is not None else {}), **({"size": size} if sides else {})}
        with subjects.of_training(task, data, model, training, images, letters) as subject:
            view = subject.look(made, **asked)
    else:
        thing = load(what) if isinstance(what, (str, Path)) else what
        _refuse(model is not None, f"model={model!r}", "applies to a task, not to a run or a ready model")
        if isinstance(thing, Run):
            _refuse(bool(sides), f"size={size}", "applies to a ready model; a run has its own size")
            folder = thing.figures if out is None else folder
            check_space(folder / f"{lens}.png")
            weights = thing.digest
            view = subjects.of_run(thing, images, data, letters).look(made, **asked)
        else:
            _refuse(data is not None, f"data={data!r}", "applies to a run or a task; name images instead")
            _refuse(bool(letters), f"letter={letters[:1]}", "applies to a run that reads pages")
            check_space(folder / f"{lens}.png")
            view = subjects.of_module(thing, images, sides or None).look(made, **asked)
    _write(view, folder, lens.replace("-", "_"), weights)
    return view


def _write(view: View, folder: Path, name: str, weights: str) -> None:
    """The figure, the numbers with the names of their axes, and further files, each replaced atomically."""
    with write_atomically(folder / f"{name}.png") as draft:
        # the report reads them from there
        words = {"Title": name, "Description": view.words, **({"Weights": weights} if weights else {})}
        draft.write_bytes(drawn(view.figure, _DRAWN_AT, words))
    with write_atomically(folder / f"{name}.npz") as draft, draft.open("wb") as file:
        arrays: dict[str, Any] = dict(view.numbers)
        np.savez_compressed(file, **arrays, axes=np.array(json.dumps(view.axes)))
    for other, content in view.files.items():
        with write_atomically(folder / other) as draft:
            draft.write_bytes(content)


def _task(what: Any) -> str | None:
    """The task that is named, if it is one and no folder has this name."""
    if not isinstance(what, (str, Path)) or Path(what).exists():
        return None
    if is_reference(str(what)):
        return take("tasks", str(what)).name
    name = str(what).replace("-", "_")
    return name if name in _catalog.names("tasks") else None


def _refuse(given: bool, option: str, rule: str) -> None:
    if given:
        raise UsageError(f"{option}: {rule}; leave it out.")


def _asked(memory: float | None, seed: int | None, progress: bool, verbose: bool) -> dict[str, Any]:
    """The options that all lenses share, as fields of the parts."""
    asked: dict[str, Any] = {}
    if memory is not None:
        asked["memory"] = int(memory * 2**30)
    if seed is not None:
        asked["seed"] = seed
    if progress:
        asked["progress"] = _tracked
    if verbose:
        asked["note"] = lambda words: print(f"  {words}", file=sys.stderr)
    return asked


def _tracked(items: Iterable[Any], words: str) -> Iterator[Any]:
    """The items, with a progress bar on stderr if there are several."""
    from rich.console import Console
    from rich.progress import MofNCompleteColumn, Progress

    total = len(items) if isinstance(items, Sized) else None
    bar = Progress(
        *Progress.get_default_columns(), MofNCompleteColumn(), console=Console(stderr=True), disable=total == 1
    )
    with bar:
        yield from bar.track(items, total=total, description=words)
