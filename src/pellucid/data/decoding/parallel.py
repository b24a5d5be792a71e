# SPDX-License-Identifier: Apache-2.0
"""Work on many images by several threads: Pillow releases the interpreter while it decodes."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

__all__ = ["in_parallel", "workers"]

_RUN = 32  # files that a thread takes at a time

T = TypeVar("T")


def workers() -> int:
    """How many threads decode: one per core that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)


def in_parallel(work: Callable[[int], T], count: int, threads: int | None = None) -> list[T]:
    """The results of `work` for 0 … count − 1, computed by several threads, each of which takes a run of positions at a time.

    >>> in_parallel(lambda i: i * i, 5)
    [0, 1, 4, 9, 16]
    """
    # one future per image would cost as much as decoding a small one
    runs = [range(start, min(start + _RUN, count)) for start in range(0, count, _RUN)]
    with ThreadPoolExecutor(threads or workers()) as pool:
        return [one for run in pool.map(lambda run: [work(i) for i in run], runs) for one in run]
