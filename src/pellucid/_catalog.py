# SPDX-License-Identifier: Apache-2.0
"""Folders as catalogues: each file or inner folder is a member of that name, and its only public class is the member."""

from __future__ import annotations

import importlib
import inspect
from pathlib import Path

from pellucid.errors import UnknownNameError
from pellucid.own import parts

__all__ = ["find", "names", "source"]

_SINGULAR = {"tasks": "task", "models": "model", "lenses": "lens", "worked/builders": "builder"}


def names(folder: str) -> list[str]:
    """The names of a catalogue's members, read off the folder without importing anything.

    >>> "classify" in names("tasks")
    True
    """
    here = Path(__file__).parent / folder
    members = [*here.glob("*.py"), *(face.parent for face in here.glob("*/__init__.py"))]
    return sorted(member.stem for member in members if member.stem[0] != "_")


def source(folder: str, name: str) -> Path:
    """The file with a member's class: `NAME.py`, or `NAME/NAME.py` if the member is a folder.

    >>> source("models", "mlp").name, source("tasks", "cluster").parent.name
    ('mlp.py', 'cluster')
    """
    here = Path(__file__).parent / folder
    return here / name / f"{name}.py" if (here / name).is_dir() else here / f"{name}.py"


def find(folder: str, name: str) -> type:
    """The class of a member, or of a part of the user's own; the error for an unknown name suggests the nearest one.

    >>> find("tasks", "classify").__name__
    'Classify'
    """
    if parts.is_own(name) and (own := parts.find(folder, name)) is not None:
        kind: type = own.kind
        return kind
    key = name.replace("-", "_")
    if key not in names(folder):
        raise UnknownNameError(_SINGULAR[folder], name, names(folder))
    module = importlib.import_module(f"pellucid.{folder.replace('/', '.')}.{key}")
    homes = (
        module.__name__,
        f"{module.__name__}.{key}",
    )  # a folder's `__init__` exports the class of its namesake file
    classes = [
        member
        for title, member in vars(module).items()
        if inspect.isclass(member) and member.__module__ in homes and title in module.__all__
    ]
    if len(classes) != 1:
        raise ImportError(f"{module.__name__}.__all__ names {len(classes)} classes; a member's file names exactly one")
    return classes[0]
