# SPDX-License-Identifier: Apache-2.0
"""Freed memory stays with the process while it trains, and goes back afterwards; garbage is looked for seldom in evaluations."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from pellucid._memory import collecting_seldom

# in a process of its own, as the setting is the process's: pages that were newly given for 20 tensors of 48 MiB, freed each time
_COUNT = """
import resource, torch
from pellucid._memory import keeping_freed_memory

def pages(count, mebi=12):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(count):
        torch.ones(mebi, 1024, 1024)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

def held():
    return int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize() / 2**20

pages(2)
usual = pages(20)
with keeping_freed_memory() as kept:
    pages(12)  # until the same places come round
    during, size = pages(20), held()
given_back = size - held()
# of 600 MiB: more than any free block that lies between others and may be used again
print(kept, usual, during, given_back, pages(4, 150))
"""


def counted(**settings: str) -> list[str]:
    usual = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC", "GLIBC"))}
    done = subprocess.run(
        [sys.executable, "-c", _COUNT], capture_output=True, text=True, check=True, env={**usual, **settings}
    )
    return done.stdout.split()


@pytest.mark.skipif(sys.platform != "linux", reason="the page counts are Linux's")
def test_blocks_are_used_again_while_they_are_kept_and_go_back_afterwards() -> None:
    kept, usual, during, given_back, after = counted()
    if kept == "False":
        pytest.skip("the C library is not glibc")
    assert int(during) * 20 < int(usual)
    assert float(given_back) > 40  # MiB of the last block
    assert int(after) > 3 * int(usual) / 20 * 150 / 12


@pytest.mark.skipif(sys.platform != "linux", reason="the page counts are Linux's")
def test_settings_in_the_environment_are_left_alone() -> None:
    assert counted(MALLOC_MMAP_THRESHOLD_="33554432")[0] == "False"


@pytest.fixture
def usual() -> Iterator[tuple[int, int, int]]:
    before = gc.get_threshold()
    gc.set_threshold(700, 10, 10)
    yield gc.get_threshold()
    gc.set_threshold(*before)


def test_blocks_that_overlap_leave_the_collector_as_it_was(usual: tuple[int, int, int]) -> None:
    one, other = collecting_seldom(), collecting_seldom()
    one.__enter__()
    other.__enter__()
    one.__exit__(None, None, None)  # the first to begin ends first, as in two threads
    assert gc.get_threshold() == (10_000, 10, 10)
    other.__exit__(None, None, None)
    assert gc.get_threshold() == usual


@pytest.mark.parametrize("own", [(0, 10, 10), (50_000, 5, 5)])
def test_a_collector_that_is_off_or_looks_more_seldom_stays_so(usual: object, own: tuple[int, int, int]) -> None:
    gc.set_threshold(*own)
    with collecting_seldom():
        assert gc.get_threshold() == own
    assert gc.get_threshold() == own


def test_circles_are_looked_for_less_often(usual: object) -> None:
    def looks() -> int:
        gc.collect()
        before = sum(part["collections"] for part in gc.get_stats())
        kept = [[] for _ in range(50_000)]  # type: ignore[var-annotated]
        return sum(part["collections"] for part in gc.get_stats()) - before - len(kept[:0])

    often = looks()
    with collecting_seldom():
        seldom = looks()
    assert often >= 50 and seldom <= 6
