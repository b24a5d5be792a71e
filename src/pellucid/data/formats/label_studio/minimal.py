# SPDX-License-Identifier: Apache-2.0
"""JSON-MIN, Label Studio's short export: one row for each annotation, its regions and answers as columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["is_minimal", "text_columns", "unfolded"]

_AFTER = frozenset({"annotator", "annotation_id", "created_at", "updated_at", "lead_time", "history", "agreement"})
_GEOMETRY = {"rle": "brush", "points": "polygon", "radiusX": "ellipse", "height": "rectangle", "x": "keypoint"}
_ENOUGH = 10  # rows, below which values may all differ by chance
_TEXTS = ("text", "transcription", "caption")  # parts of the names that columns of texts have


def is_minimal(task: Any) -> bool:
    """Whether an entry is a row of JSON-MIN rather than a task with its annotations."""
    return isinstance(task, Mapping) and "annotations" not in task and "completions" not in task and "data" not in task


def text_columns(rows: Sequence[Any]) -> frozenset[str]:
    """The columns that hold texts rather than choices, which JSON-MIN writes alike: by their names, or as hardly any two are equal.

    >>> rows = [{"id": i, "seen": f"line {i}", "kind": "cat", "annotator": 1} for i in range(10)]
    >>> sorted(text_columns(rows))
    ['seen']
    """
    values: dict[str, list[str]] = {}
    for row in rows:
        if is_minimal(row):
            for key, value in _columns(row).items():
                if isinstance(value, str):
                    values.setdefault(key, []).append(value)
    return frozenset(
        key
        for key, own in values.items()
        if any(part in key.lower() for part in _TEXTS) or (len(own) >= _ENOUGH and len(set(own)) > 0.9 * len(own))
    )


def unfolded(row: Mapping[str, Any], texts: frozenset[str]) -> dict[str, Any]:
    """A row as a task with one annotation.

    Args:
        row: an entry of the file.
        texts: the columns that hold texts.
    """
    results: list[Any] = []
    columns = _columns(row)
    for column, value in columns.items():
        entries = value if isinstance(value, list) else [value]
        kind = "textarea" if column in texts else "choices"
        own = {"textarea": "text", "choices": "choices"}[kind]
        if entries and all(isinstance(one, str) for one in entries):
            # texts of several regions are listed beside them, and nothing says which is whose
            results.append({"type": kind, "value": {own: entries}})
            continue
        for one in entries:
            if not isinstance(one, Mapping):
                continue
            if "choices" in one or "text" in one:
                results.append({**one, "type": "choices" if "choices" in one else "textarea", "value": one})
            else:
                shape = next((title for key, title in _GEOMETRY.items() if key in one), "labels")
                results.append({**one, "type": shape, "value": one})
    data = {key: value for key, value in row.items() if key not in columns and key not in _AFTER}
    times = {key: row[key] for key in ("created_at", "updated_at") if key in row}
    return {
        "id": row.get("id"),
        "data": data,
        "annotations": [{**times, "id": row.get("annotation_id"), "result": results}],
    }


def _columns(row: Mapping[str, Any]) -> dict[str, Any]:
    """What was answered: the columns after the number of the task, and before who answered it."""
    keys = list(row)
    start = keys.index("id") + 1 if "id" in row else 0
    return {key: row[key] for key in keys[start:] if key not in _AFTER}


def _has_place(value: Any) -> bool:
    return isinstance(value, Mapping) and not _GEOMETRY.keys().isdisjoint(value)
