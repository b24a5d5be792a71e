# SPDX-License-Identifier: Apache-2.0
"""450 damaged tables and array files: each opens or is refused in one sentence, at once and in little memory."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

EACH = 50  # damaged files of a kind
KINDS = ("csv", "jsonl", "table", "images", "features", "npz", "mat5", "mat73", "idx")
SECONDS, MEGABYTES = 10, 1024


@pytest.mark.slow
@pytest.mark.hostile
@pytest.mark.parametrize("kind", KINDS)
def test_damaged_files_open_or_are_refused(kind: str, tmp_path: Path) -> None:
    """In a process of its own, so that a crash of a library's C code is a result, and its peak of memory counts alone."""
    script = Path(__file__).with_name("open_damaged.py")
    done = subprocess.run(
        [sys.executable, str(script), kind, str(EACH), str(tmp_path), str(SECONDS)], capture_output=True, text=True
    )
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 0, f"seed {len(rows)} ended the process ({done.returncode}): {done.stderr[-500:]}"
    results = Counter(row["result"] for row in rows)
    peak, slowest = max(row["megabytes"] for row in rows), max(row["seconds"] for row in rows)
    print(f"\n{kind}: {dict(results)}, at most {slowest:.2f} s and {peak:.0f} MB")
    assert len(rows) == EACH
    assert [row for row in rows if row["result"] not in ("opened", "refused")] == []
    assert all("\n" not in row["said"] and row["said"].endswith(".") for row in rows if row["result"] == "refused")
    assert results["refused"] > EACH // 10  # the damage is real
    assert peak < MEGABYTES
