# SPDX-License-Identifier: Apache-2.0
"""`pellucid serve` as a process: it says where it is, answers, and ends with Ctrl-C."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from pellucid.cli.cli import main
from pellucid.run import Run
from pellucid.serving.server import _bound


def test_it_says_where_it_is_and_ends_with_ctrl_c(tmp_path: Path, digits: Run) -> None:
    (tmp_path / "runs").symlink_to(digits.path.parent)  # without a name, all runs below runs/
    words = [sys.executable, "-m", "pellucid", "serve", "--port", "0"]
    pipe = subprocess.PIPE
    with subprocess.Popen(words, cwd=tmp_path, stdout=pipe, stderr=pipe, text=True, env=os.environ) as process:
        assert process.stdout is not None and process.stderr is not None
        address = process.stdout.readline().split()[0]
        with httpx.Client(base_url=address, trust_env=False, timeout=180) as ask:
            assert "digits" in [run["name"] for run in ask.get("/runs").json()["runs"]]
            assert ask.post("/worked/solve", content="x = 3; ? x").status_code == 200
        process.send_signal(signal.SIGINT)
        assert process.wait(120) == 130
        assert process.stderr.read() == "pellucid: stopped.\n"


@pytest.mark.parametrize(("given", "taken"), [({}, "PASSIVE"), ({"OMP_WAIT_POLICY": "ACTIVE"}, "ACTIVE")])
def test_threads_that_wait_leave_the_cores_to_clients(digits: Run, given: dict[str, str], taken: str) -> None:
    """The library of threads says itself by which policy it was loaded; the user's own stays."""
    script = """
import sys, uvicorn
uvicorn.Server.run = lambda *_, **__: None
from pellucid.serving.server import serve
serve(sys.argv[1:], port=0)
"""
    words = [sys.executable, "-c", script, str(digits.path)]
    plain = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
    done = subprocess.run(
        words, env={**plain, "OMP_DISPLAY_ENV": "TRUE", **given}, capture_output=True, text=True, check=True
    )
    assert set(re.findall(r"OMP_WAIT_POLICY\s*=\s*'(\w+)'", done.stderr)) == {taken}


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["runs/none"], "pellucid: run='runs/none': has no run.json"),
        (["--port", "70000"], "pellucid: port=70000: must be from 0 to 65535"),
        (["--memory", "0"], "pellucid: memory=0: must be above 0 GiB"),
        (["--host", "0.0.0.0"], "pellucid: host='0.0.0.0': lets other machines ask; give --token"),
    ],
)
def test_a_mistake_is_one_sentence(
    words: list[str], sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["serve", *words]) == 2
    said = capsys.readouterr().err
    assert said.startswith(sentence)
    assert said.count("\n") == 1


def test_small_pieces_of_an_answer_are_sent_at_once() -> None:
    """Else the body waits until the client has confirmed the head, which takes it 40 ms."""

    async def at_once() -> bool:
        found: asyncio.Future[int] = asyncio.get_running_loop().create_future()

        def meet(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            found.set_result(
                writer.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY),
            )
            writer.close()

        with _bound("127.0.0.1", 0) as listening:
            async with await asyncio.start_server(meet, sock=listening):
                reading, writing = await asyncio.open_connection(*listening.getsockname())
                await reading.read()
                writing.close()
                return bool(await found)

    assert asyncio.run(at_once())
