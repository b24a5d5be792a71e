# SPDX-License-Identifier: Apache-2.0
"""The model inside what training wraps around it."""

from __future__ import annotations

from typing import Any

from torch import nn

from pellucid.data.scales import Scale

__all__ = ["scale_of", "unwrapped"]


def unwrapped(model: nn.Module) -> Any:
    """The model itself, with its own attributes: without the wrappers for several processes and for compilation.

    >>> layer = nn.Linear(2, 1)
    >>> unwrapped(nn.DataParallel(layer)) is layer, unwrapped(layer) is layer
    (True, True)
    """
    inner = getattr(model, "module", model)  # DistributedDataParallel
    return getattr(inner, "_orig_mod", inner)  # torch.compile


def scale_of(model: nn.Module) -> Scale | None:
    """What was black and white in a run's training images of more than 8 bits; None where all had 8.

    >>> scale_of(nn.Linear(1, 1)) is None
    True
    """
    recorded = getattr(unwrapped(model), "description", {}).get("range")
    return None if recorded is None else Scale(**recorded)
