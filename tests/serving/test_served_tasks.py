# SPDX-License-Identifier: Apache-2.0
"""What tasks answer beside labels, over HTTP: holes by a mask, walks through codes, files and back, trees; and how runs were trained."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import re
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from pellucid.comparison.comparison import compare
from pellucid.inference import predict
from pellucid.run import Run
from pellucid.serving import looks
from pellucid.serving.example import NAME, Example

EARLIER = Path(__file__).parents[1] / "runs_0_1_0"


def client(server: Any) -> httpx.Client:
    return httpx.Client(base_url=server.address, trust_env=False, timeout=180)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    draws = np.random.default_rng(0)
    files = [tmp_path_factory.mktemp("pictures") / f"{name}.png" for name in "abcd"]
    for file in files:
        Image.fromarray(draws.integers(0, 256, (8, 8), dtype=np.uint8)).save(file)
    return files


def pixels(answer: dict[str, Any]) -> Any:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(answer["picture"]["base64"]))))


def part(name: str, file: Path) -> tuple[str, tuple[str, bytes]]:
    return name, (file.name, file.read_bytes())


def test_a_mask_says_what_is_missing_as_for_predict(
    tasks: Any, runs: dict[str, Run], pictures: list[Path], tmp_path: Path
) -> None:
    hole = np.zeros((8, 8), np.uint8)
    hole[2:5, 3:7] = 255
    mask = tmp_path / "hole.png"
    Image.fromarray(hole).save(mask)
    expected = predict(runs["inpaint"], pictures[:2], mask=[str(mask)])
    with client(tasks) as ask:
        address = "/runs/inpaint/predict"
        found = ask.post(address, files=[*(part("images", one) for one in pictures[:2]), part("mask", mask)]).json()
        for answer, row, picture in zip(found["answers"], expected, pictures, strict=False):
            assert answer["missing"] == row["missing"] == round(12 / 64, 6)
            assert np.array_equal(pixels(answer), row["picture"][0])
            known = np.asarray(Image.open(picture))
            assert np.array_equal(pixels(answer)[hole == 0], known[hole == 0])
        assert ask.post(address, content=pictures[0].read_bytes()).json()["error"].startswith("mask=(): does not say")
        Image.new("L", (9, 8), 255).save(mask)
        refused = ask.post(address, files=[part("images", pictures[0]), part("mask", mask)])
        assert refused.status_code == 422
        assert "is 8×9 px, and a.png is 8×8" in refused.json()["error"]
        mask.write_bytes(b"no image")
        refused = ask.post(address, files=[part("images", pictures[0]), part("mask", mask)])
        assert refused.status_code == 422
        assert refused.json()["error"].startswith("image='hole.png': cannot be read")
        Image.new("1", (3000, 3000)).save(mask)  # its pixels count, before any of them is decoded
        assert ask.post(address, files=[part("images", pictures[0]), part("mask", mask)]).status_code == 413
        refused = ask.post("/runs/classify/predict", files=[part("images", pictures[0]), part("mask", pictures[1])])
        assert refused.status_code == 400
        assert refused.json()["error"].startswith("mask: is not an option here")


def test_codes_are_walked_through_as_by_predict(tasks: Any, runs: dict[str, Run], pictures: list[Path]) -> None:
    ends = [str(file) for file in pictures[:2]]
    wanted = {
        "steps=3": predict(runs["vae"], interpolate=ends, steps=3),
        "vary=0,1&steps=3&seed=4": predict(runs["vae"], vary=(0, 1), steps=3, seed=4),
        "samples=3&seed=4": predict(runs["vae"], samples=3, seed=4),
    }
    with client(tasks) as ask:
        for query, expected in wanted.items():
            files = [part("interpolate", file) for file in pictures[:2]] if query == "steps=3" else None
            found = ask.post(f"/runs/vae/predict?{query}", files=files).json()["answers"]
            assert [row["name"] for row in found] == [row["name"] for row in expected]
            for answer, row in zip(found, expected, strict=True):
                assert np.array_equal(pixels(answer), row["picture"][0])
        for query in ("vary=0,1,2,3,4&steps=64", "steps=65", "vary=x", "vary="):
            assert ask.post(f"/runs/vae/predict?{query}").status_code == 400
        alone = ask.post("/runs/vae/predict", files=[part("interpolate", pictures[0])])
        assert alone.json()["error"].startswith("interpolate: needs two images")


def test_a_file_comes_back_as_its_picture(
    tasks: Any, runs: dict[str, Run], pictures: list[Path], tmp_path: Path
) -> None:
    with client(tasks) as ask:
        address = "/runs/compress/predict"
        [made] = ask.post(f"{address}?name=a.png", content=pictures[0].read_bytes()).json()["answers"]
        content = base64.b64decode(made["file"]["base64"])
        [expected] = predict(runs["compress"], str(pictures[0]))
        assert content == expected["content"]
        file = tmp_path / "a.plc"
        file.write_bytes(content)
        [back] = ask.post(f"{address}?name=a.plc", content=content).json()["answers"]
        [picture] = predict(runs["compress"], str(file))
        assert np.array_equal(pixels(back), picture["picture"][0])
        damaged = ask.post(f"{address}?name=a.plc", content=content[:-1] + b"x")
        assert damaged.status_code == 422
        assert "is damaged" in damaged.json()["error"]
        clear = io.BytesIO()
        Image.new("LA", (8, 8), (9, 9)).save(clear, "PNG")
        assert "has transparency" in ask.post(address, content=clear.getvalue()).json()["error"]


def test_a_tree_is_of_the_images_of_one_request(tasks: Any, runs: dict[str, Run], pictures: list[Path]) -> None:
    files, paths = [part("images", file) for file in pictures[:3]], [str(file) for file in pictures[:3]]
    expected = predict(runs["cluster"], paths, hierarchy="ward", cut=2, place=[str(pictures[3])])
    with client(tasks) as ask:
        asked = "/runs/cluster/predict?hierarchy=ward&cut=2"
        found = ask.post(asked, files=[*files, part("place", pictures[3])]).json()["answers"]
    assert [row["name"] for row in found] == [row["name"] for row in expected]
    assert [row.get("cluster") for row in found] == [row.get("cluster") for row in expected]
    [tree] = [row for row in found if row["name"] == "dendrogram-ward"]
    assert pixels(tree).shape[0] > 50
    assert [row["nearest"] for row in found if row.get("placed")] == [
        row["nearest"] for row in expected if row.get("placed")
    ]


def test_neighbours_are_found_in_the_runs_own_data(tasks: Any, pictures: list[Path]) -> None:
    with client(tasks) as ask:
        assert "neighbours" in next(
            run["lenses"] for run in ask.get("/runs").json()["runs"] if run["name"] == "cluster"
        )
        found = ask.post("/runs/cluster/look/neighbours?format=json", content=pictures[0].read_bytes()).json()
    assert found["picture"]["type"] == "image/png"


def test_curves_and_measures_are_those_of_the_run(tasks: Any, runs: dict[str, Run]) -> None:
    run = runs["classify"]
    with client(tasks) as ask:
        found = ask.get("/runs/classify/training").json()
        assert found["history"] == [*run.history]
        assert (found["status"], found["main"]["key"]) == ("stopped", "accuracy")
        assert run.metrics is not None
        measure = run.metrics["model"]["accuracy"]
        assert [one["of"] for one in found["measures"]] == ["model", *run.metrics["baselines"]]
        shown = found["measures"][0]["measures"]["accuracy"]
        ends = re.fullmatch(r"(.*) \((.*)–(.*)\)", shown)
        assert ends is not None
        for text, part in zip(ends.groups(), ("value", "low", "high"), strict=True):
            assert abs(float(text) - measure[part]) < 0.001
        assert ask.get("/runs/unmeasured/training").json()["measures"] == []
        listed = {one["name"]: one for one in ask.get("/runs").json()["runs"]}
        assert listed["classify"]["measured"]["text"] == shown
        assert listed["unmeasured"]["measured"] is None


def test_curves_follow_a_training(tmp_path: Path, serving: Callable[..., Any]) -> None:
    shutil.copytree(EARLIER / "classify", tmp_path / "classify")
    run, file = Run(tmp_path / "classify"), tmp_path / "classify" / "history.jsonl"
    rows = file.read_text(encoding="utf-8").splitlines(keepends=True)
    file.write_text("".join(rows[:5]), encoding="utf-8")
    run.update(status="running")
    with serving([run]) as own, client(own) as ask:
        before = ask.get("/runs/classify/training").json()
        file.write_text("".join(rows), encoding="utf-8")
        Run(run.path).update(status="stopped")
        after = ask.get("/runs/classify/training").json()
        assert ask.get("/runs").json()["runs"][0]["status"] == "stopped"
    assert (before["status"], len(before["history"])) == ("running", 5)
    assert (after["status"], len(after["history"])) == ("stopped", len(rows))


def test_runs_are_compared_as_by_compare_and_nothing_is_written(
    tasks: Any, runs: dict[str, Run], tmp_path: Path
) -> None:
    def files() -> dict[Path, int]:
        return {file: file.stat().st_mtime_ns for run in runs.values() for file in sorted(run.path.parent.rglob("*"))}

    before = files()
    with client(tasks) as ask:
        found = ask.get("/compare?run=third&run=second&run=unmeasured").json()
        assert files() == before
        few = ask.get("/compare?run=third&run=unmeasured")
        assert few.status_code == 422
        assert few.json()["error"].startswith("run: unmeasured has no measures of its present weights")
        assert ask.get("/compare?run=classify&run=vae").json()["error"].startswith("run: those named are of classify")
        assert ask.get("/compare?run=classify&run=none").status_code == 404
        assert ask.get("/compare").status_code == 422
    expected = compare([runs["third"], runs["second"]], tmp_path)
    assert [(row["run"], row["verdict"], row["difference"]) for row in found["rows"]] == [
        (row.name, row.verdict, str(row.difference or "")) for row in expected.rows
    ]
    assert "unmeasured" in found["notes"][0]


def events(lines: Iterator[str]) -> Iterator[tuple[str, Any]]:
    kind = ""
    for line in lines:
        name, _, value = line.partition(": ")
        if name == "event":
            kind = value
        elif name == "data":
            yield kind, json.loads(value)


def test_a_look_tells_its_progress(tasks: Any, pictures: list[Path]) -> None:
    with client(tasks) as ask:
        address, content = "/runs/classify/look/occlusion", pictures[0].read_bytes()
        plain = ask.post(f"{address}?name=a.png", content=content).json()
        asked = {"accept": "text/event-stream"}
        with ask.stream("POST", f"{address}?name=a.png", content=content, headers=asked) as answer:
            assert answer.headers["content-type"].startswith("text/event-stream")
            told = [*events(answer.iter_lines())]
        assert {kind for kind, _ in told[:-1]} == {"progress"}
        assert told[-1] == ("answer", plain)
        with ask.stream("POST", f"{address}?format=events", content=b"no image") as answer:
            *_, (kind, fault) = events(answer.iter_lines())
        assert kind == "fault"
        assert "is not an image" in fault["error"]


def test_a_look_whose_client_has_left_ends(tasks: Any, pictures: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """The one under way where it next tells its progress, and one that waits without beginning; others are answered."""
    ended, begun = threading.Event(), []

    def endless(models: Any, served: Any, lens: str, images: Any, look: Any) -> Any:
        begun.append(images[0].name)
        if images[0].name == "last":
            return "words", pictures[0].read_bytes()
        done = 0
        try:
            while True:
                done += 1
                look.tell(done, None, "covering")
                time.sleep(0.001)
        finally:
            ended.set()

    monkeypatch.setattr(looks, "_seen", endless)
    address, content = "/runs/classify/look/occlusion?format={}&name={}", pictures[0].read_bytes()

    async def asked() -> httpx.Response:
        async with httpx.AsyncClient(base_url=tasks.address, trust_env=False, timeout=180) as ask:
            async with ask.stream("POST", address.format("events", "first"), content=content) as first:
                lines = first.aiter_lines()  # whose end would close the connection
                await anext(lines)
                waiting = asyncio.create_task(ask.post(address.format("json", "second"), content=content))
                last = asyncio.create_task(ask.post(address.format("json", "last"), content=content))
                while tasks.service.looks.count < 3:
                    await asyncio.sleep(0.01)
                waiting.cancel()
                while tasks.service.looks.count > 2:
                    await asyncio.sleep(0.01)
            return await last

    answer = asyncio.run(asked())
    assert ended.wait(60)
    assert answer.json()["words"] == "words"
    assert begun == ["first", "last"]
    assert tasks.service.looks.count == 0


def test_an_example_learns_where_no_run_is_named(
    serving: Callable[..., Any], digits: Run, pictures: list[Path]
) -> None:
    """Until it has learned, the page says so; then it is a run like any other, and at the end its folder is gone."""
    script = "import shutil, sys; shutil.copytree(sys.argv[1], sys.argv[2])"
    example = Example((sys.executable, "-c", script, str(digits.path)))
    with serving([], example=example) as own, client(own) as ask:
        assert ask.get("/").status_code == 200
        while (found := ask.get("/runs").json())["learning"]:
            assert found["learning"]["name"] == NAME
            assert not found["learning"]["fault"]
            assert not found["runs"]
            assert ask.post(f"/runs/{NAME}/predict", content=pictures[0].read_bytes()).status_code in (200, 503)
        [run] = found["runs"]
        assert (run["name"], run["example"]) == (NAME, True)
        assert ask.post(f"/runs/{NAME}/predict", content=pictures[0].read_bytes()).status_code == 200
        assert example.path is not None and example.path.is_dir()
    assert not example.path.parent.exists()


def test_an_example_that_fails_says_why(serving: Callable[..., Any]) -> None:
    example = Example((sys.executable, "-c", "import sys; sys.exit('no room is left')"))
    with serving([], example=example) as own, client(own) as ask:
        while not (learning := ask.get("/runs").json()["learning"])["fault"]:
            pass
        assert learning["fault"] == "no room is left"
        assert ask.post(f"/runs/{NAME}/predict", content=b"x").status_code == 404
        assert ask.post("/worked/solve", content="x = 3; ? x").status_code == 200


def test_an_example_that_is_under_way_ends_with_the_server(serving: Callable[..., Any]) -> None:
    example = Example((sys.executable, "-c", "import time; time.sleep(600)"))
    with serving([], example=example) as own, client(own) as ask:
        assert ask.get("/runs").json()["learning"]["epochs"] is None
    assert example.path is not None and not example.path.parent.exists()


@pytest.mark.slow
def test_the_example_learns_the_digits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By its own command, with measures, and without a file in the user's folders."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PELLUCID_CACHE", str(tmp_path / "cache"))
    example = Example()
    run = asyncio.run(example.learned())
    assert run is not None
    assert run.metrics is not None
    assert run.metrics["model"]["accuracy"]["low"] > 0.9
    assert not [*tmp_path.iterdir()]
    example.close()
