# SPDX-License-Identifier: Apache-2.0
"""Integer entropy tables from the symbols of training images: what they follow from, and how often each occurs."""

from __future__ import annotations

from typing import Any, final

import numpy as np
import torch
from numpy.typing import NDArray

from pellucid.models._prior import LARGEST, STATES, TOTAL
from pellucid.tasks.compress.entropy import residuals, surroundings

__all__ = ["count", "whole_frequencies"]

_UNITS = 4096  # of a weight, which is a whole number
_RIDGE = 1e-3  # of the mean square of the magnitudes, so that channels that are always 0 do no harm
_CAPPED = 15  # larger magnitudes are foretold as this
# shares of the places below each edge: quiet places are many and alike, busy ones few and different
_BELOW = (0.2, 0.4, 0.55, 0.68, 0.79, 0.87, 0.93, 0.97, 0.99)
_TO_CHANNEL = 24.0  # symbols' worth of trust in the whole channel's histogram, in each of its states
_TO_DENSITY = 48.0  # and of the learned density in the channel's histogram
_WORTH = 0.98  # a channel is told by differences if that takes its bits at least below this share

Array = NDArray[Any]

assert len(_BELOW) == STATES - 1


@torch.no_grad()
def count(prior: Any, codes: torch.Tensor) -> None:
    """Set a `Prior`'s tables from training images' codes (N, M, h, w), for each of its qualities.

    The state of a place is the sum of earlier channels' magnitudes there and around that foretells its own magnitude best in
    the least-squares sense, rounded to whole weights. A table is the histogram of a state's symbols, drawn to that of the whole
    channel, and this to the learned density.
    """
    for quality in range(prior.qualities):
        asked = torch.full((1,), quality, device=codes.device)
        symbols = prior.symbols(codes, asked).cpu().numpy().astype(np.int64)
        step = prior.step(asked)
        levels = torch.arange(-LARGEST, LARGEST + 1, device=codes.device).view(1, 1, -1, 1)
        mass = prior.probability(levels * step, step)[0, :, :, 0].double().cpu().numpy()  # (M, 2·LARGEST + 1)
        expected = np.concatenate([mass, np.maximum(1 - mass.sum(1, keepdims=True), 1e-6)], axis=1)
        expected /= expected.sum(1, keepdims=True)
        found = _Quality(symbols, expected)
        device = prior.frequencies.device
        for name, value in vars(found).items():
            buffer = getattr(prior, name)
            buffer[quality] = torch.from_numpy(value).to(device, buffer.dtype)


@final
class _Quality:
    """The tables of one quality: attributes as the buffers of `Prior`."""

    def __init__(self, symbols: Array, expected: Array) -> None:
        channels = symbols.shape[1]
        self.predicted = np.zeros(channels, np.uint8)
        told = symbols.copy()
        if symbols.shape[2] * symbols.shape[3] > 1:
            apart = residuals(symbols)
            for channel in range(channels):
                if _entropy(apart[:, channel]) < _WORTH * _entropy(symbols[:, channel]):
                    self.predicted[channel] = 1
                    told[:, channel] = apart[:, channel]
                    expected[channel] = 1 / expected.shape[1]  # the density is that of the symbols themselves
        # (places, 2·M), channel by channel
        near = surroundings(told).transpose(0, 3, 4, 2, 1).reshape(-1, 2 * channels)
        values = told.transpose(0, 2, 3, 1).reshape(-1, channels)
        weights = _weights(near, np.minimum(np.abs(values), _CAPPED).astype(np.float64))  # (2·M, M)
        self.nearby = weights.T.reshape(channels, channels, 2).transpose(0, 2, 1).astype(np.int32)
        scores = near @ weights
        self.edges = np.quantile(scores, _BELOW, axis=0, method="higher").T.astype(np.int64) + 1  # (M, STATES − 1)
        index = np.where(np.abs(values) > LARGEST, 2 * LARGEST + 1, values + LARGEST)
        self.frequencies = np.empty((channels, STATES, expected.shape[1]), np.int32)
        for channel in range(channels):
            state = np.searchsorted(self.edges[channel], scores[:, channel], side="right")
            cell = state * expected.shape[1] + index[:, channel]
            counts = np.bincount(cell, minlength=STATES * expected.shape[1]).reshape(STATES, -1).astype(np.float64)
            whole = _drawn(counts.sum(0), expected[channel], _TO_DENSITY)
            self.frequencies[channel] = whole_frequencies(_drawn(counts, whole, _TO_CHANNEL))


def whole_frequencies(shares: Array) -> Array:
    """Shares (…, n), each row's sum 1, as whole numbers of at least 1, each row's sum `TOTAL`.

    >>> whole_frequencies(np.array([[0.5, 0.25, 0.25, 0.0]])).tolist()
    [[524287, 262144, 262144, 1]]
    """
    symbols = shares.shape[-1]
    exact = shares * (TOTAL - symbols)
    whole = np.floor(exact).astype(np.int64) + 1
    best = shares.argmax(-1)[..., None]
    missing = TOTAL - whole.sum(-1, keepdims=True)  # at most one a symbol
    np.put_along_axis(whole, best, np.take_along_axis(whole, best, -1) + missing, -1)
    return whole  # type: ignore[no-any-return]


def _weights(near: Array, magnitudes: Array) -> Array:
    """Whole weights (2·M, M): column m foretells channel m's magnitudes from those of the channels before it."""
    channels = magnitudes.shape[1]
    gram = near.T @ near / len(near)
    gram[np.diag_indices_from(gram)] += _RIDGE * gram.diagonal() + 1e-6
    toward = near.T @ magnitudes / len(near)
    lower = torch.linalg.cholesky(torch.from_numpy(gram))  # that of the first n features is its first n rows
    weights = np.zeros((2 * channels, channels))
    for channel in range(1, channels):
        n = 2 * channel
        solved = torch.cholesky_solve(torch.from_numpy(toward[:n, channel : channel + 1].copy()), lower[:n, :n])
        weights[:n, channel] = solved[:, 0].numpy()
    most = 2**31 - 1  # a sum of 2·M such weights times 8·15 stays far below 2⁵³
    whole: Array = (weights * _UNITS).round().clip(-most, most)
    return whole


def _drawn(counts: Array, toward: Array, trust: float) -> Array:
    """Shares from counts, with `trust` more that are shared out as `toward`."""
    shares: Array = (counts + trust * toward) / (counts.sum(-1, keepdims=True) + trust)
    return shares


def _entropy(values: Array) -> float:
    """Bits a symbol of the histogram of whole numbers; those beyond the tables count as one."""
    held = np.clip(values, -LARGEST - 1, LARGEST + 1).ravel() + LARGEST + 1
    counts = np.bincount(held)
    shares = counts[counts > 0] / len(held)
    return float(-(shares * np.log2(shares)).sum())
