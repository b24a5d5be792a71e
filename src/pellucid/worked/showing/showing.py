# SPDX-License-Identifier: Apache-2.0
"""The formats in which a solution is shown, by name."""

from __future__ import annotations

from typing import Final

from pellucid.errors import UnknownNameError
from pellucid.worked.showing import html, json, latex, terminal
from pellucid.worked.showing.lines import Sheet

__all__ = ["FORMS", "show"]

FORMS: Final = ("terminal", "markdown", "latex", "latex-fragment", "html", "fragment", "json")


def show(sheet: Sheet, form: str = "terminal", *, verify: bool = False, color: bool = False) -> str:
    """A solution in a format.

    >>> from pellucid.worked.worksheet.worksheet import Worksheet
    >>> print(show(Worksheet.parse("a = 3; b = a^2; ? b").solve()))
    ? b
      given: a = 3
      b = a² = 3² = 9
    <BLANKLINE>
    1 line, each checked: 1 by NumPy. After = a number is exact, after ≈ it has 6 significant digits.

    Args:
        sheet: what to show.
        form: one of `FORMS`.
        verify: each line's check beside it.
        color: escape codes for a terminal.

    Raises:
        UnknownNameError: no such format.
    """
    if form not in FORMS:
        raise UnknownNameError("form", form, FORMS)
    match form:
        case "markdown":
            return latex.markdown(sheet, verify)
        case "latex":
            return latex.document(sheet, verify)
        case "latex-fragment":
            return latex.fragment(sheet)
        case "html":
            return html.page(sheet, verify)
        case "fragment":
            return html.fragment(sheet, verify)
        case "json":
            return json.show(sheet)
    return terminal.show(sheet, verify, color)
