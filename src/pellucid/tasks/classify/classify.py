# SPDX-License-Identifier: Apache-2.0
"""classify: which class does an image show?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from pellucid.data.batches import store
from pellucid.data.dataset import Batch, Dataset, Split
from pellucid.data.draws import Draws
from pellucid.data.targets import Label, Target
from pellucid.data.transforms import Augment
from pellucid.errors import DataError, UsageError
from pellucid.models import OutputKind
from pellucid.tasks import _bootstrap
from pellucid.tasks._contract import Measure, Records, Task

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Classify"]

_BINS = 15  # of the calibration error
_NEIGHBOURS = 5
_BASELINE_IMAGES = 5000  # training images that the classical answers learn from, at most
_BASELINE_SIDE = 32  # px to which larger images are brought for them


@final
@dataclass(frozen=True)
class Classify(Task):
    """Which class does an image show?

    >>> from pellucid.data import open
    >>> task = Classify(flip=False, crop=1)
    >>> task.outputs(task.read(open("digits")), (8, 8))
    10
    """

    class_weights: bool = False
    """weigh each class by the inverse of its share of the training images"""
    label_smoothing: float = 0.0
    """share of the target spread over all classes (Szegedy et al. 2016)"""
    crop: int = 0
    """shift training images by up to this many px"""
    flip: bool = False
    """mirror half of the training images left to right"""
    rotate: float = 0.0
    """turn training images by up to this many degrees"""
    exposure: float = 0.0
    """brighten or darken training images by up to this many photographic stops"""
    noise: float = 0.0
    """add gaussian noise to training images, of a sigma up to this, in [0, 1] units"""
    erase: float = 0.0
    """grey out a rectangle of training images, of up to this share of the area"""

    example: ClassVar[str] = "digits"
    default_model: ClassVar[str] = "convnet"
    accepts: ClassVar[tuple[OutputKind, ...]] = ("vector", "dense")
    keeps_size: ClassVar[bool] = False
    main: ClassVar[str] = "accuracy"

    def __post_init__(self) -> None:
        if not 0 <= self.label_smoothing < 1:
            raise UsageError(f"label_smoothing={self.label_smoothing!r}: must lie in [0, 1); give another value.")
        # made once: a frozen dataclass takes what is no option by this door only
        object.__setattr__(self, "_augment", self._make_augment())
        object.__setattr__(self, "_weights", None)

    def _make_augment(self) -> Augment:
        return Augment(
            crop=self.crop,
            flip=self.flip,
            rotate=self.rotate,
            exposure=self.exposure,
            noise=self.noise,
            erase=self.erase,
        )

    def read(self, data: Dataset) -> Dataset:
        if not data.classes or not all("label" in split.targets for split in data.splits.values() if len(split)):
            why = next((said for said in data.problems if "without labels" in said), "")
            found = f"has no labels, which classify needs{f' ({why[:-1]})' if why else ''}"
            raise DataError(f"data={data.name!r}: {found}; put each class, two at least, into a folder of its own.")
        counts = list(data.counts.get("train", {}).values())
        if self.class_weights and any(counts):  # data that are only tested on leave the weights as they are
            images = torch.tensor(counts, dtype=torch.float32)
            balanced = images.sum() / (images.count_nonzero() * images.clamp_min(1))  # 1 in the mean over the images
            object.__setattr__(self, "_weights", balanced.where(images > 0, 1.0))
        return data

    def outputs(self, data: Dataset, size: tuple[int, int]) -> int:
        return len(data.classes)

    def prepare(self, batch: Batch, draws: Draws, training: bool) -> tuple[Tensor, Target]:
        input, target = batch.images.float().div_(255), batch.targets["label"]
        return self._augment(input, target, draws) if training else (input, target)  # type: ignore[attr-defined]

    def loss(self, model: nn.Module, input: Tensor, target: Target) -> dict[str, Tensor]:
        assert isinstance(target, Label)
        logits = model(input).float()  # (B, K); bf16 logits would round the loss
        weights: Tensor | None = self._weights  # type: ignore[attr-defined]
        if weights is None:
            if self.class_weights:
                raise UsageError("class_weights=True: they come from the training images; call read(data) first.")
            return {"loss": F.cross_entropy(logits, target.index, label_smoothing=self.label_smoothing)}
        # over B and not, as torch's mean is, over the batch's own weights: those differ from process to process
        total = F.cross_entropy(
            logits, target.index, weights.to(logits.device), label_smoothing=self.label_smoothing, reduction="sum"
        )
        return {"loss": total / len(logits)}

    def predict(self, model: nn.Module, input: Tensor) -> Label:
        probabilities = model(input).float().softmax(1)
        return Label(probabilities.argmax(1), probabilities)

    def score(self, input: Tensor, prediction: Target, target: Target) -> dict[str, NDArray[Any]]:
        assert isinstance(prediction, Label)
        assert isinstance(target, Label)
        assert prediction.probabilities is not None
        return _columns(target.index, prediction.probabilities)

    def summary(self, records: Records, classes: Sequence[str], seed: int = 0) -> dict[str, Measure]:
        tallies = _bootstrap.Tallies.of(_confusion(records, len(classes)), seed)
        drawn = {
            "accuracy": tallies.accuracy,
            "precision": np.nanmean(tallies.precision, 1),  # macro: over the classes that occur
            "recall": np.nanmean(tallies.recall, 1),
            "f1": np.nanmean(tallies.f1, 1),
        }
        found = {name: Measure(float(values[0]), *_bootstrap.bounds(values[1:])) for name, values in drawn.items()}
        found["calibration_error"] = Measure(*_calibration_error(records, seed), better="lower")
        return found

    def details(self, records: Records, classes: Sequence[str]) -> dict[str, Any]:
        matrix = _confusion(records, len(classes))
        tallies = _bootstrap.Tallies.of(matrix)
        columns = {"precision": tallies.precision, "recall": tallies.recall}
        per_class = [
            {"class": title, "n": int(matrix[i].sum())}
            | {name: _interval(values[:, i]) for name, values in columns.items()}
            for i, title in enumerate(classes)
        ]
        return {"confusion": matrix.tolist(), "per_class": per_class, "reliability": _reliability(records)}

    def ranking(self, records: Records) -> NDArray[np.float64]:
        """The probability that was given to the true class."""
        rows = np.arange(len(records["true"]))
        return np.asarray(records["probabilities"][rows, records["true"]], np.float64)

    def per_image(self, records: Records) -> NDArray[np.float64]:
        """1 where the answer is right, else 0."""
        return np.asarray(records["true"] == records["predicted"], np.float64)

    def baselines(self, train: Split, test: Split, size: tuple[int, int] | None, seed: int = 0) -> dict[str, Records]:
        from pellucid.tasks.classify import baselines

        assert size is not None, "classify resizes"
        if not len(train):  # all three learn from training images
            return {}
        channels = train.images.channels
        scale = min(1.0, _BASELINE_SIDE / max(size))
        small = (max(1, round(size[0] * scale)), max(1, round(size[1] * scale)))
        rng = np.random.default_rng(seed)
        chosen = np.sort(rng.permutation(len(train))[:_BASELINE_IMAGES])
        known, asked = train.select(chosen), test
        seen, unseen = (_pixels(split, small, channels) for split in (known, asked))
        labels = [split.targets["label"].index.numpy() for split in (known, asked)]  # type: ignore[attr-defined]
        said = f" ({len(chosen):,} images)" if len(chosen) < len(train) else ""
        everything = train.targets["label"].index.numpy()  # type: ignore[attr-defined]
        classes = int(max(everything.max(), labels[1].max())) + 1
        answers = {
            "majority class": baselines.majority(everything, len(asked), classes),
            f"{_NEIGHBOURS} nearest neighbours{said}": baselines.neighbours(
                seen, unseen, labels[0], classes, _NEIGHBOURS
            ),
            f"logistic regression{said}": baselines.logistic(seen, unseen, labels[0], classes),
        }
        truth = torch.from_numpy(labels[1])
        return {name: _columns(truth, torch.from_numpy(answer).float()) for name, answer in answers.items()}

    def write(self, prediction: Target, names: Sequence[str], classes: Sequence[str]) -> list[dict[str, Any]]:
        assert isinstance(prediction, Label)
        assert prediction.probabilities is not None
        rows = []
        for name, index, shares in zip(
            names, prediction.index.tolist(), prediction.probabilities.tolist(), strict=True
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
        self, input: Tensor, prediction: Target, target: Target | None, names: Sequence[str], classes: Sequence[str]
    ) -> Figure:
        from pellucid.tasks import _figures

        assert isinstance(prediction, Label)
        assert target is None or isinstance(target, Label)
        return _figures.answers(input, prediction, target, names, classes)

    def evidence(self, output: Tensor) -> Tensor:
        """The probability of the most probable class."""
        return output.float().softmax(1).amax(1)


def _columns(truth: Tensor, probabilities: Tensor) -> dict[str, NDArray[Any]]:
    shares = probabilities.cpu().numpy()
    return {
        "true": truth.cpu().numpy(),
        "predicted": shares.argmax(1),
        "confidence": shares.max(1),
        "probabilities": shares.astype(np.float32),
    }


def _pixels(split: Split, size: tuple[int, int], channels: int) -> NDArray[np.float32]:
    kept = store(split, size, channels)
    rows = [batch.images.flatten(1).numpy() for batch in kept.batches(1000)]
    return np.concatenate(rows).astype(np.float32) / np.float32(255)


def _confusion(records: Records, classes: int) -> NDArray[np.int64]:
    """(K, K) counts: a row a true class, a column a predicted one."""
    cells = records["true"].astype(np.int64) * classes + records["predicted"]
    return np.bincount(cells, minlength=classes * classes).reshape(classes, classes)


def _interval(values: NDArray[np.float64]) -> dict[str, float] | None:
    """Value, low and high from a column (1001,) of tallies; None for a class that does not occur."""
    if np.isnan(values[0]):
        return None
    low, high = _bootstrap.bounds(values[1:][~np.isnan(values[1:])])
    return {"value": float(values[0]), "low": low, "high": high}


def _bins(records: Records) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    """The confidence bin of each image, its confidence, and whether it was right."""
    confidence = records["confidence"].astype(np.float64)
    place = np.clip(np.ceil(confidence * _BINS).astype(np.int64) - 1, 0, _BINS - 1)
    return place, confidence, (records["true"] == records["predicted"]).astype(np.float64)


def _calibration_error(records: Records, seed: int) -> tuple[float, float, float]:
    """Expected calibration error over 15 equal bins (Guo et al. 2017, eq. 5): the mean gap of confidence and accuracy."""
    place, confidence, right = _bins(records)
    gap = confidence - right

    def error(rows: NDArray[np.int64] | slice) -> float:
        return float(np.abs(np.bincount(place[rows], gap[rows], _BINS)).sum() / len(gap))

    rng = np.random.default_rng(seed)
    drawn = np.array([error(rng.integers(0, len(gap), len(gap))) for _ in range(_bootstrap.RESAMPLES)])
    return error(slice(None)), *_bootstrap.bounds(drawn)


def _reliability(records: Records) -> list[dict[str, float]]:
    """For each confidence bin that holds images: their number, mean confidence and accuracy."""
    place, confidence, right = _bins(records)
    counts = np.bincount(place, minlength=_BINS)
    sums = np.bincount(place, confidence, _BINS), np.bincount(place, right, _BINS)
    return [
        {"n": int(n), "confidence": float(sums[0][i] / n), "accuracy": float(sums[1][i] / n)}
        for i, n in enumerate(counts)
        if n
    ]
