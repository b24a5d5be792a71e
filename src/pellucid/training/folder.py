# SPDX-License-Identifier: Apache-2.0
"""What a training keeps: the run's folder with its lock and files, which the main process alone replaces, atomically."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, final

import torch
from filelock import FileLock, Timeout
from torch import nn

from pellucid._version import __version__
from pellucid.errors import RunError
from pellucid.files import make_folder, write_json
from pellucid.models import _building
from pellucid.run import FORMAT, Run
from pellucid.tasks import Snapshots
from pellucid.training import checkpoint, snapshots
from pellucid.training.machine import environment, evaluating
from pellucid.training.plan import Plan, default_path, earlier_record
from pellucid.training.state import State

__all__ = ["Folder"]


@final
class Folder:
    """The folder of a run while it is trained. It is only looked at until `open` makes it and locks it.

    >>> import tempfile
    >>> plan = Plan.of("classify", "digits", "mlp", {"device": "cpu"})
    >>> with tempfile.TemporaryDirectory() as temporary:
    ...     folder, state = Folder(plan, temporary + "/run"), State.begin(plan)
    ...     with folder.open(state):
    ...         folder.save(state)
    ...     print(folder.resumable, folder.finished)
    True False

    Args:
        plan: the training.
        out: where; None for a folder below runs/ that the same plan finds again.

    Raises:
        RunError: the folder holds another run, or something that is not a run.
    """

    def __init__(self, plan: Plan, out: str | Path | None) -> None:
        self.plan = plan
        self.path = Path(out) if out is not None else default_path(plan)
        self.record = earlier_record(plan, self.path)  # the content of run.json
        self.state_file = self.path / "state" / "last.safetensors"
        self._main = plan.accelerator.is_main_process
        self._saved_at = time.monotonic()

    @property
    def finished(self) -> bool:
        """Whether the run in it has nothing left to do."""
        return self.record is not None and self.record["status"] == "finished"

    @property
    def resumable(self) -> bool:
        """Whether there is a state to resume from."""
        return self.state_file.exists()

    @contextmanager
    def open(self, state: State) -> Iterator[None]:
        """Lock the folder, and start from the state that was saved in it last, or from the first step.

        Raises:
            RunError: another process is training in it, or the saved state is damaged.
        """
        with self._locked():
            if self.resumable:
                state.restore(self.state_file)
            self._write_record(state)  # from here on the folder holds a run, which the same command resumes
            self.plan.accelerator.wait_for_everyone()
            state.learner.wrap()  # after `restore`: sharing a model hands the first process's weights to the others
            if state.saved is None:  # a restored model has its buffers
                state.update_buffers()
                self.keep_snapshot(state)
            state.begun = self._saved_at = time.monotonic()
            yield

    @contextmanager
    def _locked(self) -> Iterator[None]:
        if not self._main:
            yield
            return
        make_folder(self.state_file.parent)
        lock = FileLock(self.state_file.parent / "lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            raise RunError(
                f"out={str(self.path)!r}: another process is training it now; wait for it, or name another folder."
            ) from None
        try:
            yield
        finally:
            lock.release()

    def _write_record(self, state: State) -> None:
        """Write run.json for a run that is under way."""
        if not self._main:
            return
        plan, earlier = self.plan, self.record or {}
        before = checkpoint.digest(state.frozen)
        self.record = {
            "format": FORMAT,
            "version": __version__,
            "status": "running",
            "command": plan.settings.command(plan.dataset.name, str(self.path)),
            **plan.identity,
            "learned": dict(state.learned),
            "seed": plan.recipe.seed,
            "environment": environment(plan.accelerator.device, state.learner.bfloat16, state.learner.memory_format),
            "started": earlier.get("started", datetime.now(UTC).isoformat(timespec="seconds")),
            "seconds": state.seconds,
            "steps": plan.steps,
            "parameters": _building.parameter_count(state.model),
            "best": state.best,
            "frozen": earlier.get("frozen")
            or (before and {"tensors": _tensor_count(state.frozen), "before": before, "after": None}),
        }
        write_json(self.path / "run.json", self.record)

    def due(self) -> bool:
        """Whether the state was last saved longer ago than `checkpoint` allows."""
        return time.monotonic() - self._saved_at >= self.plan.recipe.checkpoint

    def save(self, state: State) -> None:
        """Write the state to resume from."""
        self._saved_at, state.saved = time.monotonic(), state.step
        if self._main:
            state.save(self.state_file)

    def keep_best(self, state: State) -> None:
        """Write the weights that evaluation and prediction take."""
        if self._main:
            checkpoint.save_weights(self.path / "weights.safetensors", state.evaluated)

    def keep_snapshot(self, state: State) -> None:
        """Write pictures of the model at work after an epoch, if the task has any."""
        task = self.plan.task
        if not self._main or not isinstance(task, Snapshots):
            return
        with torch.no_grad(), evaluating(state.evaluated) as model:
            snapshots.keep(self.path, state.epoch, task.snapshot(model, self.plan.recipe.seed))

    def fail(self, sentence: str) -> None:
        """Record why the training cannot go on; weights and state stay as they were written last."""
        if self._main:
            Run(self.path).update(status="failed", failure=sentence)

    def finish(self, state: State) -> Run:
        """Write the last weights, and the record of how the training ended."""
        accelerator = self.plan.accelerator
        accelerator.wait_for_everyone()
        if self._main:
            checkpoint.save_weights(self.path / "last.safetensors", state.evaluated)
            if not (self.path / "weights.safetensors").exists():  # stopped before the first epoch ended
                self.keep_best(state)
            done = state.step >= self.plan.steps or state.exhausted
            changes: dict[str, Any] = {
                "status": "finished" if done else "stopped",
                "seconds": round(state.elapsed, 3),
                "best": state.best,
                "step": state.step,
            }
            if self.record and self.record["frozen"]:
                changes["frozen"] = {**self.record["frozen"], "after": checkpoint.digest(state.frozen)}
            Run(self.path).update(**changes)
        accelerator.wait_for_everyone()
        return Run(self.path)


def _tensor_count(modules: list[nn.Module]) -> int:
    return sum(len(module.state_dict()) for module in modules)
