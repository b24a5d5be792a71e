# SPDX-License-Identifier: Apache-2.0
"""Images in files."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from pellucid.data.dataset import Images
from pellucid.data.decoding.deep import Source
from pellucid.data.decoding.pictures import decode
from pellucid.data.decoding.scanning import Scan, changed, scan
from pellucid.data.scales import Bits, Levels, Scale

__all__ = ["Files"]


@final
class Files(Images):
    """Images in files, or files' bytes, decoded when they are read."""

    def __init__(
        self,
        sources: Sequence[Source],
        names: Sequence[str] = (),
        scanned: Scan | None = None,
        scale: Scale | None = None,
    ) -> None:
        self.sources = sources
        self.names = names
        self._scanned = scanned
        self._scale = scale
        self._decoded: Scan | None = None

    def __len__(self) -> int:
        return len(self.sources)

    @property
    def scanned(self) -> Scan:
        """The scan of the files, made on first use."""
        if self._scanned is None:
            self._scanned = scan(self.sources, self.names)
        return self._scanned

    @property
    def sizes(self) -> NDArray[np.int32]:
        return self.scanned.sizes

    @property
    def channels(self) -> int:
        return int(self.scanned.channels.max(initial=1))

    @property
    def digests(self) -> Sequence[bytes]:
        return self.scanned.digests

    @property
    def hashes(self) -> NDArray[np.uint64]:
        looks = [one.look or bytes(8) for one in self.decoded.seen]
        return np.frombuffer(b"".join(looks), ">u8").astype(np.uint64)

    @property
    def decoded(self) -> Scan:
        """A scan for which every file was decoded, with hashes of the pixels, and damage that only decoding finds."""
        if self._decoded is None:
            known = self.scanned
            # a later opening knows this of every file already, and need not ask for their states again
            closely = all(one.look or one.problem for one in known.seen)
            self._decoded = known if closely else scan(self.sources, self.names, deep=True)
        return self._decoded

    def refreshed(self) -> bool:
        """Whether files have changed behind their sizes and times; then all of them are scanned again, for the next opening."""
        if self._scanned is None or not changed(self.sources, self._scanned):
            return False
        self._scanned = scan(self.sources, self.names, again=True)
        return True

    @property
    def levels(self) -> Levels:
        return self.scanned.levels

    @property
    def scale(self) -> Scale | None:
        return self._scale

    def scaled(self, scale: Scale) -> Files:
        return Files(self.sources, self.names, self._scanned, scale)

    def select(self, index: Sequence[int] | NDArray[np.int64]) -> Files:
        rows = [int(i) for i in index]
        scanned = self._scanned and self._scanned.select(rows)
        names = [self.names[i] for i in rows] if self.names else ()
        return Files([self.sources[i] for i in rows], names, scanned, self._scale)

    def read(self, index: int, channels: int, bits: Bits = 8) -> NDArray[Any]:
        name = self.names[index] if self.names else ""
        return decode(self.sources[index], channels, name, None, self._scale, bits)
