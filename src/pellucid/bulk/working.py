# SPDX-License-Identifier: Apache-2.0
"""What a worker does: it holds the model, and answers the images of a part by the same code as `predict`."""

from __future__ import annotations

import os
import resource
import socket
import sys
import tempfile
import time
import warnings
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any, final

import torch

from pellucid import viewing
from pellucid._coupling import together
from pellucid.bulk.columns import as_table
from pellucid.bulk.parts import Answered, Part, Setup
from pellucid.bulk.shards import as_file
from pellucid.bulk.sources import Content, contents
from pellucid.data import decoding
from pellucid.data.given import UserImages, named
from pellucid.predicting import predict_by, prepared
from pellucid.run import Run

__all__ = ["Worker", "peak_memory"]


@final
class Worker:
    """The model of a run in memory.

    Args:
        setup: what is asked.
        cores: threads that compute and decode; None leaves them as they are.
    """

    def __init__(self, setup: Setup, cores: int | None = None) -> None:
        if cores is not None:
            torch.set_num_threads(cores)
            decoding.limit(cores)
        self._setup = setup
        self._name = f"{socket.gethostname()}:{os.getpid()}"
        with tempfile.TemporaryDirectory(prefix="pellucid-") as folder:
            for name, content in setup.files.items():
                (Path(folder) / name).write_bytes(content)
            run = Run(folder, model=setup.model, task=setup.task)
            self.run = viewing.viewed(run, setup.views)
            self.model = prepared(run)
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            shape = (self.run.planes, *self.run.size)
            self._together = together(self.model, shape, setup.batch_size, setup.count)
        self._said = [str(one.message) for one in said]

    def answer(self, part: Part) -> Answered:
        """The answers to a part."""
        rows: list[dict[str, Any]] = []
        began = time.process_time()
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            found = contents(part.items)
            for group in part.groups:
                own = [*islice(found, len(group))]
                rows += self.rows([item.name for item in group], own)
        faults = [str(row["error"]) for row in rows if "error" in row]
        content = as_file(as_table(rows, [item.key for item in part.items]), self._setup.mark)
        spoken = [*dict.fromkeys([*self._said, *(str(one.message) for one in said)])]
        first, taken = next(iter(faults), ""), time.process_time() - began
        return Answered(part.number, content, len(rows), len(faults), first, self._name, peak_memory(), taken, spoken)

    def rows(self, names: Sequence[str], found: Sequence[Content]) -> list[dict[str, Any]]:
        """A row for each image of a group, in their order."""
        lost = {place: one.lost for place, one in enumerate(found) if one.lost}
        given = named(names, [one.source for one in found], self.run.scale, lost)
        options = {**self._setup.options, "batch_size": self._together, "checked": True}
        return predict_by(self.run, lambda: self.model, self._apart(given), **options)

    def _apart(self, given: UserImages) -> UserImages:
        """Images of more than 8 bits have a scale by what is beside them, unless the training had one: that is not known here."""
        if self.run.scale is not None or not given.scales:
            return given
        why = (
            "has more than 8 bits and the run was trained on 8, so that its black and white depend on the other images"
        )
        faults = {
            place: f"image={given.names[place]!r}: {why}; predict it without engine='ray'." for place in given.scales
        }
        left = given.only({*given.places} - faults.keys())
        return UserImages(left.names, left.split, left.places, faults={**left.faults, **faults}, pages=left.pages)


def peak_memory() -> int:
    """The most memory that this process has had, in bytes."""
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024
