# SPDX-License-Identifier: Apache-2.0
"""From a builder to its form `pellucid work WORD`: its own options, and those that all builders share."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any, Final, Literal, get_type_hints

from pellucid.errors import UsageError
from pellucid.worked.forms.command import deliver, form_of
from pellucid.worked.forms.exercise import without_solution
from pellucid.worked.showing.showing import show
from pellucid.worked.worksheet.worksheet import Worksheet
from pellucid.worked.worksheet.writing import write_worksheet

__all__ = ["command_of"]

_SEEDS: Final = 2**32


def _shared(
    *,
    random: bool = False,
    seed: int = 0,
    hide_solution: bool = False,
    exact: bool = False,
    digits: int = 6,
    verify: bool = False,
    format: Literal["terminal", "markdown", "latex", "html", "json"] | None = None,
    out: Path | None = None,
) -> None:
    """What every form takes.

    Args:
        random: draw a problem whose numbers can be worked by hand.
        seed: of the random problem; the same seed draws the same problem.
        hide_solution: write an exercise to one file, and its worked solution to a second.
        exact: show fractions as fractions where decimals do not end.
        digits: significant digits of numbers that are not exact, 1 to 50.
        verify: show each line's check beside it: NumPy's value, or a central difference with its tolerance.
        format: how to show it; by default as the ending of --out says, else for the terminal.
        out: the file to write; by default the terminal, for an exercise WORD-SEED.md and WORD-SEED-solution.md; one that
            ends with .work becomes a worksheet to edit, or to hold answers against.
    """


def command_of(build: Callable[..., Worksheet], problem: Callable[..., Worksheet]) -> Callable[..., int]:
    """The command of a builder, with the options of `build` and the shared ones in its signature and docstring.

    >>> def line(*, slope: float = 2.0) -> Worksheet:
    ...     '''Work a line.
    ...
    ...     Args:
    ...         slope: of the line.
    ...     '''
    ...     return Worksheet(f"x = 3; y = {slope}*x; ? y")
    >>> command = command_of(line, lambda random: Worksheet(f"x = {random.randint(1, 9)}; y = 2*x; ? y"))
    >>> command(slope=0.5, digits=3)
    ? y
      given: x = 3
      y = 0.5·x = 0.5·3 = 1.5
    <BLANKLINE>
    1 line, each checked: 1 by NumPy. After = a number is exact, after ≈ it has 3 significant digits.
    0

    Args:
        build: options to a worksheet; each has a default, which together are the example.
        problem: a generator of random numbers to a worksheet; those options of `build` that it takes too shape it.
    """
    own, shared = inspect.signature(build), inspect.signature(_shared)
    takes = set(inspect.signature(problem).parameters)

    def command(**options: Any) -> int:
        values = {name: options.pop(name, each.default) for name, each in shared.parameters.items()}
        given = {name: value for name, value in options.items() if value != own.parameters[name].default}
        drawn, seed, out, format = (values[name] for name in ("random", "seed", "out", "format"))
        word = build.__module__.rpartition(".")[2]
        if not 0 <= seed < _SEEDS:
            raise UsageError(f"seed={seed}: must be from 0 to {_SEEDS - 1}; choose one of them.")
        if seed != shared.parameters["seed"].default and not drawn:
            raise UsageError(f"seed={seed}: draws a random problem; write --random too.")
        if drawn:
            for name in given:
                if name not in takes:
                    raise UsageError(f"{name}={given[name]}: is drawn with --random; leave one of the two out.")
            sheet = problem(Random(seed), **given)
        else:
            sheet = build(**options)
        if out is not None and out.suffix == ".work" and format is None:
            if values["hide_solution"]:
                rule = "a worksheet solves itself and hides nothing"
                raise UsageError(f"out={str(out)!r}: {rule}; end the name with .md, .tex, .html or .txt.")
            return deliver(write_worksheet(sheet), out)
        solution = sheet.solve(exact=values["exact"], digits=values["digits"])
        if not values["hide_solution"]:
            form = form_of(format, out)
            color = form == "terminal" and out is None and sys.stdout.isatty()
            return deliver(solution.show(form, verify=values["verify"], color=color), out)
        name = f"{word}-{seed}" if drawn else word
        path: Path = out or Path(name + _ENDINGS.get(format or "markdown", ".md"))
        form = form_of(format, path)
        title = f"Exercise {name}: {_sentence(build)}"
        deliver(show(without_solution(sheet, solution, title), form), path)
        return deliver(
            solution.show(form, verify=values["verify"]), path.with_name(f"{path.stem}-solution{path.suffix}")
        )

    # what the command line reads: the builder's options, then the shared ones
    parameters = [*own.parameters.values(), *shared.parameters.values()]
    command.__signature__ = inspect.Signature(parameters, return_annotation=int)  # type: ignore[attr-defined]
    command.__annotations__ = {**get_type_hints(build), **get_type_hints(_shared), "return": int}
    arguments = inspect.cleandoc(_shared.__doc__ or "").partition("Args:\n")[2]
    command.__doc__ = f"{inspect.cleandoc(build.__doc__ or '')}\n{arguments}"
    command.__module__ = build.__module__
    return command


_ENDINGS: Final = {"terminal": ".txt", "markdown": ".md", "latex": ".tex", "html": ".html", "json": ".json"}


def _sentence(build: Callable[..., Worksheet]) -> str:
    """What the form does, as a person would set it."""
    return (inspect.getdoc(build) or "").split("\n")[0]
