# SPDX-License-Identifier: Apache-2.0
"""What the statistics of generated samples say about the generator: mode collapse, memorised images, or good health."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import NDArray

__all__ = ["SampleStatistics", "diagnose"]

# a mode is covered if samples fall into it at least a fifth as often as real images do
_COVERED = 0.2
# mode collapse: fewer than four fifths of the modes, or three quarters of the entropy, or half the distance between images
_LEAST_MODES, _LEAST_ENTROPY, _LEAST_SPREAD = 0.8, 0.75, 0.5
# the discriminator wins: it ranks 99 % of the pairs of a held-out image and a sample correctly
_WON = 0.99
_COPIED = 0.5  # samples are half as far from the training images as held-out images are
# no pictures yet: noise is far from every training image, mush between them, and a classifier of real images doubts either
_UNLIKE, _SMOOTH, _ROUGH, _DOUBTED = 1.85, 0.35, 3.0, 0.7
_FAR = 20.0  # times the floor

Floats = NDArray[np.float64]


@final
@dataclass(frozen=True)
class SampleStatistics:
    """Samples beside real images: shares of the modes, variety, and distances."""

    real: Floats  # (K,): share of each mode among held-out images
    generated: Floats  # (K,): the same among samples
    modes: tuple[str, ...]
    spread: (
        float  # mean distance between samples over that between held-out images, in the reference classifier's features
    )
    ratio: float  # Fréchet distance over its floor
    auc: float  # of the discriminator between held-out images and samples; NaN without a discriminator
    nearest: float  # distance from samples to their nearest training image, over that from held-out images
    roughness: float = math.nan  # mean squared difference of adjacent pixels, over that of held-out images
    confidence: float = (
        math.nan
    )  # of the reference classifier in its answers for samples, over that for held-out images

    @property
    def covered(self) -> NDArray[np.bool_]:
        """(K,): which modes the samples cover; one that no real image shows counts as covered."""
        return np.asarray((self.generated >= _COVERED * self.real) & (self.generated > 0) | (self.real == 0))

    @property
    def entropy(self) -> float:
        """Of the samples' modes, in nats."""
        return _entropy(self.generated)

    @property
    def real_entropy(self) -> float:
        """Of the held-out images' modes, in nats."""
        return _entropy(self.real)


def diagnose(samples: SampleStatistics) -> tuple[str, str]:
    """The generator's state in a word or two, and a sentence with the numbers and thresholds behind it.

    >>> even = np.full(4, 0.25)
    >>> collapsed = SampleStatistics(even, np.array([1.0, 0, 0, 0]), tuple("abcd"), 0.9, 3.0, 0.7, 1.0)
    >>> diagnose(collapsed)[0], diagnose(SampleStatistics(even, even, tuple("abcd"), 0.9, 3.0, 0.7, 1.0))[0]
    ('mode collapse', 'healthy')
    """
    covered, modes = int(samples.covered.sum()), len(samples.modes)
    missing = ", ".join(name for name, there in zip(samples.modes, samples.covered, strict=True) if not there)
    facts = (
        f"{covered} of {modes} modes covered{f' (missing: {missing})' if missing else ''}; entropy of the modes "
        f"{samples.entropy:.2f} nats, of real images {samples.real_entropy:.2f}; samples are {samples.spread:.0%} as far "
        "apart as real images"
    )
    # before the modes are counted: what a classifier makes of noise or mush says nothing about modes
    faults = _no_pictures(samples)
    if faults:
        return "not learnt", (
            f"Not learnt: {' and '.join(faults)}; train longer, or lower the learning rate if it no longer improves; {facts}."
        )
    few = covered < _LEAST_MODES * modes
    if few or samples.entropy < _LEAST_ENTROPY * samples.real_entropy or samples.spread < _LEAST_SPREAD:
        return "mode collapse", (
            f"Mode collapse: {facts} (collapse: below {_LEAST_MODES:.0%} of the modes, {_LEAST_ENTROPY:.0%} of the entropy "
            f"or {_LEAST_SPREAD:.0%} of the distance); start again with another seed, a lower learning rate or a larger --penalty."
        )
    if samples.auc >= _WON:
        return "discriminator wins", (
            f"The discriminator wins: it ranks {samples.auc:.1%} of the pairs of a held-out image and a sample correctly "
            f"(from {_WON:.0%} on, the generator learns little from it); {facts}."
        )
    if samples.ratio > _FAR:
        return "not learnt", (
            f"Not learnt: the Fréchet distance is {samples.ratio:.0f} times its floor (limit: {_FAR:.0f}); {facts}."
        )
    if samples.nearest < _COPIED:
        return "copies", (
            f"Copies: samples are {samples.nearest:.0%} as far from their nearest training image as held-out images are "
            f"(limit: {_COPIED:.0%}); {facts}."
        )
    known = f"; the discriminator ranks {samples.auc:.1%} of pairs correctly" if math.isfinite(samples.auc) else ""
    opening = f"Healthy but for {modes - covered} of {modes} modes" if missing else "Healthy"
    return "healthy", f"{opening}: {facts}{known}."


def _no_pictures(samples: SampleStatistics) -> list[str]:
    """Why the samples are noise or mush rather than pictures, in words; none if they are pictures."""
    found = []
    if samples.nearest > _UNLIKE:
        found.append(
            f"samples are {samples.nearest:.1f} times as far from their nearest training image as held-out images are (limit: {_UNLIKE:g})"
        )
    if samples.roughness > _ROUGH:
        found.append(
            f"they are noisy, with {samples.roughness:.1f} times the contrast of adjacent pixels (limit: {_ROUGH:g})"
        )
    if samples.roughness < _SMOOTH:
        found.append(
            f"they are blurred, with {samples.roughness:.0%} of the contrast of adjacent pixels (limit: {_SMOOTH:.0%})"
        )
    if samples.confidence < _DOUBTED:
        found.append(
            f"the classifier is {samples.confidence:.0%} as sure of its answers as for held-out images (limit: {_DOUBTED:.0%})"
        )
    return found


def _entropy(shares: Floats) -> float:
    """−Σ p·log p in nats, 0·log 0 being 0."""
    positive = shares[shares > 0]
    return float(-(positive * np.log(positive)).sum()) + 0.0  # not −0.0
