# SPDX-License-Identifier: Apache-2.0
"""Requests to solve a worksheet, or to check answers to it."""

from __future__ import annotations

import html
import json
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from pellucid.serving.forms import Said
from pellucid.serving.limits import Refused
from pellucid.serving.solving import FORMS, Solver

__all__ = ["worked"]

_KINDS = {"sheet": str, "answers": str, "digits": int, "exact": bool, "verify": bool, "tolerance": str}
_TYPES = {"html": "text/html", "latex": "application/x-latex", "json": "application/json"}


async def worked(request: Request, solver: Solver) -> Response:
    """The solution in the form that is asked for; with answers, the report on them.

    Raises:
        Refused: the request cannot be read, or takes too long.
        UsageError: the sheet has a mistake.
    """
    body = await request.body()
    try:
        is_json = request.headers.get("content-type", "").startswith("application/json")
        given = json.loads(body) if is_json else {"sheet": body.decode()}
    except (UnicodeDecodeError, ValueError):
        raise Refused(400, "body: cannot be read; send a worksheet as UTF-8 text, or JSON with it.") from None
    asked = _checked(given)
    form = request.query_params.get("format") or _accepted(request.headers.get("accept", ""))
    if form not in FORMS:
        raise Refused(400, f"format={form!r}: is not known here; choose {', '.join(FORMS[:-1])} or {FORMS[-1]}.")
    answer = await solver.solve({**asked, "form": form})
    return Said(answer) if "report" in answer else Response(answer["text"], media_type=_TYPES[form])


def _checked(given: Any) -> dict[str, Any]:
    """The entries of a request to solve a worksheet, each of its type."""
    if not isinstance(given, dict) or "sheet" not in given:
        raise Refused(400, "sheet: is missing; send JSON with a text of that name.")
    for name, value in given.items():
        if name not in _KINDS or type(value) is not _KINDS[name]:
            raise Refused(
                400, f"{html.escape(name[:40])}: is not known, or of another type; /docs lists what there is."
            )
    return given


def _accepted(accept: str) -> str:
    """The form of a solution that a header `Accept` names first; HTML if none."""
    words = {kind: form for form, kind in _TYPES.items()}
    return next(
        (words[word] for part in accept.split(",") if (word := part.partition(";")[0].strip()) in words), "html"
    )
