# SPDX-License-Identifier: Apache-2.0
"""Somebody's answers checked against a worksheet: the first wrong one, and the likely slip."""

__all__: list[str] = []
