# SPDX-License-Identifier: Apache-2.0
"""The model of a run, its data and its weights, also where their file is missing or damaged and another file of the run holds them."""

from __future__ import annotations

import dataclasses
import os
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, final

from pellucid.errors import PellucidError, PellucidWarning, RunError, UsageError, brief
from pellucid.measures import WEIGHTS
from pellucid.own import parts

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from pellucid.data.dataset import Dataset
    from pellucid.tasks import AnyTask

__all__ = [
    "STATE",
    "UPGRADE",
    "Held",
    "accept",
    "folder_of_run",
    "hastened",
    "own",
    "read",
    "trained",
    "weights_of",
    "written",
]

STATE = "state/last.safetensors"
UPGRADE = "use the version of pellucid that trained it or a later one, or put back a copy of run.json"


def folder_of_run(given: Any) -> Path:
    """The folder that is named as a run.

    >>> folder_of_run(3)
    Traceback (most recent call last):
    pellucid.errors.UsageError: run=int: is neither a run nor its folder; give the run that `train` returned, or ...
    """
    if isinstance(given, str | os.PathLike):
        return Path(given)
    name = f"the class {given.__name__}" if isinstance(given, type) else type(given).__name__
    raise UsageError(
        f"run={name}: is neither a run nor its folder; give the run that `train` returned, or of a module of your own "
        "`pellucid.load(FOLDER, model=…)`. By itself, `evaluate`, `predict`, `export` and `look` take a module with its weights."
    )


@final
@dataclass(frozen=True)
class Held:
    """What a run without a folder is made of, see `bare`."""

    model: nn.Module  # in eval mode
    data: Dataset | None  # as they were opened


# `run` is a `Run`, which calls these and holds what is read


def accept(run: Any, part: str, given: Any) -> None:
    """Take what a user gives as the task or the model that a run was trained with; a warning says in what it differs.

    Raises:
        UsageError: the run's is one of the catalogue, or nothing of that kind was given.
    """
    record = run.info[part]
    parts.accept(f"{part}s", record["name"], record.get("own"), given, str(run.path))
    own(run, part)


def own(run: Any, part: str) -> parts.Own | None:
    """The class of the user's own that is a run's task or model; None where it is one of the catalogue.

    Raises:
        RunError: it was not given, and is not importable.
    """
    record = run.info[part]
    if "own" not in record:
        return None
    from torch import nn

    from pellucid.tasks import Task, TaskFamily

    base: Any = (Task, TaskFamily) if part == "task" else nn.Module
    found = parts.resolve(f"{part}s", record["name"], record["own"], base, record["options"], str(run.path))
    what = f"run={str(run.path)!r}: its {part} was"
    said = parts.difference(found, record["own"], what, f"and {found.record['class']} is")
    if said:
        _say(run, said)
    return found


def read(run: Any, what: Any) -> tuple[Dataset, AnyTask]:
    """The dataset of a run's training, or another one, and its task with what it learned from it; see `Run.read`."""
    from pellucid.data import Dataset, open
    from pellucid.data.fitting import with_fit
    from pellucid.data.scaling import check_held, scaled

    trained = run.info["data"]
    if run.held is not None and what is None:
        if run.held.data is None:
            raise UsageError("data=None: the module came without data, which this needs; give data=….")
        what = run.held.data
    source = what if what is not None else trained["what"]
    opened = source if isinstance(source, Dataset) else open(source, run.scale, cut=run.cut)
    opened = scaled(opened, run.scale)
    if what is not None:
        check_held(opened, run.scale)
    data, task = run.task.read(opened)
    data = with_fit(data, task.fitting)
    if what is None and data.fingerprint != trained["fingerprint"]:
        raise RunError(
            f"data={trained['what']!r}: has changed since the training (fingerprint {data.fingerprint[:12]}, was "
            f"{trained['fingerprint'][:12]}); name the data to use with --data, or train again."
        )
    return data, task


def trained(run: Any, which: Literal["best", "last"]) -> tuple[nn.Module, str]:
    """The trained model in eval mode on the CPU, and the digest of its weights.

    Raises:
        RunError: it cannot be made, its weights cannot be restored, or they do not fit it.
    """
    from pellucid.models import _building

    tensors, digest = weights_of(run, which)
    scale = None if run.scale is None else dataclasses.asdict(run.scale)  # its answers need it too
    described = {**run.info["model"], "range": scale}
    misfit = f"run={str(run.path)!r}: {WEIGHTS[which]} does not fit its model"
    mine, mend = own(run, "model"), "put back the run's own files, or train again"
    if mine is not None:
        misfit += f" as {mine.kind.__name__} is now"
        mend = "give the class as it was at the training, whose source is in run.json"
    if not _building.may_fit(described, tensors):
        raise RunError(f"{misfit}; put back the run's own files, or train again.")
    try:
        model: nn.Module = _building.build(described, fetch=False)
    except PellucidError:
        raise
    except Exception as fault:
        raise RunError(f"{run.damaged('model')} ({brief(fault)}); {UPGRADE}.") from fault
    try:
        model.load_state_dict(tensors)
    except Exception as fault:
        raise RunError(f"{misfit} ({brief(fault)}); {mend}.") from fault
    model.eval()
    built = run.info["model"].get("own", {}).get("built", "")
    if mine is not None and built and (now := parts.settings_of(model.net)) != built:
        made = f"run={str(run.path)!r}: {mine.kind.__name__} now makes its model"
        _say(run, f"{made} {parts.other_settings(now, built)}")
    return model, digest


def hastened(run: Any, model: nn.Module, device: torch.device) -> nn.Module:
    """A run's model made faster for answers, in the layout that its training found faster, where it ran on such a processor.

    Nothing is measured here: the same run gives the same answers bit for bit in every process on one kind of machine.
    """
    from pellucid import _processor
    from pellucid.models import _hastening

    then, answers = run.info["environment"], run.info.get("choice", {}).get("answers")
    here = {"device": device.type, "processor": _processor.name(), "instructions": _processor.instructions()}
    known = answers is not None and all(then.get(name) == value for name, value in here.items())
    last = answers["memory_format"] == "channels_last" if known else None
    shape = (run.planes, *run.size)
    return _hastening.hastened(model, shape, device, fold="own" not in run.info["model"], channels_last=last)


def _say(run: Any, sentence: str) -> None:
    if sentence not in run.said:
        run.said.add(sentence)
        warnings.warn(sentence, PellucidWarning, stacklevel=6)


def weights_of(run: Any, which: Literal["best", "last"]) -> tuple[dict[str, Tensor], str]:
    """The tensors of the best or last weights, with their digest."""
    from pellucid import weights

    file = run.path / WEIGHTS[which]
    try:
        loaded = weights.load(file)
        if written(run, file.name) not in (None, loaded.digest):
            run.info = run.reread()  # a training may have gone on since
        if written(run, file.name) not in (None, loaded.digest):
            raise weights.Damaged("is not the file that its training wrote")
    except weights.Damaged as fault:
        return _restored(run, which, str(fault))
    return loaded.tensors, loaded.digest


def written(run: Any, name: str) -> str | None:
    """The digest of a file that the training wrote before it ended; None while it is under way, or in version 0.1.0."""
    digest: str | None = run.info.get("digests", {}).get(name)
    return digest


def _restored(run: Any, which: Literal["best", "last"], why: str) -> tuple[dict[str, Tensor], str]:
    """Weights whose file is missing or damaged, from another file of the run."""
    from pellucid import weights

    name, best, step = WEIGHTS[which], run.info["best"], run.info.get("step")
    refused = f"run={str(run.path)!r}: {name} {why}"
    if run.status not in ("finished", "stopped") or step is None:
        raise RunError(f"{refused}; {run.resuming}.")
    # those of the last step are in the state, and in the other file where that step is the best one too
    both = best is None or best["step"] == step
    others = [STATE] * (which == "last" or both) + [WEIGHTS["last" if which == "best" else "best"]] * both
    for source in others:
        file = run.path / source
        tensors = weights.in_state(file, step) if source == STATE else weights.found(file)
        if tensors is not None and written(run, name) in (None, weights.digest(tensors)):
            run.warn(f"{name} {why}; its weights were restored from {source}.")
            try:
                return tensors, weights.save(run.path / name, tensors)
            except PellucidError:  # a folder that is only read
                return tensors, weights.digest(tensors)
    if run.status == "stopped":
        raise RunError(f"{refused}; {run.resuming}.")
    last = f" measure the last ones with `pellucid evaluate {run.path} --which last`," if which == "best" else ""
    raise RunError(
        f"{refused}, and no other file of the run holds its weights; put back a copy of it,{last} or train again "
        "into a new folder."
    )
