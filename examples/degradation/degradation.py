# SPDX-License-Identifier: Apache-2.0
"""The degradation experiment (He et al. 2016, figures 1 and 6): a deeper plain network fits its own training images worse.

python examples/degradation/degradation.py [FOLDER]

Plain and residual networks with 20 and 56 layers are trained on the same images with the same recipe (section 4.2 of the paper: SGD
with momentum 0.9, learning rate 0.1, divided by ten, weight decay 0.0001, batches of 128). They have the same layers and the same
number of weights; the only difference is the shortcuts, which have no weights. The images (embedded 8×8 px digits) and the epochs are
scaled down. A second call skips finished trainings and only draws; `-h` lists the options, e.g. for other data.
"""

from __future__ import annotations

import argparse
import dataclasses
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

import pellucid
from pellucid.cli.printing import compared
from pellucid.data import open as open_data

COLOURS = ("#56b4e9", "#d55e00", "#009e73", "#cc79a7")  # by depth


def main(words: Sequence[str] | None = None) -> None:
    asked = _arguments().parse_args(words)
    begun = time.monotonic()
    dataset = open_data(asked.data)
    # validate on the training images, so that the history has the training accuracy after each epoch
    dataset = dataclasses.replace(dataset, splits={**dataset.splits, "val": dataset.splits["train"]})
    comparison = pellucid.sweep(
        "classify",
        dataset,
        "cifar_resnet",
        asked.folder,
        depth=asked.depths,
        plain=[True, False],
        seed=asked.seeds,
        widths=[tuple(asked.widths)],
        epochs=asked.epochs,
        optimizer="momentum",
        lr=0.1,
        weight_decay=1e-4,
        schedule="step",
        step_every=max(1, asked.epochs // 2),
        precision="fp32",
        **({"limit": asked.limit} if asked.limit else {}),
        **({"size": [(asked.size,)]} if asked.size else {}),
        progress=asked.progress,
    )
    compared(comparison)
    errors: dict[tuple[bool, int], list[np.ndarray[Any, Any]]] = {}
    for row in comparison.rows:
        options = row.run.info["model"]["options"]
        accuracy = [epoch["accuracy"] for epoch in row.run.history if epoch["split"] == "val"]
        errors.setdefault((options["plain"], options["depth"]), []).append(100 * (1 - np.array(accuracy)))
    picture = Path(asked.folder) / "degradation.png"
    several = f"mean and range of {len(asked.seeds)} seeds"
    seeds = several if len(asked.seeds) > 1 else f"seed {asked.seeds[0]}"
    count = min(len(dataset.splits["train"]), asked.limit or len(dataset.splits["train"]))
    _draw(errors, f"{dataset.name}, {count:,} training images: {seeds}", picture)
    for plain in (True, False):
        ends = [(depth, [c[-1] for c in errors[plain, depth]]) for depth in asked.depths if (plain, depth) in errors]
        words = ", ".join(
            f"{depth} layers {np.mean(last):.1f} % ({min(last):.1f}–{max(last):.1f})" for depth, last in ends
        )
        print(f"training error, {'plain' if plain else 'residual'}: {words}")
    print(f"{picture} after {time.monotonic() - begun:.0f} s")


def _draw(errors: dict[tuple[bool, int], list[np.ndarray[Any, Any]]], title: str, picture: Path) -> None:
    """Plot the training error over the epochs, plain networks left and residual ones right: mean and range of the seeds."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.6, 3.2), dpi=200, layout="constrained")
    depths = sorted({depth for _, depth in errors})
    for axes, plain in zip(figure.subplots(1, 2, sharey=True), (True, False), strict=True):
        for place, depth in enumerate(depths):
            courses = np.stack(errors[plain, depth])  # (seeds, epochs)
            epochs = np.arange(1, courses.shape[1] + 1)
            style = {"color": COLOURS[place % len(COLOURS)], "lw": 2.0 if depth == depths[-1] else 1.2}
            axes.plot(
                epochs, courses.mean(0), label=f"{depth} layers: {courses[:, -1].mean():.1f} % at the end", **style
            )
            axes.fill_between(epochs, courses.min(0), courses.max(0), color=style["color"], alpha=0.2, lw=0)
        axes.set(xlabel="epoch", ylim=(0, 100), title="plain" if plain else "residual")
        axes.legend(frameon=False, fontsize=8)
        axes.grid(alpha=0.25, lw=0.6)
        axes.spines[["top", "right"]].set_visible(False)
    figure.axes[0].set_ylabel("training error, %")
    figure.suptitle(title, fontsize=9)
    figure.savefig(picture, facecolor="white")


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument(
        "folder",
        nargs="?",
        default="runs/degradation",
        help="where to write the runs, their comparison and the picture",
    )
    parser.add_argument("--data", default="digits", help="a name from `pellucid list data`, a path or a hub id")
    parser.add_argument("--depths", type=int, nargs="+", default=[20, 56], help="layers, 6n + 2")
    parser.add_argument("--widths", type=int, nargs=3, default=[16, 32, 64], help="channels of the three stages")
    parser.add_argument("--epochs", type=int, default=60, help="passes over the training images")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="every network is trained once per seed")
    parser.add_argument("--limit", type=int, help="number of training images, chosen by the seed")
    parser.add_argument("--size", type=int, help="side in px to which images are resized")
    parser.add_argument("--progress", action="store_true", help="show each training's progress")
    return parser


if __name__ == "__main__":
    main()
