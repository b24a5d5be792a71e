# SPDX-License-Identifier: Apache-2.0
"""What is measured of a generative model as a whole: its likelihood, and its samples in a reference classifier's features."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pellucid._spread import evenly_spread
from pellucid.data.batches import Store, store
from pellucid.data.dataset import Split
from pellucid.data.draws import Draws
from pellucid.data.targets import Label
from pellucid.tasks._contract import ModelMeasures, NamedFigure
from pellucid.tasks._metrics import Measure
from pellucid.tasks.generate import figures
from pellucid.tasks.generate.diagnosis import SampleStatistics, diagnose
from pellucid.tasks.generate.options import GenerativeTask
from pellucid.tasks.generate.reference import Distances, ReferenceClassifier

__all__ = ["arrays", "measure_model"]

_TRAINING = 20_000  # training images that baselines and the reference classifier learn from, at most
_NUMBERS = 60_000_000  # and pixel values of them
_HELD_OUT = 10_000  # test images that samples are compared with, at most
_NEIGHBOURS = 256  # samples and test images whose nearest training image is searched
_SPREAD = 1000  # of each, whose distances from each other are averaged

Floats = NDArray[np.float64]


def arrays(
    task: GenerativeTask, train: Split, test: Split, size: tuple[int, int] | None, seed: int
) -> tuple[Tensor, Tensor]:
    """Some of the training images and all test images as the model's input, (N, C, H, W) each."""
    channels = max(part.images.channels for part in (train, test) if len(part))
    inputs = []
    for split, own_seed in ((train.select(_chosen(train, size)), seed + 1), (test, seed)):
        parts = []
        for batch in _store(split, size, channels).batches(500):
            parts.append(task.prepare(batch, Draws.images(own_seed, batch.index), training=False)[0])
        inputs.append(torch.cat(parts))
    return inputs[0], inputs[1]


def measure_model(
    task: GenerativeTask,
    model: nn.Module,
    train: Split,
    test: Split,
    size: tuple[int, int] | None,
    seed: int,
) -> ModelMeasures:
    """−log p where there is a likelihood; modes, Fréchet distance beside its floor, nearest neighbours; and pictures."""
    channels = max(part.images.channels for part in (train, test) if len(part))
    chosen = _chosen(train, size)
    held_out = _store(test.select(evenly_spread(_HELD_OUT, len(test))), size, channels)
    training, real = (
        torch.cat([batch.images for batch in images.batches(1000)])  # (N, C, H, W) uint8
        for images in (_store(train.select(chosen), size, channels), held_out)
    )
    label = train.targets.get("label")
    labels = label.index[torch.from_numpy(chosen)] if isinstance(label, Label) else None
    names = tuple(map(str, range(int(labels.max()) + 1))) if labels is not None else ()
    reference = ReferenceClassifier.trained(training, labels, names, seed)
    generated = task.samples(model, max(len(real), 2), seed).cpu()
    measures: dict[str, Measure] = {}
    details: dict[str, Any] = {}
    likelihood = task.likelihood(model, held_out, seed)
    if likelihood is not None:
        measures["nll"], details["importance_sampling"] = likelihood
    features = reference.features(real)  # (N, 64)
    found = Distances.of(features, reference.features(generated), _others(reference, train, chosen, held_out), seed)
    floor = found.floor.mean()
    over_floor = _ratio(found.generated, floor, "Fréchet distance / floor")
    ratio = over_floor.value
    samples = _statistics(task, model, reference, features, real, generated, training, ratio)
    state, sentence = diagnose(samples)
    covered = float(samples.covered.sum())
    measures["frechet_over_floor"] = over_floor
    if found.training is not None:
        measures["frechet_over_training"] = _ratio(
            found.generated, found.training.mean(), "Fréchet distance / training images'"
        )
    measures["modes_covered"] = Measure(covered, math.nan, math.nan, "", "higher", "modes covered")
    details["samples"] = [
        {
            "verdict": state,
            "Fréchet distance": float(f"{found.generated.mean():.4g}"),
            "its floor": float(f"{floor:.4g}"),
            "that of training images": None if found.training is None else float(f"{found.training.mean():.4g}"),
            "sample size": found.size,
            "modes covered": f"{covered:.0f} of {len(reference.modes)}",
            "entropy, nats": f"{samples.entropy:.3f} (real {samples.real_entropy:.3f})",
            "spread / real": round(samples.spread, 3),
            "nearest training / held-out": round(samples.nearest, 3),
            "discriminator AUC": None if math.isnan(samples.auc) else round(samples.auc, 4),
            "classifier": reference.description,
        }
    ]
    words = (
        f"100 samples from the prior. Fréchet distance {found.generated.mean():.3g}, {ratio:.2g} times its floor, of "
        f"{found.size:,} samples in the 64 features of {reference.description}; the floor, {floor:.3g}, is the distance between "
        "two disjoint sets of as many held-out images."
    )
    if found.training is not None:
        words += (
            f" As many training images have {found.training.mean():.3g}: a generator learns their distribution, "
            "and cannot be expected to come closer to the held-out one."
        )
    pictures = [
        NamedFigure("samples", "Samples", words, figures.grid(generated[:100])),
        NamedFigure("health", "Health", sentence, figures.shares(samples.modes, samples.real, samples.generated)),
        _neighbours(generated, training),
        *task.code_figures(model, held_out, seed),
    ]
    return ModelMeasures(measures, details, pictures)


def _ratio(distances: Floats, by: float, title: str) -> Measure:
    """Distances over another one, with their range."""
    ratios = distances / max(by, 1e-12)
    return Measure(float(ratios.mean()), float(ratios.min()), float(ratios.max()), "", "lower", title)


def _others(reference: ReferenceClassifier, train: Split, chosen: NDArray[np.int64], held_out: Store) -> Tensor | None:
    """Features (N, 64) of training images that the classifier did not learn from; None where there are not enough."""
    spare = np.setdiff1d(np.arange(len(train)), chosen)
    if len(spare) < len(held_out) // 2:
        return None
    few = spare[evenly_spread(len(held_out), len(spare))]
    images = _store(train.select(few), held_out.size, held_out.channels)
    return torch.cat([reference.features(batch.images) for batch in images.batches(1000)])


def _statistics(
    task: GenerativeTask,
    model: nn.Module,
    reference: ReferenceClassifier,
    features: Tensor,
    real: Tensor,
    generated: Tensor,
    training: Tensor,
    ratio: float,
) -> SampleStatistics:
    """Samples (N, C, H, W) in [0, 1] beside held-out images (with their features) and training images, uint8 both."""
    held_out = real.float().div(255)
    count = len(reference.modes)
    real_shares, shares = (
        np.bincount(reference.classes(images).numpy(), minlength=count) / len(images) for images in (real, generated)
    )
    auc, device = math.nan, next(model.parameters()).device
    scores: list[NDArray[Any]] = []
    for images in (held_out, generated):
        parts = [task.realness(model, part.to(device)) for part in images.split(500)]
        scores.append(np.concatenate([part.cpu().numpy() for part in parts if part is not None] or [np.zeros(0)]))
    if len(scores[0]):  # there is a discriminator
        auc = _auc(*scores)
    spread = _mean_distance(reference.features(generated[:_SPREAD]))
    nearest = [_nearest(images[:_NEIGHBOURS], training)[0].median() for images in (generated, held_out)]
    return SampleStatistics(
        real=real_shares,
        generated=shares,
        modes=reference.modes,
        spread=spread / max(_mean_distance(features[:_SPREAD]), 1e-12),
        ratio=ratio,
        auc=auc,
        nearest=float(nearest[0] / max(float(nearest[1]), 1e-12)),
        roughness=_roughness(generated) / max(_roughness(held_out), 1e-12),
        confidence=reference.confidence(generated) / max(reference.confidence(real), 1e-12),
    )


def _auc(real: NDArray[Any], generated: NDArray[Any]) -> float:
    """The area under the ROC curve: the share of pairs in which the real image has the higher score, ties counting half."""
    order = np.sort(generated)
    below, upto = np.searchsorted(order, real, "left"), np.searchsorted(order, real, "right")
    return float((below + upto).mean() / (2 * len(generated)))


def _mean_distance(rows: Tensor) -> float:
    """The mean Euclidean distance over all pairs of rows (N, D)."""
    return float(torch.pdist(rows).mean()) if len(rows) > 1 else 0.0


def _roughness(pictures: Tensor) -> float:
    """The mean squared difference of adjacent pixels of (N, C, H, W) in [0, 1]."""
    return sum(float(pictures.diff(dim=axis).square().mean()) for axis in (2, 3) if pictures.shape[axis] > 1)


def _nearest(pictures: Tensor, training: Tensor) -> tuple[Tensor, Tensor]:
    """The distance to the nearest training image, as RMS per pixel, and that image's position, (N,) each."""
    rows, root = pictures.float().flatten(1), math.sqrt(pictures[0].numel())
    best, places = torch.full((len(rows),), math.inf), torch.zeros(len(rows), dtype=torch.int64)
    for start in range(0, len(training), 2000):  # in parts, to bound the memory for all pairs
        distance, place = torch.cdist(rows, training[start : start + 2000].float().div(255).flatten(1)).min(1)
        better = distance < best
        best, places = torch.where(better, distance, best), torch.where(better, place + start, places)
    return best / root, places


def _neighbours(generated: Tensor, training: Tensor) -> NamedFigure:
    chosen = generated[:16]
    _, places = _nearest(chosen, training)
    figure = figures.rows({"sample": chosen, "nearest": training[places].float().div(255)})
    words = (
        f"Below each sample, its nearest neighbour in pixel space among {len(training):,} training images: pairs that hardly "
        "differ are memorised images."
    )
    return NamedFigure("nearest_images", "Samples and their nearest training images", words, figure)


def _chosen(split: Split, size: tuple[int, int] | None) -> NDArray[np.int64]:
    """Positions of the training images that are used, evenly spread; fewer where images are large."""
    side = size or tuple(split.images.sizes.max(0))
    count = int(min(len(split), _TRAINING, max(100, _NUMBERS // (split.images.channels * side[0] * side[1]))))
    return evenly_spread(count, len(split))


def _store(split: Split, size: tuple[int, int] | None, channels: int) -> Store:
    assert size is not None
    return store(split, size, channels, memory_share=1.0)
