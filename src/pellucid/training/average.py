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

    It averages the weights after each step, and not those before the first: the sum is divided by the shares that are in it
    (as by Kingma & Ba 2015, section 3). So a training of few steps is not held back by weights drawn at random.

    >>> layer = nn.Linear(1, 1, bias=False)
    >>> average = Average(layer, decay=0.5)
    >>> for step, value in ((1, 3.0), (2, 6.0)):
    ...     _ = layer.weight.data.fill_(value)
    ...     average.update(layer, step)
    ...     print(average.model.weight.item())
    3.0
    5.0
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.of_steps = True  # alone: not so where an earlier version began, whose first weights count too
        self.model = copy.deepcopy(model).requires_grad_(False)

    @torch.no_grad()
    def update(self, model: nn.Module, step: int) -> None:
        """Move the average towards the model as it is after so many steps, from 1 on: by (1 − decay) of the way in the long run."""
        share = (1 - self.decay) / (1 - self.decay**step if self.of_steps else 1)
        mine: list[Tensor] = list(self.model.parameters())
        torch._foreach_lerp_(mine, [parameter.detach() for parameter in model.parameters()], share)
        # batch-norm statistics are running means already
        for own, its in zip(self.model.buffers(), model.buffers(), strict=True):
            own.copy_(its)
