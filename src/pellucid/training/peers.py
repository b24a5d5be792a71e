# SPDX-License-Identifier: Apache-2.0
"""The processes of one training: what the first decides for all, and how the others learn that one of them has ended.

The first process holds a connection to each of the others, over which nothing passes while all goes well. The system closes it
when a process ends, however it does, and probes it where a machine falls silent. Messages of the training itself cannot tell: a
process that waits for them may wait for good.
"""

from __future__ import annotations

import os
import secrets
import selectors
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from typing import Any, final

from torch import distributed as group

from pellucid.errors import PellucidError, RunError, TrainingError

__all__ = ["Elsewhere", "Peers", "meet", "watching"]

_GRACE = 5.0  # seconds for a process that waits for another to fail by itself, before it is ended
_ALIKE = 2.0  # seconds in which all processes meet a fault that is everyone's
_ARRIVAL = 120.0  # seconds for all processes to connect
_SILENCE = (
    (10, "TCP_KEEPIDLE"),
    (5, "TCP_KEEPINTVL"),
    (4, "TCP_KEEPCNT"),
)  # a silent machine is given up after half a minute


@final
class Elsewhere(TrainingError):
    """The training has ended because of another process, which says why."""

    quiet = True


@final
class Peers:
    """The other processes of this training."""

    def __init__(self) -> None:
        self.rank, self.processes = group.get_rank(), group.get_world_size()
        self._lock = threading.Lock()
        self._others: dict[int, socket.socket] = {}
        self._number = 0  # of the training that is under way, or was last
        self.active = False
        self._done: dict[int, int] = {}  # the last training that a process has finished
        self._gone: int | None = None  # a process that ended between trainings
        self._ended: int | None = None  # the process that ended in one
        self._heard, self._alone = threading.Event(), threading.Event()
        self._connect()
        threading.Thread(target=self._listen, name="peers", daemon=True).start()

    def begin(self) -> None:
        """A training begins.

        Raises:
            TrainingError: a process has ended before it.
        """
        with self._lock:
            self._number += 1
            self.active, gone = True, self._gone
        if gone is not None:
            self._alarm(gone)
            raise TrainingError(self._sentence(gone))

    def finish(self) -> None:
        """The training is done: from now on this process may end."""
        self._send(f"done {self._number}")

    def judged(self, fault: Exception) -> Exception:
        """The fault itself, or, where it follows from another process's end, a sentence on that."""
        ours = isinstance(fault, PellucidError)
        if not (ours and self.rank == 0):  # the first process says what is everyone's fault
            self._heard.wait(_ALIKE if ours else _GRACE)
        if not self._heard.is_set():
            self._send("told")
            return fault
        self.active = False
        if self._ended is not None and self.rank == self._speaker:
            return TrainingError(self._sentence(self._ended))
        self._alone.wait(_GRACE)  # launchers end all processes with the first: let the one that speaks go before
        return Elsewhere("processes: another one has said why the training ended.")

    @property
    def _speaker(self) -> int:
        return 1 if self._ended == 0 else 0

    def _sentence(self, ended: int) -> str:
        return (
            f"processes={self.processes}: process {ended} has ended before the training, killed or by a fault of its own; give the "
            "same command again to go on from the state that was saved last."
        )

    def _alarm(self, ended: int | None) -> None:
        """Another process has ended, or (None) has said why it will: the training ends here, by force if it does not by itself."""
        if self._heard.is_set():
            return
        self._ended = ended
        self._heard.set()
        clock = threading.Timer(_GRACE, self._leave)
        clock.daemon = True
        clock.start()

    def _leave(self) -> None:
        if not self.active:
            return
        if self._ended is not None and self.rank == self._speaker:
            print(f"pellucid: {self._sentence(self._ended)}", file=sys.stderr, flush=True)
        os._exit(1)  # the main thread waits inside of a library, for a message that does not come

    # -- the connections

    def _connect(self) -> None:
        """Connect the first process with each of the others.

        Raises:
            RunError: one of them cannot be reached.
        """
        near = os.environ.get("LOCAL_WORLD_SIZE") == str(self.processes)  # all on one machine
        try:
            if self.rank == 0:
                with socket.create_server(("127.0.0.1" if near else "", 0), backlog=self.processes) as door:
                    token = secrets.token_hex(16)
                    group.broadcast_object_list([(door.getsockname()[1], token)], src=0)
                    door.settimeout(_ARRIVAL)
                    while len(self._others) < self.processes - 1:
                        self._admit(door.accept()[0], token)
            else:
                told: list[Any] = [None]
                group.broadcast_object_list(told, src=0)
                port, token = told[0]
                host = "127.0.0.1" if near else os.environ["MASTER_ADDR"]
                own = socket.create_connection((host, port), timeout=_ARRIVAL)
                own.sendall(f"{token} {self.rank}\n".encode())
                self._keep(0, own)
        except OSError as fault:
            raise RunError(
                f"processes={self.processes}: process {self.rank} cannot be connected with the first one ({fault}); open the ports "
                "between the machines, as torch's own messages need it."
            ) from fault

    def _admit(self, own: socket.socket, token: str) -> None:
        own.settimeout(_ARRIVAL)
        with suppress(OSError, ValueError), own.makefile("r", encoding="ascii") as file:
            given, rank = file.readline(200).split()
            if secrets.compare_digest(given, token):
                self._keep(int(rank), own)
                return
        own.close()

    def _keep(self, rank: int, own: socket.socket) -> None:
        own.settimeout(None)
        own.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for value, name in _SILENCE:
            if hasattr(socket, name):
                own.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
        self._others[rank] = own

    def _send(self, message: str, but: int | None = None) -> None:
        for rank, own in list(self._others.items()):
            if rank != but:
                with suppress(OSError):  # it has ended, which `_listen` sees
                    own.sendall(f"{message}\n".encode())

    def _listen(self) -> None:
        with selectors.DefaultSelector() as waiting:
            rests = dict.fromkeys(self._others, b"")
            for rank, own in self._others.items():
                waiting.register(own, selectors.EVENT_READ, rank)
            while waiting.get_map():
                for key, _ in waiting.select():
                    rank, own = int(key.data), self._others[int(key.data)]
                    try:
                        content = own.recv(4096)
                    except OSError:
                        content = b""
                    *lines, rests[rank] = (rests[rank] + content).split(b"\n")
                    for line in lines:
                        self._take(rank, line.decode("ascii", "replace").split())
                    if not content:
                        waiting.unregister(own)
                        own.close()
                        self._closed(rank)
        self._alone.set()

    def _take(self, rank: int, words: list[str]) -> None:
        if words[0] == "done":
            self._done[rank] = int(words[1])
        elif words[0] == "told":
            if self.rank == 0:
                self._send("told", but=rank)
            self._alarm(None)
        elif words[0] == "ended":
            self._alarm(int(words[1]))

    def _closed(self, rank: int) -> None:
        with self._lock:
            if self._done.get(rank, 0) >= self._number and self._number:
                self._gone = rank  # in order, unless another training begins
                return
            active, self._gone = self.active, rank
        if active:
            if self.rank == 0:
                self._send(f"ended {rank}", but=rank)
            self._alarm(rank)


_PEERS: list[Peers] = []  # at most one, for as long as the process lives
_WATCHED: ContextVar[bool] = ContextVar("watched", default=False)


@contextmanager
def watching() -> Iterator[None]:
    """Within the block, a training whose other processes `meet` connects with, none of them waits for one that has ended.

    Raises:
        TrainingError: another process has ended, and it is this one that says so.
        Elsewhere: another one says what went wrong.
    """
    token = _WATCHED.set(True)
    try:
        yield
    except Exception as fault:
        told = _PEERS[0].judged(fault) if _PEERS else fault
        if told is fault:
            raise
        raise told from fault
    else:
        if _PEERS:
            _PEERS[0].finish()
    finally:
        _WATCHED.reset(token)
        if _PEERS:
            _PEERS[0].active = False


def meet() -> None:
    """Connect with the other processes, once they can be asked; nothing where there are none."""
    if not _WATCHED.get() or not (group.is_available() and group.is_initialized() and group.get_world_size() > 1):
        return
    if not _PEERS:
        _PEERS.append(Peers())
    _PEERS[0].begin()
