# SPDX-License-Identifier: Apache-2.0
"""Losses of training and validation that measure the same, where training lowers more than validation measures."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from pellucid.lenses.curves.verdict import Rows

__all__ = ["comparable"]

_PLACE = {"step", "epoch", "split", "learning_rate", "seconds", "loss"}


def comparable(history: Rows) -> tuple[Rows, list[str]]:
    """The rows with losses that compare, and the parts of the training loss that are left out for that, in their order.

    A validation loss that is the sum of some parts says nothing beside a training loss with further ones, such as the
    contrastive loss of clustering: then the training loss becomes the sum of the same parts. Players of a game stay as they are.

    >>> rows = [{"split": "train", "loss": 9.0, "error": 1.0, "contrast": 0.8}, {"split": "val", "loss": 1.2, "error": 1.2}]
    >>> rows, without = comparable(rows)
    >>> [row["loss"] for row in rows], without
    ([1.0, 1.2], ['contrast'])
    """
    train, val = ([row for row in history if row["split"] == split] for split in ("train", "val"))
    logged = dict.fromkeys(name for row in train for name in row if name not in _PLACE)
    measured = {name for row in val for name in row}
    shared, without = [name for name in logged if name in measured], [name for name in logged if name not in measured]
    if not (shared and without) or any("/" in name for name in logged):
        return history, []
    if not all(_sums(row, shared) for row in val) or all(_sums(row, shared) for row in train):
        return history, []
    return [{**row, "loss": _sum(row, shared)} if row["split"] == "train" else row for row in history], without


def _sums(row: Mapping[str, Any], parts: list[str]) -> bool:
    """Whether the loss of a row is the sum of these parts."""
    loss = row.get("loss")
    total = _sum(row, parts)
    return loss is not None and total is not None and math.isclose(loss, total, rel_tol=1e-5, abs_tol=1e-9)


def _sum(row: Mapping[str, Any], parts: list[str]) -> float | None:
    values = [row.get(name) for name in parts]
    return None if None in values else math.fsum(value for value in values if value is not None)
