# SPDX-License-Identifier: Apache-2.0
"""Classes by name: from a file that the user names, or from a module that is imported or installed already."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import site
import sys
import sysconfig
import types
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pellucid.errors import UsageError, brief

__all__ = ["from_text", "importable", "is_reference"]


def is_reference(text: str) -> bool:
    """Whether a text names a class in a file or in a module rather than a member of a catalogue.

    >>> is_reference("my.py:Net"), is_reference("pack.nets:Net"), is_reference("timm/resnet18"), is_reference("my.py")
    (True, True, False, True)
    """
    return (":" in text or text.endswith(".py")) and not text.startswith(("timm/", "torchvision/"))


def from_text(option: str, text: str) -> Any:
    """What FILE.py:NAME or MODULE:NAME stands for; the file is run, the module imported, since the user names it.

    Raises:
        UsageError: there is no such file or module, it cannot be run, or it has nothing of that name.
    """
    where, _, name = text.rpartition(":") if ":" in text else (text, "", "")
    if where.endswith(".py"):
        path = Path(where)
        if not path.is_file():
            raise UsageError(f"{option}={text!r}: there is no file {where}; name one that has the class.")
        if not name:
            raise UsageError(f"{option}={text!r}: names no class; write {where}:{next(iter(_classes(path)), 'NAME')}.")
        module = _run(option, text, path)
    else:
        try:
            module = importlib.import_module(where)
        except Exception as fault:
            raise UsageError(
                f"{option}={text!r}: the module {where} cannot be imported ({brief(fault)}); name its file, as in my.py:{name}."
            ) from fault
    found = getattr(module, name, None)
    if found is None:
        others = [
            one
            for one, value in vars(module).items()
            if isinstance(value, type) and value.__module__ == module.__name__
        ]
        has = f"it has {', '.join(others[:5])}" if others else "it has no class"
        raise UsageError(f"{option}={text!r}: there is no {name} in {where}; {has}.")
    return found


def importable(record: Mapping[str, Any], base: Any, options: Mapping[str, Any]) -> Any | None:
    """The class that a run recorded, where this process has imported its module already, or an installed package has it.

    A run is data: a folder that comes from elsewhere must not decide what is executed. So nothing is imported that is not
    installed, functions are not called by a recorded name, and a class that would take a path among its options is not made.

    Args:
        record: what run.json says of the class.
        base: what it must be a subclass of.
        options: those that it would be made with.
    """
    module, name = str(record.get("module", "")), str(record.get("class", ""))
    if module in ("", "__main__") or "<" in name or record.get("how") != "class":
        return None
    if not all(_harmless(value) for value in options.values()):
        return None
    if module not in sys.modules:
        if not _in_packages(module):
            return None
        try:
            importlib.import_module(module)
        except Exception:  # it is as if it were not there
            return None
    found: Any = sys.modules[module]
    for part in name.split("."):
        found = vars(found).get(part) if isinstance(found, (types.ModuleType, type)) else None
    return found if isinstance(found, type) and issubclass(found, base) else None


def _run(option: str, text: str, path: Path) -> types.ModuleType:
    """A file as a module, run again whenever it is named: it may have been edited since."""
    path = path.resolve()
    folder, name = str(path.parent), path.stem
    known = sys.modules.get(name)
    if known is not None and getattr(known, "__file__", None) != str(path):  # of another file, such as an installed one
        name = f"own_{name}"
    if folder not in sys.path:
        sys.path.append(folder)  # what the file imports from beside it; last, so that it hides nothing
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    before, sys.modules[name] = sys.modules.get(name), module
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as fault:
        sys.modules.pop(name)
        if before is not None:
            sys.modules[name] = before
        said = f"{type(fault).__name__}: {brief(fault)}"
        raise UsageError(
            f"{option}={text!r}: {path.name} cannot be run ({said}); mend it, so that it can be imported."
        ) from fault
    return module


def _classes(path: Path) -> list[str]:
    """The names of a file's classes, which is only read."""
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"))
    except (OSError, SyntaxError, ValueError):
        return []
    return [node.name for node in tree.body if isinstance(node, ast.ClassDef)]


def _in_packages(module: str) -> bool:
    """Whether a module belongs to an installed package, by the place where Python would find it."""
    top = module.partition(".")[0]
    if top in sys.stdlib_module_names or not all(part.isidentifier() for part in module.split(".")):
        return False
    try:
        spec = importlib.util.find_spec(top)  # of a top-level name: nothing is executed
    except (ImportError, ValueError):
        return False
    if spec is None:
        return False
    places = [place for place in (spec.origin, *(spec.submodule_search_locations or ())) if place is not None]
    packages = [
        sysconfig.get_path("purelib"),
        sysconfig.get_path("platlib"),
        *site.getsitepackages(),
        site.getusersitepackages(),
    ]
    # all of them: a namespace may reach from an installed package into the current folder
    return bool(places) and all(any(Path(place).is_relative_to(folder) for folder in packages) for place in places)


def _harmless(value: Any) -> bool:
    """Whether an option cannot name a file or an address: a number, a word, or a list of these."""
    if isinstance(value, (list, tuple)):
        return all(map(_harmless, value))
    if isinstance(value, str):
        return value.replace("_", "").replace("-", "").isalnum() and not Path(value).exists()
    return value is None or isinstance(value, (bool, int, float))
