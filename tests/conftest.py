# SPDX-License-Identifier: Apache-2.0
"""What tests share: a cache of their own, and the real data sets that may lie beside the checkout."""

from __future__ import annotations

import gc
import signal
import threading
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, settings

if TYPE_CHECKING:
    from pellucid.run import Run

# the same examples on every machine, however slow or busy it is
settings.register_profile("any machine", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")

# a job in the background, or under nohup, ignores these signals, and so would the commands that tests interrupt
if threading.current_thread() is threading.main_thread():
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)

# garbage in circles is looked for seldom, and never among the modules and the ten thousand tests themselves
gc.set_threshold(20_000)


def pytest_collection_finish(session: pytest.Session) -> None:
    gc.freeze()


def pytest_unconfigure(config: pytest.Config) -> None:
    gc.unfreeze()


REAL = Path(__file__).parents[2] / "shared" / "data"


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No test reads or writes the user's cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PELLUCID_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session", autouse=True)
def _embedded_datasets_once() -> Iterator[None]:
    """Each is drawn once per process, which otherwise keeps two: drawing all of them takes a quarter of a minute."""
    from pellucid.data.embedded import embedded

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(embedded, "load", lru_cache(maxsize=None)(embedded.load.__wrapped__))
        yield


@pytest.fixture
def real() -> Callable[[str], Path]:
    """The folder of a real data set; the test is skipped where it is absent."""

    def find(name: str) -> Path:
        if not (REAL / name).exists():
            pytest.skip(f"the real data set {name} does not lie beside the checkout")
        return REAL / name

    return find


@pytest.fixture(scope="session")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Reads printed letters, after a few seconds of training on rendered ones."""
    from pellucid.training.training import train

    tame: dict[str, Any] = {"slant": 0.1, "tilt": 3.0, "stretch": 0.05, "soften": 0.5, "lr": 5e-3, "batch_size": 32}
    net: dict[str, Any] = {"widths": (16, 32), "batch_norm": True, "stride": 2}
    folder = tmp_path_factory.mktemp("reader") / "run"
    return train(
        "read", "glyphs", None, folder, epochs=5, limit=1500, device="cpu", progress=False, seed=0, **tame, **net
    )
