# SPDX-License-Identifier: Apache-2.0
"""Models in memory, within the bytes that they may take together."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, final

from pellucid.errors import UsageError
from pellucid.measures import WEIGHTS
from pellucid.predicting import prepared
from pellucid.serving.limits import Refused
from pellucid.serving.shelf import Served

if TYPE_CHECKING:
    from torch import nn

__all__ = ["Models"]


@dataclass
class _Kept:
    """A model, the bytes that are set aside for it, and how many use it now."""

    model: nn.Module | None = None
    size: int = 0
    users: int = 0


@final
class Models:
    """Models in memory: of each run one for answers, and one for looks; those that were asked longest ago make room for others.

    One in use stays: another that does not fit beside it waits until it is given back. Answers and looks may come from two threads,
    each of which uses one model at a time.

    Args:
        room: bytes that their weights may take together.
    """

    def __init__(self, room: int) -> None:
        if room <= 0:
            raise UsageError(f"memory={room / (1 << 30):g}: must be above 0 GiB; give another value.")
        self.room = room
        self.held = 0  # bytes
        self._kept: OrderedDict[tuple[str, bool], _Kept] = OrderedDict()  # by name, and whether it is for looks
        self._turn = threading.Condition()

    @property
    def names(self) -> Sequence[str]:
        """The runs whose models are in memory, the last asked one last."""
        with self._turn:
            return [*dict.fromkeys(name for name, _ in reversed(self._kept))][::-1]

    @contextmanager
    def lent(self, served: Served, *, plain: bool = False) -> Iterator[nn.Module]:
        """The model of a run, read if it is not in memory; it is kept for the length of the block.

        Args:
            served: the run.
            plain: as it was trained, for lenses; otherwise as `predict` asks it, where batch norms may be folded.

        Raises:
            Refused: it takes more than all the room.
        """
        key, file = (served.name, plain), served.run.path / WEIGHTS["best"]
        with self._turn:
            kept = self._kept.setdefault(key, _Kept())
            kept.users += 1
            self._kept.move_to_end(key)
        try:
            model = kept.model
            if model is None:
                self._set_aside(served.name, kept, file.stat().st_size if file.exists() else 0)
                model = served.run.model() if plain else prepared(served.run)
                self._set_aside(
                    served.name, kept, sum(tensor.nbytes for tensor in (*model.parameters(), *model.buffers()))
                )
                kept.model = model
            yield model
        finally:
            with self._turn:
                kept.users -= 1
                if kept.model is None:  # it was not read
                    self.held -= kept.size
                    del self._kept[key]
                self._turn.notify_all()

    def _set_aside(self, name: str, kept: _Kept, size: int) -> None:
        """Room for a model; while it waits for some it holds none, so that two never wait for each other."""
        if size > self.room:
            need, have = size / (1 << 30), self.room / (1 << 30)
            raise Refused(
                507, f"run={name!r}: its model takes {need:.3g} GiB, and --memory is {have:.3g}; serve it with more."
            )
        with self._turn:
            self.held -= kept.size
            kept.size = 0
            while self.held + size > self.room:
                idle = next((key for key, other in self._kept.items() if not other.users), None)
                if idle is None:
                    self._turn.wait()
                else:
                    self.held -= self._kept.pop(idle).size
            self.held += size
            kept.size = size
