# SPDX-License-Identifier: Apache-2.0
"""Variants of a model side by side: how far gradients come in each, and which of them then learn."""

from __future__ import annotations

import csv
import io
import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pellucid.lenses._contract import Subject, View
from pellucid.lenses.flow import compared_figure
from pellucid.lenses.flow.moments import Question
from pellucid.lenses.flow.rules import named, reading
from pellucid.lenses.flow.variants import Variant, variations

__all__ = ["view"]


def view(subject: Subject, asked: Question, words: Sequence[str], steps: int) -> View:
    """Every combination, measured at its start, and trained for some steps where a training is at hand."""
    options = variations(subject, words)
    combinations = [dict(zip(options, chosen, strict=True)) for chosen in itertools.product(*options.values())]
    found = [_variant(subject, asked, chosen, steps) for chosen in subject.progress(combinations, "variants")]
    layers = max(len(one.profile.names) for one in found)
    longest = max(found, key=lambda one: len(one.profile.names)).profile

    def rows(arrays: Iterable[NDArray[Any]]) -> NDArray[np.float64]:
        return np.stack([np.pad(a.astype(np.float64), (0, layers - len(a)), constant_values=np.nan) for a in arrays])

    taken = max(len(one.losses) for one in found)
    numbers: dict[str, NDArray[Any]] = {
        "variant": np.array([one.name for one in found]),
        "layer": np.array(longest.names),
        "activation": rows(one.profile.activation for one in found),
        "gradient": rows(one.profile.gradient for one in found),
        "weight": rows(one.profile.weight for one in found),
        "weight_gradient": rows(one.profile.weight_gradient for one in found),
        "units": rows(one.profile.units for one in found),
        "dead": rows(one.profile.dead for one in found),
        "gradient_ratio": np.array([one.read.gradient for one in found]),
        "activation_ratio": np.array([one.read.activation for one in found]),
        "verdict": np.array([_verdict(one) for one in found]),
    }
    axes: dict[str, tuple[str, ...]] = {
        "variant": ("variant",),
        "layer": ("layer",),
        **dict.fromkeys(("activation", "gradient", "weight", "weight_gradient", "units", "dead"), ("variant", "layer")),
        **dict.fromkeys(("gradient_ratio", "activation_ratio", "verdict"), ("variant",)),
    }
    if taken:
        numbers["training_loss"] = np.stack(
            [np.pad(one.losses, (0, taken - len(one.losses)), constant_values=np.nan) for one in found]
        )
        axes["training_loss"] = ("variant", "step")
    figure = compared_figure.figure(subject, found, options, asked)
    return View(figure, numbers, _words(found, taken, asked), axes, {"flow.csv": _table(found, options)})


def _variant(subject: Subject, asked: Question, options: Mapping[str, Any], steps: int) -> Variant:
    assert subject.untrained is not None
    profile = asked.of(subject.untrained(seed=subject.seed, **options))
    losses: list[float] = []
    if subject.trial is not None and steps and not subject.history:
        trial = subject.trial(**options)
        for step in range(steps):
            losses.append(trial.step(trial.rate * min(1.0, (step + 1) / max(1.0, steps / 4))))
            if not np.isfinite(losses[-1]):
                break
    return Variant(options, profile, reading(profile), np.array(losses))


def _verdict(one: Variant) -> str:
    return ", ".join(one.read.found) or "within bounds"


def _words(found: Sequence[Variant], taken: int, asked: Question) -> str:
    vanishing = [one for one in found if "vanishing" in one.read.found]
    exploding = [one for one in found if "exploding" in one.read.found]
    sentences = [
        f"Of {len(found)} variants the gradient vanishes at the start in {len(vanishing)} and explodes in {len(exploding)}"
    ]
    if vanishing:
        worst = min(vanishing, key=lambda one: one.read.gradient)
        sentences[0] += (
            f" (least in {worst.name}: the first hidden layer's is {named(worst.read.gradient)} of the last one's)"
        )
    nearest = min(
        found, key=lambda one: abs(np.log(max(one.read.gradient, 1e-300))) if np.isfinite(one.read.gradient) else np.inf
    )
    sentences.append(f"It keeps its size best in {nearest.name}: {named(nearest.read.gradient)}")
    known = [one for one in found if np.isfinite(one.last)]
    if taken and known:
        best, least = (pick(known, key=lambda one: one.last) for pick in (min, max))
        sentences.append(
            f"After {taken} steps the loss is lowest with {best.name} ({best.last:.3g}) "
            f"and highest with {least.name} ({least.last:.3g})"
        )
    sentences += [said for said in _effects(found) if said]
    sentences.append(f"Measured on {asked.images:,} images")
    return ". ".join(sentences) + "."


def _effects(found: Sequence[Variant]) -> list[str]:
    """What a remedy changes where nothing else is changed: variants in trouble without it, and with it."""
    said_of = []
    for option, without, told in (("batch_norm", False, "Batch norm"), ("plain", True, "Shortcuts")):
        if len({one.options.get(option) for one in found}) < 2:
            continue
        counts = [
            sum(
                bool({"vanishing", "exploding"} & set(one.read.found))
                for one in found
                if (one.options[option] == without) is side
            )
            for side in (True, False)
        ]
        each = len(found) // 2
        said_of.append(f"{told}: {counts[0]} of {each} vanish or explode without, {counts[1]} of {each} with")
    return said_of


def _table(found: Sequence[Variant], options: Mapping[str, Any]) -> bytes:
    """A row a variant, as CSV."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(
        [
            *options,
            "gradient_ratio",
            "activation_ratio",
            "dead_units",
            "units",
            "loss_at_start",
            "loss_at_end",
            "verdict",
        ]
    )
    for one in found:
        sizes = [f"{value:.4g}" for value in (one.read.gradient, one.read.activation)]
        counted = [one.read.dead + one.read.saturated, one.read.units + one.read.saturable]
        losses = [f"{one.profile.loss:.4g}", f"{one.last:.4g}" if len(one.losses) else ""]
        writer.writerow([*one.options.values(), *sizes, *counted, *losses, _verdict(one)])
    return text.getvalue().encode()
