# SPDX-License-Identifier: Apache-2.0
"""What the forms of `pellucid work` share: numbers read from words, and a worksheet with its matrices and tables shown or written."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

from pellucid.errors import UsageError
from pellucid.worked.forms.command import deliver, form_of
from pellucid.worked.showing.grids import Grid, as_json, show_grid
from pellucid.worked.worksheet.worksheet import Worksheet

__all__ = ["Format", "compose", "present", "read_tensor", "read_vector"]

Format: TypeAlias = Literal["terminal", "markdown", "latex", "html", "json"]
_LONGEST: Final = 20_000  # letters of an option
_NUMBER: Final = re.compile(r"[+-]?(\d{1,40}(\.\d{0,40})?|\.\d{1,40})([eE][+-]?\d{1,2})?(/\d{1,40})?")


def read_vector(text: str, option: str) -> list[Fraction]:
    """Numbers between spaces or commas, each exactly as it is written.

    >>> [str(each) for each in read_vector("1, 0.5 -1/3", "x")]
    ['1', '1/2', '-1/3']

    Raises:
        UsageError: no numbers, several rows, or something else between them.
    """
    found = read_tensor(text, option)
    if isinstance(found[0], list):
        raise UsageError(f"{option}={text[:40]!r}: has several rows; give one row of numbers.")
    return found


def read_tensor(text: str, option: str) -> list[Any]:
    """Numbers, rows of them between semicolons, or nested lists in square brackets.

    >>> [list(map(str, row)) for row in read_tensor("1 2; 3 0.1", "x")]
    [['1', '2'], ['3', '1/10']]
    >>> [len(channel[0]) for channel in read_tensor("[[[1, 2, 3]], [[4, 5, 6]]]", "x")]
    [3, 3]

    Raises:
        UsageError: no numbers, or something else between them.
    """
    if len(text) > _LONGEST:
        raise UsageError(f"{option}: is longer than {_LONGEST:,} letters; a worksheet is worked by hand, give fewer.")
    plain = text.strip().replace("−", "-")
    if plain.startswith("["):
        return _nested(plain, option)
    rows = [_numbers(row, option) for row in plain.strip(";").split(";")]
    if not all(rows):
        raise UsageError(
            f"{option}={text[:40]!r}: has an empty row; give numbers, as in 1 2 3, or rows, as in 1 2; 3 4."
        )
    return rows[0] if len(rows) == 1 else rows


def _nested(text: str, option: str) -> list[Any]:
    """Lists in square brackets, read as JSON with exact numbers."""

    def number(word: str) -> Fraction:
        return _numbers(word, option)[0]

    try:
        if re.search(r"\[\s*" * 6, text):
            raise ValueError
        found = json.loads(text, parse_float=number, parse_int=number, parse_constant=number)
    except ValueError:
        raise UsageError(
            f"{option}={text[:40]!r}: must be lists of numbers at most five deep, as in [[1, 2], [3, 4]]; mend it."
        ) from None
    assert isinstance(found, list)
    if not found:
        raise UsageError(f"{option}=[]: holds no number; give at least one.")
    return found


def _numbers(row: str, option: str) -> list[Fraction]:
    found = []
    for word in row.replace(",", " ").split():
        above, _, below = word.partition("/")
        if not _NUMBER.fullmatch(word) or (below and int(below) == 0):
            raise UsageError(f"{option}={word[:40]!r}: is no number; write numbers between spaces, as in 1 0.5 -2.")
        found.append(Fraction(above) / int(below or 1))
    return found


def compose(
    sheet: Worksheet,
    grids: Sequence[Grid] = (),
    *,
    exact: bool = False,
    digits: int = 6,
    verify: bool = False,
    format: str = "terminal",
    color: bool = False,
) -> str:
    """A worksheet solved and shown, with matrices and tables before its answers.

    >>> print(compose(Worksheet("a = 2; b = a^2; ? b")).splitlines()[-3])
      b = a² = 2² = 4

    Args:
        sheet: the worksheet with its questions.
        grids: what stands before the answers.
        exact: show fractions as fractions where decimals do not end.
        digits: significant digits of numbers that are not exact, 1 to 50.
        verify: show each line's check beside it.
        format: one of `Format`.
        color: for a terminal.
    """
    shown = sheet.solve(exact=exact, digits=digits).show(format, verify=verify, color=color)
    if not grids:
        return shown
    if format == "json":
        document = json.loads(shown) | {"grids": [as_json(each, digits, exact) for each in grids]}
        return json.dumps(document, ensure_ascii=False, indent=1)
    before = "\n\n".join(show_grid(each, format, digits, exact) for each in grids)
    mark = {"html": "<main>\n", "latex": "\\begin{document}\n"}.get(format)
    return shown.replace(mark, f"{mark}{before}\n", 1) if mark else f"{before}\n\n{shown}"


def present(
    sheet: Worksheet,
    grids: Sequence[Grid] = (),
    *,
    exact: bool = False,
    digits: int = 6,
    verify: bool = False,
    format: Format | None = None,
    out: Path | None = None,
) -> int:
    """Print a worksheet, or write it to a file whose ending tells the format; returns the exit code.

    >>> present(Worksheet("a = 2; b = a^2; ? b"))
    ? b
      given: a = 2
      b = a² = 2² = 4
    <BLANKLINE>
    1 line, each checked: 1 by NumPy. After = a number is exact, after ≈ it has 6 significant digits.
    0

    Raises:
        UsageError: a file that cannot be written.
    """
    chosen = form_of(format, out)
    color = chosen == "terminal" and out is None and sys.stdout.isatty()
    return deliver(compose(sheet, grids, exact=exact, digits=digits, verify=verify, format=chosen, color=color), out)
