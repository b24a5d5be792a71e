# SPDX-License-Identifier: Apache-2.0
"""Options of `predict` for inpainting, and the task as the other files here need it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol, final

from torch import Tensor, nn

from pellucid.data.targets import Picture
from pellucid.errors import check_choice
from pellucid.tasks._answering import PredictOptions

__all__ = ["InpaintOptions", "InpaintTask"]


class InpaintTask(Protocol):
    """What answers need of the task."""

    @property
    def keeps_size(self) -> bool: ...
    def model_input(self, images: Tensor, mask: Tensor) -> Tensor: ...
    def predict(self, model: nn.Module, input: Tensor) -> Picture: ...


@final
@dataclass(frozen=True)
class InpaintOptions(PredictOptions):
    """Which pixels of the given pictures are missing."""

    mask: tuple[str, ...] = ()
    """mask image of the same size as the picture, white where a pixel is missing: one for all pictures, or one for each"""
    detect: Literal["", "white", "black", "alpha"] = ""
    """treat white, black or transparent (alpha) pixels as missing"""

    def __post_init__(self) -> None:
        if self.detect:
            check_choice("detect", self.detect, ("white", "black", "alpha"))
