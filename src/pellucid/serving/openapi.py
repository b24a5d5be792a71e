# SPDX-License-Identifier: Apache-2.0
"""The HTTP interface as OpenAPI 3.1, and as a page that opens without a network."""

from __future__ import annotations

import html
from typing import Any

from pellucid._version import __version__
from pellucid.serving.paging import framed
from pellucid.serving.solving import FORMS
from pellucid.serving.uploads import FILES, OPTIONS

__all__ = ["document", "page"]

_IMAGES = {
    "required": True,
    "content": {
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "properties": {
                    name: {"type": "array", "description": words, "items": {"type": "string", "format": "binary"}}
                    for name, words in {"images": "those to answer", **FILES}.items()
                },
            }
        },
        "image/*": {"schema": {"type": "string", "format": "binary"}},
    },
}
_FAULT = {"description": 'A sentence that says why, as {"error": …}.', "content": {"application/json": {}}}


def document() -> dict[str, Any]:
    """The description of every address."""
    answers = {"json": "application/json", "png": "image/png", "csv": "text/csv"}
    return {
        "openapi": "3.1.0",
        "info": {"title": "Pellucid", "version": __version__, "description": "Runs and worksheets over HTTP."},
        "paths": {
            "/runs": {"get": _operation("The runs, with their tasks, lenses and options.", [], ["application/json"])},
            "/runs/{name}/predict": {
                "post": _operation(
                    "The answers for images: one row an image. Pictures are base64 in JSON; PNG takes a single image.",
                    [
                        _path("name"),
                        _format([*answers]),
                        *(_query(name, words) for name, (_, words) in OPTIONS.items()),
                    ],
                    [*answers.values()],
                    _IMAGES,
                )
            },
            "/runs/{name}/look/{lens}": {
                "post": _operation(
                    "What a lens shows of an image: a picture and a sentence; as events, with the progress before.",
                    [_path("name"), _path("lens"), _format(["json", "png", "events"])],
                    ["application/json", "image/png", "text/event-stream"],
                    _IMAGES,
                )
            },
            "/runs/{name}/training": {
                "get": _operation(
                    "The curves of a run's training, also while it is under way, and its measures with intervals.",
                    [_path("name")],
                    ["application/json"],
                )
            },
            "/compare": {
                "get": _operation(
                    "Runs of one task side by side, and whether their differences are real.",
                    [_query("run", "a run's name; once for each of two or more", whose="")],
                    ["application/json"],
                )
            },
            "/runs/{name}/report": {"get": _operation("The run's report.", [_path("name")], ["text/html"])},
            "/worked/solve": {
                "post": _operation(
                    'A solved worksheet; with "answers", the report on them. The body is the worksheet, or JSON with it.',
                    [_format([*FORMS])],
                    ["text/html", "application/x-latex", "application/json"],
                    {"required": True, "content": {"text/plain": {}, "application/json": {"schema": _SHEET}}},
                )
            },
            "/health": {
                "get": _operation(
                    "Whether the server answers, and which models are in memory.", [], ["application/json"]
                )
            },
            "/openapi.json": {"get": _operation("This description.", [], ["application/json"])},
        },
    }


_SHEET = {
    "type": "object",
    "required": ["sheet"],
    "properties": {
        "sheet": {"type": "string"},
        "answers": {"type": "string", "description": "one `name = value` a line, to be checked"},
        "digits": {"type": "integer", "minimum": 1, "maximum": 50},
        "exact": {"type": "boolean"},
        "verify": {"type": "boolean"},
        "tolerance": {"type": "string", "description": "3s, 2d or 1%"},
    },
}


def page() -> str:
    """The description as HTML."""
    parts = []
    for path, methods in document()["paths"].items():
        for method, operation in methods.items():
            rows = "".join(
                f"<tr><td><code>{html.escape(one['name'])}</code></td><td>{html.escape(one['in'])}</td>"
                f"<td>{html.escape(one['description'])}</td></tr>"
                for one in operation["parameters"]
            )
            head = '<tr><th scope="col">name</th><th scope="col">in</th><th scope="col">value</th></tr>'
            table = f"<table>{head}{rows}</table>" if rows else ""
            body = operation.get("requestBody")
            taken = f"<p>Takes {html.escape(', '.join(body['content']))}.</p>" if body else ""
            given = html.escape(", ".join(operation["responses"]["200"]["content"]))
            parts.append(
                f"<section><h2><code>{method.upper()} {html.escape(path)}</code></h2><p>{html.escape(operation['summary'])}</p>"
                f"{table}{taken}<p>Gives {given}.</p></section>"
            )
    return framed(
        "http",
        '<main class="text"><h1>HTTP interface</h1>'
        f'<p>The same as <a href="/openapi.json">OpenAPI</a>. Every fault is a sentence: <code>{{"error": …}}</code>.</p>{"".join(parts)}'
        "</main>",
    )


def _operation(
    summary: str, parameters: list[dict[str, Any]], gives: list[str], body: dict[str, Any] | None = None
) -> dict[str, Any]:
    found = {"summary": summary, "parameters": parameters}
    responses = {"200": {"description": "The answer.", "content": {kind: {} for kind in gives}}, "default": _FAULT}
    return {**found, **({"requestBody": body} if body else {}), "responses": responses}


def _path(name: str) -> dict[str, Any]:
    words = {"name": "the run's name, from /runs", "lens": "one of the run's lenses, from /runs"}[name]
    return {"name": name, "in": "path", "required": True, "description": words, "schema": {"type": "string"}}


def _query(name: str, words: str, whose: str = "; of runs that have this option") -> dict[str, Any]:
    return {
        "name": name,
        "in": "query",
        "description": f"{words}{whose}",
        "schema": {"type": "string"},
    }


def _format(forms: list[str]) -> dict[str, Any]:
    words = f"{', '.join(forms)}; by default by the header Accept, else {forms[0]}"
    return {"name": "format", "in": "query", "description": words, "schema": {"enum": forms}}
