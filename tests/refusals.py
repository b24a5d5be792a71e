# SPDX-License-Identifier: Apache-2.0
"""What tests of mistakes share: a refused command leaves one sentence and changes nothing; a disk that is full."""

from __future__ import annotations

import hashlib
import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pellucid.cli.cli import main

__all__ = ["contents", "refused", "small_disk"]


def contents(folder: Path) -> dict[str, str]:
    """Every file below a folder with a hash of what it holds."""
    files = (file for file in folder.rglob("*") if file.is_file())
    return {str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def refused(words: list[str] | str, capsys: pytest.CaptureFixture[str], code: int = 2) -> str:
    """The sentence of a refused command; there is no traceback, and nothing was changed in the current folder."""
    before = contents(Path.cwd())
    assert main(words.split() if isinstance(words, str) else words) == code
    shown = capsys.readouterr()
    assert "Traceback" not in shown.err
    assert contents(Path.cwd()) == before
    assert shown.err.startswith("pellucid: ")
    assert shown.err.count("\n") == 1
    return shown.err.removeprefix("pellucid: ").strip()


@contextmanager
def small_disk(bytes_a_file: int) -> Iterator[None]:
    """No file can grow beyond a size meanwhile: what a full disk looks like to a program."""
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (bytes_a_file, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)
