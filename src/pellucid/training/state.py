# SPDX-License-Identifier: Apache-2.0
"""What a training resumes from: weights and their average, optimisers, the step, the time, the best so far, the history."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, final

import torch
from torch import Tensor, nn

from pellucid.data.draws import Draws
from pellucid.errors import PellucidWarning
from pellucid.models import Whitens
from pellucid.tasks import (
    ChoosesThreshold,
    DecidesByThreshold,
    LearnsFromImages,
    ReadsPages,
    Records,
    Threshold,
    UpdatesBuffers,
    set_threshold,
)
from pellucid.training import checkpoint, freezing
from pellucid.training.average import Average
from pellucid.training.choice import Choice
from pellucid.training.exchange import computed_by_main, from_main, hand_out
from pellucid.training.feed import Feed
from pellucid.training.origin import Said
from pellucid.training.plan import Plan
from pellucid.training.remembering import check_variants
from pellucid.training.step import Learner

__all__ = ["State", "better"]

_SHOWN = 2000  # training images by which a model may set its first layer


@final
class State:
    """Where a training stands. What `save` writes and `restore` reads is all that it takes to go on bit for bit.

    >>> state = State.begin(Plan.of("classify", "digits", "mlp", {"device": "cpu"}))
    >>> state.step, state.best, state.average
    (0, None, None)
    """

    def __init__(self, plan: Plan, feed: Feed, model: nn.Module, said: Said, choice: Choice) -> None:
        self.plan, self.feed, self.model = plan, feed, model
        self.said = said  # of the weights that the model starts from
        self.average = Average(model, plan.recipe.ema) if plan.recipe.ema else None
        self.learner = Learner(plan, model, choice)
        self.step = 0
        self.saved: int | None = None  # the step of the state that was saved last
        self.best: dict[str, Any] | None = None  # the record of the weights that are kept, see `better`
        self.history: list[dict[str, Any]] = []  # the rows of history.jsonl
        self.sums: dict[str, float] = {}  # of each loss over the images since the last training row
        self.summed = 0  # those images
        self.seconds = 0.0  # of training before it was started this time
        self.begun = time.monotonic()
        self.ended = False  # the user's own function said so
        self.threshold: Threshold | None = None  # of the weights that were validated last, where the task has one

    @classmethod
    def begin(
        cls, plan: Plan, *, fresh: bool = True, choose: Callable[[Plan, nn.Module, Feed], Choice] | None = None
    ) -> State:
        """Build the model, decode the images, and set up the optimisers; nothing is written yet.

        Args:
            plan: the training.
            fresh: False where a saved state will be restored: then weights and the images' statistics come with it.
            choose: how the steps are computed; by default the options and the processor's instructions decide.
        """
        with plan.accelerator.local_main_process_first():  # weights of others are fetched once
            model, said = plan.build(fetch=fresh), Said()
        if fresh and plan.origin is not None:
            said = plan.origin.fit(model, plan.settings.task_name, plan.dataset.classes)
            if said.warning and plan.accelerator.is_main_process:
                warnings.warn(said.warning, PellucidWarning, stacklevel=3)
        feed = Feed(plan)  # decoding can take minutes: only once the model is known to fit
        if fresh and isinstance(plan.task, LearnsFromImages):
            plan = replace(plan, task=from_main(partial(plan.task.learn, feed.train)))
        if fresh and not model.normalize.pretrained:
            seen = plan.task.statistics(feed.train) if isinstance(plan.task, ReadsPages) else feed.train.statistics()
            model.normalize.fit(*seen)
            if isinstance(model, Whitens) and plan.origin is None:  # what was trained behind other filters keeps them
                model.whiten(_shown(plan, feed))
        if fresh and isinstance(plan.task, ChoosesThreshold) and not isinstance(plan.task, DecidesByThreshold):
            set_threshold(model, plan.task.default_threshold)  # weights that it starts from may bring another
        if fresh:
            plan.hooks.tried(plan.task, *feed.batch(0))
        freezing.stage(model, plan.recipe)
        check_variants(feed, plan, model)
        device = plan.accelerator.device
        choice = Choice.usual(plan.recipe, model, device) if choose is None else choose(plan, model, feed)
        model.to(device, memory_format=choice.memory_format)
        return cls(plan, feed, model, said, choice)

    @property
    def epoch(self) -> int:
        """Epochs done."""
        return self.step // self.plan.steps_per_epoch

    @property
    def elapsed(self) -> float:
        """Seconds of training up to now, including those before it was resumed."""
        return self.seconds + time.monotonic() - self.begun

    @property
    def evaluated(self) -> nn.Module:
        """The weights that are validated and kept: the average where there is one."""
        return self.average.model if self.average is not None else self.model

    @property
    def learned(self) -> Mapping[str, Any]:
        """What the task learned from the training images, as JSON."""
        return self.plan.task.facts if isinstance(self.plan.task, LearnsFromImages) else {}

    def thaw(self) -> None:
        """Train the frozen backbone too from here on, if its epoch has come."""
        thaws = self.plan.recipe.thaws
        if thaws is not None and self.epoch >= thaws:
            freezing.thaw(self.model)

    def update_buffers(self) -> None:
        """Let the task compute the model's buffers from all training images, before the first epoch and after each."""
        plan = self.plan
        plan.seed_torch(self.step)
        task = plan.task
        if not isinstance(task, UpdatesBuffers):
            return
        for model in self._modules().values():
            computed_by_main(
                model,
                partial(task.update_buffers, model, self.feed.once, self.epoch, plan.recipe.epochs, plan.recipe.seed),
            )

    def spread(self) -> None:
        """Hand the first process's weights to the others: other processors may have drawn or averaged slightly other ones."""
        for model in self._modules().values():
            hand_out(model)

    def threshold_by(self, records: Records | None) -> Threshold | None:
        """The threshold of the answers by the records of the validation images, or the default without any."""
        task = self.plan.task
        return task.choose_threshold(records) if isinstance(task, ChoosesThreshold) else None

    def set_threshold(self, threshold: Threshold | None) -> None:
        """Let the models answer from this threshold on."""
        task = self.plan.task
        if not isinstance(task, ChoosesThreshold):
            return
        self.threshold = threshold
        if self.threshold is None or isinstance(task, DecidesByThreshold):
            return
        for model in self._modules().values():  # an average takes the buffers of the model with its next step
            set_threshold(model, self.threshold.value)

    def improve(self, row: Mapping[str, Any] | None) -> bool:
        """Whether the weights are the best so far by this validation row; without validation images (None) they always are."""
        best = self.best if self.plan.task.selects_checkpoint else None
        record = better(row, best, self.plan.main.key, self.step, self.epoch)
        if record is not None:
            self.best = record if self.threshold is None else {**record, "threshold": self.threshold.facts}
        return record is not None

    @property
    def exhausted(self) -> bool:
        """Whether patience has run out: so many epochs have not improved the validation measure."""
        best, patience = self.best, self.plan.recipe.patience
        return bool(best and patience and self.epoch - best.get("reached", best["epoch"]) >= patience)

    def call_back(self) -> None:
        """Hand the epoch's last row and the validated model to the user's own function, which may end the training."""
        if self.plan.hooks.callback is not None:
            self.ended = from_main(lambda: self.plan.hooks.ends(self.epoch, self.history[-1], self.evaluated))

    def save(self, path: Path) -> str:
        """Write the state to one file, atomically; returns its digest."""
        numbers = {"history": self.history, "sums": self.sums, "summed": self.summed, "saved": self.step}
        numbers |= {"step": self.step, "seconds": self.elapsed, "best": self.best, "learned": self.learned}
        numbers |= {"average_of_steps": self.average.of_steps} if self.average is not None else {}
        return checkpoint.save(path, self._modules(), self.learner.optimizers, numbers)

    def restore(self, path: Path, written: str | None = None) -> str:
        """Go on from the state in a file; returns its digest.

        Args:
            path: the file.
            written: the digest that it must have, if it is known.

        Raises:
            RunError: the file is damaged, or of another model.
        """
        numbers, digest = checkpoint.restore(path, self._modules(), self.learner.optimizers, written)
        self.model.to(memory_format=self.learner.memory_format)
        self.step, self.seconds, self.best = numbers["step"], numbers["seconds"], numbers["best"]
        self.history, self.sums, self.summed = numbers["history"], numbers["sums"], numbers["summed"]
        self.saved = self.step
        if self.average is not None:
            self.average.of_steps = numbers.get("average_of_steps", False)
        if isinstance(self.plan.task, LearnsFromImages):
            self.plan = replace(self.plan, task=self.plan.task.recall(numbers.get("learned", {})))
            self.learner.plan = self.plan
        return digest

    def _modules(self) -> dict[str, nn.Module]:
        return {"model": self.model} if self.average is None else {"model": self.model, "average": self.average.model}


def _shown(plan: Plan, feed: Feed) -> Tensor:
    """Training images (N, C, H, W) as a model gets them, without random changes: at most 2,000, spread over the split."""
    index = torch.linspace(0, len(feed.train) - 1, min(len(feed.train), _SHOWN), dtype=torch.float64).round().long()
    draws = Draws.images(plan.recipe.seed, index)
    input, _ = plan.task.prepare(feed.train.batch(index), draws, False)
    assert isinstance(input, Tensor), "models that whiten take images alone"
    return input


def better(
    row: Mapping[str, Any] | None, best: Mapping[str, Any] | None, measure: str, step: int, epoch: int
) -> dict[str, Any] | None:
    """The record of weights that are better than the best so far, else None; the lower loss breaks ties of the measure.

    >>> first = better({"accuracy": 0.9, "loss": 0.4}, None, "accuracy", step=10, epoch=1)
    >>> better({"accuracy": 0.9, "loss": 0.5}, first, "accuracy", step=20, epoch=2) is None
    True
    >>> better({"accuracy": 0.9, "loss": 0.3}, first, "accuracy", step=30, epoch=3)
    {'step': 30, 'epoch': 3, 'measure': 'accuracy', 'value': 0.9, 'loss': 0.3, 'reached': 1}

    Args:
        row: of the validation, with the sign that makes the measure one to be maximised; None without validation images.
        best: the record so far, if there is one; version 0.1.0 wrote it without the loss, and a tie with it keeps its weights.
        measure: the name of the measure that decides.
        step: where the training is.
        epoch: epochs done. `reached` is the one that first had the measure's value: patience counts from there.
    """
    row = row or {}
    value, loss, sign, reached = row.get(measure), row.get("loss"), row.get("sign", 1), epoch
    if best is not None and row:
        if value is None or not sign * value >= sign * best["value"]:
            return None
        if value == best["value"]:
            if loss is None or not loss < best.get("loss", -math.inf):
                return None
            reached = best["reached"]
    return {"step": step, "epoch": epoch, "measure": measure, "value": value, "loss": loss, "reached": reached}
