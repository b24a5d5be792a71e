# SPDX-License-Identifier: Apache-2.0
"""The options of a command, read off what they configure: functions, tasks, lenses, models and the recipe."""

from __future__ import annotations

import dataclasses
import difflib
import inspect
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin, get_type_hints

from pellucid import _catalog
from pellucid._helps import texts
from pellucid._options import command_line, options_of
from pellucid._ready import aliased
from pellucid.cli.flags import Flag, Group, misspelt
from pellucid.errors import UsageError

if TYPE_CHECKING:
    pass

__all__ = ["explain_unknown", "of_class", "of_function", "of_training", "texts"]


def of_function(function: Callable[..., Any], skip: Sequence[str] = ()) -> list[Flag]:
    """The flags of a function; positional-only parameters are positional on the command line too.

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
    """The flags of a dataclass: its fields, and those of its unfolded ones.

    >>> from pellucid.training.recipe import Recipe
    >>> epochs = of_class(Recipe)[0]
    >>> epochs.written, epochs.kind, epochs.default, epochs.help
    ('--epochs', <class 'int'>, 10, 'passes over the training images')
    """
    known = options_of(owner)
    helps = {kind: texts(kind) for kind in {option.owner for option in known.values()}}
    flags = []
    for name, option in known.items():
        several = next((kind for kind in get_args(option.kind) if get_origin(kind) is tuple), None)
        single = several is not None and get_args(several)[0] in get_args(option.kind)  # float | tuple[float, ...]
        about = option.help or helps[option.owner].get(option.field, "")
        flags.append(Flag(name, several if single else option.kind, option.default, about, single=single))
    return flags


def of_training(task: str, models: Sequence[str], swept: bool = False) -> list[Group]:
    """The flags of a training, grouped by owner; a name that two owners share appears with the first.

    Args:
        task: name of the task.
        models: names of the models.
        swept: whether each flag takes a list of values to try.

    Raises:
        UnknownNameError: an unknown task or model.
    """
    from pellucid.models import _building
    from pellucid.training.recipe import Recipe

    kind: Any = _catalog.find("tasks", task)
    models = [aliased(model)[0] for model in models]
    groups = [Group(task.rpartition(":")[2], [*_recipes(kind), *of_class(kind)], _first_line(kind))]
    for model in models:
        about = _first_line(_catalog.find("models", model))
        known = _building.options(model).items()
        ours = kind.model_defaults(model)  # that the task changes
        flags = [Flag(name, type, ours.get(name, default), help) for name, (type, default, help) in known]
        groups.append(Group(model.rpartition(":")[2], flags, about))
    own = kind.defaults(models[0]) if len(models) == 1 else {}  # defaults that the task changes for this model
    recipe = [dataclasses.replace(flag, default=own.get(flag.name, flag.default)) for flag in of_class(Recipe)]
    groups.append(Group("training", recipe, _first_line(Recipe)))
    seen: set[str] = set()
    unique = []
    for group in groups:
        flags = [flag.swept() if swept else flag for flag in group.flags if flag.name not in seen]
        unique.append(Group(group.title, flags, group.about))
        seen |= {flag.name for flag in group.flags}
    return unique


def _recipes(kind: Any) -> list[Flag]:
    """The flag that names options which go together, where a task has such recipes."""
    if not kind.recipes:
        return []
    said = "; ".join(f"{name}: {command_line(**own).removeprefix('pellucid ')}" for name, own in kind.recipes.items())
    about = f"options that go together, of which those that are given besides win; {said}"
    return [Flag("recipe", Literal[tuple(kind.recipes)] | None, None, about)]


def explain_unknown(name: str, flags: Sequence[Flag], task: str, models: Sequence[str], prog: str) -> UsageError:
    """The error for an option that this training lacks: another model's, a misspelt one, or one known by another name.

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
    # a name written out: the help of --lr mentions the "learning rate"
    described = [flag for flag in flags if plain.replace("_", " ") in flag.help.lower()]
    near = difflib.get_close_matches(plain, [flag.name for flag in flags], n=1, cutoff=0.6)
    if described and not near:
        return UsageError(
            f"option={name!r} is not known; did you mean {described[0].written!r}? `{prog} -h` lists them."
        )
    return misspelt(name, [flag.written for flag in flags], prog)


def _fields(folder: str, name: str) -> set[str]:
    return set(options_of(_catalog.find(folder, name)))


def _first_line(owner: type) -> str:
    return (inspect.getdoc(owner) or "").split("\n")[0]
