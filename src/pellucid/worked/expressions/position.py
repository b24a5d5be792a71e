# SPDX-License-Identifier: Apache-2.0
"""Where in a worksheet something stands, as its errors say it."""

from __future__ import annotations

from pellucid.worked.expressions.expression import At

__all__ = ["place"]


def place(at: At | None, name: str = "") -> str:
    """How an error says where it is: by line and column in a text, else by the equation's name.

    >>> place((3, 7)), place(None, "L"), place(None)
    ('line 3, column 7: ', 'equation of L: ', '')
    """
    if at:
        return f"line {at[0]}, column {at[1]}: "
    return f"equation of {name}: " if name else ""
