# SPDX-License-Identifier: Apache-2.0
"""A training that has lost what it had learned, of which nothing in its later epochs would tell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["setback"]

_EPOCHS = 2  # in a row: one may be a step that went too far, and is made good


def setback(rows: Sequence[Mapping[str, Any]], key: str, sign: int, rate: float) -> str | None:
    """What to say of the last validation if a training is back where it began, once; else None.

    Both the loss and the measure are no better than after the first epoch, two epochs in a row, and were better between. A loss
    alone also rises where a classifier becomes too sure of itself.

    >>> rows = [{"epoch": e, "loss": -v, "psnr": v} for e, v in enumerate((20.0, 30.0, 19.5, 19.5), start=1)]
    >>> setback(rows, "psnr", 1, 0.001)
    'epoch 4: what was learned is lost again: validation psnr 19.5, after 30 in epoch 2, whose weights are kept. Train with a lower \
learning rate (now --lr 0.001), or with --clip 1.'

    Args:
        rows: of the validation, in order.
        key: the measure that picks the best weights.
        sign: −1 if a lower one is better, else 1.
        rate: the peak learning rate.
    """
    if not _lost(rows, key, sign) or _lost(rows[:-1], key, sign):
        return None
    best = max(rows, key=lambda row: sign * row[key])
    return (
        f"epoch {round(rows[-1]['epoch'])}: what was learned is lost again: validation {key} {rows[-1][key]:.4g}, after "
        f"{best[key]:.4g} in epoch {round(best['epoch'])}, whose weights are kept. Train with a lower learning rate "
        f"(now --lr {rate:g}), or with --clip 1."
    )


def _lost(rows: Sequence[Mapping[str, Any]], key: str, sign: int) -> bool:
    if len(rows) < _EPOCHS + 2 or any(name not in row for row in rows for name in (key, "loss")):
        return False
    first, *between = rows[:-_EPOCHS]
    better = any(sign * row[key] > sign * first[key] and row["loss"] < first["loss"] for row in between)
    # not (… better …), so that a number that is no longer finite counts as lost
    return better and not any(
        sign * row[key] > sign * first[key] or row["loss"] < first["loss"] for row in rows[-_EPOCHS:]
    )
