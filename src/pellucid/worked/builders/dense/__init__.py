# SPDX-License-Identifier: Apache-2.0
"""dense: a layer with dropout, at test time and in training; in symbols, forwards and backwards."""

from pellucid.worked.builders.dense.dense import Dense

__all__ = ["Dense"]
