# SPDX-License-Identifier: Apache-2.0
"""The formats in which a solution is shown, by name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pellucid.errors import UnknownNameError

if TYPE_CHECKING:
    from pellucid.worked.solution import Solution

__all__ = ["FORMS", "show"]

FORMS: Final = ("terminal", "markdown", "latex", "latex-fragment", "html", "fragment", "json")


def show(solution: Solution, form: str = "terminal", *, verify: bool = False, color: bool = False) -> str:
    """A solution in a format.

    >>> from pellucid.worked.worksheet import Worksheet
    >>> print(show(Worksheet.parse("a = 3; b = a^2; ? b").solve()))
    ? b
      given: a = 3
      b = a² = 3² = 9

    Args:
        solution: what to show.
        form: one of `FORMS`.
        verify: each line's check beside it.
        color: escape codes for a terminal.

    Raises:
        UnknownNameError: no such format.
    """
    if form not in FORMS:
        raise UnknownNameError("form", form, FORMS)
    from pellucid.worked import showing_terminal

    return showing_terminal.show(solution, verify, color)
