# SPDX-License-Identifier: Apache-2.0
"""What a training says while it runs: the history by part, and a progress bar with rate, losses and time left."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Self, final

import torch
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor

from pellucid.files import write_atomically
from pellucid.inference import measure
from pellucid.training.session import Session

__all__ = ["History"]

_ROWS = 200  # training rows that a history aims at
_WARNINGS = 10  # lines about the data that are printed at most
_PENDING = 50  # steps whose losses may wait on a GPU before they are read


@final
class History:
    """The history of one training, and its progress on the terminal."""

    def __init__(self, session: Session, progress: bool) -> None:
        self.session = session
        self.rows: list[dict[str, Any]] = list(session.numbers.get("history", []))
        self._sums: dict[str, float] = dict(session.numbers.get("sums", {}))
        self._updates: list[tuple[torch.optim.Optimizer, dict[str, Tensor]]] = []
        self._images: int = session.numbers.get("summed", 0)
        self._waiting: list[tuple[int, float, int, Mapping[str, Tensor]]] = []
        self._patient = session.accelerator.device.type == "cuda"
        self._every = max(1, session.steps // _ROWS)
        self._console = Console(stderr=True)
        self._shown = progress and session.accelerator.is_main_process
        self._bar: Progress | None = None
        self._last_refresh = 0.0

    def __enter__(self) -> Self:
        session = self.session
        if self._shown:
            self._warn(session.dataset.problems)
        if self._shown and session.resumed_from:
            self._console.print(f"resuming {session.path} at step {session.resumed_from:,} of {session.steps:,}")
        if self._shown and self._console.is_terminal:
            columns = (
                TextColumn("[bold]{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[rate]} images/s  {task.fields[losses]}"),
                TimeRemainingColumn(compact=True),
            )
            self._bar = Progress(*columns, console=self._console, refresh_per_second=4)
            self._line = self._bar.add_task("epoch 1", total=session.steps, completed=session.step, rate="–", losses="")
            self._bar.start()
        self._begun, self._begun_step = time.monotonic(), session.step
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def _warn(self, problems: Sequence[str]) -> None:
        """What is wrong with the data, before anything is learnt from them."""
        for problem in problems[:_WARNINGS]:
            self._console.print(f"[yellow]warning[/]  {escape(problem)}", highlight=False)
        if len(problems) > _WARNINGS:
            self._console.print(
                f"[yellow]warning[/]  {len(problems) - _WARNINGS:,} more; pellucid data lists them.", highlight=False
            )

    def note(self, optimizer: torch.optim.Optimizer, losses: Mapping[str, Tensor]) -> None:
        """Take the losses of a player in whose optimiser made an update."""
        self._updates.append((optimizer, {name: value.detach() for name, value in losses.items()}))

    def step_done(self, rate: float, images: int) -> None:
        """Write a training row and refresh the bar now and then; raises `TrainingError` where a loss is not finite."""
        session = self.session
        self._waiting.append((session.step, rate, images, self._step_losses()))
        if not self._patient or len(self._waiting) >= _PENDING:
            self._read()
        if session.step % self._every == 0 or session.step % session.steps_per_epoch == 0:
            self._write_train()
        now = time.monotonic()
        if self._bar is not None and now - self._last_refresh > 0.25:
            self._last_refresh = now
            speed = (session.step - self._begun_step) * session.global_batch / (now - self._begun)
            losses = "  ".join(f"{name} {value / max(1, self._images):.4g}" for name, value in self._sums.items())
            epoch = f"epoch {session.step // session.steps_per_epoch + 1}/{session.recipe.epochs}"
            self._bar.update(self._line, completed=session.step, description=epoch, rate=f"{speed:,.0f}", losses=losses)

    def validate(self) -> dict[str, Any] | None:
        """Measure on the validation images, and write the row; None where there are none."""
        session = self.session
        if session.val is None:
            return None
        accelerator = session.accelerator
        with session.autocast():
            records, losses = measure(
                session.task,
                session.evaluated,
                session.val.batches(session.recipe.batch_size, accelerator.device),
                seed=session.recipe.seed,
                with_loss=True,
            )
        row = self._row("val", losses) | {session.main.key: session.main.value(records)}
        self.rows.append(row)
        self._say(row)
        return {**row, "sign": session.main.sign}

    def state(self) -> dict[str, Any]:
        """What a resumed training needs to write the same history; also brings history.jsonl up to date."""
        self._read()
        if self.session.accelerator.is_main_process:
            with write_atomically(self.session.path / "history.jsonl") as draft:
                draft.write_text("".join(json.dumps(row) + "\n" for row in self.rows), encoding="utf-8")
        self.session.numbers["saved"] = self.session.step
        return {"history": self.rows, "sums": self._sums, "summed": self._images, "saved": self.session.step}

    def _step_losses(self) -> dict[str, Tensor]:
        """A single player's losses as they are; of several the mean over each one's updates, and the sum of these as "loss"."""
        updates, self._updates = self._updates, []
        players = self.session.optimizers
        if len(players) == 1:
            return updates[-1][1]
        found: dict[str, Tensor] = {}
        for name, optimizer in players.items():
            own = [losses for made, losses in updates if made is optimizer]
            for part in own[0] if own else ():
                found[f"{name}/{part}"] = torch.stack([losses[part].float() for losses in own]).mean()
        total = sum(value for name, value in found.items() if name.endswith("/loss"))
        return {"loss": torch.as_tensor(total), **found}

    def _read(self) -> None:
        for step, rate, images, losses in self._waiting:
            for name, value in losses.items():
                number = float(value)
                if not math.isfinite(number):
                    raise self.session.fail(step, rate, name, number)
                self._sums[name] = self._sums.get(name, 0.0) + number * images
            self._images += images
        self._waiting.clear()

    def _write_train(self) -> None:
        self._read()
        names = list(self._sums)
        means = torch.tensor([self._sums[name] for name in names], dtype=torch.float64) / max(1, self._images)
        if self.session.accelerator.num_processes > 1:
            means = self.session.accelerator.reduce(means.float().to(self.session.accelerator.device), "mean").cpu()
        self.rows.append(self._row("train", dict(zip(names, means.tolist(), strict=True))))
        self._sums, self._images = {}, 0

    def _row(self, split: str, losses: Mapping[str, float]) -> dict[str, Any]:
        session = self.session
        taken = session.seconds + time.monotonic() - session.begun
        rate = session.recipe.rate(max(0, session.step - 1), session.steps, session.steps_per_epoch)
        place = {"step": session.step, "epoch": round(session.step / session.steps_per_epoch, 4), "split": split}
        return {**place, **losses, "learning_rate": rate, "seconds": round(taken, 3)}

    def _say(self, row: Mapping[str, Any]) -> None:
        """One line an epoch where there is no bar to look at."""
        if self._shown and self._bar is None:
            left = (self.session.steps - self.session.step) / max(1, self.session.step) * row["seconds"]
            values = "  ".join(f"{name} {row[name]:.4g}" for name in ("loss", self.session.main.key) if name in row)
            epoch = f"epoch {round(row['epoch'])}/{self.session.recipe.epochs}"
            self._console.print(
                f"{epoch}  validation: {values}  {row['seconds']:.0f} s, {left:.0f} s left", highlight=False
            )
