# SPDX-License-Identifier: Apache-2.0
"""Memory that tensors free stays with the process for a while, so that the next step does not have to ask for it again."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["keeping_freed_memory"]

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # glibc's numbers of the two settings (malloc.h)
_MOST = 2**31 - 1  # bytes: what mallopt's int can hold
_USUAL = 2**25  # bytes: up to here, glibc's own thresholds rise by themselves
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
