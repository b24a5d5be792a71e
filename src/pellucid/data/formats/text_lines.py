# SPDX-License-Identifier: Apache-2.0
"""Text on images: a list with one line for each image, a table, a text file beside each image, or lines in JSON."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from pellucid.data.annotations.named_rows import ImageNames, head_of, table_of
from pellucid.data.annotations.reading import broken, json_fault, json_of, lines_of, shown, text_of
from pellucid.data.annotations.records import Annotated, Annotations
from pellucid.data.decoding import SUFFIXES
from pellucid.data.formats.finding import Found
from pellucid.data.formats.tables import METADATA
from pellucid.data.problems import counted, few
from pellucid.data.splitting import SPLITS, split_word
from pellucid.errors import DataError

__all__ = ["FORM", "fits", "read"]

FORM = "lines of text"

_FILES = 50  # lists and tables that are looked at
_LOOKS = 8  # text files beside images that are looked at
_LEAST = 4  # rows, from which labels that hardly repeat are texts
_LINES = 200  # lines of a list that show what it is
_ENDINGS = "|".join(sorted(suffix[1:] for suffix in SUFFIXES))
_LINE = re.compile(
    rf"\s*(?P<name>\"[^\"]+\"|[^\t,;]*?\.(?:{_ENDINGS})|[^\s,;]+)(?P<gap>\s*[,;\t]\s*|\s+)(?P<text>.*?)\s*",
    re.IGNORECASE,
)
_NUMBERS = re.compile(r"[-+]?[\d.]+(e[-+]?\d+)?(?:[\s,;:]+[-+]?[\d.]+(e[-+]?\d+)?)*[\s,;]*", re.IGNORECASE)
_PLACED = re.compile(r"\s*(?:-?[\d.]+\s*[,;\s]\s*){4,}.*")  # coordinates of a word before it
_TEXT = ("text", "transcription", "transcript", "words", "word", "line", "sentence", "caption", "ocr", "ground_truth", "gt_text", "string",
         "identity", "formula", "latex")  # fmt: skip
_CLASSES = frozenset(
    {"classes", "class_names", "names", "codes", "labelmap", "label_map", "class_dict", "label_colors"}
)
_TITLES = frozenset(
    {"image", "images", "image_name", "image_id", "img", "file", "filename", "file_name", "path", "name", "id"}
)
_FILE = re.compile(rf"\.(?:{_ENDINGS})$", re.IGNORECASE)
_JSON = re.compile(r"\s*\{\s*\"((?:[^\"\\]|\\.)*)\"\s*:\s*(?:\[\s*(?:\"|\])|\")")


@final
@dataclass(frozen=True)
class _Columns:
    image: int
    text: int
    others: tuple[str, ...]


def fits(path: Path, found: Found) -> Sequence[str]:
    """Lists and tables whose rows name images and have a text, and text files that are called like an image."""
    if not found.images or any(name.rpartition("/")[2] in METADATA for name in found.others):
        return []
    files = sorted(found.others, key=lambda name: (name.count("/"), name))
    beside = _beside(found)
    lists = [name for name in files if name.lower().endswith((".txt", ".csv", ".tsv", ".json")) and name not in beside]
    fitting = []
    names = ImageNames(found) if lists else None
    for name in lists[:_FILES]:
        if names is not None and _kind(path / name, name, names) is not None:
            fitting.append(name)
    if fitting:
        return fitting
    texts = [*beside]
    some = [texts[round(i * (len(texts) - 1) / max(1, _LOOKS - 1))] for i in range(min(_LOOKS, len(texts)))]
    lines = [[line for line in head_of(path / name).splitlines() if line.strip()] for name in dict.fromkeys(some)]
    filled = [own for own in lines if own]
    worded = sum(sum(_is_text(line) for line in own) * 2 > len(own) for own in filled)
    return texts if filled and worded * 2 > len(filled) else []


def _beside(found: Found) -> dict[str, list[str]]:
    """Text files that are called like an image in the same folder, with these images."""
    texts = {name[: -len(".txt")]: name for name in found.others if name.lower().endswith(".txt")}
    beside: dict[str, list[str]] = {}
    for image in found.images if texts else ():
        if (name := texts.get(image.rpartition(".")[0] or image)) is not None:
            beside.setdefault(name, []).append(image)
    return beside


def _is_text(line: str) -> bool:
    """Whether a line is a text rather than numbers, as of YOLO's boxes, or a word with its place."""
    return not _NUMBERS.fullmatch(line.strip()) and not _PLACED.fullmatch(line)


def _kind(file: Path, name: str, names: ImageNames) -> str | None:
    """How a file names the texts of images: "json", "table", "list", or not at all."""
    head, folder = head_of(file), name.rpartition("/")[0]
    if name.lower().endswith(".json"):
        match = _JSON.match(head)
        return "json" if match and names.of(_unescaped(match[1]), folder) is not None else None
    if _columns(file, head, names, folder) is not None:
        return "table"
    pairs = list(_pairs(head.splitlines()[:_LINES]))
    if not pairs:
        return None
    _, first, _ = pairs[0]
    titles = name.lower().endswith((".csv", ".tsv")) or first.lower() in _TITLES
    if (titles and names.of(first, folder) is None) or name.rpartition("/")[2].rpartition(".")[0].lower() in _CLASSES:
        return None
    named = [(cell, text) for _, cell, text in pairs if names.of(cell, folder) is not None]
    texts = [text for _, text in named if text]
    if 2 * len(named) < max(1, len(pairs)) or 2 * len(texts) <= len(named):
        return None
    if not any(_FILE.search(cell) for cell, _ in named) and 2 * len(named) < min(_LINES, names.count):
        return None  # numbers that some images are called by
    return (
        "list"
        if _are_texts(texts, [text for text in texts if names.of(text, folder) or _FILE.search(text)], head)
        else None
    )


def _are_texts(texts: Sequence[str], listed: Sequence[str], head: str) -> bool:
    """Whether what is written beside the names of images are texts: no classes, numbers, boxes or other files."""
    if 2 * len(listed) > len(texts) or 2 * len(set(texts)) < len(texts):
        return False
    if sum(bool(_PLACED.fullmatch(text)) for text in texts) * 2 > len(texts):
        return False
    numbers = sum(not _is_text(text) for text in texts)
    codes = '"' in head or any(re.fullmatch(r"0\d+", text) for text in texts)  # 0042 is no quantity
    return 2 * numbers <= len(texts) or codes


def _unescaped(text: str) -> str:
    try:
        return re.sub(r"\\u([0-9a-fA-F]{4})", lambda match: chr(int(match[1], 16)), text).replace("\\/", "/")
    except ValueError:
        return text


def _columns(file: Path, text: str, names: ImageNames, folder: str) -> _Columns | None:
    """The columns of images and of texts in a table whose first row has titles."""
    if not file.name.lower().endswith((".csv", ".tsv", ".txt")):
        return None
    try:
        rows = [cells for _, cells in table_of(file, "\n".join(text.splitlines()[:_LINES]), ragged=True).rows]
    except DataError:
        return None
    if len(rows) < 2:
        return None
    titles = [title.strip().lower() for title in rows[0]]
    own = next((titles.index(title) for title in _TEXT if title in titles), None)
    if own is None and "label" in titles and len(rows) > _LEAST:  # names of classes would come again
        place = titles.index("label")
        labels = [cells[place] for cells in rows[1:] if place < len(cells)]
        own = place if 2 * len(set(labels)) > len(labels) and _are_texts(labels, (), "") else None
    if own is None or len(titles) < 2:
        return None
    hits = {
        i: sum(i < len(cells) and names.of(cells[i], folder) is not None for cells in rows[1:])
        for i in range(len(titles))
        if i != own
    }
    image = max(hits, key=lambda i: hits[i])
    if 2 * hits[image] < len(rows) - 1 or hits[image] == 0 or names.of(rows[0][image], folder) is not None:
        return None
    if {"x", "xmin", "x1", "left", "bbox"} & set(titles):  # words with their places
        return None
    return _Columns(image, own, tuple(title for i, title in enumerate(rows[0]) if i not in (image, own) and title))


def _pairs(lines: Sequence[str]) -> Iterator[tuple[int, str, str]]:
    """Line, image and text of the lines of a list: `word_1.png, "text"`, `a.png<tab>text`, `a.png text`."""
    for i, line in enumerate(lines, 1):
        if not line.strip():
            continue
        match = _LINE.fullmatch(line)
        if match is None:
            yield i, line.strip().strip('"'), ""
            continue
        text = match["text"]
        if len(text) > 1 and text[0] == text[-1] == '"' and "," in match["gap"]:
            text = re.sub(r'\\(["\\])', r"\1", text[1:-1])
        yield i, match["name"].strip('"'), text


# -- reading


def read(path: Path, found: Found, evidence: Sequence[str]) -> Annotations:
    """The text of every image, lines separated by a line break."""
    beside = _beside(found)
    if all(name in beside for name in evidence):
        own = [
            Annotated(image, part=_part(image, ""), source=name, text="\n".join(_body(path / name)))
            for name in evidence
            for image in beside[name]
        ]
        return Annotations(FORM, own, notes=("Each image has a text file of its name.",), read=tuple(evidence))
    depth = min(name.count("/") for name in evidence)
    lists = [name for name in evidence if name.count("/") == depth]
    names = ImageNames(found)
    problems: list[str] = []
    notes: list[str] = []
    records: list[Annotated] = []
    whose: dict[str, str] = {}
    for name in lists:
        folder = name.rpartition("/")[0]
        kind = _kind(path / name, name, names)
        texts = _of_json(path / name) if kind == "json" else _of_rows(path / name, kind, names, folder, problems)
        notes.append(f"Texts of images are those in {name}.")
        for cell, text in texts:
            written = "/".join(filter(None, (folder, cell.replace("\\", "/"))))
            for image in names.all_of(cell, folder) or [written]:
                if image in whose:
                    raise DataError(
                        f"data={str(path)!r}: {name} has a text for {image}, and {whose[image]} has one already; keep one of them."
                    )
                whose[image] = name
                records.append(Annotated(image, part=_part(image, name), source=name, text=text))
    if left := [name for name in evidence if name not in lists]:
        verb = "is not read" if len(left) == 1 else "are not read"
        problems.append(f"{counted(len(left), 'list')} of texts in a folder below {verb} ({few(left)}).")
    return Annotations(FORM, records, problems=tuple(problems), notes=tuple(notes), read=tuple(evidence))


def _body(file: Path) -> list[str]:
    """The lines of a text file without empty ones at its end."""
    lines = [line.rstrip() for line in lines_of(file)]
    while lines and not lines[-1]:
        lines.pop()
    return lines


def _of_json(file: Path) -> Iterator[tuple[str, str]]:
    content: Any = json_of(file)
    if not isinstance(content, Mapping):
        raise json_fault(file, f"is {shown(content)}, not an object with a list of lines for each image")
    for name, lines in content.items():
        if isinstance(lines, str):
            yield name, lines
        elif isinstance(lines, list) and all(isinstance(line, str) for line in lines):
            yield name, "\n".join(lines)
        else:
            raise json_fault(file, f"has {shown(lines)} for {shown(name)}, not a list of lines", name)


def _of_rows(
    file: Path, kind: str | None, names: ImageNames, folder: str, problems: list[str]
) -> Iterator[tuple[str, str]]:
    if kind == "table":
        columns = _columns(file, head_of(file), names, folder)
        table = table_of(file)
        if columns is None:
            raise broken(file, "has no column of images with one of texts", 1)
        if columns.others:
            one = len(columns.others) == 1
            problems.append(
                f"Column{'' if one else 's'} {few(columns.others, 6)} of {file.name} {'is' if one else 'are'} not read."
            )
        for line, cells in table.rows[1:]:
            if not cells[columns.image]:
                raise broken(file, "names no image", line)
            yield cells[columns.image], cells[columns.text]
        return
    for line, cell, text in _pairs(text_of(file).splitlines()):
        if not cell:
            raise broken(file, "names no image", line)
        yield cell, text


def _part(image: str, source: str) -> str | None:
    folders = [word.lower() for word in image.split("/")[:-1] if word.lower() in SPLITS]
    word = folders[0] if folders else split_word(source.rpartition("/")[2].rpartition(".")[0])
    return None if word is None else SPLITS[word]
