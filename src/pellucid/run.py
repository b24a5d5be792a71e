# SPDX-License-Identifier: Apache-2.0
"""The run folder, which holds everything about one training and connects all commands."""

from __future__ import annotations

import contextlib
import warnings
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, final

from pellucid import _catalog, measures, recorded, restoring
from pellucid._notebooks import Measures, Rows, table
from pellucid._options import build, command_line
from pellucid._ready import PACKAGES
from pellucid._verbs import Verbs
from pellucid.errors import PellucidError, PellucidWarning, RunError, UsageError, brief
from pellucid.files import write_json
from pellucid.measures import WEIGHTS
from pellucid.own import parts
from pellucid.recorded import Unreadable
from pellucid.restoring import STATE, UPGRADE, Held

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import nn

    from pellucid.data.dataset import Dataset
    from pellucid.data.scales import Scale
    from pellucid.tasks import AnyTask, Metric, OwnMeasure, Threshold

__all__ = ["FIRST_FILTERS", "FORMAT", "STATE", "Run", "load", "short_names"]

FORMAT = 1
"""The version of the folder's layout; a run of a newer or older version is refused with a way out."""

HISTORY = "history.jsonl"
FIRST_FILTERS = "first_filters.safetensors"
"""The filters of the first convolution as they were before the training, where a part of the model is frozen."""


@final
class Run(Verbs):
    """One training, read from its folder.

    `info` is run.json, whose keys are in ARCHITECTURE.md; everything else is read on access. `measures` are functions of the
    user's own that `evaluate` measures too; a run that is loaded has none until they are given.

    Args:
        path: of the folder.
        model: the class, function or instance that the run was trained with, where it is one of the user's own; or FILE.py:NAME.
        task: the same of its task.
        measures: functions by name.
    """

    def __init__(
        self, path: str | Path, *, model: Any = None, task: Any = None, measures: Mapping[str, OwnMeasure] | None = None
    ) -> None:
        self.path = restoring.folder_of_run(path)
        self.measures = dict(measures or {})
        self.held: Held | None = None
        self.said: set[str] = set()  # what was said of its parts
        self.info: dict[str, Any] = self.reread()
        version = self.info.get("format", 0)
        if version > FORMAT:
            raise RunError(
                f"run={str(path)!r}: format {version} is newer than {FORMAT}, the newest that this version reads; "
                f"upgrade pellucid to {self.info.get('version', 'a newer version')} or later."
            )
        if version < FORMAT:
            raise RunError(
                f"run={str(path)!r}: format {version} is older than {FORMAT}, the oldest that can be read; train again with "
                f"its command: {self.info.get('command', 'pellucid train …')}"
            )
        for part, given in {"task": task, "model": model}.items():
            if given is not None:
                restoring.accept(self, part, given)

    @classmethod
    def of_module(cls, info: dict[str, Any], task: AnyTask, model: nn.Module, data: Dataset | None) -> Run:
        """A module that was never trained here as a run without a folder, as `bare.as_run` describes it; nothing is written."""
        run = cls.__new__(cls)
        run.path, run.measures, run.said, run.info = Path(info["model"]["name"]), {}, set(), info
        run.held = Held(model, data)
        run.__dict__["task"] = task  # where `cached_property` keeps its value
        return run

    def reread(self) -> dict[str, Any]:
        """The content of run.json."""
        try:
            info = recorded.read_record(self.path / "run.json")
            if info.get("format", 0) == FORMAT or not isinstance(info["format"], int):
                recorded.check_record(info)
        except FileNotFoundError:
            raise RunError(f"run={str(self.path)!r}: has no run.json; name the folder that a training wrote.") from None
        except Unreadable as fault:
            raise RunError(
                f"run={str(self.path)!r}: run.json {fault}; put back a copy of it, or train again into a new folder."
            ) from None
        return info

    def own(self, part: Literal["task", "model"]) -> parts.Own | None:
        """The class of the user's own that is its task or model; None where it is one of the catalogue.

        Raises:
            RunError: it was not given, and is not importable.
        """
        return restoring.own(self, part)

    @property
    def model_name(self) -> str:
        """The name of its model, which is at hand.

        Raises:
            RunError: it is one of the user's own that was not given, and is not importable.
        """
        self.own("model")
        return str(self.info["model"]["name"])

    def __repr__(self) -> str:
        return f"Run({str(self.path)!r}, {self.status})"

    def _repr_html_(self) -> str:
        info, best = self.info, self.info.get("best") or {}
        rows = {
            "folder": self.path,
            "status": self.status,
            "task": info["task"]["name"],
            "model": info["model"]["name"],
        }
        rows |= {
            "data": info["data"]["what"],
            "parameters": f"{info['parameters']:,}",
            "time": f"{info['seconds']:.0f} s",
        }
        if best.get("value") is not None:
            rows["best"] = f"epoch {best['epoch']}, validation {best['measure']} {best['value']:.4g}"
        return table(["", "run"], [[name, str(value)] for name, value in rows.items()])

    @property
    def status(self) -> str:
        """ "running", "stopped", "finished" or "failed"."""
        return str(self.info["status"])

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the dataset's classes; empty without labels."""
        return tuple(self.info["data"]["classes"])

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) in px of the images that the model was trained on."""
        height, width = self.info["model"]["size"]
        return int(height), int(width)

    @property
    def channels(self) -> int:
        """1 for grey images, 3 for colour."""
        return int(self.info["data"]["channels"])

    @property
    def planes(self) -> int:
        """Channels of the model's input: those of the images, and what the task adds, such as a mask."""
        return int(self.info["model"]["channels"])

    @property
    def scale(self) -> Scale | None:
        """What was black and white in training images of more than 8 bits; None where all had 8."""
        from pellucid.data.scales import recorded_scale

        return recorded_scale(self.info["data"])

    @property
    def cut(self) -> str:
        """The rule by which splits that the data lack were cut; the one of 0.1.0 where the record names none."""
        from pellucid.data.splitting import CUTS, FORMER_CUT

        return str(self.info["data"].get("cut", FORMER_CUT)) or CUTS[0]

    @property
    def figures(self) -> Path:
        """The folder for pictures of this run."""
        return self.path / "figures"

    @cached_property
    def task(self) -> AnyTask:
        """The task with its options in this training; options that were added since have their defaults.

        Raises:
            UnknownNameError: this version has no such task.
            RunError: its options are not those of the task.
        """
        from pellucid.tasks import LearnsFromImages

        own, model = self.own("task"), self.info["model"]["name"]
        if parts.is_own(model) and parts.find("models", model) is None:
            with contextlib.suppress(RunError):  # few tasks ask what their model is
                self.own("model")
        kind: Any = own.kind if own is not None else _catalog.find("tasks", self.info["task"]["name"])
        # JSON has lists only; options are tuples
        options = {k: tuple(v) if isinstance(v, list) else v for k, v in self.info["task"]["options"].items()}
        try:
            task: AnyTask = build(kind, options).for_model(model)
        except PellucidError:
            self.own("model")  # says so where that is what is missing
            raise
        except Exception as fault:  # of an option's name or type
            raise RunError(f"{self.damaged('task')} ({brief(fault)}); {UPGRADE}.") from fault
        return task.recall(self.info.get("learned") or {}) if isinstance(task, LearnsFromImages) else task

    @cached_property
    def main(self) -> Metric:
        """The measure that decides: it picked the weights, and it orders runs and baselines."""
        return self.task.metrics(self.classes)[0]

    @property
    def threshold(self) -> Threshold | None:
        """From which score on the best weights answer, and how that was chosen; None where the task has no threshold."""
        from pellucid.tasks import Threshold

        kept = (self.info["best"] or {}).get("threshold")
        return (
            None
            if kept is None
            else Threshold(**{name: kept[name] for name in Threshold.__match_args__ if name in kept})
        )

    def model(self, which: Literal["best", "last"] = "best") -> nn.Module:
        """The trained model in eval mode on the CPU: the best weights by validation, or the last ones."""
        return self.trained(which)[0]

    def trained(self, which: Literal["best", "last"] = "best") -> tuple[nn.Module, str]:
        """The trained model, and the digest of its weights.

        Weights that are missing or damaged are restored from the state where it holds them; a warning says so.

        Raises:
            RunError: they cannot be restored, or do not fit the model.
        """
        return restoring.trained(self, which) if self.held is None else (self.held.model, "")

    @property
    def digest(self) -> str:
        """The digest of the best weights; "" where there are none."""
        from pellucid import weights

        held = weights.digest_of(self.path / WEIGHTS["best"])
        return held.digest if held is not None else restoring.written(self, WEIGHTS["best"]) or ""

    def warn(self, sentence: str) -> None:
        warnings.warn(f"run={str(self.path)!r}: {sentence}", PellucidWarning, stacklevel=4)

    def damaged(self, part: str) -> str:
        return f"run={str(self.path)!r}: the {part} in run.json cannot be made"

    @property
    def resuming(self) -> str:
        """How to resume the training, for error messages."""
        return f"resume it with: {self.info['command']}"

    @property
    def history(self) -> Rows:
        """The rows of history.jsonl, in the order of training; a damaged file's rows come from the state, and a warning says so.

        Raises:
            RunError: the file is damaged, and there is no state.
        """
        from pellucid import weights

        try:
            return Rows(recorded.read_history(self.path / HISTORY))
        except Unreadable as fault:
            try:
                rows: list[dict[str, Any]] = weights.load(self.path / STATE).numbers["history"]
            except (weights.Damaged, KeyError):
                way = (
                    "put back a copy of it, or delete it to go without" if self.status == "finished" else self.resuming
                )
                raise RunError(f"run={str(self.path)!r}: {HISTORY} {fault}; {way}.") from None
            self.warn(f"{HISTORY} {fault}; its rows were read from {STATE}.")
            return Rows(rows)

    @property
    def metrics(self) -> Measures | None:
        """The last result of `evaluate`, with the measures of the model and the baselines; None if there is none of the present weights.

        A dict as in metrics.json, whose `frame` is a data frame.

        `doubt` says why it is None though there is a metrics.json.

        Raises:
            RunError: metrics.json is damaged.
        """
        metrics = self._measured()[0]
        return None if metrics is None else Measures(metrics)

    @property
    def doubt(self) -> str:
        """Why metrics.json is not taken for that of the present weights, or may not be; "" if it belongs, or there is none."""
        return self._measured()[1]

    def _measured(self) -> tuple[dict[str, Any] | None, str]:
        try:
            metrics, doubt = measures.belonging(self.path, self.info)
        except Unreadable as fault:
            raise RunError(f"run={str(self.path)!r}: {measures.METRICS} {fault}; {self.measuring}.") from None
        if metrics is None:
            return None, doubt
        titles = {metric.key: metric.title for metric in self.task.metrics(self.classes)}
        same = metrics.get("on_same_images") or {}
        for owner in (metrics["model"], *metrics["baselines"].values(), same.get("model", {})):
            for key, measure in owner.items():  # version 0.1.0 wrote no titles
                measure.setdefault("title", titles.get(key, key.replace("_", " ")))
        return metrics, doubt

    @property
    def measuring(self) -> str:
        """How to measure the run again, for error messages."""
        return f"measure it again with: {command_line('evaluate', str(self.path))}"

    def records(self, owner: str = "model") -> dict[str, Any]:
        """The per-image columns behind `metrics`, for "model" or "baselines/NAME"; {} where there are no `metrics`.

        Raises:
            RunError: records.npz is damaged, or is not that of metrics.json.
        """
        from pellucid.tasks import from_arrays

        metrics = self.metrics
        try:
            return {} if metrics is None else from_arrays(measures.columns(self.path, metrics, owner))
        except Unreadable as fault:
            raise RunError(f"run={str(self.path)!r}: {measures.RECORDS} {fault}; {self.measuring}.") from None

    def data(self, what: Any = None) -> Dataset:
        """The dataset of the training, or another one, read for the same task; see `read`."""
        return self.read(what)[0]

    def read(self, what: Any = None) -> tuple[Dataset, AnyTask]:
        """The dataset of the training, or another one, read for the same task, and the task with what it learned from it.

        Raises:
            RunError: the training's data have changed since, as their fingerprint shows.
            DataError: other data have values that the training's scale does not hold.
        """
        return restoring.read(self, what)

    def update(self, **changes: Any) -> None:
        """Change keys of run.json, atomically."""
        self.info = {**self.info, **changes}
        write_json(self.path / "run.json", self.info)


def load(path: str | Path, model: Any = None, *, task: Any = None) -> Run | nn.Module:
    """A run from its folder, or a pretrained classifier: "torchvision/NAME", "timm/NAME", "efficientnet_lite0", "mobilenet_v2".

    >>> load("runs/none")
    Traceback (most recent call last):
    pellucid.errors.RunError: run='runs/none': has no run.json; name the folder that a training wrote.

    No code that a run records is executed. One that was trained with a class of the user's own loads where that class is
    importable, and otherwise needs it again.

    Args:
        path: of the folder, or the name.
        model: the class, function or instance that the run was trained with, or FILE.py:NAME; one that differs is said in a warning.
        task: the same of its task.

    Raises:
        RunError: there is no run, or it is of another format.
    """
    owner = str(path).split("/")[0]
    if owner in ("torchvision", "timm", *PACKAGES) and not Path(path).exists():
        from pellucid.models._building import load_external

        if model is not None or task is not None:
            raise UsageError(f"model={model!r}: is of a run, and {str(path)!r} is a ready model; leave it out.")

        external: nn.Module = load_external(str(path))
        return external
    return Run(path, model=model, task=task)


def short_names(runs: Sequence[Run]) -> list[str]:
    """A short name for each run: the end of its path, as long as needed to be unique."""
    paths = [run.path.resolve().parts for run in runs]
    for length in range(1, max(map(len, paths)) + 1):
        names = ["/".join(parts[-length:]) for parts in paths]
        if len(set(names)) == len(names):
            break
    return names
