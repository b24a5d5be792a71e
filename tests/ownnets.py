# SPDX-License-Identifier: Apache-2.0
"""Models of one's own that several tests train, and what they share."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor, nn
from torch.nn import functional as F

from pellucid.own import parts
from pellucid.run import Run

__all__ = ["IMAGES", "SMALL", "TWO_EPOCHS", "Net", "Other", "changed", "forget", "make", "seen"]

WIDTH = 6


class Net(nn.Module):
    """A small network for digits."""

    def __init__(self, channels: int = 1, outputs: int = 10, width: int = WIDTH, slope: float = 0.0) -> None:
        super().__init__()
        self.slope = slope
        self.first = nn.Conv2d(channels, width, 3, padding=1)
        self.last = nn.Linear(width * 4, outputs)

    def forward(self, images: Tensor) -> Tensor:
        plain = images.detach()
        seen.append((float(plain.min()), float(plain.max())))
        maps = F.leaky_relu(self.first(images), self.slope)
        return self.last(F.adaptive_avg_pool2d(maps, 2).flatten(1))  # type: ignore[no-any-return]


class Other(Net):
    """Other arithmetic with weights of the same names and shapes."""

    def forward(self, images: Tensor) -> Tensor:
        return super().forward(1 - images)


def make(outputs: int, deep: bool = False) -> nn.Module:
    layers = [nn.Flatten(), nn.LazyLinear(8)] if deep else [nn.Flatten()]
    return nn.Sequential(*layers, nn.Linear(8 if deep else 64, outputs))


seen: list[tuple[float, float]] = []
SMALL: dict[str, Any] = {"epochs": 1, "device": "cpu", "progress": False, "limit": 256, "batch_size": 64}
TWO_EPOCHS: dict[str, Any] = {**SMALL, "epochs": 2, "hidden": (8,)}
IMAGES = [np.full((8, 8), shade, np.uint8) for shade in (0, 100, 255)]


def changed(run: Run, tmp_path: Path, **changes: Any) -> Path:
    """A copy of a run whose record of its model differs."""
    copy = tmp_path / "copy"
    shutil.copytree(run.path, copy)
    info = json.loads((copy / "run.json").read_text())
    info["model"]["own"] |= changes
    (copy / "run.json").write_text(json.dumps(info))
    return copy


def forget() -> None:
    """As in a process that was given nothing."""
    parts._given.clear()
    parts._latest.clear()
