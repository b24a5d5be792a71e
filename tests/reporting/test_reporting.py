# SPDX-License-Identifier: Apache-2.0
"""The page: it needs nothing from outside, holds every section, the numbers of metrics.json, and no name can break it."""

from __future__ import annotations

import base64
import io
import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.metrics import confusion_matrix

from pellucid.errors import UsageError
from pellucid.inference import evaluate
from pellucid.lenses import Network, Splits
from pellucid.looking.looking import look
from pellucid.looking.subjects import of_run
from pellucid.reporting.reporting import report
from pellucid.run import Run
from pellucid.training.training import train

HOSTILE = ("<script>alert(1)</script>", "$\\frac{\"'><img src=http://evil.example/x onerror=alert(2)>")


class Page(HTMLParser):
    """What a browser would load, and what a person would read."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.headings: list[str] = []
        self.cells: list[str] = []
        self.text = ""
        self._inside: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "img", "link", "br", "source"):
            self._inside.append(tag)
        if tag in ("td", "th"):
            self.cells.append("")

    def handle_endtag(self, tag: str) -> None:
        assert self._inside.pop() == tag, f"</{tag}> closes nothing"

    def handle_data(self, data: str) -> None:
        if "style" in self._inside:
            return
        self.text += data
        if "h2" in self._inside:
            self.headings.append(data)
        if "td" in self._inside or "th" in self._inside:
            self.cells[-1] += data


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    made = train("classify", "digits", "mlp", tmp_path_factory.mktemp("report") / "run", epochs=2, limit=256,
                 hidden=(8,), lr=0.01, device="cpu", progress=False)  # fmt: skip
    evaluate(made)
    return made


@pytest.fixture(scope="module")
def page(run: Run) -> Page:
    return Page(report(run, maps=3).read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def text(run: Run, page: Page) -> str:
    """The page as it is written."""
    return (run.path / "report.html").read_text(encoding="utf-8")


def outside(page: Page) -> list[str]:
    """Addresses that a browser would go to, and elements that run or load something."""
    loading = [tag for tag, _ in page.tags if tag in ("script", "link", "iframe", "object", "embed", "base")]
    found = [(name, value or "") for _, attrs in page.tags for name, value in attrs.items()]
    addresses = [
        v
        for name, v in found
        if name in ("src", "href", "srcset", "poster", "data", "action") and v[:5] != "data:" and v[:1] != "#"
    ]
    return loading + addresses + [name for name, _ in found if name.startswith("on")]


def test_it_needs_nothing_from_outside(run: Run, page: Page) -> None:
    assert not outside(page)
    text = (run.path / "report.html").read_text(encoding="utf-8")
    assert not re.search(r"@import|url\(|https?://", text)
    assert sum(tag == "img" for tag, _ in page.tags) >= 6


def test_every_section_is_there(page: Page) -> None:
    assert page.headings == [
        "Settings", "Data", "Learning curves", "Measures on the test split", "ROC curve", "Precision and recall", "Reliability",
        "Confusion", "Occlusion", "The worst answers", "The best answers", "Per class", "Layers", "Reproduce this run",
    ]  # fmt: skip


def test_the_numbers_are_those_of_the_metrics(run: Run, page: Page) -> None:
    metrics = run.metrics
    assert metrics is not None
    rows = {"this model": metrics["model"], **metrics["baselines"]}  # many measures: one a line, methods side by side
    start = page.cells.index("this model")
    assert page.cells[start : start + len(rows)] == list(rows)
    for key, own in metrics["model"].items():
        place = page.cells.index(own["title"], start)
        cells = page.cells[place + 1 : place + 1 + len(rows)]
        for cell, measure in zip(cells, [row[key] for row in rows.values()], strict=True):
            value, *interval = (float(number) for number in re.findall(r"-?[\d.]+", cell.replace("−", "-")))
            assert value == pytest.approx(measure["value"], abs=0.02 * max(1, abs(measure["value"])))
            if interval:
                assert interval == pytest.approx([measure["low"], measure["high"]], abs=0.02)
                digits = len(cell.split(" to ")[1].split(".")[1])
                assert value == round(measure["value"], digits), "as many digits as the interval has"
    assert f"{run.info['parameters']:,}" in page.text


def test_the_comparison_with_the_best_baseline_comes_first(run: Run, page: Page) -> None:
    metrics = run.metrics
    assert metrics is not None
    title, heading, first, *_ = (line for line in page.text.splitlines() if line.strip())
    assert title == heading == "classify digits with mlp"
    accuracy = {name: measures["accuracy"]["value"] for name, measures in metrics["baselines"].items()}
    best = max(accuracy, key=lambda name: accuracy[name])
    assert first.startswith("Behind the best simpler answer: accuracy ")
    assert f"for {best}, a difference of −" in first
    assert first.endswith(f"or use {best}.")
    # what the curves say is about the training, and comes later
    assert page.text.index(first) < page.text.index("Training: ")


def test_only_changed_options_are_outside_the_fold(run: Run, page: Page) -> None:
    before, folded = page.text.split("Options with their default values")
    asked = before.split("Settings")[1]
    for name in ("epochs", "lr", "limit", "hidden"):
        assert name in asked
    folded = folded.split("Fingerprint")[0]
    for name in ("momentum", "label smoothing", "schedule"):
        assert name not in asked
        assert name in folded


# -- the links


def targets(page: Page) -> tuple[set[str], list[str]]:
    """Places on the page, and where its links lead."""
    places = [attrs["id"] or "" for _, attrs in page.tags if "id" in attrs]
    assert len(set(places)) == len(places), "a duplicate id"
    return set(places), [attrs["href"] or "" for tag, attrs in page.tags if tag == "a"]


def test_every_link_leads_to_a_place_on_the_page(page: Page) -> None:
    places, links = targets(page)
    assert links and all(link[:1] == "#" and link[1:] in places for link in links)
    # and every place can be reached
    assert {link[1:] for link in links} == places


def section(text: str, place: str) -> str:
    found = re.search(rf'<section class="panel" id="{place}">(.*?)</section>', text, re.S)
    assert found, place
    return found[1]


def test_a_cell_leads_to_its_images_and_an_image_to_its_neighbours_and_maps(run: Run, page: Page) -> None:
    text = (run.path / "report.html").read_text(encoding="utf-8")
    records, names = run.records(), run.data()["test"].names
    matrix = confusion_matrix(records["true"], records["predicted"], labels=range(10))
    cells = set(re.findall(r'<a href="#(cell-\d+-\d+)"><rect', text))
    wrong = np.argwhere(matrix - np.diag(np.diag(matrix))).tolist()
    assert {f"cell-{i}-{j}" for i, j in wrong} <= cells
    shown = re.search(r"up to (\d) mistakes", page.text)
    assert shown
    most, seen = int(shown[1]), set()
    for true, predicted in wrong:
        own = re.findall(r'<a href="#image-(\d+)" title="([^"]+)"', section(text, f"cell-{true}-{predicted}"))
        assert len(own) == min(most, matrix[true, predicted])
        for place, name in own:
            assert (records["true"][int(place)], records["predicted"][int(place)]) == (true, predicted)
            assert names[int(place)] == name
            seen.add(int(place))
    subject = of_run(run)
    network, splits = subject.part(Network), subject.part(Splits)
    assert network is not None and splits is not None
    parts = {split: [*splits.batches(split)] for split in ("train", "val", "test")}
    codes = {split: torch.cat([network.features(b.images)[0] for b in part]).double() for split, part in parts.items()}
    for place in sorted(seen)[:5]:
        far = torch.cat([torch.linalg.norm(own - codes["test"][place], dim=1) for own in codes.values()])
        of = [split for split, own in codes.items() for _ in range(len(own))]
        order = [i for i in far.argsort().tolist() if i != len(far) - len(codes["test"]) + place][:6]
        shown = re.findall(r"<small>(\w+) (\w+)<br>([\d.e-]+)</small>", section(text, f"image-{place}"))
        assert [split for split, _, _ in shown] == [of[i] for i in order]
        assert [float(distance) for *_, distance in shown] == pytest.approx(far[order].tolist(), rel=0.01)
    assert len(re.findall(r'alt="occlusion of', text)) == len(re.findall(r'alt="attribution of', text)) == 3
    assert "3 of them have maps" in page.text


def test_the_caller_chooses_the_number_of_maps_and_the_file(run: Run, tmp_path: Path) -> None:
    path = report(run.path, tmp_path / "page.html", maps=0)
    assert path == tmp_path / "page.html"
    assert path.stat().st_size > 50_000
    text = path.read_text(encoding="utf-8")
    assert "occlusion of" not in text and "have maps" not in text
    assert "nearest neighbours are searched among" in text
    with pytest.raises(UsageError, match="maps=-1"):
        report(run, maps=-1)


def test_figures_that_the_page_does_not_show_are_not_drawn(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*given: object) -> None:
        raise AssertionError("a figure was drawn")

    for lens in ("attribution", "neighbours"):
        monkeypatch.setattr(f"pellucid.lenses.{lens}.{lens}.figure", never)
    written = report(run, tmp_path / "page.html", maps=1).read_text(encoding="utf-8")
    assert "contribution of each pixel to the score" in written and "nearest" in written.lower()


def test_pictures_that_lenses_saved_are_on_the_page_with_their_captions(run: Run, tmp_path: Path) -> None:
    own = copy(run, tmp_path / "run")
    captions = [look(own, lens, **options).words for lens, options in (("curves", {}), ("embedding", {"limit": 60}))]
    page = Page(report(own, maps=0).read_text(encoding="utf-8"))
    assert not outside(page)
    assert "Lenses" in page.headings
    assert all(words in page.text for words in captions)
    assert "figures/embedding.html" in page.text


def test_it_shows_how_to_reproduce_the_run(run: Run, page: Page) -> None:
    again = page.text.split("Reproduce this run")[1]
    assert run.info["command"] in again
    assert run.info["environment"]["torch"] in again


def test_names_of_classes_cannot_break_it(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    labels = np.arange(60) % 2
    pixels = (rng.integers(0, 100, (60, 8, 8)) + 120 * labels[:, None, None]).astype(np.uint8)
    for i, (image, label) in enumerate(zip(pixels, labels, strict=True)):
        # a slash cannot be part of a folder's name
        folder = tmp_path / "data" / HOSTILE[label].replace("/", "⁄")
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(folder / f"{i}.png")
    made = train("classify", tmp_path / "data", "mlp", tmp_path / "run", epochs=1, batch_size=8, hidden=(4,),
                 device="cpu", progress=False)  # fmt: skip
    evaluate(made, baselines=False)
    page = Page(report(made, maps=0).read_text(encoding="utf-8"))
    assert not outside(page)
    for name in made.classes:
        assert name in page.text


def copy(run: Run, to: Path, *without: str, **changes: Any) -> Run:
    shutil.copytree(run.path, to, ignore=shutil.ignore_patterns("report.html", *without))
    info = json.loads((to / "run.json").read_text())
    for key, value in changes.items():
        info[key] = {**info[key], **value} if isinstance(value, dict) else value
    (to / "run.json").write_text(json.dumps(info))
    return Run(to)


def test_without_an_evaluation_it_says_what_to_do(run: Run, tmp_path: Path) -> None:
    page = Page(report(copy(run, tmp_path / "run", "metrics.json", "records.npz"), maps=1).read_text())
    assert "Nothing has been measured on held-out images yet: run pellucid evaluate" in page.text.split("Settings")[0]
    assert "Learning curves" in page.headings
    assert "Confusion" not in page.headings
    assert "Occlusion" in page.headings


def test_without_its_data_the_rest_is_shown(run: Run, tmp_path: Path) -> None:
    moved = copy(run, tmp_path / "run", data={"what": str(tmp_path / "gone")})
    page = Page(report(moved, maps=0).read_text())
    assert str(tmp_path / "gone") in page.text
    assert {"Learning curves", "Measures on the test split", "Confusion", "Layers"} <= set(page.headings)
    assert "The worst answers" not in page.headings
    assert "Not on this page – images with their neighbours and maps: the data" in page.text
    assert not targets(page)[1]


def test_a_run_without_weights_has_a_page_too(run: Run, tmp_path: Path) -> None:
    failed = copy(run, tmp_path / "run", "*.safetensors", "metrics.json", "records.npz", status="failed")
    page = Page(report(failed, maps=0).read_text())
    assert "failed" in page.text
    assert "Layers" in page.headings


# -- on a phone


def decoded(uri: str) -> bytes:
    return base64.b64decode(uri.split(",", 1)[1])


def test_curves_lie_below_each_other_where_the_page_is_narrow(text: str) -> None:
    found = re.search(r'<source media="\(max-width: 640px\)" srcset="([^"]+)"><img src="([^"]+)"', text)
    assert found is not None
    sides = []
    for uri in found.groups():
        box = re.search(rb'<svg[^>]* viewBox="0 0 ([\d.]+) ([\d.]+)"', decoded(uri))
        assert box is not None
        sides.append((float(box[1]), float(box[2])))  # points
    (narrow, tall), (wide, low) = sides
    assert narrow * 96 / 72 <= 390 < wide * 96 / 72, "px of CSS"
    assert tall > narrow and low < wide


def test_the_matrix_of_a_phone_has_the_same_links_in_390_px(text: str) -> None:
    desk, phone = (
        re.search(rf'<svg class="matrix {kind}" style="max-width: (\d+)px" viewBox="0 0 (\d+) (\d+)"(.*?)</svg>', text, re.S)
        for kind in ("desk", "phone")
    )  # fmt: skip
    assert desk is not None and phone is not None
    cells = [re.findall(r'href="(#cell-[^"]+)"', found[4]) for found in (desk, phone)]
    assert cells[0] == cells[1] and cells[0]
    width, height = float(phone[2]), float(phone[3])
    assert width / 130 * 96 <= 390, "at 130 dots per inch"
    for rect in re.findall(r'<rect x="([\d.]+)" y="([\d.]+)" width="([\d.]+)" height="([\d.]+)"', phone[4]):
        x, y, wide, tall = map(float, rect)
        assert x + wide <= width and y + tall <= height
        assert wide >= 28, "a cell holds its number in letters of 7 points"


def test_the_report_shows_the_first_batch(text: str) -> None:
    assert 'alt="The first batch"' in text


@pytest.mark.slow
def test_pictures_have_a_page(tmp_path: Path) -> None:
    made = train("denoise", "patches", "unet", tmp_path / "run", epochs=1, limit=64, batch_size=32, widths=(4, 8),
                 device="cpu", progress=False)  # fmt: skip
    evaluate(made)
    page = Page(report(made).read_text(encoding="utf-8"))
    assert not outside(page)
    assert "The same for all: PSNR before" in page.text
    assert {"The worst answers", "The best answers"} <= set(page.headings)
    # without classes there are images with neighbours and maps, and a sentence about the matrix
    assert {"Images with their neighbours and maps", "Occlusion"} <= set(page.headings)
    assert "Not on this page – confusion: needs the true and the predicted class" in page.text
    places, links = targets(page)
    assert {link[1:] for link in links} <= places
    assert sum(place.startswith("image-") for place in places) == 12


def test_charts_are_as_wide_as_a_phone_shows_whole(text: str) -> None:
    for title in ("ROC curve", "Precision and recall", "Reliability"):
        found = re.search(rf'<figure class="slim"><img src="([^"]+)" alt="{title}">', text)
        assert found is not None, title
        with Image.open(io.BytesIO(decoded(found[1]))) as picture:
            assert picture.width / picture.info["dpi"][0] <= 3.7, "inches"
    plot = re.search(r'<img src="([^"]+)" alt="The main measure with intervals">', text)
    assert plot is not None
    box = re.search(rb'<svg[^>]* viewBox="0 0 ([\d.]+) ', decoded(plot[1]))
    assert box is not None and float(box[1]) * 96 / 72 <= 360, "px of CSS"
