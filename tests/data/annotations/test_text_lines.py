# SPDX-License-Identifier: Apache-2.0
"""Text on images: lists, tables, files beside the images, JSON; and what is no text."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from test_mask_pairs import made, photo, read, refused, said

from pellucid import data
from pellucid.data.dataset import Dataset
from pellucid.data.formats import text_lines
from pellucid.data.formats.finding import walk
from pellucid.data.targets import Text, target_of

TRUTH = {
    "word_0.png": "Tiredness kills A short break", "word_1.png": 'JOINT, "two"', "word_2.png": "지단", "word_3.png": "a",
    "word_4.png": "12",
    "word_5.png": "two  spaces", "word_6.png": "x = 1.5", "word_7.png": "the end",
}  # fmt: skip


def photos(top: Path, prefix: str = "") -> None:
    for name in TRUTH:
        photo(top / f"{prefix}{name}", (8, 20))


def texts(found: Dataset) -> dict[str, str]:
    """The text of each image by its bare name."""
    return {
        Path(name).name: text
        for split in found.splits.values()
        if len(split)
        for name, text in zip(split.names, target_of(split.targets, "text", Text).lines, strict=True)
    }


def quoted(text: str) -> str:
    return '"' + text.replace('"', '\\"') + '"'


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("gt.txt", "\n".join(f"{name}, {quoted(text)}" for name, text in TRUTH.items())),
        (
            "gt.txt",
            "\r\n".join(f"\ufeff{name}, {quoted(text)}"[i > 0 :] for i, (name, text) in enumerate(TRUTH.items())),
        ),
        ("labels.txt", "\n".join(f"{name}\t{text}" for name, text in TRUTH.items())),
        ("labels.txt", "\n".join(f"{name} {text}" for name, text in TRUTH.items())),
        ("labels.txt", "\n".join(f"images/{name} {text}" for name, text in TRUTH.items())),
        (
            "labels.tsv",
            "file\ttext\n" + "\n".join(f"{name}\t{text}" for name, text in TRUTH.items() if '"' not in text),
        ),
        ("words.csv", "FILENAME,IDENTITY\n" + "\n".join(f'{n},"{t}"' for n, t in TRUTH.items() if '"' not in t)),
        ("captcha.csv", "image,label\n" + "\n".join(f"{n},{t}" for n, t in TRUTH.items() if '"' not in t)),
        ("truth.json", json.dumps({name: text.split("\n") for name, text in TRUTH.items()}, ensure_ascii=False)),
        ("truth.json", json.dumps(TRUTH)),
    ],
)
def test_lists_and_tables_give_the_text_of_each_image(tmp_path: Path, name: str, content: str) -> None:
    photos(tmp_path, "images/" if "images/" in content else "")
    (tmp_path / name).write_text(content)
    found = data.open(tmp_path)
    expected = {key: text for key, text in TRUTH.items() if '"' not in text or key in texts(found)}
    assert texts(found) == expected and len(expected) >= 7
    assert f"Texts of images are those in {name}." in found.notes
    assert f"{name}" not in " ".join(found.problems)


def test_a_text_file_beside_each_image_holds_its_lines(tmp_path: Path) -> None:
    photos(tmp_path)
    for name, text in TRUTH.items():
        (tmp_path / name).with_suffix(".txt").write_text(f"{text}\nsecond line\n\n")
    (tmp_path / "word_3.txt").write_text("")
    photo(tmp_path / "bare.png", (8, 20))
    found = data.open(tmp_path)
    assert texts(found) == {
        name: f"{text}\nsecond line" if name != "word_3.png" else "" for name, text in TRUTH.items()
    }
    assert "1 image has no annotation and is left out (bare.png)." in found.problems


def test_folders_of_splits_have_lists_of_their_own(tmp_path: Path) -> None:
    names = [*TRUTH]
    for part, own in {"train": names[:4], "val": names[4:6], "test": names[6:]}.items():
        for name in own:
            photo(tmp_path / part / name, (8, 20))
        (tmp_path / part / "labels.txt").write_text("\n".join(f"{name}\t{TRUTH[name]}" for name in own))
    found = data.open(tmp_path)
    assert texts(found) == TRUTH
    assert [len(split) for split in found.splits.values()] == [4, 2, 2]


def test_names_without_image_are_named(tmp_path: Path) -> None:
    photos(tmp_path)
    (tmp_path / "gt.txt").write_text("\n".join(f"{name}\t{text}" for name, text in [*TRUTH.items(), ("gone.png", "x")]))
    assert "1 annotation has no image and is dropped (gone.png)." in data.open(tmp_path).problems


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (
            '{"word_0.png": ["a"],\n "word_1.png": 3}',
            "has 3 for 'word_1.png', not a list of lines in line 2; correct the file.",
        ),
        ('{"word_0.png": ["a"],\n "word_1.png": ["b", null]}', "not a list of lines in line 2;"),
        ('{"word_0.png": ["a"],\n', "truth.json': is no JSON ("),
    ],
)
def test_broken_json_is_named_with_its_line(tmp_path: Path, content: str, sentence: str) -> None:
    photos(tmp_path)
    (tmp_path / "truth.json").write_text(content)
    assert sentence in refused(tmp_path)


def test_an_image_with_two_texts_is_refused(tmp_path: Path) -> None:
    photos(tmp_path)
    for name in ("gt.txt", "labels.txt"):
        (tmp_path / name).write_text("\n".join(f"{name}\t{text}" for name, text in TRUTH.items()))
    assert "labels.txt has a text for word_0.png, and gt.txt has one already; keep one of them." in refused(tmp_path)


# -- what is no text


@pytest.mark.parametrize(
    "content",
    [
        "\n".join(f"{name} {i % 3}" for i, name in enumerate(TRUTH)),
        "\n".join(f"{name} {i}" for i, name in enumerate(TRUTH)),
        "\n".join(f"{name}\t{['cat', 'dog'][i % 2]}" for i, name in enumerate(TRUTH)),
        "\n".join(f"{name} 0.{i}5" for i, name in enumerate(TRUTH)),
        "\n".join(TRUTH),
        "\n".join(f"{name} 1,2,{i},9,0 4,5,6,7,1" for i, name in enumerate(TRUTH)),
        "\n".join(f"{name} {name.replace('.', '_mask.')}" for name in TRUTH),
        "\n".join(f"{name} 1 2 {i} 9 cat" for i, name in enumerate(TRUTH)),
        "image,age\n" + "\n".join(f"{name},{i}" for i, name in enumerate(TRUTH)),
        "image,breed,place\n" + "\n".join(f"{name},breed {i},x" for i, name in enumerate(TRUTH)),
    ],
    ids=["classes", "numbers", "names of classes", "measures", "names", "boxes", "files", "objects", "ages", "columns"],
)
@pytest.mark.parametrize("name", ["labels.txt", "train.csv"])
def test_lists_of_classes_numbers_and_boxes_are_no_text(tmp_path: Path, content: str, name: str) -> None:
    photos(tmp_path)
    if name == "train.csv" and " 0.05" in content:
        content = content.replace(" ", ",")
    (tmp_path / name).write_text(content)
    assert "text" not in data.open(tmp_path)["train"].targets


@pytest.mark.parametrize("line", ["0 0.5 0.5 0.1 0.2", "1 0.1 0.2 0.3 0.4 0.5 0.6", "10,20,30,20,30,40,10,40,word", ""])
def test_boxes_beside_images_are_no_text(tmp_path: Path, line: str) -> None:
    photos(tmp_path)
    for name in TRUTH:
        (tmp_path / name).with_suffix(".txt").write_text(f"{line}\n{line}\n")
    assert not text_lines.fits(tmp_path, walk(tmp_path))


def test_classes_of_masks_whose_images_are_called_by_numbers_are_no_text(tmp_path: Path) -> None:
    made(tmp_path, "images/{}.jpg", "masks/{}.png")
    for folder in ("images", "masks"):
        for file in (tmp_path / folder).iterdir():
            file.rename(file.with_name(file.name[1:]))
    for name in ("classes.txt", "labels.txt"):
        (tmp_path / name).write_text("0 road\n1 car\n2 sky")
        assert len(read(data.open(tmp_path))) == 6
        (tmp_path / name).unlink()


def test_the_two_photographs_of_text_open(real: Callable[[str], Path]) -> None:
    found = data.open(real("text"))
    assert texts(found)["03_haiku.jpg"] == "HAIKUS ARE EASY\nBUT SOMETIMES THEY DONT MAKE SENSE\nREFRIGERATOR"
    assert texts(found)["01_list.jpg"].count("\n") == 7
    assert "left out" not in said(found)
