# SPDX-License-Identifier: Apache-2.0
"""`pellucid work NAME`: one mechanism for every builder, which adds the options that all of them share."""

from __future__ import annotations

import inspect
import sys
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Final, final

from pellucid.errors import UsageError
from pellucid.worked.forms.command import deliver, format_of, terminal_width
from pellucid.worked.forms.contract import Builder, Form
from pellucid.worked.forms.exercise import without_solution
from pellucid.worked.forms.presenting import Format, compose
from pellucid.worked.showing.showing import show
from pellucid.worked.worksheet.solution import Solution
from pellucid.worked.worksheet.writing import write_worksheet

__all__ = ["Common", "run"]

_SEEDS: Final = 2**32
_ENDINGS: Final = {"terminal": ".txt", "markdown": ".md", "latex": ".tex", "html": ".html", "json": ".json"}


@final
@dataclass(frozen=True)
class Common:
    """The options that every builder has."""

    random: bool = False
    """draw a problem whose numbers can be worked by hand"""
    seed: int = 0
    """of the random problem; the same seed draws the same problem"""
    hide_solution: bool = False
    """write an exercise to one file, and its worked solution to a second"""
    exact: bool = False
    """show fractions as fractions where decimals do not end"""
    digits: int = 6
    """significant digits of numbers that are not exact, 1 to 50"""
    verify: bool = False
    """show each line's check next to it: NumPy's value, or a central difference with its tolerance"""
    brief: bool = False
    """show what is asked and what it needs, without local derivatives and paths"""
    paths: bool | None = None
    """list every path of a derivative; --no-paths goes backwards instead, as the sheets of recurrent networks do by default"""
    format: Format | None = None
    """output format; by default the one of the --out file's ending, else terminal"""
    out: Path | None = None
    """
    the file to write; by default the terminal, for an exercise NAME-SEED.md and NAME-SEED-solution.md; a name that ends
    in .work gets a worksheet that you can edit, or check answers against
    """


def run(form: Form, common: Common | None = None) -> int:
    """Print what a form makes, or write it to a file; returns the exit code.

    >>> from pellucid.worked.builders.counted_measures import CountedMeasures
    >>> run(CountedMeasures(tp=1, fp=2, fn=0, tn=None), Common(digits=3))
    By other names, recall is the true positive rate (tpr), precision is the
    positive predictive value (ppv).
    <BLANKLINE>
    ? IoU
      given: TP = 1, FP = 2, FN = 0
      IoU = TP/(TP + FP + FN) = 1/(1 + 2 + 0) ≈ 0.333
    ...
    0

    Args:
        form: a builder or another form, with its options.
        common: the options that builders share; other forms have none of them.

    Raises:
        UsageError: options that contradict each other, or a file that cannot be written.
    """
    if not isinstance(form, Builder):
        print(form.text())
        return 0
    return _run_builder(form, common or Common())


def _run_builder(builder: Builder, common: Common) -> int:
    name = type(builder).__module__.rpartition(".")[2]
    if common.random:
        builder, name = _drawn(builder, common.seed), f"{name}-{common.seed}"
    elif common.seed != Common.seed:
        raise UsageError(f"seed={common.seed}: draws a random problem; write --random too.")
    # built before anything is written: a mistake in an option leaves no file
    out, sheet = common.out, builder.worksheet()
    # the equations themselves, unsolved
    if out is not None and out.suffix == ".work" and common.format is None:
        if common.hide_solution:
            rule = "a worksheet solves itself and hides nothing"
            raise UsageError(f"out={str(out)!r}: {rule}; end the name with .md, .tex, .html or .txt.")
        return deliver(write_worksheet(sheet), out)
    solution = sheet.solve(exact=common.exact, digits=common.digits, paths=common.paths)
    grids = builder.grids(solution)
    if not common.hide_solution:
        format = format_of(common.format, out)
        # escape codes would spoil a file or a pipe
        color = format == "terminal" and out is None and sys.stdout.isatty()
        text = compose(
            solution,
            grids,
            verify=common.verify,
            format=format,
            color=color,
            brief=common.brief,
            width=terminal_width(),
        )
        deliver(text, out)
        return _draw(builder, solution)
    path = out or Path(name + _ENDINGS[common.format or "markdown"])
    format = format_of(common.format, path)
    title = f"Exercise {name}: {(inspect.getdoc(builder) or '').splitlines()[0]}"
    deliver(show(without_solution(sheet, solution, title), format, width=terminal_width()), path)
    # matrices and tables hold answers: they belong to the solution alone
    worked = compose(solution, grids, verify=common.verify, format=format, brief=common.brief, width=terminal_width())
    deliver(worked, path.with_name(f"{path.stem}-solution{path.suffix}"))
    return _draw(builder, solution)


def _draw(builder: Builder, solution: Solution) -> int:
    """Write the pictures that were asked for, and print their files' names."""
    for picture in builder.pictures(solution):
        print(picture)
    return 0


def _drawn(builder: Builder, seed: int) -> Builder:
    """The builder with random numbers; an option that would be drawn over may not be given."""
    if not 0 <= seed < _SEEDS:
        raise UsageError(f"seed={seed}: must be from 0 to {_SEEDS - 1}; choose one of them.")
    # what differs from its default was typed
    for name, option in inspect.signature(type(builder)).parameters.items():
        value = getattr(builder, name)
        if name not in builder.keeps and value != option.default:
            raise UsageError(f"{name}={value}: is drawn with --random; leave one of the two out.")
    return builder.draw(Random(seed))
