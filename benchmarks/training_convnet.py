# SPDX-License-Identifier: Apache-2.0
"""`convnet` on 3×32×32, batch 128: `train` against a plain fp32 loop.

Claims: at least 2× on processors with bf16 instructions, and at least 1.2× in fp32 from the memory layout alone. `--accuracy`
compares the test accuracies after training in fp32 and in bf16 on real images, with intervals.

    python benchmarks/training_convnet.py [--images 2560] [--rounds 5] [--accuracy ../shared/data/cifar10 --epochs 3 --limit 10000]
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from pathlib import Path

import numpy as np
import torch
from _timing import in_turn, ratio, report, timed
from torch import nn
from torch.nn import functional as F

from pellucid.data.dataset import Dataset, Pixels, Split
from pellucid.data.targets import Label
from pellucid.inference import evaluate
from pellucid.training.training import train

BATCH = 128


def plain_network() -> nn.Module:
    """The same layers in plain torch."""
    layers: list[nn.Module] = []
    channels = 3
    for width in (64, 128):
        layers += [nn.Conv2d(channels, width, 3), nn.ReLU(), nn.Conv2d(width, width, 3, padding=1), nn.ReLU()]
        channels = width
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(3), nn.Flatten(), nn.Linear(channels * 9, 10))


def plain(images: torch.Tensor, labels: torch.Tensor) -> None:
    """A plain loop: resident float images, fp32, the default memory layout."""
    model = plain_network()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    order = torch.randperm(len(images))
    for start in range(0, len(images) - BATCH + 1, BATCH):
        chosen = order[start : start + BATCH]
        loss = F.cross_entropy(model(images[chosen]), labels[chosen])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def accuracy(asked: argparse.Namespace) -> dict[str, str]:
    """Test accuracy with its interval after the same training in fp32 and in bf16."""
    found = {}
    for precision in ("fp32", "bf16"):
        with tempfile.TemporaryDirectory() as folder:
            run = train("classify", asked.accuracy, "convnet", Path(folder) / "run", epochs=asked.epochs, limit=asked.limit,
                        precision=precision, device="cpu")  # fmt: skip
            value = evaluate(run, baselines=False)["model"]["accuracy"]
            found[precision] = f"{value['value']:.4f} [{value['low']:.4f}, {value['high']:.4f}]"
    return found


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("--images", type=int, default=2560)
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--accuracy")
    options.add_argument("--epochs", type=int, default=3)
    options.add_argument("--limit", type=int, default=10000)
    asked = options.parse_args()
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (asked.images, 3, 32, 32), dtype=np.uint8)
    labels = torch.from_numpy(rng.integers(0, 10, asked.images))
    empty = Split(Pixels(pixels[:0]), {"label": Label(labels[:0])})
    splits = {"train": Split(Pixels(pixels), {"label": Label(labels)}), "val": empty, "test": empty}
    data = Dataset("drawn", splits, tuple("0123456789"), fingerprint="drawn")
    floats = torch.from_numpy(pixels).float() / 255

    def ours(**changes: object) -> float:
        with tempfile.TemporaryDirectory() as folder:
            return timed(lambda: train("classify", data, "convnet", Path(folder) / "run", epochs=1, batch_size=BATCH, lr=1e-3,
                                       schedule="constant", device="cpu", progress=False, **changes))  # fmt: skip

    rivals = {
        "pellucid, bf16 and channels_last": lambda: ours(precision="bf16", channels_last=True),
        "pellucid, fp32 and channels_last": lambda: ours(precision="fp32", channels_last=True),
        "pellucid, fp32": lambda: ours(precision="fp32", channels_last=False),
        "plain fp32 loop": lambda: timed(lambda: plain(floats, labels)),
    }
    taken = in_turn(rivals, asked.rounds)
    report(
        "convnet on 3×32×32, batch 128, one epoch",
        n=asked.images,
        rounds=asked.rounds,
        seed=0,
        median_seconds={name: round(statistics.median(values), 3) for name, values in taken.items()},
        bf16_and_channels_last=round(ratio(taken, "pellucid, bf16 and channels_last", "plain fp32 loop"), 2),
        channels_last_in_fp32=round(ratio(taken, "pellucid, fp32 and channels_last", "plain fp32 loop"), 2),
        accuracy=accuracy(asked) if asked.accuracy else "not asked for",
    )


if __name__ == "__main__":
    main()
