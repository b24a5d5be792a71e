# SPDX-License-Identifier: Apache-2.0
"""Rows of answers as tables of typed columns, and types that the tables of all shards share.

A shard knows only the types of what it has: without a detection, nobody knows what one consists of. So its types are joined with those
of the others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from pellucid._png import png
from pellucid.files import plain

__all__ = ["as_table", "cast", "joined_schema"]

_FIRST = ("source", "name", "error")
_BASIS = pa.schema([(name, pa.string()) for name in _FIRST])


def as_table(rows: Sequence[Mapping[str, Any]], keys: Sequence[str]) -> pa.Table:
    """The rows of answers as they are in JSON, nested where these are, with pictures and files as their bytes.

    >>> as_table([{"name": "a.png", "label": "cat"}, {"name": "b.png", "error": "…"}], ["/in/a.png", "/in/b.png"]).column_names
    ['source', 'name', 'error', 'label']

    Args:
        rows: as `predict` gives them without a folder.
        keys: of the images, for the column `source`.
    """
    filed = [{"source": key, **_with_bytes(row)} for key, row in zip(keys, rows, strict=True)]
    names = dict.fromkeys([*_FIRST, *(name for row in filed for name in row)])
    columns = {name: [row.get(name) for row in filed] for name in names}
    return pa.table(
        {
            name: pa.array(column, _BASIS.field(name).type if name in _FIRST else None)
            for name, column in columns.items()
        }
    )


def joined_schema(schemas: Sequence[pa.Schema]) -> pa.Schema:
    """The columns of all, each with a type that holds what every one of them holds.

    >>> one, other = pa.schema([("n", pa.int64())]), pa.schema([("n", pa.float64()), ("found", pa.list_(pa.null()))])
    >>> joined_schema([one, other]).types
    [DataType(double), ListType(list<item: null>)]
    """
    fields: dict[str, pa.DataType] = {}
    for schema in schemas:
        for field in schema:
            fields[field.name] = _joined(fields[field.name], field.type) if field.name in fields else field.type
    return pa.schema(list(fields.items()))


def cast(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """A table with the columns and types of a schema; what it lacks is null."""
    columns = []
    for field in schema:
        if field.name not in table.column_names:
            columns.append(pa.nulls(len(table), field.type))
        elif table.schema.field(field.name).type == field.type:
            columns.append(table.column(field.name))
        else:  # by way of Python: arrow does not widen what is nested
            columns.append(pa.array(table.column(field.name).to_pylist(), field.type))
    return pa.table(columns, schema=schema)


def _joined(one: pa.DataType, other: pa.DataType) -> pa.DataType:
    if one == other or pa.types.is_null(other):
        return one
    if pa.types.is_null(one):
        return other
    if pa.types.is_list(one) and pa.types.is_list(other):
        return pa.list_(_joined(one.value_type, other.value_type))
    if pa.types.is_struct(one) and pa.types.is_struct(other):
        fields: dict[str, pa.DataType] = {field.name: field.type for field in one}
        for field in other:
            fields[field.name] = _joined(fields[field.name], field.type) if field.name in fields else field.type
        return pa.struct(list(fields.items()))
    numbers = [kind for kind in (one, other) if pa.types.is_integer(kind) or pa.types.is_floating(kind)]
    if len(numbers) == 2:
        return pa.float64()
    raise pa.ArrowTypeError(f"{one} and {other} have no common type")


def _with_bytes(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row whose picture is a PNG file."""
    kept = {name: value for name, value in row.items() if name not in ("picture", "suffix", "content", "tables")}
    entries = {name: plain(value) if name != "files" else value for name, value in kept.items()}
    if "picture" in row:
        entries["picture"] = png(np.asarray(row["picture"]))
    if "content" in row:
        entries["file"] = row["content"]
    return entries
