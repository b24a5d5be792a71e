# SPDX-License-Identifier: Apache-2.0
"""What a training shows while it runs: a line for each epoch, and on a terminal a progress bar below them."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, final

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from pellucid.data.parts import Parts
from pellucid.tasks import LearnsFromImages
from pellucid.training.state import State

__all__ = ["Terminal"]

_WARNINGS = 10  # problems of the data that are printed at most


@final
class Terminal:
    """A line for each finished epoch; on a terminal below them a progress bar with rate, losses and time left."""

    def __init__(self, state: State, path: Path, shown: bool) -> None:
        self._state, self._path, self._shown = state, path, shown
        self._console = Console(stderr=True)
        self._bar: Progress | None = None
        self._line = TaskID(0)
        self._refreshed = 0.0
        self._begun, self._first = time.monotonic(), state.step

    def start(self) -> None:
        """Print warnings about the data, what the task learned from them and the step that is resumed from, and start the bar."""
        state, plan = self._state, self._state.plan
        if self._shown:
            for note in plan.dataset.notes:
                self._print(f"[dim]note[/]  {escape(note)}", highlight=False)
            if isinstance(plan.train.images, Parts):
                whole, (height, width) = len(plan.train.images.images), plan.size
                cut = f"{whole:,} images are cut into {len(plan.train):,} parts of {width}×{height} px for training"
                self._print(f"[dim]note[/]  {cut}", highlight=False)
            for sentence in state.said.notes:
                self._print(f"[dim]note[/]  {escape(sentence)}", highlight=False)
            if not state.step and (sentence := state.learner.choice.sentence):
                self._print(f"[dim]note[/]  {escape(sentence)}", highlight=False)
            self.warn(plan.dataset.problems)
        if self._shown and isinstance(plan.task, LearnsFromImages):
            for sentence in plan.task.findings:
                self._print(sentence, highlight=False, markup=False)
        if self._shown and state.step:
            self._print(f"resuming {escape(str(self._path))} at step {state.step:,} of {plan.steps:,}")
        if self._shown and self._console.is_terminal:
            columns = (
                TextColumn("[bold]{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[rate]} images/s  {task.fields[losses]}"),
                TimeRemainingColumn(compact=True),
            )
            self._bar = Progress(*columns, console=self._console, refresh_per_second=4)
            self._line = self._bar.add_task("epoch 1", total=plan.steps, completed=state.step, rate="–", losses="")
            self._bar.start()
        self._begun, self._first = time.monotonic(), state.step

    def stop(self) -> None:
        """Stop the bar where it is."""
        if self._bar is not None:
            with contextlib.suppress(OSError):
                self._bar.update(self._line, completed=self._state.step)
                self._bar.stop()

    def refresh(self) -> None:
        """Move the bar, at most four times a second."""
        now = time.monotonic()
        if self._bar is None or now - self._refreshed <= 0.25:
            return
        self._refreshed = now
        state, plan = self._state, self._state.plan
        speed = (state.step - self._first) * plan.global_batch / (now - self._begun)
        losses = "  ".join(f"{name} {total / max(1, state.summed):.4g}" for name, total in state.sums.items())
        epoch = f"epoch {state.epoch + 1}/{plan.recipe.epochs}"
        self._bar.update(self._line, completed=state.step, description=epoch, rate=f"{speed:,.0f}", losses=losses)

    def finished(self, row: Mapping[str, Any], best: bool = False) -> None:
        """Print a line for the epoch, above the bar if there is one.

        Args:
            row: of the history: validation, or training where nothing is validated.
            best: whether its measure is the best so far.
        """
        if not self._shown:
            return
        state, plan = self._state, self._state.plan
        left = (plan.steps - state.step) / max(1, state.step) * row["seconds"]
        key = plan.main.key
        values = [f"{name} {row[name]:.4g}" for name in ("loss", key) if name in row]
        if best and key in row:
            values[-1] = f"[bold green]{values[-1]}[/] (best)"  # in words too: not all see colours
        part = "[cyan]validation[/]" if row["split"] == "val" else "[magenta]training[/]"
        epoch = f"[bold]epoch {round(row['epoch'])}/{plan.recipe.epochs}[/]"
        time = f"[dim]{row['seconds']:.0f} s, {left:.0f} s left[/]"
        self._print(f"{epoch}  {part}: {'  '.join(values)}  {time}", highlight=False)

    def _print(self, words: str, **options: Any) -> None:
        with contextlib.suppress(OSError):  # a terminal that was closed: the training goes on, or saves its state
            self._console.print(words, **options)

    def warn(self, problems: Sequence[str]) -> None:
        """Print warnings, above the bar if there is one."""
        if not self._shown:
            return
        for problem in problems[:_WARNINGS]:
            self._print(f"[yellow]warning[/]  {escape(problem)}", highlight=False)
        if len(problems) > _WARNINGS:
            self._print(
                f"[yellow]warning[/]  {len(problems) - _WARNINGS:,} more; pellucid data lists them.", highlight=False
            )
