# SPDX-License-Identifier: Apache-2.0
"""What a lens is: a way of looking into a model or a run.

How one is written: `lenses/NAME.py` holds one frozen dataclass, a `Lens`, whose class name is NAME in CamelCase and whose
fields, each with a string below it, are its options on the command line and in Python. Its `look(subject)` takes what it
needs from the `Subject`, and raises `UsageError` ("lens='NAME': needs …; the way out.") where that is missing; it checks its
own options in `__post_init__`. It returns a `View`: a figure fit for a paper, the raw numbers with their axes named, and one
line of words with the finding (and the layer that was chosen, if any).

- `subject.images` is any sequence of images (C, H, W) float32 in [0, 1], decoded when they are asked for; sizes may differ.
  `_images.py` stacks arrays of several sizes and draws images; `subject.progress(items, "words")` shows how far one is.
- `subject.batches("train" | "val" | "test")` yields `Labelled` batches of a run's own data as the model takes them.
- `subject.records` are columns with a row for each image of the split `subject.evaluated`; `subject.shows_records` says whether
  these images are at hand. `subject.runs(folders)` are this run and others: what their folders tell.
- `subject.device` is where the model is; `subject.room(bytes_each)` says how many items fit into the memory budget at once.
- `subject.probabilities(output)` are class probabilities, or None where the output is no vector of classes;
  `subject.followed(output)` is the score that a lens follows: a class's probability, or the task's evidence.
- `_layers.py` finds layers (`last_convolution`, `feature_layer`) and records what goes through them (`recorded`).
- `subject.features(images)` are the model's codes (its `encode`) or the input of its last dense layer, and where they are from.
- `subject.untrained(**options)` builds the same architecture anew, with a run's seed as that run's training found it;
  `subject.loss` is the task's; `subject.trial(**options)` a training that has not begun (a run's own anew), of which each step is
  taken with a learning rate of one's own.
- `subject.note("…")` is said with --verbose only. Random numbers derive from `subject.seed`, never from torch's own generator.

`pellucid.looking.looking` does the rest: it puts the model into eval mode with in-place activations turned off, and afterwards,
also after an exception or Ctrl-C, takes away every hook and gradient and restores modes; a lens that changes weights works
on a copy (`subject.copied()`). It writes the picture, the numbers and `View.files`, and shows the words.
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Labelled", "Lens", "Subject", "Trial", "View"]

MEMORY = 2 << 30  # bytes that a look may take where nothing else is said


@dataclass(frozen=True)
class Labelled:
    """A batch of a run's own images, as the model takes them in evaluation."""

    images: Tensor  # (B, C, H, W) float32 in [0, 1], on the model's device
    labels: Tensor | None  # (B,) int64, where the data have classes
    names: Sequence[str]
    index: Tensor  # (B,) positions in the split
    target: Any  # the task's truth, for `Subject.loss`

    def __len__(self) -> int:
        return len(self.images)


class Batches(Protocol):
    """The images of a split, a batch at a time; `limit` takes that many, spread evenly, `places` those at these positions."""

    def __call__(
        self, split: str, size: int = 64, limit: int | None = None, places: Sequence[int] | None = None
    ) -> Iterator[Labelled]: ...


@dataclass(frozen=True)
class Trial:
    """A training that has not begun: the model with its starting weights, and its steps one by one."""

    model: nn.Module  # changed by `step`
    rate: float  # the learning rate that the training would rise to
    steps: int  # that the training would take
    step: Callable[[float], float]  # one step with this learning rate; its loss, before it
    players: Sequence[str] = ("model",)  # modules that are optimised apart; with several, the loss is the sum of theirs


@dataclass(frozen=True)
class Subject:
    """What there is to look at; each lens uses the part that it needs and says in one sentence what it lacks.

    >>> subject = Subject(model=nn.Flatten(), images=torch.zeros(2, 1, 1, 3))
    >>> subject.probabilities(subject.model(subject.images[0][None]))[0, 0].item(), subject.device.type
    (0.3333333432674408, 'cpu')
    """

    model: nn.Module | None = None  # in eval mode; takes float images in [0, 1]
    images: Sequence[Tensor] | Tensor | None = (
        None  # each (C, H, W) float32 in [0, 1]; a tensor (B, C, H, W) is one too
    )
    evidence: Callable[[Tensor], Tensor] | None = None  # output -> (B,) the scalar that is followed
    names: Sequence[str] = ()
    unread: Sequence[str] = ()  # a sentence about each named file that is no image
    classes: Sequence[str] = ()
    history: Sequence[Mapping[str, Any]] = ()  # rows of history.jsonl
    records: Mapping[str, NDArray[Any]] = field(default_factory=dict)  # per-image columns of an evaluation
    evaluated: str = "test"  # the split that the records are of
    metrics: Mapping[str, Any] = field(default_factory=dict)  # metrics.json of that evaluation
    trained_on: int = 0  # training images; 0: not known
    runs: Callable[[Sequence[str]], Sequence[Subject]] | None = (
        None  # this run and others, by their folders, titled apart
    )
    counts: Mapping[str, int] = field(default_factory=dict)  # images by split
    batches: Batches | None = None
    loss: Callable[[nn.Module, Labelled], Tensor] | None = None  # the task's, a scalar
    untrained: Callable[..., nn.Module] | None = None  # untrained(seed=0, **model options)
    trial: Callable[..., Trial] | None = None  # trial(**model options)
    title: str = ""  # the model or the run, in a few words
    seed: int = 0
    memory: int = MEMORY  # bytes
    note: Callable[[str], None] = lambda words: None
    progress: Callable[[Sequence[Any] | Iterable[Any], str], Iterable[Any]] = lambda items, words: items

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        assert self.model is not None
        first = next(iter([*self.model.parameters(), *self.model.buffers()]), None)
        return first.device if first is not None else torch.device("cpu")

    @property
    def shows_records(self) -> bool:
        """Whether the images that the records are of can be had from `batches`."""
        rows = next((len(column) for column in self.records.values()), 0)
        return self.batches is not None and 0 < rows == self.counts.get(self.evaluated)

    def room(self, bytes_each: float, least: int = 1, most: int = 1024) -> int:
        """How many items of so many bytes go into the memory budget at once.

        >>> Subject(memory=1 << 20).room(1 << 18), Subject(memory=100).room(1 << 18)
        (4, 1)
        """
        return int(max(least, min(most, self.memory // max(1.0, bytes_each))))

    def copied(self) -> nn.Module:
        """The model again, to be changed at will."""
        assert self.model is not None
        return copy.deepcopy(self.model)

    def probabilities(self, output: Any) -> Tensor | None:
        """(B, K) softmax of an output that is a vector of classes, else None."""
        if not isinstance(output, Tensor) or output.ndim != 2:
            return None
        if self.evidence is not None and output.shape[1] != len(self.classes):
            return None  # a task's vector that is none of classes: points, a code, …
        return output.float().softmax(1)

    def followed(self, output: Any, index: int | None = None) -> Tensor | None:
        """(B,): the probability of class `index` (by default each row's top one), else the task's evidence, else None."""
        shares = self.probabilities(output)
        if shares is not None:
            return shares.amax(1) if index is None else shares[:, index]
        return None if self.evidence is None else self.evidence(output)

    def features(self, images: Tensor, layer: str | None = None) -> tuple[Tensor, str]:
        """(B, D) codes of images (B, C, H, W), and the layer that they are from.

        Where the model has an `encode`, its codes; else what enters the last dense layer; else the last convolution's output,
        averaged over the image; or the output of a named layer.
        """
        from pellucid.lenses._layers import features

        assert self.model is not None
        return features(self.model, images, layer)

    def name(self, place: int) -> str:
        """The name of an image, or its number."""
        return self.names[place] if place < len(self.names) else f"image {place + 1}"

    def label(self, index: int, longest: int = 24) -> str:
        """The name of a class, or its number."""
        name = self.classes[index] if 0 <= index < len(self.classes) else f"class {index}"
        return name if len(name) <= longest else f"{name[: longest - 1]}…"

    def class_of(self, named: str | int) -> int:
        """The index of a class that was named, by its name, the beginning of its name, or its number.

        >>> Subject(classes=("tabby", "tiger cat", "tiger")).class_of("tiger"), Subject(classes=("tabby", "tiger")).class_of("1")
        (2, 1)

        Raises:
            UnknownNameError: no class is called so.
        """
        from pellucid.errors import UnknownNameError

        text = str(named).strip().lower()
        known = [name.lower() for name in self.classes]
        found = [i for i, name in enumerate(known) if name == text] or [
            i for i, name in enumerate(known) if text in (part.strip() for part in name.split(","))
        ]
        if found:
            return found[0]
        if text.isdigit() and (not known or int(text) < len(known)):
            return int(text)
        near = [i for i, name in enumerate(known) if name.startswith(text)] if text else []
        if near:
            return near[0]
        raise UnknownNameError("class", str(named), self.classes or ["their numbers"])


@dataclass(frozen=True)
class View:
    """What a lens saw: a figure for people, the numbers, and a line of words.

    `axes` names the axes of the arrays ("map": ("image", "row", "column")); `files` are further files by name (a page of
    HTML, a picture of its own).
    """

    figure: Figure
    numbers: Mapping[str, NDArray[Any]]
    words: str
    axes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    files: Mapping[str, bytes] = field(default_factory=dict)

    def __getitem__(self, name: str) -> NDArray[Any]:
        return self.numbers[name]


class Lens(ABC):
    """One way of looking. Concrete lenses are frozen dataclasses: their fields are the lens's options."""

    @abstractmethod
    def look(self, subject: Subject) -> View:
        """The view; leaves no hook and no train/eval change behind, also after an exception."""
