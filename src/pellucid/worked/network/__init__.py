# SPDX-License-Identifier: Apache-2.0
"""A dense network in plain NumPy, trained and checked: the lecture's equations, one line each.

`activations` and `objectives` are the functions, `network` the forward and backward pass, `optimisers` the update rules, `training` the
loop with its history, `pictures` its plots. `slope_check` compares one derivative with central differences and finds the cause of a
mismatch; `gradient_check` does so for all parameters. Imports no other room.
"""

__all__: list[str] = []
