# SPDX-License-Identifier: Apache-2.0
"""What is answered over HTTP is what `predict` and `look` answer, whoever else asks at the same time."""

from __future__ import annotations

import asyncio
import base64
import csv
import io
import re
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from pellucid.data.given import Encoded
from pellucid.errors import MissingPackageError, UsageError
from pellucid.inference import predict
from pellucid.looking.subjects import of_run
from pellucid.run import Run
from pellucid.serving import openapi
from pellucid.serving.limits import Limits, Refused
from pellucid.serving.memory import Models
from pellucid.serving.queueing import Job, Queue
from pellucid.serving.server import serve
from pellucid.serving.shelf import Served, named
from pellucid.serving.solving import Solver


def client(server: Any) -> httpx.Client:
    return httpx.Client(base_url=server.address, trust_env=False, timeout=180)


def close(found: dict[str, Any], expected: dict[str, Any]) -> None:
    """Equal up to the rounding of sums in other batches."""
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        if isinstance(value, dict):
            close(found[key], value)
        elif isinstance(value, float):
            assert abs(found[key] - value) < 1e-5
        else:
            assert found[key] == value


def pixels(answer: dict[str, Any]) -> Any:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(answer["picture"]["base64"]))))


def test_answers_are_those_of_predict(server: Any, digits: Run, images: Path) -> None:
    expected = predict(digits, images)
    files = [("images", (file.name, file.read_bytes())) for file in sorted(images.iterdir())]
    with client(server) as ask:
        found = ask.post("/runs/digits/predict", files=files).json()
    assert found["task"] == "classify"
    assert len(found["answers"]) == 12
    for one, other in zip(found["answers"], expected, strict=True):
        close(one, other)


@pytest.mark.filterwarnings("ignore:noise:pellucid.errors.PellucidWarning")  # the pictures are noise
def test_pictures_are_those_of_predict(server: Any, denoiser: Run, images: Path) -> None:
    file = sorted(images.iterdir())[0]
    [expected] = predict(denoiser, file)
    with client(server) as ask:
        as_png = ask.post("/runs/denoiser/predict", content=file.read_bytes(), headers={"accept": "image/png"})
        as_json = ask.post("/runs/denoiser/predict", content=file.read_bytes()).json()["answers"][0]
        several = [("images", (name, file.read_bytes())) for name in ("a.png", "b.png")]
        refused = ask.post("/runs/denoiser/predict?format=png", files=several)
    assert as_png.headers["content-type"] == "image/png"
    picture = np.asarray(Image.open(io.BytesIO(as_png.content)))
    assert np.array_equal(picture, expected["picture"][0])
    assert np.array_equal(pixels(as_json), picture)
    assert refused.status_code == 406


def test_a_table_is_that_of_predict(server: Any, digits: Run, images: Path, tmp_path: Path) -> None:
    predict(digits, images, tmp_path, format="csv")
    files = [("images", (file.name, file.read_bytes())) for file in sorted(images.iterdir())]
    with client(server) as ask:
        text = ask.post("/runs/digits/predict", files=files, headers={"accept": "text/csv"}).text
    found = list(csv.DictReader(io.StringIO(text)))
    with (tmp_path / "predictions.csv").open(newline="", encoding="utf-8") as file:
        expected = list(csv.DictReader(file))
    assert [(row["name"], row["label"]) for row in found] == [(row["name"], row["label"]) for row in expected]
    assert found[0].keys() == expected[0].keys()


@pytest.mark.filterwarnings("ignore:noise:pellucid.errors.PellucidWarning")  # the pictures have none
def test_deep_images_are_answered_as_if_alone(server: Any, denoiser: Run, tmp_path: Path) -> None:
    """Black and white of 16-bit images are those of the images given together, so that requests must not be mixed."""
    contents = []
    for place, top in enumerate((900, 60000)):
        values = np.linspace(0, top, 64).astype(np.uint16).reshape(8, 8)
        Image.fromarray(values).save(tmp_path / f"{place}.png")
        contents.append((tmp_path / f"{place}.png").read_bytes())
    expected = [predict(denoiser, tmp_path / f"{place}.png")[0] for place in range(2)]
    with client(server) as ask, ThreadPoolExecutor(16) as pool:
        answers = list(
            pool.map(
                lambda i: ask.post("/runs/denoiser/predict", content=contents[i % 2]).json()["answers"][0], range(16)
            )
        )
    for place, answer in enumerate(answers):
        assert answer["range"] == expected[place % 2]["range"]
        assert np.array_equal(pixels(answer), expected[place % 2]["picture"][0])


def test_200_requests_at_once(serving: Callable[..., Any], digits: Run, denoiser: Run, images: Path) -> None:
    """None is lost, each has its own answer, and far fewer batches than requests are computed."""
    files = sorted(images.iterdir())
    expected = {file.name: predict(digits, file)[0] for file in files}
    contents = {file.name: file.read_bytes() for file in files}

    async def asked(address: str) -> list[httpx.Response]:
        limits = httpx.Limits(max_connections=200)
        async with httpx.AsyncClient(base_url=address, trust_env=False, timeout=180, limits=limits) as ask:
            names = [files[i % len(files)].name for i in range(200)]
            return await asyncio.gather(
                *(ask.post("/runs/digits/predict", params={"name": name}, content=contents[name]) for name in names)
            )

    with serving([digits, denoiser], limits=Limits()) as own:
        answers = asyncio.run(asked(own.address))
        batches = [*own.service.queues["digits"].batches]
        assert own.released()
    assert [answer.status_code for answer in answers] == [200] * 200
    for i, answer in enumerate(answers):
        [row] = answer.json()["answers"]
        close(row, expected[files[i % len(files)].name])
    assert sum(batches) == 200
    assert max(batches) > 1


def test_the_fault_of_one_is_not_that_of_the_others() -> None:
    """Requests that came together, one of which cannot be answered; and none is answered after nobody waits for it."""
    batches: list[list[str]] = []

    def answer(images: Any, options: Any) -> list[dict[str, Any]]:
        names = [image.name for image in images]
        batches.append(names)
        if "bad" in names:
            raise ValueError("of one image")
        time.sleep(0.05)
        return [{"name": name} for name in names]

    async def asked() -> list[Any]:
        with ThreadPoolExecutor(1) as pool:
            queue = Queue(answer, pool, Limits(images=4))
            jobs = [Job([Encoded(name, b"")], {}) for name in ("first", "a", "bad", "b")]
            jobs += [Job([Encoded("c", b"")], {}, alone=True), Job([Encoded("d", b"")], {"seed": 1})]
            found = await asyncio.gather(*map(queue.ask, jobs), return_exceptions=True)
            late = Queue(answer, pool, Limits(answer=0.01))
            found += await asyncio.gather(late.ask(jobs[0]), late.ask(jobs[1]), return_exceptions=True)
            await asyncio.sleep(0.2)
        return found

    *found, first, second = asyncio.run(asked())
    assert [row[0]["name"] for row in found if isinstance(row, list)] == ["first", "a", "b", "c", "d"]
    assert isinstance(found[2], ValueError)
    assert batches[:6] == [["first", "a", "bad", "b"], ["first"], ["a"], ["bad"], ["b"], ["c"]]
    assert batches[6:] == [["d"], ["first", "a"]]
    assert isinstance(first, Refused) and isinstance(second, Refused)


@pytest.mark.slow
def test_an_option_lasts_for_its_own_request(serving: Callable[..., Any], tmp_path: Path) -> None:
    """The threshold of a detector is a buffer of its model, which stays in memory."""
    from pellucid.training.training import train

    tame: dict[str, Any] = {"epochs": 1, "limit": 8, "seed": 0, "device": "cpu", "progress": False, "batch_size": 4}
    run = train("detect", "scenes", None, tmp_path / "detector", **tame)
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(1).integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(file, "PNG")
    with serving([run]) as own, client(own) as ask:

        def threshold(query: str) -> float:
            found = ask.post(f"/runs/detector/predict{query}", content=file.getvalue()).json()
            return float(found["answers"][0]["threshold"])

        before = threshold("")
        assert threshold("?threshold=0.875") == 0.875
        assert threshold("") == before
        table = ask.post("/runs/detector/predict?threshold=0&format=csv", content=file.getvalue()).text
        assert table.splitlines()[0].startswith("name,number,label,score,x0")


def test_a_look_is_that_of_the_lens(server: Any, digits: Run, images: Path) -> None:
    from pellucid.lenses.occlusion import Occlusion

    content = sorted(images.iterdir())[1].read_bytes()
    words = of_run(digits, [Encoded("a.png", content)]).look(Occlusion()).words
    with client(server) as ask:
        found = ask.post("/runs/digits/look/occlusion?name=a.png", content=content)
        assert found.json()["words"] == words
        assert found.json()["picture"]["type"] == "image/png"
        assert ask.post("/runs/digits/look/occlusion?format=png", content=content).content[1:4] == b"PNG"
        several = [("images", (name, content)) for name in ("a.png", "b.png")]
        assert ask.post("/runs/digits/look/occlusion", files=several).status_code == 400
        # lenses that would train, or read the training's data
        for lens in ("learning_rate", "embedding", "none"):
            assert ask.post(f"/runs/digits/look/{lens}", content=content).status_code == 404


def test_models_stay_within_the_memory(digits: Run, denoiser: Run) -> None:
    shelf = named([digits, denoiser, digits])
    assert [*shelf] == ["digits", "denoiser", "digits-2"]
    models = Models(1 << 30)
    sizes = {}
    for name, served in shelf.items():
        before = models.held
        with models.lent(served):
            sizes[name] = models.held - before
    assert models.names == ["digits", "denoiser", "digits-2"]

    files = [(run.path / "weights.safetensors").stat().st_size for run in (digits, denoiser)]
    room = max(*files, *sizes.values()) + min(*files, *sizes.values())
    models = Models(room)
    for name in ("digits", "denoiser", "digits", "digits-2", "denoiser", "digits"):
        with models.lent(shelf[name]) as model:
            assert models.held <= room
            assert models.names[-1] == name  # the last used one is there
        with models.lent(shelf[name]) as again:
            assert again is model
    for _ in range(2):  # a refusal leaves nothing behind
        models = Models(10)
        with (
            pytest.raises(Refused, match=r"^run='digits': its model takes .* --memory is"),
            models.lent(Served("digits", digits)),
        ):
            pass
        assert (models.held, models.names) == (0, [])


def test_a_model_for_looks_counts_and_waits_for_those_in_use(digits: Run) -> None:
    """One that answers is never dropped for a look: where both do not fit, the look waits until it is given back."""
    served = Served("digits", digits)
    both, entered = Models(1 << 30), threading.Event()
    with both.lent(served) as fast, both.lent(served, plain=True) as plain:
        assert fast is not plain
        size = both.held
    models = Models(size * 2 // 3)
    found: list[Any] = []

    def look() -> None:
        entered.set()
        with models.lent(served, plain=True) as model:
            found.append((model, models.held, in_use))

    with models.lent(served):
        in_use = True
        thread = threading.Thread(target=look)
        thread.start()
        entered.wait()
        assert models.held <= models.room
        in_use = False
    thread.join()
    [(_, held, still)] = found
    assert held <= models.room
    assert not still


def test_a_model_is_read_once(server: Any, images: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = sorted(images.iterdir())[1].read_bytes()
    with client(server) as ask:
        ask.post("/runs/digits/predict", content=content)
        monkeypatch.setattr(Run, "trained", None)
        assert ask.post("/runs/digits/predict", content=content).status_code == 200
        assert "digits" in ask.get("/health").json()["models"]


SHEET = "x = 3; W = 2; y = W*x; L = (y - 10)^2; ? L; ? dL/dW"


def test_a_worksheet_is_solved(server: Any) -> None:
    from pellucid.worked.worksheet.worksheet import Worksheet

    solution = Worksheet.parse(SHEET).solve()
    with client(server) as ask:
        page = ask.post("/worked/solve", content=SHEET).text
        assert "<math" in page
        assert not re.search(r"<style|\bstyle=", page)  # which the policy refuses
        assert ask.post("/worked/solve?format=latex", content=SHEET).text == solution.show("latex")
        assert ask.post("/worked/solve", content=SHEET, headers={"accept": "application/json"}).text == solution.show(
            "json"
        )
        told = ask.post("/worked/solve", json={"sheet": SHEET, "answers": "L = 16\ndL/dW = 24"}).json()
        assert told["report"]["counts"] == {"right": 1, "wrong": 1, "follows": 0}
        branches = ask.post("/worked/solve", content="x = -1; y = piecewise(x^2 if x > 0, 3*x); ? y; ? dy/dx").text
        assert not re.search(r"<style|\bstyle=", branches)
        mistake = ask.post("/worked/solve", content="x = 3*")
        assert mistake.status_code == 422
        assert mistake.json()["error"].startswith("line 1")
        for wrong in ({"sheet": 3}, {"sheet": SHEET, "out": "/tmp/x"}, [], {"answers": "L = 1"}):
            assert ask.post("/worked/solve", json=wrong).status_code == 400


def test_a_worksheet_that_takes_too_long_is_ended() -> None:
    """The process is ended, and the next sheet is solved."""
    heavy = "; ".join(["x_0 = 1.5", *(f"x_{i} = sin(x_{i - 1}) * cos(x_{i - 1}) + x_{i - 1}/2" for i in range(1, 400))])

    async def asked() -> None:
        solver = Solver(Limits(solve=20))
        try:
            assert "text" in await solver.solve({"sheet": SHEET, "form": "html"})  # with its imports
            solver._limits = Limits(solve=0.02)
            with pytest.raises(Refused, match=r"^sheet: took more than 0\.02 s") as refused:
                await solver.solve({"sheet": f"{heavy}; ? dx_399/dx_0", "form": "html"})
            assert refused.value.status == 408
            solver._limits = Limits(solve=20, sheet=1000)
            assert "text" in await solver.solve({"sheet": SHEET, "form": "latex"})
            with pytest.raises(Refused, match=r"^sheet: is more than 1,000 bytes"):
                await solver.solve({"sheet": "x" * 1001, "form": "html"})
        finally:
            await solver.close()

    asyncio.run(asked())


def test_the_description_has_every_address(server: Any) -> None:
    described = {(path, method.upper()) for path, methods in openapi.document()["paths"].items() for method in methods}
    routes: Any = server.service.app.routes
    served = {(route.path, method) for route in routes for method in route.methods - {"HEAD"}}
    pages = {(path, "GET") for path in ("/", "/training", "/worksheet", "/docs", "/static/{file}")}
    assert served - described == pages
    assert described <= served
    with client(server) as ask:
        page = ask.get("/docs").text
        assert ask.get("/openapi.json").json() == openapi.document()
    assert all(path in page for path, _ in described)


def test_without_a_run_the_worksheets_are_served(serving: Callable[..., Any]) -> None:
    with serving([]) as own, client(own) as ask:
        assert ask.get("/").status_code == 200
        assert ask.get("/runs").json()["runs"] == []
        assert ask.post("/worked/solve", content=SHEET).status_code == 200


def test_a_port_that_is_taken_is_said(server: Any) -> None:
    with pytest.raises(UsageError, match=rf"^port={server.port}: cannot be listened on"):
        serve((), port=server.port)


def test_a_missing_package_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    for name in [name for name in sys.modules if name == "uvicorn" or name.startswith("uvicorn.")]:
        monkeypatch.delitem(sys.modules, name)

    class Missing:
        def find_spec(self, name: str, *_: Any) -> None:
            if name == "uvicorn":
                raise ModuleNotFoundError("No module named 'uvicorn'", name="uvicorn")

    monkeypatch.setattr(sys, "meta_path", [Missing(), *sys.meta_path])
    with pytest.raises(MissingPackageError, match=r"^serve: needs uvicorn, .* pip install 'pellucid\[serve\]'$"):
        serve(())
