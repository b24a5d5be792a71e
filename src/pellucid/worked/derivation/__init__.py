# SPDX-License-Identifier: Apache-2.0
"""Derivations in symbols: a derivative with one named rule per line, and proofs line by line.

`rules` differentiates and records each rule; below it, `terms` builds sums and products, `indexed` knows names such as z_j, `text` prints.
`derivation` simplifies the result with SymPy and checks every line at random points. `proofs` holds known equalities, whose lines are
checked in symbols and in numbers. Imports `expressions` and `notation`.
"""

__all__: list[str] = []
