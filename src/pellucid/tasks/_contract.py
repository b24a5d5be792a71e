# SPDX-License-Identifier: Apache-2.0
"""What a task is: one question asked of images, told in the order in which it is answered."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from pellucid.data.dataset import Batch, Dataset, Split
from pellucid.data.draws import Draws
from pellucid.data.targets import Target

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Measure", "Records", "Task"]

Records = Mapping[str, NDArray[Any]]
"""Per-image columns, one row an image: what `Task.score` yields and `Task.summary` reads."""


@dataclass(frozen=True)
class Measure:
    """A number with its 95 % interval over the images, its unit, and which way is better.

    As a text it stands to the digit that the interval's width leaves a meaning.

    >>> str(Measure(0.98901, 0.97802, 0.99725)), str(Measure(25.1234, 24.9, 25.3, "dB"))
    ('0.989 (0.978–0.997)', '25.12 (24.90–25.30)')
    """

    value: float
    low: float
    high: float
    unit: str = ""  # "", "dB", "%"
    better: str = "higher"  # "higher" | "lower" | "neither"

    def __str__(self) -> str:
        value, low, high = (math.nan if x is None else x for x in (self.value, self.low, self.high))  # JSON has no NaN
        if not math.isfinite(value):
            return "–"
        width = high - low
        if not math.isfinite(width):
            return f"{value:.4g}"
        digits = min(max(1 - math.floor(math.log10(width)), 0), 6) if width > 0 else 4
        shown = [f"{x:.{digits}f}" for x in (value, low, high)]
        return f"{shown[0]} ({shown[1]}–{shown[2]})"


class Task(ABC):
    """One question. Concrete tasks are frozen dataclasses: their fields are the task's options.

    The machinery calls the methods in the order in which they stand here and knows nothing else about a task.
    """

    example: ClassVar[str]  # the embedded dataset that it runs on by default
    default_model: ClassVar[str]  # a name in models/
    accepts: ClassVar[tuple[str, ...]]  # the model `output` kinds that fit: "vector", "map", "latent"
    keeps_size: ClassVar[bool]  # True: images are answered at their own size (crops in training); False: resized
    main: ClassVar[str]  # the measure that decides (best weights, comparison), a key of `summary`

    @abstractmethod
    def read(self, data: Dataset) -> Dataset:
        """The dataset as this task uses it; raises `DataError` where it lacks what the task needs. Looks, never decodes."""

    @abstractmethod
    def outputs(self, data: Dataset) -> int:
        """How many outputs its model has: classes of a vector, channels of a map."""

    @abstractmethod
    def prepare(self, batch: Batch, draws: Draws, training: bool) -> tuple[Tensor, Target]:
        """Input (B, C, H, W) float32 in [0, 1] and the truth; augmentation and noise happen here, from `draws`."""

    @abstractmethod
    def loss(self, model: nn.Module, input: Tensor, target: Target) -> dict[str, Tensor]:
        """{"loss": scalar, and its parts by name}, differentiable."""

    def players(self, model: nn.Module) -> dict[str, nn.Module]:
        """The modules that are optimised apart, by name; a task with several yields each of them from `steps`."""
        return {"model": model}

    def steps(self, model: nn.Module, input: Tensor, target: Target) -> Iterator[tuple[nn.Module, dict[str, Tensor]]]:
        """Each player's module with its losses, one after another; the default has a single player."""
        yield model, self.loss(model, input, target)

    @abstractmethod
    def predict(self, model: nn.Module, input: Tensor) -> Target:
        """The answer for a batch of inputs (B, C, H, W) float32 in [0, 1]."""

    @abstractmethod
    def score(self, input: Tensor, prediction: Target, target: Target) -> dict[str, NDArray[Any]]:
        """What is measured of each image: columns with B rows."""

    @abstractmethod
    def summary(self, records: Records, classes: Sequence[str], seed: int = 0) -> dict[str, Measure]:
        """The measures over all images, with 95 % bootstrap intervals; the first is not special, `main` is."""

    def details(self, records: Records, classes: Sequence[str]) -> dict[str, Any]:
        """JSON-able tables that are not single numbers (a confusion matrix, per-class counts); default none."""
        return {}

    @abstractmethod
    def ranking(self, records: Records) -> NDArray[np.float64]:
        """(N,): how good each image's answer is, higher is better; it orders the best and worst examples."""

    @abstractmethod
    def per_image(self, records: Records) -> NDArray[np.float64]:
        """(N,): each image's share in the deciding measure, which is their mean; differences of runs are tested on it."""

    @abstractmethod
    def baselines(self, train: Split, test: Split, size: tuple[int, int] | None, seed: int = 0) -> dict[str, Records]:
        """The trivial and the classical answers' records on the test images, in the order of the model's own records.

        The truth and the inputs are those that `prepare` gives with `Draws.images(seed, index)`; images are brought
        to `size` as the model's are (None: their own). Where all test images would take too long, records of some of
        them have an "index" column with their positions.
        """

    @abstractmethod
    def write(self, prediction: Target, names: Sequence[str], classes: Sequence[str]) -> list[dict[str, Any]]:
        """One JSON-able row an image ({"name": …}); a row's "picture" key, if any, is a uint8 (C, H, W) array to be saved."""

    @abstractmethod
    def draw(
        self, input: Tensor, prediction: Target, target: Target | None, names: Sequence[str], classes: Sequence[str]
    ) -> Figure:
        """A picture of a few images with truth and prediction side by side."""

    @abstractmethod
    def evidence(self, output: Tensor) -> Tensor:
        """(B,): the scalar of the model's output that a lens follows."""
