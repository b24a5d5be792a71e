# SPDX-License-Identifier: Apache-2.0
"""What is measured and answered: `evaluate`, `predict`, and the measures of validation, all by the one path in `answering`."""

from __future__ import annotations

import functools
import time
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pellucid import levels, thresholds, viewing
from pellucid import measures as measured_files
from pellucid._coupling import together
from pellucid._memory import collecting_seldom, keeping_freed_memory
from pellucid._notebooks import Measures
from pellucid._once import once
from pellucid._values import check_kind
from pellucid.answering import answer, few, own_device, run_batches
from pellucid.bare import as_run
from pellucid.data.dataset import Batch, Split
from pellucid.data.draws import Draws
from pellucid.errors import DataError, PellucidWarning, UsageError
from pellucid.files import check_space, remove_drafts
from pellucid.measures import Evaluation
from pellucid.predicting import predict_by, prepared
from pellucid.restoring import hastened
from pellucid.rivals import learned_from, on_features, own_letters
from pellucid.run import Run
from pellucid.tasks import (
    AnyTask,
    ChoosesThreshold,
    DecidesByThreshold,
    DrawsRecords,
    Measure,
    MeasuresModel,
    MeasuresSlowly,
    ModelMeasures,
    OwnMeasure,
    ReadsPages,
    Records,
    RemarksOnAnswers,
    TaskFamily,
    check_measures,
    joined,
    measured,
    set_threshold,
    summarise,
    summarised,
    taken,
)

__all__ = ["evaluate", "evaluation", "measure", "predict"]


@collecting_seldom()
def evaluate(
    run: Run | nn.Module | str | Path,
    data: Any = None,
    *,
    task: str | AnyTask | TaskFamily | type[Any] | None = None,
    size: int | Sequence[int] = (),
    split: Literal["train", "val", "test"] = "test",
    baselines: bool = True,
    batch_size: int = 256,
    which: Literal["best", "last"] = "best",
    threshold: float | Literal["chosen"] | None = None,
    measures: Mapping[str, OwnMeasure] | None = None,
    views: viewing.Asked = (),
    level: float | None = None,
) -> Measures:
    """Measure a run's model, or a module by itself, and trivial and classical baselines, on held-out images.

    >>> import pellucid
    >>> net = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))  # any module that takes images in [0, 1]
    >>> found = pellucid.evaluate(net, "digits", task="classify")
    >>> found["n"], found["main"], list(found["baselines"])[0]
    (364, 'accuracy', 'majority class')

    The run's seed and each image's position fix noise and masks, so the numbers depend on neither batch size nor order.
    For the run's own data the result is saved in the run: metrics.json, and records.npz with a row per image. For other
    data it is only returned.

    Args:
        run: the run, or its folder; or a module, which stays as it is: a copy in eval mode is measured, with seed 0.
        data: other data than the run's own; what `pellucid.data.open` takes. A module has none of its own, and they name its classes.
        task: of a module: what it answers, as in "classify"; or a task with its options.
        size: of a module: (H, W) in px that its images get; by default as a training on these data would have it.
        split: which part of the data.
        baselines: measure the baselines too.
        batch_size: images per batch; no result depends on it.
        which: the best weights by validation, or the last.
        threshold: the score from which the model answers, where the task has one: of two classes the probability of the positive
            one; or "chosen", the one that the training chose. By default detectors answer by theirs, and classifiers the most
            probable class. The baselines do not take it.
        measures: functions by name, of the records of the images, measured beside the task's own; by default those of the training
            that has just ended.
        views: answer with the mean over views of each image: "flip" (mirrored), "turn" (by 90°, 180° and 270°) and factors of
            the size such as 1.25, as far as the task has them. The measures then go to views.json and views.npz, beside those
            of the images as they are; metrics.json stays as it is.
        level: of the noise that the images get, where the task adds some; by default that of the training, or one of its range
            for each image.

    Returns:
        The content of metrics.json, a dict whose `frame` is a data frame.

    Raises:
        RunError: there is no such run, or its data have changed.
        DataError: the split is empty, or the data lack what the task needs.
        UsageError: a threshold has nothing to decide, or is none; the task does not have such views, or levels; or a module comes
            without its task or data, or gives something else than its task needs.
    """
    if isinstance(run, nn.Module):
        if data is None:
            raise UsageError(f"data=None: {type(run).__name__} is a module and has no data of its own; give data=….")
        if which != "best":
            raise UsageError(f"which={which!r}: is for a run; a module has the weights that it has, so leave it out.")
    run = as_run(run, data if isinstance(run, nn.Module) else None, task=task, size=size)
    data = data if run.held is None else run.held.data
    check_kind("batch_size", batch_size, int)
    if measures is not None:
        check_measures(measures, run.task.metrics(run.classes))
        run.measures = dict(measures)
    if data is None:
        files = measured_files.files_of(bool(viewing.described(viewing.viewed(run, views))))
        remove_drafts(run.path, *files)
        check_space(run.path / files[0])
    found = evaluation(
        run,
        data,
        split=split,
        baselines=baselines,
        batch_size=batch_size,
        which=which,
        threshold=threshold,
        views=views,
        level=level,
    )
    if data is not None:
        return Measures(found.metrics)
    return Measures(measured_files.write(run.path, found, run.info["data"]["fingerprint"]))


def evaluation(
    run: Run,
    data: Any = None,
    *,
    split: Literal["train", "val", "test"] = "test",
    baselines: bool = True,
    batch_size: int = 256,
    which: Literal["best", "last"] = "best",
    threshold: float | Literal["chosen"] | None = None,
    views: viewing.Asked = (),
    level: float | None = None,
) -> Evaluation:
    """What `evaluate` measures; nothing is written."""
    begun = time.monotonic()
    limit = thresholds.given(run, threshold, which)
    of_levels = levels.said(run, level)
    plain = levels.at(run, level)
    run = viewing.viewed(plain, views)
    dataset, task = run.read(data)
    if dataset.classes != run.classes:
        raise DataError(
            f"data={dataset.name!r}: its classes are {_few(dataset.classes)}, not the run's {_few(run.classes)}; give data with the same."
        )
    part = dataset.splits[split]
    if not len(part):
        raise DataError(f"split={split!r}: of data={dataset.name!r} is empty; choose another split or other data.")
    seed, device = int(run.info["seed"]), own_device()
    trained, digest = run.trained(which)
    model = hastened(run, trained, device)
    if limit is not None and not isinstance(run.task, DecidesByThreshold):
        set_threshold(model, limit)
    batch_size = together(model, (run.planes, *run.size), batch_size, len(part))

    def records_of(task: AnyTask) -> Records:
        batches = run_batches(run, part, batch_size, device, fingerprint=f"{dataset.fingerprint}-{split}")
        with keeping_freed_memory():
            found, _ = measure(task, model, batches, seed=seed)
        if isinstance(task, DecidesByThreshold):
            return task.decided(found, run.classes, limit, thresholds.chosen(run, which))
        return found

    records = records_of(run.task)
    seconds = time.monotonic() - begun
    one = records_of(plain.task) if run is not plain else None  # the image as it is, beside several views
    whole = ModelMeasures()  # of the model as a whole, where the task has such measures
    of_pages = isinstance(run.task, ReadsPages) and "text" in part.targets
    notes = [*dataset.notes] if of_pages else []
    rivals: dict[str, Records] = {}
    if baselines and isinstance(run.task, ReadsPages) and of_pages:
        rivals, said = run.task.page_baselines(own_letters(run), part, seed)
        notes += said
    elif baselines:
        size = None if run.task.keeps_size else run.size
        places = learned_from(run, dataset) if data is None else np.arange(len(dataset.splits["train"]))
        rivals = run.task.baselines(dataset.splits["train"].select(places), part, size, seed=seed)
        rivals |= on_features(run, trained, dataset, places, split, device)
        if isinstance(task, MeasuresModel):
            with torch.no_grad():
                whole = task.measure_model(model, dataset.splits["train"], part, size, seed=seed)
    # positions of the images that slow baselines were measured on, if not on all
    shared = next(
        (rival["index"] for rival in rivals.values() if len(rival.get("index", ())) not in (0, len(part))), None
    )
    declared = run.task.metrics(run.classes)
    notes += [*_not_given(run), *of_levels]
    notes += run.task.unmeasured if isinstance(run.task, MeasuresSlowly) else ()
    decides = limit if limit is not None or not _keeps_threshold(run.task) else thresholds.chosen(run, which)
    if one is not None and decides is not None and thresholds.chosen(run, which) == decides:
        notes.append("The threshold was chosen for the answers to one view of each image.")
    if one is not None:
        rivals = {viewing.ONE: one, **rivals}
    drawn = run.task.draw_records(records, rivals, run.classes) if isinstance(run.task, DrawsRecords) else ()
    pictures = [*whole.pictures, *drawn] if one is None else []  # those of a run are of its plain answers
    metrics = {
        "split": split,
        "data": dataset.name,
        "n": len(part),
        "seed": seed,
        "weights": which if run.held is None else None,
        "threshold": limit,
        **({"level": level} if level is not None else {}),
        **(viewing.entries(run, declared[0], records, one, seed) if one is not None else {}),
        # of several kinds of data, each has measures of its own
        "main": next(
            (metric.key for metric in declared if all(name in records for name in metric.needs)), run.main.key
        ),
        "model": _measures(
            {**summarise(declared, records, seed), **whole.measures, **summarised(run.measures, records, seed)}
        ),
        "baselines": {name: _measures(summarise(declared, rival, seed)) for name, rival in rivals.items()},
        # the model on just these images, for a fair comparison
        "on_same_images": shared
        if shared is None
        else {
            "n": len(shared),
            "model": _measures(summarise(declared, taken(records, shared), seed)),
        },
        "details": {**run.task.details(records, run.classes), **whole.details},
        **({"notes": notes} if notes else {}),
        "pictures": [{"name": picture.name, "title": picture.title, "words": picture.words} for picture in pictures],
        "seconds": {"model": round(seconds, 3), "all": round(time.monotonic() - begun, 3)},
    }
    tables = {"model": records, **{f"baselines/{name}": rival for name, rival in rivals.items()}}
    return Evaluation(metrics, tables, pictures, digest)


def _keeps_threshold(task: AnyTask) -> bool:
    """Whether the model answers by its own threshold where none is asked for, as detectors do."""
    return isinstance(task, ChoosesThreshold) and not isinstance(task, DecidesByThreshold)


def _not_given(run: Run) -> list[str]:
    """What is left out of the measures of the training, since functions of the user's own are not kept in a run."""
    kept = run.info.get("hooks", {}).get("measures", {})
    missing = [name for name in kept if name not in run.measures]
    if not missing:
        return []
    given = f"evaluate(run, measures={{{missing[0]!r}: …}})"
    return [f"The training also measured {', '.join(missing)}, by functions that are to be given again: {given}."]


def predict(
    run: Run | nn.Module | str | Path,
    images: Any = (),
    out: str | Path | None = None,
    *,
    task: str | AnyTask | TaskFamily | type[Any] | None = None,
    classes: Sequence[str] = (),
    size: int | Sequence[int] = (),
    data: Any = None,
    format: Literal["json", "csv"] = "json",
    batch_size: int = 64,
    overwrite: bool = False,
    progress: bool = False,
    views: viewing.Asked = (),
    **options: Any,
) -> list[dict[str, Any]]:
    """Predict new images, at their own size and under their own names.

    All files lie below `out`, and answers of an earlier call are replaced; other files only on request, and images never.

    >>> import numpy as np, pellucid
    >>> net = nn.Sequential(nn.Flatten(), nn.Linear(64, 2))  # any module that takes images in [0, 1]
    >>> [row] = pellucid.predict(net, np.zeros((8, 8), np.uint8), task="classify", classes=["cat", "dog"], size=8)
    >>> list(row["probabilities"])
    ['cat', 'dog']

    Args:
        run: the run, or its folder; or a module, which stays as it is: a copy in eval mode answers.
        images: a file, folder or glob; an array (H, W), (H, W, C) or (N, H, W, C), uint8 or float in [0, 1]; a Pillow image;
            or a list of these.
        task: of a module: what it answers, as in "classify"; or a task with its options.
        classes: of a module: their names, in the order of its outputs.
        size: of a module: (H, W) in px that its images get, or one number.
        data: of a module, instead of classes and size: data as a training would read them, which say both.
        out: a folder for predictions.json or predictions.csv, and for pictures where the answers are pictures; or the one
            file that a single answer is written to.
        format: of the table in a folder.
        batch_size: images per batch; no result depends on it.
        overwrite: replace files in `out` that `predict` did not write, or that were changed since.
        progress: show a progress bar.
        views: answer with the mean over views of each image, as `evaluate` does; each row then says how many there were.
        options: that the task adds, the fields of its `predict_options`.

    Returns:
        One row an image: its name and the answer; a file that cannot be read has an "error" instead.

    Raises:
        UsageError: no image was given, `out` has a file that may not be overwritten, the task does not have such views, or a module
            comes without what its task needs.
        UnknownNameError: an option that the task does not have.
    """
    run = viewing.viewed(as_run(run, data, task=task, classes=classes, size=size), views)
    settings: dict[str, Any] = {
        "format": format,
        "batch_size": batch_size,
        "overwrite": overwrite,
        "progress": progress,
    }
    rows = predict_by(run, functools.partial(prepared, run), images, out, **settings, **options)
    if isinstance(run.task, RemarksOnAnswers):
        for sentence in run.task.remarks([row for row in rows if "error" not in row]):
            warnings.warn(sentence, PellucidWarning, stacklevel=2)
    return rows


def examples(
    run: Run,
    split: Split,
    places: NDArray[np.int64],
    device: torch.device,
    which: Literal["best", "last"] = "best",
) -> Iterator[tuple[Tensor, Any, Any, list[str]]]:
    """Input, answer, truth and names of chosen images of a split, as `evaluate` sees them, a group of equal sizes at a time."""
    model, seed = run.model(which).to(device), int(run.info["seed"])
    chosen = torch.from_numpy(np.ascontiguousarray(places))
    for batch in run_batches(run, split.select(places), len(places), device):
        own = Batch(batch.images, batch.targets, chosen[batch.index])
        input, target = run.task.prepare(own, Draws.images(seed, own.index, device), training=False)
        yield input, answer(run.task, model, input), target, [split.names[int(i)] for i in own.index]


def measure(
    task: AnyTask, model: nn.Module, batches: Iterable[Batch], *, seed: int, with_loss: bool = False
) -> tuple[dict[str, Any], dict[str, float]]:
    """Per-image records in the order of the split, and on request the mean losses by part, in eval mode without gradients."""
    columns: dict[str, list[Any]] = {}
    sums: dict[str, float] = {}
    places: list[NDArray[np.int64]] = []
    mode = model.training
    model.eval()
    try:
        with torch.no_grad(), once(model) if with_loss else nullcontext():  # for the loss and for the answer
            # a loss may compare the images of a batch with each other
            for batch in batches if with_loss else (part for whole in batches for part in _parts(whole)):
                draws = Draws.images(seed, batch.index, batch.images.device)
                input, target = task.prepare(batch, draws, training=False)
                if with_loss:
                    for name, value in task.loss(model, input, target).items():
                        sums[name] = sums.get(name, 0.0) + float(value) * len(batch)
                for name, column in measured(task, model, input, target, quickly=with_loss).items():
                    columns.setdefault(name, []).append(column)
                places.append(batch.index.cpu().numpy())
    finally:
        model.train(mode)
    order = np.argsort(
        np.concatenate(places), kind="stable"
    )  # batches of equal sizes come in another order than the split
    records = {name: joined(parts)[order] for name, parts in columns.items()}
    return records, {name: total / len(order) for name, total in sums.items()}


def _parts(batch: Batch) -> Iterator[Batch]:
    """A batch in as many parts as go through a model together."""
    rows = few(batch.images)
    if len(rows) == 1:
        yield batch
        return
    for own in rows:
        yield Batch(batch.images[own], {kind: target[own] for kind, target in batch.targets.items()}, batch.index[own])


def _measures(summary: dict[str, Measure]) -> dict[str, dict[str, Any]]:
    return {name: dict(vars(measure)) for name, measure in summary.items()}


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (" …" if len(names) > 5 else "") if names else "none"
