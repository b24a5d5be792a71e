# SPDX-License-Identifier: Apache-2.0
"""A folder is a catalogue: the file name is the public name, the file's one public class is the member."""

from __future__ import annotations

import importlib
import inspect
from pathlib import Path

from pellucid.errors import UnknownNameError

__all__ = ["find", "names"]

_SINGULAR = {"tasks": "task", "models": "model", "lenses": "lens"}
_MACHINERY = {"building"}  # models.building makes members and is none


def names(folder: str) -> list[str]:
    """The members of a catalogue, read off the folder without importing anything.

    >>> "classify" in names("tasks")
    True
    """
    here = Path(__file__).parent / folder
    return sorted(file.stem for file in here.glob("*.py") if file.stem[0] != "_" and file.stem not in _MACHINERY)


def find(folder: str, name: str) -> type:
    """The class of a member; an unknown name is answered with the nearest known one.

    >>> find("tasks", "classify").__name__
    'Classify'
    """
    key = name.replace("-", "_")
    if key not in names(folder):
        raise UnknownNameError(_SINGULAR[folder], name, names(folder))
    module = importlib.import_module(f"pellucid.{folder}.{key}")
    found = [
        member
        for title, member in vars(module).items()
        if inspect.isclass(member) and member.__module__ == module.__name__ and title in module.__all__
    ]
    if len(found) != 1:
        raise ImportError(f"{module.__name__}.__all__ names {len(found)} classes; a member's file names exactly one")
    return found[0]
