# SPDX-License-Identifier: Apache-2.0
"""The command `serve`."""

from __future__ import annotations

from pathlib import Path

from pellucid.cli.named import found_below

__all__ = ["serve"]


def serve(
    runs: tuple[Path, ...] = (),
    /,
    *,
    port: int = 8020,
    host: str = "127.0.0.1",
    token: str = "",
    memory: float = 2.0,
) -> int:
    """Open runs and worksheets as pages on this machine and over HTTP, until Ctrl-C.

    Args:
        runs: run folders; by default all below runs/, and where there is none, a small network that learns the embedded digits.
        port: the port; 0 for any that is free.
        host: the address to listen on; one that other machines reach needs a token.
        token: a secret of 16 characters or more that every request must have.
        memory: GiB for the weights of models; those that were asked longest ago make room.
    """
    from pellucid.serving.server import serve as verb

    verb(runs or found_below(), port=port, host=host, token=token, memory=memory)
    return 0
