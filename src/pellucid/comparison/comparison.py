# SPDX-License-Identifier: Apache-2.0
"""`compare`: runs side by side, and whether a difference between them is more than chance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pellucid import viewing
from pellucid.comparison.agreement import of_seeds
from pellucid.comparison.difference import Difference, paired, unpaired
from pellucid.comparison.table import Comparison, Row, draw, text, write_csv
from pellucid.errors import PellucidError, RunError, UsageError
from pellucid.files import check_space, remove_drafts, write_atomically
from pellucid.inference import evaluate, evaluation
from pellucid.models import _building
from pellucid.run import Run, short_names
from pellucid.tasks import Records, rows_of

__all__ = ["compare"]

_LEVEL = 0.95  # of all intervals of differences together
_INCIDENTAL = {"device", "checkpoint", "compile", "log"}  # options of a training that leave its result as it is


def compare(runs: Sequence[Run | str | Path], out: str | Path | None = None) -> Comparison:
    """Set runs side by side: parameters, time, measures with intervals, and whether a difference is real.

    Each run stands against the best one of its task. Where both saw the same test images, the difference is bootstrapped
    image by image; else it comes from the two intervals. The intervals of several differences are widened so that all of
    them together hold at 95 % (Bonferroni). All are measured with their best weights on their test images: a run that was not
    evaluated so, or whose measures are not those of its present weights, is measured now, without its baselines.

    >>> import tempfile
    >>> from pellucid.training.training import train
    >>> folder = tempfile.TemporaryDirectory()
    >>> runs = [train("classify", "digits", "mlp", f"{folder.name}/{n}", hidden=(8,), epochs=n, progress=False) for n in (1, 9)]
    >>> found = compare(runs)
    >>> [(row.name, row.verdict) for row in found.rows]
    [('1', 'real'), ('9', 'best')]
    >>> [file.name for file in found.files]
    ['comparison.csv', 'comparison.png']
    >>> folder.cleanup()

    Args:
        runs: two or more runs, or their folders.
        out: the folder for comparison.csv and comparison.png; by default comparison/ beside the first run.

    Raises:
        UsageError: fewer than two runs.
        RunError: a folder that is no run.
    """
    # `sweeps/*` names the folder of an earlier comparison too
    opened = (run if isinstance(run, Run) else Run(run) for run in runs if isinstance(run, Run) or not _compared(run))
    chosen = list({run.path.resolve(): run for run in opened}.values())
    if len(chosen) < 2:
        raise UsageError(
            f"runs={[str(run.path) for run in chosen]}: a comparison needs two runs or more; name another."
        )
    folder = Path(out) if out is not None else chosen[0].path.parent / "comparison"
    table, picture = folder / "comparison.csv", folder / "comparison.png"
    remove_drafts(folder, table.name, picture.name)
    for file in (table, picture):
        check_space(file)
    notes: list[str] = []
    parts = zip(short_names(chosen), chosen, _asked(chosen), strict=True)
    rows = [Row(name, run, asked, *_measures(name, run, notes)) for name, run, asked in parts]
    several = {row.name: viewing.found(row.run) for row in rows if row.metrics is not None}
    notes += [
        f"{name} is compared by one view of each image; {viewing.said(own)}." for name, own in several.items() if own
    ]
    tasks = dict.fromkeys(row.task for row in rows)
    ranked = {row.name: row for task in tasks for row in _ranked([row for row in rows if row.task == task], notes)}
    agreement = of_seeds(rows, notes)
    rows = [replace(ranked[row.name], agreement=agreement.get(row.name)) for row in rows]
    if agreement:
        notes.append(
            "The agreement of seeds is between each run and those of other seeds with the same options, on the validation images. It "
            "takes no labels, so that options can be chosen by it."
        )
    figure = draw(rows)
    write_csv(rows, table)
    with write_atomically(picture) as draft:
        figure.savefig(draft, format="png", facecolor="white")
    return Comparison(tuple(rows), tuple(notes), figure, (table, picture))


# -- what is compared


def _compared(folder: str | Path) -> bool:
    """Whether this is no run but what `compare` wrote."""
    return (Path(folder) / "comparison.csv").exists() and not (Path(folder) / "run.json").exists()


def _asked(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """For each run the options in which it differs from others of its task; a default counts as asked for."""
    full = []
    for run in runs:
        info = run.info
        model = {name: default for name, (_, default, _) in _building.options(info["model"]["name"]).items()}
        recipe = {name: value for name, value in info["recipe"].items() if name not in _INCIDENTAL}
        named = {"data": info["data"]["what"], "model": info["model"]["name"]}
        full.append(named | info["task"]["options"] | model | info["model"]["options"] | recipe)
    found = []
    for run, mine in zip(runs, full, strict=True):
        peers = [
            other
            for peer, other in zip(runs, full, strict=True)
            if peer.info["task"]["name"] == run.info["task"]["name"]
        ]
        found.append(
            {
                name: value
                for name, value in mine.items()
                if len({text(peer[name]) for peer in peers if name in peer}) > 1
            }
        )
    return found


def _measures(name: str, run: Run, notes: list[str]) -> tuple[Mapping[str, Any] | None, Records]:
    """The measures of the best weights on the test images with the records of each image, as they are in the run or measured now.

    (None, {}) with the reason for a run that has nothing to measure.
    """
    if run.status == "failed":
        notes.append(f"{name} failed: {run.info.get('failure', 'its run.json does not say why')}")
        return None, {}
    if run.status != "finished":
        epoch = run.history[-1]["epoch"] if run.history else 0
        notes.append(f"{name} is {run.status}, at epoch {epoch:g} of {run.info['recipe']['epochs']}.")
    metrics: Mapping[str, Any] | None
    records: Records
    try:
        metrics, records, why = run.metrics, run.records(), run.doubt
    except RunError as fault:
        metrics, records, why = None, {}, f"its measures are damaged ({fault})"
    if metrics is not None and (metrics["weights"], metrics["split"]) != ("best", "test"):
        why = f"metrics.json is of its {metrics['weights']} weights on {metrics['split']} images"
    if metrics is not None and metrics.get("threshold") is not None:
        why = f"metrics.json is of answers by the threshold {metrics['threshold']:g}"
    if metrics is not None and metrics.get("level") is not None:
        why = f"metrics.json is of noise of level {metrics['level']:g}, which was asked for"
    if metrics is not None and not why:
        return metrics, records
    try:
        if metrics is None:  # nothing is lost: the measures may be replaced
            metrics, records = evaluate(run, baselines=False), run.records()
        else:
            now = evaluation(run, baselines=False)
            metrics, records = now.metrics, now.records["model"]
    except PellucidError as fault:
        if metrics is None:
            notes.append(f"{name} could not be measured: {fault}")
            return None, {}
        notes.append(f"{name} stands as it was evaluated: {why}, and it could not be measured now: {fault}")
        return metrics, records
    if why:
        notes.append(f"{name} was measured now, with its best weights on its test images: {why}.")
    return metrics, records


def _ranked(rows: list[Row], notes: list[str]) -> list[Row]:
    """The rows of one task, the best of them marked, the others with their difference to it."""
    measured = [row for row in rows if row.metrics is not None]
    weights = min(
        (str(row.metrics["weights"]) for row in measured if row.metrics), default="best"
    )  # "best" before "last"
    for row in measured:
        if row.metrics and row.metrics["weights"] != weights:
            notes.append(
                f"{row.name} is not compared: its measures are of its last weights, the others' of their best."
            )
    measures = {row.name: row.measure for row in measured if row.metrics and row.metrics["weights"] == weights}
    values = {name: m.value for name, m in measures.items() if m and m.value is not None and m.better != "neither"}
    if len(values) < 2:
        return rows
    sign = -1 if any(m.better == "lower" for m in measures.values() if m) else 1
    first = max(values, key=lambda name: sign * values[name])
    [best] = [row for row in rows if row.name == first]
    others = [row for row in rows if row.name in values and row is not best]
    level = 1 - (1 - _LEVEL) / len(others)
    reference = _of_each_image(best)
    tables: dict[str, Records] = {}
    found: dict[str, Difference] = {}
    for row in others:
        records = _of_each_image(row)
        why = _why_unpaired(row, best)
        if why is None and records is not None and reference is not None:
            tables[row.name] = records
            continue
        why = why or f"{(row if records is None else best).name} has no records of each image; evaluate it again"
        found[row.name] = unpaired(vars(measures[row.name]), vars(measures[best.name]), level)
        notes.append(f"{row.name} against {best.name}: unpaired, from the two intervals, since {why}.")
    if tables and reference is not None:
        found |= dict(zip(tables, paired(best.run.main, [*tables.values()], reference, level), strict=True))
        notes.append(
            f"{_few([*tables])} against {best.name}: paired bootstrap over the same {rows_of(reference):,} images."
        )
    if len(others) > 1:
        notes.append(
            f"The intervals of the {len(others)} differences hold together at 95 %, each at {100 * level:.1f} %."
        )
    notes.append("Real is what the choice of test images does not explain; another seed moves each run too.")
    return [replace(row, best=row is best, difference=found.get(row.name)) for row in rows]


def _of_each_image(row: Row) -> Records | None:
    """The records of all of a run's test images, where they are there."""
    has = row.metrics is not None and bool(row.records) and rows_of(row.records) == row.metrics["n"]
    return row.records if has else None


def _why_unpaired(row: Row, best: Row) -> str | None:
    assert row.metrics is not None
    assert best.metrics is not None
    if row.run.info["data"]["fingerprint"] != best.run.info["data"]["fingerprint"]:
        return "their data differ"
    if row.metrics["split"] != best.metrics["split"]:
        return f"one was measured on {row.metrics['split']} and the other on {best.metrics['split']}"
    return None


def _few(names: Sequence[str]) -> str:
    return " and ".join(names) if len(names) < 3 else f"{', '.join(names[:3])}{' …' if len(names) > 3 else ''}"
