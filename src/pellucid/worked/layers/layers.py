# SPDX-License-Identifier: Apache-2.0
"""Layer tables: sizes, parameters with their formula, memory, multiply–accumulates and receptive field, layer by layer.

`table(specification)` reads a text; `pellucid.bridging.tables` makes the same table from a torch module. Unknown numbers are symbols:
they are solved if the other layers determine them, and stay symbols if not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import sympy

from pellucid.worked.layers.building import build_rows
from pellucid.worked.layers.checking import LayerReport, check_layers
from pellucid.worked.layers.sizes import Size
from pellucid.worked.layers.specification import LayerLine, candidates_text, read_lines, shape_notes, solve
from pellucid.worked.layers.table import LayerRow, LayerTable

__all__ = ["LayerTable", "check_table", "table"]


def table(specification: str, *, batch: int = 1, bytes_per_value: int = 4) -> LayerTable:
    """The table of a network written as text, one layer per line or between semicolons.

    >>> print(table("input 300x200x2; conv 64 of 3x3xU_1").rows[1].formula)
    (3·3·2 + 1)·64

    Args:
        specification: see `pellucid.worked.layers.specification` for the notation.
        batch: samples per batch, for the memory.
        bytes_per_value: of an activation, 4 for float32.

    Raises:
        UsageError: a line that is not a layer, or impossible sizes.
    """
    lines = read_lines(specification)
    rows, solved = _solved(lines)
    return LayerTable("layers", rows, solved, shape_notes(lines), bytes_per_value, batch)


def check_table(specification: str, answers: str) -> LayerReport:
    """Somebody's sizes and parameters checked against the table of a network written as text.

    >>> print(check_table("input 8x8x1; conv 4 of 3x3; max-pool 2", "conv 4 = 5x5x4\\nmax-pool = 2x2x4").checked[1].status)
    follows

    Args:
        specification: of the network.
        answers: see `pellucid.worked.layers.checking` for the notation.

    Raises:
        UsageError: a line that is not a layer, or impossible sizes.
    """
    lines = read_lines(specification)

    def rebuild(instead: Mapping[int, tuple[Size, ...]]) -> Sequence[LayerRow]:
        return build_rows(lines, instead)[0]

    return check_layers(table(specification), answers, rebuild)


def _solved(lines: Sequence[LayerLine]) -> tuple[list[LayerRow], list[str]]:
    """The rows of a specification, and a line about each unknown.

    >>> for line in _solved(read_lines("input 300x200x2; conv 64 of 3x3xU_1; dense N_2"))[1]:
    ...     print(line)
    U_1 = 2: the input of `conv 64 of 3x3xU_1` has as many channels
    N_2 stays open: nothing here determines it

    Raises:
        UsageError: impossible sizes.
    """
    known: dict[sympy.Symbol, Size] = {}
    explained: list[str] = []
    # a solved unknown may determine others further on, so build and solve until nothing new is found
    while True:
        rows, equations = build_rows([line.known(known) for line in lines])
        solved, why = solve(equations)
        if not solved:
            break
        known |= solved
        known = {name: sympy.sympify(value).subs(solved) for name, value in known.items()}
        explained += why
    symbols = (sympy.sympify(size).free_symbols for row in rows for size in (*row.output, row.parameters))
    free = sorted({symbol for row_symbols in symbols for symbol in row_symbols}, key=str)
    return rows, explained + [
        f"{symbol} stays open: {candidates_text(equations, symbol) or 'nothing here determines it'}" for symbol in free
    ]
