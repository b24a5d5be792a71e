# SPDX-License-Identifier: Apache-2.0
"""How long a person waits for `import pellucid` (claim: under 50 ms) and for `pellucid -h` (claim: under 1 s).

For comparison: an empty Python, and `import torch`, which lazy imports avoid. Every round starts new processes.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys

from _timing import in_turn, ratio, report, timed

TIMER = "import time; begun = time.perf_counter(); import {}; print(time.perf_counter() - begun)"


def inside(module: str) -> float:
    """Seconds of an import, measured inside a new process."""
    words = [sys.executable, "-c", TIMER.format(module)]
    return float(subprocess.run(words, capture_output=True, text=True, check=True).stdout)


def whole(*words: str) -> float:
    """Seconds of a whole process, from its start to its end."""
    return timed(lambda: subprocess.run([sys.executable, *words], capture_output=True, check=True))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--rounds", type=int, default=9, help="new processes of each, after a first one that does not count"
    )
    rounds = parser.parse_args().rounds
    rivals = {
        "import pellucid": lambda: inside("pellucid"),
        "import torch": lambda: inside("torch"),
        "pellucid -h": lambda: whole("-m", "pellucid", "-h"),
        "python -c pass": lambda: whole("-c", "pass"),
    }
    taken = in_turn(rivals, rounds)
    median = {name: statistics.median(seconds) for name, seconds in taken.items()}
    met = median["import pellucid"] < 0.05 and median["pellucid -h"] < 1
    report(
        "import pellucid < 50 ms, pellucid -h < 1 s",
        met=met,
        seconds={name: round(value, 4) for name, value in median.items()},
        times_faster_than_import_torch=round(ratio(taken, "import pellucid", "import torch")),
        n=rounds,
    )
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
