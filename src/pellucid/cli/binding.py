# SPDX-License-Identifier: Apache-2.0
"""From the words of a command line to a call; the options depend on the task, model or lens that it names."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from itertools import takewhile
from pathlib import Path
from typing import Any

from pellucid import _catalog
from pellucid.cli import commands, options
from pellucid.cli.flags import Flag, Group, is_option, parse
from pellucid.errors import UsageError
from pellucid.own.files import is_reference
from pellucid.own.parts import take
from pellucid.run import Run

__all__ = ["bind"]


def bind(name: str, words: Sequence[str]) -> Callable[[], int]:
    """The function call for a command line, with checked arguments.

    >>> bind("list", ["tasks"])
    functools.partial(<function list at ...>, 'tasks')

    Args:
        name: a command, one of `pellucid.cli.cli.COMMANDS`.
        words: the words after it.

    Raises:
        UsageError: an unknown option, or an invalid value.
        SystemExit: after printing the help.
    """
    if name == "work" and words and words[0].replace("-", "_") in _catalog.names("worked/builders"):
        return _builder(words[0], words[1:])
    command: Callable[..., int] = getattr(commands, name)
    prog = f"pellucid {name}"
    own = options.of_function(command)
    more: Sequence[Group] = ()
    unknown: Callable[[str], UsageError] | None = None
    words = _own_models(name, words)
    if name in ("train", "sweep"):
        task, words = _task_first(words)
        kind: Any = _catalog.find("tasks", task)
        # of an option that takes one value, the last one counts
        models = _after("--model", words)[None if name == "sweep" else -1 :] or [_default_model(kind, words)]
        more = options.of_training(task, models, swept=name == "sweep")
        flags = [*own, *(flag for group in more for flag in group.flags)]
        unknown = partial(options.explain_unknown, flags=flags, task=task, models=models, prog=prog)
        if (given := _after("--weights", words)) and not Path(given[-1]).exists() and not _after("--model", words):
            unknown = partial(_no_weights, given[-1])
    elif name == "look":
        more = _look_groups(words, {flag.name for flag in own})
    elif name == "predict":
        more = _predict_groups(words)
    about = inspect.cleandoc(command.__doc__ or "").split("\n")[0]
    if name == "work":
        about += " Instead of FILE a word, as in `pellucid work mlp`: `pellucid work --list` names them all; each has its own -h."
    values = parse(words, [Group("", own), *more], prog, about, unknown)
    places = [values.pop(flag.name) for flag in own if flag.positional]
    # pass only values that differ from their defaults: the function decides the others, and the run records what was given
    # beside a recipe, a default that was written down counts too: it wins over the recipe's value
    written = {_plain(word) for word in words if is_option(word)} if values.get("recipe") else set()
    for flag in (flag for group in more for flag in group.flags):
        if values[flag.name] == flag.default and flag.name not in written:
            del values[flag.name]
    return partial(command, *places, **values)


def _plain(word: str) -> str:
    """The name of the option that a word of a command line sets.

    >>> _plain("--batch-size=32"), _plain("--no-flip"), _plain("--flip")
    ('batch_size', 'flip', 'flip')
    """
    return word.partition("=")[0].removeprefix("--").replace("-", "_").removeprefix("no_")


def _builder(word: str, words: Sequence[str]) -> Callable[[], int]:
    """The call of a builder: its fields are options, and those that all builders share come after them."""
    # only here: an image verb does without the worked half
    from pellucid.worked.forms.contract import Builder, Form
    from pellucid.worked.forms.running import Common, run

    kind: type[Form] = _catalog.find("worked/builders", word)
    named = inspect.signature(kind).parameters
    own = [
        replace(flag, positional=named[flag.name].kind is not inspect.Parameter.KEYWORD_ONLY)
        for flag in options.of_class(kind)
    ]
    shared = options.of_class(Common) if issubclass(kind, Builder) else []
    about = inspect.cleandoc(kind.__doc__ or "").split("\n")[0]
    values = parse(words, [Group("", [*own, *shared])], f"pellucid work {word}", about)
    form = kind(**{flag.name: values[flag.name] for flag in own})
    return partial(run, form, Common(**{flag.name: values[flag.name] for flag in shared}))


def _task_first(words: Sequence[str]) -> tuple[str, list[str]]:
    """The task that a command line names, and the words with the task in front."""
    rest = [*words]
    known = _catalog.names("tasks")
    for place, word in enumerate(words):  # --task my.py:Mine
        option, equals, value = word.partition("=")
        if option == "--task" and (equals or words[place + 1 : place + 2]):
            rest = [value or words[place + 1], *words[:place], *words[place + (1 if equals else 2) :]]
            break
    if rest and is_reference(rest[0]):
        rest[0] = str(take("tasks", rest[0]).name)
        return rest[0], rest
    if rest and not is_option(rest[0]):
        _catalog.find("tasks", rest[0])
        return rest[0].replace("-", "_"), rest
    for place, word in enumerate(rest):
        # right after an option, the task's name would be its value
        if word in known and not is_option(rest[place - 1]):
            return word, [rest.pop(place), *rest]
    return "classify", rest


def _own_models(command: str, words: Sequence[str]) -> list[str]:
    """The words, in which FILE.py:NAME after `--model` has become the name of the class; a run takes it as it is written."""
    words = [*words]
    if command not in ("train", "sweep") and not (
        command == "look" and words and not (Path(words[0]) / "run.json").exists()
    ):
        return words
    given = False
    for place, word in enumerate(words):
        option, equals, value = word.partition("=")
        given = option == "--model" if is_option(word) else given
        if given and is_reference(value if equals else word) and (equals or not is_option(word)):
            words[place] = f"--model={take('models', value).name}" if equals else str(take("models", word).name)
    return words


def _default_model(kind: Any, words: Sequence[str]) -> str:
    """The task's own model, or that of the run whose weights are given."""
    given = _after("--weights", words)
    if not given:
        recipe = (_after("--recipe", words) or [""])[-1]
        return str(kind.recipes.get(recipe, {}).get("model", kind.default_model))
    from pellucid.training.origin import model_of

    out = _after("--out", words)
    return model_of(given[-1], out[-1] if out else None) or str(kind.default_model)


def _no_weights(path: str, option: str) -> UsageError:
    """The error for an option of a model that weights were to name, and they are not there."""
    return UsageError(
        f"weights={path!r}: there is no such file or run, and without --model it is not known whose option {option!r} is; name "
        "a run's folder, or give --model."
    )


def _after(option: str, words: Sequence[str]) -> Sequence[str]:
    """The values that follow an option."""
    values = []
    for place, word in enumerate(words):
        name, equals, value = word.partition("=")
        if name == option and equals:
            values.append(value)
        elif name == option:
            values += takewhile(lambda text: not is_option(text), words[place + 1 :])
    return values


def _predict_groups(words: Sequence[str]) -> Sequence[Group]:
    """The options of `predict` that the run's task adds; those of all tasks if no run is named."""
    named = bool(words) and not is_option(words[0]) and (Path(words[0]) / "run.json").exists()
    kinds: dict[str, Any] = {}
    if named:
        with warnings.catch_warnings():  # what is to be said of a task that differs is said when it is run
            warnings.simplefilter("ignore")
            run = Run(words[0], task=next(iter(_after("--task", words)[-1:]), None))
            mine = run.own("task")
        name = run.info["task"]["name"]
        kinds[name] = _catalog.find("tasks", name) if mine is None else mine.kind
    else:
        kinds = {task: _catalog.find("tasks", task) for task in _catalog.names("tasks")}
    groups: list[Group] = []
    for task, kind in kinds.items():
        asked = getattr(kind, "predict_options", None)
        if asked is None:
            continue
        own = {flag.name: flag for flag in options.of_class(asked)}
        # an option that several tasks have is one, which says what it is for each
        groups = [
            replace(group, flags=[_shared(flag, group.title, own.pop(flag.name, None), task) for flag in group.flags])
            for group in groups
        ]
        if own:
            groups.append(
                Group(task.rpartition(":")[2], list(own.values()), inspect.cleandoc(asked.__doc__ or "").split("\n")[0])
            )
    return groups


def _shared(flag: Flag, task: str, other: Flag | None, name: str) -> Flag:
    """An option of a task that another task may have too."""
    if other is None:
        return flag
    return replace(flag, help=f"{task}: {flag.help}; {name}: {other.help}")


def _look_groups(words: Sequence[str], taken: set[str]) -> Sequence[Group]:
    """The options of the lens, and those of a training if a task is given instead of a run."""
    if len(words) < 2 or is_option(words[0]) or is_option(words[1]):
        return ()
    lens = words[1].replace("-", "_")
    groups = [Group(lens, options.of_class(_catalog.find("lenses", lens)))]
    task = words[0].replace("-", "_")
    if task in _catalog.names("tasks") and not Path(words[0]).exists():
        kind: Any = _catalog.find("tasks", task)
        taken = taken | {flag.name for flag in groups[0].flags}
        for group in options.of_training(task, _after("--model", words)[-1:] or [_default_model(kind, words)]):
            flags = [flag for flag in group.flags if flag.name not in taken]
            groups.append(Group(group.title, flags, group.about))
    return groups
