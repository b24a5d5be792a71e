# SPDX-License-Identifier: Apache-2.0
"""The first sentence of a report: is the model better than the best simpler answer, and if not, what next?"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Literal, final

import numpy as np

from pellucid.comparison.difference import Difference, paired, unpaired
from pellucid.reporting import formatting
from pellucid.run import Run
from pellucid.tasks import rows_of, taken

__all__ = ["Headline", "advice", "best_baseline", "compared", "headline", "more_images"]

Verdict = Literal["ahead", "behind", "not distinguishable", "not compared"]


@final
@dataclass(frozen=True)
class Headline:
    """How a model compares with the best simpler answer, in one sentence, and the numbers behind it."""

    verdict: Verdict
    words: str
    measure: Mapping[str, Any]  # the model's deciding measure on all images
    rival: str | None = None  # the best simpler answer
    rival_measure: Mapping[str, Any] | None = None
    images: int = 0  # on which the two are compared


def headline(run: Run, metrics: Mapping[str, Any]) -> Headline:
    """Compare an evaluated run with its best baseline, image by image over the images that both were measured on.

    Without records of each image the interval comes from the two intervals alone.

    Args:
        run: the run.
        metrics: its metrics.json.
    """
    rival = best_baseline(metrics, run.task.floors)
    evaluate = f"pellucid evaluate {run.path}"
    if rival is None:
        return compared(metrics, None, None, 0, evaluate)
    own, other = run.records(), run.records(f"baselines/{rival}")
    same = metrics.get("on_same_images")
    if not own or not other:
        mine = (same or metrics)["model"][metrics["main"]]
        gap = unpaired(mine, metrics["baselines"][rival][metrics["main"]])
        return compared(metrics, rival, gap, (same or metrics)["n"], advice(run.info))
    if "index" in other:  # measured on some of the images only
        own = taken(own, other["index"])
    if run.main.each is not None:  # images without a value, of either, are left out
        known = np.flatnonzero(np.isfinite(run.main.each(own)) & np.isfinite(run.main.each(other)))
        own, other = taken(own, known), taken(other, known)
    [gap] = paired(run.main, [own], other, seed=metrics["seed"])
    return compared(metrics, rival, gap, rows_of(other), advice(run.info))


def best_baseline(metrics: Mapping[str, Any], floors: Collection[str] = ()) -> str | None:
    """The baseline with the best value of the deciding measure; None if no baseline was measured.

    >>> accuracy = {"value": 0.9, "better": "higher"}
    >>> metrics = {"main": "accuracy", "model": {"accuracy": accuracy},
    ...            "baselines": {"majority class": {"accuracy": {**accuracy, "value": 0.1}}, "5-NN": {"accuracy": accuracy}}}
    >>> best_baseline(metrics)
    '5-NN'

    Args:
        metrics: the content of metrics.json.
        floors: baselines that bound the measure and that nobody would use instead of a model.
    """
    main = metrics["main"]
    sign = -1 if metrics["model"][main]["better"] == "lower" else 1
    values = {name: measures[main]["value"] for name, measures in metrics["baselines"].items() if main in measures}
    ranked = {name: sign * value for name, value in values.items() if value is not None and name not in floors}
    return max(ranked, key=lambda name: ranked[name]) if ranked else None


def compared(
    metrics: Mapping[str, Any], rival: str | None, gap: Difference | None, images: int, remedy: str
) -> Headline:
    """The sentence.

    >>> model = {"psnr": {"value": 30.0, "low": 29.0, "high": 31.0, "unit": "dB", "better": "higher", "title": "PSNR"}}
    >>> median = {"psnr": {"value": 28.0, "low": 27.0, "high": 29.0, "unit": "dB", "better": "higher", "title": "PSNR"}}
    >>> metrics = {"main": "psnr", "split": "test", "n": 50, "model": model, "baselines": {"median": median}}
    >>> print(compared(metrics, "median", Difference(2.0, 1.5, 2.5, True), 50, "train longer").words)
    Ahead of the best simpler answer: PSNR 30.0 dB against 28.0 dB for median, a difference of +2.0 dB
    (95 % interval +1.5 to +2.5) on the same 50 test images.

    Args:
        metrics: the content of metrics.json.
        rival: the best baseline, or None if no baseline was measured.
        gap: the model's measure minus the rival's.
        images: on which the two are compared.
        remedy: what to do if the model is not ahead; without a rival, the command that measures the baselines.
    """
    main, everywhere = metrics["main"], metrics["model"][metrics["main"]]
    title, lower = everywhere["title"], everywhere["better"] == "lower"
    where = f"{metrics['split']} images"
    if rival is None or gap is None:
        words = (
            f"Not compared with a simpler answer: {title} {_shown(everywhere)} on {metrics['n']:,} {where}; "
            f"measure the baselines with `{remedy}`."
        )
        return Headline("not compared", words, everywhere)
    theirs = metrics["baselines"][rival][main]
    same = metrics.get("on_same_images")
    mine = same["model"][main] if same and images < metrics["n"] else everywhere
    better = -gap.value if lower else gap.value
    verdict: Verdict = "not distinguishable" if not gap.real else "ahead" if better > 0 else "behind"
    opening = {
        "ahead": "Ahead of the best simpler answer",
        "behind": "Behind the best simpler answer",
        "not distinguishable": "Not distinguishable from the best simpler answer",
    }[verdict]
    name = rival.split(" (on ")[0]  # "median (on 400 test images)": the sentence gives the number itself
    value, low, high = formatting.signed(gap.value, gap.low, gap.high)
    unit = f" {theirs['unit']}" if theirs["unit"] else ""
    words = (
        f"{opening}: {title}{' (lower is better)' if lower else ''} {_shown(mine)} against {_shown(theirs)} for {name}, "
        f"a difference of {value}{unit} (95 % interval {low} to {high}) on "
        f"{'the same ' if gap.paired else ''}{images:,} {where}"
    )
    if verdict == "not distinguishable":
        words += f"; {more_images(gap, images)}"
    words += "." if verdict == "ahead" else f"; {remedy}, or use {name}."
    return Headline(verdict, words, everywhere, rival, theirs, images)


def more_images(gap: Difference, images: int) -> str:
    """How many test images would show a difference of this size; an interval narrows with the root of their number.

    >>> more_images(Difference(0.01, -0.01, 0.03, True), 100)
    'it takes about 400 images to show a difference of this size'
    """
    if gap.value == 0:
        return "it takes more, or harder, images to tell them apart"
    needed = images * ((gap.high - gap.low) / 2 / gap.value) ** 2
    unit = 10 ** max(0, len(str(int(needed))) - 2)  # two digits are known at best
    return f"it takes about {math.ceil(needed / unit) * unit:,} images to show a difference of this size"


def advice(info: Mapping[str, Any]) -> str:
    """What may bring a model ahead, from when its training was best.

    >>> advice({"status": "finished", "recipe": {"epochs": 10}, "best": {"epoch": 10}})
    'train longer (--epochs 20), try a larger model'
    >>> advice({"status": "finished", "recipe": {"epochs": 10}, "best": {"epoch": 4}})
    'the best epoch was 4 of 10, so more epochs alone will not help: try a larger model, more images or augmentation'

    Args:
        info: the content of run.json.
    """
    epochs, best = info["recipe"]["epochs"], (info.get("best") or {}).get("epoch")
    if info["status"] != "finished":
        return f"finish the training (`{info['command']}`)"
    if best is None or best > 0.75 * epochs:
        return f"train longer (--epochs {2 * epochs}), try a larger model"
    return f"the best epoch was {best:g} of {epochs}, so more epochs alone will not help: try a larger model, more images or augmentation"


def _shown(measure: Mapping[str, Any]) -> str:
    return formatting.number(measure) + (f" {measure['unit']}" if measure["unit"] else "")
