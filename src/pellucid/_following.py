# SPDX-License-Identifier: Apache-2.0
"""What a lens follows of an answer that has many parts: one of them, chosen in the answer to the unchanged image."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, final

from torch import Tensor, nn

__all__ = ["Followed"]


def _whole(model: nn.Module) -> nn.Module:
    return model


@final
@dataclass(frozen=True)
class Followed:
    """A score, and what it is of.

    >>> Followed(lambda output: output.mean(1)).name
    'score'
    """

    score: Callable[[Any], Tensor]  # a model's output for B images -> (B,), differentiable
    name: str = "score"  # in few words, e.g. "cat 0.98"
    unit: str = ""  # of the score
    words: str = ""  # a sentence that says how the score of a changed image is found
    box: tuple[float, float, float, float] | None = None  # x0, y0, x1, y1 in px: where it is in the image
    # a model -> the same without the parts of its output that the score does not read
    narrowed: Callable[[nn.Module], nn.Module] = _whole

    def titled(self, value: float) -> str:
        """A value of the score, in few words.

        >>> Followed(lambda output: output, "cat 0.98", "log-odds").titled(3.9)
        'cat 0.98: log-odds 3.9'
        """
        return f"{self.name}: {f'{self.unit} ' if self.unit else ''}{value:.3g}"
