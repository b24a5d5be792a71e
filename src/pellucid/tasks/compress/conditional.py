# SPDX-License-Identifier: Apache-2.0
"""Entropy coding under a `Conditional` density: side information first, then stage after stage, each all at once."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import Any, final

import numpy as np
import torch
from numpy.typing import NDArray

from pellucid.models._conditional import FRACTIONS, SCALES
from pellucid.models._prior import LARGEST
from pellucid.tasks.compress.contexts import Contexts
from pellucid.tasks.compress.entropy import ESCAPED, MOST, Tables, trimmed, words

__all__ = ["ConditionalTables"]

_BLOCKS = 4  # to a side of a place of the side information

Array = NDArray[Any]


@final
class ConditionalTables:
    """One quality's tables and network of a `Conditional`, M channels.

    >>> from pellucid.models._conditional import Conditional
    >>> tables = ConditionalTables(Conditional(codes=2, weights=[0.01], spread=[8.0, 1.0]), quality=0)
    >>> symbols = np.array([[[3, -1]], [[0, 200]]])  # (2, 1, 2)
    >>> tables.decode(tables.encode(symbols), (1, 2)).tolist()
    [[[3, -1]], [[0, 200]]]
    """

    def __init__(self, prior: Any, quality: int) -> None:
        self.prior, self.quality = prior, quality
        self.contexts = Contexts(prior, quality)
        self.side = Tables.of(prior.side, quality)
        self.frequencies = prior.frequencies.cpu().numpy().astype(np.float64).reshape(SCALES * FRACTIONS, -1)
        self.channels = len(self.contexts.logs)

    def encode(self, symbols: Array) -> bytes:
        """Symbols (M, h, w) as bytes."""
        from constriction import stream

        coded = np.clip(symbols, -MOST, MOST).astype(np.float64)[None]  # (1, M, h, w)
        side = side_symbols(self.prior, coded, self.quality)
        coder = stream.queue.RangeEncoder()
        self.side.write(coder, side[0])
        features = self.contexts.features(np.clip(side, -MOST, MOST).astype(np.float64), coded.shape[2:])
        for place in self.contexts.places((coded.shape[2], coded.shape[3])):
            table, taken = (part.ravel() for part in self.contexts.tables(place, features, coded))
            values = coded[0][place.channels, place.rows, place.columns].ravel().astype(np.int64) - taken
            escaped = np.abs(values) > LARGEST  # beyond the table: an escape symbol, and the rest after the stage
            index = np.where(escaped, 2 * LARGEST + 1, values + LARGEST).astype(np.int32)
            for chosen, places in _by_table(table):
                coder.encode(np.ascontiguousarray(index[places]), self._models[chosen])
            beyond = values[escaped]
            if len(beyond):
                rest = 2 * (np.abs(beyond) - LARGEST - 1) + (beyond < 0)  # the lowest bit is the sign
                coder.encode(rest.clip(0, ESCAPED - 1).astype(np.int32), stream.model.Uniform(ESCAPED))
        return trimmed(coder.get_compressed())

    def decode(self, payload: bytes, size: tuple[int, int]) -> Array:
        """The symbols (M, h, w) of bytes; damaged bytes give other symbols or a ValueError, never anything worse."""
        from constriction import stream

        coder = stream.queue.RangeDecoder(words(payload))
        symbols = np.zeros((1, self.channels, *size))
        try:
            side = self.side.read(coder, (-(-size[0] // _BLOCKS), -(-size[1] // _BLOCKS)))
            features = self.contexts.features(np.clip(side, -MOST, MOST).astype(np.float64)[None], size)
            for place in self.contexts.places(size):
                table, taken = (part.ravel() for part in self.contexts.tables(place, features, symbols))
                values = np.zeros(len(table), np.int64)
                for chosen, places in _by_table(table):
                    values[places] = coder.decode(self._models[chosen], len(places))
                values -= LARGEST
                escaped = values == LARGEST + 1
                if escaped.any():
                    rest = coder.decode(stream.model.Uniform(ESCAPED), int(escaped.sum())).astype(np.int64)
                    values[escaped] = (rest // 2 + LARGEST + 1) * np.where(rest % 2, -1, 1)
                shape = (place.channels.stop - place.channels.start, len(place.rows))
                symbols[0][place.channels, place.rows, place.columns] = (values + taken).reshape(shape)
        except (AssertionError, RuntimeError) as fault:  # raised by the coder on bytes that it cannot have written
            raise ValueError(str(fault)) from None
        answer: Array = symbols[0].astype(np.int64)
        return answer

    def least_bytes(self, size: tuple[int, int]) -> float:
        """What symbols (M, h, w) take at least: the likeliest one of the most certain table at every position."""
        surest = (self.frequencies.max(-1) / self.frequencies.sum(-1)).max()
        return float(-np.log2(surest)) * self.channels * size[0] * size[1] / 8

    @cached_property
    def _models(self) -> list[Any]:
        """The coder's own form of each table."""
        from constriction import stream

        return [stream.model.Categorical(table, perfect=False) for table in self.frequencies]


@torch.no_grad()
def side_symbols(prior: Any, symbols: Array, quality: int) -> Array:
    """The side information's symbols (N, side, ⌈h/4⌉, ⌈w/4⌉) for symbols (N, M, h, w); only an encoder needs them."""
    device = prior.log_step.device
    asked = torch.full((len(symbols),), quality, device=device)
    codes = torch.from_numpy(symbols).float().to(device) * prior.step(asked)
    side: Array = prior.side.symbols(prior.summarise(codes), asked).clamp(-MOST, MOST).cpu().numpy().astype(np.int64)
    return side


def _by_table(table: Array) -> Iterator[tuple[int, Array]]:
    """Each table that is used, rising, with the places that use it, in order."""
    order = np.argsort(table, kind="stable")
    used, starts = np.unique(table[order], return_index=True)
    for number, start, end in zip(used.tolist(), starts, [*starts, len(table)][1:], strict=True):
        yield number, order[start:end]
