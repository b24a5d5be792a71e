# SPDX-License-Identifier: Apache-2.0
"""1,040 damaged files of annotations in every form: each set opens or is refused in one sentence, at once and in little memory."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from annotated import FORMS, written
from open_annotated import opened, tried

EACH, FEW = 80, 5  # damaged files of a form, in the campaign and in the fast tests
SECONDS, MEGABYTES = 10, 1024


@pytest.mark.parametrize("form", FORMS)
def test_a_few_damaged_annotations_open_or_are_refused(form: str, tmp_path: Path) -> None:
    files = written(form, tmp_path / "set")
    sound = opened(tmp_path / "set")
    for seed in range(1000, 1000 + FEW):
        result, said = tried(form, seed, tmp_path / "set", files, sound)
        assert result != "trace", f"seed {seed}: {said}"
        assert "\n" not in said and (result == "opened" or said.endswith(".")), f"seed {seed}: {said}"


@pytest.mark.slow
@pytest.mark.hostile
@pytest.mark.parametrize("form", FORMS)
def test_damaged_annotations_open_or_are_refused(form: str, tmp_path: Path) -> None:
    """In a process of its own, so that a crash of a library's C code is a result, and its peak of memory counts alone."""
    script = Path(__file__).with_name("open_annotated.py")
    words = [sys.executable, str(script), form, str(EACH), str(tmp_path), str(SECONDS)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 0, f"seed {len(rows)} ended the process ({done.returncode}): {done.stderr[-500:]}"
    results = Counter(row["result"] for row in rows)
    peak, slowest = max(row["megabytes"] for row in rows), max(row["seconds"] for row in rows)
    print(f"\n{form}: {dict(results)}, at most {slowest:.2f} s and {peak:.0f} MB")
    assert len(rows) == EACH
    assert [row for row in rows if row["result"] == "trace"] == []
    assert all("\n" not in row["said"] and row["said"].endswith(".") for row in rows if row["result"] == "refused")
    assert results["refused"] + results["named"] > EACH // 4  # the damage is real
    assert peak < MEGABYTES
