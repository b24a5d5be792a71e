# SPDX-License-Identifier: Apache-2.0
"""Lenses: ways of looking into a model or a run, one a file. `lenses/confusion.py` is the lens `confusion`."""

from pellucid.lenses._contract import Lens, Sight, View

__all__ = ["Lens", "Sight", "View"]
