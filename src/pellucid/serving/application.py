# SPDX-License-Identifier: Apache-2.0
"""The application: what each address answers."""

from __future__ import annotations

import asyncio
import html
import io
import json
import mimetypes
from collections.abc import AsyncIterator, Awaitable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import partial
from importlib.resources import files
from typing import TYPE_CHECKING, Any, Final, TypeVar, final

import torch
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, Response
from starlette.routing import Route

from pellucid import _catalog
from pellucid._version import __version__
from pellucid.data.given import Encoded
from pellucid.errors import PellucidError, UnknownNameError, one_line
from pellucid.looking.subjects import of_run
from pellucid.predicting import predict_by
from pellucid.run import Run
from pellucid.serving import openapi, uploads
from pellucid.serving.forms import Said, as_json, form_of, written
from pellucid.serving.guarding import Guard
from pellucid.serving.limits import Limits, Refused
from pellucid.serving.queueing import Queue
from pellucid.serving.shelf import Models, Served, named
from pellucid.serving.solving import FORMS, Solver
from pellucid.tasks import AnnotatesAnswers
from pellucid.worked.showing.html import STYLE

if TYPE_CHECKING:
    from starlette.types import ASGIApp

__all__ = ["Service", "application"]

T = TypeVar("T")

_REPORT: Final = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; sandbox allow-popups; frame-ancestors 'none'"
)
_DRAWN_AT: Final = 120  # dots per inch of a lens's picture


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
        runs: each is asked by the name of its folder.
        memory: GiB for the weights of models.
        host: the address that is listened on.
        token: a secret that every request must have; "" for none.
        limits: of a request.
    """
    limits = limits or Limits()
    return Guard(Service(named(runs), int(memory * (1 << 30)), limits).app, host, token, limits)


@final
class Service:
    """The runs, their models and queues, and the routes to them.

    Args:
        shelf: the runs by name.
        room: bytes for the weights of models.
        limits: of a request.
    """

    def __init__(self, shelf: Mapping[str, Served], room: int, limits: Limits) -> None:
        self.shelf, self.limits, self.models = shelf, limits, Models(room)
        self._answering = ThreadPoolExecutor(1, "answering")
        self._looking = ThreadPoolExecutor(1, "looking")  # Matplotlib draws in one thread
        self._looks = 0
        self.queues = {
            name: Queue(partial(self._answer, served), self._answering, limits) for name, served in shelf.items()
        }
        self.solver = Solver(limits)
        pages = files("pellucid").joinpath("serving/pages")
        self._pages = {file.name: file.read_bytes() for file in pages.iterdir()}
        self._pages["worked.css"] = f"{STYLE}.worked .left{{text-align:left}}".encode()
        routes = [
            Route("/", partial(self._page, "index.html")),
            Route("/worksheet", partial(self._page, "worksheet.html")),
            Route("/static/{file}", self._static),
            Route("/docs", self._docs),
            Route("/openapi.json", self._openapi),
            Route("/health", self._health),
            Route("/runs", self._runs),
            Route("/runs/{name}/report", self._report),
            Route("/runs/{name}/predict", self._predict, methods=["POST"]),
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

    @asynccontextmanager
    async def _lifespan(self, app: Starlette) -> AsyncIterator[None]:
        yield
        await self.solver.close()
        for pool in (self._answering, self._looking):
            pool.shutdown(wait=False, cancel_futures=True)

    # -- pages

    async def _page(self, file: str, request: Request) -> Response:
        return HTMLResponse(self._pages[file])

    async def _static(self, request: Request) -> Response:
        file = request.path_params["file"]
        if file not in self._pages or file.endswith(".html"):
            raise Refused(404, f"file={file!r}: is not known.")
        return Response(
            self._pages[file], media_type=mimetypes.guess_type(file)[0], headers={"cache-control": "no-cache"}
        )

    async def _docs(self, request: Request) -> Response:
        return HTMLResponse(openapi.page())

    async def _openapi(self, request: Request) -> Response:
        return Said(openapi.document())

    async def _health(self, request: Request) -> Response:
        return Said(
            {"status": "ok", "version": __version__, "runs": len(self.shelf), "models": list(self.models.names)}
        )

    # -- runs

    async def _runs(self, request: Request) -> Response:
        described = await asyncio.to_thread(lambda: [served.described() for served in self.shelf.values()])
        return Said({"runs": described, "limits": {"upload": self.limits.upload, "images": self.limits.images}})

    async def _report(self, request: Request) -> Response:
        served = self._served(request)
        if served.report is None:
            raise Refused(404, f"run={served.name!r}: has no report; write one with `pellucid report`.")
        # the page has its styles and pictures inside, and no script may run in it
        return FileResponse(served.report, media_type="text/html", headers={"content-security-policy": _REPORT})

    async def _predict(self, request: Request) -> Response:
        served = self._served(request)
        form = form_of(request, ("json", "png", "csv"))
        job = await uploads.job(request, self.limits, served.options)
        rows = await self.queues[served.name].ask(job)
        task = served.run.task
        if rows and all("error" in row for row in rows):
            said = [{**row, "error": _without_path(str(row["error"]), served)} for row in rows]
            return Said({"error": said[0]["error"], "answers": said}, status_code=422)
        if form != "json":
            return written(rows, form, task.listed if isinstance(task, AnnotatesAnswers) else "")
        about = {"run": served.name, "task": served.run.info["task"]["name"]}
        return Said({**about, "answers": await asyncio.to_thread(as_json, rows)})

    def _answer(self, served: Served, images: Sequence[Encoded], options: Mapping[str, Any]) -> list[dict[str, Any]]:
        """The rows of images by the model in memory, which is left as it was."""
        model = self.models.of(served)
        before = {name: buffer.clone() for name, buffer in model.named_buffers()}  # an option may change one
        try:
            return predict_by(served.run, lambda: model, [*images], None, **options)
        finally:
            with torch.no_grad():
                for name, buffer in model.named_buffers():
                    buffer.copy_(before[name])

    async def _look(self, request: Request) -> Response:
        served, lens = self._served(request), request.path_params["lens"].replace("-", "_")
        form = form_of(request, ("json", "png"))
        if lens not in served.lenses:
            raise UnknownNameError("lens", lens, served.lenses)
        job = await uploads.job(request, self.limits, {})
        if len(job.images) != 1:
            raise Refused(400, f"images: are {len(job.images)}, and a lens is asked about one; send one at a time.")
        if self._looks >= self.limits.looks:
            raise Refused(503, f"lens={lens!r}: {self._looks} looks are waiting already; ask again in a moment.")
        self._looks += 1
        loop = asyncio.get_running_loop()
        seen = self._looking.submit(_seen, served.run, lens, job.images)
        # a thread cannot be ended: the look counts until it has, also where nobody waits for it any more
        seen.add_done_callback(lambda _: loop.call_soon_threadsafe(self._looked))
        words, picture = await self._within(asyncio.wrap_future(seen))
        if form == "png":
            return Response(picture, media_type="image/png")
        about = {"run": served.name, "lens": lens, "words": words}
        return Said({**about, **as_json([{"content": picture, "suffix": ".png"}])[0]})

    def _looked(self) -> None:
        self._looks -= 1

    async def _within(self, work: Awaitable[T]) -> T:
        """What is awaited, if it comes within the time that an answer may take."""
        try:
            return await asyncio.wait_for(work, self.limits.answer)
        except TimeoutError:
            raise Refused(503, f"answer: took more than {self.limits.answer:g} s; ask for less, or later.") from None

    def _served(self, request: Request) -> Served:
        name = request.path_params["name"]
        if name not in self.shelf:
            known = ", ".join(sorted(self.shelf)) or "none"
            raise Refused(404, f"run={name!r}: is not served here; those are: {known}.")
        return self.shelf[name]

    # -- worksheets

    async def _solve(self, request: Request) -> Response:
        body = await request.body()
        try:
            is_json = request.headers.get("content-type", "").startswith("application/json")
            asked = json.loads(body) if is_json else {"sheet": body.decode()}
        except (UnicodeDecodeError, ValueError):
            raise Refused(400, "body: cannot be read; send a worksheet as UTF-8 text, or JSON with it.") from None
        checked = _asked(asked)
        form = request.query_params.get("format") or _accepted(request.headers.get("accept", ""))
        if form not in FORMS:
            raise Refused(400, f"format={form!r}: is not known here; choose {', '.join(FORMS[:-1])} or {FORMS[-1]}.")
        answer = await self._within(self.solver.solve({**checked, "form": form}))
        if "report" in answer:
            return Said(answer)
        kinds = {"html": "text/html", "latex": "application/x-latex", "json": "application/json"}
        return Response(answer["text"], media_type=kinds[form])

    # -- faults

    async def _refused(self, request: Request, fault: Exception) -> Response:
        return Said({"error": str(fault)}, status_code=fault.status if isinstance(fault, Refused) else 500)

    async def _failed(self, request: Request, fault: Exception) -> Response:
        served = self.shelf.get(request.path_params.get("name", ""))
        code = 404 if isinstance(fault, UnknownNameError) else 422
        return Said({"error": one_line(_without_path(str(fault), served))}, status_code=code)

    async def _unknown(self, request: Request, fault: Exception) -> Response:
        code = getattr(fault, "status_code", 404)
        sentence = (
            "method: is another one here; /docs lists them."
            if code == 405
            else "address: is not known; /docs lists them."
        )
        return Said({"error": sentence}, status_code=code)

    async def _broken(self, request: Request, fault: Exception) -> Response:
        return Said({"error": "This is a bug in pellucid; the terminal of the server shows where."}, status_code=500)


def _seen(run: Run, lens: str, images: Sequence[Encoded]) -> tuple[str, bytes]:
    """What a lens says of images, and its picture as PNG."""
    view = of_run(run, [*images]).look(_catalog.find("lenses", lens)())
    file = io.BytesIO()
    view.figure.savefig(file, format="png", dpi=_DRAWN_AT, bbox_inches="tight", facecolor="white")
    return view.words, file.getvalue()


def _asked(given: Any) -> dict[str, Any]:
    """The entries of a request to solve a worksheet, each of its type."""
    kinds = {"sheet": str, "answers": str, "digits": int, "exact": bool, "verify": bool, "tolerance": str}
    if not isinstance(given, dict) or "sheet" not in given:
        raise Refused(400, "sheet: is missing; send JSON with a text of that name.")
    for name, value in given.items():
        if name not in kinds or type(value) is not kinds[name]:
            raise Refused(
                400, f"{html.escape(name[:40])}: is not known, or of another type; /docs lists what there is."
            )
    return given


def _accepted(accept: str) -> str:
    """The form of a solution that a header `Accept` names first; HTML if none."""
    words = {"text/html": "html", "application/x-latex": "latex", "application/json": "json"}
    return next(
        (words[word] for part in accept.split(",") if (word := part.partition(";")[0].strip()) in words), "html"
    )


def _without_path(sentence: str, served: Served | None) -> str:
    """A sentence with the name of a run in place of its folder on this machine."""
    return sentence if served is None else sentence.replace(str(served.run.path), served.name)
