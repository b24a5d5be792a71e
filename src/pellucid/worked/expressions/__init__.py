# SPDX-License-Identifier: Apache-2.0
"""Symbolic expressions: arithmetic, functions, evaluation and differentiation."""

__all__: list[str] = []
