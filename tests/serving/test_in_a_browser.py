# SPDX-License-Identifier: Apache-2.0
"""The pages in Chromium: they answer, look and solve, say nothing on the console, and ask nobody else."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pellucid.inference import predict
from pellucid.run import Run
from pellucid.serving.example import Example

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with sync_api.sync_playwright() as driver:
        # without a sandbox of its own it also starts for root, in a container
        own = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield own
        own.close()


@pytest.fixture
def opened(browser: Any, server: Any) -> Iterator[Callable[..., Any]]:
    """Opens a page of the server; at the end, nothing was said on the console and nobody else was asked."""
    pages, said, asked = [], [], []

    def opening(path: str, own: Any = server, **options: Any) -> Any:
        page = browser.new_page(**options)
        page.set_default_timeout(120_000)  # a busy machine is no fault
        pages.append(page)
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda fault: said.append(str(fault)))
        page.on("request", lambda request: asked.append(request.url))
        page.goto(own.address + path)
        return page

    yield opening
    for page in pages:
        page.close()
    assert said == []
    assert {url.split("/")[2] for url in asked if not url.startswith("blob:")} <= {
        "127.0.0.1:" + url_port(server),
        *PORTS,
    }
    PORTS.clear()


PORTS: set[str] = set()  # of other servers of a test


def url_port(server: Any) -> str:
    return str(server.port)


def upload(page: Any, *files: Path) -> None:
    page.set_input_files("#files", [str(file) for file in files])
    page.locator("#status", has_text="answer").wait_for(timeout=120_000)


def fits(page: Any) -> bool:
    """Whether the page needs no sideways scroll."""
    wide: int = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    return wide <= 0


@pytest.mark.parametrize("size", [(1100, 800), (390, 800)])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_an_image_is_answered_and_looked_at(
    opened: Callable[..., Any], images: Path, size: tuple[int, int], scheme: str
) -> None:
    page = opened("/", viewport={"width": size[0], "height": size[1]}, color_scheme=scheme)
    page.get_by_label("Run").select_option("digits")
    assert fits(page)
    upload(page, images / "image_01.png", images / "image_02.png")
    cards = page.locator("#answers article")
    assert cards.count() == 2
    assert cards.first.locator("h2").inner_text() == "image_01.png"
    bars = cards.first.locator("tr .bar span").evaluate_all("all => all.map(one => one.getBoundingClientRect().width)")
    assert bars == sorted(bars, reverse=True)
    assert bars[0] > bars[-1]
    painted = cards.first.locator("canvas").evaluate(
        "one => new Set(one.getContext('2d').getImageData(0, 0, one.width, one.height).data).size"
    )
    assert painted > 2
    if scheme == "light":
        cards.first.get_by_label("Lens").select_option("occlusion")
        cards.first.get_by_role("button", name="Look").click()
        cards.first.locator(".map img").wait_for(timeout=120_000)
        assert cards.first.locator(".map img").evaluate("one => one.naturalWidth") > 100
    assert fits(page)


def test_a_picture_is_beside_its_image(opened: Callable[..., Any], images: Path) -> None:
    """The slider moves from the image to the answer, by the keyboard too."""
    page = opened("/")
    page.get_by_label("Run").select_option("denoiser")
    upload(page, images / "image_01.png")
    canvas, slider = page.locator("#answers canvas"), page.get_by_label("Before | after")
    seen = set()
    for key in ("Home", "End"):
        slider.focus()
        page.keyboard.press(key)
        seen.add(canvas.evaluate("one => one.toDataURL()"))
    assert len(seen) == 2
    with page.expect_download() as kept:
        page.get_by_role("button", name="Download the picture").click()
    assert kept.value.suggested_filename == "image_01.png-answer.png"


def test_a_broken_image_and_an_evil_name_are_text(opened: Callable[..., Any], tmp_path: Path, images: Path) -> None:
    evil = tmp_path / "<img src=x onerror=alert(1)>.png"
    evil.write_bytes((images / "image_01.png").read_bytes())
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no image")
    page = opened("/")
    upload(page, evil, broken)
    assert page.locator("#answers h2").all_inner_texts() == [evil.name, "broken.png"]
    assert page.locator("#answers img").count() == 0
    assert "is not an image" in page.locator("#answers .bad").inner_text()


@pytest.mark.parametrize("size", [(1100, 800), (390, 800)])
def test_a_worksheet_is_solved_and_checked(opened: Callable[..., Any], size: tuple[int, int]) -> None:
    page = opened("/worksheet", viewport={"width": size[0], "height": size[1]})
    page.locator("#solution math").first.wait_for(timeout=120_000)
    assert fits(page)
    page.get_by_label("Worksheet", exact=True).fill("x = 3; W = 2; L = (W*x - 10)^2; ? dL/dW")
    page.keyboard.press("Control+Enter")
    page.locator("#solution section", has_text="24").first.wait_for(timeout=120_000)
    page.get_by_label("Answers to check").fill("dL/dW = 24")
    page.get_by_role("button", name="Check answers").click()
    page.locator("#report", has_text="The answer is wrong.").wait_for(timeout=120_000)
    with page.expect_download() as kept:
        page.get_by_role("button", name="Download LaTeX").click()
    assert "\\documentclass" in Path(kept.value.path()).read_text(encoding="utf-8")
    assert fits(page)


def test_a_run_that_cannot_be_opened_does_not_hide_the_others(
    opened: Callable[..., Any], serving: Callable[..., Any], digits: Run, images: Path, tmp_path: Path
) -> None:
    """It was trained by a later version, whose task has an option that is not known here."""
    shutil.copytree(digits.path, tmp_path / "later")
    record = json.loads((tmp_path / "later" / "run.json").read_text(encoding="utf-8"))
    record["task"]["options"]["of_later"] = 1
    (tmp_path / "later" / "run.json").write_text(json.dumps(record), encoding="utf-8")
    with serving([Run(tmp_path / "later"), digits]) as own:
        PORTS.add(f"127.0.0.1:{own.port}")
        for path in ("/", "/training"):
            page = opened(path, own)
            page.locator("#refused", has_text="run='later': the task in run.json cannot be made").wait_for()
            assert str(tmp_path) not in page.locator("body").inner_text()
            assert page.locator("#run option").all_inner_texts() == ["digits"]
            if path == "/":
                upload(page, images / "image_01.png")
            page.close()


def test_without_a_run_the_page_says_how_to_get_one(opened: Callable[..., Any], serving: Callable[..., Any]) -> None:
    with serving([]) as own:
        PORTS.add(f"127.0.0.1:{own.port}")
        page = opened("/", own)
        page.get_by_text("pellucid train classify").wait_for()
        assert page.locator("#asking").is_hidden()


def test_the_page_waits_for_the_example_that_learns(
    opened: Callable[..., Any], serving: Callable[..., Any], digits: Run, tmp_path: Path
) -> None:
    script = """
import os, shutil, sys, time
shutil.copytree(sys.argv[2], sys.argv[3])
while not os.path.exists(sys.argv[1]):
    time.sleep(0.05)
"""
    example = Example((sys.executable, "-c", script, str(tmp_path / "go"), str(digits.path)))
    with serving([], example=example) as own:
        PORTS.add(f"127.0.0.1:{own.port}")
        page = opened("/", own)
        page.get_by_text("a small network is learning the embedded digits").wait_for()
        assert page.locator("#asking").is_hidden()
        (tmp_path / "go").touch()
        page.locator("#about", has_text="it was trained when the server started").wait_for()
        assert page.locator("#learning").is_hidden()
        page.close()


def test_what_is_missing_is_painted(
    opened: Callable[..., Any], tasks: Any, runs: dict[str, Run], images: Path, tmp_path: Path
) -> None:
    """With the brush, by rectangles from the keyboard, taken back; what is sent is what is shown."""
    PORTS.add(f"127.0.0.1:{tasks.port}")
    page = opened("/", tasks, viewport={"width": 390, "height": 800})
    page.get_by_label("Run").select_option("inpaint")
    page.set_input_files("#files", str(images / "image_01.png"))
    canvas, marked = page.locator("canvas.paint"), page.locator("#painting [role=status]")
    canvas.wait_for()
    fill = page.get_by_role("button", name="Fill what is marked")
    assert fill.is_disabled()
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    page.mouse.move(box["x"] + box["width"] / 4, box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 3 / 4, box["y"] + box["height"] / 2)
    page.mouse.up()
    brushed = int(marked.inner_text().split()[0])
    assert 6 <= brushed <= 18  # 4 px long and 2 wide, with round ends
    for name, value in {"Left": 3, "Top": 0, "Width": 2, "Height": 3}.items():
        page.get_by_label(name).fill(str(value))
    page.get_by_role("button", name="Mark the rectangle").press("Enter")
    assert int(marked.inner_text().split()[0]) > brushed
    page.get_by_role("button", name="Undo").press("Enter")
    assert int(marked.inner_text().split()[0]) == brushed
    page.get_by_role("button", name="Clear").press("Enter")
    assert marked.inner_text() == "0 of 64 px are marked."
    page.get_by_role("button", name="Mark the rectangle").press("Enter")
    assert marked.inner_text() == "6 of 64 px are marked."
    with page.expect_download() as kept:
        fill.press("Enter")
        page.get_by_role("button", name="Download the picture").click()
    hole = np.zeros((8, 8), np.uint8)
    hole[0:3, 3:5] = 255
    Image.fromarray(hole).save(tmp_path / "mask.png")
    [expected] = predict(runs["inpaint"], images / "image_01.png", mask=[str(tmp_path / "mask.png")])
    assert np.array_equal(np.asarray(Image.open(kept.value.path())), expected["picture"][0])
    assert fits(page)


def test_pictures_are_made_and_walked_through(opened: Callable[..., Any], tasks: Any, images: Path) -> None:
    PORTS.add(f"127.0.0.1:{tasks.port}")
    page = opened("/", tasks)
    page.get_by_label("Run").select_option("vae")
    page.get_by_label("New pictures").fill("3")
    page.get_by_role("button", name="Generate").click()
    page.locator("article", has_text="New pictures").wait_for()
    page.get_by_role("button", name="Walk along it").click()
    page.locator("article", has_text="A walk along number 0").wait_for()
    page.get_by_role("button", name="Interpolate").click()
    page.get_by_text("Choose two images to interpolate between.").wait_for()
    for place, name in enumerate(("image_01.png", "image_02.png")):
        page.locator("#options input[type=file]").nth(place).set_input_files(str(images / name))
    page.get_by_role("button", name="Interpolate").click()
    page.locator("article", has_text="From one image to the other").wait_for()
    counts = page.locator("#answers article").evaluate_all("all => all.map(one => one.querySelectorAll('img').length)")
    assert counts == [10, 10, 3]


def test_images_are_placed_in_a_tree(
    opened: Callable[..., Any], tasks: Any, runs: dict[str, Run], images: Path, tmp_path: Path
) -> None:
    """Beside their own answers, also those after a broken one; asked once more, the images of the tree are the same."""
    PORTS.add(f"127.0.0.1:{tasks.port}")
    broken, names = tmp_path / "broken.png", ("image_01.png", "image_02.png", "image_04.png")
    broken.write_bytes(b"no image")
    page = opened("/", tasks, viewport={"width": 390, "height": 800})
    page.get_by_label("Run").select_option("cluster")
    place, cards = page.get_by_label("Place in the tree"), page.locator("#answers article")
    assert place.is_hidden()
    page.get_by_label("Tree of the images:").select_option("ward")
    page.get_by_label("Cut into clusters").fill("2")
    place.set_input_files([str(broken), str(images / "image_05.png")])
    page.locator("#status", has_text="Now choose the images of the tree.").wait_for()
    upload(page, *(images / name for name in names))
    assert cards.locator("h2").all_inner_texts() == [*names, "broken.png", "image_05.png", "dendrogram-ward"]
    assert "is not an image" in cards.nth(3).inner_text()
    asked: dict[str, Any] = {"hierarchy": "ward", "cut": 2, "place": [str(broken), str(images / "image_05.png")]}
    rows = predict(runs["cluster"], [str(images / name) for name in names], **asked)
    assert [row["name"] for row in rows[3:5]] == ["broken.png", "image_05.png"]
    assert f"Placed in the tree: cluster {rows[4]['cluster']}" in cards.nth(4).inner_text()
    assert rows[4]["nearest"] in cards.nth(4).inner_text()
    own = cards.nth(4).locator("canvas").evaluate("one => [...one.getContext('2d').getImageData(1, 1, 1, 1).data]")
    assert own[0] == int(np.asarray(Image.open(images / "image_05.png"))[0, 0])
    assert fits(page)
    place.set_input_files(str(images / "image_07.png"))
    cards.nth(9).wait_for()
    assert cards.locator("h2").all_inner_texts()[:5] == [*names, "image_07.png", "dendrogram-ward"]
    page.get_by_role("button", name="Place none").press("Enter")
    cards.nth(14).wait_for()
    assert cards.locator("h2").all_inner_texts()[:4] == [*names, "dendrogram-ward"]
    assert place.evaluate("one => one === document.activeElement && !one.files.length")


@pytest.mark.parametrize("size", [(1100, 800), (390, 800)])
def test_a_training_is_looked_through(opened: Callable[..., Any], tasks: Any, size: tuple[int, int]) -> None:
    PORTS.add(f"127.0.0.1:{tasks.port}")
    page = opened("/training", tasks, viewport={"width": size[0], "height": size[1]})
    page.get_by_label("Run").first.select_option("second")
    page.locator("#measures", has_text="95 % intervals").wait_for()
    assert page.locator("#curves svg").count() == 2
    assert "validation from" in page.locator("#curves svg").first.get_attribute("aria-label")
    page.get_by_role("checkbox", name="classify").uncheck()
    page.get_by_role("button", name="Compare").click()
    page.locator("#table", has_text="may be chance").wait_for()
    assert "unmeasured has no measures" in page.locator("#table").inner_text()
    assert fits(page)


def test_a_report_opens(opened: Callable[..., Any], server: Any, digits: Run) -> None:
    report = digits.path / "report.html"
    report.write_text("<!doctype html><title>own</title><style>p{color:red}</style><p>A report", encoding="utf-8")
    try:
        page = opened("/")
        page.get_by_label("Run").select_option("digits")
        with page.expect_popup() as popup:
            page.get_by_role("link", name="Open its report").click()
        assert popup.value.locator("p").inner_text() == "A report"
        popup.value.close()
    finally:
        report.unlink()


def test_the_description_reads_on_a_phone(opened: Callable[..., Any]) -> None:
    page = opened("/docs", viewport={"width": 390, "height": 800})
    assert "/runs/{name}/predict" in page.content()
    assert fits(page)
