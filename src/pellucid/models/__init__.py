# SPDX-License-Identifier: Apache-2.0
"""Models: plain modules from float images in [0, 1] to an output, one family per file; `models/mlp.py` is the model `mlp`."""

from pellucid.models._contract import (
    MARGIN,
    AnswersAround,
    Compressed,
    Distribution,
    OutputKind,
    Proposals,
    Refines,
    Regions,
    Steps,
    Stepwise,
    Whitens,
)
from pellucid.models._layers import Frozen, Normalize, Replay

__all__ = [
    "MARGIN",
    "AnswersAround",
    "Compressed",
    "Distribution",
    "Frozen",
    "Normalize",
    "OutputKind",
    "Proposals",
    "Refines",
    "Regions",
    "Replay",
    "Steps",
    "Stepwise",
    "Whitens",
]
