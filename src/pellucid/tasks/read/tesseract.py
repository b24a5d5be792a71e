# SPDX-License-Identifier: Apache-2.0
"""What the program Tesseract reads, where it is installed: a baseline for pages, run as it is."""

from __future__ import annotations

import io
import re
import shutil
import subprocess

import numpy as np
from numpy.typing import NDArray

__all__ = ["text", "version"]

_SECONDS = 300  # for a page


def version() -> str | None:
    """The program's name with its version; None where it is not installed."""
    if shutil.which("tesseract") is None:
        return None
    done = subprocess.run(["tesseract", "--version"], capture_output=True, check=False, timeout=_SECONDS)
    first = re.search(rb"tesseract\s+v?([\w.+-]+)", done.stdout + done.stderr)
    return f"Tesseract {first[1].decode()}" if first else "Tesseract"


def text(image: NDArray[np.uint8]) -> tuple[str, str]:
    """What went wrong, or "", and the text of a page (H, W), with the program's own settings."""
    from PIL import Image

    page = io.BytesIO()
    Image.fromarray(image).save(page, format="png")
    try:
        done = subprocess.run(
            ["tesseract", "stdin", "stdout"], input=page.getvalue(), capture_output=True, check=False, timeout=_SECONDS
        )
    except (OSError, subprocess.TimeoutExpired) as fault:
        return f"it could not be run ({fault}).", ""
    if done.returncode:
        last = (done.stderr.decode(errors="replace").strip().splitlines() or ["no reason was given"])[-1]
        return f"it ended with an error ({last}).", ""
    return "", done.stdout.decode(errors="replace")
