# SPDX-License-Identifier: Apache-2.0
"""Lenses: ways of looking into a model or a run. `lenses/confusion` is the lens `confusion`."""

from pellucid.lenses._contract import Lens, View, parts_of
from pellucid.lenses._layers import guarded
from pellucid.lenses._pages import Pages
from pellucid.lenses._parts import Evaluation, Labelled, Network, Part, Splits, Training, TrainingLog, Trial

__all__ = [
    "Evaluation",
    "Labelled",
    "Lens",
    "Network",
    "Pages",
    "Part",
    "Splits",
    "Training",
    "TrainingLog",
    "Trial",
    "View",
    "guarded",
    "parts_of",
]
