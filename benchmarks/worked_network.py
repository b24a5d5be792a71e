# SPDX-License-Identifier: Apache-2.0
"""A dense network in NumPy against the same network in PyTorch: images per second, 1024-64-36 on glyphs, float32.

Claims: at least 2.2× PyTorch at batch 32 and at least 1.5× at batch 128 on a CPU. Both use ReLU, softmax with cross-entropy, plain
SGD, shuffled mini-batches from arrays in memory, and read the loss after every step. PyTorch runs with its plain and its fused
optimizer, and the faster one counts. Each rival runs in its own process, because two thread pools in one process compete. They are
timed in turn, one epoch each: with one thread, and with each library's default number of threads.

    python benchmarks/worked_network.py [--images 15120] [--rounds 7] [--threads 1 0]
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from _timing import in_turn, ratio, report

RATE, HIDDEN, CLASSES = 0.05, 64, 36
RIVALS = {"pellucid.worked": "numpy", "PyTorch": "torch", "PyTorch, fused SGD": "torch-fused"}


def with_numpy(x: np.ndarray, y: np.ndarray, batch: int) -> Callable[[], object]:
    from pellucid.worked.network.network import Network
    from pellucid.worked.network.training import train

    network = Network((x.shape[1], HIDDEN, CLASSES), "relu", dtype=np.float32)
    return lambda: train(network, x, y, epochs=1, batch_size=batch, rate=RATE, measure=False)


def with_torch(x: np.ndarray, y: np.ndarray, batch: int, fused: bool) -> Callable[[], object]:
    import torch
    from torch import nn

    images, labels = torch.from_numpy(x), torch.from_numpy(y)
    network = nn.Sequential(nn.Linear(x.shape[1], HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, CLASSES))
    optimizer = torch.optim.SGD(network.parameters(), lr=RATE, fused=fused)
    criterion = nn.CrossEntropyLoss()

    def epoch() -> float:
        order, total = torch.randperm(len(images)), 0.0
        for start in range(0, len(images), batch):
            chosen = order[start : start + batch]
            loss = criterion(network(images[chosen]), labels[chosen])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item() * len(chosen)
        return total

    return epoch


def serve(rival: str, file: str, batch: int) -> None:
    """The process of a rival: for every line on stdin, train one epoch and print its seconds."""
    arrays = np.load(file, allow_pickle=False)
    x, y = arrays["x"], arrays["y"]
    epoch = with_numpy(x, y, batch) if rival == "numpy" else with_torch(x, y, batch, rival == "torch-fused")
    for _ in sys.stdin:
        begun = time.perf_counter()
        epoch()
        print(time.perf_counter() - begun, flush=True)


def measure(file: Path, batch: int, threads: int, rounds: int) -> dict[str, list[float]]:
    """Seconds of an epoch by rival and round; with threads=0 each library chooses the number of threads."""
    asked = {name: str(threads) for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")}
    around = {name: value for name, value in os.environ.items() if name not in asked} | (asked if threads else {})
    processes = {
        name: subprocess.Popen(
            [sys.executable, __file__, "--serve", rival, str(file), str(batch)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=around,
        )
        for name, rival in RIVALS.items()
    }  # fmt: skip

    def epoch_of(process: subprocess.Popen[str]) -> Callable[[], float]:
        def epoch() -> float:
            assert process.stdin
            assert process.stdout
            process.stdin.write("epoch\n")
            process.stdin.flush()
            return float(process.stdout.readline())

        return epoch

    try:
        return in_turn({name: epoch_of(process) for name, process in processes.items()}, rounds)
    finally:
        for process in processes.values():
            process.communicate()


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("--images", type=int, default=15120)
    options.add_argument("--rounds", type=int, default=7)
    options.add_argument("--batches", type=int, nargs="+", default=[32, 128])
    options.add_argument("--threads", type=int, nargs="+", default=[1, 0])
    options.add_argument("--serve", nargs=3)
    asked = options.parse_args()
    if asked.serve:
        serve(asked.serve[0], asked.serve[1], int(asked.serve[2]))
        return
    from pellucid.data.embedded import glyphs

    split = glyphs.draw(variants=-(-asked.images // 504)).splits["train"]  # 36 classes in 14 fonts
    x = np.asarray(split.images.array).reshape(len(split), -1)[: asked.images].astype(np.float32) / 255
    y = split.targets["label"].index.numpy()[: asked.images]
    for batch in asked.batches:
        for threads in asked.threads:
            with tempfile.TemporaryDirectory() as folder:
                file = Path(folder) / "glyphs.npz"
                np.savez(file, x=x, y=y)
                taken = measure(file, batch, threads, asked.rounds)
            medians = {name: statistics.median(values) for name, values in taken.items()}
            peer = min((name for name in RIVALS if name != "pellucid.worked"), key=medians.__getitem__)
            report(
                f"dense network 1024-64-36 in NumPy, batch {batch}",
                n=len(x),
                rounds=asked.rounds,
                seed=0,
                threads_asked=threads or "each library's own",
                images_per_second={name: round(len(x) / seconds) for name, seconds in medians.items()},
                against=peer,
                ratio=round(ratio(taken, "pellucid.worked", peer), 2),
            )


if __name__ == "__main__":
    main()
