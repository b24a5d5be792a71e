# SPDX-License-Identifier: Apache-2.0
"""Answers to very many images, as shards of a table; the same command goes on where a killed one was."""

from __future__ import annotations

import json
import os
import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, final, get_args, get_origin, get_type_hints

import numpy as np
import torch
from filelock import FileLock, Timeout
from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress

from pellucid import thresholds, viewing
from pellucid._png import png
from pellucid._values import check_kind
from pellucid.bulk import on_ray
from pellucid.bulk.parts import Engine, Item, Setup, planned
from pellucid.bulk.shards import Shards
from pellucid.bulk.sources import Content, listed
from pellucid.bulk.working import Worker
from pellucid.data.given import Encoded
from pellucid.errors import PellucidWarning, UsageError
from pellucid.files import folder_of, make_folder, plain
from pellucid.measures import WEIGHTS
from pellucid.predicting import asked_of
from pellucid.run import Run
from pellucid.tasks import AnswersOptions

__all__ = ["Summary", "predict_in_bulk"]

_LOCK = ".pellucid-bulk.lock"
_PROBE = "probe.png"


@final
@dataclass(frozen=True)
class Summary:
    """What was answered.

    >>> print(Summary(Path("answers"), images=1200, faults=2, before=512, shards=3, workers=2, seconds=4.0, memory=5 << 20).words)
    1,200 images in 3 shards below answers, 512 of them answered before; 2 not (see error)
    2 workers, 4.0 s, 172 images a second, at most 5 MiB of memory a worker
    """

    out: Path
    images: int
    faults: int
    before: int  # images that were answered by an earlier call
    shards: int
    workers: int
    seconds: float
    memory: int  # bytes: the largest peak of a worker
    fault: str = ""  # the first one of this call

    @property
    def words(self) -> str:
        """In a line or two."""
        some = f", {self.before:,} of them answered before" if self.before else ""
        bad = f"; {self.faults:,} not (see error)" if self.faults else ""
        shards = f"{self.shards:,} shard{'s' if self.shards != 1 else ''}"
        line = f"{self.images:,} images in {shards} below {self.out}{some}{bad}"
        if not self.workers:
            return line
        rate = (self.images - self.before) / max(self.seconds, 1e-9)
        workers = f"{self.workers} worker{'s' if self.workers != 1 else ''}"
        memory = f"at most {self.memory / (1 << 20):,.0f} MiB of memory a worker"
        return f"{line}\n{workers}, {self.seconds:,.1f} s, {rate:,.0f} images a second, {memory}"


def predict_in_bulk(
    run: Run | str | Path,
    images: Any,
    out: str | Path,
    *,
    workers: int | None = None,
    batch_size: int = 64,
    views: viewing.Asked = (),
    progress: bool = False,
    engine: Engine = on_ray.answered,
    **options: Any,
) -> Summary:
    """Predict very many images by several processes, on one machine or on a cluster, with Ray Data.

    Paths travel; each worker decodes and answers by the same code as `predict`, in the same batches, so that on machines of one kind
    the answers are equal bit for bit to those of `predict` on one core. An image that cannot be read is a row with its fault. The
    answers lie in `out` as Parquet files, `part-000000.parquet` and so on, each written whole or not at all; the same call goes on
    where an earlier one was killed.

    Args:
        run: the run, or its folder; its files travel to the workers.
        images: files, folders or globs that every machine sees; addresses such as s3://bucket/photos/**; a .parquet file with
            the images' bytes; a .txt file with a path or an address on each line.
        out: a folder for the shards.
        workers: processes, with a core each; by default one for each core.
        batch_size: images per batch.
        views: answer with the mean over views of each image.
        progress: show a progress bar.
        engine: hands out the work.
        options: that the task adds, as for `predict`, except for those that write further files or answer all images together.

    Returns:
        How many were answered, how fast, and with how much memory.

    Raises:
        UsageError: Ray is not installed, there are no images, the folder has other answers, or an option cannot be had in bulk.
    """
    for name, value in (("workers", 1 if workers is None else workers), ("batch_size", batch_size)):
        check_kind(name, value, int)
        if value < 1:
            raise UsageError(f"{name}={value}: must be at least 1; give a larger number.")
    folder = folder_of(out, "bulk prediction")
    if engine is on_ray.answered:
        on_ray.check_installed()
    run = run if isinstance(run, Run) else Run(run)
    items, options = listed(images), thresholds.resolved(run, options)
    _check_options(viewing.viewed(run, views), options)
    asked = [views] if isinstance(views, (str, float, int)) else [*views]
    _, digest = run.trained()
    what = {"run": digest, "task": run.info["task"], "options": options, "views": asked, "batch_size": batch_size}
    mark = json.dumps(plain(what), sort_keys=True)
    files = {name: (run.path / name).read_bytes() for name in ("run.json", WEIGHTS["best"])}
    own = {part: _reference(run, part) for part in ("model", "task")}
    setup = Setup(files, options, asked, batch_size, len(items), mark, **own)
    try:
        with FileLock(make_folder(folder) / _LOCK, timeout=0):
            return _answered(items, setup, folder, workers, progress, engine)
    except Timeout:
        raise UsageError(f"out={str(out)!r}: another process is writing answers there; name another folder.") from None


def _answered(
    items: Sequence[Item], setup: Setup, folder: Path, workers: int | None, progress: bool, engine: Engine
) -> Summary:
    shards = Shards(folder, setup.mark)
    before = sum(item.key in shards.done for item in items)
    parts = planned(items, setup.batch_size, shards.done)
    if parts:
        _check_task(setup)
    began, memory, fault = time.monotonic(), 0, ""
    said: set[str] = set()
    names: set[str] = set()
    columns = (*Progress.get_default_columns(), MofNCompleteColumn())
    with Progress(*columns, console=Console(stderr=True), disable=not progress) as bar:
        line = bar.add_task("predicting", total=len(items), completed=before)
        for found in engine(parts, setup, workers) if parts else ():
            shards.write(found)
            bar.advance(line, found.images)
            names.add(found.worker)
            memory, fault = max(memory, found.memory), fault or found.fault
            for sentence in dict.fromkeys(found.warnings):
                if sentence not in said:
                    said.add(sentence)
                    warnings.warn(sentence, PellucidWarning, stacklevel=3)
    shards.finish()
    seconds = time.monotonic() - began
    return Summary(folder, len(items), shards.faults, before, len(shards), len(names), seconds, memory, fault)


def _check_options(run: Run, options: Mapping[str, Any]) -> None:
    """Refuse what needs a folder or a file beside the images: each image is answered by itself, into a row."""
    hints = get_type_hints(type(asked_of(run, options)))
    for name, value in options.items():
        kinds = get_args(hints[name]) if get_origin(hints[name]) is tuple else (hints[name], *get_args(hints[name]))
        texts = str in kinds or any(get_origin(hints[name]) is tuple and get_origin(kind) is Literal for kind in kinds)
        if texts and value not in (None, "", ()):
            raise UsageError(
                f"{name}={value!r}: names or writes files, and bulk prediction gives each image a row; leave it out, or predict "
                "without engine='ray'."
            )


def _check_task(setup: Setup) -> None:
    """Try everything on one image before workers are started; refuse tasks that answer images other than one by one."""
    worker, image = Worker(setup), png(np.full((1, 32, 32), 128, np.uint8))
    run = worker.run
    if isinstance(run.task, AnswersOptions):
        with torch.no_grad():
            rows = run.task.answer(worker.model, [Encoded(_PROBE, image)], asked_of(run, setup.options), run.classes)
        if rows is not None:
            raise UsageError(
                f"engine='ray': answers images one by one, and {run.info['task']['name']} does not with these options; predict "
                "without it."
            )
    worker.rows([_PROBE], [Content(image)])


def _reference(run: Run, part: Literal["model", "task"]) -> str | None:
    """How another process finds a part of the user's own: FILE.py:NAME with the file's whole path."""
    own = run.own(part)
    if own is None:
        return None
    where, _, name = own.reference.rpartition(":")
    if not where:
        raise UsageError(
            f"{part}={own.title}: was given in Python, and workers are processes of their own; give --{part} FILE.py:NAME."
        )
    return f"{os.path.abspath(where)}:{name}" if where.endswith(".py") else own.reference
