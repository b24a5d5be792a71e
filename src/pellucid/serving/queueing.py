# SPDX-License-Identifier: Apache-2.0
"""Requests that come together are answered together: while one batch is computed, those that come wait for the next."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Final, final

from pellucid.data.given import Encoded
from pellucid.serving.limits import Limits, Refused

__all__ = ["Job", "Queue"]

Rows = list[dict[str, Any]]

_MOMENT: Final = 0.02  # seconds that a batch waits for requests like those before it


@final
@dataclass(eq=False)
class Job:
    """The images of one request."""

    images: Sequence[Encoded]
    options: Mapping[str, Any]
    pixels: int = 0
    alone: bool = False  # its answer would depend on what is asked beside it
    done: asyncio.Future[Rows] = field(init=False)


@final
class Queue:
    """The requests to one run.

    Args:
        answer: the rows of images, one each, in their order; it runs in a thread of the executor.
        executor: a single thread, so that batches use all cores one after another.
        limits: of images and pixels in a batch, and of waiting.
    """

    def __init__(
        self, answer: Callable[[Sequence[Encoded], Mapping[str, Any]], Rows], executor: Executor, limits: Limits
    ) -> None:
        self._answer, self._executor, self._limits = answer, executor, limits
        self._waiting: deque[Job] = deque()
        self._working: asyncio.Task[None] | None = None
        self._wanted = 1  # requests that the next batch waits for, and that there are as many
        self._enough = asyncio.Event()
        self.batches: deque[int] = deque(maxlen=1000)  # requests in each of the last batches

    async def ask(self, job: Job) -> Rows:
        """The rows of a request.

        Raises:
            PellucidError: the request cannot be answered.
            Refused: it waited too long.
        """
        job.done = asyncio.get_running_loop().create_future()
        self._waiting.append(job)
        if len(self._waiting) >= self._wanted:
            self._enough.set()
        if self._working is None or self._working.done():
            self._working = asyncio.create_task(self._work())
        try:
            return await asyncio.wait_for(job.done, self._limits.answer)
        except TimeoutError:
            raise Refused(
                503, f"answer: took more than {self._limits.answer:g} s; send fewer or smaller images."
            ) from None

    async def _work(self) -> None:
        loop = asyncio.get_running_loop()
        while self._waiting:
            jobs = self._next()
            if not jobs:
                continue
            self.batches.append(len(jobs))
            self._wanted = len(jobs)
            found = await loop.run_in_executor(self._executor, self._answered, jobs)
            for job, rows in zip(jobs, found, strict=True):
                if job.done.done():  # it waited too long
                    continue
                if isinstance(rows, Exception):
                    job.done.set_exception(rows)
                else:
                    job.done.set_result(rows)
            await self._gather()

    async def _gather(self) -> None:
        """Wait for as many requests as were answered just now, for a moment at most.

        Clients that ask again do so one after another. A batch with the first of them alone would take nearly as long as one with all.
        """
        self._enough.clear()
        if self._wanted > 1 and len(self._waiting) < self._wanted:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._enough.wait(), _MOMENT)

    def _next(self) -> list[Job]:
        """Those in front that can be answered together; whoever no longer waits is left out."""
        chosen: list[Job] = []
        images = pixels = 0
        while self._waiting:
            job = self._waiting[0]
            if not job.done.done():
                first = chosen[0] if chosen else job
                images, pixels = images + len(job.images), pixels + job.pixels
                if chosen and (
                    job.alone
                    or first.alone
                    or job.options != first.options
                    or images > self._limits.images
                    or pixels > self._limits.pixels
                ):
                    break
                chosen.append(job)
            self._waiting.popleft()
        return chosen

    def _answered(self, jobs: Sequence[Job]) -> list[Rows | Exception]:
        """The rows or the fault of each request."""
        if len(jobs) > 1:
            try:
                rows = self._answer([image for job in jobs for image in job.images], jobs[0].options)
            except Exception:
                rows = []  # the fault of one is not that of the others: each is asked alone, and has its own
            if len(rows) == sum(len(job.images) for job in jobs):
                ends = [0]
                for job in jobs:
                    ends.append(ends[-1] + len(job.images))
                return [rows[start:end] for start, end in pairwise(ends)]
        found: list[Rows | Exception] = []
        for job in jobs:
            try:
                found.append(self._answer(job.images, job.options))
            except Exception as fault:
                found.append(fault)
        return found
