# SPDX-License-Identifier: Apache-2.0
"""What was seen of files before: one SQLite file in the user's cache, which several processes may use at a time."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import NamedTuple, Self, final

from pellucid.data.decoding.deep import Source

__all__ = ["Index", "Seen", "Stamp", "cache_folder"]


class Stamp(NamedTuple):
    """A file as the file system knows it: a file that was exchanged for another one of its size and time has another."""

    path: str
    bytes: int
    modified: int  # ns
    changed: int  # ns; of the entry itself, which no program can set back
    inode: int

    @classmethod
    def of(cls, source: Source, container: Path | None = None, position: int = 0) -> Self | None:
        """That of a file, or of bytes inside a container; None if there is none."""
        path = container if isinstance(source, bytes) else source
        if path is None:
            return None
        name = str(path)
        try:
            status = os.stat(name)
        except OSError:
            return None
        name = name if name[0] == "/" else os.path.abspath(name)
        title = f"{name}/{position}" if isinstance(source, bytes) else name
        return cls(title, status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino & (2**63 - 1))


class Seen(NamedTuple):
    """What is known of one file. `pixels` is empty until it was decoded, `look` until it was looked at closely."""

    digest: bytes  # of the file
    height: int = 0
    width: int = 0
    channels: int = 0
    problem: str = ""
    low: float | None = None  # of more than 8 bits
    high: float | None = None
    floats: bool = False
    pages: int = 1
    coded: bytes = b""  # digest of a JPEG without its metadata
    pixels: bytes = b""  # digest of the decoded pixels
    look: bytes = b""  # perceptual hash


@final
class Index:
    """A cache of scans."""

    def __init__(self) -> None:
        self.path = cache_folder() / "files-5.sqlite"

    def recall(self, stamps: Sequence[Stamp], closely: bool) -> dict[Stamp, Seen]:
        """What is known of these files; with `closely`, only of those that were decoded and hashed, or cannot be read."""
        if not stamps or not self.path.exists():
            return {}
        wanted = {os.fsencode(stamp.path): stamp for stamp in stamps}
        folders = {os.path.dirname(path) for path in wanted}
        rows = {}
        try:
            with closing(self._connect()) as connection:
                for folder in folders:  # one range of the sorted paths per folder: far fewer statements than files
                    low, high = folder.rstrip(b"/") + b"/", folder.rstrip(b"/") + b"0"  # "0" follows "/" in ASCII
                    for path, *rest in connection.execute(
                        "SELECT * FROM files WHERE path > ? AND path < ?", (low, high)
                    ):
                        stamp = wanted.get(path)
                        if stamp is not None and stamp[1:] == tuple(rest[:4]):
                            seen = Seen(*rest[4:])
                            if not closely or seen.look or seen.problem:
                                rows[stamp] = seen
        except (OSError, sqlite3.DatabaseError, TypeError):  # a damaged cache costs a second scan, never a result
            self._discard()
            return {}
        return rows

    def remember(self, rows: Sequence[tuple[Stamp, Seen]]) -> None:
        """Keep what was seen; without a writable cache, every scan reads the files."""
        if not rows:
            return
        places = ", ".join("?" * (len(Stamp._fields) + len(Seen._fields)))
        try:
            with closing(self._connect()) as connection, connection:
                connection.executemany(
                    f"INSERT OR REPLACE INTO files VALUES ({places})",
                    [(os.fsencode(stamp.path), *stamp[1:], *seen) for stamp, seen in rows],
                )
        except (OSError, sqlite3.Error):
            return

    def _connect(self) -> sqlite3.Connection:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(self.path, timeout=30)
        names = ", ".join((*Stamp._fields[1:], *Seen._fields))
        # the path as bytes: a file's name need not be text
        connection.execute(f"CREATE TABLE IF NOT EXISTS files (path BLOB PRIMARY KEY, {names})")
        return connection

    def _discard(self) -> None:
        try:
            self.path.unlink(missing_ok=True)
        except OSError:  # a cache that may be read and not written
            return


def cache_folder() -> Path:
    """The user's cache: $PELLUCID_CACHE, else pellucid/ in the system's cache folder."""
    own = os.environ.get("PELLUCID_CACHE")
    system = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(own if own else f"{system}/pellucid").expanduser()
