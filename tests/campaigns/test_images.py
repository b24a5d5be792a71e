# SPDX-License-Identifier: Apache-2.0
"""Three thousand mutated images: each is read or refused in one sentence, within seconds and in little memory."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.hostile]

COUNT = 3000
SCRIPT = Path(__file__).with_name("decode_damaged.py")


def test_mutated_images_are_read_or_refused(tmp_path: Path) -> None:
    words = [sys.executable, str(SCRIPT), "0", str(COUNT)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout)
    slowest, seed = found["slowest"]
    print(
        f"\n{COUNT:,} mutated images: {found['read']:,} read, {found['refused']:,} refused, {len(found['faults'])} traces; "
        f"slowest {slowest:.2f} s (seed {seed}), peak {found['peak_mb']:,} MB"
    )
    assert not found["faults"], found["faults"][0]
    assert found["read"] + found["refused"] == COUNT
    assert found["refused"] > COUNT / 5
    assert slowest < 5
    assert found["peak_mb"] < 1000
