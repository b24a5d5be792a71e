# SPDX-License-Identifier: Apache-2.0
"""Tables on the terminal: whole numbers, whatever the width."""

from __future__ import annotations

import os
import re
from typing import Any

import pytest

from pellucid.cli import printing


def metrics(measures: int) -> dict[str, Any]:
    one = {"value": 0.931, "low": 0.926, "high": 0.936, "unit": ""}
    own = {f"measure_{k}": one for k in range(measures)}
    return {"data": "scenes", "split": "test", "n": 300, "seed": 0, "model": own, "baselines": {"the mean box": own}}


@pytest.mark.parametrize("columns", [60, 100, 200])
@pytest.mark.parametrize("measures", [1, 4, 11])
def test_no_number_is_cut_off(
    measures: int, columns: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("shutil.get_terminal_size", lambda *given: os.terminal_size((columns, 40)))
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    printing.measured(metrics(measures))
    said = re.sub(r"\x1b\[[\d;]*m", "", capsys.readouterr().out)  # without colours
    assert "…" not in said
    assert said.count("0.931") == 2 * measures
    assert said.count("0.936)") == 2 * measures
    assert all(len(line) <= columns for line in said.splitlines())


def test_many_measures_lie_below_each_other(capsys: pytest.CaptureFixture[str]) -> None:
    printing.measured(metrics(11))
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split() == ["model", "the", "mean", "box"]
    assert lines[2].split()[0] == "measure_0"
    printing.measured(metrics(2))
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split() == ["measure_0", "measure_1"]
    assert lines[2].split()[0] == "model"
