# SPDX-License-Identifier: Apache-2.0
"""What a task is: one question asked of images, told in the order in which it is answered."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from pellucid.data.dataset import Batch, Dataset, Split
from pellucid.data.draws import Draws
from pellucid.data.targets import Target
from pellucid.models import OutputKind

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Measure", "ModelMeasures", "NamedFigure", "PredictOptions", "Records", "Task"]

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


@dataclass(frozen=True)
class NamedFigure:
    """A picture for the report: its file's name, its title, a sentence below it, and the figure."""

    name: str
    title: str
    words: str
    figure: Figure


@dataclass(frozen=True)
class ModelMeasures:
    """What is measured of a model as a whole rather than of each image, and what is drawn of it."""

    measures: Mapping[str, Measure] = field(default_factory=dict)
    details: Mapping[str, Any] = field(default_factory=dict)  # JSON-able; lists of rows become tables
    pictures: Sequence[NamedFigure] = ()


@dataclass(frozen=True)
class PredictOptions:
    """What may be asked of a model besides answers for images; a task's own has fields, which are options of `predict`."""


class Task(ABC):
    """One question. Concrete tasks are frozen dataclasses: their fields are the task's options.

    The machinery calls the methods in the order in which they stand here and knows nothing else about a task. What an
    answer needs lies in the model, as parameters or buffers: a task is its options only.
    """

    example: ClassVar[str]  # the embedded dataset that it runs on by default
    default_model: ClassVar[str]  # a name in models/
    accepts: ClassVar[tuple[OutputKind, ...]]  # the kinds of model output that fit
    predict_options: ClassVar[type[PredictOptions]] = PredictOptions  # what else `predict` may be asked
    selects_checkpoint: ClassVar[bool] = (
        True  # whether the validation's `main` picks the weights that are kept; else the last stay
    )

    @property
    @abstractmethod
    def keeps_size(self) -> bool:
        """Whether images are answered at their own size, and training sees crops; else all are resized."""

    @property
    @abstractmethod
    def main(self) -> str:
        """The measure that decides (best weights, comparison), a key of `summary`."""

    @classmethod
    def defaults(cls, model: str) -> dict[str, Any]:
        """The training options (fields of `Recipe`) whose default differs for this task with this model."""
        return {}

    def for_model(self, model: str) -> Self:
        """This task as a model of this name needs it; raises `UsageError` where an option rules that model out."""
        return self

    @abstractmethod
    def read(self, data: Dataset) -> Dataset:
        """The dataset as this task uses it; raises `DataError` where it lacks what the task needs. Looks, never decodes."""

    def inputs(self, data: Dataset) -> int:
        """How many planes its model's input has: by default the images' channels."""
        return data.channels

    @abstractmethod
    def outputs(self, data: Dataset, size: tuple[int, int]) -> int:
        """How many outputs its model has: classes of a vector, channels of a map; images are trained on at `size` (H, W)."""

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

    @property
    def lr_factors(self) -> Mapping[str, float]:
        """Factors on the learning rate, by player; 1 for those that are not named."""
        return {}

    def update_buffers(  # noqa: B027  (nothing is what most tasks need)
        self, model: nn.Module, batches: Callable[[], Iterator[Batch]], epoch: int, epochs: int, seed: int
    ) -> None:
        """Compute what the model keeps in its buffers from all training images: centres, tables, a schedule's value.

        Called before the first epoch (`epoch` = 0) and after each one, before validation, without gradients. `batches()`
        goes through the training images once, in order. Where weights are averaged, the averaged model has its own call.
        """

    def snapshot(self, model: nn.Module, seed: int) -> Tensor | None:
        """(N, C, H, W) float in [0, 1]: pictures of the model at work after an epoch, e.g. samples; by default none."""
        return None

    @abstractmethod
    def predict(self, model: nn.Module, input: Tensor) -> Target:
        """The answer for a batch of inputs (B, C, H, W) float32 in [0, 1]."""

    @abstractmethod
    def score(self, input: Tensor, prediction: Target, target: Target) -> dict[str, NDArray[Any]]:
        """What is measured of each image: columns with B rows.

        Which classes are taken for which, the lens `confusion` and the report read from either of two forms. A task that
        gives each image one class has "true" and "predicted" (B,), and "probabilities" (B, K) if it knows them. A task that
        gives classes to pixels, or to other parts of an image, has "confusion": (B, K, K), or flat (B, K·K), the number of
        the image's pixels of each true class (row) that were taken for each class (column). K are the dataset's classes,
        a background among them if it is one; pixels without a truth are not counted. int32 is enough for an image.
        """

    def measure(self, model: nn.Module, input: Tensor, target: Target) -> dict[str, NDArray[Any]]:
        """What is measured of each image; by default the score of the prediction. A likelihood needs the model itself."""
        return self.score(input, self.predict(model, input), target)

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

    def measure_model(
        self, model: nn.Module, train: Split, test: Split, size: tuple[int, int] | None, seed: int = 0
    ) -> ModelMeasures:
        """What is measured of the model as a whole, beside the baselines, and drawn of it; by default nothing."""
        return ModelMeasures()

    def answer(
        self, model: nn.Module, images: Any, asked: PredictOptions, classes: Sequence[str]
    ) -> list[dict[str, Any]] | None:
        """Rows as `write` gives them, where this task answers in a way of its own; None: image by image, as `predict` does.

        Args:
            model: in eval mode.
            images: as they were handed over: files, folders, arrays, or nothing.
            asked: the task's `predict_options`, with its options.
            classes: the names of the dataset's classes.
        """
        return None

    @abstractmethod
    def write(self, prediction: Target, names: Sequence[str], classes: Sequence[str]) -> list[dict[str, Any]]:
        """One JSON-able row an image ({"name": …}).

        A row's "picture", if any, is a uint8 (C, H, W) array that is saved as PNG; its "content", if any, bytes that are
        saved under the row's name with its "suffix", e.g. ".plc".
        """

    @abstractmethod
    def draw(
        self, input: Tensor, prediction: Target, target: Target | None, names: Sequence[str], classes: Sequence[str]
    ) -> Figure:
        """A picture of a few images with truth and prediction side by side."""

    @abstractmethod
    def evidence(self, output: Tensor) -> Tensor:
        """(B,): the scalar of the model's output that a lens follows."""
