# SPDX-License-Identifier: Apache-2.0
"""Lenses: ways of looking into a model or a run, one a file. `lenses/confusion.py` is the lens `confusion`."""

from pellucid.lenses._contract import Labelled, Lens, Subject, Trial, View
from pellucid.lenses._layers import guarded

__all__ = ["Labelled", "Lens", "Subject", "Trial", "View", "guarded"]
