# SPDX-License-Identifier: Apache-2.0
"""Layer tables: sizes, parameters and multiply–accumulates of a network, each with its formula.

`layers.table` takes a text: `specification` reads its lines and solves for unknown numbers, `building` computes a row for each layer
with the formulas of `sizes`, `table` adds the totals and prints. Sizes are SymPy expressions, so unknowns may stay symbols. The bridge
to torch modules fills the same rows. Imports no other room.
"""

__all__: list[str] = []
