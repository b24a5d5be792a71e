# SPDX-License-Identifier: Apache-2.0
"""Shared by the benchmarks: rivals are timed in turn, round after round, so that a slow minute of the machine affects all of them."""

from __future__ import annotations

import json
import platform
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from importlib.metadata import version
from typing import Any


def in_turn(rivals: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """Seconds of each rival in every round; a rival returns its own time. The first round is a warm-up and does not count."""
    taken: dict[str, list[float]] = {name: [] for name in rivals}
    for number in range(rounds + 1):
        for name, rival in rivals.items():
            seconds = rival()
            if number:
                taken[name].append(seconds)
            print(f"  round {number}  {name:<44} {seconds:8.3f} s", file=sys.stderr)
    return taken


def timed(work: Callable[[], object]) -> float:
    """Seconds that a call takes."""
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def ratio(taken: Mapping[str, list[float]], ours: str, peer: str) -> float:
    """Speed relative to the peer: the median over the rounds of the ratio within a round."""
    return statistics.median(p / o for o, p in zip(taken[ours], taken[peer], strict=True))


def report(claim: str, **numbers: object) -> None:
    """Print the numbers for a claim, with hardware and versions, as one JSON object."""
    import torch

    with open("/proc/cpuinfo") as file:
        processor = next(
            (line.split(":", 1)[1].strip() for line in file if line.startswith("model name")), platform.machine()
        )
    where = {
        "processor": processor,
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "torch": version("torch"),
    }
    print(json.dumps({"claim": claim, **numbers, **where}, indent=2))


def table(rows: Mapping[str, Mapping[str, Any]]) -> None:
    """Print rows with a head."""
    heads = ["", *next(iter(rows.values()))]
    lines = [heads, *([name, *map(str, row.values())] for name, row in rows.items())]
    widths = [max(len(line[k]) for line in lines) for k in range(len(heads))]
    for line in lines:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())
    print()
