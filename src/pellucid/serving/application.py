# SPDX-License-Identifier: Apache-2.0
"""The application: what each address answers."""

from __future__ import annotations

import asyncio
import mimetypes
from collections.abc import AsyncIterator, Awaitable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar, final

import torch
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, Response, StreamingResponse
from starlette.routing import Route

from pellucid._version import __version__
from pellucid.data.given import Encoded
from pellucid.errors import PellucidError, UnknownNameError, one_line
from pellucid.predicting import predict_by
from pellucid.run import Run
from pellucid.serving import openapi, paging, uploads
from pellucid.serving.example import NAME, Example
from pellucid.serving.forms import FORMS, Said, as_json, form_of, written
from pellucid.serving.guarding import Guard
from pellucid.serving.limits import Limits, Refused
from pellucid.serving.looks import Looks
from pellucid.serving.memory import Models
from pellucid.serving.queueing import Queue
from pellucid.serving.sheets import worked
from pellucid.serving.shelf import Served, named
from pellucid.serving.solving import Solver
from pellucid.serving.trainings import compared, course
from pellucid.tasks import AnnotatesAnswers

if TYPE_CHECKING:
    from starlette.types import ASGIApp

__all__ = ["Service", "application"]

T = TypeVar("T")

_REPORT: Final = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; sandbox allow-popups; frame-ancestors 'none'"
)
_BUG: Final = "This is a bug in pellucid; the terminal of the server shows where."


def application(
    runs: Sequence[Run],
    *,
    memory: float = 2.0,
    host: str = "127.0.0.1",
    token: str = "",
    limits: Limits | None = None,
) -> ASGIApp:
    """Everything that is served, guarded.

    Args:
        runs: each is asked by the name of its folder; without any, an example is trained.
        memory: GiB for the weights of models.
        host: the address that is listened on.
        token: a secret that every request must have; "" for none.
        limits: of a request.
    """
    limits, example = limits or Limits(), None if runs else Example()
    return Guard(Service(named(runs), int(memory * (1 << 30)), limits, example).app, host, token, limits)


@final
class Service:
    """The runs, their models and queues, and the routes to them.

    Args:
        shelf: the runs by name.
        room: bytes for the weights of models.
        limits: of a request.
        example: a run that joins them when it is trained.
    """

    def __init__(self, shelf: Mapping[str, Served], room: int, limits: Limits, example: Example | None = None) -> None:
        self.shelf: dict[str, Served] = {}
        self.limits, self.models, self.example = limits, Models(room), example
        self._answering = ThreadPoolExecutor(1, "answering")
        self.looks = Looks(self.models, limits)
        self.queues: dict[str, Queue] = {}
        for served in shelf.values():
            self._put(served)
        self.solver = Solver(limits)
        self._static = paging.static()
        pages = {paging.PAGES[name][0]: paging.page(name) for name in ("images", "training", "worksheet")}
        pages["/docs"] = openapi.page()
        routes = [
            Route("/runs/{name}/predict", self._predict, methods=["POST"]),
            *(Route(address, partial(self._page, page)) for address, page in pages.items()),
            Route("/static/{file}", self._file),
            Route("/openapi.json", self._openapi),
            Route("/health", self._health),
            Route("/runs", self._runs),
            Route("/runs/{name}/report", self._report),
            Route("/runs/{name}/training", self._training),
            Route("/compare", self._compare),
            Route("/runs/{name}/look/{lens}", self._look, methods=["POST"]),
            Route("/worked/solve", self._solve, methods=["POST"]),
        ]
        handlers: dict[Any, Any] = {
            Refused: self._refused,
            PellucidError: self._failed,
            404: self._unknown,
            405: self._unknown,
            Exception: self._broken,
        }
        self.app = Starlette(routes=routes, exception_handlers=handlers, lifespan=self._lifespan)

    def _put(self, served: Served) -> None:
        self.shelf[served.name] = served
        self.queues[served.name] = Queue(partial(self._answer, served), self._answering, self.limits)

    @asynccontextmanager
    async def _lifespan(self, app: Starlette) -> AsyncIterator[None]:
        learning = None if self.example is None else asyncio.create_task(self._learn(self.example))
        try:
            yield
        finally:
            if learning is not None and self.example is not None:
                learning.cancel()
                await asyncio.wait({learning})
            await self.solver.close()
            self._answering.shutdown(wait=False, cancel_futures=True)
            self.looks.close()
            if self.example is not None:
                self.example.close()

    async def _learn(self, example: Example) -> None:
        run = await example.learned()
        if run is not None:
            self._put(Served(NAME, run, example=True))

    # -- pages

    async def _page(self, page: str, request: Request) -> Response:
        return HTMLResponse(page)

    async def _file(self, request: Request) -> Response:
        file = request.path_params["file"]
        if file not in self._static:
            raise Refused(404, f"file={file!r}: is not known.")
        return Response(
            self._static[file], media_type=mimetypes.guess_type(file)[0], headers={"cache-control": "no-cache"}
        )

    async def _openapi(self, request: Request) -> Response:
        return Said(openapi.document())

    async def _health(self, request: Request) -> Response:
        return Said(
            {"status": "ok", "version": __version__, "runs": len(self.shelf), "models": list(self.models.names)}
        )

    # -- runs

    async def _runs(self, request: Request) -> Response:
        there = [*self.shelf.values()]  # the example may join them while they are read
        described, refused = await asyncio.to_thread(_described, there)
        joined = any(served.name == NAME for served in there)
        learning = None if self.example is None or joined else self.example.described()
        limits = {"upload": self.limits.upload, "images": self.limits.images}
        return Said({"runs": described, "refused": refused, "learning": learning, "limits": limits})

    async def _report(self, request: Request) -> Response:
        served = self._served(request.path_params["name"])
        if served.report is None:
            raise Refused(404, f"run={served.name!r}: has no report; write one with `pellucid report`.")
        # the page has its styles and pictures inside, and no script may run in it
        return FileResponse(served.report, media_type="text/html", headers={"content-security-policy": _REPORT})

    async def _training(self, request: Request) -> Response:
        return Said(await asyncio.to_thread(course, self._served(request.path_params["name"])))

    async def _compare(self, request: Request) -> Response:
        several = [self._served(name) for name in request.query_params.getlist("run")]
        self.looks.check("compare")
        return Said(await self._within(self.looks.drawn(partial(compared, several))))

    async def _predict(self, request: Request) -> Response:
        served = self._served(request.path_params["name"])
        form = form_of(request, ("json", "png", "csv"))
        job = await uploads.job(request, self.limits, served.options)
        rows = await self.queues[served.name].ask(job)
        task = served.run.task
        if rows and all("error" in row for row in rows):
            said = [{**row, "error": served.without_paths(str(row["error"]))} for row in rows]
            return Said({"error": said[0]["error"], "answers": said}, status_code=422)
        if form != "json":
            return written(rows, form, task.listed if isinstance(task, AnnotatesAnswers) else "")
        about = {"run": served.name, "task": served.run.info["task"]["name"]}
        # pictures take a while to write; a thread for labels would take longer than they do
        heavy = any("picture" in row or "content" in row for row in rows)
        return Said({**about, "answers": await asyncio.to_thread(as_json, rows) if heavy else as_json(rows)})

    def _answer(self, served: Served, images: Sequence[Encoded], options: Mapping[str, Any]) -> list[dict[str, Any]]:
        """The rows of images by the model in memory, which is left as it was."""
        with self.models.lent(served) as model:
            before = {name: buffer.clone() for name, buffer in model.named_buffers()}  # an option may change one
            try:
                return predict_by(served.run, lambda: model, [*images], None, **options)
            finally:
                with torch.no_grad():
                    for name, buffer in model.named_buffers():
                        buffer.copy_(before[name])

    async def _look(self, request: Request) -> Response:
        served, lens = self._served(request.path_params["name"]), request.path_params["lens"].replace("-", "_")
        form = form_of(request, ("json", "png", "events"))
        if lens not in served.lenses:
            raise UnknownNameError("lens", lens, served.lenses)
        job = await uploads.job(request, self.limits, {})
        if len(job.images) != 1:
            raise Refused(400, f"images: are {len(job.images)}, and a lens is asked about one; send one at a time.")

        def said(seen: tuple[str, bytes]) -> dict[str, Any]:
            words, picture = seen
            about = {"run": served.name, "lens": lens, "words": words}
            return {**about, **as_json([{"content": picture, "suffix": ".png"}])[0]}

        if form == "events":
            self.looks.check(lens)
            events = self.looks.events(
                request, served, lens, job.images, said, lambda fault: _sentence(fault, served)[1]
            )
            return StreamingResponse(events, media_type=FORMS[form])
        seen = await self.looks.seen(request, served, lens, job.images)
        return Response(seen[1], media_type=FORMS[form]) if form == "png" else Said(said(seen))

    async def _within(self, work: Awaitable[T]) -> T:
        """What is awaited, if it comes within the time that an answer may take."""
        try:
            return await asyncio.wait_for(work, self.limits.answer)
        except TimeoutError:
            raise Refused(503, f"answer: took more than {self.limits.answer:g} s; ask for less, or later.") from None

    def _served(self, name: str) -> Served:
        if name in self.shelf:
            return self.shelf[name]
        if self.example is not None and name == NAME and not self.example.fault:
            raise Refused(503, f"run={name!r}: is still learning; ask again in a few seconds.")
        known = ", ".join(sorted(self.shelf)) or "none"
        raise Refused(404, f"run={name!r}: is not served here; those are: {known}.")

    async def _solve(self, request: Request) -> Response:
        return await self._within(worked(request, self.solver))

    # -- faults

    async def _refused(self, request: Request, fault: Exception) -> Response:
        return Said({"error": str(fault)}, status_code=_sentence(fault, None)[0])

    async def _failed(self, request: Request, fault: Exception) -> Response:
        code, sentence = _sentence(fault, self.shelf.get(request.path_params.get("name", "")))
        return Said({"error": sentence}, status_code=code)

    async def _unknown(self, request: Request, fault: Exception) -> Response:
        code = getattr(fault, "status_code", 404)
        sentence = (
            "method: is another one here; /docs lists them."
            if code == 405
            else "address: is not known; /docs lists them."
        )
        return Said({"error": sentence}, status_code=code)

    async def _broken(self, request: Request, fault: Exception) -> Response:
        return Said({"error": _BUG}, status_code=500)


def _described(there: Sequence[Served]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """What a page shows of the runs; and those that cannot be opened, which do not take the others along, each with its sentence."""
    described, refused = [], []
    for served in there:
        try:
            described.append(served.described())
        except PellucidError as fault:
            refused.append({"name": served.name, "error": _sentence(fault, served)[1]})
    return described, refused


def _sentence(fault: Exception, served: Served | None) -> tuple[int, str]:
    """The status and the sentence of a fault."""
    if isinstance(fault, Refused):
        return fault.status, str(fault)
    if isinstance(fault, PellucidError):
        said = str(fault) if served is None else served.without_paths(str(fault))
        return 404 if isinstance(fault, UnknownNameError) else 422, one_line(said)
    return 500, _BUG
