# SPDX-License-Identifier: Apache-2.0
"""What takes the processor's time beside the network, in whole programs: causes by name, largest first.

Three programs, each in a process of its own with an empty cache and one thread: `demo` is examples/demo.py; `photographs` trains,
evaluates and reports a classifier of 2,000 photographs of 500×375 px; `detection` does so with a detector of drawn scenes. Time in
the network's forward and backward passes and its optimiser's updates is added up apart. What Python needs to start and to end is the
rest of the process's time.

    OMP_NUM_THREADS=1 python benchmarks/profiles.py [--what demo|photographs|detection] [--rows 12] [--inside CAUSE] [--stacks FILE]
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import runpy
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from _causes import NETWORK, cause_of
from _sampling import Stack, sampled
from _timing import report, table

ROOT = Path(__file__).parent.parent


def demo(place: Path) -> None:
    """The demo, as `make demo` runs it."""
    sys.argv = ["demo.py", str(place / "runs")]
    runpy.run_path(str(ROOT / "examples" / "demo.py"), run_name="__main__")


def photographs(place: Path) -> None:
    """A classifier of photographs, from their files to the report."""
    import pellucid

    run = pellucid.train("classify", place / "photographs", "convnet", place / "run", size=64, epochs=1, batch_size=64)
    pellucid.evaluate(run)
    pellucid.report(run)


def detection(place: Path) -> None:
    """A detector of drawn scenes."""
    import pellucid

    run = pellucid.train("detect", out=place / "run", epochs=2)
    pellucid.evaluate(run)
    pellucid.report(run)


JOBS: dict[str, Callable[[Path], None]] = {"demo": demo, "photographs": photographs, "detection": detection}


def within(job: str, place: Path) -> None:
    """Run a job in this process, and write its stacks and the time up to here."""
    started = time.process_time()
    with sampled() as found:
        JOBS[job](place)
    seen = time.process_time()
    stacks = [[seconds, *stack] for stack, seconds in found.items()]
    (place / "stacks.json").write_text(json.dumps(stacks))
    clock = {"job": seen - started, "around": time.process_time() - seen}
    (place / "clock.json").write_text(json.dumps(clock))


def profile(job: str, photographs_too: int) -> tuple[Counter[Stack], float, float]:
    """Seconds by stack, those before and after the job, and those of all of the process."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        if job == "photographs":
            from decoding import draw

            draw(place / "photographs", photographs_too)
        environment = {**os.environ, "PELLUCID_CACHE": str(place / "cache"), "MPLCONFIGDIR": str(place / "matplotlib")}
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        words = [sys.executable, __file__, "--what", job, "--within", folder]
        subprocess.run(words, check=True, env=environment, stdout=sys.stderr)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        whole = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        stacks = json.loads((place / "stacks.json").read_text())
        clock = json.loads((place / "clock.json").read_text())
    found = Counter({tuple(stack): seconds for seconds, *stack in stacks})
    whole -= clock["around"]  # writing the stacks is no part of the program
    return found, whole - clock["job"], whole


def inside(found: Counter[Stack], cause: str) -> None:
    """The innermost functions of a cause, and the longest stacks that lead there."""
    leaves: Counter[str] = Counter()
    ways: Counter[str] = Counter()
    for stack, seconds in found.items():
        if cause in cause_of(stack):
            leaves[stack[-1]] += seconds
            ways[" > ".join(stack[-8:])] += seconds
    for name, seconds in [*leaves.most_common(15), *ways.most_common(15)]:
        print(f"    {seconds:7.2f} s  {name}", file=sys.stderr)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--what", choices=JOBS, action="append")
    options.add_argument("--images", type=int, default=2000, help="photographs")
    options.add_argument("--rows", type=int, default=12)
    options.add_argument("--inside", help="a cause whose functions are printed too")
    options.add_argument("--stacks", type=Path, help="a file for all stacks with their seconds, one a line")
    options.add_argument("--within", type=Path, help=argparse.SUPPRESS)
    asked = options.parse_args()
    if asked.within is not None:
        within(asked.what[0], asked.within)
        return
    for job in asked.what or JOBS:
        found, ends, whole = profile(job, asked.images)
        causes: Counter[str] = Counter({"Python's start and end": ends})
        for stack, seconds in found.items():
            causes[cause_of(stack)] += seconds
        if asked.stacks:
            lines = [f"{seconds:.4f} {';'.join(stack)}" for stack, seconds in found.most_common()]
            asked.stacks.write_text("\n".join(lines), encoding="utf-8")
        if asked.inside:
            inside(found, asked.inside)
        network = {name: causes.pop(name) for name in list(causes) if name.startswith(NETWORK)}
        rows: dict[str, dict[str, Any]] = {
            name: {"s": f"{seconds:.2f}", "of what is beside the network": f"{seconds / causes.total():.1%}"}
            for name, seconds in causes.most_common(asked.rows)
        }
        table(rows)
        report(
            f"processor time of {job}",
            n=asked.images if job == "photographs" else "its own",
            seed=0,
            seconds=round(whole, 2),
            network={name: round(seconds, 2) for name, seconds in network.items()},
            beside_the_network=round(causes.total(), 2),
            not_seen=round(whole - causes.total() - sum(network.values()), 2),
            causes={name: round(seconds, 2) for name, seconds in causes.most_common(asked.rows)},
        )


if __name__ == "__main__":
    main()
