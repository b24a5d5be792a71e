# SPDX-License-Identifier: Apache-2.0
"""How far the estimate of an image's noise is off, on photographs with added noise of known strength.

    python benchmarks/noise_estimate.py

The photographs are those of the training and validation splits of `patches`, grey, their upper left 384×384 px. Their own noise and
texture count as an error here.
"""

from __future__ import annotations

import numpy as np
import torch
from _timing import report

from pellucid.data.embedded.embedded import _PHOTOGRAPHS, photograph
from pellucid.tasks.denoise.estimate import sigma

LEVELS = (0, 2, 5, 10, 15, 25, 50)  # of 255
SIDE = 384  # px


def main() -> None:
    found: dict[int, list[float]] = {level: [] for level in LEVELS}
    for file in (file for split in ("train", "val") for file in _PHOTOGRAPHS[split]):
        image = torch.from_numpy(photograph(*file, colour=False)[:, :SIDE, :SIDE].copy()).float() / 255
        noise = torch.randn(image.shape, generator=torch.Generator().manual_seed(0))
        for level in LEVELS:
            estimate = sigma(image + level / 255 * noise)
            assert estimate is not None
            found[level].append(255 * estimate - level)
    report(
        "error of the estimated standard deviation of noise, in units of 1/255",
        n=len(found[0]),
        seed=0,
        by_level={
            level: {
                "mean": round(float(np.mean(errors)), 2),
                "mean_absolute": round(float(np.mean(np.abs(errors))), 2),
                "largest": round(float(np.max(np.abs(errors))), 2),
            }
            for level, errors in found.items()
        },
    )


if __name__ == "__main__":
    main()
