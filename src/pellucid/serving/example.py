# SPDX-License-Identifier: Apache-2.0
"""The run that is served where there is none: a small classifier that learns the embedded digits when the server starts.

`python -m pellucid.serving.example FOLDER` trains and measures it. It is a process of its own, which can be ended, and all that it
writes lies in a temporary folder, which is removed when the server ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, final

from pellucid.errors import PellucidError
from pellucid.run import Run

__all__ = ["NAME", "Example", "main"]

NAME: Final = "digits"
"""Of the run."""


@final
class Example:
    """A run in a temporary folder, and the process that trains it.

    Args:
        words: the command, which gets the run's folder as its last word.
    """

    def __init__(self, words: Sequence[str] = (sys.executable, "-P", "-m", "pellucid.serving.example")) -> None:
        self._words = words
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self.path: Path | None = None
        self.fault = ""

    async def learned(self) -> Run | None:
        """The run, once it is trained and measured; None where that failed, and `fault` says why.

        Where nobody waits any more, the process is ended.
        """
        self._folder = tempfile.TemporaryDirectory(prefix="pellucid-serve-", ignore_cleanup_errors=True)
        self.path = path = Path(self._folder.name) / NAME
        own = {**os.environ, "PELLUCID_CACHE": str(path.parent / "cache")}
        pipe = asyncio.subprocess.PIPE
        # a session of its own: Ctrl-C in the terminal ends the server, which ends it
        process = await asyncio.create_subprocess_exec(
            *self._words,
            str(path),
            stdout=asyncio.subprocess.DEVNULL,
            stderr=pipe,
            env=own,
            start_new_session=True,
        )
        try:
            _, said = await process.communicate()
        finally:
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
                await process.wait()
        try:
            if process.returncode == 0:
                return Run(path)
            self.fault = (said.decode("utf-8", "replace").strip().splitlines() or ["its process was ended"])[-1]
        except PellucidError as fault:
            self.fault = str(fault)
        return None

    def described(self) -> dict[str, Any]:
        """How far it is: epochs that are done, of how many, or why there will be none."""
        epoch, epochs = 0.0, None
        if self.path is not None:
            with contextlib.suppress(PellucidError):  # before the training has written its record
                run = Run(self.path)
                epochs = run.info["recipe"]["epochs"]
                epoch = run.history[-1]["epoch"] if run.history else 0.0
        return {"name": NAME, "epoch": epoch, "epochs": epochs, "fault": self.fault}

    def close(self) -> None:
        """Remove the folder."""
        if self._folder is not None:
            self._folder.cleanup()


def main() -> None:
    """Train the classifier into the folder that is named, and measure it on the test images."""
    from pellucid.inference import evaluate
    from pellucid.training.training import train

    options: dict[str, Any] = {"device": "cpu", "progress": False}
    run = train("classify", "digits", "mlp", sys.argv[1], **options)
    evaluate(run)


if __name__ == "__main__":
    main()
