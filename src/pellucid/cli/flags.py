# SPDX-License-Identifier: Apache-2.0
"""Command-line options as data: read off signatures and dataclasses, checked, shown and parsed with tyro.

The options of functions, tasks, models and the recipe become the `Flag`s of one flat command. Mistakes are found here,
before tyro parses the words, so that each is reported in one sentence with a way out; tyro makes the help and converts values.
"""

from __future__ import annotations

import dataclasses
import difflib
import re
import types
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Union, final, get_args, get_origin

from pellucid.errors import UsageError

__all__ = ["Flag", "Group", "check", "is_option", "misspelt", "parse"]

_NUMBER = re.compile(r"-(\d|\.\d|inf|nan)")
_FORMULA = re.compile(r"-[^-=][^=]*[(^*/+]")  # -log(x), -x^2
_FRACTION = re.compile(r"(\d+(?:\.\d+)?)/(\d+(?:\.\d+)?)")  # 25/255
_METAVARS = {int: "INT", float: "FLOAT", bool: "True|False", Path: "PATH"}


@final
@dataclass(frozen=True)
class Flag:
    """One option, or one positional argument, of a command.

    >>> Flag("batch_size", int, 128, "images a step").written
    '--batch-size'
    """

    name: str
    kind: Any  # bool, int, float, str, Path, Literal, X | None, tuple[X, ...]
    default: Any  # dataclasses.MISSING where it must be given
    help: str = ""
    positional: bool = False
    joined: Any = None  # the type of the parts, if each value is a list joined by commas
    single: bool = False  # one value alone is that value, and not a list of one

    @property
    def written(self) -> str:
        """Its spelling on the command line."""
        # as_ is --as: a field cannot bear a word of Python's
        return self.name.upper() if self.positional else "--" + self.name.rstrip("_").replace("_", "-")

    @property
    def several(self) -> Any:
        """The type of an element if the option takes any number of values, else None."""
        if get_origin(self.core) in (tuple, list, Sequence):
            return next((kind for kind in get_args(self.core) if kind is not Ellipsis), str)
        return None

    @property
    def core(self) -> Any:
        """Its type without None."""
        kinds = [kind for kind in _members(self.kind) if kind is not type(None)]
        return kinds[0] if len(kinds) == 1 else self.kind

    def swept(self) -> Flag:
        """The option as a list of values to try; a sequence is written with commas, as in 64,32."""
        element = str if self.several else self.core
        about = f"{self.help} (one or more values{', each like 64,32' if self.several else ''})"
        return Flag(self.name, types.GenericAlias(tuple, (element, ...)), (), about, False, self.several, self.single)


@final
@dataclass(frozen=True)
class Group:
    """Flags under one title in the help."""

    title: str  # "" for the command's own
    flags: Sequence[Flag]
    about: str = ""


def parse(
    words: Sequence[str],
    groups: Sequence[Group],
    prog: str,
    about: str,
    unknown: Callable[[str], UsageError] | None = None,
) -> dict[str, Any]:
    """The value of every flag by name; `-h` prints the help and exits.

    >>> parse(["--lr", "0.5"], [Group("", [Flag("lr", float, 0.1), Flag("epochs", int, 10)])], "demo", "")
    {'lr': 0.5, 'epochs': 10}
    >>> parse(["--lrr", "0.5"], [Group("", [Flag("lr", float, 0.1)])], "demo", "")
    Traceback (most recent call last):
    pellucid.errors.UsageError: option='--lrr' is not known; did you mean '--lr'? `demo -h` lists them.

    Args:
        words: the words after the command.
        groups: the command's flags, whose names are unique.
        prog: the command as it is typed.
        about: what it does, for the help.
        unknown: makes the error for an option that is in none of the groups.

    Raises:
        UsageError: an unknown option, or an invalid value.
    """
    import tyro

    words = check(words, [flag for group in groups for flag in group.flags], prog, unknown)
    own = [field for group in groups if not group.title for field in map(_field, group.flags)]
    nested = []
    for position, group in enumerate(groups):
        if group.title and group.flags:
            kind = dataclasses.make_dataclass(f"Group{position}", list(map(_field, group.flags)), kw_only=True)
            kind.__doc__ = group.about or None
            # tyro titles a group with its field's name
            nested.append((group.title.replace(" ", "_"), kind, dataclasses.field(default_factory=kind)))
    command = dataclasses.make_dataclass("Command", [*own, *nested], kw_only=True)
    given: Any = tyro.cli(command, prog=prog, description=about, args=list(words), config=(tyro.conf.OmitArgPrefixes,))
    values: dict[str, Any] = {}
    for field in dataclasses.fields(given):
        value = getattr(given, field.name)
        inner = dataclasses.is_dataclass(value) and type(value).__name__.startswith("Group")
        values |= {f.name: getattr(value, f.name) for f in dataclasses.fields(value)} if inner else {field.name: value}
    for flag in (flag for group in groups for flag in group.flags if flag.joined):
        values[flag.name] = tuple(tuple(map(flag.joined, text.split(","))) for text in values[flag.name])
    for flag in (flag for group in groups for flag in group.flags if flag.single):
        own = values[flag.name]
        values[flag.name] = tuple(map(_alone, own)) if flag.joined else _alone(own)
    return values


def _alone(values: tuple[Any, ...]) -> Any:
    return values[0] if len(values) == 1 else values


def check(
    words: Sequence[str], flags: Sequence[Flag], prog: str, unknown: Callable[[str], UsageError] | None = None
) -> list[str]:
    """Raise the first mistake in the words of a command line as one sentence; return the words for tyro."""
    options = {flag.written: flag for flag in flags if not flag.positional}
    options |= {"--no-" + flag.written[2:]: flag for flag in flags if bool in (flag.core, flag.several)}
    loose: list[str] = []
    rest = list(words)
    checked: list[str] = []
    if "-h" in rest or "--help" in rest:
        return ["--help"]
    while rest:
        word = rest.pop(0)
        if not is_option(word):
            # tyro takes a word with a space for no option
            loose.append(f" {word}" if _FORMULA.match(word) else word)
            continue
        name, equals, value = word.partition("=")
        flag = options.get(name.replace("_", "-"))
        if flag is None:
            raise unknown(name) if unknown else misspelt(name, options, prog)
        if flag.kind is bool and (equals or (rest and rest[0] in ("True", "False"))):
            rule = f"takes no value; write {flag.written} or --no-{flag.written[2:]}"
            raise UsageError(f"{flag.name}={value or rest[0]!r}: {rule}.")
        if flag.kind is bool:
            checked.append(name)
            continue
        if flag.several is bool and not equals and not (rest and rest[0] in ("True", "False")):
            checked += [flag.written, str(not name.startswith("--no-"))]  # a single value of those to try
            continue
        if flag.core is bool and not equals and not (rest and rest[0] in ("True", "False", "None")):
            checked += [flag.written, str(not name.startswith("--no-"))]  # tyro makes no such pair for bool | None
            continue
        values = [value] if equals else _values(rest, flag)
        if not values:
            raise UsageError(
                f"{flag.written}: needs a value, {_wanted(flag.several or flag.core)}; `{prog} -h` says more."
            )
        values = [_decimal(flag, text) for text in values]
        for text in values:
            _check_value(flag, text)
        checked += [flag.written, *values]
    _check_positional(loose, [flag for flag in flags if flag.positional], prog)
    return [*loose, *checked]  # positional words first: a list option before them would take them as values


def is_option(word: str) -> bool:
    """Whether a word is an option rather than a value such as -1 or a lone dash.

    >>> [is_option(word) for word in ("--lr", "-h", "-1", "-.5", "-", "a", "-log(x)")]
    [True, True, False, False, False, False, False]
    """
    return word.startswith("-") and word != "-" and not _NUMBER.match(word) and not _FORMULA.match(word)


def _values(rest: list[str], flag: Flag) -> list[str]:
    """Remove the words that belong to a flag from the rest, and return them."""
    values: list[str] = []
    while rest and not is_option(rest[0]) and (flag.several or not values):
        values.append(rest.pop(0))
    return values


def misspelt(name: str, options: Iterable[str], prog: str) -> UsageError:
    """The error for an unknown option, with the nearest known one."""
    near = difflib.get_close_matches(name.replace("_", "-"), list(options), n=1, cutoff=0.6)
    hint = f"; did you mean {near[0]!r}?" if near else "."
    return UsageError(f"option={name!r} is not known{hint} `{prog} -h` lists them.")


def _check_positional(loose: Sequence[str], places: Sequence[Flag], prog: str) -> None:
    needed = [flag for flag in places if flag.default is dataclasses.MISSING]
    if len(loose) < len(needed):
        flag = needed[len(loose)]
        raise UsageError(f"{flag.written}: is missing ({flag.help}); `{prog} -h` says more.")
    if len(loose) > len(places) and not any(flag.several for flag in places):
        what = f"takes {' and '.join(flag.written for flag in places)} only" if places else "takes no such word"
        raise UsageError(f"{loose[len(places)]!r}: is one word too many: {prog} {what}; quote a name with spaces.")
    for flag, word in zip(places, loose, strict=False):
        _check_value(flag, word)


def _check_value(flag: Flag, word: str) -> None:
    if flag.joined:
        if not all(_fits(flag.joined, part) for part in word.split(",")):
            raise UsageError(f"{flag.name}={word!r}: must be {_wanted(flag.joined)}, or several joined by commas.")
        return
    kinds = [flag.several] if flag.several else _members(flag.kind)
    if not any(_fits(kind, word) for kind in kinds):
        choices = [str(choice) for choice in get_args(flag.several or flag.core)] if _is_literal(flag) else []
        near = difflib.get_close_matches(word, choices, n=1, cutoff=0.5)
        hint = f"; did you mean {near[0]!r}?" if near else "."
        raise UsageError(f"{flag.name}={word!r}: must be {_wanted(flag.several or flag.core)}{hint}")


def _decimal(flag: Flag, word: str) -> str:
    """A word for an option that takes numbers, in which fractions such as 25/255 are decimal numbers."""
    if float not in (flag.joined, flag.several, *_members(flag.kind)):
        return word

    def decimal(found: re.Match[str]) -> str:
        return repr(float(found[1]) / float(found[2])) if float(found[2]) else found[0]

    # parts joined by commas are fractions or not, each by itself
    return ",".join(decimal(found) if (found := _FRACTION.fullmatch(part)) else part for part in word.split(","))


def _is_literal(flag: Flag) -> bool:
    return get_origin(flag.several or flag.core) is Literal


def _members(kind: Any) -> tuple[Any, ...]:
    return get_args(kind) if get_origin(kind) in (Union, types.UnionType) else (kind,)


def _fits(kind: Any, word: str) -> bool:
    if kind is type(None):
        return word == "None"
    if get_origin(kind) is Literal:
        return word in map(str, get_args(kind))
    if kind is bool:
        return word in ("True", "False")
    if kind in (int, float):
        try:
            kind(word)
        except ValueError:
            return False
    return True


def _wanted(kind: Any) -> str:
    if get_origin(kind) is Literal:
        return "one of " + ", ".join(map(str, get_args(kind)))
    return {int: "a whole number", float: "a number", bool: "True or False"}.get(kind, "text")


def _field(flag: Flag) -> tuple[str, Any, Any]:
    """A dataclass field that tyro understands."""
    import tyro

    shown = flag.several or flag.core
    metavar = "|".join(map(str, get_args(shown))) if get_origin(shown) is Literal else _METAVARS.get(shown, "TEXT")
    if flag.positional:
        metavar = flag.written
    if flag.several:
        metavar = f"[{metavar} …]" if flag.positional else f"{metavar} …"
    # None or () means that the default is decided later, which the help describes in words
    plain = flag.default is dataclasses.MISSING or flag.default is None or flag.default == ()
    several = flag.default if isinstance(flag.default, (tuple, list)) else [flag.default]
    shown_default = " ".join(f"{value:.4g}" if isinstance(value, float) else str(value) for value in several)
    about = tyro.conf.arg(
        name=flag.name.rstrip("_") if flag.name.endswith("_") else None,
        help=flag.help,
        metavar=None if flag.kind is bool else metavar,
        help_behavior_hint="" if plain else f"(default: {shown_default})",
    )
    kind: Any = Annotated[flag.kind, about]
    if flag.positional:
        kind = Annotated[kind, tyro.conf.Positional]
    default = tuple(flag.default) if isinstance(flag.default, list) else flag.default
    if flag.single and not isinstance(default, tuple):
        default = (default,)
    return flag.name, kind, dataclasses.field(default=default)
