# SPDX-License-Identifier: Apache-2.0
"""Parts that a lens can read: a network on images, a data set's splits, a training, an evaluation, a training log."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar, Protocol, final

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pellucid import _scores
from pellucid._coupling import Coupling, coupling
from pellucid._following import Followed
from pellucid.errors import UnknownNameError, UsageError
from pellucid.lenses import _layers
from pellucid.lenses._wording import clipped

__all__ = [
    "Batches",
    "Evaluation",
    "Labelled",
    "Network",
    "Part",
    "Splits",
    "Training",
    "TrainingLog",
    "Trial",
]

MEMORY = 2 << 30  # bytes that a look may take by default


@dataclass(frozen=True, kw_only=True)
class Part:
    """What all parts carry: a title, and what the caller asked of the look."""

    needs: ClassVar[str]
    """What a lens lacks without this part, and the way out; it completes the sentence "lens='NAME': needs …"."""

    title: str = ""  # the model or the run, in a few words
    seed: int = 0  # of every random number that a lens draws; never torch's own generator
    memory: int = MEMORY  # bytes
    note: Callable[[str], None] = lambda words: None  # printed with --verbose
    progress: Callable[[Sequence[Any] | Iterable[Any], str], Iterable[Any]] = lambda items, words: items
    remarks: list[str] = field(default_factory=list, compare=False)  # sentences that `look` adds to the words

    def remark(self, sentence: str) -> None:
        """Say something about the subject in the words of the view, once."""
        if sentence and sentence not in self.remarks:
            self.remarks.append(sentence)
            self.note(sentence)

    def room(self, bytes_each: float, least: int = 1, most: int = 1024) -> int:
        """How many items of this many bytes fit into the memory budget at once.

        >>> network = Network(nn.Flatten(), torch.zeros(1, 1, 2, 2), memory=1 << 20)
        >>> network.room(1 << 18), network.room(1 << 30)
        (4, 1)
        """
        return int(max(least, min(most, self.memory // max(1.0, bytes_each))))


@final
@dataclass(frozen=True)
class Network(Part):
    """A model in eval mode, and the images that it is shown.

    >>> network = Network(nn.Flatten(), torch.zeros(2, 1, 1, 3))
    >>> network.probabilities(network.model(network.images[0][None]))[0, 0].item(), network.device.type
    (0.3333333432674408, 'cpu')
    """

    needs = "at least one image; name an image file or a folder of images"

    model: nn.Module  # takes float images in [0, 1]
    images: Sequence[Tensor] | Tensor  # each (C, H, W) float32 in [0, 1], decoded when it is read; sizes may differ
    names: Sequence[str] = ()
    classes: Sequence[str] = ()
    evidence: Callable[[Tensor], Tensor] | None = None  # a task's: output -> (B,) the score to follow
    followable: Mapping[str, Callable[[Any], Tensor]] = field(default_factory=dict)  # a task's other scores, by name
    # a task's, where an answer has many parts: output for one image, name, (H, W) -> the part that is followed
    choose: Callable[[Any, str | None, tuple[int, int]], Followed] | None = None
    answer: Callable[[nn.Module, Tensor], Any] | None = None  # a task's: model and images (B, C, H, W) -> its answer
    truth: Sequence[Any] = ()  # a task's, of each image alone; empty where it is not known
    build: Callable[..., nn.Module] | None = None  # build(seed=0, **model options); None: a model that has no options
    evidence_title: str = "score"  # what the evidence is, in few words
    unread: Sequence[str] = ()  # a sentence for each named file that holds no image; `look` adds them to the words
    parts: Sequence[str] = ()  # where images are parts of others, what each is called there, e.g. "letter 12"

    @cached_property
    def coupling(self) -> Coupling:
        """How far the model's answer to an image depends on the rest of its batch, measured on the first image."""
        found = coupling(self.model, self.images[0][None].to(self.device))
        self.remark(found.sentence)
        return found

    def at_once(self, bytes_each: float, most: int = 1024) -> int:
        """How many images pass the model together: as many as fit into memory, or one where they would change each other."""
        return 1 if self.coupling.alone else self.room(bytes_each, most=most)

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        first = next(iter([*self.model.parameters(), *self.model.buffers()]), None)
        return first.device if first is not None else torch.device("cpu")

    def copied(self) -> nn.Module:
        """A copy of the model, whose weights may be changed."""
        return copy.deepcopy(self.model)

    def untrained(self, seed: int = 0, **options: Any) -> nn.Module:
        """The same architecture with fresh weights: with a run's seed, those that its training started from.

        Raises:
            UsageError: options for a model that has none.
        """
        if self.build is not None:
            return self.build(seed=seed, **options)
        for name, value in options.items():
            raise UsageError(f"{name}={value!r}: a ready model has no options; look at a run or a task.")
        return _layers.reinitialised(self.model, seed)

    def probabilities(self, output: Any) -> Tensor | None:
        """(B, K) of an output that is a vector of class scores, else None; see `_scores` for what an output may be."""
        kind = self._kind(output)
        return None if kind is None else _scores.probabilities(output, kind)

    def logits(self, output: Tensor) -> Tensor:
        """(B, K) scores whose softmax are the probabilities of an output that is a vector of class scores."""
        return _scores.logits(output, self._kind(output) or "logits")

    def class_score(self, output: Tensor, index: int) -> Tensor:
        """(B,): a class's logit, or its log-odds where the model gives only probabilities."""
        return _scores.class_score(output, self._kind(output) or "logits", index)

    def _kind(self, output: Any) -> _scores.Kind | None:
        """What an output's class scores are; None: it is no vector of them."""
        if not isinstance(output, Tensor) or not output.is_floating_point() or output.ndim not in (1, 2):
            return None
        if self.evidence is not None and (output.ndim != 2 or output.shape[1] != len(self.classes)):
            return None  # a task's vector of something else: coordinates, a code, …
        kind = _scores.kind_of(self.model, output, lambda: self.images[0][None].to(self.device))
        self.remark(_scores.sentence(kind, self.classes))
        return kind

    def followed(self, output: Any, named: str | None = None) -> int | None:
        """The class whose score a lens follows: the named one, else the first image's top one; None: a task's `score`.

        Raises:
            UsageError: the model does not classify, and a class was named or there is no evidence; or the class is too high;
                or the answer is NaN.
            UnknownNameError: the task has no score of this name.
        """
        shares = self.probabilities(output)
        score = shares
        if shares is None and self.evidence is not None:
            score = (self.evidence if self.choose is not None else self.score(named))(output)
        if score is not None and bool(score.isnan().any()):
            raise UsageError(
                "model: its answer is not a number (NaN), so no score can be followed; look through flow for the layer where "
                "that begins, or train with a lower learning rate."
            )
        if shares is None:
            if named is not None and self.evidence is None:
                raise UsageError(f"follow={named!r}: the model's output is not a vector of classes; leave it out.")
            if self.evidence is None:
                raise UsageError(
                    "follow=None: the model's output is not a vector of classes, and only a run's task knows another score "
                    "to follow; look at a classifier or a run."
                )
            return None
        index = int(shares[0].argmax()) if named is None else self.class_of(named)
        if index >= shares.shape[1]:
            raise UsageError(f"follow={named!r}: the model has {shares.shape[1]} classes; give a lower number.")
        return index

    def score(self, named: str | None = None) -> Callable[[Any], Tensor]:
        """What is followed where the output is no vector of classes: the task's score of this name, by default its evidence.

        Raises:
            UsageError: the task has no other scores than its evidence.
            UnknownNameError: it has others, but none of this name.
        """
        if named is None:
            assert self.evidence is not None  # `followed` refuses a model that has neither
            return self.evidence
        if not self.followable:
            raise UsageError(f"follow={named!r}: the model's output is not a vector of classes; leave it out.")
        if named not in self.followable:
            raise UnknownNameError("follow", named, self.followable)
        return self.followable[named]

    def chosen(self, output: Any, named: str | None, size: tuple[int, int]) -> Followed:
        """What is followed where the output is no vector of classes: of an answer with many parts, one of them.

        Args:
            output: the model's, for one unchanged image.
            named: what the caller asked for.
            size: (H, W) of the image in px.

        Raises:
            UsageError: the answer has no such part, or the task has no other scores than its evidence.
            UnknownNameError: it has others, but none of this name.
        """
        if self.choose is None:
            return Followed(self.score(named), named or self.evidence_title)
        followed = self.choose(output, named, size)
        self.remark(followed.words)
        return followed

    def features(self, images: Tensor, layer: str | None = None) -> tuple[Tensor, str]:
        """(B, D) codes of images (B, C, H, W), and the layer that they are from.

        Where the model has an `encode`, its codes; else the input of its last dense layer; else the output of its last
        convolution, averaged over the image; or the output of a named layer.
        """
        return _layers.features(self.model, images, layer)

    def name(self, place: int) -> str:
        """The name of an image, or its number."""
        return self.names[place] if place < len(self.names) else f"image {place + 1}"

    def label(self, index: int, longest: int = 24) -> str:
        """The name of a class, or its number."""
        return class_name(self.classes, index, longest)

    def titled(self, place: int, words: str) -> str:
        """The title of an image's picture: words on its answer, and of which part of a page it is.

        >>> Network(nn.Flatten(), [], parts=["letter 12"]).titled(0, "E: 98.1 %")
        'letter 12: E, 98.1 %'
        """
        return f"{self.parts[place]}: {words.replace(': ', ', ', 1)}" if place < len(self.parts) else words

    def class_of(self, named: str | int) -> int:
        """The index of a class, by its name, the beginning of its name, or its number.

        >>> network = Network(nn.Flatten(), [], classes=("tabby", "tiger cat", "tiger"))
        >>> network.class_of("tiger"), network.class_of("tiger c"), network.class_of("1")
        (2, 1, 1)

        Raises:
            UnknownNameError: no class has this name.
        """
        text = str(named).strip().lower()
        known = [name.lower() for name in self.classes]
        # ImageNet's names are lists of synonyms: "tench, Tinca tinca"
        exact = [i for i, name in enumerate(known) if name == text] or [
            i for i, name in enumerate(known) if text in (synonym.strip() for synonym in name.split(","))
        ]
        if exact:
            return exact[0]
        if text.isdigit() and (not known or int(text) < len(known)):
            return int(text)
        near = [i for i, name in enumerate(known) if name.startswith(text)] if text else []
        if near:
            return near[0]
        raise UnknownNameError("class", str(named), self.classes or ["their numbers"])


@final
@dataclass(frozen=True)
class Labelled:
    """A batch of a run's own images, as the model takes them in evaluation."""

    images: Tensor  # (B, C, H, W) float32 in [0, 1], on the model's device
    labels: Tensor | None  # (B,) int64, where the data have classes
    names: Sequence[str]
    index: Tensor  # (B,) positions in the split
    target: Any  # the task's truth, for `Training.loss`

    def __len__(self) -> int:
        return len(self.images)


class Batches(Protocol):
    """The images of a split in batches: all of them, `limit` of them spread evenly, or those at `places`."""

    def __call__(
        self, split: str, size: int = 64, limit: int | None = None, places: Sequence[int] | None = None
    ) -> Iterator[Labelled]: ...


@final
@dataclass(frozen=True)
class Splits(Part):
    """A run's or a task's own images, by split."""

    needs = "a run's own images; look at a run or a task"

    batches: Batches  # batches("train" | "val" | "test")
    counts: Mapping[str, int] = field(default_factory=dict)  # images by split

    def count(self, split: str, limit: int | None = None) -> int:
        """How many images of a split `batches` gives."""
        count = self.counts.get(split, 0)
        return count if limit is None else min(limit, count)


@final
@dataclass(frozen=True)
class Trial:
    """A training at its first step: the model with its starting weights, and the steps one by one."""

    model: nn.Module  # changed by `step`
    rate: float  # the peak learning rate of the recipe
    steps: int  # that the training would take
    step: Callable[[float], float]  # one step with this learning rate; the loss before it
    players: Sequence[str] = ("model",)  # modules that are optimised apart; with several, the loss is the sum of theirs


@final
@dataclass(frozen=True)
class Training(Part):
    """The training of a run or a task, which can be started as often as one likes, always on a new model."""

    needs = "a training that can begin; name a task with --data and --model, or a run"

    start: Callable[..., Trial]  # start(**model options)
    loss: Callable[[nn.Module, Labelled], Tensor]  # the task's, a scalar
    begun: bool = False  # whether `Network.model` is a trained one


@final
@dataclass(frozen=True)
class Evaluation(Part):
    """The records of a run's evaluation: columns with a row for each image."""

    needs = "the records of an evaluation; look at a run after `pellucid evaluate RUN`"

    records: Mapping[str, NDArray[Any]]
    classes: Sequence[str] = ()
    split: str = "test"
    images: Callable[[Sequence[int]], Iterable[Labelled]] | None = (
        None  # the images of some rows; None: the data are gone
    )
    objects: str = "object"  # what records of objects are of
    # pictures (H, W) of the objects of a true and a predicted class, the surest first; None: their images are shown instead
    pictures: Callable[[int, int], Sequence[NDArray[Any]]] | None = None

    def label(self, index: int, longest: int = 24) -> str:
        """The name of a class, or its number."""
        return class_name(self.classes, index, longest)


@final
@dataclass(frozen=True)
class TrainingLog(Part):
    """What a training logged, and what its evaluation measured."""

    needs = "the log of a training; look at a run that has trained for at least one epoch"

    history: Sequence[Mapping[str, Any]]  # rows of history.jsonl
    metrics: Mapping[str, Any] = field(default_factory=dict)  # metrics.json; empty before an evaluation
    trained_on: int = 0  # training images; 0: not known
    chance: float | None = None  # the loss of the best answer that is the same for every image, where it is known
    beside: Callable[[Sequence[str]], Sequence[TrainingLog]] | None = None  # this log and those in other folders


def class_name(classes: Sequence[str], index: int, longest: int = 24) -> str:
    """The name of a class, cut to so many letters, or its number.

    >>> class_name(["cat", "dog"], 1), class_name([], 3), class_name(["African elephant"], 0, 8)
    ('dog', 'class 3', 'African…')
    """
    return clipped(classes[index], longest) if 0 <= index < len(classes) else f"class {index}"
