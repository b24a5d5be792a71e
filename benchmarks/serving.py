# SPDX-License-Identifier: Apache-2.0
"""Requests a second and their times at 1, 8 and 64 clients: `pellucid serve` beside a plain handler, and Gradio.

    python benchmarks/serving.py [RUN] [--seconds 2] [--rounds 5] [--clients 1 8 64] [--gradio PYTHON]

Without a run, a convolutional network is trained for a moment on the embedded digits. The plain handler is what one writes first with
FastAPI: a file as its parameter, Pillow, and the run's own model on one image, in a thread for each request. It gets the same form with
the same PNG. Gradio wants an older Pillow than is tested here: `--gradio` names the Python of an environment that has it, made by
`pip install gradio 'pellucid[images]'`. Gradio is asked as its documentation says, by two requests for each answer, with the PNG in the
first; as its defaults are, one request at a time, and with whole batches.

The clients are in a process of their own and keep their connections; each server has a process of its own, and has answered
before. All are asked in turn in each round. `gain` has the ratios of throughputs within the rounds, and `cpu_ms` what a server computes
for a request, which other programs on the machine hardly change. `tail` is p99 ÷ p50, within the rounds.

Claims: at 64 clients at least twice the handler's requests a second, and a p99 below three times the p50.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import io
import json
import multiprocessing
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from numpy.typing import NDArray
from PIL import Image

import pellucid

WARM = 0.5  # seconds that are not counted
CONTEXT = multiprocessing.get_context("spawn")
BOUND = b"--a-bound-of-the-benchmark"
CALL = "/gradio_api/call/predict"


class Line:
    """A connection that stays open, with the bytes of a request to one kind of server."""

    def __init__(self, kind: str, port: int, name: str, content: bytes) -> None:
        self.kind, self.port = kind, port
        if kind.startswith("gradio"):
            data = f"data:image/png;base64,{base64.b64encode(content).decode()}"
            body = json.dumps({"data": [{"url": data, "meta": {"_type": "gradio.FileData"}}]}).encode()
            self.request = self.head("POST", CALL, "application/json", len(body)) + body
        else:
            own = kind == "pellucid"
            field = b'Content-Disposition: form-data; name="image%s"; filename="a.png"' % (b"s" if own else b"")
            body = b"--%s\r\n%s\r\nContent-Type: image/png\r\n\r\n%s\r\n--%s--\r\n" % (BOUND, field, content, BOUND)
            path = f"/runs/{name}/predict" if own else "/predict"
            self.request = self.head("POST", path, f"multipart/form-data; boundary={BOUND.decode()}", len(body)) + body

    def head(self, method: str, path: str, kind: str = "", size: int = 0) -> bytes:
        lines = [f"{method} {path} HTTP/1.1", f"Host: 127.0.0.1:{self.port}", "Accept: */*"]
        lines += [f"Content-Type: {kind}", f"Content-Length: {size}"] if size else []
        return "\r\n".join([*lines, "", ""]).encode()

    async def open(self) -> None:
        self.reading, self.writing = await asyncio.open_connection("127.0.0.1", self.port)

    async def answer(self) -> bytes:
        """What the server answers."""
        self.writing.write(self.request)
        found = await self.read()
        if self.kind.startswith("gradio"):
            self.writing.write(self.head("GET", f"{CALL}/{json.loads(found)['event_id']}"))
            found = await self.read()
            assert found.startswith(b"event: complete") or b"\nevent: complete" in found, found
        return found

    async def read(self) -> bytes:
        head = (await self.reading.readuntil(b"\r\n\r\n")).lower()
        assert head.startswith(b"http/1.1 200 "), head
        sizes = [int(line[15:]) for line in head.split(b"\r\n") if line.startswith(b"content-length:")]
        if sizes:
            return await self.reading.readexactly(sizes[0])
        body = b""
        while size := int(await self.reading.readuntil(b"\r\n"), 16):  # chunks, the last one is empty
            body += await self.reading.readexactly(size)
            await self.reading.readexactly(2)
        await self.reading.readexactly(2)
        return body


async def client(line: Line, until: float, times: list[tuple[float, float]]) -> None:
    """Asks again and again over one connection; notes when each answer came, and how long it took."""
    await line.open()
    while time.monotonic() < until:
        begun = time.monotonic()
        await line.answer()
        times.append((time.monotonic(), time.monotonic() - begun))
    line.writing.close()


def asking(kind: str, port: int, name: str, content: bytes, clients: int, seconds: float, sending: Any) -> None:
    """All clients, in a process of their own."""
    times: list[tuple[float, float]] = []
    begun = time.monotonic()

    async def all_of_them() -> None:
        until = begun + WARM + seconds
        await asyncio.gather(*(client(Line(kind, port, name, content), until, times) for _ in range(clients)))

    asyncio.run(all_of_them())
    sending.send(([took for came, took in times if begun + WARM < came <= begun + WARM + seconds], len(times)))


@contextmanager
def server(python: str, kind: str, folder: Path) -> Iterator[tuple[int, psutil.Process]]:
    """The port of a server, and its process."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    source = os.pathsep.join([str(Path(pellucid.__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    settings = {
        **os.environ,
        "PYTHONPATH": source.rstrip(os.pathsep),
        "GRADIO_ANALYTICS_ENABLED": "False",
        "HF_HUB_OFFLINE": "1",
    }
    peer = [python, str(Path(__file__).with_name("_served.py")), kind, str(folder), str(port)]
    words = [python, "-m", "pellucid", "serve", str(folder), "--port", str(port)] if kind == "pellucid" else peer
    process = subprocess.Popen(words, env=settings, stdout=subprocess.DEVNULL)
    try:
        while True:
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                break
            except OSError:
                assert process.poll() is None, f"the server of {kind} did not start"
                time.sleep(0.1)
        yield port, psutil.Process(process.pid)
    finally:
        process.terminate()
        process.wait()


def times_of(
    kind: str, port: int, name: str, content: bytes, clients: int, seconds: float
) -> tuple[NDArray[np.float64], int]:
    """Milliseconds of each answer that counts, and how many answers there were in all."""
    receiving, sending = CONTEXT.Pipe(duplex=False)
    asker = CONTEXT.Process(target=asking, args=(kind, port, name, content, clients, seconds, sending))
    asker.start()
    sending.close()  # so that an asker that fails is noticed
    found, count = receiving.recv()
    asker.join()
    return np.array(found) * 1000, count


def cpu(process: psutil.Process) -> float:
    """Seconds that a process has computed so far."""
    times = process.cpu_times()
    return float(times.user + times.system)


def told(several: Sequence[NDArray[np.float64]], costs: Sequence[float], seconds: float) -> dict[str, float]:
    """The medians over the rounds."""
    p50, p99 = np.array([np.percentile(one, (50, 99)) for one in several]).T
    return {
        "cpu_ms": round(float(np.median(costs)), 3),
        "per_second": round(float(np.median([len(one) / seconds for one in several])), 1),
        "p50_ms": round(float(np.median(p50)), 2),
        "p99_ms": round(float(np.median(p99)), 2),
        "tail": round(float(np.median(p99 / p50)), 2),
    }


def compared(
    servers: dict[str, tuple[int, psutil.Process]], name: str, content: bytes, clients: int, asked: argparse.Namespace
) -> dict[str, Any]:
    """What each server does for so many clients."""
    rounds: dict[str, list[NDArray[np.float64]]] = {kind: [] for kind in servers}
    costs: dict[str, list[float]] = {kind: [] for kind in servers}
    for _ in range(asked.rounds):  # in turn: other programs on the machine slow all
        for kind, (port, process) in servers.items():
            before = cpu(process)
            times, count = times_of(kind, port, name, content, clients, asked.seconds)
            assert len(times), "the machine is too busy for a measurement of so few seconds"
            rounds[kind].append(times)
            costs[kind].append(1000 * (cpu(process) - before) / count)
    ours = rounds["pellucid"]
    gains = {
        kind: sorted(round(len(a) / len(b), 2) for a, b in zip(ours, theirs, strict=True))
        for kind, theirs in rounds.items()
        if kind != "pellucid"
    }
    return {**{kind: told(rounds[kind], costs[kind], asked.seconds) for kind in servers}, "gain": gains}


def main() -> None:
    from _timing import report

    from pellucid.run import Run
    from pellucid.training.training import train  # here, as the processes of the clients need none of it

    words = argparse.ArgumentParser()
    words.add_argument("run", nargs="?", type=Path)
    words.add_argument("--seconds", type=float, default=2.0)
    words.add_argument("--rounds", type=int, default=5)
    words.add_argument("--clients", type=int, nargs="+", default=[1, 8, 64])
    words.add_argument("--gradio", metavar="PYTHON")
    asked = words.parse_args()
    kinds = {"handler": sys.executable, "pellucid": sys.executable}
    if asked.gradio:
        kinds |= {"gradio": asked.gradio, "gradio, batches": asked.gradio}
    with tempfile.TemporaryDirectory() as temporary, ExitStack() as open_servers:
        folder = asked.run or Path(temporary) / "digits"
        if asked.run is None:
            settings: dict[str, Any] = {"epochs": 1, "limit": 200, "device": "cpu", "progress": False}
            train("classify", "digits", "convnet", folder, **settings)
        height, width = Run(folder).size
        file = io.BytesIO()
        pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
        Image.fromarray(pixels).convert("L" if Run(folder).channels == 1 else "RGB").save(file, "PNG")
        content = file.getvalue()
        servers = {kind: open_servers.enter_context(server(python, kind, folder)) for kind, python in kinds.items()}
        for kind, (port, _) in servers.items():  # the first time, the model is read
            times_of(kind, port, folder.name, content, 1, 0.5)
        found = {}
        for clients in asked.clients:
            found[f"{clients} clients"] = compared(servers, folder.name, content, clients, asked)
            print(json.dumps({"clients": clients, **found[f"{clients} clients"]}), file=sys.stderr, flush=True)
    report("at 64 clients 2 × the requests of a plain handler, p99 below 3 × p50", **found)


if __name__ == "__main__":
    main()
