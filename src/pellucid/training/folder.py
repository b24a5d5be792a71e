# SPDX-License-Identifier: Apache-2.0
"""What a training keeps: the run's folder with its lock and files, which the main process alone replaces, atomically."""

from __future__ import annotations

import contextlib
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, final

import torch
from filelock import FileLock, Timeout

from pellucid import weights
from pellucid._version import __version__
from pellucid.errors import DataError, PellucidWarning, RunError, TrainingError
from pellucid.files import make_folder, remove_drafts, write_json
from pellucid.measures import WEIGHTS
from pellucid.models import _building
from pellucid.run import FIRST_FILTERS, FORMAT, STATE, Run
from pellucid.tasks import Snapshots
from pellucid.training import checkpoint, freezing, snapshots
from pellucid.training.exchange import from_main
from pellucid.training.machine import environment, evaluating
from pellucid.training.plan import Plan, earlier_record
from pellucid.training.state import State

__all__ = ["Folder"]

_LATE = 90.0  # seconds for which a file system on a network may not show what another machine has written


@final
class Folder:
    """The folder of a run while it is trained. It is only looked at until `locked` makes it and keeps others out.

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
        self.path = Path(out) if out is not None else plan.place
        self.record = earlier_record(plan, self.path)  # the content of run.json
        self.state_file = self.path / STATE
        self._lock = FileLock(self.state_file.parent / "lock")
        self._main = plan.accelerator.is_main_process
        self._saved_at = time.monotonic()
        self._digests: dict[str, str] = {}  # of the files as they were written last

    @property
    def finished(self) -> bool:
        """Whether the run in it has nothing left to do."""
        return self.record is not None and self.record["status"] == "finished"

    @property
    def resumable(self) -> bool:
        """Whether there is a state to resume from."""
        return self.state_file.exists()

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other trainings out; what the folder holds is looked at again, since one of them may just have ended.

        A finished run is only read, and needs no lock.

        Raises:
            RunError: another process is training in it, or it holds another run by now.
        """
        if not self._main or self._lock.is_locked or self.finished:
            yield
            return
        above = [folder for folder in (self.path, *self.path.parents) if not folder.exists()]
        make_folder(self.state_file.parent)
        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            raise RunError(
                f"out={str(self.path)!r}: another process is training it now; wait for it, or name another folder."
            ) from None
        try:
            self.record = earlier_record(self.plan, self.path)
            for folder in (self.path, self.state_file.parent, self.path / "progress", self.path / "figures"):
                remove_drafts(folder, "*.json", "*.jsonl", "*.safetensors", "*.npz", "*.png", "*.html")
            yield
        finally:
            if not (self.path / "run.json").exists():  # nothing was begun: leave nothing behind
                with contextlib.suppress(OSError):
                    (self.state_file.parent / "lock").unlink()
                    for folder in (self.state_file.parent, *above):
                        folder.rmdir()
            self._lock.release()

    def agree(self) -> None:
        """Let all processes take the folder as the first one has found it, after `locked`.

        Raises:
            DataError: another machine has other data.
            RunError: another machine does not see the folder.
        """
        dataset, place = self.plan.dataset, self.plan.accelerator.process_index
        self.record, resumable, known = from_main(lambda: (self.record, self.resumable, dataset.fingerprint))
        if dataset.fingerprint != known:
            raise DataError(
                f"data={dataset.name!r}: process {place} has other images or targets there than the first one (fingerprint "
                f"{dataset.fingerprint[:12]}, not {known[:12]}); give data that are the same on all machines."
            )
        file = self.state_file if resumable else self.state_file.parent
        patience = time.monotonic() + _LATE  # another machine may see a new folder only after a while
        while not self.finished and not file.exists():
            if time.monotonic() > patience:
                raise RunError(
                    f"out={str(self.path)!r}: process {place} does not see it as the first one does; "
                    "give a folder that all machines share."
                )
            time.sleep(0.2)

    @contextmanager
    def open(self, state: State) -> Iterator[None]:
        """Lock the folder, and start from the state that was saved in it last, or from the first step.

        Raises:
            RunError: another process is training in it, or the saved state is damaged.
        """
        with self.locked():
            if self.resumable:
                written = (self.record or {}).get("digests", {})
                self._digests[STATE] = state.restore(self.state_file, written.get(STATE))
                self._mend(state, written.get(WEIGHTS["best"]))
                self._count_processes()
            self._write_record(state)  # from here on the folder holds a run, which the same command resumes
            self.plan.accelerator.wait_for_everyone()
            state.spread()
            state.learner.wrap()
            if state.saved is None:  # a restored model has its buffers
                state.update_buffers()
                self.keep_snapshot(state)
                self.keep_batch(state)
            state.begun = self._saved_at = time.monotonic()
            yield

    def _mend(self, state: State, written: str | None) -> None:
        """Put back the best weights of a run that is resumed, if their file is missing or damaged, or go without."""
        if state.best is None:
            return
        file = self.path / WEIGHTS["best"]
        try:
            loaded = weights.load(file)
            if written not in (None, loaded.digest):
                raise weights.Damaged("is not the file that its training wrote")
            self._digests[file.name] = loaded.digest
            return
        except weights.Damaged as fault:
            said = f"run={str(self.path)!r}: {file.name} {fault}"
        if state.best["step"] == state.step:
            self.keep_best(state)
            said += "; it was written again from the state."
        else:
            epoch, state.best = state.best["epoch"], None
            said += (
                f", and the state holds later weights than its best, of epoch {epoch}; the best from here on are kept."
            )
        self._warn(said)

    def _count_processes(self) -> None:
        """Say that a run goes on with another number of processes than it was trained by so far."""
        before, now = (self.record or {}).get("processes"), self.plan.accelerator.num_processes
        batch, own = (self.record or {}).get("global_batch"), self.plan.global_batch
        if batch not in (None, own):
            raise RunError(
                f"processes={now}: divide batches of {own} images evenly, and this run's have {batch}; resume it with {before}, or with "
                f"another number that divides {batch}."
            )
        if before not in (None, now):
            self._warn(
                f"run={str(self.path)!r}: was trained by {before} and goes on with {now} process{'es' if now > 1 else ''}: "
                "its weights will agree with those of an uninterrupted training up to rounding, not bit for bit."
            )

    def _warn(self, sentence: str) -> None:
        if self._main:
            warnings.warn(sentence, PellucidWarning, stacklevel=5)

    def _write_record(self, state: State) -> None:
        """Write run.json for a run that is under way."""
        if not self._main:
            return
        plan, earlier = self.plan, self.record or {}
        frozen = earlier.get("frozen") or {}
        self.record = {
            "format": FORMAT,
            "version": __version__,
            "status": "running",
            "command": plan.settings.command(plan.dataset.name, str(self.path)),
            **plan.identity,
            "learned": dict(state.learned),
            "seed": plan.recipe.seed,
            "environment": environment(plan.accelerator.device, state.learner.bfloat16, state.learner.memory_format),
            "choice": state.learner.choice.facts,
            "started": earlier.get("started", datetime.now(UTC).isoformat(timespec="seconds")),
            "seconds": state.seconds,
            "steps": plan.steps,
            "parameters": _building.parameter_count(state.model),
            "best": state.best,
            "weights": plan.origin.record(state.said) if plan.origin and state.said.notes else earlier.get("weights"),
            "frozen": frozen if "each" in frozen else freezing.before(state.model),
        }
        if self.record["frozen"] and state.saved is None and (filters := freezing.first_filters(state.model)):
            weights.save(self.path / FIRST_FILTERS, filters)
        write_json(self.path / "run.json", self.record)

    def due(self) -> bool:
        """Whether the state was last saved longer ago than `checkpoint` allows."""
        return time.monotonic() - self._saved_at >= self.plan.recipe.checkpoint

    def save(self, state: State) -> None:
        """Write the state to resume from."""
        self._saved_at, state.saved = time.monotonic(), state.step
        if self._main:
            self._digests[STATE] = state.save(self.state_file)

    def keep_best(self, state: State) -> None:
        """Write the weights that evaluation and prediction take."""
        if self._main:
            self._digests[WEIGHTS["best"]] = checkpoint.save_weights(self.path / WEIGHTS["best"], state.evaluated)

    def keep_batch(self, state: State) -> None:
        """Write a picture of the first images of the first step, as the model gets them."""
        if self._main:
            batch, draws = state.feed.batch(0)
            with torch.random.fork_rng(devices=[]), torch.no_grad():
                snapshots.keep_batch(self.path, self.plan.hooks.prepared(self.plan.task, batch, draws)[0])

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
            self._digests[WEIGHTS["last"]] = checkpoint.save_weights(self.path / WEIGHTS["last"], state.evaluated)
            if state.best is None:  # stopped before the first epoch ended
                self.keep_best(state)
            done = state.step >= self.plan.steps or state.exhausted or state.ended
            changes: dict[str, Any] = {
                "status": "finished" if done else "stopped",
                "seconds": round(state.elapsed, 3),
                "best": state.best,
                "step": state.step,
                **({"ended": f"by callback after epoch {state.epoch}"} if state.ended else {}),
                "digests": self._digests,
            }
            if self.record and self.record["frozen"]:
                try:
                    changes["frozen"] = freezing.after(state.model, self.record["frozen"])
                except TrainingError as fault:
                    self.fail(str(fault))
                    raise
            Run(self.path).update(**changes)
        accelerator.wait_for_everyone()
        return Run(self.path)
