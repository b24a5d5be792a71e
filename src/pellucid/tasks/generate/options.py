# SPDX-License-Identifier: Apache-2.0
"""What the parts of a generative task know of each other: the options of `predict`, and what each kind of model can do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, final

from torch import Tensor, nn

from pellucid.data.dataset import Batch
from pellucid.data.draws import Draws
from pellucid.errors import UsageError
from pellucid.tasks._contract import NamedFigure, PredictOptions
from pellucid.tasks._metrics import Measure

__all__ = ["GenerateOptions", "Generating", "check_choice"]

_CHOICES = {
    "family": ("auto", "vae", "gan"),
    "likelihood": ("bernoulli", "gaussian"),
    "binarise": ("dynamic", "static"),
    "objective": ("non_saturating", "least_squares", "wasserstein"),
}


class Generating(Protocol):
    """A generative task, as the files beside it see it."""

    def prepare(self, batch: Batch, draws: Draws, training: bool) -> tuple[Tensor, Any]: ...

    def samples(self, model: nn.Module, count: int, seed: int) -> Tensor: ...

    def made(self, model: nn.Module, drawn: Tensor) -> Tensor: ...

    def encode(self, model: nn.Module, images: Tensor) -> Tensor: ...

    def likelihood(self, model: nn.Module, seen: Any, seed: int) -> tuple[Measure, list[dict[str, Any]]] | None: ...

    def realness(self, model: nn.Module, pictures: Tensor) -> Tensor | None: ...

    def code_figures(self, model: nn.Module, seen: Any, seed: int) -> Sequence[NamedFigure]: ...


@final
@dataclass(frozen=True)
class GenerateOptions(PredictOptions):
    """Make new pictures, interpolate between two, or vary numbers of a code; each gives single pictures and a sheet of them."""

    samples: int = 0
    """make this many new pictures"""
    seed: int = 0
    """of the codes that pictures are made from"""
    interpolate: tuple[str, ...] = ()
    """two images to interpolate between, through their codes"""
    vary: tuple[int, ...] = ()
    """numbers of the code to vary, one after another, from -3 to 3; the others stay those of the given image, or of the seed"""
    steps: int = 8
    """pictures between the two images, or between the ends of what is varied"""


def check_choice(name: str, value: str) -> None:
    """Refuse a value that an option does not know."""
    if value not in _CHOICES[name]:
        raise UsageError(f"{name}={value!r}: is not known; choose {', '.join(_CHOICES[name])}.")
