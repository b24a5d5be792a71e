# SPDX-License-Identifier: Apache-2.0
"""Freed memory that stays with the process for the next step, and garbage in circles that is looked for seldom."""

from __future__ import annotations

import gc
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["collecting_seldom", "keeping_freed_memory"]

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # glibc's numbers of the two settings (malloc.h)
_MOST = 2**31 - 1  # bytes: what mallopt's int can hold
_USUAL = 2**25  # bytes: up to here, glibc's own thresholds rise by themselves
_SELDOM = 10_000  # new objects, from which garbage is looked for; Python's own number is 700
_OWN = ("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_MAX_", "GLIBC_TUNABLES")


@contextmanager
def keeping_freed_memory() -> Iterator[bool]:
    """Let the C library keep freed blocks of up to 2 GiB instead of giving them back to the system; whether it does.

    Of itself, glibc maps each block of more than 32 MiB each time, and the system clears all of its pages first. A training step
    frees and asks for such blocks all the time: with maps of 360×480 px that is a third of the step. The peak of the memory
    stays about as it is, since the same blocks are used again. At the end all free memory goes back. Settings in the
    environment are left alone, and so is a C library other than glibc.

    >>> with keeping_freed_memory() as kept:
    ...     kept in (True, False)
    True
    """
    import ctypes

    libc = ctypes.CDLL(None) if sys.platform == "linux" and not any(name in os.environ for name in _OWN) else None
    if libc is None or not hasattr(libc, "mallopt") or not hasattr(libc, "malloc_trim"):
        yield False
        return
    done = libc.mallopt(_MMAP_THRESHOLD, _MOST) == 1 and libc.mallopt(_TRIM_THRESHOLD, _MOST) == 1
    try:
        yield done
    finally:
        libc.mallopt(_MMAP_THRESHOLD, _USUAL)
        libc.mallopt(_TRIM_THRESHOLD, 2 * _USUAL)
        libc.malloc_trim(0)


_lock = threading.Lock()
_depth = 0
_before = gc.get_threshold()


@contextmanager
def collecting_seldom() -> Iterator[None]:
    """Look for garbage in circles after 10,000 new objects rather than 700.

    An import makes a million objects, and a figure thousands: each look goes through many that are no garbage. The setting is that of
    the process, so blocks that overlap in several threads leave it as it was when the last of them ends.

    >>> before = gc.get_threshold()
    >>> with collecting_seldom():
    ...     gc.get_threshold()[0] >= 10_000
    True
    >>> gc.get_threshold() == before
    True
    """
    global _depth, _before
    with _lock:
        _depth += 1
        if _depth == 1:
            _before = gc.get_threshold()
            if _before[0]:  # 0: whoever has turned it off wants none
                gc.set_threshold(max(_before[0], _SELDOM), *_before[1:])
    try:
        yield
    finally:
        with _lock:
            _depth -= 1
            if not _depth:
                gc.set_threshold(*_before)
