# SPDX-License-Identifier: Apache-2.0
"""Requests a second and their times at 1, 8 and 64 clients: `pellucid serve` beside a plain handler.

    python benchmarks/serving.py [RUN] [SECONDS]

`gain` has the ratios of the throughputs in five rounds, in which both are asked in turn, and `cpu_ms`
what the server computes for a request, which other programs on the machine hardly change. Without a run, a convolutional network is
trained for a moment on the embedded digits. The plain handler is what one writes first: Starlette, a thread for each request, Pillow,
and the run's own model on one image. Both get the same PNG, from clients in a process of their own, which keep their connections; each
server has a process of its own, and has answered before.
"""

from __future__ import annotations

import asyncio
import io
import json
import multiprocessing
import socket
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from numpy.typing import NDArray
from PIL import Image

CLIENTS = (1, 8, 64)
ROUNDS = 5
WARM = 0.5  # seconds that are not counted
CONTEXT = multiprocessing.get_context("spawn")


def plain(run_folder: str) -> Any:
    """A handler that decodes, resizes and asks the model, one image at a time."""
    import torch
    from starlette.applications import Starlette
    from starlette.concurrency import run_in_threadpool
    from starlette.requests import Request
    from starlette.responses import JSONResponse
    from starlette.routing import Route

    from pellucid.run import Run

    run = Run(run_folder)
    model, (height, width) = run.model(), run.size
    mode = "L" if run.channels == 1 else "RGB"

    def answer(content: bytes) -> dict[str, Any]:
        image = Image.open(io.BytesIO(content)).convert(mode).resize((width, height))
        array = np.asarray(image, np.float32).reshape(height, width, run.channels) / 255
        with torch.inference_mode():
            shares = model(torch.from_numpy(array.transpose(2, 0, 1)[None].copy())).softmax(1)[0]
        return {
            "label": run.classes[int(shares.argmax())],
            "probabilities": dict(zip(run.classes, shares.tolist(), strict=True)),
        }

    async def handle(request: Request) -> JSONResponse:
        return JSONResponse(await run_in_threadpool(answer, await request.body()))

    return Starlette(routes=[Route("/runs/own/predict", handle, methods=["POST"])])


def serving(kind: str, folder: str, port: int) -> None:
    """A server, until its process is ended."""
    import uvicorn

    from pellucid.run import Run
    from pellucid.serving.application import application

    app = plain(folder) if kind == "plain" else application([Run(folder)])
    uvicorn.run(app, port=port, log_level="error", access_log=False, ws="none")


async def client(port: int, request: bytes, until: float, times: list[tuple[float, float]]) -> None:
    """Asks again and again over one connection; notes when each answer came, and how long it took."""
    reading, writing = await asyncio.open_connection("127.0.0.1", port)
    while time.monotonic() < until:
        begun = time.monotonic()
        writing.write(request)
        head = await reading.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 "), head
        size = next(int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
        await reading.readexactly(size)
        times.append((time.monotonic(), time.monotonic() - begun))
    writing.close()


def asking(port: int, name: str, content: bytes, clients: int, seconds: float, sending: Any) -> None:
    """All clients, in a process of their own."""
    head = f"POST /runs/{name}/predict HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Length: {len(content)}\r\n\r\n"
    request = head.encode() + content
    times: list[tuple[float, float]] = []
    begun = time.monotonic()

    async def all_of_them() -> None:
        await asyncio.gather(*(client(port, request, begun + WARM + seconds, times) for _ in range(clients)))

    asyncio.run(all_of_them())
    sending.send(([took for came, took in times if begun + WARM < came <= begun + WARM + seconds], len(times)))


@contextmanager
def server(kind: str, folder: Path) -> Iterator[tuple[int, psutil.Process]]:
    """The port of a server, and its process."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    process = CONTEXT.Process(target=serving, args=(kind, str(folder), port), daemon=True)
    process.start()
    try:
        while True:
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                break
            except OSError:
                assert process.is_alive()
                time.sleep(0.1)
        yield port, psutil.Process(process.pid)
    finally:
        process.terminate()
        process.join()


def times_of(port: int, name: str, content: bytes, clients: int, seconds: float) -> tuple[NDArray[np.float64], int]:
    """Milliseconds of each answer that counts, and how many answers there were in all."""
    receiving, sending = CONTEXT.Pipe(duplex=False)
    asker = CONTEXT.Process(target=asking, args=(port, name, content, clients, seconds, sending))
    asker.start()
    found, count = receiving.recv()
    asker.join()
    return np.array(found) * 1000, count


def cpu(process: psutil.Process) -> float:
    """Seconds that a process has computed so far."""
    times = process.cpu_times()
    return float(times.user + times.system)


def told(several: Sequence[NDArray[np.float64]], costs: Sequence[float], seconds: float) -> dict[str, float]:
    """The medians over the rounds."""
    return {
        "cpu_ms": round(float(np.median(costs)), 3),
        "per_second": round(float(np.median([len(one) / seconds for one in several])), 1),
        "p50_ms": round(float(np.median([np.percentile(one, 50) for one in several])), 2),
        "p99_ms": round(float(np.median([np.percentile(one, 99) for one in several])), 2),
    }


def main() -> None:
    from pellucid.run import Run
    from pellucid.training.training import train

    words = sys.argv[1:]
    seconds = float(words[1]) if len(words) > 1 else 2.0
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(words[0]) if words else Path(temporary) / "digits"
        if not words:
            settings: dict[str, Any] = {"epochs": 1, "limit": 200, "device": "cpu", "progress": False}
            train("classify", "digits", "convnet", folder, **settings)
        height, width = Run(folder).size
        file = io.BytesIO()
        pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
        Image.fromarray(pixels).convert("L" if Run(folder).channels == 1 else "RGB").save(file, "PNG")
        names = {"plain": "own", "pellucid": folder.name}
        with server("plain", folder) as plain, server("pellucid", folder) as own:
            servers = {"plain": plain, "pellucid": own}
            for kind, (port, _) in servers.items():  # the first time, the model is read
                times_of(port, names[kind], file.getvalue(), 1, 0.5)
            for clients in CLIENTS:
                rounds: dict[str, list[NDArray[np.float64]]] = {kind: [] for kind in servers}
                costs: dict[str, list[float]] = {kind: [] for kind in servers}
                for _ in range(ROUNDS):  # in turn: other programs on the machine slow both
                    for kind, (port, process) in servers.items():
                        before = cpu(process)
                        times, count = times_of(port, names[kind], file.getvalue(), clients, seconds)
                        rounds[kind].append(times)
                        costs[kind].append(1000 * (cpu(process) - before) / count)
                line: dict[str, Any] = {kind: told(rounds[kind], costs[kind], seconds) for kind in servers}
                pairs = zip(rounds["pellucid"], rounds["plain"], strict=True)
                gains = sorted(round(len(ours) / len(theirs), 2) for ours, theirs in pairs)
                print(json.dumps({"clients": clients, **line, "gain": gains}), flush=True)


if __name__ == "__main__":
    main()
