# SPDX-License-Identifier: Apache-2.0
"""A training step compiled by torch.compile beside the same step as it is, in each number format and memory layout.

The measurement at the start of a training does not try compiled models; this is why. Seconds are those of processor time, those of
the C++ compiler included; steps take turns, and the least of the rounds counts. It needs a C++ compiler.

    OMP_NUM_THREADS=1 python benchmarks/compiling.py [--models convnet resnet unet] [--size 32] [--batch 32] [--rounds 7]
                                                     [--ways "bf16, channels-last"]
"""

from __future__ import annotations

import argparse
import copy
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from os import environ
from typing import Any

import torch
from _timing import report

from pellucid.data.draws import Draws
from pellucid.training.choice import Choice
from pellucid.training.feed import Feed
from pellucid.training.plan import Plan
from pellucid.training.step import Learner, take_step

_TASKS = {"unet": "denoise"}  # of others: classify


def spent() -> float:
    """Processor seconds of this process and of those that it started, such as compilers."""
    used = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(one.ru_utime + one.ru_stime for one in used)


def measured(name: str, asked: argparse.Namespace) -> dict[str, Any]:
    """Seconds of a step by way, compiled and not, and of compiling."""
    options = {"size": asked.size, "batch_size": asked.batch, "limit": 4 * asked.batch, "device": "cpu"}
    plan = Plan.of(_TASKS.get(name, "classify"), "glyphs", name, options)
    model, feed, device = plan.build(), Feed(plan), torch.device("cpu")
    usual = Choice.usual(plan.recipe, model, device)
    ways = [replace(usual, bfloat16=own, channels_last=last) for own in (True, False) for last in (True, False)]
    batch = feed.train.batch(feed.order(0)[: asked.batch], device)
    steps: dict[tuple[str, bool], Callable[[], object]] = {}
    found: dict[str, dict[str, Any]] = {}
    for way in ways:
        if asked.ways and way.title not in asked.ways:
            continue
        for compiled in (False, True):
            learner = Learner(plan, copy.deepcopy(model).to(memory_format=way.memory_format), way, alone=True)
            if compiled:
                learner.model = torch.compile(learner.model)  # type: ignore[assignment]
            draws = Draws.step(0, 0, slice(0, asked.batch), asked.batch, device)
            steps[way.title, compiled] = lambda learner=learner, draws=draws: take_step(learner, batch, draws, 1e-4)  # type: ignore[misc]
            begun = spent()
            for _ in range(2):
                steps[way.title, compiled]()
            if compiled:
                found[way.title] = {"compiling": round(spent() - begun, 1)}
                print(f"  {name}, {way.title}: compiled in {found[way.title]['compiling']} s", file=sys.stderr)
    least = dict.fromkeys(steps, float("inf"))
    for _ in range(asked.rounds):
        for key, step in steps.items():
            begun = time.process_time()
            step()
            least[key] = min(least[key], time.process_time() - begun)
    for title, row in found.items():
        plain, own = least[title, False], least[title, True]
        row |= {"plain": round(plain, 4), "compiled": round(own, 4), "compiled over plain": round(own / plain, 3)}
    return found


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("--models", nargs="+", default=["convnet", "resnet", "unet"])
    options.add_argument("--ways", nargs="+")
    options.add_argument("--size", type=int, default=32)
    options.add_argument("--batch", type=int, default=32)
    options.add_argument("--rounds", type=int, default=7)
    asked = options.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        environ["TORCHINDUCTOR_CACHE_DIR"] = folder  # nothing was compiled before
        steps = {name: measured(name, asked) for name in asked.models}
    report("a compiled training step takes as long", size=asked.size, batch=asked.batch, seed=0, steps=steps)


if __name__ == "__main__":
    main()
