# SPDX-License-Identifier: Apache-2.0
"""The entropy coder of a model's density, and the counting of its tables."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pellucid._spread import evenly_spread
from pellucid.models._conditional import FRACTIONS, LOWEST, OCTAVE, SCALES, Conditional
from pellucid.models._prior import LARGEST
from pellucid.tasks.compress import tables
from pellucid.tasks.compress.conditional import ConditionalTables, side_symbols
from pellucid.tasks.compress.contexts import Contexts
from pellucid.tasks.compress.entropy import Tables

__all__ = ["coder", "count"]

_PLACES = 16_000  # of codes that are counted: tables for all channels together need fewer than tables for each
_TO_DENSITY = 24.0  # pseudo-counts by which a table's histogram is smoothed towards the logistic density


def coder(prior: Any, quality: int) -> Tables | ConditionalTables:
    """What encodes and decodes symbols at a quality."""
    if isinstance(prior, Conditional):
        return ConditionalTables(prior, quality)
    return Tables.of(prior, quality)


@torch.no_grad()
def count(prior: Any, codes: torch.Tensor) -> None:
    """Set the integer tables from training images' codes (N, M, h, w).

    A `Conditional` has the same tables for all channels and qualities, for each scale and place of the mean: the histogram of the
    symbols that its network in whole numbers finds there, smoothed towards the logistic density.
    """
    if not isinstance(prior, Conditional):
        tables.count(prior, codes)
        return
    prior.settle()
    codes = codes[evenly_spread(min(len(codes), max(1, _PLACES // (codes.shape[2] * codes.shape[3]))), len(codes))]
    counts = np.zeros((SCALES * FRACTIONS, 2 * LARGEST + 2))
    for quality in range(prior.qualities):
        symbols = prior.symbols(codes, torch.full((1,), quality, device=codes.device)).cpu().double().numpy()
        side = side_symbols(prior, symbols, quality)
        tables.count_at(prior.side, side, quality)
        contexts = Contexts(prior, quality)
        features = contexts.features(side.astype(np.float64), (symbols.shape[2], symbols.shape[3]))
        for place in contexts.places((symbols.shape[2], symbols.shape[3])):
            table, taken = contexts.tables(place, features, symbols)
            values = symbols[:, place.channels, place.rows, place.columns].astype(np.int64) - taken
            index = np.where(np.abs(values) > LARGEST, 2 * LARGEST + 1, values + LARGEST)
            cells = (table * counts.shape[1] + index).ravel()
            counts += np.bincount(cells, minlength=counts.size).reshape(counts.shape)
    found = counts.reshape(SCALES, FRACTIONS, -1)
    # a mean as far above a symbol as another is below: the same table, mirrored
    found[:, 1:, :-1] += found[:, :0:-1, -2::-1].copy()
    found[:, 1:, -1] += found[:, :0:-1, -1].copy()
    shares = tables.smoothed(found, _logistic(), _TO_DENSITY)
    prior.frequencies.copy_(torch.from_numpy(tables.whole_frequencies(shares)))


def _logistic() -> NDArray[np.float64]:
    """The density of each table, (SCALES, FRACTIONS, 2·LARGEST + 2), with the escape symbol last."""
    scale = 2.0 ** (LOWEST + (np.arange(SCALES) + 0.5) / OCTAVE)[:, None, None]
    mean = ((np.arange(FRACTIONS) - FRACTIONS // 2) / FRACTIONS)[:, None]
    edges = np.arange(-LARGEST, LARGEST + 2) - 0.5  # (2·LARGEST + 2,)
    below = 0.5 * (1 + np.tanh((edges - mean) / (2 * scale)))
    inside = np.diff(below)
    found: NDArray[np.float64] = np.concatenate([inside, 1 - inside.sum(-1, keepdims=True)], -1).clip(1e-12)
    shares: NDArray[np.float64] = found / found.sum(-1, keepdims=True)
    return shares
