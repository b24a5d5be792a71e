# SPDX-License-Identifier: Apache-2.0
"""The source of a class or function of the user's own, with everything of theirs that it uses, as one text."""

from __future__ import annotations

import ast
import functools
import hashlib
import inspect
import linecache
import sys
import textwrap
import types
from pathlib import Path
from typing import Any

__all__ = ["digest_of", "file_of", "is_installed", "source_of"]

_PLAIN = (
    int,
    float,
    complex,
    str,
    bytes,
    bool,
    tuple,
    frozenset,
)  # values that a text can say, and that stay as they are
_LONGEST = 2000  # characters of such a value


def source_of(part: Any) -> str:
    """The source of a class or function, followed by those of the classes, functions and constants that it uses.

    Of what is installed it is the name alone. Of what was typed after Python's prompt there is no text: a line has the digest of its
    code, which another version of Python compiles otherwise. "" of what has no code either.

    >>> source_of(textwrap.dedent), source_of(len)
    ('# textwrap.dedent, which is installed\\n', '')
    """
    if not isinstance(part, types.ModuleType) and is_installed(part.__module__ or "") and part.__module__ != "builtins":
        return f"# {part.__module__}.{part.__qualname__}, which is installed\n"
    texts: dict[Any, str] = {}
    home = _module(part)
    waiting = [part]
    while waiting:
        one = waiting.pop(0)
        if _key(one) in texts:
            continue
        text = _text(one)
        if one is part and not text:
            return _code_text(part)
        module = _module(one)
        texts[_key(one)] = text if module is home else f"# of {getattr(module, '__name__', '?')}\n{text}"
        waiting += _used(text, vars(module) if module is not None else {}, texts, _code_file(one))
    return "\n\n".join(text for text in texts.values() if text) + "\n"


def digest_of(text: str) -> str:
    """The SHA-256 of a text; "" of none.

    >>> digest_of("x")[:8], digest_of("")
    ('2d711642', '')
    """
    return hashlib.sha256(text.encode()).hexdigest() if text else ""


def file_of(part: Any) -> Path | None:
    """The file that a class or function is written in; None for one of a notebook or a prompt."""
    name = _code_file(part)
    return Path(name) if name and Path(name).is_file() else None


def is_installed(name: str) -> bool:
    """Whether a module that was imported belongs to Python, to this package, or to an installed one.

    >>> is_installed("json"), is_installed("pellucid.run"), is_installed("__main__")
    (True, True, False)
    """
    top = name.partition(".")[0]
    if top == "__main__":  # what is typed, or a program, whoever started it
        return False
    if top in sys.stdlib_module_names or top in ("builtins", "pellucid"):
        return True
    module = sys.modules.get(top)
    places = [getattr(module, "__file__", None) or "", *getattr(module, "__path__", ())]
    return any(part in ("site-packages", "dist-packages") for place in places for part in Path(place).parts)


def _used(text: str, known: dict[str, Any], found: dict[Any, str], file: str) -> list[Any]:
    """The user's own classes and functions that a text names; constants are put into `found` at once."""
    try:
        tree = ast.parse(text)
    except SyntaxError:
        return []
    own: list[Any] = []
    for name in dict.fromkeys(node.id for node in ast.walk(tree) if isinstance(node, ast.Name)):
        if name not in known:
            continue
        value = known[name]
        if isinstance(value, types.ModuleType):
            if not is_installed(value.__name__):
                own.append(value)
        elif inspect.isclass(value) or inspect.isfunction(value):
            if not is_installed(value.__module__ or ""):
                own.append(value)
        elif said := _assigned(file, name):
            found.setdefault(("constant", name), said)
        elif type(value) in _PLAIN and len(repr(value)) <= _LONGEST:
            found.setdefault(("constant", name), f"{name} = {value!r}")
    return own


@functools.cache
def _assignments(text: str) -> dict[str, str]:
    """The statements of a file that give its names their values."""
    try:
        tree = ast.parse(text)
    except SyntaxError:
        return {}
    found: dict[str, str] = {}
    for node in tree.body:
        targets = (
            node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
        )
        for target in targets:
            if isinstance(target, ast.Name):
                found[target.id] = ast.get_source_segment(text, node) or ""
    return found


def _assigned(file: str, name: str) -> str:
    """How a file gives a name its value: a list may have grown since. "" where it does not."""
    return _assignments("".join(linecache.getlines(file))).get(name, "") if file else ""


def _key(part: Any) -> Any:
    return (type(part).__name__, getattr(part, "__module__", ""), getattr(part, "__qualname__", part.__name__))


def _module(part: Any) -> types.ModuleType | None:
    return part if isinstance(part, types.ModuleType) else sys.modules.get(getattr(part, "__module__", "") or "")


def _text(part: Any) -> str:
    """The lines of one class, function or module."""
    if isinstance(part, types.ModuleType):
        return "".join(linecache.getlines(part.__file__)) if part.__file__ else ""
    if inspect.isclass(part) and (text := _class_text(part)):
        return text
    try:
        return textwrap.dedent(inspect.getsource(part)).rstrip()
    except (OSError, TypeError, SyntaxError, IndentationError):
        return ""


def _class_text(kind: type) -> str:
    """The lines of a class, found by those of its methods: a notebook's cells are no files."""
    file = _code_file(kind)
    lines = linecache.getlines(file) if file else []
    try:
        tree = ast.parse("".join(lines))
    except SyntaxError:
        return ""
    named = [node for node in ast.walk(tree) if isinstance(node, ast.ClassDef) and node.name == kind.__name__]
    first = min((code.co_firstlineno for code in _codes(kind)), default=0)
    for node in named:
        if node.lineno <= first <= (node.end_lineno or 0):
            start = min([node.lineno, *(one.lineno for one in node.decorator_list)])
            return textwrap.dedent("".join(lines[start - 1 : node.end_lineno])).rstrip()
    return ""


def _code_text(part: Any) -> str:
    """A line that tells code without a text apart from other code of its name."""
    codes = _codes(part, typed=True) if inspect.isclass(part) else [part.__code__] if inspect.isfunction(part) else []
    if not codes:
        return ""
    digest = hashlib.sha256(repr([_compiled(code) for code in codes]).encode()).hexdigest()
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    return f"# {part.__qualname__}, whose text cannot be read; its code in Python {version} is {digest}\n"


def _compiled(code: types.CodeType) -> Any:
    """What code does, wherever it stands."""
    values = [_compiled(value) if isinstance(value, types.CodeType) else repr(value) for value in code.co_consts]
    return code.co_name, code.co_code, code.co_names, code.co_varnames, values


def _codes(kind: type, typed: bool = False) -> list[types.CodeType]:
    """The code of the methods that a class itself defines, without those that a decorator made; `typed`: in a file or not."""
    inner = [getattr(value, "__func__", getattr(value, "fget", value)) for value in vars(kind).values()]
    codes = [value.__code__ for value in inner if inspect.isfunction(value) and value.__module__ == kind.__module__]
    return codes if typed else [code for code in codes if code.co_filename != "<string>"]


def _code_file(part: Any) -> str:
    if inspect.isclass(part):
        codes = _codes(part)
        if codes:
            return codes[0].co_filename
    if inspect.isfunction(part):
        return part.__code__.co_filename
    try:
        return inspect.getsourcefile(part) or ""
    except TypeError:
        return ""
