# SPDX-License-Identifier: Apache-2.0
"""Iterated functions: fixed points, cycles, and where starting points end."""

__all__: list[str] = []
