# SPDX-License-Identifier: Apache-2.0
"""Where something is in a worksheet, in the words of its error messages."""

from __future__ import annotations

from pellucid.worked.expressions.expression import At

__all__ = ["position"]


def position(at: At | None, name: str = "") -> str:
    """The start of an error message: line and column in a text, else the equation's name.

    >>> position((3, 7)), position(None, "L"), position(None)
    ('line 3, column 7: ', 'equation of L: ', '')
    """
    if at:
        return f"line {at[0]}, column {at[1]}: "
    return f"equation of {name}: " if name else ""
