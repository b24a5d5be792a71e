# SPDX-License-Identifier: Apache-2.0
"""Work on many images by several threads: Pillow releases the interpreter while it decodes."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from typing import TypeVar

__all__ = ["in_parallel", "limit", "watched", "workers"]

_RUN = 32  # files that a thread takes at a time
_most = [1 << 16]  # threads

T = TypeVar("T")

_WATCHING: ContextVar[Callable[[int, int], None] | None] = ContextVar("watching", default=None)


@contextmanager
def watched(tell: Callable[[int, int], None]) -> Iterator[None]:
    """Within the block, `in_parallel` tells how many images are done, and of how many.

    >>> told = []
    >>> with watched(lambda done, count: told.append((done, count))):
    ...     _ = in_parallel(abs, 40)
    >>> told
    [(0, 40), (32, 40), (40, 40)]
    """
    token = _WATCHING.set(tell)
    try:
        yield
    finally:
        _WATCHING.reset(token)


def workers() -> int:
    """How many threads decode: one per core that this process may use."""
    have = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)
    return min(have, _most[0])


def limit(threads: int) -> None:
    """Let no more threads than these decode in this process, which shares the machine with others of its kind."""
    _most[0] = threads


def in_parallel(work: Callable[[int], T], count: int, threads: int | None = None) -> list[T]:
    """The results of `work` for 0 … count − 1, computed by several threads, each of which takes a run of positions at a time.

    >>> in_parallel(lambda i: i * i, 5)
    [0, 1, 4, 9, 16]
    """
    # one future per image would cost as much as decoding a small one
    runs = [range(start, min(start + _RUN, count)) for start in range(0, count, _RUN)]
    tell = _WATCHING.get() or (lambda done, count: None)
    found: list[T] = []
    tell(0, count)
    threads = threads or workers()
    alone = threads == 1 or len(runs) < 2  # a thread that nothing runs beside would only take time to start
    with nullcontext() if alone else ThreadPoolExecutor(threads) as pool:
        for run in (map if pool is None else pool.map)(lambda run: [work(i) for i in run], runs):
            found += run
            tell(len(found), count)
    return found
