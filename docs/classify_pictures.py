# SPDX-License-Identifier: Apache-2.0
"""The pictures in the page on classify: a reliability diagram, and a ROC curve of two classes.

python docs/classify_pictures.py
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import torch

import pellucid
from pellucid._png import drawn
from pellucid.data.dataset import Dataset, Pixels, Split
from pellucid.data.targets import Label
from pellucid.tasks import DrawsForReport

PICTURES = Path(__file__).parent / "pictures"
_NOISE = 90.0  # levels, standard deviation


def eights() -> Dataset:
    """The embedded digits under noise: is it an eight?"""
    data, rng = pellucid.data.open("digits"), np.random.default_rng(0)
    splits = {}
    for name, split in data.splits.items():
        label = split.targets["label"]
        assert isinstance(label, Label)
        images = np.stack([split.images.read(i, 1) for i in range(len(split))]).astype(np.float64)
        noisy = np.clip(images + rng.normal(0, _NOISE, images.shape), 0, 255).astype(np.uint8)
        eight = torch.from_numpy((label.index.numpy() == list(data.classes).index("8")).astype(np.int64))
        splits[name] = Split(Pixels(noisy), {"label": Label(eight)}, split.names)
    return Dataset("eights", splits, classes=("other", "eight"))


def draw(data: str | Dataset, epochs: int, name: str, file: Path) -> None:
    """Train, measure, and save one figure of the report."""
    with tempfile.TemporaryDirectory() as folder:
        run = pellucid.train("classify", data, "mlp", Path(folder) / "run", hidden=(32,), epochs=epochs, lr=0.003, device="cpu",
                             progress=False)  # fmt: skip
        found = pellucid.inference.evaluation(run, data)
        assert isinstance(run.task, DrawsForReport)
        rivals = {key.removeprefix("baselines/"): rows for key, rows in found.records.items() if key != "model"}
        figures = {one.name: one for one in run.task.report_figures(found.records["model"], rivals, run.classes)}
        file.write_bytes(drawn(figures[name].figure))


if __name__ == "__main__":
    draw("digits", 12, "reliability", PICTURES / "classify_reliability.png")
    draw(eights(), 20, "roc", PICTURES / "classify_roc.png")
