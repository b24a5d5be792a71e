# SPDX-License-Identifier: Apache-2.0
"""Variants of a model side by side: how gradients pass each of them, and which then learn."""

from __future__ import annotations

import csv
import io
import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pellucid.lenses._contract import View
from pellucid.lenses._parts import Network, Training
from pellucid.lenses.flow.compared_figure import figure
from pellucid.lenses.flow.moments import Probe, warmed_up
from pellucid.lenses.flow.rules import ratio, read
from pellucid.lenses.flow.variants import Variant, variations

__all__ = ["view"]


def view(network: Network, training: Training | None, probe: Probe, words: Sequence[str], steps: int) -> View:
    """Every combination of options, measured at its start, and trained for some steps if a training can begin."""
    options = variations(network, words)
    combinations = [dict(zip(options, chosen, strict=True)) for chosen in itertools.product(*options.values())]
    trained = training if training is not None and not training.begun else None
    variants = [
        _variant(network, trained, probe, chosen, steps) for chosen in network.progress(combinations, "variants")
    ]
    layers = max(len(one.profile.names) for one in variants)
    longest = max(variants, key=lambda one: len(one.profile.names)).profile

    def rows(arrays: Iterable[NDArray[Any]]) -> NDArray[np.float64]:
        """(variants, layers), with NaN after the last layer of a shallower variant."""
        return np.stack([np.pad(a.astype(np.float64), (0, layers - len(a)), constant_values=np.nan) for a in arrays])

    taken = max(len(one.losses) for one in variants)
    numbers: dict[str, NDArray[Any]] = {
        "variant": np.array([one.name for one in variants]),
        "layer": np.array(longest.names),
        "activation": rows(one.profile.activation for one in variants),
        "gradient": rows(one.profile.gradient for one in variants),
        "weight": rows(one.profile.weight for one in variants),
        "weight_gradient": rows(one.profile.weight_gradient for one in variants),
        "units": rows(one.profile.units for one in variants),
        "dead": rows(one.profile.dead for one in variants),
        "gradient_ratio": np.array([one.reading.gradient for one in variants]),
        "activation_ratio": np.array([one.reading.activation for one in variants]),
        "verdict": np.array([_verdict(one) for one in variants]),
    }
    axes: dict[str, tuple[str, ...]] = {
        "variant": ("variant",),
        "layer": ("layer",),
        **dict.fromkeys(("activation", "gradient", "weight", "weight_gradient", "units", "dead"), ("variant", "layer")),
        **dict.fromkeys(("gradient_ratio", "activation_ratio", "verdict"), ("variant",)),
    }
    if taken:
        # (variants, steps), with NaN after a loss that is not finite
        numbers["training_loss"] = np.stack(
            [np.pad(one.losses, (0, taken - len(one.losses)), constant_values=np.nan) for one in variants]
        )
        axes["training_loss"] = ("variant", "step")
    drawing = figure(network, variants, options, probe)
    return View(drawing, numbers, _words(variants, taken, probe), axes, {"flow.csv": _table(variants, options)})


def _variant(
    network: Network, training: Training | None, probe: Probe, options: Mapping[str, Any], steps: int
) -> Variant:
    """One choice of options: its sizes at the start, and its losses over some steps."""
    profile = probe.profile(network.untrained(seed=network.seed, **options))
    losses: list[float] = []
    if training is not None and steps:
        trial = training.start(**options)
        for step in range(steps):
            losses.append(trial.step(warmed_up(trial.rate, step, steps)))
            if not np.isfinite(losses[-1]):
                break
    return Variant(options, profile, read(profile), np.array(losses))


def _verdict(one: Variant) -> str:
    return ", ".join(one.reading.faults) or "within bounds"


def _words(variants: Sequence[Variant], taken: int, probe: Probe) -> str:
    vanishing = [one for one in variants if "vanishing" in one.reading.faults]
    exploding = [one for one in variants if "exploding" in one.reading.faults]
    sentences = [
        f"Of {len(variants)} variants the gradient vanishes at the start in {len(vanishing)} and explodes in {len(exploding)}"
    ]
    if vanishing:
        worst = min(vanishing, key=lambda one: one.reading.gradient)
        sentences[0] += (
            f" (worst in {worst.name}: the first hidden layer's is {ratio(worst.reading.gradient)} of the last one's)"
        )
    # the ratio nearest to 1, in factors rather than in differences
    steady = min(
        variants,
        key=lambda one: abs(np.log(max(one.reading.gradient, 1e-300))) if np.isfinite(one.reading.gradient) else np.inf,
    )
    sentences.append(f"It keeps its size best in {steady.name}: {ratio(steady.reading.gradient)}")
    known = [one for one in variants if np.isfinite(one.last)]
    if taken and known:
        best, worst = (pick(known, key=lambda one: one.last) for pick in (min, max))
        sentences.append(
            f"After {taken} steps the loss is lowest with {best.name} ({best.last:.3g}) "
            f"and highest with {worst.name} ({worst.last:.3g})"
        )
    sentences += _effects(variants)
    sentences.append(f"Measured on {probe.images:,} images")
    return ". ".join(sentences) + "."


def _effects(variants: Sequence[Variant]) -> list[str]:
    """What a remedy alone changes: variants that vanish or explode without it, and with it."""
    sentences = []
    for option, without, remedy in (("batch_norm", False, "Batch norm"), ("plain", True, "Shortcuts")):
        if len({one.options.get(option) for one in variants}) < 2:
            continue
        counts = [
            sum(
                bool({"vanishing", "exploding"} & set(one.reading.faults))
                for one in variants
                if (one.options[option] == without) is side
            )
            for side in (True, False)
        ]
        half = len(variants) // 2
        sentences.append(f"{remedy}: {counts[0]} of {half} vanish or explode without, {counts[1]} of {half} with")
    return sentences


def _table(variants: Sequence[Variant], options: Mapping[str, Any]) -> bytes:
    """A row for each variant, as CSV."""
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
    for one in variants:
        reading = one.reading
        sizes = [f"{value:.4g}" for value in (reading.gradient, reading.activation)]
        counted = [reading.dead + reading.saturated, reading.units + reading.saturable]
        losses = [f"{one.profile.loss:.4g}", f"{one.last:.4g}" if len(one.losses) else ""]
        writer.writerow([*one.options.values(), *sizes, *counted, *losses, _verdict(one)])
    return text.getvalue().encode()
