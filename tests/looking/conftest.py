# SPDX-License-Identifier: Apache-2.0
"""A run of each kind that lenses look at."""

from __future__ import annotations

from typing import Any

import pytest

from pellucid.data.annotations.converting import convert
from pellucid.data.embedded.scenes import draw
from pellucid.run import Run
from pellucid.training.training import train

KINDS = {"proposals": "detector", "page": "reader"}  # what each lens looks at, if not at a classifier


@pytest.fixture(scope="session")
def detector(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Detects the shapes of a few scenes, badly."""
    folder = tmp_path_factory.mktemp("detector")
    convert(draw({"train": 8, "val": 4, "test": 4}), "coco", folder / "data")
    small: dict[str, Any] = {"widths": (8, 8, 16, 16), "width": 8, "hidden": 16, "proposals": 40}
    return train("detect", folder / "data", None, folder / "run", epochs=1, device="cpu", progress=False, **small)


@pytest.fixture
def seen(lens: str, request: pytest.FixtureRequest) -> Run:
    """A run that the lens can look at: the module's own `run`, a classifier, for most."""
    made: Run = request.getfixturevalue(KINDS.get(lens, "run"))
    return made
