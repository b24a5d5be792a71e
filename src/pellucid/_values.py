# SPDX-License-Identifier: Apache-2.0
"""Whether a value from Python is of an option's type; the command line checks its words itself."""

from __future__ import annotations

import types
from collections.abc import Iterable, Mapping, Sequence
from numbers import Integral, Real
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from pellucid.errors import UsageError

__all__ = ["check_kind", "check_kinds"]

_WORDS = {int: "a whole number", float: "a number", bool: "True or False", str: "a text", Path: "a path"}
_EXAMPLES = {int: 10, float: 0.1, bool: True}


def check_kind(option: str, value: object, kind: Any) -> None:
    """Refuse a value of another type than an option takes; what it may be beyond that, its owner says.

    >>> check_kind("epochs", "ten", int)
    Traceback (most recent call last):
    pellucid.errors.UsageError: epochs='ten': must be a whole number; give e.g. epochs=10.
    >>> check_kind("hidden", 64, tuple[int, ...])
    Traceback (most recent call last):
    pellucid.errors.UsageError: hidden=64: must be a list; write hidden=[64].
    >>> check_kind("lr", 1, float | None)

    Args:
        option: its name.
        value: what was given.
        kind: the type of the option; any that is none of a number, a text, a choice or a list takes everything.
    """
    kinds = _members(kind)
    if value is None:
        if type(None) in kinds:
            return
    elif any(_fits(value, one) for one in kinds):
        return
    several = next((one for one in kinds if get_origin(one) in (tuple, list, Sequence)), None)
    if several is not None and value is not None:
        element = _element(several)
        if _fits(value, element):
            raise UsageError(f"{option}={value!r}: must be a list; write {option}=[{value!r}].")
        raise UsageError(
            f"{option}={value!r}: must be a list, each {_wanted([element])}; write e.g. {option}=[{_example(element)}]."
        )
    example = next((_EXAMPLES[one] for one in kinds if one in _EXAMPLES), None)
    way = f"give e.g. {option}={example!r}" if example is not None else "give another value"
    raise UsageError(f"{option}={value!r}: must be {_wanted(kinds)}; {way}.")


def check_kinds(owner: type[Any], values: Mapping[str, object]) -> None:
    """Refuse values of another type than the fields of a dataclass take; those that take several values check them themselves.

    >>> from dataclasses import dataclass
    >>> @dataclass
    ... class Blur:
    ...     sigma: float = 1.0
    >>> check_kinds(Blur, {"sigma": "wide"})
    Traceback (most recent call last):
    pellucid.errors.UsageError: sigma='wide': must be a number; give e.g. sigma=0.1.
    """
    kinds = get_type_hints(owner)
    for name, value in values.items():
        if name in kinds and all(get_origin(one) is None for one in _members(kinds[name])):
            check_kind(name, value, kinds[name])


def _fits(value: object, kind: Any) -> bool:
    if kind is type(None):
        return False
    if kind is bool:
        return isinstance(value, bool) or type(value).__name__ == "bool"  # NumPy's is no bool of Python's
    if kind is int:
        return isinstance(value, Integral) and not isinstance(value, bool)
    if kind is float:
        return isinstance(value, Real) and not isinstance(value, bool)
    if kind is str:
        return isinstance(value, (str, Path))
    if get_origin(kind) is Literal:
        return isinstance(value, str) or value in get_args(kind)  # its owner names the choices
    if get_origin(kind) in (tuple, list, Sequence):
        if isinstance(value, (str, bytes)) or not isinstance(value, Iterable):
            return False
        return all(_fits(item, _element(kind)) for item in value)
    return kind not in _WORDS or isinstance(value, kind)


def _members(kind: Any) -> tuple[Any, ...]:
    return get_args(kind) if get_origin(kind) in (Union, types.UnionType) else (kind,)


def _element(kind: Any) -> Any:
    return next((one for one in get_args(kind) if one is not Ellipsis), object)


def _example(kind: Any) -> str:
    return repr(_EXAMPLES.get(kind, "…"))


def _wanted(kinds: Iterable[Any]) -> str:
    named = [
        " or ".join(map(repr, get_args(one)))
        if get_origin(one) is Literal
        else _WORDS.get(one, "None" if one is type(None) else "")
        for one in kinds
    ]
    return " or ".join(dict.fromkeys(filter(None, named))) or "another value"
