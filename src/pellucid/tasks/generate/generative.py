# SPDX-License-Identifier: Apache-2.0
"""What variational autoencoders and adversarial networks share as tasks: codes become pictures, and samples are measured."""

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
from pellucid.data.targets import Target
from pellucid.tasks._contract import ModelMeasures, NamedFigure, PredictOptions, Task
from pellucid.tasks._metrics import Measure
from pellucid.tasks._records import Records
from pellucid.tasks.generate import answers, chance, model_measures
from pellucid.tasks.generate.likelihood import Drawn, plain
from pellucid.tasks.generate.options import GenerateOptions

__all__ = ["Generative", "numpy"]

_AT_ONCE = 500  # pictures made at a time

Answer = TypeVar("Answer", bound=Target)


@dataclass(frozen=True)
class Generative(Task[Tensor, Answer, Drawn]):
    """A task whose model turns codes into pictures."""

    asked: Mapping[str, Any] = field(
        default_factory=dict, kw_only=True
    )  # the options of `generate`, as run.json keeps them

    example: ClassVar[str] = "digits"
    keeps_size: ClassVar[bool] = False
    predict_options: ClassVar[type[PredictOptions]] = GenerateOptions

    @property
    def options(self) -> dict[str, Any]:
        return dict(self.asked)

    @property
    @abstractmethod
    def words(self) -> str:
        """What is minimised, in a few words."""

    @abstractmethod
    def decode(self, model: nn.Module, codes: Tensor) -> Tensor:
        """Pictures (N, C, H, W) in [0, 1] of codes (N, latent), all at once."""

    @abstractmethod
    def encode(self, model: nn.Module, images: Tensor) -> Tensor:
        """The mean codes (N, latent) of images (N, C, H, W); raises `UsageError` where the model has no encoder."""

    def outputs(self, data: Dataset, size: tuple[int, int]) -> int:
        return data.channels

    def samples(self, model: nn.Module, count: int, seed: int) -> Tensor:
        """(N, C, H, W) in [0, 1]: pictures of codes drawn from the prior; the first are the same however many there are."""
        return self.made(model, chance.codes(plain(model), count, seed))

    def made(self, model: nn.Module, drawn: Tensor) -> Tensor:
        """Pictures (N, C, H, W) in [0, 1] of codes (N, latent), some at a time."""
        with torch.no_grad():
            return torch.cat([self.decode(model, part) for part in drawn.split(_AT_ONCE)])

    def snapshot(self, model: nn.Module, seed: int) -> Tensor:
        """Samples from the same 64 codes every time."""
        return self.samples(model, 64, seed)

    def likelihood(self, model: nn.Module, seen: Any, seed: int) -> tuple[Measure, list[dict[str, Any]]] | None:
        """−log p of held-out images and how it was computed, where there is a likelihood."""
        return None

    def realness(self, model: nn.Module, pictures: Tensor) -> Tensor | None:
        """(N,): how real a discriminator takes pictures to be, where there is one."""
        return None

    def code_figures(self, model: nn.Module, seen: Any, seed: int) -> Sequence[NamedFigure]:
        """Figures that need an encoder."""
        return ()

    @abstractmethod
    def array_baselines(self, train: Tensor, test: Tensor, seed: int) -> dict[str, Records]:
        """The records of simple distributions, from images (N, C, H, W) as the model is given them."""

    def baselines(self, train: Split, test: Split, size: tuple[int, int] | None, seed: int = 0) -> dict[str, Records]:
        return self.array_baselines(*model_measures.arrays(self, train, test, size, seed), seed)

    def measure_model(
        self, model: nn.Module, train: Split, test: Split, size: tuple[int, int] | None, seed: int = 0
    ) -> ModelMeasures:
        """The samples' modes, spread and distance from real images, the likelihood where there is one, and pictures."""
        return model_measures.measure_model(self, model, train, test, size, seed)

    def answer(
        self, model: nn.Module, images: Any, options: GenerateOptions, classes: Sequence[str]
    ) -> list[dict[str, Any]] | None:
        """Samples, interpolations and variations; None where images are to be answered."""
        return answers.answer(self, model, images, options)

    def evidence(self, output: Tensor) -> Tensor:
        """The mean of what the model gives: the decoder's numbers, or the discriminator's score."""
        return output.float().flatten(1).mean(1)


def numpy(columns: Mapping[str, Tensor]) -> dict[str, NDArray[Any]]:
    """Columns of records from tensors."""
    return {name: np.asarray(column.float().cpu().numpy()) for name, column in columns.items()}
