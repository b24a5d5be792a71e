# SPDX-License-Identifier: Apache-2.0
"""Worksheets solved in processes of their own, which are ended when a sheet takes too long or too much memory.

`python -m pellucid.serving.solving` reads requests from standard input and writes answers to standard output, each a length in 8 bytes
and JSON. A thread could not be ended: a sheet of a few lines can ask for hours of algebra.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from typing import Any, BinaryIO, Final, final

from pellucid.errors import PellucidError, UsageError
from pellucid.serving.limits import Limits, Refused

__all__ = ["FORMS", "Solver", "solved"]

_MEMORY: Final = 2 << 30  # bytes of a process
_WIDTH: Final = 8  # bytes of a length
_PROCESSES: Final = 2
FORMS: Final = ("html", "latex", "json")
"""Forms of a solution."""


def solved(request: dict[str, Any]) -> dict[str, Any]:
    """A solved worksheet, or the report on answers to it.

    >>> solved({"sheet": "x = 3; y = 2*x; ? y", "answers": "y = 5", "form": "json"})["report"]["counts"]
    {'right': 0, 'wrong': 1, 'follows': 0}

    Args:
        request: "sheet"; "form", one of html, latex and json, or "answers" to check; "digits", "exact" and "verify".

    Raises:
        UsageError: the sheet has a mistake.
    """
    from pellucid.worked.answers.answers import check_answers
    from pellucid.worked.worksheet.worksheet import Worksheet

    sheet, digits = Worksheet.parse(request["sheet"]), request.get("digits", 6)
    if "answers" in request:
        report = check_answers(sheet, request["answers"], digits=digits, tolerance=request.get("tolerance", "3s"))
        return {"report": json.loads(report.show("json")), "text": report.show("terminal")}
    solution = sheet.solve(exact=request.get("exact", False), digits=digits)
    verify, form = request.get("verify", False), request["form"]
    if form == "html":
        return {"text": _plain(solution.show("fragment", verify=verify))}
    return {"text": solution.show(form, verify=verify)}


def _plain(fragment: str) -> str:
    """A part of a page without styles of its own, which the page's policy refuses; its style sheet has them."""
    from pellucid.worked.showing.html import STYLE

    return fragment.replace(f"<style>{STYLE}</style>", "").replace(' style="text-align:left"', ' class="left"')


def main() -> None:
    """Answer requests until the input ends."""
    with contextlib.suppress(ImportError, ValueError, OSError):  # not on Windows
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    reading, writing = sys.stdin.buffer, sys.stdout.buffer
    while (text := _read(reading)) is not None:
        try:
            answer = solved(json.loads(text))
        except PellucidError as fault:
            answer = {"error": str(fault)}
        except (MemoryError, RecursionError):
            answer = {"error": "sheet: takes too much memory; ask for less at a time."}
        content = json.dumps(answer, ensure_ascii=False).encode()
        writing.write(len(content).to_bytes(_WIDTH, "big") + content)
        writing.flush()


def _read(stream: BinaryIO) -> bytes | None:
    head = stream.read(_WIDTH)
    return stream.read(int.from_bytes(head, "big")) if len(head) == _WIDTH else None


@final
class Solver:
    """Solves worksheets, two at a time, each within the limit of time.

    Args:
        limits: of a worksheet's bytes and time.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._idle: list[asyncio.subprocess.Process] = []
        self._turn = asyncio.Semaphore(_PROCESSES)

    async def solve(self, request: dict[str, Any]) -> dict[str, Any]:
        """What `solved` gives.

        Raises:
            UsageError: the sheet has a mistake.
            Refused: it is too long, or takes too much time.
        """
        for name in ("sheet", "answers"):
            if len(str(request.get(name, "")).encode("utf-8", "replace")) > self._limits.sheet:
                raise Refused(413, f"{name}: is more than {self._limits.sheet:,} bytes; split it.")
        async with self._turn:
            process = await self._process()
            try:
                answer = await asyncio.wait_for(_asked(process, request), self._limits.solve)
            except (TimeoutError, asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError) as fault:
                await _end(process)
                if isinstance(fault, asyncio.CancelledError):
                    raise
                if isinstance(fault, TimeoutError):
                    raise Refused(
                        408, f"sheet: took more than {self._limits.solve:g} s; ask for less, or use `pellucid work`."
                    ) from None
                raise Refused(422, "sheet: ended the process that solved it; ask for less at a time.") from None
            self._idle.append(process)
        if "error" in answer:
            raise UsageError(answer["error"])
        return answer

    async def close(self) -> None:
        """End the processes."""
        while self._idle:
            await _end(self._idle.pop())

    async def _process(self) -> asyncio.subprocess.Process:
        while self._idle:
            process = self._idle.pop()
            if process.returncode is None:
                return process
        pipe = asyncio.subprocess.PIPE
        words = (
            sys.executable,
            "-P",
            "-m",
            "pellucid.serving.solving",
        )  # -P: nothing in the current folder is imported
        own = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}  # each thread would set memory aside
        # a session of its own: Ctrl-C in the terminal ends the server, which ends it
        return await asyncio.create_subprocess_exec(*words, stdin=pipe, stdout=pipe, env=own, start_new_session=True)


async def _asked(process: asyncio.subprocess.Process, request: dict[str, Any]) -> dict[str, Any]:
    assert process.stdin is not None and process.stdout is not None
    content = json.dumps(request).encode()
    process.stdin.write(len(content).to_bytes(_WIDTH, "big") + content)
    await process.stdin.drain()
    size = int.from_bytes(await process.stdout.readexactly(_WIDTH), "big")
    answer: dict[str, Any] = json.loads(await process.stdout.readexactly(size))
    return answer


async def _end(process: asyncio.subprocess.Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.kill()
    await process.wait()


if __name__ == "__main__":
    main()
