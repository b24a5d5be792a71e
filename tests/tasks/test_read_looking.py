# SPDX-License-Identifier: Apache-2.0
"""read: the way of a page as the lens `page` and the report show it, and lenses on letters of a page."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from read_pages import CLASSES, look, photographed, printed

from pellucid import _catalog
from pellucid._pages import PageSteps
from pellucid.cli.cli import main
from pellucid.errors import PellucidWarning, UsageError
from pellucid.lenses import Network, Pages, View
from pellucid.lenses.page import Page
from pellucid.looking.looking import look as through
from pellucid.looking.subjects import of_run
from pellucid.reporting.way import way
from pellucid.run import Run
from pellucid.tasks.read.page import read
from pellucid.tasks.read.preparing import prepared
from pellucid.tasks.read.specimen import laid_out, specimen
from pellucid.tasks.read.steps import steps_of

LINES = ["PACK MY BOX", "AND 2658 MORE"]


def seen(crops: torch.Tensor) -> torch.Tensor:
    return prepared(crops, (40, 40))


def steps(_: torch.nn.Module, image: torch.Tensor) -> PageSteps:
    """What the stand-in for the network finds on a page."""
    grey = (image[0] * 255).round().to(torch.uint8).numpy()
    return steps_of(read(grey, look), CLASSES, seen)


def pages(*drawn: NDArray[np.uint8], letters: tuple[int, ...] = (), texts: tuple[str, ...] = ()) -> Pages:
    images = [torch.from_numpy(page / np.float32(255))[None] for page in drawn]
    names = [f"page {i}" for i in range(len(drawn))]
    return Pages(torch.nn.Identity(), images, names, steps, texts, letters)


def titles(view: View) -> list[str]:
    """The titles of all pictures of a figure and of its parts."""
    above = [text.get_text() for part in view.figure.subfigs for own in part.subfigs for text in own.texts]
    every = [*view.figure.axes]
    return [*above, *(axes.get_title() for axes in every)]


@pytest.fixture(scope="module")
def view() -> View:
    """The way of a printed page with its text."""
    return Page().look(pages(photographed(printed(LINES)), texts=("\n".join(LINES),)))


# -- the steps


def test_the_way_goes_from_the_photograph_to_the_text_in_its_order(view: View) -> None:
    said = [title for title in titles(view) if title and not title.startswith("letter ")]
    order = ["page 0", "ink", "connected part", "letters in 2 lines", "text"]
    places = [next(i for i, title in enumerate(said) if words in title) for words in order]
    assert places == sorted(places), said
    assert any("as the network sees them" in title for title in titles(view))
    assert view["text"].tolist() == ["\n".join(LINES)]
    assert "20 letters in 6 words and 2 lines" in view.words


def test_each_letter_lies_in_its_box_also_where_the_page_is_turned_and_askew() -> None:
    ink = printed(LINES, size=(400, 700), at=(60, 120))
    level, askew = (photographed(ink, skew=degrees, noise=0.004) for degrees in (0, 4))
    upright, moved, turned = (Page().look(pages(one)) for one in (level, askew, np.ascontiguousarray(np.rot90(askew))))
    assert upright["text"].tolist() == moved["text"].tolist() == turned["text"].tolist() == ["\n".join(LINES)]
    assert turned["turned"].tolist() != [0] and moved["skew"][0] == pytest.approx(4, abs=1)
    for own, box in zip(upright["seen"][0], upright["box"][0], strict=True):
        x0, y0, x1, y1 = (round(end) for end in box)
        alone = np.pad(level[y0:y1, x0:x1], 6, constant_values=int(np.median(level))) / np.float32(255)
        cut = prepared(torch.from_numpy(alone)[None, None], (40, 40))
        one = torch.from_numpy(own)
        assert float((cut[0] * one).sum() / (cut.norm() * one.norm())) > 0.8, "the box shows another letter"
    # where the generator moved each letter to: a turn about the middle, then np.rot90, which brings (x, y) to (y, width − x)
    angle, middle = np.deg2rad(4), np.array([350.0, 200.0])
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    for box, second, third in zip(upright["box"][0], moved["box"][0], turned["box"][0], strict=True):
        there = turn @ (box.reshape(2, 2).mean(0) - middle) + middle
        assert second.reshape(2, 2).mean(0) == pytest.approx(there, abs=3)
        assert third.reshape(2, 2).mean(0) == pytest.approx([there[1], 700 - there[0]], abs=3)


def test_the_table_has_the_three_surest_answers_of_every_letter(view: View) -> None:
    rows = list(csv.DictReader(io.StringIO(view.files["page.csv"].decode())))
    assert "".join(row["read"] for row in rows) == "".join(LINES).replace(" ", "")
    names = [*CLASSES, "no letter"]
    for row, shares in zip(rows, view["probability"][0], strict=True):
        best: list[tuple[float, str]] = []
        for name, share in zip(names, shares.tolist(), strict=True):
            best.append((share, name))
        best.sort(key=lambda pair: -pair[0])
        assert [row[f"answer_{k}"] for k in (1, 2, 3)] == [name for _, name in best[:3]]
        assert float(row["probability_2"]) == pytest.approx(best[1][0], abs=1e-6)
    assert [int(row["line"]) for row in rows] == [1] * 9 + [2] * 11
    assert rows[4]["word"] == "2"  # the M of MY


def test_letters_are_drawn_as_the_network_sees_them_the_least_sure_ones_or_those_asked_for(view: View) -> None:
    asked = Page().look(pages(photographed(printed(LINES)), letters=(3, 20)))
    least = np.sort(np.argsort(view["probability"][0].max(1), kind="stable")[:16])
    assert _cards(view) == [f"letter {k + 1}" for k in least]
    assert _cards(asked) == ["letter 3", "letter 20"]
    card = next(axes for axes in asked.figure.axes if axes.get_title() == "letter 20")
    np.testing.assert_allclose(np.asarray(card.images[0].get_array()), asked["seen"][0, 19, 0], atol=1e-6)
    assert card.texts[0].get_text().startswith("E ")


def _cards(view: View) -> list[str]:
    return [axes.get_title() for axes in view.figure.axes if axes.get_title().startswith("letter ")]


def test_a_page_without_text_has_a_way_too() -> None:
    blank = photographed(np.zeros((200, 300), np.float32), noise=0.02)
    view = Page().look(pages(blank, photographed(printed(LINES))))
    assert "page 0: no text was found" in view.words and "On all 2 pages there are 20 letters" in view.words
    assert view["text"].tolist() == ["", "\n".join(LINES)]
    assert np.isnan(view["box"][0]).all() and not np.isnan(view["box"][1]).any()


def test_a_letter_that_a_page_does_not_have_is_named() -> None:
    page = photographed(printed(["ONE"], size=(120, 240)))
    with pytest.raises(UsageError, match=r"^letter=4: page 0 has 3 letters; give a number from 1 to 3\.$"):
        Page().look(pages(page, letters=(4,)))
    part = pages(page, photographed(printed(LINES)), letters=(4,))
    assert _cards(Page().look(part))[-1:] == ["letter 4"]
    assert part.remarks == ["letter=4: page 0 has 3 letters; give a number from 1 to 3."]


# -- a page made of letters


def test_a_page_is_made_of_one_letter_of_each_class_and_can_be_read(reader: Run) -> None:
    data = reader.data()
    page, text = specimen(data["test"], data.classes, 0)
    assert sorted("".join(text.split())) == sorted(data.classes)
    found = reader.task.page_steps(reader.model(), torch.from_numpy(page)[None])  # type: ignore[attr-defined]
    assert len(found.letters) == pytest.approx(36, abs=2)
    again, _ = specimen(data["test"], data.classes, 0)
    other, _ = specimen(data["test"], data.classes, 1)
    assert np.array_equal(page, again) and not np.array_equal(page, other)


def test_the_letters_of_a_made_page_look_as_if_one_pen_had_written_them(
    reader: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else nobody would take it for a text."""
    data = reader.data()

    def spread() -> float:
        page, _ = specimen(data["test"], data.classes, 0)
        seen = read(page, look).seen
        assert seen is not None
        count, labels = cv2.connectedComponents(seen.mask.astype(np.uint8))
        depth = cv2.distanceTransform(seen.mask.astype(np.uint8), cv2.DIST_L2, 5)
        pens = np.array([depth[labels == k].mean() for k in range(1, count)])
        return float(np.median(np.abs(pens / np.median(pens) - 1)))

    alike = spread()
    monkeypatch.setattr("pellucid.tasks.read.specimen._CHOICE", 1)
    assert alike < 0.6 * spread()


def test_few_classes_come_several_times_and_of_many_not_all_come() -> None:
    few = [index for line in laid_out([0, 1], "AB") for word in line for index in word]
    assert few == [0, 1] * 6
    many = [chr(0x4E00 + k) for k in range(500)]
    assert sum(len(word) for line in laid_out(range(500), many) for word in line) == 60


# -- of a run


def test_a_run_of_letters_alone_shows_a_page_of_its_test_letters_in_its_report(reader: Run) -> None:
    shown = way(reader, of_run(reader))
    assert shown is not None and shown["title"] == "The way of one page"
    assert shown["words"].startswith("a page made of letters of the test split: ")
    assert shown["picture"].startswith("data:image/png;base64,")


@pytest.fixture
def page(tmp_path: Path) -> Path:
    Image.fromarray(photographed(printed(LINES, size=(160, 460)))).save(tmp_path / "p.png")
    return tmp_path / "p.png"


def test_a_page_is_looked_at_from_the_command_line(
    reader: Run, page: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["look", str(reader.path), "page", str(page), "--out", str(tmp_path / "o"), "--letter", "2", "9"]) == 0
    assert "p.png: dark strokes" in capsys.readouterr().out
    assert {file.name for file in (tmp_path / "o").iterdir()} == {"page.png", "page.npz", "page.csv"}


QUICK: dict[str, dict[str, Any]] = {
    "occlusion": {"patch": 16, "stride": 12},
    "attribution": {"depths": 0, "tested": 1},
    "guided_backprop": {"depths": 0, "tested": 1},
    "adversarial": {"test_images": 8, "curve": ("8/255",)},
    "neighbours": {"limit": 40, "k": 2},
    "embedding": {"limit": 60, "method": "pca", "refit": False},
}


@pytest.mark.parametrize("lens", [*QUICK])
def test_a_lens_looks_at_a_letter_of_a_page_and_names_it(reader: Run, page: Path, lens: str) -> None:
    view = of_run(reader, page, letters=(16,)).look(_catalog.find("lenses", lens)(**QUICK[lens]))
    every = [text.get_text() for text in _texts(view.figure)]
    assert any("letter 16" in text for text in every), every
    assert not any("score" in text for text in every if "letter 16" in text)
    if lens not in ("neighbours", "embedding"):
        assert any(text.startswith(("letter 16: 8, ", "letter 16: 8\n")) for text in every), every
    assert "p.png, letter 16" in view.words or lens == "embedding"


def _texts(figure: Any) -> list[Any]:
    from matplotlib.text import Text

    return list(figure.findobj(Text))


def test_a_letter_of_a_page_is_the_very_picture_that_was_read(reader: Run, page: Path) -> None:
    subject = of_run(reader, page, letters=(16, 3))
    network = subject.part(Network)
    assert network is not None and list(network.names) == ["p.png, letter 16", "p.png, letter 3"]
    image = torch.from_numpy(np.array(Image.open(page)))[None]
    found = reader.task.page_steps(network.model, image)  # type: ignore[attr-defined]
    for shown, k in zip(network.images, (15, 2), strict=True):
        torch.testing.assert_close(shown, found.letters[k].seen)
        shares = network.probabilities(network.model(shown[None]))
        assert shares is not None  # the letters, and none of them
        np.testing.assert_allclose(shares[0].detach().numpy(), found.letters[k].shares, atol=1e-4)
    assert network.classes[-1] == "no letter" and len(network.classes) == 37


def test_test_letters_are_looked_at_as_evaluation_sees_them(reader: Run) -> None:
    """The task's own predictions are those of the network that lenses hold, for named letters of any shape too."""
    network = of_run(reader).part(Network)
    assert network is not None
    letter = photographed(printed(["R"], 24, (70, 44), (12, 20)), noise=0.004)
    given = of_run(reader, letter).part(Network)
    assert given is not None and tuple(given.images[0].shape) == (1, 32, 32)
    answer = reader.task.predict(network.model, torch.from_numpy(letter / np.float32(255))[None, None])
    shares = given.probabilities(given.model(given.images[0][None]))
    assert shares is not None
    assert int(shares[0].argmax()) == int(answer.index[0]) == CLASSES.index("R")
    assert float(shares[0, -1].detach()) == pytest.approx(float(answer.nothing[0].detach()), abs=1e-3)


def test_a_page_that_is_looked_at_as_one_letter_is_named(reader: Run, page: Path, tmp_path: Path) -> None:
    with pytest.warns(
        PellucidWarning, match=r"^p\.png is looked at as a single letter, and reads as a page of 20; --letter N"
    ):
        through(reader, "occlusion", page, tmp_path, patch=16, stride=16)
    large = photographed(printed(["R"], 120, (300, 260), (80, 60)))  # one letter, however large, is none
    through(reader, "occlusion", large, tmp_path, patch=16, stride=16)


def test_letters_of_what_reads_no_pages_are_refused(tmp_path: Path) -> None:
    from torchvision.models import squeezenet1_0

    with pytest.raises(UsageError, match=r"applies to a run that reads pages; leave it out"):
        through(squeezenet1_0(weights=None), "filters", out=tmp_path, letter=2)
    with pytest.raises(UsageError, match=r"^letter=2: applies to a run that reads pages; leave it out\.$"):
        through("classify", "filters", out=tmp_path, data="digits", letter=2)
