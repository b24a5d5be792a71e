# SPDX-License-Identifier: Apache-2.0
"""Runs that answer with pictures and with rows, and a folder to work in."""

from __future__ import annotations

from pathlib import Path

import pytest
from brief import BRIEF

from pellucid.run import Run
from pellucid.training.training import train


@pytest.fixture(scope="module")
def denoiser(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return train("denoise", "digits", "unet", tmp_path_factory.mktemp("denoise") / "run", widths=(4,), **BRIEF)


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return train("classify", "digits", "mlp", tmp_path_factory.mktemp("classify") / "run", hidden=(8,), **BRIEF)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to work in, `here`, below one that nothing may write to."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "here"
