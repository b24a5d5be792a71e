# SPDX-License-Identifier: Apache-2.0
"""`serve`: binds an address and serves until it is stopped."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from pellucid.errors import MissingPackageError, UsageError
from pellucid.run import Run

__all__ = ["serve"]

_SHORTEST: Final = 16  # characters of a token: nobody tries them all
_BACKLOG: Final = 512  # connections that wait to be accepted


def serve(
    runs: Sequence[Run | str | Path] = (),
    *,
    host: str = "127.0.0.1",
    port: int = 8020,
    token: str = "",
    memory: float = 2.0,
) -> None:
    """Serve runs and worksheets as pages and over HTTP, until Ctrl-C.

    Args:
        runs: runs, or their folders; without any, a small classifier of the embedded digits, which is trained in the background
            in a temporary folder.
        host: the address to listen on; other machines reach another one than 127.0.0.1.
        port: the port; 0 for any that is free.
        token: a secret of 16 characters or more that every request must have; needed where other machines can ask.
        memory: GiB for the weights of models; those that were asked longest ago make room.

    Raises:
        UsageError: the address cannot be listened on, or a token is missing.
        RunError: there is no such run, or it has no weights.
        MissingPackageError: the packages for it are not installed.
    """
    if "torch" not in sys.modules:
        # its threads else spin while they wait for each other: where clients use the cores too, ten milliseconds for each layer
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        import uvicorn

        from pellucid.serving.application import application
        from pellucid.serving.guarding import is_loopback
    except ModuleNotFoundError as fault:
        if (fault.name or "").split(".")[0] not in ("starlette", "uvicorn", "python_multipart"):
            raise
        raise MissingPackageError(
            f"serve: needs {fault.name}, which is not installed; install it with: pip install 'pellucid[serve]'"
        ) from None
    if not is_loopback(host) and not token:
        raise UsageError(f"host={host!r}: lets other machines ask; give --token with a secret that they must know.")
    if token and (
        len(token) < _SHORTEST or not token.isascii() or not token.isprintable() or set(token) & set(' ";,\\')
    ):
        raise UsageError(f"token: must be {_SHORTEST} or more plain characters without spaces; give another one.")
    if not memory > 0:
        raise UsageError(f"memory={memory:g}: must be above 0 GiB; give another value.")
    opened = [run if isinstance(run, Run) else Run(run) for run in runs]
    app = application(opened, memory=memory, host=host, token=token)
    with _bound(host, port) as listening:
        address = f"http://{f'[{host}]' if ':' in host else host}:{listening.getsockname()[1]}/"
        print(f"{address}{f'?token={token}' if token else ''}   (Ctrl-C stops it)", flush=True)
        config = uvicorn.Config(
            app, log_level="warning", access_log=False, ws="none", server_header=False, timeout_graceful_shutdown=2
        )
        uvicorn.Server(config).run(sockets=[listening])


def _bound(host: str, port: int) -> socket.socket:
    if not 0 <= port <= 65535:
        raise UsageError(f"port={port}: must be from 0 to 65535; give another one.")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # the protocol is named, as asyncio sends small pieces at once over what it knows to be TCP: answers else wait 40 ms for the
    # client to confirm their heads
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
        listening.listen(_BACKLOG)
    except OSError as fault:
        listening.close()
        what = f"port={port}" if port else f"host={host!r}"
        raise UsageError(f"{what}: cannot be listened on ({fault.strerror}); give another --port or --host.") from None
    return listening
