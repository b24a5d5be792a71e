# SPDX-License-Identifier: Apache-2.0
"""What stands behind a word after `pellucid work`: a class in a file of that name in `worked/builders/`.

    Form       prints something: a derivation, a study of an iterated function
    Builder    writes a worksheet; every builder also has the options of `forms.running.Common` (--random, --verify, --out, …)

How a builder is written: `worked/builders/NAME.py` holds one frozen dataclass whose name is NAME in CamelCase. Its fields are the
options of `pellucid work NAME`, each with a string below it that explains it, and their defaults together are the example. A field
before `_: KW_ONLY` stands without a name on the command line. The first line of the docstring titles the help and every exercise.

    worksheet()      the worksheet of these options; numbers typed as text are read by `forms.numbers`
    draw(random)     the same builder with random numbers, chosen so that a person can work them (`forms.exercise.by_hand`)
    topic            one of `forms.topics.TOPICS`, below which `pellucid work --list` names it
    question         the question that it answers, for that list
    keeps            names of the options that `draw` leaves as they are, such as a loss or an activation
    grids(solution)  matrices and tables to show before the answers; by default none
    pictures(solution)  picture files that the options ask for, which are written and named; by default none
    build(…)         the same from Python, `builder("NAME")(…)`; override it where Python passes numbers instead of text
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any, ClassVar, Self

from pellucid.worked.showing.grids import Grid
from pellucid.worked.worksheet.solution import Solution
from pellucid.worked.worksheet.worksheet import Worksheet

__all__ = ["Builder", "Form"]


class Form(ABC):
    """A word after `pellucid work`: a frozen dataclass whose fields are its options."""

    topic: ClassVar[str] = "other"
    question: ClassVar[str] = ""

    @classmethod
    @abstractmethod
    def build(cls, *args: Any, **options: Any) -> Any:
        """What the form makes, from Python: `builder("NAME")(…)`."""

    @abstractmethod
    def text(self) -> str:
        """What the command prints."""


class Builder(Form):
    """A form that writes a worksheet.

    >>> from dataclasses import dataclass, replace
    >>> @dataclass(frozen=True, kw_only=True)
    ... class Line(Builder):
    ...     '''Work out a line.'''
    ...     slope: float = 2
    ...     def worksheet(self):
    ...         return Worksheet(f"x = 3; y = {self.slope}*x; ? y")
    ...     def draw(self, random):
    ...         return replace(self, slope=random.randint(1, 9))
    >>> print(Line(slope=0.5).worksheet().solve().value("y"))
    3/2
    >>> print(Line.build(slope=4).solve().value("y"))
    12
    """

    keeps: ClassVar[Sequence[str]] = ()

    @classmethod
    def build(cls, *args: Any, **options: Any) -> Worksheet:
        """The worksheet, from Python."""
        # enough for a builder whose options are numbers; one that reads text overrides it
        return cls(*args, **options).worksheet()

    @abstractmethod
    def worksheet(self) -> Worksheet:
        """The worksheet of the options."""

    @abstractmethod
    def draw(self, random: Random) -> Self:
        """The same builder with random numbers that can be worked by hand; the options in `keeps` stay."""

    def grids(self, solution: Solution) -> Sequence[Grid]:
        """Matrices and tables that are shown before the answers.

        Args:
            solution: of the worksheet, with the digits that are shown.
        """
        return ()

    def pictures(self, solution: Solution) -> Sequence[Path]:
        """Write the pictures whose files the options name; by default none.

        Args:
            solution: of the worksheet.
        """
        return ()

    def text(self) -> str:
        """The worksheet solved, for the terminal."""
        return str(self.worksheet())
