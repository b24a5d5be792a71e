# SPDX-License-Identifier: Apache-2.0
"""The tasks, models, lenses, builders of worksheets and datasets with a line about each, read from their sources."""

from __future__ import annotations

import ast
from pathlib import Path

from pellucid import _catalog
from pellucid._ready import here

__all__ = ["KINDS", "about"]

KINDS = ("tasks", "models", "lenses", "builders", "data")
_FOLDERS = {"builders": "worked/builders"}  # where the folder has another name than the kind


def about(kind: str) -> dict[str, str]:
    """The members of a kind with a line about each; nothing is imported, so that it takes milliseconds.

    A model whose pretrained weights are on this machine says so.

    >>> about("tasks")["classify"] != ""
    True
    >>> "digits" in about("data")
    True
    """
    if kind == "data":
        data = Path(__file__).parents[1] / "data"
        hub = _constant(data / "formats" / "hub.py", "SHORT")
        fetched = {name: f"{identity} from the hub, downloaded once" for name, identity in hub.items()}
        return _constant(data / "embedded" / "embedded.py", "ABOUT") | fetched
    folder = _FOLDERS.get(kind, kind)
    lines = {name: _line(_catalog.source(folder, name)) for name in _catalog.names(folder)}
    if kind == "models":
        lines |= {
            name: f"{lines[name]} Weights on this machine{words and f': {words}'}." for name, words in here().items()
        }
    return lines


def _line(source: Path) -> str:
    """The first line of the docstring of a member's public class, or of its module if the class has none."""
    module = ast.parse(source.read_text(encoding="utf-8"))
    # __all__ names the member alone; a file may hold other classes that it needs
    listed = next((text for text in map(ast.unparse, module.body) if text.startswith("__all__")), "")
    public = [node for node in module.body if isinstance(node, ast.ClassDef) and f"'{node.name}'" in listed]
    documents = [*map(ast.get_docstring, public), ast.get_docstring(module)]
    return next((document.split("\n")[0] for document in documents if document), "")


def _constant(source: Path, name: str) -> dict[str, str]:
    """A dictionary of strings, read from a module's source by name."""
    for node in ast.parse(source.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == name:
            value: dict[str, str] = ast.literal_eval(node.value)
            return value
    raise ImportError(f"{source.name} has no {name}")
