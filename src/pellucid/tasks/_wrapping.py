# SPDX-License-Identifier: Apache-2.0
"""The model inside what training wraps around it."""

from __future__ import annotations

from typing import Any

from torch import nn

__all__ = ["unwrapped"]


def unwrapped(model: nn.Module) -> Any:
    """The model itself, with its own attributes: without the wrappers for several processes and for compilation.

    >>> layer = nn.Linear(2, 1)
    >>> unwrapped(nn.DataParallel(layer)) is layer, unwrapped(layer) is layer
    (True, True)
    """
    inner = getattr(model, "module", model)  # DistributedDataParallel
    return getattr(inner, "_orig_mod", inner)  # torch.compile
