# SPDX-License-Identifier: Apache-2.0
"""The written files of a run's folder, read and checked: a file that is damaged is one `Unreadable`, whatever its damage.

Keys that a file lacks because an earlier version wrote it are optional here (their names end in "?"); keys that are not
listed are left alone.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, NoReturn

from pellucid.errors import brief
from pellucid.files import json_digest
from pellucid.own.sources import digest_of

__all__ = [
    "Unreadable",
    "check_record",
    "read_columns",
    "read_history",
    "read_measures",
    "read_record",
    "self_digest",
]

_LARGEST = 1 << 28  # bytes of a text file that is still read
_SIDE = 1 << 16  # px of an image's side at most


class Unreadable(Exception):
    """A file that is not what was written; the message says why, without the file's name."""


def read_record(file: Path) -> dict[str, Any]:
    """run.json, of this format or another; only the content of this one (`check_record`) is known.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = Path(folder) / "run.json"
    ...     _ = file.write_text("[" * 100_000)
    ...     read_record(file)
    Traceback (most recent call last):
    pellucid.recorded.Unreadable: is nested too deeply

    Raises:
        Unreadable: it is no JSON, or no object.
        FileNotFoundError: it is not there.
    """
    return _object(_json(_text(file)))


def check_record(record: Mapping[str, Any]) -> None:
    """Refuse a record that lacks an entry or holds one of another type.

    >>> check_record({"format": 1, "version": "0.1.0", "status": "running away"})
    Traceback (most recent call last):
    pellucid.recorded.Unreadable: status is 'running away', not one of running, stopped, finished, failed

    Raises:
        Unreadable: the first entry that is not as it was written.
    """
    _check(record, _RECORD, "")
    for part in ("task", "model"):
        if (":" in record[part]["name"]) != ("own" in record[part]):
            raise Unreadable(f"{part}.name is {_named(record[part]['name'])}, of which nothing more is recorded")


def read_history(file: Path) -> list[dict[str, Any]]:
    """The rows of history.jsonl; [] where there is no such file.

    Raises:
        Unreadable: a line is damaged.
    """
    try:
        lines = _text(file).split("\n")
    except FileNotFoundError:
        return []
    rows = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = _object(_json(line))
            _check(row, _ROW, "")
            for name in row.keys() - _ROW.keys():
                _check(row[name], _number_or_none, name)
        except Unreadable as fault:
            raise Unreadable(f"line {number} {fault}") from fault
        rows.append(row)
    return rows


def read_measures(file: Path) -> dict[str, Any] | None:
    """metrics.json; None where there is no such file.

    Raises:
        Unreadable: it is damaged.
    """
    try:
        metrics = _object(_json(_text(file)))
    except FileNotFoundError:
        return None
    _check(metrics, _METRICS, "")
    own = metrics.get("digests")
    if own is not None and own["content"] != self_digest(metrics):
        raise Unreadable("holds other numbers than were written")
    if metrics["main"] not in metrics["model"]:
        raise Unreadable(f"has no measure {metrics['main']!r}")
    return metrics


def self_digest(metrics: Mapping[str, Any]) -> str:
    """A hash of the content of metrics.json, apart from the hash itself."""
    digests = {name: value for name, value in metrics["digests"].items() if name != "content"}
    return json_digest({**metrics, "digests": digests})


def read_columns(file: Path, owner: str) -> dict[str, Any]:
    """The arrays of records.npz whose names begin with `owner/`, without it.

    Raises:
        Unreadable: it is damaged.
        FileNotFoundError: it is not there.
    """
    import numpy as np

    try:
        with np.load(file, allow_pickle=False) as columns:
            return {name[len(owner) + 1 :]: columns[name] for name in columns.files if name.startswith(f"{owner}/")}
    except FileNotFoundError:
        raise
    except Exception as fault:  # NumPy, zipfile and zlib each have errors of their own for it
        raise Unreadable(f"cannot be read ({brief(fault)})") from fault


def _text(file: Path) -> str:
    try:
        if (size := file.stat().st_size) > _LARGEST:
            raise Unreadable(f"has {size:,} bytes, which no such file has")
        return file.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise
    except (OSError, UnicodeDecodeError) as fault:
        raise Unreadable(f"cannot be read ({fault.strerror if isinstance(fault, OSError) else fault})") from fault


def _json(text: str) -> Any:
    try:
        return json.loads(text, parse_constant=_no_constant)
    except RecursionError:
        raise Unreadable("is nested too deeply") from None
    except ValueError as fault:  # JSONDecodeError, and numbers with thousands of digits
        raise Unreadable(f"is no JSON ({brief(fault)})") from fault


def _no_constant(word: str) -> NoReturn:
    raise Unreadable(f"holds {word}, which is no JSON")


def _object(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise Unreadable(f"holds {_named(value)}, not an object")
    return value


# -- what an entry may be: a function that refuses, an object with its entries, or a list of one kind


def _check(value: Any, kind: Any, place: str) -> None:
    if isinstance(kind, Mapping):
        if not isinstance(value, dict):
            raise Unreadable(f"{place or 'it'} is {_named(value)}, not an object")
        for name, inner in kind.items():
            plain = name.removesuffix("?")
            if plain in value:
                _check(value[plain], inner, f"{place}.{plain}" if place else plain)
            elif plain == name:
                raise Unreadable(f"has no {place}.{name}" if place else f"has no {name}")
    elif isinstance(kind, list):
        if not isinstance(value, list):
            raise Unreadable(f"{place} is {_named(value)}, not a list")
        for item in value:
            _check(item, kind[0], place)
    elif (rule := kind(value)) is not None:
        raise Unreadable(f"{place} is {_named(value)}, not {rule}")


def _named(value: Any) -> str:
    if isinstance(value, (dict, list)):
        return "an object" if isinstance(value, dict) else "a list"
    shown = repr(value) if value is not None else "null"
    return shown if len(shown) <= 40 else shown[:39] + "…"


Rule = Callable[[Any], str | None]


def _text_(value: Any) -> str | None:
    return None if isinstance(value, str) else "a text"


def _whole(least: int = 0, most: int = 1 << 62) -> Rule:
    def rule(value: Any) -> str | None:
        good = isinstance(value, int) and not isinstance(value, bool) and least <= value <= most
        return None if good else f"a whole number from {least:,}" + (f" to {most:,}" if most < 1 << 62 else "")

    return rule


def _number(value: Any) -> str | None:
    good = isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < math.inf
    return None if good else "a number"


def _number_or_none(value: Any) -> str | None:
    return None if value is None else _number(value)


def _anything(value: Any) -> str | None:
    return None


def _one_of(*words: str) -> Rule:
    return lambda value: None if isinstance(value, str) and value in words else f"one of {', '.join(words)}"


def _date(value: Any) -> str | None:
    try:
        datetime.fromisoformat(value)
    except (TypeError, ValueError):
        return "a date"
    return None


def _each(kind: Any) -> Rule:
    """An object whose entries are all of a kind."""

    def rule(value: Any) -> str | None:
        if not isinstance(value, dict):
            return "an object"
        for name, item in value.items():
            _check(item, kind, str(name))
        return None

    return rule


def _or_none(kind: Any, place: str) -> Rule:
    def rule(value: Any) -> str | None:
        if value is not None:
            _check(value, kind, place)
        return None

    return rule


def _range(value: Any) -> str | None:
    pair = isinstance(value, list) and len(value) == 2 and not any(map(_number, value))
    return None if value is None or (pair and value[0] < value[1]) else "two numbers, the lower one first"


def _truth(value: Any) -> str | None:
    return None if isinstance(value, bool) else "true or false"


def _two_sides(value: Any) -> str | None:
    good = isinstance(value, list) and len(value) == 2 and not any(_whole(1, _SIDE)(side) for side in value)
    return None if good else "a height and a width in px"


def _name(value: Any) -> str | None:
    """The name of a member of a catalogue, or of a class: never that of a file, which would be run where it is given."""
    good = isinstance(value, str) and ".py" not in value and not {"/", "\\"} & {*value}
    return None if good else "the name of a class"


def _own(value: Any) -> str | None:
    """What is recorded of a class of the user's own, whose digest is that of its source."""
    _check(value, dict.fromkeys(("class", "module", "file", "how", "source", "digest", "settings"), _text_), "own")
    _check(value, {"start?": _text_, "built?": _text_, "output?": _text_, "fixed?": _truth}, "own")
    if value["digest"] != digest_of(value["source"]):
        raise Unreadable("holds a source of another digest")
    return None


_LAYOUTS = ("contiguous_format", "channels_last")
_FUNCTION = {"name": _text_, "source": _text_, "digest": _text_}
_RECORD: Mapping[str, Any] = {
    "format": _whole(),
    "version": _text_,
    "status": _one_of("running", "stopped", "finished", "failed"),
    "command": _text_,
    "task": {"name": _name, "options": _each(_anything), "own?": _own},
    "model": {
        "name": _name,
        "channels": _whole(1, _SIDE),
        "outputs": _whole(0, 1 << 24),
        "size": _two_sides,
        "options": _each(_anything),
        "own?": _own,
    },
    "data": {
        "what": _text_,
        "fingerprint": _text_,
        "classes": [_text_],
        "counts": _each(_each(_whole())),
        "images": _each(_whole()),
        "channels": _whole(1, _SIDE),
        "problems": [_text_],
        "cut?": _text_,
        "range?": _range,
        "floats?": _truth,
    },
    "recipe": {"epochs": _whole(1), "limit?": _or_none(_whole(1), "recipe.limit")},
    "processes": _whole(1),
    "seed": _whole(-(1 << 62)),
    "environment": {"precision": _text_, "device": _text_, "processor?": _text_, "instructions?": _text_},
    "choice?": {
        "how": _one_of("rule", "measured", "cached"),
        "precision": _one_of("fp32", "bf16"),
        "memory_format": _one_of(*_LAYOUTS),
        "threads": _whole(1),
        "answers?": {"memory_format": _one_of(*_LAYOUTS)},
    },
    "started": _date,
    "seconds": _number,
    "steps": _whole(),
    "step?": _whole(),
    "parameters": _whole(),
    "best": _or_none(
        {
            "step": _whole(),
            "epoch": _number,
            "measure": _text_,
            "value": _number_or_none,
            "loss?": _number_or_none,
            "threshold?": {
                "value": _number,
                "measure": _text_,
                "reached": _number_or_none,
                "images": _whole(),
                "of?": _text_,
                "why?": _text_,
            },
        },
        "best",
    ),
    "frozen": _or_none(
        {
            "tensors": _whole(),
            "before": _text_,
            "after": _anything,
            "each?": _each(_text_),
            "fixed?": _whole(),
            "trained?": _whole(),
        },
        "frozen",
    ),
    "hooks?": {"augment?": _FUNCTION, "callback?": _FUNCTION, "measures?": _each(_FUNCTION)},
    "ended?": _text_,
    "weights?": _or_none(
        {"path": _or_none(_text_, "weights.path"), "digest": _text_, "options": _each(_anything), "said": [_text_]},
        "weights",
    ),
    "failure?": _text_,
    "digests?": _each(_text_),
}

_ROW: Mapping[str, Any] = {"step": _whole(), "epoch": _number, "split": _one_of("train", "val")}

_MEASURE = {
    "value": _number_or_none,
    "low": _number_or_none,
    "high": _number_or_none,
    "unit": _text_,
    "better": _one_of("higher", "lower", "neither"),
    "title?": _text_,
}
_METRICS: Mapping[str, Any] = {
    "split": _one_of("train", "val", "test"),
    "data": _text_,
    "n": _whole(1),
    "seed": _whole(-(1 << 62)),
    "weights": _one_of("best", "last"),
    "threshold?": _or_none(_number, "threshold"),
    "views?": _or_none({"asked": [_text_], "count": _whole(1), "words": _text_}, "views"),
    "gap?": _or_none({"value": _number, "low": _number, "high": _number}, "gap"),
    "main": _text_,
    "model": _each(_MEASURE),
    "baselines": _each(_each(_MEASURE)),
    "on_same_images?": _or_none({"n": _whole(1), "model": _each(_MEASURE)}, "on_same_images"),
    "details?": _each(_anything),
    "pictures?": [{"name": _text_, "title": _text_, "words": _text_}],
    "digests?": {"weights": _text_, "data": _text_, "records": _text_, "content": _text_},
}
