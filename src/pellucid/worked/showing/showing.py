# SPDX-License-Identifier: Apache-2.0
"""The formats of a solution, by name."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from pellucid.errors import UnknownNameError
from pellucid.worked.showing import html, json, latex, terminal
from pellucid.worked.showing.lines import Sheet, in_brief

__all__ = ["FORMS", "show"]

FORMS: Final = ("terminal", "markdown", "latex", "latex-fragment", "html", "fragment", "json")


def show(
    sheet: Sheet,
    form: str = "terminal",
    *,
    verify: bool = False,
    color: bool = False,
    brief: bool = False,
    width: int = 0,
) -> str:
    """A sheet in one of the formats.

    >>> from pellucid.worked.expressions.expression import Name
    >>> from pellucid.worked.showing.lines import Answer, Remark
    >>> print(show(Sheet((Answer((Name("b"),), "b", (Remark(("given: ", Name("b"), " = 9"),),)),), {})))
    ? b
      given: b = 9
    <BLANKLINE>
    1 question; give what is not exact to 6 significant digits.

    Args:
        sheet: what to show.
        form: one of `FORMS`.
        verify: show the check next to each line.
        color: use escape codes, for a terminal.
        brief: show what is asked and what it needs, without local derivatives and paths.
        width: of a terminal, in columns; 0 for lines of any length.

    Raises:
        UnknownNameError: no such format.
    """
    if form not in FORMS:
        raise UnknownNameError("form", form, FORMS)
    if brief:
        sheet = replace(sheet, answers=tuple(map(in_brief, sheet.answers)))
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
    return terminal.show(sheet, verify, color, width)
