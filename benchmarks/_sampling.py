# SPDX-License-Identifier: Apache-2.0
"""Where a process's processor time goes: a thread looks at all others every few milliseconds, and reads each one's own clock.

Time counts where a thread has spent it, whatever waits for it; a thread that sleeps or waits costs nothing. A deterministic profiler
doubles the time of small functions; here the looks themselves take up to a tenth of the process's time, which is in no stack.
Threads that libraries start by themselves
have no clock here: with one thread for torch there are none.
"""

from __future__ import annotations

import gc
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

Stack = tuple[
    str, ...
]  # "folder/file.py:function" of each frame, outermost first; "import NAME" where a module is loaded

COLLECTING: Stack = ("gc:collect",)

_EVERY = 0.01  # seconds between two looks
_LOADS = "_find_and_load"  # the function of Python's import system by which each module is loaded
_SHORT: dict[str, str] = {}


@contextmanager
def sampled() -> Iterator[Counter[Stack]]:
    """Seconds of processor time by stack, of all of Python's threads within the block."""
    found: Counter[Stack] = Counter()
    clocks: dict[int, float] = {threading.get_ident(): time.thread_time()}
    collecting: dict[int, float] = {}  # threads that look for garbage, and their clocks when they began
    end = threading.Event()

    def collects(phase: str, info: dict[str, int]) -> None:
        ident, now = threading.get_ident(), time.thread_time()
        if phase == "start":
            collecting[ident] = now
        elif (begun := collecting.pop(ident, None)) is not None:
            found[COLLECTING] += now - begun
            clocks[ident] = clocks.get(ident, 0.0) + now - begun

    def look() -> None:
        own = threading.get_ident()
        for ident, frame in sys._current_frames().items():
            if ident == own or ident in collecting:
                continue
            try:
                now = time.clock_gettime(time.pthread_getcpuclockid(ident))
            except OSError:  # it has ended meanwhile
                continue
            spent = now - clocks.get(ident, 0.0)
            clocks[ident] = now
            if spent < 0:  # another thread under the number of one that has ended
                spent = now
            if spent:
                found[_stack(frame)] += spent

    def watch() -> None:
        while not end.wait(_EVERY):
            look()

    before = sys.getswitchinterval()
    sys.setswitchinterval(_EVERY / 8)  # else a look comes later than what it shall see
    watching = threading.Thread(target=watch, name="sampling", daemon=True)
    watching.start()
    gc.callbacks.append(collects)
    try:
        yield found
    finally:
        gc.callbacks.remove(collects)
        end.set()
        watching.join()
        look()
        sys.setswitchinterval(before)


def _stack(frame: FrameType | None) -> Stack:
    names = []
    while frame is not None:
        code = frame.f_code
        if code.co_name == _LOADS and code.co_filename.startswith("<frozen importlib"):
            names.append(f"import {frame.f_locals.get('name')}")
        elif not code.co_filename.startswith("<frozen importlib"):
            names.append(f"{_short(code.co_filename)}:{code.co_qualname}")
        frame = frame.f_back
    return tuple(reversed(names))


def _short(file: str) -> str:
    """A file's path from its package or library on."""
    if file not in _SHORT:
        for place in ("/site-packages/", "/src/", "/lib/python3"):
            if place in file:
                _SHORT[file] = file.rsplit(place, 1)[1]
                break
        else:
            _SHORT[file] = file.rsplit("/", 1)[-1]
    return _SHORT[file]
