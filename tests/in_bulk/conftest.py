# SPDX-License-Identifier: Apache-2.0
"""A run, and images to ask it about."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from in_process import BRIEF
from PIL import Image

from pellucid.run import Run
from pellucid.training.training import train


@pytest.fixture(scope="session")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return train("classify", "digits", "convnet", tmp_path_factory.mktemp("bulk") / "run", widths=(4,), **BRIEF)


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """150 small images of three sizes, two of them damaged: one in its header, one that only decoding finds."""
    folder = tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(0)
    for number in range(150):
        pixels = rng.integers(0, 256, (9 + number % 3, 12), np.uint8)
        Image.fromarray(pixels).save(folder / f"{number:03d}.{'bmp' if number % 2 else 'png'}")
    (folder / "006.png").write_bytes(b"no image")
    whole = (folder / "070.png").read_bytes()
    (folder / "070.png").write_bytes(whole[: len(whole) // 2])
    return folder
