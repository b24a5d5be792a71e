# SPDX-License-Identifier: Apache-2.0
"""Options of `predict` for generative models, the choices of options, and the task as the other files here need it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, final

from torch import Tensor, nn

from pellucid.data.dataset import Batch
from pellucid.data.draws import Draws
from pellucid.data.fits import Fit
from pellucid.tasks._answering import PredictOptions
from pellucid.tasks._contract import NamedFigure
from pellucid.tasks._metrics import Measure

__all__ = ["CHOICES", "GenerateOptions", "GenerativeTask"]

CHOICES = {
    "family": ("auto", "vae", "gan"),
    "fit": ("squash", "crop"),  # padding would be learned
    "likelihood": ("bernoulli", "gaussian"),
    "binarise": ("dynamic", "static"),
    "objective": ("non_saturating", "least_squares", "wasserstein"),
}
"""The values of each option of `generate` that has a fixed list of them."""


class GenerativeTask(Protocol):
    """What a VAE's and a GAN's task have in common, as far as answers and measures need it (see `Generative`)."""

    @property
    def fitting(self) -> Fit: ...

    def prepare(self, batch: Batch, draws: Draws, training: bool) -> tuple[Tensor, Any]: ...

    def samples(self, model: nn.Module, count: int, seed: int) -> Tensor: ...

    def decode_all(self, model: nn.Module, codes: Tensor) -> Tensor: ...

    def encode(self, model: nn.Module, images: Tensor) -> Tensor: ...

    def likelihood(self, model: nn.Module, held_out: Any, seed: int) -> tuple[Measure, list[dict[str, Any]]] | None: ...

    def realness(self, model: nn.Module, pictures: Tensor) -> Tensor | None: ...

    def code_figures(self, model: nn.Module, held_out: Any, seed: int) -> Sequence[NamedFigure]: ...


@final
@dataclass(frozen=True)
class GenerateOptions(PredictOptions):
    """Generate pictures, interpolate between two, or vary dimensions of a code; each gives single pictures and a sheet."""

    samples: int = 0
    """number of new pictures to generate"""
    seed: int = 0
    """seed of the random codes"""
    interpolate: tuple[str, ...] = ()
    """two images to interpolate between, by way of their codes"""
    vary: tuple[int, ...] = ()
    """dimensions of the code to vary, one after another, from -3 to 3; the others keep the values of the given image, or of the seed"""
    steps: int = 8
    """pictures between the two images, or between the ends of the varied range"""
