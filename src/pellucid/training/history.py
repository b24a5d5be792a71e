# SPDX-License-Identifier: Apache-2.0
"""The history of a training: its losses and validation measures by step, as rows of history.jsonl."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NoReturn, Self, final

import numpy as np
import torch
from torch import Tensor

from pellucid.data.dataset import Batch
from pellucid.errors import TrainingError
from pellucid.files import write_atomically
from pellucid.inference import measure
from pellucid.tasks import Records, joined, own_values
from pellucid.training.exchange import collected, from_main
from pellucid.training.folder import Folder
from pellucid.training.logs import Log
from pellucid.training.setback import setback
from pellucid.training.state import State, better
from pellucid.training.step import Update
from pellucid.training.terminal import Terminal

__all__ = ["History"]

_ROWS = 200  # training rows that a history aims at
_PENDING = 50  # steps whose losses may wait on a GPU before they are read


@final
class History:
    """Writes the losses and measures of a training to `state.history`, and shows them on the terminal."""

    def __init__(self, state: State, folder: Folder, progress: bool) -> None:
        self.state, self.folder, self.plan = state, folder, state.plan
        accelerator = self.plan.accelerator
        self._every = max(1, self.plan.steps // _ROWS)  # steps between training rows
        self._images = self.plan.global_batch  # of a step
        self._pending: list[tuple[int, float, Mapping[str, Tensor]]] = []  # (step, rate, losses) not read yet
        self._patience = _PENDING if accelerator.device.type == "cuda" else 1
        self._log: Log | None = None
        self._terminal = Terminal(state, folder.path, progress and accelerator.is_main_process)

    def __enter__(self) -> Self:
        self._terminal.start()
        plan, state = self.plan, self.state
        settings = {**plan.settings.task_options, **plan.model["options"], **dataclasses.asdict(plan.recipe)}
        named = plan.recipe.log if plan.accelerator.is_main_process else None
        self._log = Log(
            named,
            self.folder.path,
            {"task": plan.settings.task_name, "model": plan.settings.model, **settings},
            state.step,
        )
        self._log.skip(len(state.history))
        return self

    def __exit__(self, *fault: object) -> None:
        if self._log is not None:
            self._log.close()
        self._terminal.stop()

    def log(self, updates: Sequence[Update], rate: float) -> None:
        """Take in the updates of a step; now and then write a training row, and move the progress bar.

        Raises:
            TrainingError: a loss is not finite.
        """
        state = self.state
        self._pending.append((state.step, rate, _losses(updates, list(state.learner.optimizers))))
        if len(self._pending) >= self._patience:
            self._read()
        if state.step % self._every == 0 or state.step % self.plan.steps_per_epoch == 0:
            self._write_train()
        self._terminal.refresh()

    def validate(self) -> dict[str, Any] | None:
        """Measure on the validation images, and write and return the row; None where there are none.

        The returned row also has a "sign": −1 where a lower measure is better, else 1.
        """
        state, plan = self.state, self.plan
        batches = state.feed.validation()
        if batches is None:
            state.set_threshold(state.threshold_by(None))
            self._terminal.finished(state.history[-1])  # the training row that the epoch's last step has written
            return None
        with state.learner.autocast():
            records, losses = self._measured(batches)
        threshold, row = from_main(lambda: (state.threshold_by(records), self._measures(records, losses)))
        state.set_threshold(threshold)
        state.history.append(row)
        self._terminal.finished(row, self._best(row))
        validated = [row for row in state.history if row["split"] == "val"]
        if plan.main.key in row and (sentence := setback(validated, plan.main.key, plan.main.sign, plan.recipe.peak)):
            self._terminal.warn([sentence])
        return {**row, "sign": plan.main.sign}

    def _measured(self, batches: Iterator[Batch]) -> tuple[dict[str, Any], dict[str, float]]:
        """The records and the mean losses of all validation images, in the first process; the others may have none.

        Each process measures whole batches, so that a loss which compares the images of a batch is that of one process.
        """
        state, plan = self.state, self.plan
        processes, number = plan.accelerator, state.feed.validation_batches
        found: tuple[dict[str, Any], dict[str, float]] = ({}, {})
        if processes.process_index < number:
            found = measure(plan.task, state.evaluated, batches, seed=plan.recipe.seed, with_loss=True)
        if processes.num_processes == 1:
            return found
        size, images = plan.recipe.batch_size, len(state.feed.val or ())
        places = [
            np.concatenate([np.arange(batch * size, min((batch + 1) * size, images)) for batch in own])
            for place in range(min(number, processes.num_processes))
            if (own := range(place, number, processes.num_processes))
        ]
        parts = [part for part in collected(found) if part[0]]
        if not parts:
            return {}, {}
        order = np.argsort(np.concatenate(places), kind="stable")
        records = {name: joined([part[0][name] for part in parts])[order] for name in parts[0][0]}
        shares = [len(own) / images for own in places]
        losses = {
            name: sum(share * part[1][name] for share, part in zip(shares, parts, strict=True)) for name in parts[0][1]
        }
        return records, losses

    def _measures(self, records: Records, losses: Mapping[str, float]) -> dict[str, Any]:
        plan = self.plan
        row = self._row("val", losses) | {plan.main.key: (plan.main.live or plan.main.value)(records)}
        return row | own_values(plan.hooks.measures, records)

    def _best(self, row: Mapping[str, Any]) -> bool:
        """Whether a validation row is ahead of those before it; never where the best is not kept."""
        state, main = self.state, self.plan.main
        ahead = better({**row, "sign": main.sign}, state.best, main.key, state.step, state.epoch)
        return self.plan.task.selects_checkpoint and ahead is not None

    def write(self) -> None:
        """Write history.jsonl; afterwards the state holds all that a resumed training needs to write the same rows."""
        self._read()
        if self.plan.accelerator.is_main_process:
            with write_atomically(self.folder.path / "history.jsonl") as draft:
                draft.write_text("".join(json.dumps(row) + "\n" for row in self.state.history), encoding="utf-8")
        if self._log is not None:
            self._log.write(self.state.history)

    def _read(self) -> None:
        """Add the pending losses to the sums. Reading a loss waits for the GPU, so it is done for many steps at once."""
        state = self.state
        for step, rate, losses in self._pending:
            for name, value in losses.items():
                number = float(value)
                if not math.isfinite(number):
                    self._fail(step, rate, name, number)
                state.sums[name] = state.sums.get(name, 0.0) + number * self._images
            state.summed += self._images
        self._pending.clear()

    def _fail(self, step: int, rate: float, name: str, value: float) -> NoReturn:
        saved = self.state.saved
        good = f"the last good checkpoint is that of step {saved}" if saved else "there was no checkpoint yet"
        sentence = (
            f"{name}={value}: not finite at step {step} with learning rate {rate:.3g}; {good}; "
            "train into another folder with a lower lr, or with clip=1."
        )
        self.folder.fail(sentence)
        raise TrainingError(sentence)

    def _write_train(self) -> None:
        """Write a row with the mean losses since the last one; those of a step are of all processes already."""
        self._read()
        state = self.state
        means = torch.tensor(list(state.sums.values()), dtype=torch.float64) / max(1, state.summed)
        state.history.append(self._row("train", dict(zip(state.sums, means.tolist(), strict=True))))
        state.sums, state.summed = {}, 0

    def _row(self, split: str, losses: Mapping[str, float]) -> dict[str, Any]:
        state, plan = self.state, self.plan
        rate = plan.recipe.rate(max(0, state.step - 1), plan.steps, plan.steps_per_epoch)  # of the last step
        place = {"step": state.step, "epoch": round(state.step / plan.steps_per_epoch, 4), "split": split}
        return {**place, **losses, "learning_rate": rate, "seconds": round(state.elapsed, 3)}


def _losses(updates: Sequence[Update], players: Sequence[str]) -> dict[str, Tensor]:
    """A step's losses by part; of several players the mean over each one's updates, as "player/part", and the sum as "loss"."""
    if len(players) == 1:
        return updates[-1].losses
    parts: dict[str, Tensor] = {}
    for player in players:
        own = [update.losses for update in updates if update.player == player]
        for part in own[0] if own else ():
            parts[f"{player}/{part}"] = torch.stack([losses[part].float() for losses in own]).mean()
    total = sum(value for name, value in parts.items() if name.endswith("/loss"))
    return {"loss": torch.as_tensor(total), **parts}
