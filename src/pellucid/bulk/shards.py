# SPDX-License-Identifier: Apache-2.0
"""The folder of shards: which images are in it already, and new shards, each written whole or not at all."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, final

from pellucid.bulk.columns import cast, joined_schema
from pellucid.bulk.parts import Answered
from pellucid.errors import UsageError, brief
from pellucid.files import check_space, make_folder, remove_drafts, write_atomically

__all__ = ["MARK", "Shards", "as_file"]

MARK = b"pellucid"
"""The key under which a shard's metadata say what was asked."""
_PATTERN = "part-*.parquet"


def as_file(table: Any, mark: str) -> bytes:
    """A table as a Parquet file that bears a mark."""
    from pyarrow import parquet

    file = io.BytesIO()
    parquet.write_table(table.replace_schema_metadata({MARK: mark}), file, compression="zstd")
    return file.getvalue()


@final
class Shards:
    """The shards of a folder.

    Args:
        folder: is made if it is not there.
        mark: what is asked, as JSON; shards of something else are refused.

    Raises:
        UsageError: it has shards that are damaged, of something else or not of bulk prediction; or it cannot be written.
    """

    def __init__(self, folder: Path, mark: str) -> None:
        self.folder, self.mark = make_folder(folder), mark
        remove_drafts(folder, _PATTERN)
        check_space(folder / "part-000000.parquet")
        self._schemas: dict[str, Any] = {}
        self.faults = 0  # rows with an error
        keys: list[str] = []
        for file in sorted(folder.glob(_PATTERN)):
            keys += self._known(file)
        self.done = frozenset(keys)

    def __len__(self) -> int:
        return len(self._schemas)

    def write(self, answered: Answered) -> Path:
        """Write a shard under a name that none has yet."""
        from pyarrow import parquet

        name, again = f"part-{answered.number:06d}", 1
        while (path := self.folder / (f"{name}.parquet" if again == 1 else f"{name}-{again}.parquet")).exists():
            again += 1
        with write_atomically(path) as draft:
            draft.write_bytes(answered.content)
        self._schemas[path.name] = parquet.read_schema(io.BytesIO(answered.content))
        self.faults += answered.faults
        return path

    def finish(self) -> None:
        """Give all shards the same columns of the same types, so that any program reads them as one table."""
        from pyarrow import parquet

        if not self._schemas:
            return
        shared = joined_schema([self._schemas[name] for name in sorted(self._schemas)])
        for name, schema in self._schemas.items():
            if schema.equals(shared):
                continue
            content = as_file(cast(parquet.read_table(self.folder / name), shared), self.mark)
            with write_atomically(self.folder / name) as draft:
                draft.write_bytes(content)

    def _known(self, file: Path) -> Iterator[str]:
        """The keys of the images in a shard."""
        from pyarrow import parquet

        where = f"out={str(self.folder)!r}: {file.name}"
        try:
            schema = parquet.read_schema(file)
            found = parquet.read_table(file, columns=["source", "error"]) if MARK in (schema.metadata or {}) else None
        except Exception as fault:
            raise UsageError(
                f"{where} cannot be read ({brief(fault)}); delete it, and the same command answers its images again."
            ) from fault
        if found is None:
            raise UsageError(f"{where} was not written by bulk prediction; name another folder.")
        if (other := difference(schema.metadata[MARK].decode(), self.mark)) is not None:
            raise UsageError(f"{where} has answers {other}; name another folder, or delete it.")
        self._schemas[file.name] = schema
        self.faults += len(found) - found.column("error").null_count
        yield from found.column("source").to_pylist()


def difference(one: str, other: str) -> str | None:
    """In what a shard's mark differs from what is asked, in words; None where it does not.

    >>> print(difference('{"run": "a", "batch_size": 64}', '{"run": "a", "batch_size": 32}'))
    with batch_size=64, not 32
    """
    found: Mapping[str, Any] = json.loads(one)
    asked: Mapping[str, Any] = json.loads(other)
    if found.get("run") != asked.get("run"):
        return "of another run, or of other weights"
    for name in dict.fromkeys([*asked, *found]):
        if found.get(name) != asked.get(name):
            return f"with {name}={found.get(name)!r}, not {asked.get(name)!r}"
    return None
