# SPDX-License-Identifier: Apache-2.0
"""Training: one visible loop, from a task, data and a model to a run that can be killed at any moment and resumed."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pellucid._helps import listing_options
from pellucid._memory import keeping_freed_memory
from pellucid.own.parts import take
from pellucid.run import Run
from pellucid.tasks import AnyTask, OwnMeasure, Task, TaskFamily
from pellucid.training.choosing import chosen
from pellucid.training.folder import Folder
from pellucid.training.history import History
from pellucid.training.hooks import Hooks
from pellucid.training.machine import interruptible, stopping
from pellucid.training.peers import watching
from pellucid.training.plan import Plan
from pellucid.training.recipe import Recipe
from pellucid.training.remembering import remembered
from pellucid.training.state import State
from pellucid.training.step import take_step

__all__ = ["train"]


def train(
    task: str | AnyTask | TaskFamily = "classify",
    data: Any = None,
    model: str | nn.Module | Callable[..., nn.Module] | None = None,
    out: str | Path | None = None,
    *,
    progress: bool = True,
    weights: Mapping[str, Tensor] | Run | str | Path | None = None,
    model_options: Mapping[str, Any] | None = None,
    augment: Callable[[Tensor, Any], Any] | None = None,
    measures: Mapping[str, OwnMeasure] | None = None,
    callback: Callable[[int, Mapping[str, Any], nn.Module], Any] | None = None,
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
        task: a name in the catalogue, or a task with its options; also a class of one's own, or FILE.py:NAME.
        data: what `pellucid.data.open` takes, such as a path or arrays `(x, y)`, or a dataset; by default the task's embedded example.
        model: a name in the catalogue; by default the task's own. Also one's own: an `nn.Module`, which stays as it is while a copy
            is trained, a class or a function that makes one, or FILE.py:NAME. Images come to it in [0, 1].
        out: the run's folder; by default one below `runs/`, which the same call finds again.
        progress: show a progress bar.
        weights: what the model starts from: a file of weights, another run or its folder, or a state dict; by default its own
            initialisation. Tensors are found by their names, and those that do not fit are named in a warning.
        model_options: options of the model alone, where a class of one's own has names that the training has too.
        augment: called on each training batch, after the task's own changes: images (N, C, H, W) in [0, 1] and their targets; it returns
            the images, or both. Torch's random numbers differ from step to step, and are the same ones when the training is resumed.
        measures: functions by name, of the records of the images: (N,) numbers, of which the mean is the measure, or a single one.
        callback: called after each epoch with its number, its row of the history and the model; the training ends where it returns
            False.
        options: those of the task, of the model and of the training (`Recipe`); and recipe="thorough", or another of the task's
            `recipes`, for several that go together: options that are given besides win.

    Raises:
        UsageError: an option, the data or the folder cannot be used; nothing was written.
        TrainingError: a loss is not finite; the run keeps its last good checkpoint.
    """
    with torch.random.fork_rng(devices=[]):  # the caller's random numbers stay as they were
        model, ways = take("models", model)
        if not isinstance(task, (Task, TaskFamily)):
            task = take("tasks", task).name or "classify"
        ways = {**ways, **(model_options or {})}
        hooks = Hooks(augment, measures or {}, callback)
        given = weights if isinstance(weights, Mapping) else None
        if weights is not None and given is None:
            options["weights"] = str(weights.path if isinstance(weights, Run) else weights)
        with watching():  # of several processes, none waits for one that has ended
            plan = Plan.of(task, data, model, options, out, given, ways, hooks)
            folder = Folder(plan, out)
            # before anything is decided: a training that goes on elsewhere changes what the folder holds
            with folder.locked():
                folder.agree()
                if folder.finished:
                    return Run(folder.path, measures=hooks.measures)
                choose = functools.partial(chosen, record=folder.record)
                state = State.begin(plan, fresh=not folder.resumable, choose=choose)
                with (
                    state.learner.choice.computing(),
                    folder.open(state),
                    interruptible() as stop,
                    History(state, folder, progress) as history,
                ):
                    with keeping_freed_memory():
                        _loop(state, folder, history, stop)
                    run = folder.finish(state)
                    run.measures = dict(hooks.measures)
                    return run


def _loop(state: State, folder: Folder, history: History, stop: threading.Event) -> None:
    """Step and log; after every epoch validate and keep the best weights; save the state now and then."""
    plan = state.plan
    state.feed = remembered(state.feed, plan, state.learner, state.model)
    while (
        state.step < plan.steps
        and not state.exhausted
        and not state.ended
        and not stopping(plan.accelerator, stop, state.step)
    ):
        state.thaw()
        batch, draws = state.feed.batch(state.step)
        rate = plan.recipe.rate(state.step, plan.steps, plan.steps_per_epoch)
        plan.seed_torch(state.step)
        with state.feed.replaying(batch):
            updates = take_step(
                state.learner, batch, draws, rate
            )  # each player: forward, backward, clip, optimiser step
        state.step += 1
        if state.average is not None:
            state.average.update(state.model, state.step)
        history.log(updates, rate)
        epoch_done = state.step % plan.steps_per_epoch == 0
        if epoch_done:
            state.update_buffers()
            folder.keep_snapshot(state)
            if state.improve(history.validate()):
                folder.keep_best(state)
        if epoch_done or folder.due():
            history.write()
            folder.save(state)
        if epoch_done:  # once everything is saved: a function of the user's own may fail
            state.call_back()
    if state.step != state.saved:
        history.write()
        folder.save(state)


listing_options(train, Recipe)
