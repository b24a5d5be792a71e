# SPDX-License-Identifier: Apache-2.0
"""What the commands print on the terminal: tables and a few lines of text."""

from __future__ import annotations

import math
import shutil
import sys
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress
from rich.table import Table

from pellucid._digits import interval_digits
from pellucid._launched import first_process

if TYPE_CHECKING:
    from pellucid.run import Run

__all__ = [
    "catalogue",
    "compared",
    "measured",
    "merged",
    "planned",
    "predicted",
    "reading",
    "say",
    "trained",
    "unanswered",
]

_WIDE = 100  # characters of a table cell at most
_SHOWN = 20  # rows of predictions on the terminal; the file has all
_MANY = 1000  # images whose reading is worth a bar
_NAMED = 3  # images that could not be answered, in the line that counts them


def say(what: Any) -> None:
    """Print something that rich can render; in a pipe, lines are long enough for whole tables.

    Texts are printed as they are: the names of files and classes may look like rich's markup, `[red]`, or its emoji, `:cat:`.
    """
    Console(width=_width(), highlight=False, markup=False, emoji=False).print(what)


@contextmanager
def reading() -> Iterator[None]:
    """Show on a terminal how far the reading of many images is."""
    from pellucid.data.decoding import watched

    console = Console(stderr=True)
    columns = (*Progress.get_default_columns(), MofNCompleteColumn())
    # it vanishes at the end: what was read is in the table
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as bar:
        line = bar.add_task("reading images", visible=False)

        def tell(done: int, count: int) -> None:
            if done == 0:
                bar.reset(line, total=count, visible=count >= _MANY)
            bar.update(line, completed=done)

        with watched(tell):
            yield


def _width() -> int:
    """Characters of a line."""
    columns = shutil.get_terminal_size().columns
    return columns if sys.stdout.isatty() else max(160, columns)


def trained(run: Run) -> None:
    """Print where a run is, how the training went, and which command comes next."""
    if not first_process():
        return
    info, best = run.info, run.info.get("best") or {}
    print(f"run   {run.path}  {run.status} after {info['seconds']:.0f} s, {info['parameters']:,} parameters")
    if best.get("value") is not None:
        print(f"best  epoch {best['epoch']}: validation {best['measure']} {best['value']:.4g}")
    if run.threshold is not None:
        print(f"{'with' if run.threshold.of else 'from'}  {run.threshold.words}")
    if run.status == "stopped":
        print(f"next  {info['command']}   (resumes it)")
    else:
        print(f"next  pellucid evaluate {run.path}   pellucid report {run.path}")


def measured(metrics: Mapping[str, Any]) -> None:
    """Print the measures of the model and of each baseline, with their 95 % intervals."""
    where = f"{metrics['data']}, {metrics['split']} split, n = {metrics['n']:,}, seed {metrics['seed']}"
    say(f"{where}, with 95 % intervals")
    if metrics.get("threshold") is not None:
        say(f"The model's answers begin at the threshold {metrics['threshold']:.3g}; the baselines' are as without it.")
    measures, views = metrics["model"], metrics.get("views")
    if views is not None:
        from pellucid import viewing

        say(f"The model's answers are the {views['words']}.")
        sentence = viewing.said(metrics)
        say(f"{sentence[0].upper()}{sentence[1:]}, over the same images.")
    titles = [f"{name} [{one['unit']}]" if one["unit"] else name for name, one in measures.items()]
    owner = "model" if views is None else f"model, mean of {views['count']} views"
    answers = {owner: measures, **metrics["baselines"]}
    cells = [[_with_interval(own.get(name)) for name in measures] for own in answers.values()]
    rows = [["", *titles], *([owner, *own] for owner, own in zip(answers, cells, strict=True))]
    across = [list(column) for column in zip(*rows, strict=True)]
    # many measures fit better below each other
    turned = _wide(rows) > _width() and _wide(across) < _wide(rows)
    table = Table(box=None, pad_edge=False, header_style="bold")
    head, *body = across if turned else rows
    for k, name in enumerate(head):
        style = "bold" if turned and k == 1 else ""
        table.add_column(name, justify="right" if k else "left", overflow="fold", style=style)
    for k, row in enumerate(body):
        table.add_row(*row, style="bold" if k == 0 and not turned else "")
    say(table)
    for sentence in metrics.get("notes", ()):
        say(sentence)
    for row in metrics.get("details", {}).get("decision", ()):  # of two classes
        rates = ", ".join(f"{name} {_with_interval(row[name])}" for name in ("sensitivity", "specificity"))
        say(f"{row['positive']} against the other class by the {row['decision']}: {rates}")


def _wide(rows: Sequence[Sequence[str]]) -> int:
    """Characters that a table of these rows takes across."""
    return sum(max(map(len, column)) + 2 for column in zip(*rows, strict=True))


def _with_interval(measure: Mapping[str, Any] | None) -> str:
    """A value with its interval, to the digits that the interval leaves meaningful.

    >>> _with_interval({"value": 0.98901, "low": 0.97802, "high": 0.99725})
    '0.989 (0.978–0.997)'
    >>> _with_interval({"value": 25.1234, "low": 24.9, "high": 25.3})
    '25.12 (24.90–25.30)'
    >>> _with_interval({"value": 10.0, "low": math.nan, "high": math.nan})
    '10'
    """
    if measure is None or measure["value"] is None or math.isnan(measure["value"]):
        return "–"
    if any(measure[key] is None or not math.isfinite(measure[key]) for key in ("low", "high")):
        return f"{measure['value']:.4g}"  # a count has no interval
    value, low, high = (float(measure[key]) for key in ("value", "low", "high"))
    digits = interval_digits(low, high)
    return f"{value:.{digits}f} ({low:.{digits}f}–{high:.{digits}f})"


_UNSHOWN = ("picture", "probabilities", "content", "suffix", "files", "tables")  # of a row of predictions


def predicted(rows: Sequence[Mapping[str, Any]], out: Path | None) -> None:
    """Print the first predictions, and where all of them are."""
    columns = [
        *dict.fromkeys(
            name for row in rows for name, value in row.items() if name not in _UNSHOWN and not _is_table(value)
        )
    ]
    table = Table(*columns, box=None, pad_edge=False, header_style="bold")
    for row in rows[:_SHOWN]:
        table.add_row(*(_short(row.get(name, "")) for name in columns))
    say(table)
    if len(rows) > _SHOWN:
        print(f"… and {len(rows) - _SHOWN:,} more")
    failed = [_literal(str(row["name"])) for row in rows if "error" in row]
    if failed:
        count = sum("images" not in row for row in rows)  # without rows about all images together, such as a dendrogram
        more = f" and {len(failed) - _NAMED:,} more" if len(failed) > _NAMED else ""
        print(
            f"{count - len(failed):,} of {count:,} images answered; not {', '.join(failed[:_NAMED])}{more} (see error)"
        )
    print(f"written to {out}" if out is not None else "add --out FOLDER to save them")


def _is_table(value: Any) -> bool:
    """Whether an entry of a row is a list of rows, which are too many for a line; empty ones are too."""
    return isinstance(value, list) and all(isinstance(item, Mapping) for item in value)


def unanswered(rows: Sequence[Mapping[str, Any]]) -> str:
    """The sentence where no image could be answered.

    >>> unanswered([{"name": "a.png", "error": "image='a.png': cannot be read, because it is empty; replace or remove it."}])
    "image='a.png': cannot be read, because it is empty; replace or remove it."
    """
    first = str(rows[0]["error"])
    return first if len(rows) == 1 else f"images: none of the {len(rows):,} could be answered; the first: {first}"


def _short(value: Any) -> str:
    """
    >>> _short(0.5), _short({"x0": 1.5, "y0": 2.0}), _short({"x0": None}), _short(None)
    ('0.5000', 'x0 1.5  y0 2', '', '')
    """
    if isinstance(value, Mapping):
        known = {name: one for name, one in value.items() if one is not None}
        value = "  ".join(
            f"{name} {one:g}" if isinstance(one, float) else f"{name} {one}" for name, one in known.items()
        )
    text = f"{value:.4f}" if isinstance(value, float) else "" if value is None else _literal(str(value))
    return text if len(text) <= _WIDE else text[: _WIDE - 1] + "…"


def _literal(text: str) -> str:
    """A text on one line without control characters; a file's name may have any.

    >>> print(_literal("two\\nlines.png"))
    two\\nlines.png
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def compared(comparison: Any) -> None:
    """Print a comparison's table, and where its files are."""
    say(comparison)


def planned(runs: Sequence[Any]) -> None:
    """Print the runs that a sweep would make, each with its command, and how long they may take."""
    from pellucid.comparison.table import duration

    for run in runs:
        taken = run.status == "finished"
        time = "" if run.seconds is None else f", {'took' if taken else 'about'} {duration(run.seconds)}"
        print(f"# {run.name}: {run.status}, {run.steps:,} steps{time}")
        print(_literal(run.command))
    left = [run for run in runs if run.status != "finished"]
    known = [run.seconds for run in left if run.seconds is not None]
    guess = (
        f"about {duration(sum(known))} for {len(known)} of them, as long as finished runs of their kind took"
        if known
        else ("no run of their kind has finished, so that their time is not known")
    )
    print(f"{len(runs)} runs, {len(left)} to train" + (f": {guess}" if left else ""))


def merged(rows: Sequence[Any]) -> None:
    """Print the results of merging filters, a row per threshold; the first row is the original model."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("threshold", "filters", "rounds", "parameters", "loss", "measure", "run"):
        table.add_column(title, justify="left" if title == "run" else "right")
    for row in rows:
        before = sum(first for first, _ in row.kept.values())
        measure = "–" if row.main is None else f"{row.main:.4f}"
        threshold = f"{row.threshold:g}" if row.rounds or row is not rows[0] else "none"
        filters = f"{row.filters} of {before}"
        cells = (threshold, filters, row.rounds, f"{row.parameters:,}", f"{row.loss:.5g}", measure, row.run)
        table.add_row(*map(str, cells))
    say(table)


def catalogue(kinds: Mapping[str, Mapping[str, str]]) -> None:
    """Print the members of each kind, with a line about each."""
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else 1000  # in a pipe, whole lines
    column = 2 + max(len(name) for members in kinds.values() for name in members)
    for kind, members in kinds.items():
        print(kind)
        for name, line in members.items():
            print(textwrap.fill(line, width, initial_indent=f"  {name:{column}}", subsequent_indent=" " * (column + 2)))
