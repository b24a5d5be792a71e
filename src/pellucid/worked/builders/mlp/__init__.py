# SPDX-License-Identifier: Apache-2.0
"""mlp: a small network of neurons, from a table of the weights, the bias and the activation of each."""

from pellucid.worked.builders.mlp.mlp import MLP

__all__ = ["MLP"]
