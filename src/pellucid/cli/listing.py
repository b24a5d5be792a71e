# SPDX-License-Identifier: Apache-2.0
"""The tasks, models, lenses and datasets with a line about each, read from their sources."""

from __future__ import annotations

import ast
from pathlib import Path

from pellucid import _catalog

__all__ = ["KINDS", "about"]

KINDS = ("tasks", "models", "lenses", "data")


def about(kind: str) -> dict[str, str]:
    """The members of a kind with a line about each; nothing is imported, so that it takes milliseconds.

    >>> about("tasks")["classify"] != ""
    True
    >>> "digits" in about("data")
    True
    """
    folder = Path(__file__).parents[1] / kind
    if kind == "data":
        hub = _constant(folder / "formats" / "hub.py", "SHORT")
        fetched = {name: f"{identity} from the hub, downloaded once" for name, identity in hub.items()}
        return _constant(folder / "embedded" / "embedded.py", "ABOUT") | fetched
    return {name: _line(_catalog.source(kind, name)) for name in _catalog.names(kind)}


def _line(source: Path) -> str:
    """The first line of the docstring of a member's public class, or of its module if the class has none."""
    module = ast.parse(source.read_text(encoding="utf-8"))
    public = [node for node in module.body if isinstance(node, ast.ClassDef) and not node.name.startswith("_")]
    documents = [*map(ast.get_docstring, public), ast.get_docstring(module)]
    return next((document.split("\n")[0] for document in documents if document), "")


def _constant(source: Path, name: str) -> dict[str, str]:
    """A dictionary of strings, read from a module's source by name."""
    for node in ast.parse(source.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == name:
            value: dict[str, str] = ast.literal_eval(node.value)
            return value
    raise ImportError(f"{source.name} has no {name}")
