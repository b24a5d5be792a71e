# SPDX-License-Identifier: Apache-2.0
"""Clusters of glyphs under light from all sides, against clusters of the same glyphs without: accuracy over seeds, and k-means.

    python benchmarks/clustering.py [--every 3] [--epochs 30] [--seeds 0 1 2]

`glyphs_lit` shows each image of `glyphs` under a lamp of its own. Both are clustered with the default options, which vary light where
images that look alike differ in shading: in `glyphs_lit` alone. It is also clustered without that (`--exposure 0 --shading 0
--image-contrast 0`). With `--every 3`
there are 12 of the 36 classes, every third. k-means is that of `pellucid evaluate`: on pixels, their principal components, and
histograms of gradients. The accuracy is that of the test images, in fonts that no training image has.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from typing import Any

import numpy as np
import torch
from _timing import report

from pellucid.data.dataset import Dataset, Pixels, Split
from pellucid.data.embedded import embedded
from pellucid.data.splitting import finish
from pellucid.data.targets import Label, target_of
from pellucid.inference import evaluate
from pellucid.training.training import train

STILL: dict[str, Any] = {"exposure": 0.0, "shading": 0.0, "image_contrast": 0.0}
KINDS: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("glyphs", "default", {}),
    ("glyphs_lit", "default", {}),
    ("glyphs_lit", "light left alone", STILL),
)


def some_classes(name: str, every: int) -> Dataset:
    whole, splits = embedded.load(name), {}
    for part, split in whole.splits.items():
        label = target_of(split.targets, "label", Label).index
        rows = np.flatnonzero(label.numpy() % every == 0)
        chosen = split.select(rows)
        pixels = np.stack([chosen.images.read(i, 1) for i in range(len(rows))])
        splits[part] = Split(Pixels(pixels), {"label": Label(label[rows] // every)}, chosen.names)
    return finish(name, splits, whole.classes[::every])


def clustered(dataset: Dataset, epochs: int, seed: int, options: dict[str, Any], baselines: bool) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        run = train("cluster", dataset, None, folder + "/run", clusters=len(dataset.classes), epochs=epochs, seed=seed,
                    device="cpu", progress=False, **options)  # fmt: skip
        metrics = evaluate(run, dataset, baselines=baselines)
    rivals = {name: round(rival["accuracy"]["value"], 4) for name, rival in metrics["baselines"].items()}
    found = run.info["learned"].get("light", {})
    accuracy = metrics["model"]["accuracy"]["value"]
    accuracy, seconds = round(accuracy, 4), run.info["seconds"]
    return {"n": metrics["n"], "accuracy": accuracy, "light": found, "seconds": seconds, "rivals": rivals}


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("--every", type=int, default=3)
    options.add_argument("--epochs", type=int, default=30)
    options.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    asked = options.parse_args()
    torch.set_num_threads(1)
    answers: dict[str, list[dict[str, Any]]] = {}
    for seed in asked.seeds:
        for name, title, fixed in KINDS:
            answer = clustered(some_classes(name, asked.every), asked.epochs, seed, fixed, baselines=not fixed)
            answers.setdefault(f"{name}, {title}", []).append(answer)
            print(f"  seed {seed}  {name}, {title}: {answer}", file=sys.stderr, flush=True)
    means = {name: round(statistics.mean(each["accuracy"] for each in runs), 4) for name, runs in answers.items()}
    gap = means["glyphs, default"] - means["glyphs_lit, default"]
    report("clusters under light from all sides are as accurate as without, within 0.05", means=means,
           lost=round(gap, 4), met=gap <= 0.05, seeds=asked.seeds, epochs=asked.epochs, runs=answers)  # fmt: skip


if __name__ == "__main__":
    main()
