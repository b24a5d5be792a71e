# SPDX-License-Identifier: Apache-2.0
"""What only some tasks do when they answer, a protocol each, which the machinery asks for with `isinstance`.

Options of `predict` (`AnswersOptions`), answers drawn on their images (`DrawsAnswers`), a threshold that is chosen on the
validation images (`ChoosesThreshold`), and that decides after the model (`DecidesByThreshold`), images that are answered in
parts (`AnswersParts`), answers that are annotations (`AnnotatesAnswers`), further forms of each answer with tables over all
(`WritesForms`), or files made of all rows (`WritesFiles`), boxes for others to look into (`FindsBoxes`) and images seen within
boxes (`AnswersInBoxes`), whole pages of which the model sees one letter at a time (`ReadsPages`), and a module to export that
gives answers rather than the model's output (`Exports`), or probabilities rather than logits (`ExportsProbabilities`); images
that are made worse by a chosen strength before they are answered (`AnswersLevels`), and sentences on all answers together
(`RemarksOnAnswers`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Protocol, Self, final, runtime_checkable

import torch
from torch import Tensor, nn

from pellucid._pages import PageSteps
from pellucid.data.annotations.records import Instance
from pellucid.data.batches import Store
from pellucid.data.dataset import Split
from pellucid.data.targets import Boxes
from pellucid.tasks._records import Records

__all__ = [
    "AnnotatesAnswers",
    "AnswersInBoxes",
    "AnswersLevels",
    "AnswersOptions",
    "AnswersParts",
    "ChoosesThreshold",
    "DecidesByThreshold",
    "DrawsAnswers",
    "Exports",
    "ExportsProbabilities",
    "FindsBoxes",
    "PredictOptions",
    "ReadsPages",
    "RemarksOnAnswers",
    "Threshold",
    "WritesFiles",
    "WritesForms",
    "set_threshold",
]


@dataclass(frozen=True)
class PredictOptions:
    """Options of `predict` that a task adds: the fields of its own subclass."""


@runtime_checkable
class DrawsAnswers(Protocol):
    """`predict` writes each image with its answer drawn on it."""

    def drawn(self, image: Any, prediction: Any, classes: Sequence[str]) -> Any:
        """An image (3, H, W) uint8 at its own size with its answer on it, which is in the image's own px: the same shape."""


@runtime_checkable
class AnswersOptions(Protocol):
    """`predict` has options for this task, which can change what it answers: samples, a decoded file, a tree."""

    predict_options: ClassVar[type[PredictOptions]]

    def answer(
        self, model: nn.Module, images: Any, options: Any, classes: Sequence[str]
    ) -> list[dict[str, Any]] | None:
        """Rows as `write` gives them, or None to have images answered one by one, as for other tasks.

        Args:
            model: in eval mode, for this call alone: an option may change one of its buffers, such as a threshold.
            images: as given by the user: files, folders, arrays, or nothing.
            options: an instance of `predict_options`.
            classes: the names of the dataset's classes.
        """


@runtime_checkable
class AnswersParts(Protocol):
    """`predict` can answer an image at its own size from its parts, so that an image may be far larger than those of the training."""

    def in_parts(self, options: Any) -> bool:
        """Whether the options of `predict` ask for it."""

    def answer_parts(self, model: nn.Module, image: Tensor, options: Any) -> Any:
        """The answer for one image (C, H, W), uint8 or float32 in [0, 1], in its own px."""


@runtime_checkable
class ReadsPages(Protocol):
    """Images are answered as pages, of which the model sees one letter at a time."""

    def statistics(self, images: Store) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of each channel (C,) of what the model sees of the training images, its letters."""

    def named_outputs(self, classes: Sequence[str]) -> Sequence[str]:
        """What each of the model's outputs for a letter is called: the classes, and what is none of them."""

    def page_steps(self, model: nn.Module, image: Tensor) -> PageSteps:
        """What is found on a page (C, H, W), uint8 or float32 in [0, 1], on the way to its text."""

    def page_of_letters(self, letters: Split, seed: int) -> tuple[Any, str]:
        """A page (H, W) uint8 made of a data set's letters, and its text."""

    def page_baselines(self, train: Split | None, pages: Split, seed: int) -> tuple[dict[str, Records], Sequence[str]]:
        """The records of other methods on pages with texts, by their names, and sentences on those that are missing.

        Args:
            train: the letters that the model learned from; None where they are not at hand.
            pages: with their texts.
            seed: of random numbers.
        """


@runtime_checkable
class AnnotatesAnswers(Protocol):
    """The answers are annotations, which `predict` can write as a dataset too."""

    listed: ClassVar[str]  # the entry of a row of `write` that lists the objects; in CSV it is a table of its own

    def datasets(self, options: Any) -> Sequence[str]:
        """The forms of the data sets that the options of `predict` ask for: modules of `data/annotations/writing/`."""

    def annotations(self, row: Mapping[str, Any]) -> tuple[Instance, ...]:
        """The objects of a row of `write`, in px of the image."""


@runtime_checkable
class AnswersLevels(Protocol):
    """Images are made worse before they are measured, by a strength that `evaluate` can be asked for."""

    @property
    def levels(self) -> tuple[float, float]:
        """The least and the greatest strength that training images have."""

    def at_level(self, level: float) -> Self:
        """This task with images of that strength alone; raises `UsageError` for one that cannot be."""


@runtime_checkable
class RemarksOnAnswers(Protocol):
    """What `predict` answers for all images together can deserve a warning."""

    def remarks(self, rows: Sequence[Mapping[str, Any]]) -> Sequence[str]:
        """Sentences on the rows of `write` or `written`, without those of images that cannot be read."""


# -- further files


@runtime_checkable
class WritesForms(Protocol):
    """`predict` writes an answer in further forms beside its first one, and tables over all images."""

    def forms(self, options: Any) -> Mapping[str, str]:
        """The ending of the files of each form that is asked for, by the form's name."""

    def tables(self, options: Any) -> Mapping[str, Sequence[str]]:
        """The columns of each table that is written for all images together, by its file."""

    def written(
        self, input: Any, prediction: Any, names: Sequence[str], classes: Sequence[str], options: Any, scales: Any
    ) -> list[dict[str, Any]]:
        """Rows as `write` gives them, which may have more.

        A row's "files" are bytes by the form's name, to save under the image's name with the form's ending; its "tables" are
        rows by the table's file.

        Args:
            input: images (B, C, H, W) float32 in [0, 1].
            prediction: their answers.
            names: of the images.
            classes: the names of the dataset's classes.
            options: an instance of `predict_options`.
            scales: what is black and white in each image of more than 8 bits, None for others.
        """


@runtime_checkable
class WritesFiles(Protocol):
    """`predict` writes its answers in further forms too."""

    def files(
        self, rows: Sequence[Mapping[str, Any]], titles: Sequence[str], sizes: Sequence[tuple[int, int]], options: Any
    ) -> dict[str, bytes]:
        """The contents of further files by their names.

        Args:
            rows: the answers, without those to images that cannot be read.
            titles: a name without ending for each row's own file.
            sizes: (H, W) of each image in px.
            options: an instance of the task's `predict_options`.
        """


# -- boxes in which others look


@runtime_checkable
class FindsBoxes(Protocol):
    """An answer has boxes around objects, in which another run can look."""

    def boxes_of(self, prediction: Any) -> Boxes:
        """The boxes of each image with their scores, in px of the frame of the answer; none where nothing was found."""


@runtime_checkable
class AnswersInBoxes(Protocol):
    """`predict` can look into a box of each image instead of the whole of it; the options are `crop` and `boxes`."""

    @property
    def around(self) -> float:
        """How much is seen around a box, in shares of its longer side: what training images show around theirs."""

    def nothing(self, name: str, why: str) -> dict[str, Any]:
        """The row of an image that has nothing to look into, and why it has not."""


# -- a threshold of the answers


@final
@dataclass(frozen=True)
class Threshold:
    """From which score on the model answers, and how that was found.

    >>> print(Threshold(0.4217, "F1 at IoU 0.5", 0.913, 24).words)
    threshold 0.422: the best F1 at IoU 0.5, 0.913, on 24 validation images
    >>> print(Threshold(0.5, images=1).words)
    threshold 0.5: the default, as no answer is right on 1 validation image
    >>> print(Threshold(0.5, images=3, of="ill", why="one class alone is among the").words)
    threshold 0.5 for ill: the default, as one class alone is among the 3 validation images
    """

    value: float
    measure: str = ""  # what is best there; "" where the default holds
    reached: float | None = None  # that measure's value
    images: int = 0  # validation images that it was chosen on
    of: str = ""  # the class whose probability is meant, where answers take the most probable one unless asked for this
    why: str = ""  # why the default holds, in words before the number of images

    @property
    def facts(self) -> dict[str, Any]:
        """As in run.json."""
        return {name: value for name, value in asdict(self).items() if value != "" or name == "measure"}

    @property
    def words(self) -> str:
        """What a person should know of it."""
        where = f"{self.images:,} validation image{'s' if self.images != 1 else ''}"
        what = f"threshold {self.value:.3g}{f' for {self.of}' if self.of else ''}"
        if self.reached is not None:
            asked = "; --threshold chosen answers by it" if self.of else ""
            return f"{what}: the best {self.measure}, {self.reached:.3f}, on {where}{asked}"
        reason = f"{self.why or 'no answer is right on'} {where}"
        return f"{what}: the default, as {reason if self.images else 'there are no validation images to choose it on'}"


@runtime_checkable
class ChoosesThreshold(Protocol):
    """A score that is chosen on the validation images decides what is answered.

    It is chosen whenever the weights are validated, so that the weights that are kept have their own. The model keeps it in its
    buffer `threshold`, unless the task decides by the answers' probabilities (`DecidesByThreshold`).
    """

    default_threshold: ClassVar[float]  # where there are no validation images, or no answer is right on them

    def choose_threshold(self, records: Records | None) -> Threshold | None:
        """The best threshold by the records of the validation images, or the default; None where the answers have none.

        Args:
            records: None without validation images.
        """


@runtime_checkable
class DecidesByThreshold(Protocol):
    """Probabilities become answers after the model: by a threshold where one is given, else the most probable one."""

    def decided(
        self, records: Records, classes: Sequence[str], threshold: float | None, chosen: float | None
    ) -> dict[str, Any]:
        """The records with the answers by that threshold, and what `details` needs of the one that was chosen.

        Raises:
            UsageError: a threshold has nothing to decide between these classes.
        """


def set_threshold(model: nn.Module, value: float) -> None:
    """Put a threshold into a model's buffer of that name."""
    with torch.no_grad():
        model.get_buffer("threshold").fill_(value)


# -- an exported file


@runtime_checkable
class ExportsProbabilities(Protocol):
    """An exported file gives the probabilities of the classes, or on request the logits."""

    def named_output(self, model: nn.Module, logits: bool) -> tuple[nn.Module, str]:
        """The module that the file holds, and the name of its output; raises `UsageError` for logits that there are none of."""


@runtime_checkable
class Exports(Protocol):
    """An exported file gives the task's answers rather than the model's output."""

    exported: ClassVar[Sequence[str]]  # the names of the outputs, in order

    def exportable(self, model: nn.Module) -> nn.Module:
        """A module without data-dependent Python, from images (B, C, H, W) to a tuple of tensors, one for each name."""

    def described(self, module: nn.Module) -> Mapping[str, str]:
        """Entries for the file's metadata: what the outputs of this module mean."""

    def disagreement(self, wanted: Sequence[Tensor], got: Sequence[Tensor]) -> str | None:
        """How a file's outputs differ from the module's beyond rounding, e.g. "by 0.3 px"; None where they agree."""
