# SPDX-License-Identifier: Apache-2.0
"""The options of a command, read off what they configure: a function, a task, a lens, a model, the recipe."""

from __future__ import annotations

import ast
import dataclasses
import difflib
import inspect
import re
import textwrap
from collections.abc import Callable, Sequence
from typing import Any, get_type_hints

from pellucid import _catalog
from pellucid.cli.flags import Flag, Group, misspelt
from pellucid.errors import UsageError

__all__ = ["explain_unknown", "of_class", "of_function", "of_training", "texts"]


def of_function(function: Callable[..., Any], skip: Sequence[str] = ()) -> list[Flag]:
    """The flags of a function: positional-only parameters stand without a name, the others with one.

    >>> def greet(name: str, /, *, times: int = 1) -> None:
    ...     '''Say hello.
    ...
    ...     Args:
    ...         name: whom to greet.
    ...         times: how often.
    ...     '''
    >>> [(flag.written, flag.default, flag.help) for flag in of_function(greet)][1]
    ('--times', 1, 'how often')
    """
    hints, helps = get_type_hints(function), texts(function)
    return [
        Flag(
            name,
            hints[name],
            dataclasses.MISSING if parameter.default is parameter.empty else parameter.default,
            helps.get(name, ""),
            parameter.kind is parameter.POSITIONAL_ONLY,
        )
        for name, parameter in inspect.signature(function).parameters.items()
        if name not in skip and parameter.kind is not parameter.VAR_KEYWORD
    ]


def of_class(owner: type) -> list[Flag]:
    """The flags of a dataclass: its fields.

    >>> from pellucid.training.recipe import Recipe
    >>> epochs = of_class(Recipe)[0]
    >>> epochs.written, epochs.kind, epochs.default, epochs.help
    ('--epochs', <class 'int'>, 10, 'passes over the training images')
    """
    hints, helps = get_type_hints(owner), texts(owner)
    flags = []
    for field in dataclasses.fields(owner):
        made = field.default_factory
        default = field.default if made is dataclasses.MISSING else made()
        flags.append(Flag(field.name, hints[field.name], default, helps.get(field.name, "")))
    return flags


def of_training(task: str, models: Sequence[str], swept: bool = False) -> list[Group]:
    """The flags of a training, grouped by owner; a name that two owners share stands with the first.

    Args:
        task: a name in the catalogue.
        models: names in the catalogue.
        swept: each flag takes a list of values to try.

    Raises:
        UnknownNameError: a task or a model that there is not.
    """
    from pellucid.models import _building
    from pellucid.training.recipe import Recipe

    kind = _catalog.find("tasks", task)
    groups = [Group(task, of_class(kind), _first_line(kind))]
    for model in models:
        about = _first_line(_catalog.find("models", model))
        found = _building.options(model.replace("-", "_")).items()
        groups.append(Group(model, [Flag(name, *rest) for name, rest in found], about))
    own = kind.defaults(models[0]) if len(models) == 1 else {}  # type: ignore[attr-defined]
    recipe = [dataclasses.replace(flag, default=own.get(flag.name, flag.default)) for flag in of_class(Recipe)]
    groups.append(Group("training", recipe, _first_line(Recipe)))
    seen: set[str] = set()
    unique = []
    for group in groups:
        flags = [flag.swept() if swept else flag for flag in group.flags if flag.name not in seen]
        unique.append(Group(group.title, flags, group.about))
        seen |= {flag.name for flag in group.flags}
    return unique


def explain_unknown(name: str, flags: Sequence[Flag], task: str, models: Sequence[str], prog: str) -> UsageError:
    """The sentence for an option that this training lacks: another model's, a misspelt one, or one of another name.

    >>> print(explain_unknown("--epoch", [Flag("epochs", int, 10)], "classify", ["mlp"], "pellucid train classify"))
    option='--epoch' is not known; did you mean '--epochs'? `pellucid train classify -h` lists them.
    """
    from pellucid.models import _building

    plain = name.lstrip("-").replace("-", "_")
    owners = [
        f"--model {other}"
        for other in _catalog.names("models")
        if other not in models and plain in _building.options(other)
    ]
    owners += [
        f"task {other}" for other in _catalog.names("tasks") if other != task and plain in _fields("tasks", other)
    ]
    if owners:
        return UsageError(
            f"option={name!r} does not belong to {task} with {' or '.join(models)}; it goes with {' or '.join(owners)}."
        )
    # an unabbreviated name: "learning_rate" stands in what is said of --lr
    told = [flag for flag in flags if plain.replace("_", " ") in flag.help.lower()]
    near = difflib.get_close_matches(plain, [flag.name for flag in flags], n=1, cutoff=0.6)
    if told and not near:
        return UsageError(f"option={name!r} is not known; did you mean {told[0].written!r}? `{prog} -h` lists them.")
    return misspelt(name, [flag.written for flag in flags], prog)


def texts(owner: Any) -> dict[str, str]:
    """What the source says of each option: a string below a field, or a line of the docstring's Args section."""
    found = _arguments(inspect.getdoc(owner) or "")
    if inspect.isclass(owner):
        body = ast.parse(textwrap.dedent(inspect.getsource(owner))).body[0]
        assert isinstance(body, ast.ClassDef)
        for field, below in zip(body.body, body.body[1:], strict=False):
            if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and isinstance(below, ast.Expr):
                value = below.value
                if isinstance(value, ast.Constant) and isinstance(value.value, str):
                    found[field.target.id] = " ".join(value.value.split())
    return {name: text.rstrip(".") for name, text in found.items()}


def _arguments(document: str) -> dict[str, str]:
    """The entries of a Google-style Args or Attributes section."""
    section = re.search(r"^(?:Args|Attributes|Options):\n((?:[ \t]+.*\n?|\n)+)", document, re.MULTILINE)
    if not section:
        return {}
    lines = textwrap.dedent(section.group(1)).splitlines()
    found: dict[str, str] = {}
    name = ""
    for line in lines:
        start = re.match(r"(\w+)(?: \([^)]*\))?: (.*)", line)
        if start:
            name = start.group(1)
            found[name] = start.group(2)
        elif name and line.strip():
            found[name] += " " + line.strip()
    return found


def _fields(folder: str, name: str) -> set[str]:
    return {field.name for field in dataclasses.fields(_catalog.find(folder, name))}


def _first_line(owner: type) -> str:
    return (inspect.getdoc(owner) or "").split("\n")[0]
