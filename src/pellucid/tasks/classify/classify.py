# SPDX-License-Identifier: Apache-2.0
"""classify: which class does an image show?"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from pellucid import _scores
from pellucid._options import learned, unfolded
from pellucid.data.batches import store
from pellucid.data.dataset import Batch, Dataset, Split
from pellucid.data.draws import Draws
from pellucid.data.fits import Fit
from pellucid.data.mixing import STRONGEST, mixed
from pellucid.data.targets import Label, target_of
from pellucid.data.transforms import Augment
from pellucid.errors import DataError, UsageError, check_choice
from pellucid.models import OutputKind
from pellucid.tasks._answering import PredictOptions, Threshold
from pellucid.tasks._contract import NamedFigure, Task
from pellucid.tasks._exporting import named_output
from pellucid.tasks._metrics import Metric
from pellucid.tasks._records import Records
from pellucid.tasks._views import Views
from pellucid.tasks._wrapping import unwrapped
from pellucid.tasks.classify import baselines, decision, metrics
from pellucid.tasks.classify.options import ClassifyOptions

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Classify"]

_NEIGHBOURS = 5
_BASELINE_IMAGES = 5000  # training images that the classical classifiers learn from, at most
_BASELINE_SIDE = 32  # px: larger images are scaled down to this for them


@final
@dataclass(frozen=True)
class Classify(Task[Tensor, Label, Label]):
    """Which class does an image show?

    >>> from pellucid.data import open
    >>> data, task = Classify(augment=Augment(flip=True, crop=1)).read(open("digits"))
    >>> task.outputs(data, (8, 8))
    10
    """

    class_weights: bool = False
    """weight each class by the inverse of its share of the training images"""
    label_smoothing: float = 0.0
    """share of the target spread over all classes (Szegedy et al. 2016)"""
    positive: str | None = None
    """of two classes the positive one, by name, of which sensitivity, average precision and the threshold are; by default the second"""
    threshold_by: decision.Criterion = "youden"
    """what the threshold between two classes is chosen by on the validation images: Youden's J (sensitivity + specificity - 1), or F1"""
    fit: Literal["squash", "crop", "pad"] = "squash"
    """how images come to the size of the training: squash scales height and width apart; crop scales both alike and takes the middle; pad scales both alike and adds the median colour of the border"""  # noqa: E501
    augment: Augment = unfolded(
        Augment(), "crop", "flip", "rotate", "stretch", "slant", "exposure", "shading", "contrast", "noise", "erase"
    )
    mixup: float = 0.0
    """mix pairs of training images and their classes, by shares from Beta(α, α) with this α; 0 for none (Zhang et al. 2018)"""
    cutmix: float = 0.0
    """put a rectangle of one training image into another, its area from Beta(α, α) with this α; 0 for none (Yun et al. 2019)"""
    randaugment: tuple[int, ...] = ()
    """change each training image N times by operations drawn at random, with magnitude M up to 30: N and M (Cubuk et al. 2020)"""

    weights: tuple[float, ...] = learned(())
    classes: tuple[str, ...] = learned(())
    views: Views = learned(Views())  # whose mean is answered

    example: ClassVar[str] = "glyphs"
    example_options: ClassVar[Mapping[str, Any]] = {"epochs": 3, "batch_size": 64}
    recipes: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "thorough": {
            "widths": (64, 128, 256),
            "batch_norm": True,
            "pool": True,
            "grid": 1,
            "epochs": 16,
            "optimizer": "nesterov",
            "lr": 0.1,
            "label_smoothing": 0.1,
            "crop": 2,
            "erase": 0.2,
        }
    }
    default_model: ClassVar[str] = "convnet"
    accepts: ClassVar[tuple[OutputKind, ...]] = ("vector", "dense")
    keeps_size: ClassVar[bool] = False
    view_kinds: ClassVar[Sequence[str]] = ("flip", "turn")
    feature_images: ClassVar[int] = _BASELINE_IMAGES
    default_threshold: ClassVar[float] = 0.5
    predict_options: ClassVar[type[PredictOptions]] = ClassifyOptions

    def __post_init__(self) -> None:
        check_choice("fit", self.fit, ("squash", "crop", "pad"))
        check_choice("threshold_by", self.threshold_by, tuple(decision.CRITERIA))
        for name in ("mixup", "cutmix"):
            if not 0 <= getattr(self, name) < math.inf:
                raise UsageError(f"{name}={getattr(self, name)!r}: must not be negative; give e.g. 0.2, or 0 for none.")
        if self.randaugment:
            count, magnitude = self.randaugment if len(self.randaugment) == 2 else (0, 0)
            if count < 1 or not 0 <= magnitude <= STRONGEST:
                rule = f"must be two numbers, how often from 1 and how strongly from 0 to {STRONGEST}"
                raise UsageError(f"randaugment={self.randaugment!r}: {rule}; give e.g. 2 9.")
        if not 0 <= self.label_smoothing < 1:
            raise UsageError(f"label_smoothing={self.label_smoothing!r}: must lie in [0, 1); give another value.")

    @property
    def fitting(self) -> Fit:
        return self.fit

    def read(self, data: Dataset) -> tuple[Dataset, Classify]:
        if not data.classes or not all("label" in split.targets for split in data.splits.values() if len(split)):
            why = next((problem for problem in data.problems if "without labels" in problem), "")
            reason = f"has no labels, which classify needs{f' ({why[:-1]})' if why else ''}"
            raise DataError(f"data={data.name!r}: {reason}; put each class, at least two, into a folder of its own.")
        decision.positive_of(self.positive, data.classes)
        task = replace(self, classes=tuple(data.classes))
        counts = list(data.counts.get("train", {}).values())
        if not self.class_weights or not any(counts):  # data for testing only need no weights
            return data, task
        images = torch.tensor(counts, dtype=torch.float32)  # (K,)
        balanced = images.sum() / (images.count_nonzero() * images.clamp_min(1))  # mean 1 over the images
        return data, replace(task, weights=tuple(balanced.where(images > 0, 1.0).tolist()))

    def outputs(self, data: Dataset, size: tuple[int, int]) -> int:
        return len(data.classes)

    def prepare(self, batch: Batch, draws: Draws, training: bool) -> tuple[Tensor, Label]:
        input, truth = batch.images.float().div_(255), target_of(batch.targets, "label", Label)
        if not training:
            return input, truth
        input, truth = self.augment(input, truth, draws)
        if self.randaugment:
            from pellucid.data.rand_augment import rand_augment  # torchvision's transforms take a while to import

            input = rand_augment(input, self.randaugment[0], self.randaugment[1], draws)
        if not self.mixes:
            return input, truth
        shares = F.one_hot(truth.index, len(self.classes)).float()  # (B, K)
        input, shares = mixed(input, shares, draws, self.mixup, self.cutmix)
        return input, Label(shares.argmax(1), shares)

    @property
    def mixes(self) -> bool:
        """Whether training images are mixed with others of their batch, so that what is made of one depends on the others."""
        return bool(self.mixup or self.cutmix)

    def loss(self, model: nn.Module, input: Tensor, truth: Label) -> dict[str, Tensor]:
        output = model(input)
        kind = _kind(model, output, input)
        if kind == "sigmoids":
            raise UsageError(
                "model: ends in a sigmoid for each class, and classify has one class an image; return the scores before it."
            )
        logits = _scores.logits(output, kind)  # (B, K) float32; bf16 logits would round the loss
        if kind in ("logit", "probability") and int(truth.index.max()) > 1:
            raise UsageError(
                "model: has one output, which tells two classes apart, and the data have more; give an output for each class."
            )
        target = truth.index if truth.probabilities is None else truth.probabilities  # (B,), or (B, K) of mixed images
        if not self.class_weights:
            return {"loss": F.cross_entropy(logits, target, label_smoothing=self.label_smoothing)}
        if not self.weights:
            raise UsageError(
                "class_weights=True: the weights come from the training images; use the task that read(data) returns."
            )
        # divided by B rather than, as in torch's mean, by the sum of the batch's weights, which differs between processes
        weights = torch.tensor(self.weights, device=logits.device)
        total = F.cross_entropy(logits, target, weights, label_smoothing=self.label_smoothing, reduction="sum")
        return {"loss": total / len(logits)}

    def predict(self, model: nn.Module, input: Tensor) -> Label:
        def answered(images: Tensor) -> Tensor:  # (B, K)
            output = model(images)
            return _scores.probabilities(output, _kind(model, output, images))

        height, width = input.shape[2:]
        if self.views.turn and height != width and getattr(unwrapped(model), "fixed_size", None) is not None:
            raise UsageError(
                f"views='turn': the model takes images of {width}×{height} px alone, and turned ones are not; leave it out."
            )
        probabilities = self.views.mean(answered, input)
        return Label(probabilities.argmax(1), probabilities)

    def named_output(self, model: nn.Module, logits: bool) -> tuple[nn.Module, str]:
        return named_output(model, logits)

    def viewed(self, views: Views) -> Classify:
        return replace(self, views=views)

    def score(self, input: Tensor, prediction: Label, truth: Label) -> dict[str, Any]:
        return metrics.columns(truth.index, _probabilities(prediction))

    def metrics(self, classes: Sequence[str]) -> Sequence[Metric]:
        return metrics.metrics(classes, decision.positive_of(self.positive, classes))

    def details(self, records: Records, classes: Sequence[str]) -> dict[str, Any]:
        found = metrics.details(records, classes)
        if len(classes) != 2:
            return found
        positive = decision.positive_of(self.positive, classes)
        return {**found, "decision": decision.table(records, positive, classes[positive])}

    def choose_threshold(self, records: Records | None) -> Threshold | None:
        if len(self.classes) != 2:
            return None
        positive = decision.positive_of(self.positive, self.classes)
        return decision.best_threshold(records, positive, self.classes[positive], self.threshold_by)

    def decided(
        self, records: Records, classes: Sequence[str], threshold: float | None, chosen: float | None
    ) -> dict[str, Any]:
        decision.check_two(threshold, classes)
        if len(classes) != 2:
            return dict(records)
        return decision.decided(records, decision.positive_of(self.positive, classes), threshold, chosen)

    def report_figures(
        self, records: Records, baselines: Mapping[str, Records], classes: Sequence[str]
    ) -> Sequence[NamedFigure]:
        from pellucid.tasks.classify import figures

        return figures.drawn(records, baselines, classes, decision.positive_of(self.positive, classes))

    def ranking(self, records: Records) -> NDArray[np.float64]:
        """The probability of the true class."""
        rows = np.arange(len(records["true"]))
        return np.asarray(records["probabilities"][rows, records["true"]], np.float64)

    def baselines(self, train: Split, test: Split, size: tuple[int, int] | None, seed: int = 0) -> dict[str, Records]:
        assert size is not None, "classify resizes"
        if not len(train):  # all three learn from training images
            return {}
        channels = train.images.channels
        scale = min(1.0, _BASELINE_SIDE / max(size))
        small = (max(1, round(size[0] * scale)), max(1, round(size[1] * scale)))
        rng = np.random.default_rng(seed)
        chosen = np.sort(rng.permutation(len(train))[:_BASELINE_IMAGES])
        known = train.select(chosen)
        fitted, held_out = (_pixels(split, small, channels) for split in (known, test))  # (N, D) each
        labels, truth = (target_of(split.targets, "label", Label).index.numpy() for split in (known, test))
        some = f" ({len(chosen):,} images)" if len(chosen) < len(train) else ""
        all_labels = target_of(train.targets, "label", Label).index.numpy()
        classes = int(max(all_labels.max(), truth.max())) + 1
        answers = {
            "majority class": baselines.majority(all_labels, len(test), classes),
            f"{_NEIGHBOURS} nearest neighbours{some}": baselines.neighbours(
                fitted, held_out, labels, classes, _NEIGHBOURS
            ),
            f"logistic regression{some}": baselines.logistic(fitted, held_out, labels, classes),
        }
        index = torch.from_numpy(truth)
        return {name: metrics.columns(index, torch.from_numpy(answer).float()) for name, answer in answers.items()}

    def feature_baselines(
        self,
        train: NDArray[np.float32],
        test: NDArray[np.float32],
        known: Split,
        held_out: Split,
        size: tuple[int, int],
    ) -> dict[str, Records]:
        labels, truth = (target_of(split.targets, "label", Label).index.numpy() for split in (known, held_out))
        classes = int(max(labels.max(), truth.max())) + 1
        answer = baselines.neighbours(
            baselines.directions(train), baselines.directions(test), labels, classes, _NEIGHBOURS
        )
        name = f"{_NEIGHBOURS} nearest neighbours on the frozen features"
        return {name: metrics.columns(torch.from_numpy(truth), torch.from_numpy(answer).float())}

    def answer(
        self, model: nn.Module, images: Any, options: ClassifyOptions, classes: Sequence[str]
    ) -> list[dict[str, Any]] | None:
        decision.check_two(options.threshold, classes)
        return None

    def forms(self, options: ClassifyOptions) -> Mapping[str, str]:
        return {}

    def tables(self, options: ClassifyOptions) -> Mapping[str, Sequence[str]]:
        return {}

    def written(
        self,
        input: Any,
        prediction: Label,
        names: Sequence[str],
        classes: Sequence[str],
        options: ClassifyOptions,
        scales: Any,
    ) -> list[dict[str, Any]]:
        """Rows as `write` gives them, with the answers by a threshold where one is given."""
        level = options.threshold
        if level is None:
            return self.write(prediction, names, classes)
        level = float(level)  # `predict` gives the number that "chosen" stands for
        shares = _probabilities(prediction)
        index = decision.answered(shares.cpu().numpy(), decision.positive_of(self.positive, classes), level)
        rows = self.write(Label(torch.from_numpy(index), shares), names, classes)
        return [{**row, "threshold": round(level, 6)} for row in rows]

    def write(self, prediction: Label, names: Sequence[str], classes: Sequence[str]) -> list[dict[str, Any]]:
        rows = []
        for name, index, shares in zip(
            names, prediction.index.tolist(), _probabilities(prediction).tolist(), strict=True
        ):
            probabilities = {title: round(share, 6) for title, share in zip(classes, shares, strict=True)}
            rows.append(
                {
                    "name": name,
                    "label": classes[index],
                    "probability": round(shares[index], 6),
                    "probabilities": probabilities,
                }
            )
        return rows

    def draw(
        self, input: Tensor, prediction: Label, truth: Label | None, names: Sequence[str], classes: Sequence[str]
    ) -> Figure:
        from pellucid.tasks import _figures

        return _figures.answers(input, prediction, truth, names, classes)

    def chance(self, images: Sequence[int]) -> float:
        """The cross-entropy of the best probabilities that are the same for every image: the classes' shares.

        >>> round(Classify().chance([50, 50]), 4), round(Classify().chance([90, 10]), 4)
        (0.6931, 0.3251)
        """
        counts = np.array([n for n in images if n], np.float64)
        # weights by the inverse of the shares make the classes equal
        shares = np.full(len(counts), 1 / len(counts)) if self.class_weights else counts / counts.sum()
        smooth = (1 - self.label_smoothing) * shares + self.label_smoothing / len(images)
        return float(-(smooth * np.log(smooth)).sum())

    def evidence(self, output: Tensor) -> Tensor:
        """The probability of the most probable class."""
        return output.float().softmax(1).amax(1)


def _kind(model: nn.Module, output: Tensor, input: Tensor) -> _scores.Kind:
    """What a model's outputs are; said once if they are not logits, which a model is expected to give."""
    known = _scores.known(model)
    kind = _scores.kind_of(model, output, lambda: input[:1])
    if not known and kind != "logits":
        warnings.warn(_scores.sentence(kind), stacklevel=3)
    return kind


def _pixels(split: Split, size: tuple[int, int], channels: int) -> NDArray[np.float32]:
    """(N, D) in [0, 1]: flat images at one size."""
    rows = [batch.images.flatten(1).numpy() for batch in store(split, size, channels).batches(1000)]
    return np.concatenate(rows).astype(np.float32) / np.float32(255)


def _probabilities(prediction: Label) -> Tensor:
    """(B, K): only a truth has none."""
    assert prediction.probabilities is not None
    return prediction.probabilities
