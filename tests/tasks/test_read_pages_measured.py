# SPDX-License-Identifier: Apache-2.0
"""read: pages with texts: that all are measured, beside which other methods, and what is taken for what."""

from __future__ import annotations

import json
import os
import stat
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from read_pages import CLASSES, photographed, printed

import pellucid
from pellucid.data.joining import put_together
from pellucid.errors import UsageError
from pellucid.inference import evaluate
from pellucid.lenses.confusion import Confusion
from pellucid.looking.looking import look as through
from pellucid.looking.subjects import of_run
from pellucid.run import Run
from pellucid.tasks.read import baselines, metrics
from pellucid.tasks.read.preparing import prepared
from pellucid.tasks.read.varying import Varying

TEXTS = {"a.png": ["QUICK 12"], "b.png": ["FOXES", "JUMP 90"], "c.png": ["OVER"], "d.png": ["LAZY DOGS"]}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("pages") / "pages"
    written(made, TEXTS)
    return made


def written(folder: Path, texts: dict[str, list[str]], shown: dict[str, list[str]] | None = None) -> None:
    """Pages with their texts; `shown` are those of the pictures, where they are to differ."""
    folder.mkdir(parents=True)
    for name, lines in (shown or texts).items():
        (folder / name).parent.mkdir(exist_ok=True)
        page = photographed(printed(lines, 30, (60 + 70 * len(lines), 320)), noise=0.004)
        Image.fromarray(page).save(folder / name)
    (folder / "truth.json").write_text(json.dumps(texts))


# -- which pages are measured


def test_pages_that_come_without_splits_are_all_measured_and_that_is_said(
    reader: Run, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from pellucid.cli.cli import main

    assert len(pellucid.data.open(folder)["test"]) < len(TEXTS)  # opened alone they are split as any data are
    data = reader.data(folder)
    assert {part: len(split) for part, split in data.splits.items()} == {"train": 0, "val": 0, "test": 4}
    assert [name.rpartition("/")[2] for name in data["test"].names] == sorted(TEXTS)
    for place, lines in enumerate(TEXTS.values()):  # each has still its own text, and its own picture
        assert data["test"].targets["text"][[place]].lines == ["\n".join(lines)]  # type: ignore[attr-defined]
        own = np.asarray(Image.open(folder / sorted(TEXTS)[place]))
        assert np.array_equal(data["test"].images.read(place, 1)[0], own)
    assert main(["evaluate", str(reader.path), "--data", str(folder)]) == 0
    out = capsys.readouterr().out
    assert "test split, n = 4" in out
    assert "All 4 pages are measured: no letter is learned from pages" in out


def test_pages_of_two_splits_stay_apart(reader: Run, tmp_path: Path) -> None:
    written(
        tmp_path / "p", {"train/a.png": ["ONE"], "train/b.png": ["TWO"], "train/c.png": ["SIX"], "test/d.png": ["TEN"]}
    )
    data = reader.data(tmp_path / "p")
    assert [name.rpartition("/")[2] for name in data["test"].names] == ["d.png"]
    assert not any("are measured" in note for note in data.notes)


def test_one_folder_named_like_a_split_is_no_split(reader: Run, tmp_path: Path) -> None:
    written(tmp_path / "p", {"test/a.png": ["ONE"], "test/b.png": ["TWO"], "test/c.png": ["SIX"]})
    assert len(reader.data(tmp_path / "p")["test"]) == 3


def test_splits_are_put_together_in_the_order_of_names() -> None:
    whole = pellucid.data.open("digits")
    parts = [whole["test"], whole["train"]]
    joined = put_together(parts)
    by_name = {name: (split, k) for split in parts for k, name in enumerate(split.names)}
    for k in (0, 7, 1000):
        split, place = by_name[joined.names[k]]
        assert np.array_equal(joined.images.read(k, 1), split.images.read(place, 1))
        assert joined.targets["label"][[k]].index == split.targets["label"][[place]].index  # type: ignore[attr-defined]
    few = joined.select([7, 3])
    assert few.images.digests == [joined.images.digests[7], joined.images.digests[3]]
    assert few.images.sizes.tolist() == [[8, 8]] * 2


# -- other methods


def test_nearest_neighbours_say_what_a_plain_loop_finds(reader: Run) -> None:
    train = reader.data()["train"].select(range(0, 700, 5))
    crops = torch.from_numpy(np.stack([photographed(printed([one], 24, (56, 56), (16, 14))) for one in "RT5"]))
    crops = crops[:, None].float() / 255
    look = baselines.nearest(train, 36, Varying(0.3, 0.9, 10, 0.15, 0.8, 0.15, 0.0), 0)
    found = look(crops)
    labels = train.targets["label"].index.tolist()  # type: ignore[attr-defined]
    known = [
        prepared(torch.from_numpy(train.images.read(k, 1))[None].float() / 255, (24, 24)) for k in range(len(train))
    ]
    for crop, shares in zip(crops, found, strict=True):
        own = prepared(crop[None], (24, 24))
        away = [float(((own - (one * 255).round() / 255) ** 2).sum()) for one in known]
        votes = Counter(labels[k] for k in sorted(range(len(away)), key=away.__getitem__)[:5])
        assert shares.tolist() == pytest.approx([votes.get(k, 0) / 5 for k in range(37)])


def test_neighbours_know_pictures_of_no_letter(reader: Run) -> None:
    train = reader.data()["train"].select(range(400))
    strange = Varying(0.3, 0.9, 10, 0.15, 0.8, 0.15, 0.3)
    look = baselines.nearest(train, 36, strange, 0)
    two = np.minimum(photographed(printed(["ME"], 20, (56, 56), (4, 18))), 255)
    shares = look(torch.from_numpy(two)[None, None].float() / 255)
    assert float(shares[0, -1]) > 0.3


def test_neighbours_stand_beside_the_model_on_the_same_pages(reader: Run, folder: Path) -> None:
    found = evaluate(reader, folder)
    assert found["n"] == 4 and found["main"] == "cer"
    assert found["model"]["cer"]["value"] <= 0.1
    own = found["baselines"]["5 nearest neighbours"]
    assert own.keys() == found["model"].keys()
    assert 0 <= own["cer"]["value"] < 0.6 and own["wer"]["high"] >= own["wer"]["value"]


def test_where_the_letters_are_gone_that_is_said_and_the_pages_are_measured(
    reader: Run, folder: Path, tmp_path: Path
) -> None:
    import shutil

    shutil.copytree(reader.path, tmp_path / "run")
    info = json.loads((tmp_path / "run" / "run.json").read_text())
    info["data"]["what"] = str(tmp_path / "gone")
    (tmp_path / "run" / "run.json").write_text(json.dumps(info))
    found = evaluate(tmp_path / "run", folder)
    assert found["n"] == 4 and not any("neighbours" in name for name in found["baselines"])
    assert any("the run's own training letters are not at hand" in note for note in found["notes"])


def program(folder: Path, lines: Sequence[str]) -> None:
    """A stand-in for tesseract."""
    file = folder / "tesseract"
    file.write_text("\n".join(["#!/bin/sh", *lines, ""]))
    file.chmod(file.stat().st_mode | stat.S_IXUSR)


def pages_of(folder: Path) -> tuple[dict[str, metrics.Records], list[str]]:
    split = pellucid.data.open(folder)
    whole = put_together([*split.splits.values()])
    return baselines.on_pages(None, whole, CLASSES, Varying(0, 0, 0, 0, 0, 0, 0), 0)


def test_tesseract_is_a_row_where_it_is_installed(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = 'if [ "$1" = --version ]; then echo "tesseract 5.3.0"; exit; fi'
    program(tmp_path, [answer, 'cat > "$0.png"', 'echo "Quick 12, FOXES"'])
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    found, said = pages_of(folder)
    assert list(found) == ["Tesseract 5.3.0"] and len(said) == 1  # of neighbours, for which there are no letters here
    records = found["Tesseract 5.3.0"]
    # by hand: "QUICK 12 FOXES" where the truth is "QUICK 12", "FOXES JUMP 90", "OVER" and "LAZY DOGS"
    assert (records["edits"][0], records["word_edits"][0]) == (6, 1)
    assert records["words"].tolist() == [2, 3, 1, 2] and (records["read"] == 12).all()
    with Image.open(tmp_path / "tesseract.png") as last:  # the page that it was given
        assert np.array_equal(np.asarray(last), np.asarray(Image.open(folder / "d.png")))


def test_without_tesseract_no_row_but_a_sentence(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    found, said = pages_of(folder)
    assert not found and any("Tesseract is not measured: there is no program `tesseract` here" in one for one in said)


def test_a_tesseract_that_fails_is_no_row_of_errors(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program(
        tmp_path, ['if [ "$1" = --version ]; then echo "tesseract 4"; exit; fi', "echo no data files >&2", "exit 1"]
    )
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    found, said = pages_of(folder)
    assert not found and "Tesseract 4 is not measured: it ended with an error (no data files)." in said


# -- measures


def test_what_was_taken_for_what_is_counted_along_the_edits() -> None:
    records = metrics.columns_of_texts(["T0 DO LIT", ""], ["TO DO LIST", "A"], CLASSES)
    pairs = [(CLASSES[a] if a >= 0 else "", CLASSES[b] if b >= 0 else "") for a, b in records["confused"][0].tolist()]
    assert pairs == [("T", "T"), ("O", "0"), ("D", "D"), ("O", "O"), ("L", "L"), ("I", "I"), ("S", ""), ("T", "T")]
    assert records["place"][0].tolist() == [0, 1, 2, 3, 4, 5, -1, 6]  # among the letters that were read
    assert records["confused"][1].tolist() == [[CLASSES.index("A"), -1]]
    details = metrics.details(records, CLASSES)
    assert (details["letters"], details["found"], details["missed"], details["mistaken"]) == (9, 7, 2, 1)
    assert {"true": "O", "read": "0", "n": 1} in details["mistakes"]


def test_every_measure_of_pages_has_an_interval(reader: Run, folder: Path) -> None:
    found = evaluate(reader, folder, baselines=False)["model"]
    assert list(found) == ["cer", "wer", "found", "missed", "mistaken", "false", "misplaced"]
    for name, measure in found.items():
        assert measure["low"] <= measure["value"] <= measure["high"], name
    assert found["found"]["value"] + found["missed"]["value"] == pytest.approx(1)


def test_a_class_of_a_name_longer_than_a_character_is_one_letter() -> None:
    from pellucid.tasks.read.answers import Letter, Page

    shares = np.array([0.1, 0.9], np.float32)
    page = Page((Letter((0, 0, 9, 9), 1, shares, 0, 0, "evidence"), Letter((9, 0, 18, 9), 0, shares, 0, 0, "evidence")))
    records = metrics.columns([page], ["A"], ["A", "blot"])
    assert records["read"].tolist() == [2] and records["false"].tolist() == [1] and records["mistaken"].tolist() == [0]


# -- confusion


def test_look_alikes_of_pages_are_named_with_their_letters(reader: Run, tmp_path: Path) -> None:
    """Texts that call each S a Z and each C a Q: the reader is right, and yet these are its confusions."""
    shown = {f"{k}.png": ["SICK SCOUT", "SACKS"] for k in range(3)}
    wrong = {name: ["ZIQK ZQOUT", "SAQKS"] for name in shown}
    written(tmp_path / "p", wrong, shown)
    view = through(reader, "confusion", data=tmp_path / "p", out=tmp_path / "o")
    matrix = view["confusion"]
    assert matrix.shape == (37, 37)
    s, z, c, q = (CLASSES.index(one) for one in "SZCQ")
    assert matrix[z, s] >= 5 and matrix[q, c] >= 8 and matrix[s, s] >= 5
    assert {tuple(pair) for pair in view["pair"][:2].tolist()} == {(q, c), (z, s)}
    assert "letters" in view.words and "Q and C" in view.words and "Z and S" in view.words
    drawn = [axes for axes in view.figure.findobj() if type(axes).__name__ == "AxesImage"]
    assert len(drawn) > 10  # the matrix, and the letters themselves beside it
    letter = np.asarray(drawn[-1].get_array())
    assert letter.shape == (32, 32) and 0.05 < float(letter.mean()) < 0.6


def test_missed_and_invented_letters_are_none(reader: Run, tmp_path: Path) -> None:
    shown = {"a.png": ["FIVE DOZEN"], "b.png": ["JUGS"], "c.png": ["MY BOX"]}
    written(tmp_path / "p", {**shown, "a.png": ["FIVE DOZEN PLUM"], "b.png": ["JUG"]}, shown)
    view = of_run(reader, data=tmp_path / "p").look(Confusion())
    assert view["confusion"][:-1, -1].sum() >= 4  # P, L, U and M, which no page shows
    assert view["confusion"][-1, CLASSES.index("S")] == 1
    assert "and the last column the missed letters" in view.words


def test_confusion_of_test_letters_names_the_pairs_both_ways(reader: Run) -> None:
    evaluate(reader, baselines=False)
    view = of_run(reader).look(Confusion())
    records = reader.records()
    both: Counter[frozenset[int]] = Counter()
    for true, predicted in zip(records["true"].tolist(), records["predicted"].tolist(), strict=True):
        if true != predicted:
            both[frozenset((true, predicted))] += 1
    counts = view["pair_count"].sum(1).tolist()
    assert counts == [n for _, n in both.most_common()][: len(counts)]
    (first, n), *_ = both.most_common(1)
    assert n > 1 and all(CLASSES[k] in view.words for k in first)
    shown = [axes for axes in view.figure.findobj() if type(axes).__name__ == "AxesImage"]
    assert len(shown) > len(counts)


def test_whole_pages_are_no_letters_for_a_lens(reader: Run, folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"are whole pages, and this lens is of a single letter; give --letter N"):
        through(reader, "occlusion", data=folder, out=tmp_path)
    view = through(reader, "occlusion", data=folder, out=tmp_path, letter=3, patch=16, stride=16)
    assert len(view["score"]) == 4  # the third letter of each page
