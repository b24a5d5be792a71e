# SPDX-License-Identifier: Apache-2.0
"""What a training says on a terminal: a line for each finished epoch, which stays above the bar."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from pellucid.training import terminal
from pellucid.training.training import train

ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def shown(monkeypatch: pytest.MonkeyPatch, place: Path, is_terminal: bool, **options: Any) -> str:
    """What a tiny training writes to standard error."""
    written = io.StringIO()

    def console(**_: Any) -> Console:
        return Console(
            file=written, force_terminal=is_terminal, width=160, color_system="standard" if is_terminal else None
        )

    monkeypatch.setattr(terminal, "Console", console)
    settings: dict[str, Any] = {"hidden": (8,), "epochs": 3, "limit": 200, "seed": 0, **options}
    run = train("classify", "digits", "mlp", place / "run", **settings)
    assert run.status == "finished"
    return written.getvalue()


@pytest.mark.parametrize("is_terminal", [True, False])
def test_each_epoch_has_a_line_with_loss_and_measure(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, is_terminal: bool
) -> None:
    raw = shown(monkeypatch, tmp_path, is_terminal)
    text = ESCAPES.sub("", raw)
    rows = [row for row in text_rows(tmp_path) if row["split"] == "val"]
    for number, row in enumerate(rows, 1):
        wanted = f"epoch {number}/3  validation: loss {row['loss']:.4g}  accuracy {row['accuracy']:.4g}"
        assert wanted in text
    assert ("\x1b[" in raw) is is_terminal, "colours are for terminals alone"
    if is_terminal:
        # the bar is drawn again below the line
        assert text.rindex("epoch 3/3  validation") < text.rindex("images/s")


def test_the_best_epochs_so_far_are_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    text = shown(monkeypatch, tmp_path, False, epochs=6)
    rows = [row for row in text_rows(tmp_path) if row["split"] == "val"]
    best: tuple[float, float] | None = None
    for number, row in enumerate(rows, 1):
        record = (row["accuracy"], -row["loss"])  # the loss breaks ties
        line = next(line for line in text.splitlines() if line.startswith(f"epoch {number}/6"))
        assert ("(best)" in line) is (best is None or record > best)
        best = record if best is None else max(best, record)


def text_rows(place: Path) -> list[dict[str, Any]]:
    from pellucid.run import Run

    return [dict(row) for row in Run(place / "run").history]
