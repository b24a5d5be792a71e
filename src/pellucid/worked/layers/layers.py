# SPDX-License-Identifier: Apache-2.0
"""Layer tables: sizes, parameters with their formula, memory, multiply–accumulates and receptive field, layer by layer.

`table(specification)` reads a text; `pellucid.bridging.tables` makes the same table from a torch module. Unknown numbers are symbols:
they are solved if the other layers determine them, and stay symbols if not.
"""

from __future__ import annotations

from pellucid.worked.layers.building import read_specification
from pellucid.worked.layers.table import LayerTable

__all__ = ["LayerTable", "table"]


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
    rows, solved = read_specification(specification)
    return LayerTable("layers", rows, solved, batch=batch, bytes_per_value=bytes_per_value)
