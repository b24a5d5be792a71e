# SPDX-License-Identifier: Apache-2.0
"""`convnet` on 3×32×32, batch 128: `train` against a plain fp32 loop.

Claims: what the training's own measurement chooses is as fast as the best way, at least 2× the plain loop on processors with bf16
instructions, and in fp32 reaches at least 0.7 of the machine's matmul peak: the multiply–adds of a step, forward and backward, in a
second, over those of the product of two large squares in the same number format, timed in turn. `--accuracy` compares the test
accuracies after training in fp32 and in bf16 on real images, with intervals.

    python benchmarks/training_convnet.py [--images 2560] [--rounds 5] [--accuracy ../shared/data/cifar10 --epochs 3 --limit 10000]
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from _timing import in_turn, ratio, report, timed
from torch import nn
from torch.nn import functional as F

from pellucid._operations import Operations
from pellucid.data.dataset import Dataset, Pixels, Split
from pellucid.data.targets import Label
from pellucid.inference import evaluate
from pellucid.run import Run
from pellucid.training.training import train

BATCH = 128
SQUARE = 2048  # rows and columns of the matrices whose product shows the peak
PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16}


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


def multiply_adds() -> int:
    """Those of a training step on one image, forward and backward."""
    model, image = plain_network(), torch.rand(1, 3, 32, 32)
    with Operations() as counter:
        F.cross_entropy(model(image), torch.zeros(1, dtype=torch.int64)).backward()
    return counter.total


def product(dtype: torch.dtype) -> float:
    """Seconds of the product of two large squares: the least of several in a row."""
    one, other = (torch.randn(SQUARE, SQUARE).to(dtype) for _ in range(2))
    return min(timed(lambda: one @ other) for _ in range(5))


def whole(run: Run) -> None:
    """A signal stops a training early, as by `timeout`: its time would say nothing."""
    if run.status != "finished":
        raise SystemExit("a training was stopped, so that nothing can be said; run it again.")


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
    options.add_argument("--long", type=int, default=8, help="epochs of the training whose way is measured")
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
            return timed(lambda: whole(train("classify", data, "convnet", Path(folder) / "run", epochs=1, batch_size=BATCH,
                                             lr=1e-3, schedule="constant", device="cpu", progress=False, **changes)))  # fmt: skip

    chosen: dict[str, object] = {}

    def left_open() -> float:
        """The whole training with its measurement, which a cache of its own has not seen; long enough to be worth it."""
        with tempfile.TemporaryDirectory() as cache, tempfile.TemporaryDirectory() as folder:
            os.environ["PELLUCID_CACHE"] = cache
            begun = time.perf_counter()
            run = train("classify", data, "convnet", Path(folder) / "run", epochs=asked.long, batch_size=BATCH, lr=1e-3,
                        schedule="constant", device="cpu", progress=False)  # fmt: skip
            seconds = time.perf_counter() - begun
            whole(run)
            chosen.update(run.info["choice"])
        return seconds / asked.long

    rivals = {
        "pellucid, as measured": left_open,
        "pellucid, bf16 and channels_last": lambda: ours(precision="bf16", channels_last=True),
        "pellucid, fp32 and channels_last": lambda: ours(precision="fp32", channels_last=True),
        "pellucid, fp32": lambda: ours(precision="fp32", channels_last=False),
        "plain fp32 loop": lambda: timed(lambda: plain(floats, labels)),
        **{f"product of squares, {name}": lambda dtype=dtype: product(dtype) for name, dtype in PRECISIONS.items()},
    }
    taken = in_turn(rivals, asked.rounds)
    work = multiply_adds() * (asked.images // BATCH * BATCH) / SQUARE**3  # products of squares that an epoch amounts to

    def share(name: str, precision: str) -> float:
        return round(work * ratio(taken, name, f"product of squares, {precision}"), 3)

    report(
        "convnet on 3×32×32, batch 128, one epoch",
        n=asked.images,
        rounds=asked.rounds,
        seed=0,
        median_seconds={name: round(statistics.median(values), 3) for name, values in taken.items()},
        chosen=chosen,
        as_measured=round(ratio(taken, "pellucid, as measured", "plain fp32 loop"), 2),
        gigaflops_of_the_product={
            name: round(2 * SQUARE**3 / statistics.median(taken[f"product of squares, {name}"]) / 1e9)
            for name in PRECISIONS
        },
        share_of_matmul_peak={
            "fp32": share("pellucid, fp32", "fp32"),
            "fp32 and channels_last": share("pellucid, fp32 and channels_last", "fp32"),
            "bf16 and channels_last": share("pellucid, bf16 and channels_last", "bf16"),
            "plain fp32 loop": share("plain fp32 loop", "fp32"),
        },
        bf16_and_channels_last=round(ratio(taken, "pellucid, bf16 and channels_last", "plain fp32 loop"), 2),
        channels_last_in_fp32=round(ratio(taken, "pellucid, fp32 and channels_last", "plain fp32 loop"), 2),
        accuracy=accuracy(asked) if asked.accuracy else "not asked for",
    )


if __name__ == "__main__":
    main()
