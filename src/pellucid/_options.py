# SPDX-License-Identifier: Apache-2.0
"""Options as the fields of a dataclass, some of them in a dataclass of their own whose fields are unfolded."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar, cast, final, get_type_hints

__all__ = ["Option", "build", "command_line", "learned", "options_of", "unfolded", "values_of"]

T = TypeVar("T")
_LEARNED = "learned"  # of a field's metadata
_KEY = "unfolded"  # of a field's metadata: the fields inside it by their option's name, and help that differs


@final
@dataclass(frozen=True)
class Option:
    """One option: its type and default, and the dataclass and field that hold it."""

    kind: Any
    default: Any
    owner: type[Any]
    field: str
    help: str = ""  # where it differs from the owner's own


def unfolded(default: T, *fields: str, helps: Mapping[str, str] | None = None, **renamed: str) -> T:
    """A field whose own fields are options of the dataclass around it, as many of them as are named.

    >>> @dataclass(frozen=True)
    ... class Blur:
    ...     sigma: float = 0.0
    ...     share: float = 0.5
    >>> @dataclass(frozen=True)
    ... class Sharpen:
    ...     strength: float = 1.0
    ...     blur: Blur = unfolded(Blur(sigma=2.0), blur_sigma="sigma")
    >>> build(Sharpen, {"strength": 0.1, "blur_sigma": 3.0})
    Sharpen(strength=0.1, blur=Blur(sigma=3.0, share=0.5))
    >>> values_of(Sharpen())
    {'strength': 1.0, 'blur_sigma': 2.0}

    Args:
        default: an instance of the inner dataclass, which must be frozen.
        fields: of its fields, those that are options under their own names.
        helps: what the help says of an option, where the inner dataclass's own words do not fit.
        renamed: further options, each with the name of its field.
    """
    kind: Any = type(default)
    inner = {**{name: name for name in fields}, **renamed}
    if unknown := {*inner.values()} - {field.name for field in dataclasses.fields(kind)}:
        raise TypeError(f"{kind.__name__} has no {', '.join(sorted(unknown))}")
    made: T = dataclasses.field(default=default, metadata={_KEY: (inner, dict(helps or {}))})
    return made


def learned(default: T) -> T:
    """A field that is filled from data or from a model: no option on the command line, and not kept in run.json.

    >>> @dataclass(frozen=True)
    ... class Weigh:
    ...     smoothing: float = 0.0
    ...     weights: tuple[float, ...] = learned(())
    >>> values_of(Weigh(0.1, (1.0, 2.0)))
    {'smoothing': 0.1}
    """
    made: T = dataclasses.field(default=default, metadata={_LEARNED: True})
    return made


def options_of(owner: type[Any]) -> dict[str, Option]:
    """The options of a dataclass by name, in the order of its fields."""
    hints = get_type_hints(owner)
    options: dict[str, Option] = {}
    for field in dataclasses.fields(owner):
        if _LEARNED in field.metadata:
            continue
        default = field.default if field.default_factory is dataclasses.MISSING else field.default_factory()
        if _KEY not in field.metadata:
            options[field.name] = Option(hints[field.name], default, owner, field.name)
            continue
        inner, helps = field.metadata[_KEY]
        kinds = get_type_hints(type(default))
        for name, own in inner.items():
            options[name] = Option(kinds[own], getattr(default, own), type(default), own, helps.get(name, ""))
    return options


def values_of(instance: Any) -> dict[str, Any]:
    """The values of all options, by name."""
    values: dict[str, Any] = {}
    for field in dataclasses.fields(instance):
        value = getattr(instance, field.name)
        if _LEARNED in field.metadata:
            continue
        if _KEY in field.metadata:
            values |= {name: getattr(value, own) for name, own in field.metadata[_KEY][0].items()}
        else:
            values[field.name] = value
    return values


def build(owner: type[T], values: Mapping[str, Any]) -> T:
    """An instance with these values of its options; the others keep their defaults.

    Raises:
        TypeError: it has no option of a name that is given.
    """
    given, kind = dict(values), cast(Any, owner)
    for field in dataclasses.fields(kind):
        if _KEY in field.metadata:
            changes = {own: given.pop(name) for name, own in field.metadata[_KEY][0].items() if name in given}
            inner: Any = field.default
            given |= {field.name: dataclasses.replace(inner, **changes)} if changes else {}
    return owner(**given)


def command_line(*words: str, **options: Any) -> str:
    """A `pellucid` command to paste into a shell; options that are None are omitted.

    >>> command_line("train", "classify", data="digits", hidden=(64, 32), flip=True)
    'pellucid train classify --data digits --hidden 64 32 --flip'
    """
    parts = ["pellucid", *words]
    for name, value in options.items():
        flag = "--" + name.replace("_", "-")
        if value is True:
            parts.append(flag)
        elif value is False:
            parts.append("--no-" + flag[2:])
        elif isinstance(value, (tuple, list)):
            parts += [flag, *map(str, value)]
        elif value is not None:
            parts += [flag, str(value)]
    return shlex.join(parts)
