# SPDX-License-Identifier: Apache-2.0
"""The command `predict`, for some images or for very many."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pellucid.cli import printing
from pellucid.cli.named import opened
from pellucid.errors import UsageError

if TYPE_CHECKING:
    from pellucid.run import Run

__all__ = ["predict"]


def predict(
    run: Path,
    images: tuple[str, ...] = (),
    /,
    *,
    out: Path | None = None,
    format: Literal["json", "csv"] = "json",
    batch_size: int = 64,
    overwrite: bool = False,
    model: str | None = None,
    task: str | None = None,
    views: tuple[str, ...] = (),
    engine: Literal["local", "ray"] = "local",
    workers: int | None = None,
    **given: Any,
) -> int:
    """Predict for new images: labels with probabilities, pictures, or files; tasks have further options.

    Args:
        run: the run's folder.
        images: image files, folders or globs; with `--engine ray` also addresses such as s3://bucket/photos/**, .parquet files with
            images, and .txt files with paths.
        out: the folder for predictions.json or predictions.csv and for pictures; or a file, for a single prediction.
        format: the format of the table in that folder.
        batch_size: images per batch; does not change the results.
        overwrite: replace files there that predict did not write; answers of an earlier predict are replaced in any case.
        views: answer with the mean over views of each image: flip, turn, factors of the size such as 1.25, as far as the task has them.
        model: FILE.py:NAME of the class that the run was trained with, where it is your own.
        task: the same of its task.
        engine: ray: very many images by several processes, on one machine or many, as shards of a table; a killed command goes on.
        workers: with `--engine ray`, how many processes, a core each; by default one for each core.
    """
    if engine == "ray":
        for option, asked in {"format": format != "json", "overwrite": overwrite}.items():
            if asked:
                raise UsageError(f"{option}: is not for --engine ray, which writes Parquet files; leave it out.")
        return _in_bulk(opened(run, model, task), images, out, workers, batch_size=batch_size, views=views, **given)
    if workers is not None:
        raise UsageError(f"workers={workers}: is for --engine ray; add that, or leave it out.")
    from pellucid.inference import predict as verb

    settings: dict[str, Any] = {"format": format, "batch_size": batch_size, "overwrite": overwrite, "views": views}
    rows = verb(opened(run, model, task), [*images], out, **settings, progress=True, **given)
    if rows and all("error" in row for row in rows):
        raise UsageError(printing.unanswered(rows))
    printing.predicted(rows, out)
    return 0


def _in_bulk(run: Run | Path, images: Sequence[str], out: Path | None, workers: int | None, **settings: Any) -> int:
    """Predict into shards, and print what was done."""
    if out is None:
        raise UsageError("out=None: must be a folder with --engine ray; give --out FOLDER.")
    from pellucid.bulk.bulk import predict_in_bulk

    found = predict_in_bulk(run, images, out, workers=workers, progress=True, **settings)
    if found.fault and found.faults == found.images:
        raise UsageError(f"images: none of the {found.images:,} could be answered; the first: {found.fault}")
    print(found.words)
    return 0
