# SPDX-License-Identifier: Apache-2.0
"""Peak memory of training on 60,000 28×28 images: the claim is under 1.2 GB resident, interpreter and libraries included.

python benchmarks/training_memory.py
"""

from __future__ import annotations

import resource
import tempfile
from pathlib import Path

import numpy as np
import torch
from _timing import report

from pellucid.data.dataset import Dataset, Pixels, Split
from pellucid.data.targets import Label
from pellucid.training.training import train


def main() -> None:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (60000, 1, 28, 28), dtype=np.uint8)
    labels = torch.from_numpy(rng.integers(0, 10, 60000))
    whole = Split(Pixels(images), {"label": Label(labels)})
    data = Dataset(
        "drawn",
        {"train": whole, "val": whole.select(range(0)), "test": whole.select(range(0))},
        tuple("0123456789"),
        fingerprint="drawn",
    )
    peaks = {}
    for model in ("mlp", "convnet"):
        with tempfile.TemporaryDirectory() as folder:
            train("classify", data, model, Path(folder) / "run", epochs=1, device="cpu", progress=False)
        # the high-water mark never falls: each peak includes the earlier ones
        peaks[model] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6, 3)
    report("peak resident memory of training on 60,000 28×28 images, GB", n=60000, seed=0, peak_gb=peaks)


if __name__ == "__main__":
    main()
