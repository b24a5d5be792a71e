# SPDX-License-Identifier: Apache-2.0
"""What a YOLO data set says of itself: the names of its classes, and the images of each split."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import yaml

from pellucid.data.annotations.reading import Fault, broken, lines_of, shown, text_of
from pellucid.data.formats.finding import Found
from pellucid.data.problems import few
from pellucid.data.splitting import SPLITS
from pellucid.errors import DataError

__all__ = ["Config", "config_of", "configs", "name_lists"]

_HEAD = 1 << 18  # bytes of a file of settings that are looked at
_NAMES = re.compile(rb"""(?m)(?:^|[{,])\s*["']?(?:names|nc)["']?\s*:""")
_SPLITS = re.compile(rb"""(?m)(?:^|[{,])\s*["']?(?:train|val|valid|test|kpt_shape)["']?\s*:""")
_MODEL = re.compile(rb"(?m)^(?:backbone|head)\s*:")  # settings of a network, which have nc too
_TAGS = frozenset({"str", "int", "float", "bool", "null", "timestamp", "seq", "map", "merge", "value"})
_USUAL = frozenset({"data.yaml", "data.yml", "dataset.yaml", "dataset.yml"})
_DEEP = 50  # brackets
_DEPTH = 2  # folders below the top in which settings are looked for


@final
@dataclass(frozen=True)
class Config:
    """The settings of a data set."""

    source: str = ""  # the file, relative to the dataset's folder; "" where there is none
    names: Mapping[int, str] | None = None  # of the classes; None where nothing names them
    folder: str = ""  # that the splits' images are relative to, as written
    parts: Mapping[str, Sequence[str]] | None = None  # folders and lists of each split's images, as written
    points: tuple[int, int] | None = None  # the number of keypoints, and of the values of each
    mirror: tuple[int, ...] = ()
    point_names: tuple[str, ...] = ()
    note: str = ""


def configs(path: Path, found: Found) -> tuple[list[str], list[str]]:
    """The settings of data sets: YAML files that say splits, and those that only name classes; and Darknet's obj.data."""
    whole, names = [], []
    for name in found.others:
        title = name.rpartition("/")[2].lower()
        if name.count("/") > _DEPTH:
            continue
        if title == "obj.data":
            whole.append(name)
        if not title.endswith((".yaml", ".yml")):
            continue
        try:
            with (path / name).open("rb") as stream:
                head = stream.read(_HEAD)
        except OSError:
            continue
        if title in _USUAL or (_NAMES.search(head) and _SPLITS.search(head) and not _MODEL.search(head)):
            whole.append(name)
        elif _NAMES.search(head) and not _MODEL.search(head):
            names.append(name)
    return whole, names


def name_lists(found: Found) -> list[str]:
    """Text files that name a class a line."""
    titles = {name: name.rpartition("/")[2].lower() for name in found.others if name.count("/") <= _DEPTH + 1}
    return [
        name
        for name, title in titles.items()
        if title in {"classes.txt", "_darknet.labels"} or title.endswith(".names")
    ]


def config_of(path: Path, source: str, lists: Sequence[str] = ()) -> Config:
    """The settings in a file, or without one, what lists of names say.

    Args:
        path: the dataset's folder.
        source: a YAML file or Darknet's obj.data, relative to it; "" for none.
        lists: text files that name a class a line.

    Raises:
        DataError: the file is broken, or says what cannot be; two lists differ.
    """
    names = _listed(path, lists)
    if not source:
        return Config(names=names)
    settings = _darknet(path / source) if source.lower().endswith("obj.data") else _yaml(path / source)
    try:
        named, note = _names(settings, lambda: names)
        points = _shape(settings)
        mirror = () if points is None else _mirror(settings, points[0])
        parts = {
            part: _places(settings[key], key)
            for key, part in SPLITS.items()
            if settings.get(key) not in (None, "", [], "~", "null")
        }
        folder = settings.get("path") or ""
        if not isinstance(folder, str):
            raise Fault(f"path is {shown(folder)}, not a folder's name")
    except Fault as fault:
        key = re.match(r"\w*", str(fault))
        raise broken(path / source, str(fault), _line(path / source, key[0] if key else "")) from fault
    return Config(source, named, folder, parts or None, points, mirror, _point_names(settings, points), note)


def _line(file: Path, key: str) -> int | None:
    """The line of a key at the top of a YAML file."""
    found = re.search(rf"""(?m)^["']?{re.escape(key)}["']?\s*[:=]""", text := text_of(file)) if key else None
    return text.count("\n", 0, found.start()) + 1 if found else None


# -- files


def _yaml(file: Path) -> dict[str, Any]:
    """The settings in a YAML file, all values as texts: a class may be called no, 007 or 2024-01-01."""
    text = text_of(file)
    if (line := _too_deep(text)) is not None:  # the parser would take minutes
        raise broken(file, "is nested too deeply", line)
    try:
        if alias := next((event for event in yaml.parse(text) if isinstance(event, yaml.AliasEvent)), None):
            # by which a few lines may stand for gigabytes
            raise broken(
                file, "has an alias, which is not read,", alias.start_mark.line + 1, "write out what it stands for"
            )
        settings = _plain(file, yaml.compose(text, yaml.SafeLoader))
    except yaml.MarkedYAMLError as fault:
        mark = fault.problem_mark or fault.context_mark
        line = None if mark is None else mark.line + 1
        raise broken(file, f"is no YAML ({_brief(fault.problem or fault.context)})", line) from fault
    except yaml.reader.ReaderError as fault:
        line = text.count("\n", 0, fault.position) + 1
        raise broken(file, f"is no YAML ({_brief(fault.reason)})", line) from fault
    except RecursionError as fault:
        raise broken(file, "is nested too deeply") from fault
    if not isinstance(settings, dict):
        raise broken(file, "has no names of classes", None, "write names: with a list of them")
    return settings


def _too_deep(text: str) -> int | None:
    """The line on which more brackets are open than any settings need."""
    depth = 0
    for sign in re.finditer(r"[\[\]{}]", text):
        depth += 1 if sign[0] in "[{" else -1
        if depth > _DEEP:
            return text.count("\n", 0, sign.start()) + 1
    return None


def _plain(file: Path, node: Any) -> Any:
    """A node of YAML as text, list or mapping of texts."""
    if node is None:
        return None
    kind = node.tag.removeprefix("tag:yaml.org,2002:")
    line = node.start_mark.line + 1
    if kind not in _TAGS:
        raise broken(file, f"has the tag {shown(kind)}, which is not read,", line, "remove it")
    if isinstance(node, yaml.ScalarNode):
        return node.value
    if isinstance(node, yaml.SequenceNode):
        return [_plain(file, one) for one in node.value]
    found: dict[str, Any] = {}
    for key, value in node.value:
        if not isinstance(key, yaml.ScalarNode):
            raise broken(file, "has a key that is no word", line)
        if key.value in found:
            raise broken(file, f"has the key {shown(key.value)} twice", key.start_mark.line + 1, "keep one")
        found[key.value] = _plain(file, value)
    return found


def _brief(said: object) -> str:
    return " ".join(str(said).split())[:120]


def _darknet(file: Path) -> dict[str, Any]:
    """Lines as `key = value`; names is a file of names."""
    pairs = (line.partition("=") for line in lines_of(file) if "=" in line)
    settings = {key.strip().lower(): value.strip() for key, _, value in pairs}
    return {key: value for key, value in settings.items() if key in {"train", "valid", "test"}}


def _listed(path: Path, lists: Sequence[str]) -> dict[int, str] | None:
    """The names in the lists, which must agree; None without a list."""
    found: dict[str, list[str]] = {}
    for name in lists:
        lines = [line.strip() for line in lines_of(path / name)]
        while lines and not lines[-1]:
            lines.pop()
        if lines:
            found[name] = lines
    if not found:
        return None
    first = next(iter(found))
    if other := next((name for name, lines in found.items() if lines != found[first]), None):
        raise DataError(f"data={str(path)!r}: {first} and {other} name different classes; keep one of them.")
    return _unique({i: line or str(i) for i, line in enumerate(found[first])})


# -- values


def _names(
    settings: Mapping[str, Any], otherwise: Callable[[], dict[int, str] | None]
) -> tuple[dict[int, str] | None, str]:
    """The names by number, and a note."""
    names, nc = settings.get("names"), settings.get("nc")
    count = None if nc in (None, "") else _whole(nc, "nc")
    if names in (None, "", [], {}):
        if (listed := otherwise()) is not None:
            return listed, ""
        if count is None:
            return None, ""
        return {i: str(i) for i in range(count)}, "No file names the classes: their numbers are their names."
    if isinstance(names, list):
        titles = {i: _title(title, i) for i, title in enumerate(names)}
    elif isinstance(names, dict):
        titles = {_whole(key, "names has a key that"): _title(title, key) for key, title in names.items()}
    else:
        raise Fault(f"names is {shown(names)}, not a list of names")
    if count is not None and count != len(titles) and (isinstance(names, list) or count != max(titles) + 1):
        raise Fault(f"nc is {count}, and names has {len(titles)}")
    return _unique(dict(sorted(titles.items()))), ""


def _whole(value: Any, title: str) -> int:
    if not isinstance(value, str) or not re.fullmatch(r"\d{1,6}", value.strip(), re.ASCII):
        raise Fault(f"{title} is {shown(value)}, not a whole number")
    return int(value)


def _title(value: Any, number: object) -> str:
    if not isinstance(value, str) or not value.strip():
        raise Fault(f"names has {shown(value)} for the class {number}, not a name")
    return value.strip()


def _unique(names: dict[int, str]) -> dict[int, str]:
    """Names of which no two are the same: as those of gaps in COCO's numbers, they would become one class."""
    count = Counter(names.values())
    return {number: title if count[title] == 1 else f"{title} ({number})" for number, title in names.items()}


def _places(value: Any, key: str) -> list[str]:
    places = value if isinstance(value, list) else [value]
    if strange := [place for place in places if not isinstance(place, str) or not place.strip() or "\0" in place]:
        raise Fault(f"{key} is {shown(strange[0])}, not the name of a folder or a list of images")
    return [place.strip() for place in places]


def _shape(settings: Mapping[str, Any]) -> tuple[int, int] | None:
    value = settings.get("kpt_shape")
    if value in (None, ""):
        return None
    if not isinstance(value, list) or len(value) != 2:
        raise Fault(f"kpt_shape is {shown(value)}, not the number of keypoints and 2 or 3")
    count, each = (_whole(one, "kpt_shape has what") for one in value)
    if each not in (2, 3) or not count:
        raise Fault(f"kpt_shape is {shown(value)}, not the number of keypoints and 2 or 3")
    return count, each


def _mirror(settings: Mapping[str, Any], count: int) -> tuple[int, ...]:
    """The keypoint that each becomes in a mirror, by flip_idx."""
    value = settings.get("flip_idx")
    if value in (None, "", []):
        return ()
    if not isinstance(value, list):
        raise Fault(f"flip_idx is {shown(value)}, not a list of numbers")
    mirror = tuple(_whole(one, "flip_idx has what") for one in value)
    if sorted(mirror) != list(range(count)) or any(mirror[mirror[i]] != i for i in range(count)):
        raise Fault(f"flip_idx is {few([str(i) for i in mirror], 8)}, not an exchange of {count} keypoints in pairs")
    return mirror


def _point_names(settings: Mapping[str, Any], points: tuple[int, int] | None) -> tuple[str, ...]:
    """The names of the keypoints, which some files give for each class; () unless there is one for each."""
    value = settings.get("kpt_names")
    if isinstance(value, dict) and value:
        value = next(iter(value.values()))
    if points is None or not isinstance(value, list) or len(value) != points[0]:
        return ()
    return tuple(value) if all(isinstance(one, str) for one in value) else ()
