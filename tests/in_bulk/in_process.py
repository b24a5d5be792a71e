# SPDX-License-Identifier: Apache-2.0
"""What Ray does, without Ray: workers of this process, one after another; and a training so brief that its answers mean nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from pellucid.bulk.parts import Answered, Part, Setup
from pellucid.bulk.working import Worker

BRIEF: dict[str, Any] = {"epochs": 1, "limit": 64, "device": "cpu", "progress": False}


def here(parts: Sequence[Part], setup: Setup, workers: int | None) -> Iterator[Answered]:
    crew = [Worker(setup) for _ in range(workers or 1)]
    for number, part in enumerate(parts):
        yield crew[number % len(crew)].answer(part)
