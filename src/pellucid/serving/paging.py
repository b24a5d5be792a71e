# SPDX-License-Identifier: Apache-2.0
"""The pages that a browser gets: the content of each, in the frame that all of them share."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files
from string import Template
from typing import Final

from pellucid.worked.showing.html import STYLE

__all__ = ["PAGES", "framed", "page", "static"]

PAGES: Final[Mapping[str, tuple[str, str]]] = {
    "images": ("/", "Images"),
    "training": ("/training", "Training"),
    "worksheet": ("/worksheet", "Worksheet"),
    "http": ("/docs", "HTTP"),
}
"""The address and the title of each page."""

_FOLDER: Final = files("pellucid").joinpath("serving/pages")


def page(name: str) -> str:
    """A page of our own, whose content is the file of its name."""
    return framed(name, _FOLDER.joinpath(f"{name}.html").read_text(encoding="utf-8"))


def framed(name: str, main: str) -> str:
    """Content as a whole page, with the links to the others.

    >>> 'aria-current="page">HTTP' in framed("http", "<main></main>")
    True
    """
    linked = ["page.css", *(["worked.css"] if name == "worksheet" else [])]
    head = [f'<link rel="stylesheet" href="/static/{file}">' for file in linked]
    head.append('<link rel="icon" href="/static/eye.svg">')
    if _FOLDER.joinpath(f"{name}.js").is_file():
        head.append(f'<script type="module" src="/static/{name}.js"></script>')
    current = ' aria-current="page"'
    nav = "".join(
        f'<a href="{address}"{current if other == name else ""}>{title}</a>'
        for other, (address, title) in PAGES.items()
    )
    frame = Template(_FOLDER.joinpath("frame.html").read_text(encoding="utf-8"))
    return frame.substitute(title=PAGES[name][1], head="\n".join(head), nav=nav, main=main)


def static() -> dict[str, bytes]:
    """Scripts, styles and pictures of the pages, by their names."""
    found = {file.name: file.read_bytes() for file in _FOLDER.iterdir() if not file.name.endswith(".html")}
    return {**found, "worked.css": f"{STYLE}.worked .left{{text-align:left}}".encode()}
