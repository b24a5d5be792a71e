# SPDX-License-Identifier: Apache-2.0
"""Runs of a few seconds, and a server on a port of its own."""

from __future__ import annotations

import asyncio
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from pellucid.inference import evaluate
from pellucid.run import Run
from pellucid.serving.application import Service
from pellucid.serving.guarding import Guard
from pellucid.serving.limits import Limits
from pellucid.serving.shelf import named
from pellucid.training.training import train

EARLIER = Path(__file__).parents[1] / "runs_0_1_0"
LIMITS = Limits(upload=200_000, held=20_000_000, idle=0.5, seconds=2.0, pixels=4_000_000, solve=3.0)


@pytest.fixture(scope="session")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A classifier of the embedded digits."""
    folder = tmp_path_factory.mktemp("served") / "digits"
    settings: dict[str, Any] = {"epochs": 1, "limit": 200, "seed": 0, "device": "cpu", "progress": False}
    return train("classify", "digits", "mlp", folder, **settings)


@pytest.fixture(scope="session")
def denoiser(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Takes noise off the embedded digits."""
    folder = tmp_path_factory.mktemp("served") / "denoiser"
    settings: dict[str, Any] = {"epochs": 1, "limit": 64, "seed": 0, "device": "cpu", "progress": False}
    return train("denoise", "digits", None, folder, **settings)


class Server:
    """A server in a thread; `service` is what it serves."""

    def __init__(self, runs: Sequence[Run], **options: Any) -> None:
        limits = options.get("limits", LIMITS)
        self.service = Service(named(runs), options.get("room", 1 << 30), limits, options.get("example"))
        self.guard = Guard(self.service.app, options.get("host", "127.0.0.1"), options.get("token", ""), limits)
        config = uvicorn.Config(self.guard, port=0, log_level="error", ws="none", server_header=False)
        self.server = uvicorn.Server(config)
        self.thread = threading.Thread(target=self.server.run, daemon=True)

    @property
    def port(self) -> int:
        return int(self.server.servers[0].sockets[0].getsockname()[1])

    def released(self) -> bool:
        """Whether no request is in memory once all have ended; the last one ends a moment after its answer."""

        async def ended() -> None:
            await asyncio.gather(*self.server.server_state.tasks, return_exceptions=True)

        asyncio.run_coroutine_threadsafe(ended(), self.server.servers[0].get_loop()).result()
        return self.guard.held == 0

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@contextmanager
def served(runs: Sequence[Run], **options: Any) -> Iterator[Server]:
    own = Server(runs, **options)
    own.thread.start()
    while not own.server.started:
        assert own.thread.is_alive()
        time.sleep(0.01)
    try:
        yield own
    finally:
        own.server.should_exit = True
        own.thread.join()


@pytest.fixture(scope="session")
def serving() -> Callable[..., Any]:
    """Serves runs within a block."""
    return served


@pytest.fixture(scope="session")
def server(digits: Run, denoiser: Run) -> Iterator[Server]:
    """Serves a classifier and a denoiser."""
    with served([digits, denoiser]) as own:
        yield own


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory, digits: Run) -> dict[str, Run]:
    """Runs of several tasks on the embedded digits, of 8×8 px; two classifiers have measures of this version, and one has none."""
    folder = tmp_path_factory.mktemp("tasks")
    for name in ("inpaint", "vae", "cluster", "compress", "classify"):
        shutil.copytree(EARLIER / name, folder / name)
    for name in ("second", "unmeasured"):
        shutil.copytree(digits.path, folder / name)
    evaluate(folder / "second", baselines=False)
    shutil.copytree(folder / "second", folder / "third")
    return {path.name: Run(path) for path in sorted(folder.iterdir())}


@pytest.fixture(scope="session")
def tasks(runs: dict[str, Run]) -> Iterator[Server]:
    """Serves them."""
    with served([*runs.values()]) as own:
        yield own


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of grey images of several sizes."""
    import numpy as np
    from PIL import Image

    folder = tmp_path_factory.mktemp("images")
    draws = np.random.default_rng(0)
    for place in range(12):
        size = (8, 8) if place % 3 else (20, 13)
        Image.fromarray(draws.integers(0, 256, size, dtype=np.uint8)).save(folder / f"image_{place:02d}.png")
    return folder
