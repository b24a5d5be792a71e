# SPDX-License-Identifier: Apache-2.0
"""The answers of a run's model, which may be in memory already: what `predict` does once it has a run."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Callable, Mapping
from itertools import chain
from pathlib import Path
from typing import Any, Literal, get_args, get_type_hints

import torch
from torch import nn

from pellucid import thresholds
from pellucid._values import check_kind, check_kinds
from pellucid.annotating import annotated, beside
from pellucid.answering import image_by_image, own_device, own_sizes
from pellucid.boxed import looked_into
from pellucid.data.given import UserImages, gather
from pellucid.data.named_files import all_files
from pellucid.errors import PellucidWarning, UnknownNameError
from pellucid.predictions import Answers, answer_names
from pellucid.restoring import hastened
from pellucid.run import Run
from pellucid.tasks import AnnotatesAnswers, AnswersInBoxes, AnswersOptions, PredictOptions, WritesFiles

__all__ = ["asked_of", "predict_by", "prepared"]


def prepared(run: Run) -> nn.Module:
    """The model of a run as `predict` asks it: on the device that answers, and faster there."""
    return hastened(run, run.model(), own_device())


def predict_by(
    run: Run,
    make: Callable[[], nn.Module],
    images: Any = (),
    out: str | Path | None = None,
    *,
    format: Literal["json", "csv"] = "json",
    batch_size: int = 64,
    overwrite: bool = False,
    progress: bool = False,
    checked: bool = False,
    **options: Any,
) -> list[dict[str, Any]]:
    """The rows of `predict`.

    Args:
        run: with the views that are asked for.
        make: gives the model, as `prepared` does; asked for after the options were checked. An option may change its buffers.
        images: what `predict` takes, files' bytes (`data.given.Encoded`), or images that are gathered already.
        out: see `predict`, as for the others.
        format: of the table in a folder.
        batch_size: images per batch.
        overwrite: replace other files in `out`.
        progress: show a progress bar.
        checked: it is known that the model answers as many images as `batch_size` together.
        options: that the task adds.
    """
    task, options = run.task, thresholds.resolved(run, options)
    check_kind("batch_size", batch_size, int)
    asked, device = asked_of(run, options), own_device()
    kind, model = type(asked), make()
    # the images, and what options name, such as masks
    sources = chain(all_files(images), *(all_files(options[name]) for name in options if _names_files(kind, name)))
    annotates = task if isinstance(task, AnnotatesAnswers) else None
    listed, forms = ([annotates.listed], annotates.datasets(asked)) if annotates is not None else ([], ())
    files = beside(forms) if forms else ()
    answers = Answers(Path(out) if out is not None else None, format, sources, overwrite, listed, forms, files)
    own: list[dict[str, Any]] | None = None
    if isinstance(task, AnswersOptions):
        with torch.no_grad(), answers.tidied():
            own = task.answer(model, images, asked, run.classes)
    if own is not None:
        rows = answers.keep(own)
        answers.finish(rows)
        return rows
    with answers.tidied():
        given = gather(images, run.scale, noisy=task.restores)
    boxed, others = None, {}
    if isinstance(task, AnswersInBoxes) and (boxed := looked_into(task, asked, given, batch_size, device)) is not None:
        others = {place: task.nothing(given.names[place], why) for place, why in boxed.without.items()}
    rows = image_by_image(run, model, given, answers, batch_size, progress, asked, boxed, others, checked)
    for form in forms:
        for sentence in annotated(run, given, rows, answers, form):
            warnings.warn(sentence, PellucidWarning, stacklevel=3)
    if isinstance(task, WritesFiles):
        answers.write_files(task.files(rows, *_titled(given), asked))
    return rows


def asked_of(run: Run, options: Mapping[str, Any]) -> PredictOptions:
    """The options of `predict` that the run's task has, with their values checked.

    Raises:
        UnknownNameError: the task does not have an option.
        UsageError: a value that it does not take.
    """
    kind = run.task.predict_options if isinstance(run.task, AnswersOptions) else PredictOptions
    options = thresholds.resolved(run, options)
    known = [field.name for field in dataclasses.fields(kind)]
    for name in options:
        if name not in known:
            raise UnknownNameError("option", name, known)
    check_kinds(kind, options)
    return kind(**options)


def _titled(given: UserImages) -> tuple[list[str], list[tuple[int, int]]]:
    """A name without ending for a file of each image, and its size (H, W) in px, (0, 0) where it cannot be read."""
    sizes = own_sizes(given)
    titles = [title.removesuffix(".png") for title in answer_names(given.names, [".png"] * len(given.names))]
    return titles, [sizes.get(place, (0, 0)) for place in range(len(given.names))]


def _names_files(kind: type[PredictOptions], option: str) -> bool:
    """Whether an option may hold paths: a text, or several, and not one of some words."""
    hint = get_type_hints(kind)[option]
    return str in (hint, *get_args(hint))
