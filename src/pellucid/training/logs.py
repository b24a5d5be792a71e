# SPDX-License-Identifier: Apache-2.0
"""A training's history in TensorBoard, Weights & Biases or MLflow too, where they are installed.

Nothing leaves the machine unless the user's own environment names a place: WANDB_MODE or WANDB_BASE_URL, MLFLOW_TRACKING_URI.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import math
import os
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, final

from pellucid.errors import PellucidWarning, UsageError, brief

__all__ = ["PACKAGES", "Log", "check_installed"]

PACKAGES = {"tensorboard": "tensorboard", "wandb": "wandb", "mlflow": "mlflow"}
"""The package that each needs."""
_PLACE = {"step", "epoch", "split"}  # entries of a row that say where it is


def check_installed(name: str | None) -> None:
    """Refuse a log whose package is not there.

    >>> check_installed(None)

    Raises:
        UsageError: it is not installed.
    """
    if name is not None and importlib.util.find_spec(PACKAGES[name]) is None:
        raise UsageError(
            f"log={name!r}: needs the package {PACKAGES[name]}; install it with: pip install {PACKAGES[name]}"
        )


@final
class Log:
    """Writes the rows of a history as they come. A training that is resumed goes on with the same log.

    Args:
        name: one of `PACKAGES`; None writes nothing.
        folder: of the run, in which the log lies.
        settings: of the training, flat, to be shown beside it.
        step: from which the training goes on.
    """

    def __init__(self, name: str | None, folder: Path, settings: Mapping[str, Any], step: int) -> None:
        self._write: Callable[[dict[str, float], int], Any] | None = None
        self._close: Callable[[], Any] = lambda: None
        self._name, self._done = name, 0  # rows
        if name is None:
            return
        try:
            getattr(self, f"_{name}")(folder, dict(settings), step)
        except Exception as fault:
            raise UsageError(
                f"log={name!r}: cannot be begun ({type(fault).__name__}: {brief(fault)}); leave it out, or mend it."
            ) from fault

    def skip(self, rows: int) -> None:
        """Take so many rows of the history as written: those before a training was resumed."""
        self._done = rows

    def write(self, history: list[dict[str, Any]]) -> None:
        """Write the rows that are new."""
        if self._write is not None:
            for row in history[self._done :]:
                values = {
                    f"{row['split']}/{key}": float(value)
                    for key, value in row.items()
                    if key not in _PLACE and isinstance(value, (int, float)) and math.isfinite(value)
                }
                try:
                    self._write(values, int(row["step"]))
                except Exception as fault:  # a server that is away must not cost a training
                    self._fail(fault)
                    break
        self._done = len(history)

    def close(self) -> None:
        """Finish the log."""
        try:
            self._close()
        except Exception as fault:
            self._fail(fault)

    def _fail(self, fault: Exception) -> None:
        said = f"log={self._name!r}: fails ({type(fault).__name__}: {brief(fault)}); the training goes on without it."
        warnings.warn(said, PellucidWarning, stacklevel=4)
        self._write, self._close = None, lambda: None

    def _tensorboard(self, folder: Path, settings: dict[str, Any], step: int) -> None:
        writer = importlib.import_module("torch.utils.tensorboard").SummaryWriter(
            log_dir=str(folder / "tensorboard"), purge_step=step or None
        )
        writer.add_text("settings", "\n".join(f"    {name} = {value}" for name, value in settings.items()), step)

        def write(values: dict[str, float], step: int) -> None:
            for name, value in values.items():
                writer.add_scalar(name, value, step)

        self._write, self._close = write, writer.close

    def _wandb(self, folder: Path, settings: dict[str, Any], step: int) -> None:
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
        wandb: Any = importlib.import_module("wandb")
        named = any(os.environ.get(name) for name in ("WANDB_MODE", "WANDB_BASE_URL"))
        run = wandb.init(
            project="pellucid",
            name=folder.name,
            id=hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:16],  # the same where the training goes on
            resume="allow",
            dir=str(folder),
            config=settings,
            **({} if named else {"mode": "offline"}),
        )
        run.define_metric("*", step_metric="step")
        self._write = lambda values, step: run.log({**values, "step": step})
        self._close = run.finish

    def _mlflow(self, folder: Path, settings: dict[str, Any], step: int) -> None:
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        mlflow: Any = importlib.import_module("mlflow")
        if not os.environ.get("MLFLOW_TRACKING_URI"):
            mlflow.set_tracking_uri(f"sqlite:///{folder.resolve() / 'mlflow.db'}")
        mlflow.set_experiment("pellucid")
        kept = folder / "mlflow_run"  # its id, by which it goes on
        known = kept.read_text(encoding="utf-8").strip() if step and kept.exists() else None
        run = mlflow.start_run(run_id=known, run_name=None if known else folder.name)
        if known is None:
            mlflow.log_params({name: str(value)[:500] for name, value in settings.items()})
            kept.write_text(run.info.run_id, encoding="utf-8")
        self._write = lambda values, step: mlflow.log_metrics(values, step=step)
        self._close = mlflow.end_run
