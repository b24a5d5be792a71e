# SPDX-License-Identifier: Apache-2.0
"""Train, evaluate and report a classifier and a denoiser on embedded images.

`make demo` runs this script. A second call skips the finished trainings and evaluates again; remove runs/demo-* to start over.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pellucid
from pellucid.cli.printing import measured, trained


def main(folder: str = "runs") -> None:
    begun = time.monotonic()
    pages = []
    # drawn letters: both networks are ahead of every simpler answer after a minute or two on two slow cores; on photographs
    # a denoiser needs half an hour to get ahead of non-local means
    asked = {
        "classify": {
            "data": "glyphs", "model": "convnet", "widths": (16, 32), "batch_norm": True, "epochs": 5, "batch_size": 32,
        },
        "denoise": {
            "data": "glyphs", "model": "unet", "level": 0.5, "widths": (16, 32, 64), "epochs": 4, "batch_size": 16,
            "ema": 0.99,
        },
    }  # fmt: skip
    for task, options in asked.items():
        print(f"\n== {task} {options['data']}", flush=True)
        run = pellucid.train(task, out=Path(folder) / f"demo-{task}", **options)
        trained(run)
        measured(pellucid.evaluate(run))
        pages.append(pellucid.report(run))
    print(f"\nAfter {time.monotonic() - begun:.0f} s, two reports; open them in a browser:")
    for page in pages:
        print(f"  {Path(page).resolve()}")


if __name__ == "__main__":
    main(*sys.argv[1:])
