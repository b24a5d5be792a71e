# SPDX-License-Identifier: Apache-2.0
"""Matrix equations and tables, in every format of a worksheet.

MatrixEquation    matrices with signs between them, such as one line in symbols and one with numbers
Table             a head and rows of cells
"""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, final

from pellucid.worked.expressions.expression import Expr
from pellucid.worked.showing.html import MathML
from pellucid.worked.showing.latex import Latex
from pellucid.worked.showing.terminal import Unicode
from pellucid.worked.showing.wrapping import fold, width_of

__all__ = ["Grid", "Matrix", "MatrixEquation", "Table", "as_json", "show_grid"]

Cell: TypeAlias = Expr | str


@final
@dataclass(frozen=True)
class Matrix:
    """A matrix of expressions.

    Args:
        rows: of one length, top to bottom; a vector is a matrix with one column.
    """

    rows: tuple[tuple[Expr, ...], ...]


@final
@dataclass(frozen=True)
class MatrixEquation:
    """Lines of matrices joined by signs, such as z = X·w.

    >>> from pellucid.worked.expressions.expression import Name, as_expr
    >>> X = Matrix(((as_expr(0), Name("x_1")), (Name("x_1"), Name("x_2"))))
    >>> print(show_grid(MatrixEquation("windows", ((X, "·", Matrix(((Name("w_1"),), (Name("w_2"),)))),))))
    windows
    <BLANKLINE>
      ⎡  0  x₁ ⎤   ⎡ w₁ ⎤
      ⎣ x₁  x₂ ⎦ · ⎣ w₂ ⎦

    Args:
        title: a sentence about it.
        lines: each a sequence of matrices, expressions and signs; a blank string is a gap.
    """

    title: str
    lines: tuple[tuple[Matrix | Cell, ...], ...]


@final
@dataclass(frozen=True)
class Table:
    """A table with a head; expressions are written as mathematics.

    Args:
        title: a sentence about it.
        head: one cell per column.
        rows: of as many cells.
    """

    title: str
    head: tuple[Cell, ...]
    rows: tuple[tuple[Cell, ...], ...]


Grid: TypeAlias = MatrixEquation | Table


def show_grid(grid: Grid, form: str = "terminal", digits: int = 6, exact: bool = False, width: int = 0) -> str:
    """A matrix equation or a table as text.

    >>> print(show_grid(Table("steps", ("step", "w"), (("0", "1"), ("1", "0.5"))), "markdown"))
    *steps*
    <BLANKLINE>
    | step | w |
    |---:|---:|
    | 0 | 1 |
    | 1 | 0.5 |
    <BLANKLINE>

    Args:
        grid: what to show.
        form: terminal, markdown, latex or html, the last three as part of a document.
        digits: significant digits of numbers that are not exact.
        exact: show fractions as fractions.
        width: of a terminal, in columns; 0 for lines of any length.
    """
    if form == "html":
        return _html(grid, MathML(digits, exact))
    if form in ("latex", "markdown"):
        return _latex(grid, Latex(digits, exact), form == "markdown")
    return _terminal(grid, Unicode(digits, exact), width)


def as_json(grid: Grid, digits: int = 6, exact: bool = False) -> dict[str, Any]:
    """The same as nested lists of strings, for a JSON document.

    >>> as_json(Table("steps", ("step", "w"), (("0", "1"),)))
    {'title': 'steps', 'head': ['step', 'w'], 'rows': [['0', '1']]}
    """
    setter = Unicode(digits, exact)
    if isinstance(grid, Table):
        rows = _cells(grid, setter)
        return {"title": grid.title, "head": rows[0], "rows": rows[1:]}
    lines = [
        [
            [[setter.write(entry) for entry in row] for row in part.rows]
            if isinstance(part, Matrix)
            else _cell(part, setter)
            for part in line
        ]
        for line in grid.lines
    ]
    return {"title": grid.title, "lines": lines}


def _cell(cell: Cell, setter: Unicode | MathML | Latex) -> str:
    return setter.plain(cell) if isinstance(cell, str) else setter.math(setter.write(cell))


def _cells(table: Table, setter: Unicode | MathML | Latex) -> list[list[str]]:
    """The head and the rows as text."""
    return [[_cell(cell, setter) for cell in row] for row in (table.head, *table.rows)]


def _terminal(grid: Grid, setter: Unicode, width: int) -> str:
    room = width - 2 if width else 0
    title = fold(grid.title, width, width, prose=True) if width else [grid.title]
    if isinstance(grid, Table):
        blocks = [_ruled(block) for block in _side_by_side(_cells(grid, setter), room)]
        lines = [line for block in blocks for line in ["", *(f"  {row}".rstrip() for row in block)]]
        return "\n".join([*title, *lines])
    lines = list(title)
    plain = not any(isinstance(part, Matrix) for line in grid.lines for part in line)  # equations, one below the other
    for place, line in enumerate(grid.lines):
        parts = [_brackets(part, setter) if isinstance(part, Matrix) else [_cell(part, setter)] for part in line]
        for blocks in _rows_of_blocks(parts, room):
            height = max(map(len, blocks))
            padded = []
            for block in blocks:  # centred vertically; a sign goes just below the middle of an even height
                above = (height - len(block) + 1) // 2 if len(block) > 1 or height % 2 else height // 2
                wide = width_of(block[0])
                rest = height - len(block) - above
                padded.append([" " * wide] * above + block + [" " * wide] * rest)
            lines += [
                *([] if plain and place else [""]),
                *("  " + " ".join(row).rstrip() for row in zip(*padded, strict=True)),
            ]
    return "\n".join(lines)


def _rows_of_blocks(parts: list[list[str]], room: int) -> list[list[list[str]]]:
    """Matrices and signs side by side as far as there is room; a sign begins the next row."""
    rows: list[list[list[str]]] = [[]]
    for part in parts:
        wide = sum(width_of(other[0]) + 1 for other in rows[-1]) + width_of(part[0])
        if room and wide > room and len(rows[-1]) > 1:
            last = rows[-1][-1]
            carried = [rows[-1].pop()] if len(last) == 1 and width_of(last[0]) < 4 else []
            rows.append(carried)
        rows[-1].append(part)
    return rows


def _side_by_side(rows: list[list[str]], room: int) -> list[list[list[str]]]:
    """The columns of a table in blocks that fit, the first column in each of them."""
    widths = [max(map(width_of, column)) for column in zip(*rows, strict=True)]
    if not room or sum(widths) + 2 * (len(widths) - 1) <= room or len(widths) < 3:
        return [rows]
    blocks, chosen, wide = [], [0], widths[0]
    for place, columns in enumerate(widths[1:], 1):
        if len(chosen) > 1 and wide + 2 + columns > room:
            blocks.append(chosen)
            chosen, wide = [0], widths[0]
        chosen.append(place)
        wide += 2 + columns
    return [[[row[place] for place in block] for row in rows] for block in [*blocks, chosen]]


def _brackets(matrix: Matrix, setter: Unicode) -> list[str]:
    rows = _aligned([[setter.write(entry) for entry in row] for row in matrix.rows])
    if len(rows) == 1:
        return [f"[ {rows[0]} ]"]
    ends = [("⎡", "⎤"), *[("⎢", "⎥")] * (len(rows) - 2), ("⎣", "⎦")]
    return [f"{left} {row} {right}" for (left, right), row in zip(ends, rows, strict=True)]


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows of cells, right-aligned in their columns."""
    widths = [max(map(width_of, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(" " * (w - width_of(cell)) + cell for cell, w in zip(row, widths, strict=True)) for row in rows]


def _ruled(rows: Sequence[Sequence[str]]) -> list[str]:
    """The lines of a table, with a rule under the head."""
    head, *body = _aligned(rows)
    return [head, "─" * width_of(head), *body]


def _latex(grid: Grid, setter: Latex, dollars: bool) -> str:
    if isinstance(grid, Table) and dollars:
        rows = _cells(grid, setter)
        if all(isinstance(cell, str) for cell in grid.head):  # Markdown needs no escapes of LaTeX
            rows[0] = [str(cell) for cell in grid.head]
        lines = [f"| {' | '.join(row)} |" for row in rows]
        return "\n".join([f"*{grid.title}*\n", lines[0], "|" + "---:|" * len(rows[0]), *lines[1:]]) + "\n"
    if isinstance(grid, Table):
        lines = [" & ".join(row) + r" \\" for row in _cells(grid, setter)]
        body = "\n".join([lines[0], r"\hline", *lines[1:]])
        columns = "r" * len(grid.head)
        size = r"\small" if len(grid.head) < 7 else r"\scriptsize"
        return (
            rf"\textit{{{setter.plain(grid.title)}}}"
            "\n\n"
            rf"\fitted{{{size}\begin{{tabular}}{{{columns}}}"
            f"\n{body}\n"
            r"\end{tabular}}" + "\n"
        )
    title = f"*{grid.title}*" if dollars else rf"\textit{{{setter.plain(grid.title)}}}"
    parts = [title]
    for line in grid.lines:
        inner = " ".join(
            _array(part, setter) if isinstance(part, (Matrix, Expr)) else _SIGN.get(part, part) for part in line
        )
        wide = max(sum(len(part.rows[0]) for part in line if isinstance(part, Matrix)), 1)
        size = r"\scriptsize" if wide > 12 else r"\small"
        parts.append(f"$$\n{inner}\n$$" if dollars else rf"\fitted{{{size}\arraycolsep=3pt ${inner}$}}")
    return "\n\n".join(parts) + "\n"


_SIGN = {"·": r"\cdot", "−": "-", "≈": r"\approx", "→": r"\to", " ": r"\quad "}


def _array(matrix: Matrix | Expr, setter: Latex) -> str:
    if isinstance(matrix, Expr):
        return setter.write(matrix)
    rows = r" \\ ".join(" & ".join(map(setter.write, row)) for row in matrix.rows)
    return rf"\left[\begin{{array}}{{{'r' * len(matrix.rows[0])}}} {rows} \end{{array}}\right]"


def _html(grid: Grid, setter: MathML) -> str:
    if isinstance(grid, Table):
        cell = ' style="text-align:right;padding:.15rem .7rem;border-bottom:1px solid var(--line)"'
        titles, *texts = _cells(grid, setter)
        head = "".join(f"<th{cell}>{title}</th>" for title in titles)
        rows = "\n".join("<tr>" + "".join(f"<td{cell}>{text}</td>" for text in row) + "</tr>" for row in texts)
        body = f'<div class="row"><table style="border-collapse:collapse"><tr>{head}</tr>\n{rows}\n</table></div>'
    else:
        lines = []
        for line in grid.lines:
            parts = [_piece(part, setter) for part in line]
            lines.append(f'<div class="row"><math displaystyle="true"><mrow>{"".join(parts)}</mrow></math></div>')
        body = "\n".join(lines)
    return f"<section><h3>{html.escape(grid.title)}</h3>\n{body}\n</section>"


def _piece(part: Matrix | Cell, setter: MathML) -> str:
    if isinstance(part, Expr):
        return setter.write(part)
    if isinstance(part, Matrix):
        return _mtable(part, setter)
    return f"<mo>{html.escape(part)}</mo>" if part.strip() else '<mspace width="1.5em"></mspace>'


def _mtable(matrix: Matrix, setter: MathML) -> str:
    rows = "".join(
        "<mtr>" + "".join(f"<mtd><mrow>{setter.write(entry)}</mrow></mtd>" for entry in row) + "</mtr>"
        for row in matrix.rows
    )
    # brackets as borders: a browser stretches signs only where it has a font for mathematics
    style = "border:solid currentColor;border-width:0 1.5px;border-radius:.5em;padding:0 .35em;margin:0 .15em"
    return f'<mtable style="{style}">{rows}</mtable>'
