# SPDX-License-Identifier: Apache-2.0
"""Damage by seed, and a command that is watched while it meets it: bytes are flipped, cut and moved, JSON values exchanged."""

from __future__ import annotations

import contextlib
import io
import json
import os
import pickle
import random
import resource
import signal
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from pellucid.cli.cli import main

__all__ = ["Tally", "damaged_bytes", "damaged_json", "forked", "peak_megabytes", "watched"]

T = TypeVar("T")

_VALUES: tuple[Any, ...] = (
    None, True, False, -1, 0, 1, 3.5, 1e308, 10**12, 10**40, float("nan"), float("inf"), "", "x", "../../x", "\ud800",
    "a\nb", [], {}, [[]], [1, 2, 3], {"a": 1}, {"": None}, [None] * 50, "9" * 5000,
)  # fmt: skip


def damaged_bytes(content: bytes, draw: random.Random) -> bytes:
    """A file's content with one of the damages that disks, transfers and people do to it."""
    data, kind = bytearray(content), draw.randrange(8)
    if kind == 0 or not data:
        return bytes(draw.randrange(256) for _ in range(draw.randrange(200)))
    if kind == 1:
        return bytes(data[: draw.randrange(len(data))])
    start = draw.randrange(len(data))
    length = min(len(data) - start, draw.randrange(1, 512))
    if kind == 2:  # a block of zeros, as after a power cut
        data[start : start + length] = bytes(length)
    elif kind == 3:
        del data[start : start + length]
    elif kind == 4:
        data[start:start] = data[start : start + length]
    elif kind == 5:  # as a transfer in text mode does
        data = data.replace(b"\n", b"\r\n") if draw.random() < 0.5 else data.replace(b"\x0a", b"")
    else:
        for _ in range(draw.randrange(1, 9)):
            data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
    return bytes(data)


def damaged_json(text: str, draw: random.Random) -> str:
    """A JSON value with one of its entries exchanged, renamed, removed or nested deeply."""
    root = [json.loads(text)]
    places: list[tuple[Any, Any]] = [(root, 0)]
    for holder, key in places:
        value = holder[key]
        if isinstance(value, dict):
            places += [(value, name) for name in value]
        elif isinstance(value, list):
            places += [(value, place) for place in range(len(value))]
    holder, key = draw.choice(places)
    kind = draw.randrange(6)
    if kind == 0 and isinstance(holder, dict):
        del holder[key]
    elif kind == 1 and isinstance(holder, dict):
        holder[f"{key}_"] = holder.pop(key)
    elif kind == 2:
        deep = draw.choice((10, 1000, 100_000))
        holder[key] = "MARK"
        return json.dumps(root[0]).replace('"MARK"', "[" * deep + "]" * deep)
    else:
        holder[key] = draw.choice(_VALUES)
    return json.dumps(root[0])


def peak_megabytes() -> float:
    """The most memory that this process has had; `ru_maxrss` would count what its parent had before it started this one."""
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii")
    except OSError:  # not Linux
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def forked(work: Callable[[], T]) -> tuple[T, float]:
    """The result of `work` in a process of its own, with this one's libraries, and the most memory that process had, in MB."""
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        status = 1
        try:
            os.close(reader)
            with os.fdopen(writer, "wb") as stream:
                pickle.dump((work(), peak_megabytes()), stream)
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)  # without the parent's cleaning up
    os.close(writer)
    with os.fdopen(reader, "rb") as stream:
        content = stream.read()
    _, status = os.waitpid(child, 0)
    if status:
        raise ChildProcessError(f"the forked process ended with {status}")
    answer: tuple[T, float] = pickle.loads(content)
    return answer


@dataclass
class Tally:
    """What a campaign counts; `words` is its line."""

    cases: int = 0
    ends: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    worst: float = 0.0  # seconds
    peak: float = 0.0  # MB

    def add(self, other: Tally, megabytes: float) -> None:
        """Count what another process counted, and the memory that it had."""
        self.cases += other.cases
        self.ends += other.ends
        self.faults += other.faults
        self.worst, self.peak = max(self.worst, other.worst), max(self.peak, megabytes)

    def words(self, what: str) -> str:
        """The numbers of the campaign in one line."""
        peak = self.peak or peak_megabytes()
        ends = ", ".join(f"{count:,} {end}" for end, count in self.ends.most_common())
        return f"{what}: {self.cases:,} cases; {ends}; {len(self.faults)} faults; worst {self.worst:.1f} s; peak {peak:,.0f} MB"


def watched(words: list[str], tally: Tally, place: str, seconds: float = 60.0) -> tuple[int, str]:
    """The exit code of a command and what it printed on stderr; a trace, a hang or a bug's message is noted as a fault."""

    def late(number: int, frame: Any) -> None:
        raise TimeoutError(f"more than {seconds:g} s")

    out, err, code = io.StringIO(), io.StringIO(), -1
    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    begun = time.process_time()
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            code = main(words)
    except BaseException as fault:  # nothing may pass the command line
        tally.faults.append(f"{place}: {type(fault).__name__}: {fault}")
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        tally.worst = max(tally.worst, time.process_time() - begun)
    said = err.getvalue()
    lines = said.split("pellucid: ")[1:]  # beside the progress of the work
    if code not in (-1, 0, 2):
        tally.faults.append(f"{place}: code {code}: {said[-400:]}")
    elif code == 2 and (
        len(lines) != 1 or lines[0].count("\n") != 1 or "Traceback" in said or "bug in pellucid" in said
    ):
        tally.faults.append(f"{place}: not one sentence: {said[-400:]}")
    return code, said
