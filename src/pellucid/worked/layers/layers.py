# SPDX-License-Identifier: Apache-2.0
"""Layer tables: sizes, parameters with their formula, memory, multiply–accumulates and receptive field, layer by layer.

`table(specification)` reads a text; a bridge outside this package makes the same table from a torch module. Unknown numbers are
symbols: they are solved where the other layers determine them and kept where not.
"""

from __future__ import annotations

from pellucid.worked.layers.building import read
from pellucid.worked.layers.table import LayerTable, Row

__all__ = ["LayerTable", "Row", "table"]


def table(specification: str, *, batch: int = 1, bytes_per_value: int = 4) -> LayerTable:
    """The table of a network that is written as text, a layer a line or between semicolons.

    >>> print(table("input 300x200x2; conv 64 of 3x3xU_1").rows[1].formula)
    (3·3·2 + 1)·64

    Args:
        specification: see `pellucid.worked.layers.specification` for the words.
        batch: samples at a time, for the memory.
        bytes_per_value: of an activation, 4 for float32.

    Raises:
        UsageError: a line that is no layer, or sizes that cannot be.
    """
    rows, solved = read(specification)
    return LayerTable("layers", rows, solved, batch=batch, bytes_per_value=bytes_per_value)
