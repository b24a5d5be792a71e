# SPDX-License-Identifier: Apache-2.0
"""What a lens is: a way of looking into a model or a run."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray
from torch import Tensor, nn

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Lens", "Sight", "View"]


@dataclass(frozen=True)
class Sight:
    """What there is to look at; each lens uses the part that it needs and says in one sentence what it lacks."""

    model: nn.Module | None = None  # in eval mode; takes float images in [0, 1]
    images: Tensor | None = None  # (B, C, H, W) float32 in [0, 1]
    evidence: Callable[[Tensor], Tensor] | None = None  # output -> (B,) the scalar that is followed
    names: Sequence[str] = ()
    classes: Sequence[str] = ()
    history: Sequence[Mapping[str, Any]] = ()  # rows of history.jsonl
    records: Mapping[str, NDArray[Any]] = field(default_factory=dict)  # per-image columns of an evaluation


@dataclass(frozen=True)
class View:
    """What a lens saw: a figure for people, the numbers, and a line of words."""

    figure: Figure
    numbers: Mapping[str, NDArray[Any]]
    words: str


class Lens(ABC):
    """One way of looking. Concrete lenses are frozen dataclasses: their fields are the lens's options."""

    @abstractmethod
    def look(self, sight: Sight) -> View:
        """The view; leaves no hook and no train/eval change behind, also after an exception."""
