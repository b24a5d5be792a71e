# SPDX-License-Identifier: Apache-2.0
"""What masks hold, kept by the contents of their files in the user's cache, so that a data set opens quickly again."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

from pellucid.data.decoding import cache_folder

__all__ = ["recalled", "remembered"]

_SOME = 500  # digests of one question: SQLite limits its parameters


def recalled(digests: Sequence[bytes]) -> dict[bytes, list[Any]]:
    """What is known of files with these contents."""
    file, known = _file(), {}
    wanted = sorted({digest for digest in digests if digest})
    if not wanted or not file.exists():
        return {}
    try:
        with closing(_connected(file)) as connection:
            for start in range(0, len(wanted), _SOME):
                some = wanted[start : start + _SOME]
                places = ", ".join("?" * len(some))
                for digest, text in connection.execute(f"SELECT * FROM masks WHERE digest IN ({places})", some):
                    known[digest] = json.loads(text)
    except (OSError, sqlite3.Error, ValueError):  # a damaged cache costs a second look, never a result
        with suppress(OSError):
            file.unlink(missing_ok=True)
        return {}
    return known


def remembered(rows: Mapping[bytes, Sequence[Any]]) -> None:
    """Keep what was seen; without a writable cache, every opening looks again."""
    if not rows:
        return
    file = _file()
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with closing(_connected(file)) as connection, connection:
            connection.executemany(
                "INSERT OR REPLACE INTO masks VALUES (?, ?)",
                [(digest, json.dumps(row)) for digest, row in rows.items()],
            )
    except (OSError, sqlite3.Error):
        return


def _file() -> Path:
    return cache_folder() / "masks-1.sqlite"


def _connected(file: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(file, timeout=30)
    connection.execute("CREATE TABLE IF NOT EXISTS masks (digest BLOB PRIMARY KEY, seen TEXT)")
    return connection
