# SPDX-License-Identifier: Apache-2.0
"""Looks through lenses, one after another: their progress, and their end where nobody waits for them any more."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence, Sized
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Final, TypeVar, final

from starlette.requests import Request

from pellucid import _catalog
from pellucid._png import drawn
from pellucid.data.given import Encoded
from pellucid.errors import PellucidError
from pellucid.looking.subjects import of_run
from pellucid.serving.limits import Limits, Refused
from pellucid.serving.memory import Models
from pellucid.serving.shelf import Served

__all__ = ["Look", "Looks"]

_DRAWN_AT: Final = 120  # dots per inch of a lens's picture

T = TypeVar("T")
Seen = tuple[str, bytes]


@final
class Look:
    """A look that waits for its turn or is under way; made in the event loop, told by the thread that looks."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._left = threading.Event()
        self._said = False  # whether the loop has been told of the latest
        self.news = asyncio.Event()  # that `latest` has changed, or the look has ended
        self.latest: dict[str, Any] = {"done": 0, "count": None, "words": "waiting"}
        self.future: Future[Seen] = Future()

    def leave(self) -> None:
        """Nobody waits any more: it ends where it tells its progress next, or does not begin."""
        self._left.set()
        self.future.cancel()

    def tell(self, done: int, count: int | None, words: str) -> None:
        """Tell how far it is.

        Raises:
            Refused: nobody waits any more.
        """
        if self._left.is_set():
            raise Refused(503, "look: nobody waits for it any more.")
        self.latest = {"done": done, "count": count, "words": words}
        if not self._said:  # a quick thread would otherwise fill the loop with calls
            self._said = True
            self._loop.call_soon_threadsafe(self._heard)

    def _heard(self) -> None:
        self._said = False
        self.news.set()

    def followed(self, items: Iterable[Any], words: str) -> Iterator[Any]:
        """The items, telling how many are done."""
        count = len(items) if isinstance(items, Sized) else None
        for done, item in enumerate(items):
            self.tell(done, count, words)
            yield item


@final
class Looks:
    """One thread that looks: Matplotlib draws in one, and lenses take all cores.

    Args:
        models: in memory.
        limits: how many may wait, and how long.
    """

    def __init__(self, models: Models, limits: Limits) -> None:
        self._models, self._limits = models, limits
        self._pool = ThreadPoolExecutor(1, "looking")
        self.count = 0  # those that wait or are under way

    async def seen(self, request: Request, served: Served, lens: str, images: Sequence[Encoded]) -> Seen:
        """What a lens says of images, and its picture as PNG.

        Raises:
            Refused: too many wait already, or it took too long.
        """
        async with self._begun(request, served, lens, images) as look:
            async for _ in self._course(look):
                pass
            return self._result(look)

    async def events(
        self,
        request: Request,
        served: Served,
        lens: str,
        images: Sequence[Encoded],
        said: Callable[[Seen], Any],
        sentence: Callable[[Exception], str],
    ) -> AsyncIterator[bytes]:
        """Its progress as server-sent events, and at last its answer or its fault.

        Args:
            request: whose client waits for it.
            served: the run.
            lens: the name of the lens.
            images: what it is shown.
            said: the content of the answer.
            sentence: of a fault.
        """
        async with self._begun(request, served, lens, images) as look:
            async for latest in self._course(look):
                yield _event("progress", latest)
            try:
                answer = said(self._result(look))
            except Exception as fault:
                yield _event("fault", {"error": sentence(fault)})
                if not isinstance(fault, (Refused, PellucidError)):
                    raise
            else:
                yield _event("answer", answer)

    async def drawn(self, work: Callable[[], T]) -> T:
        """What else draws pictures, in the same thread."""
        return await asyncio.wrap_future(self._counted(work, lambda: None))

    def close(self) -> None:
        """Take no more looks."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def check(self, lens: str) -> None:
        """Refuse a look where too many wait already."""
        if self.count >= self._limits.looks:
            raise Refused(503, f"lens={lens!r}: {self.count} looks are waiting already; ask again in a moment.")

    async def _course(self, look: Look) -> AsyncIterator[dict[str, Any]]:
        """How far it is, whenever that changes, until it has ended or taken too long."""
        loop = asyncio.get_running_loop()
        end = loop.time() + self._limits.answer
        while not look.future.done() and loop.time() < end:
            look.news.clear()
            yield look.latest
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(look.news.wait(), max(0.0, end - loop.time()))

    def _result(self, look: Look) -> Seen:
        if not look.future.done() or look.future.cancelled():
            raise Refused(503, f"answer: took more than {self._limits.answer:g} s; ask for less, or later.")
        return look.future.result()

    @asynccontextmanager
    async def _begun(
        self, request: Request, served: Served, lens: str, images: Sequence[Encoded]
    ) -> AsyncIterator[Look]:
        """A look, which is given up at the end of the block, or as soon as its client has left."""
        self.check(lens)
        look = Look(asyncio.get_running_loop())
        look.future = self._counted(partial(_seen, self._models, served, lens, images, look), look.news.set)
        gone = asyncio.create_task(_gone(request))
        gone.add_done_callback(lambda task: None if task.cancelled() else look.leave())
        try:
            yield look
        finally:
            gone.cancel()
            look.leave()

    def _counted(self, work: Callable[[], T], then: Callable[[], None]) -> Future[T]:
        """Work in the thread. It cannot be ended, so that it counts until it has, also where nobody waits for it any more."""
        loop = asyncio.get_running_loop()

        def end() -> None:
            self.count -= 1
            then()

        def ended(_: Future[T]) -> None:
            with contextlib.suppress(RuntimeError):  # the server has ended before
                loop.call_soon_threadsafe(end)

        self.count += 1
        future = self._pool.submit(work)
        future.add_done_callback(ended)
        return future


async def _gone(request: Request) -> None:
    """Returns when the client has left."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _seen(models: Models, served: Served, lens: str, images: Sequence[Encoded], look: Look) -> Seen:
    """What a lens says of images, and its picture as PNG."""
    look.tell(0, None, "reading the model")
    with models.lent(served, plain=True) as model:
        subject = of_run(served.run, [*images], model=model)
        view = subject.look(_catalog.find("lenses", lens)(), progress=look.followed)
    return view.words, drawn(view.figure, _DRAWN_AT)


def _event(kind: str, content: Any) -> bytes:
    return f"event: {kind}\ndata: {json.dumps(content, ensure_ascii=False)}\n\n".encode()
