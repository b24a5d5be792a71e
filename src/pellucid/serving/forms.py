# SPDX-License-Identifier: Apache-2.0
"""Answers as JSON, PNG or CSV."""

from __future__ import annotations

import base64
import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, final

from starlette.requests import Request
from starlette.responses import Response

from pellucid._png import png
from pellucid.files import plain, write_csv
from pellucid.predictions import flat
from pellucid.serving.limits import Refused

_PAYLOADS: Final = ("picture", "content", "suffix", "files", "tables")

__all__ = ["FORMS", "Said", "as_json", "form_of", "written"]

FORMS: Final = {"json": "application/json", "png": "image/png", "csv": "text/csv", "events": "text/event-stream"}


@final
class Said(Response):
    """JSON as UTF-8."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        return json.dumps(content, ensure_ascii=False, allow_nan=False).encode()


def form_of(request: Request, offered: Sequence[str]) -> str:
    """The form that is asked for by `?format=` or the header `Accept`; the first one offered if neither names one.

    Raises:
        Refused: another form is asked for.
    """
    asked = request.query_params.get("format")
    if asked is not None:
        if asked not in offered:
            raise Refused(400, f"format={asked!r}: is not known here; choose {' or '.join(offered)}.")
        return asked
    types = [word.partition(";")[0].strip().lower() for word in request.headers.get("accept", "").split(",")]
    return next((form for form in offered if FORMS[form] in types), offered[0])


def as_json(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Rows whose pictures and files are {"type", "base64"}."""
    return [_row(row) for row in rows]


def written(rows: Sequence[Mapping[str, Any]], form: str, listed: str) -> Response:
    """Answers as PNG or CSV.

    Args:
        rows: of the images.
        form: png or csv.
        listed: the entry of a row that lists what was found in an image, "" if there is none; in CSV each is a line.

    Raises:
        Refused: the answers are no picture, or several.
    """
    if form == "csv":
        return Response(_table(rows, listed), media_type="text/csv")
    pictures = [content for row in rows if (content := _picture(row)) is not None]
    if len(pictures) != 1 or len(rows) != 1:
        what = "answers of this run are no pictures" if not pictures else f"there are {len(rows)} answers"
        raise Refused(406, f"format='png': {what}; ask for json, or send one image at a time.")
    return Response(pictures[0], media_type="image/png")


def _picture(row: Mapping[str, Any]) -> bytes | None:
    if "picture" in row:
        return png(row["picture"])
    content: bytes | None = row.get("content") if row.get("suffix") == ".png" else None
    return content


def _row(row: Mapping[str, Any]) -> dict[str, Any]:
    kept: dict[str, Any] = plain({key: value for key, value in row.items() if key not in _PAYLOADS})
    picture = _picture(row)
    if picture is not None:
        kept["picture"] = {"type": "image/png", "base64": base64.b64encode(picture).decode()}
    elif "content" in row:
        file = {"type": "application/octet-stream", "suffix": row.get("suffix", "")}
        kept["file"] = {**file, "base64": base64.b64encode(row["content"]).decode()}
    return kept


def _table(rows: Sequence[Mapping[str, Any]], listed: str) -> bytes:
    lines = [{key: value for key, value in row.items() if key not in _PAYLOADS} for row in rows]
    if listed:
        lines = [
            {"name": row["name"], "number": number, **item}
            for row in lines
            for number, item in enumerate(row.get(listed, ()), 1)
        ] or [{"name": "", "number": ""}]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "answers.csv"
        write_csv(file, [flat(row) for row in lines])
        return file.read_bytes()
