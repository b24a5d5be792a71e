# SPDX-License-Identifier: Apache-2.0
"""The moving average of a model's weights, which is often better than the weights of any one step."""

from __future__ import annotations

import copy
from typing import final

import torch
from torch import Tensor, nn

__all__ = ["Average"]


@final
class Average:
    """The exponential moving average of a model's parameters; buffers are copied (Polyak & Juditsky 1992).

    >>> layer = nn.Linear(1, 1, bias=False)
    >>> average = Average(layer, decay=0.5)
    >>> with torch.no_grad():
    ...     before = layer.weight.item(); _ = layer.weight.add_(1.0)
    >>> average.update(layer)
    >>> round(average.model.weight.item() - before, 6)
    0.5
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.model = copy.deepcopy(model).requires_grad_(False)

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Move the average (1 − decay) of the way to the model."""
        mine: list[Tensor] = list(self.model.parameters())
        torch._foreach_lerp_(mine, [parameter.detach() for parameter in model.parameters()], 1 - self.decay)
        # batch-norm statistics are running means already
        for own, its in zip(self.model.buffers(), model.buffers(), strict=True):
            own.copy_(its)
