# SPDX-License-Identifier: Apache-2.0
"""The run folder, which holds everything about one training and connects all commands."""

from __future__ import annotations

import dataclasses
import json
import shlex
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, final

from pellucid import _catalog
from pellucid._options import build
from pellucid.errors import RunError
from pellucid.files import write_json

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import nn

    from pellucid.data.dataset import Dataset
    from pellucid.data.scales import Scale
    from pellucid.tasks import AnyTask, Metric

__all__ = ["FORMAT", "Run", "command_line", "load", "short_names"]

FORMAT = 1
"""The version of the folder's layout; a run of a newer or older version is refused with a way out."""


@final
class Run:
    """One training, read from its folder.

    `info` is run.json, whose keys are in ARCHITECTURE.md; everything else is read on access.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        file = self.path / "run.json"
        try:
            self.info: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise RunError(f"run={str(path)!r}: has no run.json; name the folder that a training wrote.") from None
        except (json.JSONDecodeError, UnicodeDecodeError, NotADirectoryError) as fault:
            raise RunError(
                f"run={str(path)!r}: run.json cannot be read ({fault}); train again into a new folder."
            ) from None
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

    def __repr__(self) -> str:
        return f"Run({str(self.path)!r}, {self.status})"

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
        """What was black and white in training images of more than 8 bits; None where all had 8.

        Version 0.1.0 recorded none and read all images of 16 bits as 0 to 65,535.
        """
        from pellucid.data.scales import FORMER, Scale

        data = self.info["data"]
        if "range" not in data:
            return FORMER
        if data["range"] is None:
            return None
        low, high = data["range"]
        return Scale(low, high, floats=bool(data.get("floats")))

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
        """The task with its options in this training."""
        kind: Any = _catalog.find("tasks", self.info["task"]["name"])
        # JSON has lists only; options are tuples
        options = {k: tuple(v) if isinstance(v, list) else v for k, v in self.info["task"]["options"].items()}
        task: AnyTask = build(kind, options).for_model(self.info["model"]["name"])
        return task

    @cached_property
    def main(self) -> Metric:
        """The measure that decides: it picked the weights, and it orders runs and baselines."""
        return self.task.metrics(self.classes)[0]

    def model(self, which: Literal["best", "last"] = "best") -> nn.Module:
        """The trained model in eval mode on the CPU: the best weights by validation, or the last ones."""
        from safetensors.torch import load_file

        from pellucid.models import _building

        file = self.path / ("weights.safetensors" if which == "best" else "last.safetensors")
        if not file.exists():
            raise RunError(f"run={str(self.path)!r}: has no {file.name} yet; {self.resuming}.")
        scale = None if self.scale is None else dataclasses.asdict(self.scale)  # its answers need it too
        model: nn.Module = _building.build({**self.info["model"], "range": scale}, fetch=False)
        try:
            model.load_state_dict(load_file(file))
        except Exception as fault:
            raise RunError(
                f"run={str(self.path)!r}: {file.name} does not fit its model ({fault}); train again."
            ) from fault
        model.eval()
        return model

    @property
    def resuming(self) -> str:
        """How to resume the training, for error messages."""
        return f"resume it with: {self.info['command']}"

    @property
    def history(self) -> list[dict[str, Any]]:
        """The rows of history.jsonl, in the order of training."""
        file = self.path / "history.jsonl"
        return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()] if file.exists() else []

    @property
    def metrics(self) -> dict[str, Any] | None:
        """The last result of `evaluate`, with the measures of the model and the baselines, or None."""
        file = self.path / "metrics.json"
        if not file.exists():
            return None
        metrics: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        titles = {metric.key: metric.title for metric in self.task.metrics(self.classes)}
        same = metrics.get("on_same_images") or {}
        for measures in (metrics["model"], *metrics["baselines"].values(), same.get("model", {})):
            for key, measure in measures.items():  # version 0.1.0 wrote no titles
                measure.setdefault("title", titles.get(key, key.replace("_", " ")))
        return metrics

    def records(self, owner: str = "model") -> dict[str, Any]:
        """The per-image columns behind `metrics`, for "model" or "baselines/NAME"; {} before `evaluate`."""
        import numpy as np

        from pellucid.tasks import from_arrays

        file = self.path / "records.npz"
        if not file.exists():
            return {}
        with np.load(file, allow_pickle=False) as columns:
            own = {name[len(owner) + 1 :]: columns[name] for name in columns.files if name.startswith(f"{owner}/")}
        return from_arrays(own)

    def data(self, what: str | Path | Dataset | None = None) -> Dataset:
        """The dataset of the training, or another one, read for the same task; see `read`."""
        return self.read(what)[0]

    def read(self, what: str | Path | Dataset | None = None) -> tuple[Dataset, AnyTask]:
        """The dataset of the training, or another one, read for the same task, and the task with what it learned from it.

        Raises:
            RunError: the training's data have changed since, as their fingerprint shows.
            DataError: other data have values that the training's scale does not hold.
        """
        from pellucid.data import Dataset, open
        from pellucid.data.scaling import check_held, scaled

        trained = self.info["data"]
        source = what if what is not None else trained["what"]
        opened = source if isinstance(source, Dataset) else open(source, self.scale, cut=self.cut)
        opened = scaled(opened, self.scale)
        if what is not None:
            check_held(opened, self.scale)
        data, task = self.task.read(opened)
        if what is None and data.fingerprint != trained["fingerprint"]:
            raise RunError(
                f"data={trained['what']!r}: has changed since the training (fingerprint {data.fingerprint[:12]}, was "
                f"{trained['fingerprint'][:12]}); name the data to use with --data, or train again."
            )
        return data, task

    def update(self, **changes: Any) -> None:
        """Change keys of run.json, atomically."""
        self.info = {**self.info, **changes}
        write_json(self.path / "run.json", self.info)


def load(path: str | Path) -> Run | nn.Module:
    """A run from its folder, or a pretrained classifier: "torchvision/NAME", "timm/NAME", "efficientnet_lite0".

    >>> load("runs/none")
    Traceback (most recent call last):
    pellucid.errors.RunError: run='runs/none': has no run.json; name the folder that a training wrote.
    """
    owner = str(path).split("/")[0]
    if owner in ("torchvision", "timm", "efficientnet_lite0") and not Path(path).exists():
        from pellucid.models._building import load_external

        external: nn.Module = load_external(str(path))
        return external
    return Run(path)


def command_line(*words: str, **options: Any) -> str:
    """A `pellucid` command to paste into a shell; options that are None are omitted.

    >>> command_line("train", "classify", data="digits", hidden=(64, 32), flip=True)
    'pellucid train classify --data digits --hidden 64 32 --flip'
    """
    parts = ["pellucid", *words]
    for name, value in options.items():
        flag = "--" + name.replace("_", "-")
        if value is True:
            parts.append(flag)
        elif value is False:
            parts.append("--no-" + flag[2:])
        elif isinstance(value, (tuple, list)):
            parts += [flag, *map(str, value)]
        elif value is not None:
            parts += [flag, str(value)]
    return shlex.join(parts)


def short_names(runs: Sequence[Run]) -> list[str]:
    """A short name for each run: the end of its path, as long as needed to be unique."""
    paths = [run.path.resolve().parts for run in runs]
    for length in range(1, max(map(len, paths)) + 1):
        names = ["/".join(parts[-length:]) for parts in paths]
        if len(set(names)) == len(names):
            break
    return names
