# SPDX-License-Identifier: Apache-2.0
"""What a task is: one question about images, and the methods that answer it, in the order in which they are called.

`Task` is what every task has. What only some tasks do is a small protocol beside it, which the machinery asks for with
`isinstance`: options set from the training images (`LearnsFromImages`), options of the model that follow from what is sought in
them (`SuitsModel`), several players (`MultiPlayer`), buffers computed between epochs (`UpdatesBuffers`), pictures after each
epoch (`Snapshots`), measures that need the model itself (`MeasuresWithModel`) or cost more than the answer (`MeasuresSlowly`),
measures of the model as a whole (`MeasuresModel`), how far two models' answers agree (`MeasuresAgreement`), figures of all images
(`DrawsRecords`), one part of an answer that a lens follows (`ChoosesEvidence`), and simple methods on a frozen backbone's features
(`BaselinesOnFeatures`). `_answering.py` has those about answers, `_figures.py` reports' figures.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Protocol, Self, TypeAlias, TypeVar, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from pellucid._following import Followed
from pellucid._options import values_of
from pellucid.data.batches import Store
from pellucid.data.dataset import Batch, Dataset, Split
from pellucid.data.draws import Draws
from pellucid.data.fits import Fit
from pellucid.data.targets import Target
from pellucid.models import OutputKind
from pellucid.tasks._metrics import Measure, Metric
from pellucid.tasks._records import Records

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = [
    "AnyTask",
    "BaselinesOnFeatures",
    "ChoosesEvidence",
    "DrawsRecords",
    "KnowsChance",
    "LearnsFromImages",
    "MeasuresAgreement",
    "MeasuresModel",
    "ModelMeasures",
    "MultiPlayer",
    "NamedFigure",
    "Snapshots",
    "SuitsModel",
    "Task",
    "TaskFamily",
    "UpdatesBuffers",
    "lr_factors_of",
    "players_of",
    "steps_of",
]

Input = TypeVar("Input")
Prediction = TypeVar("Prediction", bound=Target)
Truth = TypeVar("Truth", bound=Target)
Features: TypeAlias = NDArray[np.float32]

Losses: TypeAlias = dict[str, Tensor]
"""{"loss": scalar, and its parts by name}, differentiable."""


@dataclass(frozen=True)
class NamedFigure:
    """A figure for the report, with its file name, its title and the caption below it."""

    name: str
    title: str
    words: str  # the caption
    figure: Figure


@dataclass(frozen=True)
class ModelMeasures:
    """Measures of a model as a whole rather than of each image, and figures of it."""

    measures: Mapping[str, Measure] = field(default_factory=dict)
    details: Mapping[str, Any] = field(default_factory=dict)  # JSON-able; lists of rows become tables
    pictures: Sequence[NamedFigure] = ()


class _Member(ABC):
    """What is known of a task before its model."""

    example: ClassVar[str]  # the embedded dataset that is its default
    example_options: ClassVar[Mapping[str, Any]] = {}  # other defaults for it: ahead in three minutes on two cores
    recipes: ClassVar[
        Mapping[str, Mapping[str, Any]]
    ] = {}  # of --recipe: options of task, model and training that go together, and the model where it is another than the default
    default_model: ClassVar[str]  # a name in models/
    accepts: ClassVar[tuple[OutputKind, ...]]  # the kinds of model output that it can use

    @classmethod
    def defaults(cls, model: str) -> dict[str, Any]:
        """Training options (fields of `Recipe`) with another default for this task and model."""
        return {}

    @classmethod
    def model_defaults(cls, model: str) -> dict[str, Any]:
        """Options of a model with another default for this task."""
        return {}

    @property
    def options(self) -> dict[str, Any]:
        """Its options by name, flat, as in run.json."""
        return values_of(self)


class TaskFamily(_Member):
    """Several tasks under one name and with one set of options; the model decides which of them is meant."""

    @abstractmethod
    def for_model(self, model: str) -> AnyTask:
        """The task for a model of this name; raises `UsageError` for an option that has no meaning for it."""


class Task(_Member, Generic[Input, Prediction, Truth]):
    """One question. Concrete tasks are frozen dataclasses: their fields are the task's options.

    `Input` is what the model takes, `Prediction` its answer, `Truth` what is known; the last two are targets, sequences over images.
    The machinery calls the methods in this order and knows nothing else. What an answer needs is in the model.
    """

    selects_checkpoint: ClassVar[bool] = True  # keep the weights that were best in validation; else the last ones
    floors: ClassVar[tuple[str, ...]] = ()  # baselines that bound the deciding measure: real images, not an answer
    restores: ClassVar[bool] = False  # the answer is the image itself, restored: as grey, and as deep, as it was
    longest: ClassVar[int] = 224  # px: the longer side that larger images get by default, if all are resized
    evidence_title: ClassVar[str] = "score"  # what `evidence` is, in few words, for titles
    extra_planes: ClassVar[int] = 0  # planes of the model's input beside the image's own channels, such as a mask

    @property
    @abstractmethod
    def keeps_size(self) -> bool:
        """Whether images are answered and measured at their own size; else all are resized to that of the training."""

    @property
    def crops(self) -> bool:
        """Whether training takes parts of larger images; else they are resized, also where answers keep their size."""
        return self.keeps_size

    @property
    def fitting(self) -> Fit:
        """How images of other sizes come to that of the training, where they are resized."""
        return "squash"

    def for_model(self, model: str) -> Self:
        """This task for a model of this name; raises `UsageError` for an option that the model cannot serve."""
        return self

    def read(self, data: Dataset) -> tuple[Dataset, Self]:
        """The dataset as this task uses it, and the task with what it learned from the data (its `_options.learned` fields).

        Decodes no image; raises `DataError` if the data lack what the task needs. One that learns places asks `Augment.check` here.
        """
        return data, self

    @abstractmethod
    def outputs(self, data: Dataset, size: tuple[int, int]) -> int:
        """The number of the model's outputs: classes of a vector, channels of a map; `size` (H, W) is that of training."""

    @abstractmethod
    def prepare(self, batch: Batch, draws: Draws, training: bool) -> tuple[Input, Truth]:
        """The model's input, images (B, C, H, W) float32 in [0, 1], and the truth; all randomness comes from `draws`."""

    @abstractmethod
    def loss(self, model: nn.Module, input: Input, truth: Truth) -> Losses:
        """{"loss": scalar, and its parts by name}, differentiable."""

    @abstractmethod
    def predict(self, model: nn.Module, input: Input) -> Prediction:
        """The answer for a batch of inputs."""

    @abstractmethod
    def score(self, input: Input, prediction: Prediction, truth: Truth) -> dict[str, Any]:
        """The records of a batch: columns with B rows, arrays or `Ragged`.

        The lens `confusion` and the report read confusions between classes from one of three forms. A task that gives each image one
        class has "true" and "predicted" (B,), and "probabilities" (B, K) if it knows them. A task that classifies pixels, or other
        parts of an image, has "confusion": (B, K, K), or flat (B, K·K), the number of the image's pixels of each true class (row) that
        were predicted as each class (column). K counts the dataset's classes, with the background if it is one; pixels without a truth
        are left out. int32 is enough for an image. A task that finds any number of objects has "confused", a `Ragged` of pairs: the
        true class of an object, or −1 for an answer without one, and the predicted class, or −1 for an object that was missed;
        `outcomes` then names −1 last.
        """

    def outcomes(self, classes: Sequence[str]) -> Sequence[str]:
        """The names of the numbers in the records' "true" and "predicted": the classes, and what else an answer can be."""
        return classes

    @abstractmethod
    def metrics(self, classes: Sequence[str]) -> Sequence[Metric]:
        """The measures over all images. The first one decides: it selects the best weights and ranks runs and baselines."""

    def details(self, records: Records, classes: Sequence[str]) -> dict[str, Any]:
        """JSON-able tables beside the measures (a confusion matrix, counts per class); by default none."""
        return {}

    @abstractmethod
    def ranking(self, records: Records) -> NDArray[np.float64]:
        """(N,): how good the answer for each image is, higher is better; it selects the best and worst examples."""

    @abstractmethod
    def baselines(self, train: Split, test: Split, size: tuple[int, int] | None, seed: int = 0) -> dict[str, Records]:
        """The records of trivial and classical methods on the test images, by the method's name, in the order of the model's.

        Inputs and truth are those of `prepare` with `Draws.images(seed, index)`; images have the model's `size` (None: their own).
        Where all test images would take too long, the records of some of them have a column "index" with their positions.
        """

    @abstractmethod
    def write(self, prediction: Prediction, names: Sequence[str], classes: Sequence[str]) -> list[dict[str, Any]]:
        """One JSON-able row per image ({"name": …}).

        A row's "picture", if any, is a uint8 array (C, H, W) to save as PNG; its "content", if any, bytes to save under
        the row's name with its "suffix", e.g. ".plc"; its "group", if any, names its line on a sheet of small pictures.
        """

    @abstractmethod
    def draw(
        self, input: Input, prediction: Prediction, truth: Truth | None, names: Sequence[str], classes: Sequence[str]
    ) -> Figure:
        """A figure of a few images with truth and prediction side by side."""

    @abstractmethod
    def evidence(self, output: Any) -> Tensor:
        """(B,): the scalar of the model's output that a lens explains."""

    def followable(self, classes: Sequence[str]) -> Mapping[str, Callable[[Any], Tensor]]:
        """Scalars (B,) of the model's output that a lens can follow instead, by name; a classifier's classes need none."""
        return {}


AnyTask: TypeAlias = Task[Any, Any, Any]


@runtime_checkable
class LearnsFromImages(Protocol):
    """What the options leave open is set from the training images, once, before the first step."""

    def learn(self, images: Store) -> Self:
        """The task with what it learned from the training images."""

    @property
    def facts(self) -> Mapping[str, Any]:
        """What it learned, as JSON; the run keeps it, and a resumed training goes on with it."""

    def recall(self, facts: Mapping[str, Any]) -> Self:
        """The task with what it learned before; {} for a run that learned nothing."""

    @property
    def findings(self) -> Sequence[str]:
        """What it learned, in sentences."""


@runtime_checkable
class SuitsModel(Protocol):
    """Options of the model that follow from what is sought in the training images, where none are given."""

    def suited(self, train: Split, size: tuple[int, int], model: str) -> Mapping[str, Any]:
        """These options of the model of that name, for training images that become this size (H, W)."""


@runtime_checkable
class MultiPlayer(Protocol):
    """Several modules have optimisers of their own and take turns, as in adversarial training."""

    def players(self, model: nn.Module) -> dict[str, nn.Module]:
        """The modules that have their own optimiser, by name."""

    def steps(self, model: nn.Module, input: Any, truth: Any) -> Iterator[tuple[nn.Module, Losses]]:
        """Each player's module with its losses, in the order of their turns."""

    @property
    def lr_factors(self) -> Mapping[str, float]:
        """Factors on the learning rate, by player; 1 for the others."""


@runtime_checkable
class UpdatesBuffers(Protocol):
    """The model has buffers that are computed from all training images: centres, tables, a schedule's value."""

    def update_buffers(
        self, model: nn.Module, batches: Callable[[], Iterator[Batch]], epoch: int, epochs: int, seed: int
    ) -> None:
        """Compute them: before the first epoch (`epoch` = 0) and after each one, before validation, without gradients.

        `batches()` goes through the training images once, in order. An averaged model has a call of its own.
        """


@runtime_checkable
class Snapshots(Protocol):
    """The model can be shown at work after each epoch."""

    def snapshot(self, model: nn.Module, seed: int) -> Tensor:
        """(N, C, H, W) float in [0, 1]: pictures of the model at work, e.g. samples."""


@runtime_checkable
class MeasuresModel(Protocol):
    """The model is measured as a whole: by samples, rate–distortion curves, stability."""

    def measure_model(
        self, model: nn.Module, train: Split, test: Split, size: tuple[int, int] | None, seed: int = 0
    ) -> ModelMeasures:
        """Measures beside those of the images, and figures for the report."""


@runtime_checkable
class MeasuresAgreement(Protocol):
    """Answers of two models can agree or not, whatever is true."""

    def agree(self, one: Records, other: Records) -> float:
        """How far the answers of two models to the same images agree: 1 entirely, 0 as far as by chance."""


@runtime_checkable
class DrawsRecords(Protocol):
    """The measures of all images can be drawn: as curves, by class, against the counts of the truth."""

    def draw_records(
        self, records: Records, baselines: Mapping[str, Records], classes: Sequence[str]
    ) -> Sequence[NamedFigure]:
        """Figures for the report, from the records of the model and of the baselines by name."""


@runtime_checkable
class BaselinesOnFeatures(Protocol):
    """Simple methods can see what a frozen backbone computes, so that its share of the success is known."""

    feature_images: ClassVar[int]  # training images that they learn from, at most

    def feature_baselines(
        self, train: Features, test: Features, known: Split, held_out: Split, size: tuple[int, int]
    ) -> dict[str, Records]:
        """The records of these methods on the test images, by the method's name.

        Args:
            train, test: (N, F) and (M, F) features of the training and of the test images.
            known: the training images with their targets.
            held_out: the test images with theirs.
            size: (H, W) of the images that these are features of.
        """


@runtime_checkable
class ChoosesEvidence(Protocol):
    """An answer has many parts, such as detections, of which a lens follows one."""

    def chosen(self, output: Any, named: str | None, size: tuple[int, int], classes: Sequence[str]) -> Followed:
        """The part of an answer whose score is followed.

        Args:
            output: the model's, for one unchanged image.
            named: which part, as a user asks for it; None: the one that is surest.
            size: (H, W) of the image in px.
            classes: the names of the dataset's classes.

        Raises:
            UsageError: the answer has no such part.
        """


@runtime_checkable
class KnowsChance(Protocol):
    """The loss of the best answer that is the same for every image is known before the training."""

    def chance(self, images: Sequence[int]) -> float:
        """That loss, from the numbers of training images (K,) of each class."""


def players_of(task: AnyTask, model: nn.Module) -> dict[str, nn.Module]:
    """The modules that have their own optimiser, by name: the task's players, or the model alone."""
    return task.players(model) if isinstance(task, MultiPlayer) else {"model": model}


def steps_of(task: AnyTask, model: nn.Module, input: Any, truth: Any) -> Iterator[tuple[nn.Module, Losses]]:
    """The modules that take a step on this batch, in order, each with its losses."""
    if isinstance(task, MultiPlayer):
        yield from task.steps(model, input, truth)
    else:
        yield model, task.loss(model, input, truth)


def lr_factors_of(task: AnyTask) -> Mapping[str, float]:
    """Factors on the learning rate, by player."""
    return task.lr_factors if isinstance(task, MultiPlayer) else {}
