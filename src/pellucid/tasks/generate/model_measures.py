# SPDX-License-Identifier: Apache-2.0
"""What is measured of a generative model as a whole: its likelihood, and its samples before a judge of the same data."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pellucid.data.batches import store
from pellucid.data.dataset import Split
from pellucid.data.draws import Draws
from pellucid.data.targets import Label
from pellucid.tasks._contract import ModelMeasures, NamedFigure
from pellucid.tasks._metrics import Measure
from pellucid.tasks.generate import figures
from pellucid.tasks.generate.judge import Judge, frechet_beside_floor
from pellucid.tasks.generate.options import Generating

__all__ = ["Looked", "arrays", "evenly", "measure_model", "verdict"]

_KNOWN = 20_000  # training images that baselines and the judge learn from, at most
_NUMBERS = 60_000_000  # and pixels of them
_SEEN = 10_000  # test images that samples are held against, at most
_NEIGHBOURS = 256

# a mode is covered if samples fall into it at least a fifth as often as real images do
_COVERED = 0.2
# collapse: fewer than four fifths of the modes, or classes less even than real ones by a quarter, or half the spread
_LEAST_MODES, _LEAST_ENTROPY, _LEAST_SPREAD = 0.8, 0.75, 0.5
# the discriminator wins: it ranks 99 % of pairs of a held-out real image and a sample rightly
_WON = 0.99
_COPIED = 0.5  # samples half as far from the training images as held-out images are
_FAR = 50.0  # times the floor

Floats = NDArray[np.float64]


@final
@dataclass(frozen=True)
class Looked:
    """What the judge saw: shares of the modes among real images and samples, and how alike samples are."""

    real: Floats  # (K,)
    made: Floats  # (K,)
    modes: tuple[str, ...]
    spread: float  # mean distance of samples from each other, over that of real images, in the judge's features
    ratio: float  # Fréchet distance over its floor
    auc: float  # of the discriminator between held-out images and samples; NaN without one
    near: float  # distance of samples to their nearest training image, over that of held-out images

    @property
    def covered(self) -> NDArray[np.bool_]:
        """(K,)."""
        return np.asarray((self.made >= _COVERED * self.real) & (self.made > 0) | (self.real == 0))

    @property
    def entropy(self) -> float:
        """Of the samples' modes, in nats."""
        return _entropy(self.made)

    @property
    def real_entropy(self) -> float:
        """Of the real images' modes, in nats."""
        return _entropy(self.real)


def verdict(seen: Looked) -> tuple[str, str]:
    """The state of health in a word, and why, with the thresholds.

    >>> even = np.full(4, 0.25)
    >>> one = Looked(even, np.array([1.0, 0, 0, 0]), tuple("abcd"), 0.9, 3.0, 0.7, 1.0)
    >>> verdict(one)[0], verdict(Looked(even, even, tuple("abcd"), 0.9, 3.0, 0.7, 1.0))[0]
    ('mode collapse', 'healthy')
    """
    covered, modes = int(seen.covered.sum()), len(seen.modes)
    missing = ", ".join(name for name, there in zip(seen.modes, seen.covered, strict=True) if not there)
    facts = (
        f"{covered} of {modes} modes covered{f' (missing: {missing})' if missing else ''}; entropy of the modes "
        f"{seen.entropy:.2f} nats, of real images {seen.real_entropy:.2f}; samples are {seen.spread:.0%} as far apart as real images"
    )
    few = covered < _LEAST_MODES * modes
    if few or seen.entropy < _LEAST_ENTROPY * seen.real_entropy or seen.spread < _LEAST_SPREAD:
        return "mode collapse", (
            f"Mode collapse: {facts} (it is one below {_LEAST_MODES:.0%} of the modes, {_LEAST_ENTROPY:.0%} of the entropy "
            f"or {_LEAST_SPREAD:.0%} of the distance)."
        )
    if seen.auc >= _WON:
        return "discriminator wins", (
            f"The discriminator wins: it tells held-out images from samples in {seen.auc:.1%} of the pairs (from {_WON:.0%} "
            f"on the generator learns little from it); {facts}."
        )
    if seen.ratio > _FAR:
        return "not learnt", (
            f"Not learnt: the Fréchet distance is {seen.ratio:.0f} times its floor (from {_FAR:.0f} on); {facts}."
        )
    if seen.near < _COPIED:
        return "copies", (
            f"Copies: samples lie {seen.near:.0%} as far from their nearest training image as held-out images do "
            f"(below {_COPIED:.0%}); {facts}."
        )
    told = f"; the discriminator ranks {seen.auc:.1%} of pairs rightly" if math.isfinite(seen.auc) else ""
    return "healthy", f"Healthy: {facts}{told}."


def arrays(
    task: Generating, train: Split, test: Split, size: tuple[int, int] | None, seed: int
) -> tuple[Tensor, Tensor]:
    """Training images, a share of them, and all test images as the model is given them, (N, C, H, W) each."""
    channels = max(part.images.channels for part in (train, test) if len(part))
    found = []
    for split, own in ((train.select(evenly(len(train), _most(train, size))), seed + 1), (test, seed)):
        parts = []
        for batch in _store(split, size, channels).batches(500):
            parts.append(task.prepare(batch, Draws.images(own, batch.index), training=False)[0])
        found.append(torch.cat(parts))
    return found[0], found[1]


def measure_model(
    task: Generating,
    model: nn.Module,
    train: Split,
    test: Split,
    size: tuple[int, int] | None,
    seed: int,
) -> ModelMeasures:
    """−log p where there is a likelihood; modes, entropy, Fréchet distance beside its floor, nearest neighbours; pictures."""
    channels = max(part.images.channels for part in (train, test) if len(part))
    known = _store(train.select(evenly(len(train), _most(train, size))), size, channels)
    seen = _store(test.select(evenly(len(test), min(len(test), _SEEN))), size, channels)
    training, real = (torch.cat([batch.images for batch in part.batches(1000)]) for part in (known, seen))
    label = train.targets.get("label")
    labels = label.index[torch.from_numpy(evenly(len(train), _most(train, size)))] if isinstance(label, Label) else None
    names = tuple(map(str, range(int(labels.max()) + 1))) if labels is not None else ()
    judge = Judge.trained(training, labels, names, seed)
    made = task.samples(model, max(len(real), 2), seed).cpu()
    measures: dict[str, Measure] = {}
    details: dict[str, Any] = {}
    likelihood = task.likelihood(model, seen, seed)
    if likelihood is not None:
        measures["nll"], details["importance_sampling"] = likelihood
    features = judge.features(real)
    distances, floors, half = frechet_beside_floor(features, judge.features(made), seed)
    seen_modes = _looked(task, model, judge, features, real, made, training, distances, floors)
    state, words = verdict(seen_modes)
    covered, ratios = float(seen_modes.covered.sum()), distances / max(floors.mean(), 1e-12)
    measures |= {
        "frechet_over_floor": Measure(
            seen_modes.ratio, float(ratios.min()), float(ratios.max()), "", "lower", "Fréchet distance / floor"
        ),
        "modes_covered": Measure(covered, math.nan, math.nan, "", "higher", "modes covered"),
    }
    details["samples"] = [
        {
            "verdict": state,
            "Fréchet distance": float(f"{distances.mean():.4g}"),
            "its floor": float(f"{floors.mean():.4g}"),
            "sample size": half,
            "modes covered": f"{covered:.0f} of {len(judge.modes)}",
            "entropy, nats": f"{seen_modes.entropy:.3f} (real {seen_modes.real_entropy:.3f})",
            "spread / real": round(seen_modes.spread, 3),
            "nearest training / held-out": round(seen_modes.near, 3),
            "discriminator AUC": None if math.isnan(seen_modes.auc) else round(seen_modes.auc, 4),
            "judge": judge.words,
        }
    ]
    apart = (
        f"Fréchet distance {distances.mean():.3g}, {seen_modes.ratio:.2g} times its floor, in the 64 features of {judge.words}, "
        f"with {half:,} samples; two halves of as many held-out images are {floors.mean():.3g} apart."
    )
    pictures = [
        NamedFigure("samples", "Samples", f"100 codes drawn from the prior. {apart}", figures.grid(made[:100])),
        NamedFigure("health", "Health", words, figures.shares(seen_modes.modes, seen_modes.real, seen_modes.made)),
        _neighbours(made, training, channels),
        *task.code_figures(model, seen, seed),
    ]
    return ModelMeasures(measures, details, pictures)


def _looked(
    task: Generating,
    model: nn.Module,
    judge: Judge,
    features: Tensor,
    real: Tensor,
    made: Tensor,
    training: Tensor,
    distances: Floats,
    floors: Floats,
) -> Looked:
    count = len(judge.modes)
    of_real, of_made = (np.bincount(judge.classes(x).numpy(), minlength=count) / len(x) for x in (real, made))
    auc, device = math.nan, next(model.parameters()).device
    scores: list[NDArray[Any]] = []
    for pictures in (real.float().div(255), made):
        parts = [task.realness(model, part.to(device)) for part in pictures.split(500)]
        scores.append(np.concatenate([part.cpu().numpy() for part in parts if part is not None] or [np.zeros(0)]))
    if len(scores[0]):  # a discriminator is there
        auc = _auc(*scores)
    spread = _distance(judge.features(made[:1000])) / max(_distance(features[:1000]), 1e-12)
    near = [_nearest(part[:_NEIGHBOURS], training)[0].median() for part in (made, real.float().div(255))]
    ratio = float(distances.mean() / max(floors.mean(), 1e-12))
    return Looked(of_real, of_made, judge.modes, spread, ratio, auc, float(near[0] / max(float(near[1]), 1e-12)))


def _auc(real: NDArray[Any], made: NDArray[Any]) -> float:
    """The share of pairs in which the real one has the higher score."""
    order = np.sort(made)
    below, upto = np.searchsorted(order, real, "left"), np.searchsorted(order, real, "right")
    return float((below + upto).mean() / (2 * len(made)))


def _distance(rows: Tensor) -> float:
    return float(torch.pdist(rows).mean()) if len(rows) > 1 else 0.0


def _nearest(pictures: Tensor, training: Tensor) -> tuple[Tensor, Tensor]:
    """The distance to the nearest training image, RMS a pixel, and its place, (N,) each."""
    rows, root = pictures.float().flatten(1), math.sqrt(pictures[0].numel())
    best, places = torch.full((len(rows),), math.inf), torch.zeros(len(rows), dtype=torch.int64)
    for start in range(0, len(training), 2000):
        found, place = torch.cdist(rows, training[start : start + 2000].float().div(255).flatten(1)).min(1)
        better = found < best
        best, places = torch.where(better, found, best), torch.where(better, place + start, places)
    return best / root, places


def _neighbours(made: Tensor, training: Tensor, channels: int) -> NamedFigure:
    chosen = made[:16]
    _, places = _nearest(chosen, training)
    figure = figures.rows({"sample": chosen, "nearest": training[places].float().div(255)})
    words = f"Below each sample the nearest of {len(training):,} training images, by the pixels: a generator should not copy."
    return NamedFigure("neighbours", "Samples and their nearest training images", words, figure)


def _entropy(shares: Floats) -> float:
    kept = shares[shares > 0]
    return float(-(kept * np.log(kept)).sum()) + 0.0


def _most(split: Split, size: tuple[int, int] | None) -> int:
    """How many images are taken of a split."""
    side = size or tuple(split.images.sizes.max(0))
    return int(min(len(split), _KNOWN, max(100, _NUMBERS // (split.images.channels * side[0] * side[1]))))


def evenly(images: int, count: int) -> NDArray[np.int64]:
    """Evenly spread positions."""
    return np.linspace(0, images - 1, count).round().astype(np.int64)


def _store(split: Split, size: tuple[int, int] | None, channels: int) -> Any:
    assert size is not None
    return store(split, size, channels, memory_share=1.0)
