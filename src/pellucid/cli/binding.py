# SPDX-License-Identifier: Apache-2.0
"""From the words of a command line to a call: which options a command has depends on the task, model or lens it names."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from pellucid import _catalog
from pellucid.cli import commands, options
from pellucid.cli.flags import Group, is_option, parse
from pellucid.errors import UsageError
from pellucid.run import Run
from pellucid.worked.forms.contract import Builder, Form
from pellucid.worked.forms.running import Common, run

if TYPE_CHECKING:
    from pellucid.tasks import Task

__all__ = ["bind"]


def bind(name: str, words: Sequence[str]) -> Callable[[], int]:
    """The call that a command line means, checked and not yet made.

    >>> bind("list", ["tasks"])
    functools.partial(<function list at ...>, 'tasks')

    Args:
        name: a command, one of `pellucid.cli.cli.COMMANDS`.
        words: what was typed after it.

    Raises:
        UsageError: a word that the command cannot take.
        SystemExit: after the help.
    """
    if name == "work" and words and words[0].replace("-", "_") in _catalog.names("worked/builders"):
        return _builder(words[0], words[1:])
    command: Callable[..., int] = getattr(commands, name)
    prog = f"pellucid {name}"
    own = options.of_function(command)
    more: Sequence[Group] = ()
    unknown: Callable[[str], UsageError] | None = None
    if name in ("train", "sweep"):
        task, words = _task_first(words)
        kind: type[Task] = _catalog.find("tasks", task)
        # the last one counts where only one can be given, as for every option
        models = _after("--model", words)[None if name == "sweep" else -1 :] or [kind.default_model]
        more = options.of_training(task, models, swept=name == "sweep")
        flags = [*own, *(flag for group in more for flag in group.flags)]
        unknown = partial(options.explain_unknown, flags=flags, task=task, models=models, prog=prog)
    elif name == "look":
        more = _look_groups(words, {flag.name for flag in own})
    elif name == "predict":
        more = _asking_groups(words)
    about = inspect.cleandoc(command.__doc__ or "").split("\n")[0]
    if command is commands.work:
        about += f" Instead of FILE: {', '.join(_catalog.names('worked/builders'))}, each with its own -h."
    values = parse(words, [Group("", own), *more], prog, about, unknown)
    places = [values.pop(flag.name) for flag in own if flag.positional]
    # what stands at its default was not asked for: the verb decides, and the run records only what was
    for flag in (flag for group in more for flag in group.flags):
        if values[flag.name] == flag.default:
            del values[flag.name]
    return partial(command, *places, **values)


def _builder(word: str, words: Sequence[str]) -> Callable[[], int]:
    """The call of a builder: its fields are options, and those that all builders share come after them."""
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
    """The task that a command line names, and its words with the task in front."""
    rest = [*words]
    known = _catalog.names("tasks")
    if rest and not is_option(rest[0]):
        _catalog.find("tasks", rest[0])
        return rest[0].replace("-", "_"), rest
    for place, word in enumerate(rest):
        # after an option that takes a list of values its name would be one of them
        if word in known and not is_option(rest[place - 1]):
            return word, [rest.pop(place), *rest]
    return "classify", rest


def _after(option: str, words: Sequence[str]) -> Sequence[str]:
    """The values that stand after an option."""
    found = []
    for place, word in enumerate(words):
        name, equals, value = word.partition("=")
        if name == option and equals:
            found.append(value)
        elif name == option:
            for each in words[place + 1 :]:
                if is_option(each):
                    break
                found.append(each)
    return found


def _asking_groups(words: Sequence[str]) -> Sequence[Group]:
    """What the task of the run that is named first can be asked besides; without such a run, what any task can be."""
    named = bool(words) and not is_option(words[0]) and (Path(words[0]) / "run.json").exists()
    tasks = [Run(words[0]).info["task"]["name"]] if named else _catalog.names("tasks")
    groups: list[Group] = []
    for task in tasks:
        kind: type[Task] = _catalog.find("tasks", task)
        seen = {flag.name for group in groups for flag in group.flags}
        flags = [flag for flag in options.of_class(kind.predict_options) if flag.name not in seen]
        if flags:
            groups.append(Group(task, flags, inspect.cleandoc(kind.predict_options.__doc__ or "").split("\n")[0]))
    return groups


def _look_groups(words: Sequence[str], taken: set[str]) -> Sequence[Group]:
    """The options of the lens, and of the training where a task stands in the place of a run."""
    if len(words) < 2 or is_option(words[0]) or is_option(words[1]):
        return ()
    lens = words[1].replace("-", "_")
    groups = [Group(lens, options.of_class(_catalog.find("lenses", lens)))]
    task = words[0].replace("-", "_")
    if task in _catalog.names("tasks") and not Path(words[0]).exists():
        kind: type[Task] = _catalog.find("tasks", task)
        taken = taken | {flag.name for flag in groups[0].flags}
        for group in options.of_training(task, _after("--model", words)[-1:] or [kind.default_model]):
            flags = [flag for flag in group.flags if flag.name not in taken]
            groups.append(Group(group.title, flags, group.about))
    return groups
