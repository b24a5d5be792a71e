# SPDX-License-Identifier: Apache-2.0
"""What an exported file gives where a model scores classes: their probabilities, or on request the scores before the softmax."""

from __future__ import annotations

from typing import Any, final

import torch
from torch import Tensor, nn

from pellucid import _scores
from pellucid.errors import UsageError
from pellucid.tasks._wrapping import unwrapped

__all__ = ["LOGITS", "PROBABILITIES", "Probabilities", "named_output"]

PROBABILITIES, LOGITS = "probabilities", "logits"


@final
class Probabilities(nn.Module):
    """A model with the softmax of its scores behind it, or what else makes probabilities of them.

    >>> Probabilities(nn.Flatten(), "logits")(torch.zeros(1, 4)).tolist()
    [[0.25, 0.25, 0.25, 0.25]]

    Args:
        model: gives scores (B, K) of images, or (B, K, H, W) of their pixels.
        kind: what these are.
    """

    def __init__(self, model: nn.Module, kind: _scores.Kind) -> None:
        super().__init__()
        self.model, self.kind = model, kind
        self.fixed_size = getattr(model, "fixed_size", None)
        self.eval()

    def forward(self, images: Tensor) -> Tensor:
        return _scores.probabilities(self.model(images), self.kind)


@torch.no_grad()
def named_output(model: nn.Module, logits: bool) -> tuple[nn.Module, str]:
    """The module that a file holds, and the name of its output: probabilities of the classes, or the scores before them.

    Raises:
        UsageError: scores are asked for, and the model gives probabilities itself.
    """
    described: Any = unwrapped(model).description
    images = torch.rand(1, described["channels"], *described["size"], generator=torch.Generator().manual_seed(0))
    output = model(images)
    kind: _scores.Kind = _scores.kind_of(model, output, lambda: images) if output.ndim == 2 else "logits"
    if logits and kind != "logits":
        raise UsageError(
            "logits=True: the model itself gives no logits but probabilities, or a single score; leave it out."
        )
    return (model, LOGITS) if logits else (Probabilities(model, kind), PROBABILITIES)
