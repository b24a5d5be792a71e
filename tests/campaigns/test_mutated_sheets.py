# SPDX-License-Identifier: Apache-2.0
"""1,000 worksheets with mutated text, 500 with mutated numbers and 200 mutated derivations: solved, or refused in one sentence."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.hostile]

COUNTS = (1000, 500, 200)
SCRIPT = Path(__file__).with_name("mutate_sheets.py")


def test_mutated_sheets_are_solved_or_refused() -> None:
    words = [sys.executable, str(SCRIPT), "0", *map(str, COUNTS)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=1800, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout)
    slowest, text = found["slowest"]
    print(
        f"\n{sum(COUNTS):,} mutated sheets: {found['read']:,} solved, {found['refused']:,} refused, {len(found['faults'])} traces; "
        f"slowest {slowest:.2f} s ({text[:60]!r})"
    )
    assert not found["faults"], found["faults"][0]
    assert found["read"] + found["refused"] == sum(COUNTS)
    assert min(found["read"], found["refused"]) > sum(COUNTS) / 5
