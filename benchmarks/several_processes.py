# SPDX-License-Identifier: Apache-2.0
"""The same training in one process and in several, one thread each: seconds of the loop, and processor time in all.

Claims: with a core for each, two processes take at most 0.6 of one's time; on any machine, they take at most 1.3 of its processor
time in the loop, which the exchange and the numbers that both draw make up. Starts, where torch is loaded, are measured apart.

    python benchmarks/several_processes.py [--processes 2] [--images 2048] [--epochs 3] [--rounds 3]
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from _timing import report

from pellucid.run import Run

START = ("-m", "torch.distributed.run", "--nproc-per-node")


def trained(processes: int, images: int, epochs: int, out: Path) -> tuple[float, float, float]:
    """Seconds of the loop, processor seconds in all, and the last validation loss."""
    words = ["train", "classify", "--data", "glyphs", "--model", "convnet", "--device", "cpu", "--precision", "fp32"]
    words += ["--limit", str(images), "--epochs", str(epochs), "--out", str(out)]
    before = _processor()
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    start = [] if processes == 1 else [*START, str(processes)]
    subprocess.run([sys.executable, *start, "-m", "pellucid", *words], check=True, capture_output=True, env=environment)
    run = Run(out)
    return run.history[-1]["seconds"], _processor() - before, run.history[-1]["loss"]


def _processor() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("--processes", type=int, default=2)
    options.add_argument("--images", type=int, default=2048)
    options.add_argument("--epochs", type=int, default=3)
    options.add_argument("--rounds", type=int, default=3)
    asked = options.parse_args()
    found: dict[int, list[tuple[float, float, float]]] = {1: [], asked.processes: []}
    starts: dict[int, list[float]] = {1: [], asked.processes: []}  # processor time of a training of a few steps
    with tempfile.TemporaryDirectory() as place:
        for number in range(asked.rounds):
            for processes in found:
                folder = Path(place) / f"{number}-{processes}"
                starts[processes].append(trained(processes, 64, 1, folder / "start")[1])
                found[processes].append(trained(processes, asked.images, asked.epochs, folder / "whole"))
    one, several = found[1], found[asked.processes]
    loops = {name: [row[1] - start for row, start in zip(found[name], starts[name], strict=True)] for name in found}
    report(
        "several processes train what one trains",
        seconds={name: round(statistics.median(row[0] for row in rows), 2) for name, rows in found.items()},
        of_one=round(statistics.median(s[0] / o[0] for o, s in zip(one, several, strict=True)), 2),
        processor_seconds_of_the_loop={name: round(statistics.median(rows), 2) for name, rows in loops.items()},
        processor_seconds_of_the_start={name: round(statistics.median(rows), 2) for name, rows in starts.items()},
        losses={name: rows[-1][2] for name, rows in found.items()},
        load=os.getloadavg()[0],
    )


if __name__ == "__main__":
    main()
