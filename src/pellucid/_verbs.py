# SPDX-License-Identifier: Apache-2.0
"""The verbs as methods of a run, as in `run.predict(images)`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

__all__ = ["Verbs"]


class Verbs:
    """What can be done with a run; each method is the function of its name in `pellucid`, whose options it takes."""

    def evaluate(self, data: Any = None, **options: Any) -> dict[str, Any]:
        """Measure the model and its baselines; see `pellucid.evaluate`."""
        found: dict[str, Any] = _verb("evaluate")(self, data, **options)
        return found

    def predict(self, images: Any = (), out: str | Path | None = None, **options: Any) -> list[dict[str, Any]]:
        """Predict new images; see `pellucid.predict`."""
        rows: list[dict[str, Any]] = _verb("predict")(self, images, out, **options)
        return rows

    def look(self, lens: str, images: Any = (), out: str | Path | None = None, **options: Any) -> Any:
        """Look into the model through a lens; see `pellucid.look`."""
        return _verb("look")(self, lens, images, out, **options)

    def report(self, out: str | Path | None = None, **options: Any) -> Path:
        """Write a page about the run; see `pellucid.report`."""
        file: Path = _verb("report")(self, out, **options)
        return file

    def export(self, out: str | Path | None = None, **options: Any) -> list[Path]:
        """Write ONNX and torch.export files; see `pellucid.export`."""
        files: list[Path] = _verb("export")(self, out, **options)
        return files


def _verb(name: str) -> Any:
    # a run lies below its verbs and does not know their modules: the package's face finds them
    return getattr(sys.modules["pellucid"], name)
