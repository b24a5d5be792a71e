# SPDX-License-Identifier: Apache-2.0
"""What the tasks of variational autoencoders and of adversarial networks share: codes become pictures, samples are measured."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pellucid.data.dataset import Dataset, Split
from pellucid.data.fits import Fit
from pellucid.data.targets import Target
from pellucid.tasks._answering import PredictOptions
from pellucid.tasks._contract import ModelMeasures, NamedFigure, Task
from pellucid.tasks._metrics import Measure
from pellucid.tasks._records import Records
from pellucid.tasks._wrapping import unwrapped
from pellucid.tasks.generate import answers, model_measures, seeded
from pellucid.tasks.generate.likelihood import SeededImages
from pellucid.tasks.generate.options import GenerateOptions

__all__ = ["Generative", "as_columns"]

_AT_ONCE = 500  # codes decoded at a time
_SNAPSHOT = 64  # samples after each epoch

Answer = TypeVar("Answer", bound=Target)


@dataclass(frozen=True)
class Generative(Task[Tensor, Answer, SeededImages]):
    """A task whose model turns codes into pictures."""

    # the options of `generate` that it was made from, as run.json keeps them
    recorded: Mapping[str, Any] = field(default_factory=dict, kw_only=True)

    example: ClassVar[str] = "digits"
    keeps_size: ClassVar[bool] = False
    predict_options: ClassVar[type[PredictOptions]] = GenerateOptions

    @property
    def options(self) -> dict[str, Any]:
        return dict(self.recorded)

    @property
    def fitting(self) -> Fit:
        return "crop" if self.recorded.get("fit") == "crop" else "squash"

    @property
    @abstractmethod
    def summary(self) -> str:
        """What is minimised, in a few words."""

    @abstractmethod
    def decode(self, model: nn.Module, codes: Tensor) -> Tensor:
        """Pictures (N, C, H, W) in [0, 1] of codes (N, latent), in one batch."""

    @abstractmethod
    def encode(self, model: nn.Module, images: Tensor) -> Tensor:
        """The mean codes (N, latent) of images (N, C, H, W); raises `UsageError` where the model has no encoder."""

    def outputs(self, data: Dataset, size: tuple[int, int]) -> int:
        return data.channels

    def samples(self, model: nn.Module, count: int, seed: int) -> Tensor:
        """(count, C, H, W) in [0, 1]: pictures of codes drawn from the prior; a larger count only adds pictures at the end."""
        return self.decode_all(model, seeded.codes(unwrapped(model), count, seed))

    def decode_all(self, model: nn.Module, codes: Tensor) -> Tensor:
        """Pictures (N, C, H, W) in [0, 1] of any number of codes (N, latent), some at a time."""
        with torch.no_grad():
            return torch.cat([self.decode(model, part) for part in codes.split(_AT_ONCE)])

    def snapshot(self, model: nn.Module, seed: int) -> Tensor:
        """Samples from the same 64 codes every time."""
        return self.samples(model, _SNAPSHOT, seed)

    def likelihood(self, model: nn.Module, held_out: Any, seed: int) -> tuple[Measure, list[dict[str, Any]]] | None:
        """−log p of held-out images and how it was estimated; None for a model without a likelihood."""
        return None

    def realness(self, model: nn.Module, pictures: Tensor) -> Tensor | None:
        """(N,): the discriminator's scores of pictures; None for a model without a discriminator."""
        return None

    def code_figures(self, model: nn.Module, held_out: Any, seed: int) -> Sequence[NamedFigure]:
        """Figures that need an encoder."""
        return ()

    @abstractmethod
    def array_baselines(self, train: Tensor, test: Tensor, seed: int) -> dict[str, Records]:
        """The records of simple distributions, from images (N, C, H, W) as the model's input."""

    def baselines(self, train: Split, test: Split, size: tuple[int, int] | None, seed: int = 0) -> dict[str, Records]:
        return self.array_baselines(*model_measures.arrays(self, train, test, size, seed), seed)

    def measure_model(
        self, model: nn.Module, train: Split, test: Split, size: tuple[int, int] | None, seed: int = 0
    ) -> ModelMeasures:
        """The samples' modes, variety and distance from real images, the likelihood where there is one, and pictures."""
        return model_measures.measure_model(self, model, train, test, size, seed)

    def answer(
        self, model: nn.Module, images: Any, options: GenerateOptions, classes: Sequence[str]
    ) -> list[dict[str, Any]] | None:
        """Samples, interpolations and traversals; None where images are to be answered one by one."""
        return answers.answer(self, model, images, options)

    def evidence(self, output: Tensor) -> Tensor:
        """The mean of the model's output: of the decoder's maps, or the discriminator's score."""
        return output.float().flatten(1).mean(1)


def as_columns(tensors: Mapping[str, Tensor]) -> dict[str, NDArray[Any]]:
    """Columns of records from tensors."""
    return {name: np.asarray(tensor.float().cpu().numpy()) for name, tensor in tensors.items()}
