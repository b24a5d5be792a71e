# SPDX-License-Identifier: Apache-2.0
"""A solution as text, with the matrices and tables of its builder before the answers."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Literal, TypeAlias

from pellucid.worked.showing.grids import Grid, as_json, show_grid
from pellucid.worked.showing.lines import NOTHING
from pellucid.worked.worksheet.solution import Solution

__all__ = ["Format", "compose"]

Format: TypeAlias = Literal["terminal", "markdown", "latex", "html", "json"]


def compose(
    solution: Solution,
    grids: Sequence[Grid] = (),
    *,
    verify: bool = False,
    format: str = "terminal",
    color: bool = False,
    brief: bool = False,
    width: int = 0,
) -> str:
    """A solution as text, with matrices and tables before its answers.

    >>> from pellucid.worked.worksheet.worksheet import Worksheet
    >>> print(compose(Worksheet("a = 2; b = a^2; ? b").solve()).splitlines()[-3])
      b = a² = 2² = 4

    Args:
        solution: of a worksheet with its questions.
        grids: what stands before the answers.
        verify: show each line's check beside it.
        format: one of `Format`.
        color: use the terminal's colours.
        brief: show what is asked and what it needs, without local derivatives and paths.
        width: of the terminal, in columns; 0 for lines of any length.
    """
    shown = solution.show(format, verify=verify, color=color, brief=brief, width=width)
    if not grids:
        return shown
    if not solution.values:
        shown = shown.replace(NOTHING, "In symbols only: there are no numbers to check.")
    digits, exact = solution.digits, solution.exact
    if format == "json":
        # one document: grids are a key of their own beside the answers
        document = json.loads(shown) | {"grids": [as_json(grid, digits, exact) for grid in grids]}
        return json.dumps(document, ensure_ascii=False, indent=1)
    before = "\n\n".join(show_grid(grid, format, digits, exact, width) for grid in grids)
    # a page's body begins after this mark, a document's after its title
    if format == "latex":
        head, mark, tail = shown.partition("\\bfseries ")
        title, _, body = tail.partition("\n")
        return f"{head}{mark}{title}\n\n{before}\n{body}"
    return shown.replace("<main>\n", f"<main>\n{before}\n", 1) if format == "html" else f"{before}\n\n{shown}"
