# SPDX-License-Identifier: Apache-2.0
"""How the cost of a folder of small JPEGs grows with their number: listing, opening, opening again, the store, streaming.

Claims: no cost grows faster than n^1.15, and opening takes less than 4 kB of memory for each image. Each part runs in a process of
its own, so that its peak of memory is known; memory before the part began is subtracted. Pages of the mapped store count as
memory while the system has room for them. Growth is that of processor time, which other programs on the machine do not change.

    python benchmarks/many_files.py [--images 20000 60000 200000] [--place FOLDER] [--figure FILE.png]
"""

from __future__ import annotations

import argparse
import json
import math
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

SIDE, CLASSES = 32, 100
PARTS = ("list", "open", "open again", "store", "store again", "stream")


def draw(folder: Path, first: int, last: int) -> None:
    """Save images `first` to `last`: noise of a brightness of its own, 32×32 px, in a folder for each class."""
    import cv2
    import numpy as np

    for label in range(CLASSES):
        (folder / f"class_{label:03}").mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(first)
    for number in range(first, last):
        image = rng.integers(0, 64, (SIDE, SIDE, 3), np.uint8) + np.uint8(number % 192)
        cv2.imwrite(
            str(folder / f"class_{number % CLASSES:03}" / f"{number:07}.jpg"), image, [cv2.IMWRITE_JPEG_QUALITY, 85]
        )


def measured(part: str, folder: Path) -> dict[str, float]:
    """Seconds and bytes of one part, in this process."""
    import torch

    from pellucid import data
    from pellucid.data.batches import store
    from pellucid.data.formats.finding import walk

    torch.set_num_threads(1)
    work: Callable[[], object]
    if part == "list":
        work = lambda: walk(folder)  # noqa: E731
    elif part.startswith("open"):
        work = lambda: data.open(folder)  # noqa: E731
    else:
        opened = data.open(folder)
        share = {"memory_share": 0.0, "disk_share": 0.0} if part == "stream" else {}

        def work() -> None:
            made = store(opened["train"], (SIDE, SIDE), 3, fingerprint=f"{opened.fingerprint}-train", **share)
            for _ in made.batches(256):
                pass

    before, begun, used = _peak(), time.perf_counter(), time.process_time()
    work()
    seconds, processor = time.perf_counter() - begun, time.process_time() - used
    return {"seconds": seconds, "processor": processor, "bytes": max(0, _peak() - before), "peak": _peak()}


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def growth(sizes: list[int], costs: list[float]) -> float:
    """The exponent a of a cost c·n^a, by least squares of the logarithms."""
    x, y = [math.log(size) for size in sizes], [math.log(max(cost, 1e-9)) for cost in costs]
    middle = sum(x) / len(x), sum(y) / len(y)
    return sum((a - middle[0]) * (b - middle[1]) for a, b in zip(x, y, strict=True)) / sum(
        (a - middle[0]) ** 2 for a in x
    )


def picture(found: dict[str, dict[int, dict[str, float]]], file: Path) -> None:
    """Draw time and memory by the number of images, both in logarithms."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.8), layout="constrained")
    for axes, entry, title, unit in zip(
        figure.subplots(1, 2), ("processor", "bytes"), ("Processor time", "Peak of memory"), (1, 1e6), strict=True
    ):
        for part, rows in found.items():
            sizes = [*rows]
            values = [max(row[entry] / unit, 1e-2) for row in rows.values()]
            axes.plot(sizes, values, "o-", label=f"{part}: n^{growth(sizes, values):.2f}" if len(sizes) > 1 else part)
        axes.set(xscale="log", yscale="log", xlabel="images", ylabel="s" if unit == 1 else "MB", title=title)
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8)
    figure.savefig(file, dpi=130)


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("--images", type=int, nargs="+", default=[20_000, 60_000, 200_000])
    options.add_argument(
        "--place", type=Path, help="where the files are made, and removed again; by default a temporary folder"
    )
    options.add_argument("--figure", type=Path)
    options.add_argument("--part", nargs=2, help=argparse.SUPPRESS)
    asked = options.parse_args()
    if asked.part:
        print(json.dumps(measured(asked.part[0], Path(asked.part[1]))))
        return
    place = Path(tempfile.mkdtemp(prefix="many-files-", dir=asked.place))
    found: dict[str, dict[int, dict[str, float]]] = {part: {} for part in PARTS}
    try:
        made = 0
        for images in sorted(asked.images):
            draw(place / "images", made, images)
            made = images
            cache = place / f"cache-{images}"
            for part in PARTS:
                words = [sys.executable, __file__, "--part", part, str(place / "images")]
                done = subprocess.run(words, check=True, capture_output=True, text=True,
                                      env={**os.environ, "PELLUCID_CACHE": str(cache)})  # fmt: skip
                row = found[part][images] = json.loads(done.stdout.splitlines()[-1])
                print(
                    f"{images:8,}  {part:12} {row['processor']:8.2f} s  ({row['seconds']:.1f} s)  {row['bytes'] / 1e6:8.1f} MB",
                    flush=True,
                )
            shutil.rmtree(cache, ignore_errors=True)
    finally:
        shutil.rmtree(place, ignore_errors=True)
    for part, rows in found.items():
        print(f"{part:12} time n^{growth([*rows], [row['processor'] for row in rows.values()]):.2f}")
    if asked.figure:
        picture(found, asked.figure)


if __name__ == "__main__":
    main()
