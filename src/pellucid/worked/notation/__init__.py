# SPDX-License-Identifier: Apache-2.0
"""Worksheets read from text and from Python."""

__all__: list[str] = []
