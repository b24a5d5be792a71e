# SPDX-License-Identifier: Apache-2.0
"""How long a person waits for a worksheet.

Claims: 501 equations are solved, checked and shown in 1.5 s; `import pellucid.worked` takes under 50 ms; `pellucid work mlp` on the
command line takes under 0.8 s. Imports and commands are new processes in every round; processor seconds stand beside seconds, because
other work on the machine slows a process down and is no part of it.

    python benchmarks/worked_sheets.py [--rounds 7]
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import time

from _timing import in_turn, report, timed

IMPORT = "import time; begun = time.perf_counter(); import pellucid.worked; print(time.perf_counter() - begun)"
SHEET = (
    "x_0 = 1; " + "; ".join(f"x_{n} = tanh(0.9*x_{n - 1} + 0.1)" for n in range(1, 501)) + "\n? x_500\n? dx_500/dx_0"
)


def solved() -> float:
    from pellucid.worked import Worksheet

    return timed(lambda: Worksheet(SHEET).solve().show(width=80))


def imported() -> float:
    words = [sys.executable, "-c", IMPORT]
    return float(subprocess.run(words, capture_output=True, text=True, check=True).stdout)


def commanded() -> float:
    words = [sys.executable, "-m", "pellucid", "work", "mlp"]
    return timed(lambda: subprocess.run(words, capture_output=True, check=True))


def processor_seconds() -> dict[str, float]:
    """User and system seconds of a worksheet here, and of the command in a process of its own."""
    begun = time.process_time()
    solved()
    sheet = time.process_time() - begun
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    commanded()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"501 equations": round(sheet, 3), "pellucid work mlp": round(command, 3)}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7, help="after a first one that does not count")
    rounds = parser.parse_args().rounds
    rivals = {"501 equations": solved, "import pellucid.worked": imported, "pellucid work mlp": commanded}
    taken = in_turn(rivals, rounds)
    median = {name: statistics.median(seconds) for name, seconds in taken.items()}
    met = (
        median["501 equations"] <= 1.5 and median["import pellucid.worked"] < 0.05 and median["pellucid work mlp"] < 0.8
    )
    report(
        "501 equations in 1.5 s, import pellucid.worked < 50 ms, pellucid work mlp < 0.8 s",
        met=met,
        seconds={name: round(value, 4) for name, value in median.items()},
        least={name: round(min(seconds), 4) for name, seconds in taken.items()},
        processor_seconds=processor_seconds(),
        load=round(os.getloadavg()[0], 1),
        n=rounds,
    )
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
