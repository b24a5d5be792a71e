# SPDX-License-Identifier: Apache-2.0
"""A module by itself as a run that lies in no folder, so that `evaluate`, `predict` and `export` take it the way they take a run.

Which task, which classes and which size is what run.json says of a training; here the arguments say it, or data as a training
would read them. The model is a copy in eval mode: the module stays as it was.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.parameter import is_lazy

from pellucid import _catalog
from pellucid import data as datasets
from pellucid.data.dataset import Dataset, Pixels, Split
from pellucid.data.fitting import with_fit
from pellucid.data.scaling import scaled
from pellucid.data.sizing import training_size
from pellucid.data.targets import Label, Mask
from pellucid.describing import described, task_name
from pellucid.errors import DataError, UsageError
from pellucid.models import _building
from pellucid.models._own import OwnModel
from pellucid.own.parts import borrowed, find, take
from pellucid.run import Run
from pellucid.tasks import AnyTask, Task, TaskFamily

__all__ = ["as_run"]

_SEED = 0  # of noise, masks and intervals in its measures


def as_run(
    given: Run | nn.Module | str | Path,
    data: Any = None,
    *,
    task: str | AnyTask | TaskFamily | type[Any] | None = None,
    classes: Sequence[str] = (),
    size: int | Sequence[int] = (),
) -> Run:
    """The run that is given, or a module as one.

    >>> net = nn.Sequential(nn.Flatten(), nn.Linear(64, 3))
    >>> run = as_run(net, task="classify", classes=["a", "b", "c"], size=8)
    >>> run.planes, run.size, run.classes, type(run.model()).__name__
    (1, (8, 8), ('a', 'b', 'c'), 'OwnModel')

    Args:
        given: a run, its folder, or a module that takes images in [0, 1].
        data: of a module: data that say what else is needed.
        task: of a module: what it answers.
        classes: of a module: the names of its classes; by default those of the data, or its own `classes`.
        size: of a module: (H, W) in px of its images, or one number; by default as a training on the data has it, or its own `size`.

    Raises:
        UsageError: what a module needs is missing, or does not fit it; or something of it was given with a run.
    """
    if not isinstance(given, nn.Module):
        for name, value in {"data": data, "task": task, "classes": classes, "size": size}.items():
            if value is not None and not (isinstance(value, (str, tuple, list)) and not len(value)):
                raise UsageError(
                    f"{name}={_brief(value)}: is for a module by itself; a run has its own, so leave it out."
                )
        return given if isinstance(given, Run) else Run(given)
    net = given.net if isinstance(given, OwnModel) else given  # as `Run.model()` gives it
    title = type(net).__name__
    if task is None:
        raise UsageError(
            f"task=None: {title} is a module and does not say what it answers; give task='classify', or another of `pellucid list tasks`."
        )
    if any(is_lazy(value) for value in (*net.parameters(), *net.buffers())):
        raise UsageError(
            f"run={title}: has layers whose weights are made with the first images; call it with some before."
        )
    ours = type(net).__module__.startswith("pellucid.models.")
    known: Mapping[str, Any] = getattr(net, "description", {}) if ours else {}  # of a model in the catalogue
    names = _names(classes) or _own(net, "classes", str)
    sides = _sides(size) or tuple(known.get("size", ())) or _own(net, "size", int)
    opened = None if data is None else _opened(data)
    if opened is None and len(sides) != 2:
        raise UsageError(
            f"size=(): {title} is a module and does not say how large its images are; give size=(H, W) in px, or data to take it from."
        )
    if opened is not None and _names(classes) and _names(classes) != opened.classes:
        raise UsageError(
            f"classes={_brief(classes)}: are not those of data={opened.name!r}, {_brief(opened.classes)}; give one of the two."
        )
    with borrowed("models", known["name"] if known else net) as name:
        named, asked = _task(task, name)
        last: UsageError | None = None
        for planes in _planes(net, opened, asked):
            blank = opened if opened is not None else _blank(names, (sides[0], sides[-1]), planes)
            try:
                dataset, read = asked.read(scaled(blank))
            except DataError as fault:
                if opened is not None:
                    raise
                raise _missing(asked, named, bool(names)) from fault
            dataset = with_fit(dataset, read.fitting)
            frame = training_size(dataset, sides, read.crops, read.longest)
            try:
                if known:
                    model, description = _of_catalogue(net, known, dataset, read, named, frame)
                else:
                    description = described(name, read, named, dataset, frame, {}, planes)
                    model = _building.build(description)
                    model.net.load_state_dict(net.state_dict())
            except UsageError as fault:
                last = fault
                continue
            break
        else:
            assert last is not None
            raise last
    mine = find("tasks", named)
    record = dataset.record
    info = {
        "task": {"name": named, "options": read.options, **({} if mine is None else {"own": dict(mine.record)})},
        "model": description,
        "data": {**record, "channels": description["channels"] - read.extra_planes},
        "recipe": {},
        "environment": {},
        "best": None,
        "seed": _SEED,
    }
    return Run.of_module(info, read, model.eval(), opened)


def _task(task: Any, model: str) -> tuple[str, AnyTask]:
    """The name of a task, and the task as it is for a model of this name."""
    if isinstance(task, (Task, TaskFamily)):
        return task_name(task), task.for_model(model)
    named = task_name(str(take("tasks", task).name))
    kind: Any = _catalog.find("tasks", named)
    return named, kind().for_model(model)


def _opened(data: Any) -> Dataset:
    return data if isinstance(data, Dataset) else datasets.open(data)


def _names(classes: Sequence[str]) -> tuple[str, ...]:
    if isinstance(classes, str):
        raise UsageError(
            f"classes={classes!r}: is one name; give a list of the names of all classes, in the order of the outputs."
        )
    names = tuple(map(str, classes))
    twice = next((name for place, name in enumerate(names) if name in names[:place]), None)
    if twice is not None:
        raise UsageError(f"classes={_brief(classes)}: have {twice!r} twice; give each class a name of its own.")
    return names


def _sides(size: int | Sequence[int]) -> tuple[int, ...]:
    sides = (size, size) if isinstance(size, int) else tuple(size)
    whole = all(isinstance(side, int) and not isinstance(side, bool) and side > 0 for side in sides)
    if not whole or len(sides) not in (0, 1, 2):
        raise UsageError(f"size={size!r}: must be one or two whole numbers of px above 0; give e.g. size=(224, 224).")
    return sides * 2 if len(sides) == 1 else sides


def _planes(net: nn.Module, data: Dataset | None, task: AnyTask) -> Iterator[int]:
    """How many channels its images may have: what its first convolution takes, else those of the data, else 3 or 1, as it can."""
    first = next((part for part in net.modules() if isinstance(part, nn.Conv2d)), None)
    taken = first.in_channels - task.extra_planes if first is not None else 0
    if taken in (1, 3):
        yield taken
    elif data is not None:
        yield data.channels
    else:
        yield from (3, 1)


def _blank(classes: tuple[str, ...], size: tuple[int, int], channels: int) -> Dataset:
    """What a task reads for a module without data: the names of the classes, and one black image that nothing is measured on."""
    named: dict[str, Any] = {}
    if classes:
        named = {
            "label": Label(torch.zeros(1, dtype=torch.int64)),
            "mask": Mask(torch.zeros(1, *size, dtype=torch.uint8)),
        }
    black = Split(Pixels(np.zeros((1, channels, *size), np.uint8)), named, ["black"])
    none = black.select([])
    return Dataset("nothing", {"train": none, "val": none, "test": black}, classes, mask_classes=classes)


def _missing(task: AnyTask, named: str, classes: bool) -> UsageError:
    """What is to be said where a module without data came without something that its task needs."""
    try:
        task.read(_blank(("a", "b"), (8, 8), 1))
    except DataError:
        return UsageError(
            f"data=None: {named} needs more than size and classes; give data like those that the module was trained on."
        )
    assert not classes, "a task that reads two classes reads others"
    return UsageError(
        f"classes=(): {named} needs their names; give classes=[…] in the order of the module's outputs, or data that have them."
    )


def _own(net: nn.Module, name: str, kind: type) -> tuple[Any, ...]:
    """What a ready model says of its classes or of its size; () where it says nothing that could be that."""
    found = getattr(net, name, None)
    return tuple(found) if isinstance(found, (list, tuple)) and all(isinstance(one, kind) for one in found) else ()


def _of_catalogue(
    net: nn.Module, known: Mapping[str, Any], data: Dataset, task: AnyTask, named: str, size: tuple[int, int]
) -> tuple[nn.Module, dict[str, Any]]:
    """A model of the catalogue as it is, and its description at this size."""
    fixed: Any = getattr(net, "fixed_size", None)
    if net.output not in task.accepts:
        raise UsageError(
            f"model={known['name']}: gives a {net.output}, and {named} needs {' or '.join(task.accepts)}; choose another task."
        )
    if fixed is not None and tuple(fixed) != size:
        raise UsageError(
            f"size={size}: the module takes images of {fixed[0]}×{fixed[1]} px alone; give size={tuple(fixed)}."
        )
    outputs = task.outputs(data, size)
    if outputs != known["outputs"]:
        raise UsageError(
            f"model={known['name']}: has {known['outputs']} outputs, and {named} needs {outputs} here; give the classes of its training."
        )
    return copy.deepcopy(net).cpu(), {**known, "size": list(size)}


def _brief(value: Any) -> str:
    if isinstance(value, (list, tuple)) and len(value) > 3:
        return f"[{', '.join(map(repr, value[:3]))}, …]"
    return repr(value) if isinstance(value, (str, int, list, tuple, type(None))) else type(value).__name__
