# SPDX-License-Identifier: Apache-2.0
"""The runs that a command means if none is named."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pellucid.errors import RunError

__all__ = ["below", "newest", "runs"]


def below() -> Sequence[Path]:
    """The runs below runs/, the newest last; none where there is none."""
    records = sorted(Path("runs").glob("**/run.json"), key=lambda file: file.stat().st_mtime)
    return [record.parent for record in records]


def runs() -> Sequence[Path]:
    """The runs below runs/, the newest last.

    Raises:
        RunError: there is none.
    """
    found = below()
    if not found:
        raise RunError("run=None: there is no run below runs/; name one, or train one with `pellucid train`.")
    return found


def newest() -> Path:
    """The newest run below runs/."""
    return runs()[-1]
