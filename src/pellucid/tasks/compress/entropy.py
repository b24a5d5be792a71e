# SPDX-License-Identifier: Apache-2.0
"""Lossless entropy coding of whole numbers: integer tables chosen by integer sums, and a range coder.

All arithmetic that decoding depends on is on whole numbers. Where it runs in float64 the numbers stay below 2⁵³, so that
every sum and product is exact, in any order and on any machine.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self, final

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from pellucid.models._prior import LARGEST

__all__ = ["ESCAPED", "MOST", "Tables", "residuals", "surroundings", "trimmed", "words"]

MOST = LARGEST + 2**19
"""The largest magnitude of a symbol; larger ones are clipped to it."""

ESCAPED = 2**22
"""Values of an escaped symbol: up to the difference of the two largest, with its sign."""

_NEAR = 15  # larger magnitudes of neighbours are clipped to this
_CHUNK = 8192  # symbols whose tables are in memory at a time: 8 MB

Array = NDArray[Any]


@final
@dataclass(frozen=True)
class Tables:
    """One quality's integer tables, as `pellucid.models` keeps them (see `Prior`), M channels.

    Channels are coded one after another. A weighted sum of the magnitudes that earlier channels have at a position and at its
    eight neighbours measures how busy the position is; the interval that the sum falls into, the state, selects the channel's
    table.

    >>> from pellucid.models._prior import Prior
    >>> tables = Tables.of(Prior(codes=2, weights=[0.01], spread=[8.0, 1.0]), quality=0)
    >>> symbols = np.array([[[3, -1]], [[0, 200]]])  # (2, 1, 2)
    >>> tables.decode(tables.encode(symbols), (1, 2)).tolist()
    [[[3, -1]], [[0, 200]]]
    """

    frequencies: Array  # (M, states, 2·LARGEST + 2) float64 of whole numbers
    nearby: Array  # (M, 2, M) float64 of whole numbers
    edges: Array  # (M, states − 1) float64 of whole numbers
    predicted: Array  # (M,) bool: channels coded as differences from their neighbours

    @classmethod
    def of(cls, prior: Any, quality: int) -> Self:
        """A model's tables for a quality."""

        def array(tensor: Tensor) -> Array:
            return tensor[quality].cpu().numpy().astype(np.float64)

        return cls(
            array(prior.frequencies), array(prior.nearby), array(prior.edges), array(prior.predicted).astype(bool)
        )

    @property
    def channels(self) -> int:
        """M."""
        return len(self.predicted)

    def encode(self, symbols: Array) -> bytes:
        """Symbols (M, h, w) as bytes."""
        from constriction import stream

        coder = stream.queue.RangeEncoder()
        self.write(coder, symbols)
        return trimmed(coder.get_compressed())

    def write(self, coder: Any, symbols: Array) -> None:
        """Add symbols (M, h, w) to what a range coder has."""
        from constriction import stream

        clipped = np.clip(symbols, -MOST, MOST).astype(np.int64)
        coded = np.stack([residuals(c) if p else c for c, p in zip(clipped, self.predicted, strict=True)])  # (M, h, w)
        near = surroundings(coded[None])[0]  # (2, M, h, w)
        family = stream.model.Categorical(perfect=False)
        for channel, values in enumerate(coded.reshape(len(coded), -1)):
            state = self._states(channel, near)
            escaped = np.abs(values) > LARGEST  # beyond the table: an escape symbol, and the rest after the channel
            index = np.where(escaped, 2 * LARGEST + 1, values + LARGEST).astype(np.int32)
            for start in range(0, len(index), _CHUNK):
                part = slice(start, start + _CHUNK)
                coder.encode(index[part], family, self.frequencies[channel, state[part]])
            beyond = values[escaped]
            if len(beyond):
                rest = 2 * (np.abs(beyond) - LARGEST - 1) + (beyond < 0)  # the lowest bit is the sign
                coder.encode(rest.clip(0, ESCAPED - 1).astype(np.int32), stream.model.Uniform(ESCAPED))

    def decode(self, payload: bytes, size: tuple[int, int]) -> Array:
        """The symbols (M, h, w) of bytes; damaged bytes give other symbols or a ValueError, never anything worse."""
        from constriction import stream

        try:
            return self.read(stream.queue.RangeDecoder(words(payload)), size)
        except (AssertionError, RuntimeError) as fault:  # raised by the coder on bytes that it cannot have written
            raise ValueError(str(fault)) from None

    def read(self, coder: Any, size: tuple[int, int]) -> Array:
        """The next symbols (M, h, w) of a range coder.

        Each channel's tables follow from the channels before it, which are decoded already.
        """
        from constriction import stream

        count, family = size[0] * size[1], stream.model.Categorical(perfect=False)
        near = np.zeros((2, len(self.nearby), *size))
        symbols = np.zeros((len(self.nearby), *size), np.int64)
        for channel in range(len(symbols)):
            state = self._states(channel, near)
            parts = [
                coder.decode(family, self.frequencies[channel, state[start : start + _CHUNK]])
                for start in range(0, count, _CHUNK)
            ]
            values = np.concatenate(parts).astype(np.int64) - LARGEST
            escaped = values == LARGEST + 1
            if escaped.any():
                rest = coder.decode(stream.model.Uniform(ESCAPED), int(escaped.sum())).astype(np.int64)
                values[escaped] = (rest // 2 + LARGEST + 1) * np.where(rest % 2, -1, 1)
            coded = values.reshape(size)
            near[:, channel] = surroundings(coded[None, None])[0, :, 0]
            symbols[channel] = _summed(coded) if self.predicted[channel] else coded
        return symbols

    def least_bytes(self, size: tuple[int, int]) -> float:
        """What symbols (M, h, w) take at least: the likeliest one at every position, of the most certain table of its channel.

        >>> from pellucid.models._prior import Prior
        >>> tables = Tables.of(Prior(codes=2, weights=[0.01], spread=[8.0, 1.0]), quality=0)
        >>> tables.least_bytes((8, 8)) <= len(tables.encode(np.zeros((2, 8, 8), np.int64)))
        True
        """
        surest = (self.frequencies.max(-1) / self.frequencies.sum(-1)).max(-1)  # (M,)
        return float(-np.log2(surest).sum()) * size[0] * size[1] / 8

    def _states(self, channel: int, near: Array) -> Array:
        """(h·w,): which of the channel's tables each position uses."""
        earlier = near[:, :channel].reshape(2 * channel, near.shape[2] * near.shape[3])
        score = self.nearby[channel, :, :channel].reshape(-1) @ earlier  # whole numbers below 2⁵³: exact
        return np.searchsorted(self.edges[channel], score, side="right")


def surroundings(coded: Array) -> Array:
    """Magnitudes at each position of (N, M, h, w), and their sums over its eight neighbours: (N, 2, M, h, w) float64, whole.

    >>> surroundings(np.array([[[[2, 0, -40]]]]))[0, :, 0, 0].tolist()
    [[2.0, 0.0, 15.0], [0.0, 17.0, 0.0]]
    """
    here = np.minimum(np.abs(coded), _NEAR).astype(np.float64)
    padded = np.pad(here, ((0, 0), (0, 0), (1, 1), (1, 1)))
    # the sum over 3×3 positions as two sums of three
    rows = padded[:, :, :-2] + padded[:, :, 1:-1] + padded[:, :, 2:]
    return np.stack([here, rows[..., :-2] + rows[..., 1:-1] + rows[..., 2:] - here], axis=1)


def residuals(symbols: Array) -> Array:
    """Differences of (…, h, w) from the mean, rounded down, of the left and the upper neighbour, where there are any.

    >>> residuals(np.array([[5, 6], [7, 9]])).tolist()
    [[5, 1], [2, 3]]
    """
    differences = symbols.copy()
    differences[..., 0, 1:] -= symbols[..., 0, :-1]
    differences[..., 1:, 0] -= symbols[..., :-1, 0]
    differences[..., 1:, 1:] -= (symbols[..., :-1, 1:] + symbols[..., 1:, :-1]) >> 1  # >> rounds down, also below 0
    return differences


def _summed(differences: Array) -> Array:
    """The inverse of `residuals` for one channel (h, w)."""
    symbols = differences.copy()
    np.cumsum(differences[0], out=symbols[0])
    np.cumsum(differences[:, 0], out=symbols[:, 0])
    height, width = differences.shape
    # positions of a diagonal depend on the diagonal before it only, so that each takes one vectorised step
    for diagonal in range(2, height + width - 1):
        row = np.arange(max(1, diagonal - width + 1), min(height, diagonal))
        column = diagonal - row
        symbols[row, column] += (symbols[row - 1, column] + symbols[row, column - 1]) >> 1
    return symbols


def words(payload: bytes) -> Array:
    """Bytes as the range decoder's words."""
    return np.frombuffer(payload + bytes(-len(payload) % 4), "<u4").astype(np.uint32)


def trimmed(content: Array) -> bytes:
    """Words as bytes without trailing zeros, which decoding puts back."""
    return content.astype("<u4").tobytes().rstrip(b"\0")
