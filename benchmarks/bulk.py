# SPDX-License-Identifier: Apache-2.0
"""Images a second of `predict --engine ray` with one worker and with two, each on a core of its own, and the memory of a worker.

Photographs are drawn and saved as JPEGs. A rate counts from the moment when every worker has answered its first shard, so that the
start of Ray, and of the workers, is not in it; it is printed as well. Beside other work on the machine the rates mean little: the
processor time of an image, which is printed too, tells what a worker does for it.

Claim: two workers answer at least 0.9 × twice as many images a second as one. It needs two cores: two threads of one core share
its units. So each round also takes what the machine itself gives: two processes that know nothing of each other against one, each
a plain loop that decodes the same photographs with Pillow and asks the same model on one thread. `of_machine` is the workers' gain as a
share of that.

    python benchmarks/bulk.py [--images 2048] [--model resnet] [--size 96] [--rounds 2] [--seconds 5]
"""

from __future__ import annotations

import argparse
import itertools
import multiprocessing
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _timing import report
from decoding import draw
from PIL import Image

from pellucid.bulk import on_ray, parts
from pellucid.bulk.bulk import predict_in_bulk
from pellucid.bulk.parts import Answered, Part, Setup
from pellucid.run import Run
from pellucid.training.training import train

CONTEXT = multiprocessing.get_context("spawn")
TOGETHER = 64  # images of a batch


def plain(folder: Path, photographs: Path, seconds: float, begin: Any, sending: Any) -> None:
    """Images a second of a plain loop, once all that are to run have begun."""
    torch.set_num_threads(1)
    run = Run(folder)
    model, (height, width) = run.model(), run.size
    mode, files = "L" if run.channels == 1 else "RGB", sorted(photographs.rglob("*.jpg"))

    def answer(several: Sequence[Path]) -> None:
        images = [Image.open(file).convert(mode).resize((width, height)) for file in several]
        arrays = np.stack([np.asarray(image, np.float32).reshape(height, width, -1) / 255 for image in images])
        with torch.inference_mode():
            model(torch.from_numpy(arrays.transpose(0, 3, 1, 2).copy()))

    answer(files[:TOGETHER])
    begin.wait()
    began, count = time.perf_counter(), 0
    for start in itertools.cycle(range(0, len(files), TOGETHER)):
        answer(files[start : start + TOGETHER])
        count += len(files[start : start + TOGETHER])
        if (taken := time.perf_counter() - began) > seconds:
            sending.send(count / taken)
            return


def machine(folder: Path, photographs: Path, seconds: float) -> float:
    """How many times as many images a second two plain loops answer together as one alone."""
    rates = []
    for count in (1, 2):
        begin, pipes = CONTEXT.Barrier(count), [CONTEXT.Pipe(duplex=False) for _ in range(count)]
        loops = [
            CONTEXT.Process(target=plain, args=(folder, photographs, seconds, begin, sending)) for _, sending in pipes
        ]
        for loop in loops:
            loop.start()
        for _, sending in pipes:
            sending.close()  # so that a loop that fails is noticed
        rates.append(sum(receiving.recv() for receiving, _ in pipes))
        for loop in loops:
            loop.join()
    return rates[1] / rates[0]


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
    words.add_argument("--seconds", type=float, default=5.0)
    asked = words.parse_args()
    parts.SHARD = 64
    with tempfile.TemporaryDirectory() as temporary:
        place = Path(temporary)
        settings: dict[str, Any] = {"epochs": 1, "limit": 64, "size": asked.size, "progress": False}
        train("classify", "digits", asked.model, place / "run", **settings)
        draw(place / "photographs", asked.images)
        taken: dict[int, list[dict[str, Any]]] = {1: [], 2: []}
        gains = []
        for number in range(asked.rounds):
            gains.append(machine(place / "run", place / "photographs", asked.seconds))
            for workers, rows in taken.items():
                rows.append(measured(place / "run", place / "photographs", place / f"out-{workers}-{number}", workers))
    found = {
        f"{workers} worker{'s' if workers > 1 else ''}": {
            name: round(statistics.median(row[name] for row in rows), 2) for name in rows[0]
        }
        for workers, rows in taken.items()
    }
    ratios = [two["images_per_second"] / one["images_per_second"] for one, two in zip(taken[1], taken[2], strict=True)]
    report(
        "two workers at least 1.8 × the rate of one",
        **found,
        ratio=round(statistics.median(ratios), 2),
        machine=round(statistics.median(gains), 2),
        of_machine=round(statistics.median(a / b for a, b in zip(ratios, gains, strict=True)), 2),
    )


if __name__ == "__main__":
    main()
