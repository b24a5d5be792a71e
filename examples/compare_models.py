# SPDX-License-Identifier: Apache-2.0
"""Compare a dense and a convolutional network on the same images: accuracy with its interval, parameters and time."""

from __future__ import annotations

import sys
from pathlib import Path

import pellucid
from pellucid.cli.printing import compared


def main(folder: str = "runs/compare-models") -> None:
    runs = []
    for model in ("mlp", "convnet"):
        run = pellucid.train("classify", "digits", model, Path(folder) / model, epochs=10, progress=False)
        pellucid.evaluate(run, baselines=False)
        runs.append(run)
    compared(pellucid.compare(runs, Path(folder) / "comparison"))


if __name__ == "__main__":
    main(*sys.argv[1:])
