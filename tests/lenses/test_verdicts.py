# SPDX-License-Identifier: Apache-2.0
"""Verdicts on forty trainings whose truth is planted, as `benchmarks/verdicts.py` recorded them, and on a few trained here."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pellucid.lenses.curves.verdict import verdict
from pellucid.tasks.generate.diagnosis import SampleStatistics, diagnose

RECORDED = sorted((Path(__file__).parent / "histories").glob("*.json"))
SCRIPT = Path(__file__).parents[2] / "benchmarks" / "verdicts.py"


def judged(record: dict[str, Any]) -> str:
    if "samples" in record:
        known = {
            name: np.array(value) if isinstance(value, list) else value for name, value in record["samples"].items()
        }
        return diagnose(SampleStatistics(**{**known, "modes": tuple(record["samples"]["modes"])}))[0]
    columns = record["history"]
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    return verdict(rows, record["chance"]).kind


def test_36_of_40_planted_truths_are_found_and_no_fault_is_called_healthy() -> None:
    found = {}
    for path in RECORDED:
        record = json.loads(path.read_text(encoding="utf-8"))
        found[path.stem] = judged(record), record["truth"]
    wrong = {name: pair for name, pair in found.items() if pair[0] not in pair[1]}
    assert len(found) == 40
    assert len(wrong) <= 4, wrong
    assert "healthy" not in {kind for kind, _ in wrong.values()}, wrong
    # each kind of truth is found at least once, so that no rule is silent
    kinds = {truth for _, truths in found.values() for truth in truths}
    assert kinds == {kind for kind, truths in found.values() if kind in truths}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("data", "case"), [("digits", "one unit"), ("shapes", "few images"), ("glyphs", "shuffled"), ("shapes", "hardly")]
)
def test_trainings_are_judged_by_their_truth(data: str, case: str) -> None:
    words = [sys.executable, str(SCRIPT), "--data", data, "--case", case, "--seed", "5"]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert "1 of 1 right" in done.stderr, done.stdout
