# SPDX-License-Identifier: Apache-2.0
"""Expressions as trees: build them, work out their values exactly, differentiate them.

`expression` defines the nodes and `functions` what is known of exp, relu, softmax, …; `evaluation` turns a tree into a number
with the exact `arithmetic`, `differentiation` into the tree of its derivative. `numeric` does both a second time, in float64,
to check them. `position` says where a mistake is. Imports no other room.
"""

__all__: list[str] = []
