# SPDX-License-Identifier: Apache-2.0
"""The cases of a sweep as they are written on the command line: a name, a colon, and options of `train`."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from functools import partial
from itertools import pairwise
from typing import Any

from pellucid import _catalog
from pellucid.cli import options
from pellucid.cli.flags import Flag, Group, is_option, parse
from pellucid.errors import UsageError
from pellucid.own.files import is_reference
from pellucid.own.parts import take

__all__ = ["read"]


def read(texts: Sequence[str], task: str, models: Sequence[str]) -> dict[str, dict[str, Any]]:
    """The options of each case, by its name.

    >>> read(["frozen: --frozen", "small: --model mlp --hidden 8"], "classify", ["efficientnet_lite0"])
    {'frozen': {'frozen': True}, 'small': {'model': 'mlp', 'hidden': (8,)}}

    Args:
        texts: the words of the command line.
        task: name of the task.
        models: of the sweep; a case may name its own.

    Raises:
        UsageError: no name, a name twice, or an option that `train` does not have.
    """
    found: dict[str, dict[str, Any]] = {}
    for text in texts:
        name, colon, rest = text.partition(":")
        name = name.strip()
        if not colon or not name:
            raise UsageError(
                f"case={text!r}: must be a name, a colon and options of train; write e.g. --case 'frozen: --frozen'."
            )
        if name in found:
            raise UsageError(f"case={text!r}: there are two of this name; give one of them another.")
        try:
            words = shlex.split(rest)
        except ValueError as fault:
            raise UsageError(f"case={text!r}: cannot be read ({fault}); close the quotation marks.") from None
        found[name] = _options(words, text, task, models)
    return found


def _options(words: Sequence[str], text: str, task: str, models: Sequence[str]) -> dict[str, Any]:
    kind: Any = _catalog.find("tasks", task)
    words = [*words]
    for place, word in enumerate(words):  # FILE.py:NAME becomes the name of the class
        option, equals, value = word.partition("=")
        if option == "--model" and equals and is_reference(value):
            words[place] = f"--model={take('models', value).name}"
        elif is_reference(word) and words[place - 1 : place] == ["--model"]:
            words[place] = str(take("models", word).name)
    flag = Flag("model", str, "", "the model of this case")
    named = [value for word, value in pairwise(words) if word == "--model"]
    named += [word.partition("=")[2] for word in words if word.startswith("--model=")]
    own = named[-1:] or [*models] or [kind.default_model]
    groups = [Group("", [flag]), *options.of_training(task, own)]
    flags = [flag for group in groups for flag in group.flags]
    prog = f"pellucid train {task}"
    if {"-h", "--help"} & set(words):
        raise UsageError(f"case={text!r}: asks for help; `{prog} -h` gives it.")
    values = parse(
        words, groups, prog, "", partial(options.explain_unknown, flags=flags, task=task, models=own, prog=prog)
    )
    # a value that is also the default counts: it wins over that of the sweep
    written = {word.partition("=")[0].replace("_", "-") for word in words if is_option(word)}
    return {flag.name: values[flag.name] for flag in flags if {flag.written, f"--no-{flag.written[2:]}"} & written}
