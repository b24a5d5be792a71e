# SPDX-License-Identifier: Apache-2.0
"""How far the runs of several seeds agree: by this, settings can be chosen without labels."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np

from pellucid._spread import evenly_spread
from pellucid.answering import own_device, run_batches
from pellucid.comparison.table import Row, text
from pellucid.errors import DataError, PellucidError
from pellucid.inference import measure
from pellucid.run import Run
from pellucid.tasks import MeasuresAgreement, Records

__all__ = ["of_seeds"]

_MOST = 10_000  # validation images that are compared
_SEED = "seed"


def of_seeds(rows: Sequence[Row], notes: list[str]) -> dict[str, float]:
    """By the run's name: the mean agreement with the runs of other seeds whose options are equal, on the validation images."""
    groups: dict[tuple[str, ...], list[Row]] = {}
    for row in rows:
        if isinstance(row.run.task, MeasuresAgreement) and row.metrics is not None:
            options = (f"{name}={text(value)}" for name, value in sorted(row.options.items()) if name != _SEED)
            groups.setdefault((row.task, row.run.info["data"]["fingerprint"], *options), []).append(row)
    found: dict[str, float] = {}
    for group in groups.values():
        if len({row.run.info["seed"] for row in group}) < len(group) or len(group) < 2:
            continue  # one training twice agrees with itself
        answers = {row.name: own for row in group if (own := _of_validation(row, notes)) is not None}
        task = group[0].run.task
        assert isinstance(task, MeasuresAgreement)
        pairs = {
            frozenset(pair): task.agree(*(answers[name] for name in pair))
            for pair in itertools.combinations(answers, 2)
        }
        for name in answers if len(answers) > 1 else ():
            found[name] = float(np.mean([value for pair, value in pairs.items() if name in pair]))
    return found


def _of_validation(row: Row, notes: list[str]) -> Records | None:
    """The answers of a run to the validation images, evenly spread ones where there are many."""
    run: Run = row.run
    try:
        data, task = run.read(None)
        split = data.splits["val"]
        if not len(split):
            raise DataError(f"data={data.name!r}: has no validation images.")
        device = own_device()
        batches = run_batches(run, split.select(evenly_spread(_MOST, len(split))), 256, device)
        return measure(task, run.model("best").to(device), batches, seed=int(run.info["seed"]))[0]
    except PellucidError as fault:
        notes.append(f"{row.name}: its agreement with other seeds could not be measured: {fault}")
        return None
