# SPDX-License-Identifier: Apache-2.0
"""Integer entropy tables from the symbols of training images: the states that select them, and their frequencies."""

from __future__ import annotations

from typing import Any, final

import numpy as np
import torch
from numpy.typing import NDArray

from pellucid.models._prior import LARGEST, STATES, TOTAL
from pellucid.tasks.compress.entropy import residuals, surroundings

__all__ = ["count", "count_at", "smoothed", "whole_frequencies"]

_UNITS = 4096  # a weight of 1 as a whole number
_RIDGE = 1e-3  # of the mean square of the magnitudes: keeps channels that are always 0 from making the matrix singular
_CLIPPED = 15  # larger magnitudes are predicted as this
# shares of the positions below each edge: most positions are quiet and similar, the few busy ones differ
_BELOW = (0.2, 0.4, 0.55, 0.68, 0.79, 0.87, 0.93, 0.97, 0.99)
_TO_CHANNEL = 24.0  # pseudo-counts by which each state's histogram is smoothed towards the whole channel's,
_TO_DENSITY = 48.0  # and the channel's histogram towards the learned density
_WORTH = 0.98  # a channel is coded as differences if that needs less than this share of its bits

Array = NDArray[Any]

assert len(_BELOW) == STATES - 1


@torch.no_grad()
def count(prior: Any, codes: torch.Tensor) -> None:
    """Set a `Prior`'s tables from training images' codes (N, M, h, w), for each of its qualities."""
    for quality in range(prior.qualities):
        index = torch.full((1,), quality, device=codes.device)
        count_at(prior, prior.symbols(codes, index).cpu().numpy().astype(np.int64), quality)


@torch.no_grad()
def count_at(prior: Any, symbols: Array, quality: int) -> None:
    """Set a `Prior`'s tables of one quality from training images' symbols (N, M, h, w).

    The state of a position follows from a weighted sum of earlier channels' magnitudes there and around: the weights predict
    the position's own magnitude by least squares, and are rounded to whole numbers. A table is the histogram of a state's
    symbols, smoothed towards that of the whole channel, which is smoothed towards the learned density.
    """
    device = prior.frequencies.device
    step = prior.step(torch.full((1,), quality, device=device))
    levels = torch.arange(-LARGEST, LARGEST + 1, device=device).view(1, 1, -1, 1)
    mass = prior.probability(levels * step, step)[0, :, :, 0].double().cpu().numpy()  # (M, 2·LARGEST + 1)
    # the last entry is the escape symbol, for all magnitudes beyond the table
    expected = np.concatenate([mass, np.maximum(1 - mass.sum(1, keepdims=True), 1e-6)], axis=1)
    expected /= expected.sum(1, keepdims=True)
    for name, value in vars(_Quality(symbols, expected)).items():
        buffer = getattr(prior, name)
        buffer[quality] = torch.from_numpy(value).to(device, buffer.dtype)


@final
class _Quality:
    """The tables of one quality; the attributes are named like the buffers of `Prior`."""

    def __init__(self, symbols: Array, expected: Array) -> None:
        channels = symbols.shape[1]
        self.predicted = np.zeros(channels, np.uint8)
        coded = symbols.copy()
        if symbols.shape[2] * symbols.shape[3] > 1:
            differences = residuals(symbols)
            for channel in range(channels):
                if _entropy(differences[:, channel]) < _WORTH * _entropy(symbols[:, channel]):
                    self.predicted[channel] = 1
                    coded[:, channel] = differences[:, channel]
                    expected[channel] = 1 / expected.shape[1]  # the learned density is of symbols, not of differences
        # (positions, 2·M), channel by channel: the magnitude here, and around
        near = surroundings(coded).transpose(0, 3, 4, 2, 1).reshape(-1, 2 * channels)
        values = coded.transpose(0, 2, 3, 1).reshape(-1, channels)  # (positions, M)
        weights = _weights(near, np.minimum(np.abs(values), _CLIPPED).astype(np.float64))  # (2·M, M)
        self.nearby = weights.T.reshape(channels, channels, 2).transpose(0, 2, 1).astype(np.int32)
        scores = near @ weights  # (positions, M)
        self.edges = np.quantile(scores, _BELOW, axis=0, method="higher").T.astype(np.int64) + 1  # (M, STATES − 1)
        index = np.where(np.abs(values) > LARGEST, 2 * LARGEST + 1, values + LARGEST)
        self.frequencies = np.empty((channels, STATES, expected.shape[1]), np.int32)
        for channel in range(channels):
            state = np.searchsorted(self.edges[channel], scores[:, channel], side="right")
            cell = state * expected.shape[1] + index[:, channel]
            counts = np.bincount(cell, minlength=STATES * expected.shape[1]).reshape(STATES, -1).astype(np.float64)
            of_channel = smoothed(counts.sum(0), expected[channel], _TO_DENSITY)
            self.frequencies[channel] = whole_frequencies(smoothed(counts, of_channel, _TO_CHANNEL))


def whole_frequencies(shares: Array) -> Array:
    """Shares (…, n) with rows that sum to 1, as whole numbers of at least 1 with rows that sum to `TOTAL`.

    >>> whole_frequencies(np.array([[0.5, 0.25, 0.25, 0.0]])).tolist()
    [[524287, 262144, 262144, 1]]
    """
    symbols = shares.shape[-1]
    exact = shares * (TOTAL - symbols)
    whole: Array = np.floor(exact).astype(np.int64) + 1
    largest = shares.argmax(-1)[..., None]  # takes what rounding left over, where it matters least
    missing = TOTAL - whole.sum(-1, keepdims=True)  # at most one per symbol
    np.put_along_axis(whole, largest, np.take_along_axis(whole, largest, -1) + missing, -1)
    return whole


def _weights(near: Array, magnitudes: Array) -> Array:
    """Whole weights (2·M, M): column m predicts channel m's magnitudes from those of the channels before it."""
    channels = magnitudes.shape[1]
    gram = near.T @ near / len(near)  # (2·M, 2·M); the normal equations of all channels share it
    gram[np.diag_indices_from(gram)] += _RIDGE * gram.diagonal() + 1e-6
    toward = near.T @ magnitudes / len(near)
    # the factor for the first n features is the first n rows and columns of the whole factor
    lower = torch.linalg.cholesky(torch.from_numpy(gram))
    weights = np.zeros((2 * channels, channels))
    for channel in range(1, channels):
        n = 2 * channel
        solved = torch.cholesky_solve(torch.from_numpy(toward[:n, channel : channel + 1].copy()), lower[:n, :n])
        weights[:n, channel] = solved[:, 0].numpy()
    most = 2**31 - 1  # a sum of 2·M such weights times 8·15 stays far below 2⁵³
    whole: Array = (weights * _UNITS).round().clip(-most, most)
    return whole


def smoothed(counts: Array, toward: Array, trust: float) -> Array:
    """Shares from counts (…, n), with `trust` pseudo-counts distributed as `toward` (n,)."""
    shares: Array = (counts + trust * toward) / (counts.sum(-1, keepdims=True) + trust)
    return shares


def _entropy(values: Array) -> float:
    """Bits per symbol by the histogram of whole numbers; all beyond the tables count as one symbol."""
    clipped = np.clip(values, -LARGEST - 1, LARGEST + 1).ravel() + LARGEST + 1
    counts = np.bincount(clipped)
    shares = counts[counts > 0] / len(clipped)
    return float(-(shares * np.log2(shares)).sum())
