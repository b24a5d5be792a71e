# SPDX-License-Identifier: Apache-2.0
"""The exceptions of Pellucid, with the exit code of the command line for each.

    PellucidError                1   something went wrong; the message says what and the way out
    ├── UsageError               2   a mistake in the request: a bad option value, a missing file
    │   ├── UnknownNameError     2   a name that is not in a catalogue, a list of options or of classes
    │   ├── MissingPackageError  2   what works on images, without the packages for it; an ImportError as well
    │   ├── DataError            2   images or targets that cannot be used as they are
    │   └── RunError             2   a run folder that is missing, incomplete, or of other options or another format
    └── TrainingError            1   a training that failed, e.g. with a loss that is not finite

Every message is one sentence of the form ``name=value: the rule; the way out``. A `PellucidWarning` is a sentence about
something that was mended or could not be verified, while the work goes on.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__ = [
    "DataError",
    "MissingPackageError",
    "PellucidError",
    "PellucidWarning",
    "RunError",
    "TrainingError",
    "UnknownNameError",
    "UsageError",
    "brief",
    "check_choice",
    "one_line",
]

_LONGEST = 200  # characters of another library's message within a sentence of ours


class PellucidError(Exception):
    """Base class of all exceptions of Pellucid."""

    exit_code = 1
    quiet = False  # whether another process of the same training says it


class UsageError(PellucidError):
    """A mistake in the request: a bad option value, a missing file."""

    exit_code = 2


class UnknownNameError(UsageError):
    """An unknown name; the message suggests the nearest known one.

    >>> str(UnknownNameError("task", "clasify", ["classify", "denoise"]))
    "task='clasify' is not known; did you mean 'classify'? Known: classify, denoise."
    """

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        names = sorted(known)
        near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
        hint = f"; did you mean {near[0]!r}?" if near else "."
        super().__init__(f"{kind}={name!r} is not known{hint} Known: {', '.join(names)}.")


def check_choice(option: str, value: object, choices: Iterable[object]) -> None:
    """Refuse a value that is not among the choices of an option.

    >>> check_choice("fill", "grey", ("mean", "zero", "blur"))
    Traceback (most recent call last):
    pellucid.errors.UsageError: fill='grey': is not known; choose mean, zero or blur.
    """
    names = list(choices)
    if value not in names:
        *others, last = map(str, names)
        listed = f"{', '.join(others)} or {last}" if others else last
        raise UsageError(f"{option}={value!r}: is not known; choose {listed}.")


class DataError(UsageError):
    """Images or targets that cannot be used as they are."""


class MissingPackageError(UsageError, ImportError):
    """A verb that works on images where the packages that it needs are not installed."""


class RunError(UsageError):
    """A run folder that is missing, incomplete, or of other options or another format."""


class TrainingError(PellucidError):
    """A training that failed."""


class PellucidWarning(UserWarning):
    """Something was mended or could not be verified; the work goes on."""


def one_line(text: str) -> str:
    """A text without line breaks.

    >>> one_line("size mismatch:\\n\\t(4,) against (5,)")
    'size mismatch: (4,) against (5,)'
    """
    return " ".join(line.strip() for line in text.splitlines() if line.strip())


def brief(fault: BaseException) -> str:
    """What another library says of a fault, on one line and cut where it is long.

    >>> brief(ValueError("no\\nmagic"))
    'no magic'
    """
    said = one_line(str(fault)) or type(fault).__name__
    return said if len(said) <= _LONGEST else said[: _LONGEST - 1] + "…"
