# SPDX-License-Identifier: Apache-2.0
"""Images a second of `predict --engine ray` with one worker and with two, each on a core of its own, and the memory of a worker.

Photographs are drawn and saved as JPEGs. A rate counts from the moment when every worker has answered its first shard, so that the
start of Ray, and of the workers, is not in it; it is printed as well. Beside other work on the machine the rates mean little: the
processor time of an image, which is printed too, tells what a worker does for it.

Claim: two workers answer at least 0.9 × twice as many images a second as one. It needs two cores: two threads of one core share
its units.

    python benchmarks/bulk.py [--images 2048] [--model resnet] [--size 96] [--rounds 2]
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from _timing import report
from decoding import draw

from pellucid.bulk import on_ray, parts
from pellucid.bulk.bulk import predict_in_bulk
from pellucid.bulk.parts import Answered, Part, Setup
from pellucid.training.training import train


def measured(run: Path, photographs: Path, out: Path, workers: int) -> dict[str, Any]:
    came: list[tuple[float, Answered]] = []
    began = time.perf_counter()

    def noting(work: Sequence[Part], setup: Setup, count: int | None) -> Iterator[Answered]:
        for found in on_ray.answered(work, setup, count):
            came.append((time.perf_counter(), found))
            yield found

    summary = predict_in_bulk(run, photographs, out, workers=workers, engine=noting)
    firsts = {found.worker: when for when, found in reversed(came)}
    start = max(firsts.values())
    # a worker that started earlier has answered a part of a shard by then: on average half of one
    later = sum(found.images for when, found in came if when > start)
    return {
        "workers": len(firsts),
        "images_per_second": later / (came[-1][0] - start),
        "start_s": start - began,
        "processor_ms_per_image": 1000 * sum(found.processor for _, found in came) / summary.images,
        "memory_mib": summary.memory / (1 << 20),
    }


def main() -> None:
    words = argparse.ArgumentParser()
    words.add_argument("--images", type=int, default=2048)
    words.add_argument("--model", default="resnet")
    words.add_argument("--size", type=int, default=96)
    words.add_argument("--rounds", type=int, default=2)
    asked = words.parse_args()
    parts.SHARD = 64
    with tempfile.TemporaryDirectory() as temporary:
        place = Path(temporary)
        settings: dict[str, Any] = {"epochs": 1, "limit": 64, "size": asked.size, "progress": False}
        train("classify", "digits", asked.model, place / "run", **settings)
        draw(place / "photographs", asked.images)
        taken: dict[int, list[dict[str, Any]]] = {1: [], 2: []}
        for number in range(asked.rounds):
            for workers, rows in taken.items():
                rows.append(measured(place / "run", place / "photographs", place / f"out-{workers}-{number}", workers))
    found = {
        f"{workers} worker{'s' if workers > 1 else ''}": {
            name: round(statistics.median(row[name] for row in rows), 2) for name in rows[0]
        }
        for workers, rows in taken.items()
    }
    ratio = np.median(
        [two["images_per_second"] / one["images_per_second"] for one, two in zip(taken[1], taken[2], strict=True)]
    )
    report("two workers at least 1.8 × the rate of one", **found, ratio=round(float(ratio), 2))


if __name__ == "__main__":
    main()
