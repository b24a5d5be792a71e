# SPDX-License-Identifier: Apache-2.0
"""Annotations as Label Studio."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pellucid.data.annotations.records import Annotations
from pellucid.data.formats.finding import Found

__all__ = ["FORM", "fits", "read"]

FORM = "Label Studio"


def fits(path: Path, found: Found) -> Sequence[str]:
    """What shows that this form lies there."""
    return []


def read(path: Path, found: Found, evidence: Sequence[str]) -> Annotations:
    """The annotations."""
    return Annotations(FORM, ())
