# SPDX-License-Identifier: Apache-2.0
"""Training: one visible loop, from a task, data and a model to a run that a kill at any moment cannot spoil."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pellucid.data.dataset import Dataset
from pellucid.data.draws import Draws
from pellucid.run import Run
from pellucid.tasks import AnyTask, TaskFamily, steps_of
from pellucid.training.history import History
from pellucid.training.machine import interruptible
from pellucid.training.session import Session

__all__ = ["train"]


def train(
    task: str | AnyTask | TaskFamily = "classify",
    data: str | Path | Dataset | None = None,
    model: str | None = None,
    out: str | Path | None = None,
    *,
    progress: bool = True,
    weights: Mapping[str, Tensor] | None = None,
    **options: Any,
) -> Run:
    """Train a model for a task on data, and return its run; the same call resumes one that was stopped or killed.

    >>> import tempfile
    >>> folder = tempfile.TemporaryDirectory()
    >>> run = train("classify", "digits", "mlp", folder.name + "/run", hidden=(32,), epochs=2, progress=False)
    >>> run.status, run.history[-1]["split"]
    ('finished', 'val')
    >>> folder.cleanup()

    Args:
        task: a name in the catalogue, or a task with its options.
        data: what `pellucid.data.open` takes, or a dataset; by default the task's embedded example.
        model: a name in the catalogue; by default the task's own.
        out: the run's folder; by default one under `runs/`, named for what was asked.
        progress: show a progress bar.
        weights: what the model sets out from, a state dict that fits it; by default its own initialisation.
        options: fields of the task, options of the model, and fields of `Recipe`, flat.

    Raises:
        UsageError: something asked for cannot be; nothing was written.
        TrainingError: the loss is not finite; the run keeps its last good checkpoint.
    """
    with torch.random.fork_rng(devices=[]):  # the caller's own random numbers stay as they were
        session = Session.prepare(task, data, model, out, options, weights)
        if session.finished:
            return Run(session.path)
        with session, interruptible() as stop, History(session, progress) as history:
            _loop(session, history, stop)
            return session.finish()


def _loop(session: Session, history: History, stop: threading.Event) -> None:
    """Forward, backward, step, log; after every epoch validate, and keep the best weights."""
    task, recipe, accelerator, rows = session.task, session.recipe, session.accelerator, session.rows
    while session.step < session.steps and not session.exhausted and not session.stopping(stop):
        epoch, position = divmod(session.step, session.steps_per_epoch)
        index = session.order(epoch)[position * session.global_batch :][: session.global_batch]
        # each process takes its own rows of the global batch, with the numbers that one process alone would draw for them
        batch = session.store.batch(index[rows], accelerator.device)
        draws = Draws.step(recipe.seed, session.step, rows, len(index), accelerator.device)
        session.reseed()
        input, target = task.prepare(batch, draws, training=True)
        input = input.contiguous(memory_format=session.memory_format)  # (B, C, H, W)
        rate = recipe.rate(session.step, session.steps, session.steps_per_epoch)
        with session.autocast():
            for player, losses in steps_of(task, session.wrapped, input, target):
                optimizer = session.optimizer(player, rate)
                optimizer.zero_grad()
                accelerator.backward(losses["loss"])
                if recipe.clip is not None:
                    accelerator.clip_grad_norm_(player.parameters(), recipe.clip)
                optimizer.step()
                torch.clear_autocast_cache()  # it holds the weights as they were: the next player would see them
                history.note(optimizer, losses)
        session.step += 1
        if session.average is not None:
            session.average.update(session.model)
        history.step_done(rate, len(batch))
        if session.step % session.steps_per_epoch == 0:
            session.update_buffers()
            session.keep_best(history.validate())
        if session.step % session.steps_per_epoch == 0 or session.due():
            session.save(history.state())
    if session.step != session.saved_step:
        session.save(history.state())
