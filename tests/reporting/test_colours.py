# SPDX-License-Identifier: Apache-2.0
"""What colours mean on a report's pictures."""

from __future__ import annotations

import base64
import re

from pellucid._colours import MODEL, OTHER, SIMPLE
from pellucid.reporting.measures import interval_plot


def decoded(uri: str) -> bytes:
    return base64.b64decode(uri.split(",", 1)[1])


def test_the_model_and_the_best_simpler_method_have_their_colours() -> None:
    def row(name: str, value: float, own: bool = False) -> dict[str, object]:
        measure = {
            "value": value,
            "low": value - 0.01,
            "high": value + 0.01,
            "better": "higher",
            "unit": "",
            "title": "accuracy",
        }
        return {"name": name, "own": own, "measures": {"accuracy": measure}}

    rows = [row("this model", 0.9, own=True), row("a", 0.7), row("b", 0.8)]
    drawn = decoded(interval_plot(rows, "accuracy")).decode()
    order = [m for m in re.findall("#[0-9a-f]{6}", drawn) if m in (MODEL, SIMPLE, OTHER)]
    firsts = list(dict.fromkeys(order))
    assert firsts == [SIMPLE, OTHER, MODEL], "from the lowest row up: b, the best of the simpler ones, a, the model"
