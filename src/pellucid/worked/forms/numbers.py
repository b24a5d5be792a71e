# SPDX-License-Identifier: Apache-2.0
"""Numbers as they are typed in an option: "0.5", "1 2 3", rows as "1 2; 3 4", nested lists in square brackets."""

from __future__ import annotations

import json
import re
from fractions import Fraction
from typing import Any, Final

from pellucid.errors import UsageError
from pellucid.worked.expressions.expression import as_expr
from pellucid.worked.worksheet.writing import write_expression

__all__ = ["read_number", "read_tensor", "read_vector", "typed", "typed_options"]

_LONGEST: Final = 20_000  # letters of an option
_NUMBER: Final = re.compile(r"[+-]?(\d{1,40}(\.\d{0,40})?|\.\d{1,40})([eE][+-]?\d{1,2})?(/\d{1,40})?")


def read_number(text: str, option: str) -> Fraction:
    """One number, exactly as it is written.

    >>> read_number("0.1", "weight")
    Fraction(1, 10)

    Raises:
        UsageError: several numbers, or something else.
    """
    numbers = read_vector(text, option)
    if len(numbers) != 1:
        raise UsageError(f"{option}={text[:40]!r}: must be one number; give one.")
    return numbers[0]


def read_vector(text: str, option: str) -> list[Fraction]:
    """Numbers between spaces or commas, each exactly as it is written.

    >>> [str(number) for number in read_vector("1, 0.5 -1/3", "x")]
    ['1', '1/2', '-1/3']

    Raises:
        UsageError: no numbers, several rows, or something else between them.
    """
    numbers = read_tensor(text, option)
    if isinstance(numbers[0], list):
        raise UsageError(f"{option}={text[:40]!r}: has several rows; give one row of numbers.")
    return numbers


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
    # a minus sign copied from a worksheet
    plain = text.strip().replace("−", "-")
    if plain.startswith("["):
        return _nested(plain, option)
    rows = [_numbers(row, option) for row in plain.strip(";").split(";")]
    if not all(rows):
        raise UsageError(
            f"{option}={text[:40]!r}: has an empty row; give numbers, as in 1 2 3, or rows, as in 1 2; 3 4."
        )
    return rows[0] if len(rows) == 1 else rows


def typed(value: Any) -> str:
    """Numbers as a person types them, in rows of at most two dimensions; the reverse of reading them.

    >>> typed(Fraction(1, 2)), typed([1, Fraction(-3, 10)]), typed([[1, 2], [3, 4]])
    ('0.5', '1 -0.3', '1 2; 3 4')
    """
    if not isinstance(value, (list, tuple)):
        return write_expression(as_expr(value))
    between = "; " if isinstance(value[0], (list, tuple)) else " "
    return between.join(map(typed, value))


def typed_options(**values: Any) -> dict[str, Any]:
    """Several options as they are typed; None stays None.

    >>> typed_options(x=[1, 2], b=None)
    {'x': '1 2', 'b': None}
    """
    return {name: None if value is None else typed(value) for name, value in values.items()}


def _nested(text: str, option: str) -> list[Any]:
    """Lists in square brackets, read as JSON with exact numbers."""

    def number(word: str) -> Fraction:
        return _numbers(word, option)[0]

    try:
        # json would recurse as deep as the brackets go
        if re.search(r"\[\s*" * 6, text):
            raise ValueError
        read = json.loads(text, parse_float=number, parse_int=number, parse_constant=number)
    except ValueError:
        raise UsageError(
            f"{option}={text[:40]!r}: must be lists of numbers at most five deep, as in [[1, 2], [3, 4]]; correct it."
        ) from None
    assert isinstance(read, list)
    if not read:
        raise UsageError(f"{option}=[]: holds no number; give at least one.")
    return read


def _numbers(row: str, option: str) -> list[Fraction]:
    numbers = []
    for word in row.replace(",", " ").split():
        above, _, below = word.partition("/")
        if not _NUMBER.fullmatch(word) or (below and int(below) == 0):
            raise UsageError(f"{option}={word[:40]!r}: is not a number; write numbers between spaces, as in 1 0.5 -2.")
        numbers.append(Fraction(above) / int(below or 1))
    return numbers
