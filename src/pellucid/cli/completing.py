# SPDX-License-Identifier: Apache-2.0
"""What may come next on a command line, for the completion of bash, zsh and fish.

The shells' scripts are a few lines that ask `pellucid completion words …` for the words that fit. Options are read from the
sources of commands, tasks, models and lenses without importing these, so that an answer takes a tenth of a second.
"""

from __future__ import annotations

import ast
import functools
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Final

from pellucid import _catalog

__all__ = ["SCRIPTS", "fields", "fitting", "parameters"]

SCRIPTS: Final = {
    "bash": """\
# pellucid's completion for bash; in ~/.bashrc: eval "$(pellucid completion bash)"
_pellucid() {
    local IFS=$'\\n'
    COMPREPLY=($(pellucid completion words "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null))
}
complete -o default -F _pellucid pellucid
""",
    "zsh": """\
#compdef pellucid
# pellucid's completion for zsh; in ~/.zshrc, after compinit: eval "$(pellucid completion zsh)"
_pellucid() {
    local -a found
    found=(${(f)"$(pellucid completion words "${(@)words[2,CURRENT]}" 2>/dev/null)"})
    if (( $#found )); then compadd -- $found; else _files; fi
}
compdef _pellucid pellucid
""",
    "fish": """\
# pellucid's completion for fish; in ~/.config/fish/config.fish: pellucid completion fish | source
complete -c pellucid -a '(pellucid completion words (commandline -opc)[2..-1] (commandline -ct) 2>/dev/null)'
""",
}
"""The script of each shell."""

_HERE = Path(__file__).parent
_FIXED = ("self", "channels", "outputs", "size", "fetch")  # of a model's constructor: no options
Choices = Mapping[str, tuple[str, ...]]  # option -> the values that it takes, () where these are not listed


def fitting(words: Sequence[str], commands: Sequence[str]) -> list[str]:
    """The words that may stand where the last one is being typed; none where a file may.

    >>> fitting(["train", "seg"], ["train", "look"])
    ['segment']
    >>> fitting(["train", "classify", "--optim"], ["train", "look"])
    ['--optimizer']
    >>> fitting(["train", "classify", "--optimizer", "ada"], ["train", "look"])
    ['adam', 'adamw']

    Args:
        words: after `pellucid`, the last one begun or empty.
        commands: all of them.
    """
    *before, begun = words or [""]
    if not before:
        return [name for name in commands if name.startswith(begun)]
    command, *rest = before
    if command not in commands:
        return []
    options = _options(command, rest)
    if begun.startswith("-"):
        names = [*options, *(f"--no-{name[2:]}" for name, values in options.items() if values == ("True", "False"))]
        return sorted(name for name in {*names, "--help"} if name.startswith(begun))
    last = next((word for word in reversed(rest) if word.startswith("--")), "")
    if last in options and options[last] != ("True", "False") and (rest[-1] == last or options[last]):
        return [value for value in options[last] if value.startswith(begun)]
    loose = [word for word in rest if not word.startswith("-")]
    return [name for name in _placed(command, len(loose)) if name.startswith(begun)]


def _placed(command: str, place: int) -> Sequence[str]:
    """The names that a command takes at a place among its words without an option."""
    folder = {
        ("train", 0): "tasks",
        ("sweep", 0): "tasks",
        ("look", 0): "tasks",
        ("look", 1): "lenses",
        ("work", 0): "worked/builders",
    }.get((command, place))
    if folder:
        return _catalog.names(folder)
    if place or command not in ("completion", "list"):
        return ()
    return [*SCRIPTS] if command == "completion" else ("tasks", "models", "lenses", "builders", "data")


def _options(command: str, words: Sequence[str]) -> Choices:
    """The options of a command line, of which these words are there already."""
    forms = _HERE.parent / "worked" / "forms"
    if command == "work":
        builder = words[0].replace("-", "_") if words else ""
        if builder not in _catalog.names("worked/builders"):
            return parameters(forms / "command.py", "work")
        source = _catalog.source("worked/builders", builder)
        shared = fields(forms / "running.py", "Common") if "(Builder):" in source.read_text(encoding="utf-8") else {}
        return fields(source, placed=True) | shared
    file = {"serve": "serving.py", "predict": "predicting.py"}.get(
        command, "commands.py"
    )  # which imports them from there
    found = dict(parameters(_HERE / file, command))
    if "--model" in found:
        found["--model"] = tuple(_catalog.names("models"))
    tasks = [word for word in words if word in _catalog.names("tasks")]
    if command in ("train", "sweep"):
        model = next((after for word, after in pairwise(words) if word == "--model"), None)
        found |= fields(_catalog.source("tasks", tasks[0] if tasks else "classify"))
        if model in _catalog.names("models"):
            found |= parameters(_catalog.source("models", model), "__init__")
        found |= fields(_HERE.parent / "training" / "recipe.py", "Recipe")
    if command == "predict":
        for task in [_task_of(words[0])] if words and _task_of(words[0]) else _catalog.names("tasks"):
            found |= _of_answers(task)
    if command == "look" and (lens := next((word for word in words if word in _catalog.names("lenses")), None)):
        found |= fields(_catalog.source("lenses", lens))
    return found


def _task_of(run: str) -> str:
    """The task of a run's folder, "" if it is none."""
    try:
        task = json.loads((Path(run) / "run.json").read_text(encoding="utf-8"))["task"]["name"]
    except (OSError, ValueError, LookupError, TypeError):
        return ""
    return task if task in _catalog.names("tasks") else ""


def _of_answers(task: str) -> dict[str, tuple[str, ...]]:
    """The options that a task adds to `predict`: the fields of the dataclass in its folder whose name ends in Options."""
    source = _catalog.source("tasks", task)
    files = sorted(source.parent.glob("*.py")) if source.parent.name == task else [source]
    names = {file: re.findall(r"^class (\w+Options)\b", file.read_text(encoding="utf-8"), re.M) for file in files}
    found: dict[str, tuple[str, ...]] = {}
    for file, owners in names.items():
        for owner in owners:
            found |= fields(file, owner)
    return found


@functools.cache
def fields(source: Path, owner: str | None = None, placed: bool = False) -> dict[str, tuple[str, ...]]:
    """The options that a dataclass's source declares, with the values of those that name them.

    >>> fields(_catalog.source("tasks", "denoise"))["--level"]
    ()

    Args:
        source: the file of the class.
        owner: the class; by default the one that the file is named after.
        placed: whether fields that may be given by their place are no options.
    """
    tree = ast.parse(source.read_text(encoding="utf-8"))
    title = owner or source.stem.replace("_", "")
    found: dict[str, tuple[str, ...]] = {}
    for kind in (node for node in tree.body if isinstance(node, ast.ClassDef)):
        if kind.name.lower() != title.lower():
            continue
        by_place = placed and not any("kw_only=True" in ast.unparse(word) for word in kind.decorator_list)
        for field in (node for node in kind.body if isinstance(node, ast.AnnAssign)):
            assert isinstance(field.target, ast.Name)
            if "KW_ONLY" in ast.unparse(field.annotation):
                found, by_place = {}, False
                continue
            if by_place:
                continue
            value = field.value
            if "ClassVar" in ast.unparse(field.annotation):
                if field.target.id == "recipes" and isinstance(value, ast.Dict):
                    found["--recipe"] = tuple(str(key.value) for key in value.keys if isinstance(key, ast.Constant))
                continue
            maker = value.func.id if isinstance(value, ast.Call) and isinstance(value.func, ast.Name) else ""
            if maker == "unfolded":
                assert isinstance(value, ast.Call)
                found |= {_flag(name): () for name in _unfolded(value)}
            elif maker != "learned":
                found[_flag(field.target.id)] = _choices(field.annotation)
    return found


def _unfolded(call: ast.Call) -> Iterator[str]:
    """The names of the options in a call of `_options.unfolded`."""
    for argument in call.args[1:]:
        if isinstance(argument, ast.Constant):
            yield str(argument.value)
    yield from (word.arg for word in call.keywords if word.arg and word.arg != "helps")


@functools.cache
def parameters(source: Path, function: str) -> dict[str, tuple[str, ...]]:
    """The options that a function's source takes by name; of `__init__`, those of the class that the file is named after."""
    tree = ast.parse(source.read_text(encoding="utf-8"))
    title = source.stem.replace("_", "")
    bodies = [tree.body] if function != "__init__" else []
    bodies += [node.body for node in tree.body if isinstance(node, ast.ClassDef) and node.name.lower() == title]
    for node in (node for body in bodies for node in body):
        if isinstance(node, ast.FunctionDef) and node.name == function:
            named = [*node.args.args, *node.args.kwonlyargs]
            fixed = _FIXED if function == "__init__" else ()
            return {_flag(one.arg): _choices(one.annotation) for one in named if one.arg not in fixed}
    return {}


def _flag(name: str) -> str:
    return "--" + name.rstrip("_").replace("_", "-")


def _choices(annotation: ast.expr | None) -> tuple[str, ...]:
    """The values that an annotation lists: those of its Literal, True and False of a bool."""
    if annotation is None:
        return ()
    if ast.unparse(annotation) == "bool":
        return ("True", "False")
    for node in ast.walk(annotation):
        if isinstance(node, ast.Subscript) and ast.unparse(node.value) == "Literal":
            items = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
            return tuple(str(item.value) for item in items if isinstance(item, ast.Constant))
    return ()
