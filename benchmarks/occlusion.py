# SPDX-License-Identifier: Apache-2.0
"""The lens `occlusion` against Captum's Occlusion: 224×224 px, a patch of 16 px at every 4 px, fp32, the same map.

    python benchmarks/occlusion.py [resnet18] [vgg16] [rounds] [scaled]

Captum runs at its best `perturbations_per_eval`, tuned on every fourth row and column of places. With `scaled` it runs on these
places only, and its time is multiplied up: every place takes the same time, and all places of VGG-16 would take an hour on one core.
The arithmetic bound is the ratio of the multiplications in whole passes to those in the affected windows; the share reached is
measured against a plain channels_last loop of whole passes, timed on the fewer places. The weights are random: no time depends on
them.
"""

from __future__ import annotations

import copy
import sys
import threading
import time
from collections.abc import Callable

import numpy as np
import torch
from _timing import in_turn, ratio, report, timed
from captum.attr import Occlusion as Captum
from skimage.data import chelsea
from torch import Tensor, nn
from torchvision import models

from pellucid.lenses import Subject, guarded
from pellucid.lenses.occlusion import Occlusion
from pellucid.lenses.occlusion.incremental import Incremental
from pellucid.looking.subjects import middle

SIDE, PATCH, STRIDE = 224, 16, 4
FEWER = 16  # px, the stride at which Captum is tuned and the plain loop is timed
TRIED = (1, 4, 16, 64)
TRIED_SCALED = (4, 16)


class Peak:
    """How far the resident memory of this process rises while the block runs, MiB."""

    def __enter__(self) -> Peak:
        self._running, self._start, self.mib = True, _resident(), 0.0
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def _watch(self) -> None:
        while self._running:
            self.mib = max(self.mib, _resident() - self._start)
            time.sleep(0.02)

    def __exit__(self, *fault: object) -> None:
        self._running = False
        self._thread.join()


def _resident() -> float:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096 / 2**20


def network(name: str) -> nn.Module:
    """A torchvision classifier with random weights and non-trivial batch-norm statistics."""
    torch.manual_seed(0)
    model: nn.Module = getattr(models, name)()
    for part in model.modules():
        if isinstance(part, nn.BatchNorm2d) and part.running_mean is not None and part.running_var is not None:
            part.running_mean.normal_(0, 0.1)
            part.running_var.uniform_(0.5, 1.5)
    return model.eval().requires_grad_(False)


class Probabilities(nn.Module):
    """The softmax of a classifier, which is what the lens follows."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        return self.model(images).softmax(1)  # type: ignore[no-any-return]


def measure(name: str, rounds: int, scaled: bool = False) -> None:
    """Time one network and print the results."""
    model = network(name)
    image = middle(torch.from_numpy(chelsea().transpose(2, 0, 1) / np.float32(255)), (SIDE, SIDE))
    subject = Subject(model=model, images=image[None])
    top = int(model(image[None]).argmax())
    captum = Captum(Probabilities(model))
    maps: dict[str, Tensor] = {}
    peaks: dict[str, float] = {}

    def theirs(each: int, stride: int = STRIDE) -> Callable[[], float]:
        def run() -> float:
            def work() -> None:
                maps["captum"] = captum.attribute(
                    image[None], (3, PATCH, PATCH), (3, stride, stride), 0, target=top, perturbations_per_eval=each
                )

            with torch.no_grad(), Peak() as peak:
                seconds = timed(work)
            peaks["captum"] = peak.mib
            return seconds

        return run

    def ours(
        stride: int = STRIDE, whole: bool = False, key: str = "pellucid", precision: str = "fp32"
    ) -> Callable[[], float]:
        lens = Occlusion(patch=PATCH, stride=stride, fill="zero", whole=whole, precision=precision)  # type: ignore[arg-type]

        def run() -> float:
            def work() -> None:
                maps[key] = torch.from_numpy(lens.look(subject)["map"])

            with guarded(model), Peak() as peak:
                seconds = timed(work)
            peaks[key] = peak.mib
            return seconds

        return run

    tuned = {each: theirs(each, FEWER)() for each in (TRIED_SCALED if scaled else TRIED)}
    places, fewer = (((SIDE - PATCH) // stride + 1) ** 2 for stride in (STRIDE, FEWER))
    best = min(tuned, key=lambda each: tuned[each])
    print(f"  captum, fewer places: {tuned}", file=sys.stderr)
    rivals = {
        "pellucid": ours(),
        f"captum, {best} at a time": (lambda: tuned[best] * places / fewer) if scaled else theirs(best),
        "whole passes, fewer places": loop(model, image),
    }
    # with a single round there is no warm-up
    taken = {rival: [run()] for rival, run in rivals.items()} if rounds == 1 else in_turn(rivals, rounds)
    plain = [seconds * places / fewer for seconds in taken["whole passes, fewer places"]]
    ours(FEWER, key="few")()
    if not scaled:
        ours(FEWER, whole=True, key="few, whole")()
    with torch.no_grad(), guarded(model):
        at = list(range(0, SIDE - PATCH + 1, STRIDE))
        engine = Incremental.of(model, image, at, at, PATCH)
    assert engine is not None
    work = engine.work()
    over_loop = float(np.median([p / o for p, o in zip(plain, taken["pellucid"], strict=True)]))
    report(
        f"occlusion of {name} at {SIDE}×{SIDE} px, patch {PATCH} px, stride {STRIDE} px: {places:,} places",
        seconds={rival: [round(s, 2) for s in found] for rival, found in taken.items()},
        seconds_of_a_whole_loop=[round(s, 2) for s in plain],
        captum_on_fewer_places={str(each): round(s, 2) for each, s in tuned.items()},
        faster_than_captum=round(ratio(taken, "pellucid", f"captum, {best} at a time"), 2),
        faster_than_whole_passes=round(over_loop, 2),
        arithmetic_bound=round(work["full"] / work["affected"], 2),
        share_of_the_bound=round(over_loop / (work["full"] / work["affected"]), 3),
        places_that_captum_was_timed_on=fewer if scaled else places,
        largest_difference_from_captum=float(
            (maps["captum"][0].mean(0) - maps["few" if scaled else "pellucid"][0]).abs().max()
        ),
        **(
            {}
            if scaled
            else {"largest_difference_from_whole_passes": float((maps["few"] - maps["few, whole"]).abs().max())}
        ),
        peak_memory_mib={who: round(peaks[who]) for who in ("pellucid", "captum")},
    )


def loop(model: nn.Module, image: Tensor) -> Callable[[], float]:
    """Whole passes over the fewer places, 64 at a time, channels_last: the least that an occlusion without windows needs."""
    model = copy.deepcopy(model).to(memory_format=torch.channels_last)
    starts = range(0, SIDE - PATCH + 1, FEWER)
    covered = image[None].repeat(len(starts) ** 2, 1, 1, 1)
    for k, (y, x) in enumerate((y, x) for y in starts for x in starts):
        covered[k, :, y : y + PATCH, x : x + PATCH] = 0
    covered = covered.contiguous(memory_format=torch.channels_last)

    def run() -> float:
        with torch.no_grad():
            return timed(lambda: [model(covered[i : i + 64]) for i in range(0, len(covered), 64)])

    return run


if __name__ == "__main__":
    words = sys.argv[1:]
    named = [word for word in words if not word.isdigit() and word != "scaled"]
    for chosen in named or ["resnet18", "vgg16"]:
        measure(chosen, next((int(word) for word in words if word.isdigit()), 1), "scaled" in words)
