# SPDX-License-Identifier: Apache-2.0
"""Which files of a folder `predict` wrote: only those may be replaced without being asked for."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import final

import xxhash

__all__ = ["Ledger"]

_NAME = ".pellucid-answers"  # hidden, in the folder of the answers


@final
class Ledger:
    """A list of the files that were written into a folder, with the hashes of their contents.

    A file that has been changed or replaced since is no longer the one that was written.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     answer, ledger = Path(folder) / "a.png", Ledger(Path(folder))
    ...     _ = answer.write_text("ours")
    ...     ledger.note(answer, answer)
    ...     before = Ledger(Path(folder)).owns(answer)
    ...     _ = answer.write_text("somebody's")
    ...     before, Ledger(Path(folder)).owns(answer)
    (True, False)

    Args:
        folder: the folder; answers may lie in its subfolders.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._digests: dict[str, set[str]] = {}
        try:
            lines = (folder / _NAME).read_bytes().splitlines()
        except OSError:
            lines = []
        for line in lines:
            try:
                name, digest = json.loads(line)
            except (
                ValueError,
                TypeError,
                RecursionError,
            ):  # a line that a killed process left unfinished, or somebody's
                continue
            self._digests.setdefault(str(name), set()).add(str(digest))

    @staticmethod
    def lies_in(folder: Path) -> bool:
        """Whether a folder has such a list."""
        return (folder / _NAME).is_file()

    def lists(self, path: Path) -> bool:
        """Whether a file was ever written here, whatever it is now."""
        return self._name(path) in self._digests

    def owns(self, path: Path) -> bool:
        """Whether a file is as it was written."""
        known = self._digests.get(self._name(path), ())
        return bool(known) and path.is_file() and _digest(path) in known

    def below(self, folder: Path) -> list[Path]:
        """The files of a folder below which were ever written here and are still there."""
        start = f"{self._name(folder)}/"
        return [
            self.folder / name for name in self._digests if name.startswith(start) and (self.folder / name).is_file()
        ]

    def note(self, path: Path, draft: Path) -> None:
        """List the content of a draft under the file's name, before the draft gets that name."""
        digest = _digest(draft)
        known = self._digests.setdefault(self._name(path), set())
        if digest in known:
            return
        known.add(digest)
        with (self.folder / _NAME).open("a", encoding="ascii") as file:
            file.write(json.dumps([self._name(path), digest]) + "\n")

    def _name(self, path: Path) -> str:
        return os.path.relpath(path, self.folder).replace(os.sep, "/")


def _digest(path: Path) -> str:
    return xxhash.xxh3_128_hexdigest(path.read_bytes())
