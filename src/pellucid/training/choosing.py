# SPDX-License-Identifier: Apache-2.0
"""The number format, memory layout and threads of a training, chosen by what this machine does: its own steps are timed for a second.

Instruction sets do not tell: on one processor with AVX2 the channels-last layout takes 2.3 times as long with large images, and
0.9 times with small ones. Compiled models are not tried: on a processor, a compiled step takes 0.98 to 1.08 times as long as the same
step as it is (`benchmarks/compiling.py`), since nearly all of it is spent in convolutions, which stay the library's.
"""

from __future__ import annotations

import copy
import hashlib
import json
import os
import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import nn

from pellucid import _processor
from pellucid._version import __version__
from pellucid.answering import few
from pellucid.data.decoding import cache_folder
from pellucid.data.draws import Draws
from pellucid.errors import PellucidError
from pellucid.files import write_json
from pellucid.models._hastening import convolves, hastened
from pellucid.own.parts import find
from pellucid.tasks import UpdatesBuffers
from pellucid.training.choice import Choice
from pellucid.training.feed import Feed
from pellucid.training.plan import Plan
from pellucid.training.recipe import computes_bfloat16
from pellucid.training.step import Learner, take_step

__all__ = ["chosen", "fastest"]

Clock = Callable[[], float]
T = TypeVar("T", bound=Hashable)

_WORTH = 1 << 24  # px of all batches together, from which a measurement is worth its second
_SECONDS, _MOST = 1.0, 5.0  # that a measurement takes, about: a hundredth of the training between these
_STEPS = 8  # that it takes at least: where these would take longer, a batch is timed by some of its images
_FIRST = 4  # images by which the time of a step is foreseen
_ROUNDS = 10  # at most; after two of them the seconds count
_FAR = 1.5  # what takes so many times as long as the best is not timed again
_GAIN = 0.95  # of the usual way's time: what gains less is not chosen, since times vary by as much
_GAIN_OF_THREADS = 0.9


def chosen(
    plan: Plan,
    model: nn.Module,
    feed: Feed,
    record: Mapping[str, Any] | None = None,
    clock: Clock = time.perf_counter,
) -> Choice:
    """How a training's steps are computed: as its options say, as its record says, or as is fastest here.

    A training that takes a few seconds, or whose record is there, measures nothing. Of several processes the first decides for all,
    by steps of its own.

    Args:
        plan: the training.
        model: its model, with the weights that it starts from; it stays as it is.
        feed: its images.
        record: run.json of the training that is resumed.
        clock: seconds.
    """
    if plan.accelerator.num_processes == 1:
        return _chosen(plan, model, feed, record, clock)
    from accelerate.utils import broadcast_object_list

    decided = [_chosen(plan, model, feed, record, clock).facts if plan.accelerator.is_main_process else None]
    broadcast_object_list(decided, from_process=0)
    return Choice.of(decided[0])


def _chosen(plan: Plan, model: nn.Module, feed: Feed, record: Mapping[str, Any] | None, clock: Clock) -> Choice:
    usual = Choice.usual(plan.recipe, model, plan.accelerator.device)
    if record is not None:
        return Choice.recorded(record, plan.accelerator.device) or usual
    candidates = _candidates(plan, model, usual)
    if len(candidates) == 1 or not _worth(plan):
        return usual
    key = _key(plan, model, candidates)
    file = cache_folder() / "choices" / f"{hashlib.blake2b(json.dumps(key).encode(), digest_size=12).hexdigest()}.json"
    if (cached := _cached(file, key)) is not None:
        return cached
    with torch.random.fork_rng(devices=[]):  # the training's own numbers stay as they were
        measured = _measured(plan, model, feed, candidates, usual, clock)
    try:
        write_json(file, {"key": key, "choice": measured.facts})
    except (PellucidError, OSError):  # without a writable cache every training measures
        return measured
    return measured


def _candidates(plan: Plan, model: nn.Module, usual: Choice) -> list[Choice]:
    """The usual way first, and the others that the options leave open."""
    recipe, device = plan.recipe, plan.accelerator.device
    fixed = recipe.compile or device.type != "cpu" or not convolves(model)
    if fixed or isinstance(
        plan.task, UpdatesBuffers
    ):  # before the first epoch such a model has no buffers to compute with
        return [usual]
    # emulated, bf16 takes many times as long
    formats = {usual.bfloat16, *((False, True) if recipe.precision == "auto" and computes_bfloat16(device) else ())}
    layouts = {usual.channels_last, *((False, True) if recipe.channels_last is None else ())}
    every = [replace(usual, bfloat16=own, channels_last=last) for own in sorted(formats) for last in sorted(layouts)]
    return sorted(every, key=lambda one: one != usual)


def _worth(plan: Plan) -> bool:
    height, width = plan.size
    return plan.steps * plan.global_batch * height * width >= _WORTH


def _key(plan: Plan, model: nn.Module, candidates: Sequence[Choice]) -> dict[str, Any]:
    """What a measurement depends on, as JSON."""
    tensors = [[name, list(value.shape), value.requires_grad] for name, value in model.named_parameters()]
    architecture = hashlib.blake2b(json.dumps([repr(model), tensors]).encode(), digest_size=12).hexdigest()
    return {
        "version": __version__,
        "torch": torch.__version__,
        "processor": _processor.name(),
        "instructions": _processor.instructions(),
        "threads": torch.get_num_threads(),
        "threads_free": _threads_are_free(),
        "task": plan.settings.task_name,
        "model": [plan.settings.model, architecture],
        "images": [_share(plan), plan.model["channels"], *plan.size],
        "optimizer": plan.recipe.optimizer,
        "candidates": [one.title for one in candidates],
    }


def _cached(file: Path, key: Mapping[str, Any]) -> Choice | None:
    """The choice in a file of the cache; None where there is none, or the file is damaged or of something else."""
    try:
        held = json.loads(file.read_text(encoding="utf-8"))
        if held["key"] != key:
            return None
        found = replace(Choice.of(held["choice"]), how="cached")
        return found if found.title in key["candidates"] and found.sentence else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _share(plan: Plan) -> int:
    """This process's images of a batch."""
    return len(range(*plan.rows.indices(plan.global_batch)))


def _threads_are_free() -> bool:
    return not any(os.environ.get(name) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"))


def _measured(
    plan: Plan, model: nn.Module, feed: Feed, candidates: Sequence[Choice], usual: Choice, clock: Clock
) -> Choice:
    """The fastest of some ways to compute this training's step."""
    device, share = plan.accelerator.device, _share(plan)
    rate = plan.recipe.rate(0, plan.steps, plan.steps_per_epoch)
    learners = {
        one: Learner(plan, copy.deepcopy(model).to(memory_format=one.memory_format), one, alone=True)
        for one in candidates
    }

    def step(one: Choice, count: int) -> None:
        batch = feed.train.batch(feed.order(0)[:count], device)
        take_step(learners[one], batch, Draws.step(plan.recipe.seed, 0, slice(0, count), count, device), rate)

    count = min(_FIRST, share)
    step(usual, count)
    times = []
    for _ in range(2):
        begun = clock()
        step(usual, count)
        times.append(clock() - begun)
    each = max(min(times), 1e-9) / count  # seconds of an image
    allowed = min(max(_SECONDS, each * share * plan.steps / 100), _MOST)
    count = max(count, min(share, int(allowed / _STEPS / each)))
    best, seconds = fastest(candidates, lambda one: step(one, count), clock, most=allowed / 2)
    found: dict[str, Any] = {
        "images": count,
        "seconds": {one.title: round(value, 6) for one, value in seconds.items()},
    }
    threads, taken = _threads(best.threads, lambda: step(best, count), clock)
    if len(taken) > 1:
        found["threads_seconds"] = {str(one): round(value, 6) for one, value in taken.items()}
    learners.clear()  # their memory goes before the answers' models take theirs
    with replace(best, threads=threads).computing():
        if (answers := _answers(plan, model, clock)) is not None:
            found["answers"] = answers
    return replace(best, threads=threads, how="measured", found=found)


def _threads(count: int, work: Callable[[], None], clock: Clock) -> tuple[int, dict[int, float]]:
    """Half as many threads as long as that is faster: small batches take longer where many threads share them."""
    seconds: dict[int, float] = {}

    def on(threads: int) -> None:
        torch.set_num_threads(threads)
        work()

    whole = best = count
    try:
        while best > 1 and _threads_are_free():
            faster, taken = fastest([best, best // 2], on, clock, _GAIN_OF_THREADS, _SECONDS / 3)
            seconds |= taken
            if faster == best:
                break
            best = faster
    finally:
        torch.set_num_threads(whole)
    return best, seconds


@torch.no_grad()
def _answers(plan: Plan, model: nn.Module, clock: Clock) -> dict[str, Any] | None:
    """The faster layout of the model's answers, which need no gradients; None for a model that takes more than images."""
    device, shape = plan.accelerator.device, (int(plan.model["channels"]), *plan.size)
    quiet = copy.deepcopy(model).eval()
    images = torch.rand((plan.recipe.batch_size, *shape), generator=torch.Generator().manual_seed(0))
    images = images[few(images)[0]]
    fold = find("models", plan.settings.model) is None
    layouts = (False, True)
    try:
        ready = {last: hastened(quiet, shape, device, fold, last) for last in layouts}
        _, seconds = fastest(layouts, lambda last: ready[last](images), clock, most=_SECONDS / 3)
    except Exception:  # code of any model: its forward pass takes something else than images
        return None
    named = {("contiguous", "channels-last")[last]: round(value, 6) for last, value in seconds.items()}
    best = min(seconds, key=seconds.__getitem__)
    return {
        "memory_format": ("contiguous_format", "channels_last")[best],
        "images": len(images),
        "seconds": named,
    }


def fastest(
    candidates: Sequence[T],
    work: Callable[[T], object],
    clock: Clock = time.perf_counter,
    gain: float = _GAIN,
    most: float = _SECONDS,
) -> tuple[T, dict[T, float]]:
    """The candidate that takes least time, and the seconds of each; the first one wins unless another gains enough.

    All take turns, so that a slow moment of the machine meets them alike, and the least time of each counts.

    >>> now = 0.0
    >>> def work(seconds: float) -> None:
    ...     global now
    ...     now += seconds
    >>> fastest([2.0, 1.0, 3.0], work, lambda: now)
    (1.0, {2.0: 2.0, 1.0: 1.0, 3.0: 3.0})

    Args:
        candidates: the usual one first.
        work: what is timed.
        clock: seconds.
        gain: of the first one's time, which another must not exceed to be chosen.
        most: seconds after which no further round begins, once there were two.
    """
    for one in candidates:  # libraries choose and build their kernels in the first call
        work(one)
    seconds: dict[T, float] = {}
    left, begun = list(candidates), clock()
    for number in range(_ROUNDS):
        for one in left:
            before = clock()
            work(one)
            took = clock() - before
            seconds[one] = min(took, seconds.get(one, took))
        spent, least = clock() - begun, min(seconds.values())
        if number or spent >= most / 2:  # one round of short steps says little where the machine does other work too
            left = [one for one in left if seconds[one] <= _FAR * least]
        if len(left) == 1 or (number and spent >= most):
            break
    best = min(seconds, key=seconds.__getitem__)
    usual = candidates[0]
    return (best if seconds[best] <= gain * seconds[usual] else usual), seconds
