# SPDX-License-Identifier: Apache-2.0
"""Requests a second and their times at 1, 8 and 64 clients: `pellucid serve` beside a plain handler.

    python benchmarks/serving.py [RUN] [SECONDS]

Without a run, a convolutional network is trained for a moment on the embedded digits. The plain handler is what one writes first:
Starlette, a thread for each request, Pillow, and the run's own model on one image. Both get the same PNG, from clients in a
process of their own, which keep their connections; each server has a process of its own, and has answered before.
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
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

CLIENTS = (1, 8, 64)
WARM = 1.0  # seconds that are not counted


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
    sending.send([took for came, took in times if begun + WARM < came <= begun + WARM + seconds])


def measured(kind: str, folder: Path, seconds: float, content: bytes) -> dict[int, dict[str, float]]:
    context = multiprocessing.get_context("spawn")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = context.Process(target=serving, args=(kind, str(folder), port), daemon=True)
    server.start()
    found = {}
    try:
        while True:
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                break
            except OSError:
                assert server.is_alive()
                time.sleep(0.1)
        for clients in (1, *CLIENTS):  # the first time, the model is read
            receiving, sending = context.Pipe(duplex=False)
            name = "own" if kind == "plain" else folder.name
            asker = context.Process(target=asking, args=(port, name, content, clients, seconds, sending))
            asker.start()
            times = np.array(receiving.recv()) * 1000
            asker.join()
            found[clients] = {
                "per_second": round(len(times) / seconds, 1),
                "p50_ms": round(float(np.percentile(times, 50)), 2),
                "p99_ms": round(float(np.percentile(times, 99)), 2),
            }
    finally:
        server.terminate()
        server.join()
    return found


def main() -> None:
    from pellucid.run import Run
    from pellucid.training.training import train

    words = sys.argv[1:]
    seconds = float(words[1]) if len(words) > 1 else 5.0
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(words[0]) if words else Path(temporary) / "digits"
        if not words:
            settings: dict[str, Any] = {"epochs": 1, "limit": 200, "device": "cpu", "progress": False}
            train("classify", "digits", "convnet", folder, **settings)
        height, width = Run(folder).size
        file = io.BytesIO()
        pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
        Image.fromarray(pixels).convert("L" if Run(folder).channels == 1 else "RGB").save(file, "PNG")
        results = {kind: measured(kind, folder, seconds, file.getvalue()) for kind in ("plain", "pellucid")}
    for clients in CLIENTS:
        gain = results["pellucid"][clients]["per_second"] / results["plain"][clients]["per_second"]
        line = {kind: rows[clients] for kind, rows in results.items()}
        print(json.dumps({"clients": clients, **line, "gain": round(gain, 2)}))


if __name__ == "__main__":
    main()
