# SPDX-License-Identifier: Apache-2.0
"""Bridges from torch modules to the worked half: worksheets, layer tables and gradient checks.

`worksheet` traces a small module and writes its equations (`equations`; `attending`, `normalising` and `spreading` for attention, norms
and transposed convolutions) and loss (`losses`). `tables` runs a module once without data
(`tracing`) and makes a row of each layer call (`rows`). `gradients` checks autograd by central differences. The only room that imports
both torch and `worked`.
"""

__all__: list[str] = []
