# SPDX-License-Identifier: Apache-2.0
"""What a task is: one question asked of images, told in the order in which it is answered.

`Task` holds what every task has. What only some tasks do is a small protocol beside it, which the machinery asks for with
`isinstance`: several players (`MultiPlayer`), buffers computed between epochs (`UpdatesBuffers`), pictures after each epoch
(`Snapshots`), measures that need the model itself (`MeasuresWithModel`), measures of the model as a whole (`MeasuresModel`),
and options of `predict` (`AnswersOptions`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Protocol, Self, TypeAlias, TypeVar, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from pellucid._options import values_of
from pellucid.data.dataset import Batch, Dataset, Split
from pellucid.data.draws import Draws
from pellucid.data.targets import Target
from pellucid.models import OutputKind
from pellucid.tasks._metrics import Measure, Metric
from pellucid.tasks._records import Records

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = [
    "AnswersOptions",
    "AnyTask",
    "MeasuresModel",
    "MeasuresWithModel",
    "ModelMeasures",
    "MultiPlayer",
    "NamedFigure",
    "PredictOptions",
    "Snapshots",
    "Task",
    "TaskFamily",
    "UpdatesBuffers",
    "lr_factors_of",
    "measured",
    "players_of",
    "steps_of",
]

Input = TypeVar("Input")
Prediction = TypeVar("Prediction", bound=Target)
Truth = TypeVar("Truth", bound=Target)

Losses: TypeAlias = dict[str, Tensor]
"""{"loss": scalar, and its parts by name}, differentiable."""


@dataclass(frozen=True)
class NamedFigure:
    """A figure for the report: its file's name, its title, a sentence below it, and the figure."""

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
    """Options of `predict` that a task adds: the fields of its own subclass."""


class _Member(ABC):
    """What is known of a task before its model is."""

    example: ClassVar[str]  # the embedded dataset that it runs on by default
    default_model: ClassVar[str]  # a name in models/
    accepts: ClassVar[tuple[OutputKind, ...]]  # the kinds of model output that fit

    @classmethod
    def defaults(cls, model: str) -> dict[str, Any]:
        """The training options (fields of `Recipe`) whose default differs for this task with this model."""
        return {}

    @property
    def options(self) -> dict[str, Any]:
        """Its options by name, flat, as run.json keeps them."""
        return values_of(self)


class TaskFamily(_Member):
    """Several tasks under one name, whose options it holds: the model says which of them is meant."""

    @abstractmethod
    def for_model(self, model: str) -> AnyTask:
        """The task for a model of this name; raises `UsageError` where an option has no meaning for it."""


class Task(_Member, Generic[Input, Prediction, Truth]):
    """One question. Concrete tasks are frozen dataclasses: their fields are the task's options.

    `Input` is what the model takes, `Prediction` what it answers, `Truth` what is known; the last two are targets, which
    behave as sequences over images. The machinery calls the methods in the order in which they stand here and knows
    nothing else about a task. What an answer needs lies in the model, as parameters or buffers.
    """

    selects_checkpoint: ClassVar[bool] = True  # keep the weights with the best validation measure; else the last ones
    floors: ClassVar[tuple[str, ...]] = ()  # baselines that bound the deciding measure: real images, not an answer
    extra_planes: ClassVar[int] = 0  # planes of the model's input beside the image's own channels, such as a mask

    @property
    @abstractmethod
    def keeps_size(self) -> bool:
        """Whether images are answered at their own size, and training sees crops; else all are resized."""

    def for_model(self, model: str) -> Self:
        """This task as a model of this name needs it; raises `UsageError` where an option rules that model out."""
        return self

    def read(self, data: Dataset) -> tuple[Dataset, Self]:
        """The dataset as this task uses it, and the task with what it learned from it (fields that are `_options.learned`).

        Looks at targets and counts, never decodes an image; raises `DataError` where the data lack what the task needs.
        """
        return data, self

    @abstractmethod
    def outputs(self, data: Dataset, size: tuple[int, int]) -> int:
        """How many outputs its model has: classes of a vector, channels of a map; images are trained on at `size` (H, W)."""

    @abstractmethod
    def prepare(self, batch: Batch, draws: Draws, training: bool) -> tuple[Input, Truth]:
        """The model's input, images (B, C, H, W) float32 in [0, 1], and the truth; augmentation and noise come from `draws`."""

    @abstractmethod
    def loss(self, model: nn.Module, input: Input, truth: Truth) -> Losses:
        """{"loss": scalar, and its parts by name}, differentiable."""

    @abstractmethod
    def predict(self, model: nn.Module, input: Input) -> Prediction:
        """The answer for a batch of inputs."""

    @abstractmethod
    def score(self, input: Input, prediction: Prediction, truth: Truth) -> dict[str, Any]:
        """What is measured of each image: columns with B rows, arrays or `Ragged`.

        The lens `confusion` and the report read which classes are confused with which from either of two forms. A task that
        gives each image one class has "true" and "predicted" (B,), and "probabilities" (B, K) if it knows them. A task that
        gives classes to pixels, or to other parts of an image, has "confusion": (B, K, K), or flat (B, K·K), the number of
        the image's pixels of each true class (row) that were predicted as each class (column). K are the dataset's classes,
        including a background if it is one; pixels without a truth are not counted. int32 is enough for an image.
        """

    @abstractmethod
    def metrics(self, classes: Sequence[str]) -> Sequence[Metric]:
        """The measures over all images. The first one decides: it picks the best weights and orders runs and baselines."""

    def details(self, records: Records, classes: Sequence[str]) -> dict[str, Any]:
        """JSON-able tables that are not single numbers (a confusion matrix, per-class counts); by default none."""
        return {}

    @abstractmethod
    def ranking(self, records: Records) -> NDArray[np.float64]:
        """(N,): how good each image's answer is, higher is better; it orders the best and worst examples."""

    @abstractmethod
    def baselines(self, train: Split, test: Split, size: tuple[int, int] | None, seed: int = 0) -> dict[str, Records]:
        """The records of the trivial and the classical answers on the test images, in the order of the model's own.

        The truth and the inputs are those that `prepare` gives with `Draws.images(seed, index)`; images are brought
        to `size` as the model's are (None: their own). Where all test images would take too long, records of some of
        them have an "index" column with their positions.
        """

    @abstractmethod
    def write(self, prediction: Prediction, names: Sequence[str], classes: Sequence[str]) -> list[dict[str, Any]]:
        """One JSON-able row an image ({"name": …}).

        A row's "picture", if any, is a uint8 (C, H, W) array that is saved as PNG; its "content", if any, bytes that are
        saved under the row's name with its "suffix", e.g. ".plc".
        """

    @abstractmethod
    def draw(
        self, input: Input, prediction: Prediction, truth: Truth | None, names: Sequence[str], classes: Sequence[str]
    ) -> Figure:
        """A picture of a few images with truth and prediction side by side."""

    @abstractmethod
    def evidence(self, output: Any) -> Tensor:
        """(B,): the scalar of the model's output that a lens follows."""


AnyTask: TypeAlias = Task[Any, Any, Any]


# -- what only some tasks do


@runtime_checkable
class MultiPlayer(Protocol):
    """Several modules are optimised apart, one after another, as in an adversarial game."""

    def players(self, model: nn.Module) -> dict[str, nn.Module]:
        """The modules that are optimised apart, by name."""

    def steps(self, model: nn.Module, input: Any, truth: Any) -> Iterator[tuple[nn.Module, Losses]]:
        """Each player's module with its losses, in the order of their turns."""

    @property
    def lr_factors(self) -> Mapping[str, float]:
        """Factors on the learning rate, by player; 1 for those that are not named."""


@runtime_checkable
class UpdatesBuffers(Protocol):
    """The model keeps something that is computed from all training images: centres, tables, a schedule's value."""

    def update_buffers(
        self, model: nn.Module, batches: Callable[[], Iterator[Batch]], epoch: int, epochs: int, seed: int
    ) -> None:
        """Compute it, before the first epoch (`epoch` = 0) and after each one, before validation, without gradients.

        `batches()` goes through the training images once, in order. Where weights are averaged, the averaged model has
        its own call.
        """


@runtime_checkable
class Snapshots(Protocol):
    """The model can be shown at work after each epoch."""

    def snapshot(self, model: nn.Module, seed: int) -> Tensor:
        """(N, C, H, W) float in [0, 1]: pictures of the model at work, e.g. samples."""


@runtime_checkable
class MeasuresWithModel(Protocol):
    """What is measured of an image needs the model itself, as a likelihood does, and not only the answer."""

    def measure(self, model: nn.Module, input: Any, truth: Any) -> dict[str, Any]:
        """Columns with B rows, in the place of `score`'s."""


@runtime_checkable
class MeasuresModel(Protocol):
    """Something is measured of the model as a whole: samples, rate–distortion curves, stability."""

    def measure_model(
        self, model: nn.Module, train: Split, test: Split, size: tuple[int, int] | None, seed: int = 0
    ) -> ModelMeasures:
        """Measured beside the baselines, with pictures for the report."""


@runtime_checkable
class AnswersOptions(Protocol):
    """`predict` has options for this task, and they may change what an answer is: samples, a decoded file, a tree."""

    predict_options: ClassVar[type[PredictOptions]]

    def answer(
        self, model: nn.Module, images: Any, options: Any, classes: Sequence[str]
    ) -> list[dict[str, Any]] | None:
        """Rows as `write` gives them, or None where `predict` is to answer image by image as for other tasks.

        Args:
            model: in eval mode.
            images: as they were handed over: files, folders, arrays, or nothing.
            options: an instance of `predict_options`.
            classes: the names of the dataset's classes.
        """


def players_of(task: AnyTask, model: nn.Module) -> dict[str, nn.Module]:
    """The modules that are optimised apart, by name: a task's players, or the model alone."""
    return task.players(model) if isinstance(task, MultiPlayer) else {"model": model}


def steps_of(task: AnyTask, model: nn.Module, input: Any, truth: Any) -> Iterator[tuple[nn.Module, Losses]]:
    """The modules that take a step on this batch, one after another, each with its losses."""
    if isinstance(task, MultiPlayer):
        yield from task.steps(model, input, truth)
    else:
        yield model, task.loss(model, input, truth)


def lr_factors_of(task: AnyTask) -> Mapping[str, float]:
    """Factors on the learning rate, by player."""
    return task.lr_factors if isinstance(task, MultiPlayer) else {}


def measured(task: AnyTask, model: nn.Module, input: Any, truth: Any) -> dict[str, Any]:
    """What is measured of each image of a batch: columns with B rows."""
    if isinstance(task, MeasuresWithModel):
        return task.measure(model, input, truth)
    return task.score(input, task.predict(model, input), truth)
