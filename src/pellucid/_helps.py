# SPDX-License-Identifier: Apache-2.0
"""What the source says of each option, and functions whose signature and help list the options of a dataclass too."""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from collections.abc import Callable
from typing import Any

from pellucid._options import options_of

__all__ = ["listing_options", "texts"]


def listing_options(function: Callable[..., Any], owner: type[Any], name: str = "options") -> None:
    """Let a function that takes `**options` name those of a dataclass in its signature and in its help, for completion too.

    >>> from pellucid.training.training import train
    >>> {"epochs", "lr", "log"} <= {*inspect.signature(train).parameters}
    True
    """
    signature = inspect.signature(function)
    known, helps = options_of(owner), texts(owner)
    mine = [one for one in signature.parameters.values() if one.kind is not one.VAR_KEYWORD]
    more = [
        inspect.Parameter(option, inspect.Parameter.KEYWORD_ONLY, default=one.default, annotation=_shown(one.kind))
        for option, one in known.items()
        if option not in signature.parameters
    ]
    rest = [one for one in signature.parameters.values() if one.kind is one.VAR_KEYWORD]
    vars(function)["__signature__"] = signature.replace(parameters=[*mine, *more, *rest])
    listed = [f"{one.name}: {helps.get(one.name, '')}" for one in more]
    lines = [textwrap.fill(line, 110, initial_indent=" " * 4, subsequent_indent=" " * 8) for line in listed]
    function.__doc__ = (
        f"{inspect.cleandoc(function.__doc__ or '')}\n\nOptions of the training, of `{name}`:\n" + "\n".join(lines)
    )


def _shown(kind: Any) -> str:
    """A type as it is written."""
    return kind.__name__ if isinstance(kind, type) and "[" not in str(kind) else str(kind).replace("typing.", "")


def texts(owner: Any) -> dict[str, str]:
    """The help of each option from the source: the string below a field, or its entry in the docstring's Args section."""
    helps = _arguments(inspect.getdoc(owner) or "")
    if inspect.isclass(owner):
        body = ast.parse(textwrap.dedent(inspect.getsource(owner))).body[0]
        assert isinstance(body, ast.ClassDef)
        for field, below in zip(body.body, body.body[1:], strict=False):
            if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and isinstance(below, ast.Expr):
                value = below.value
                if isinstance(value, ast.Constant) and isinstance(value.value, str):
                    helps[field.target.id] = " ".join(value.value.split())
    return {name: text.rstrip(".") for name, text in helps.items()}


def _arguments(document: str) -> dict[str, str]:
    """The entries of a Google-style Args or Attributes section."""
    section = re.search(r"^(?:Args|Attributes|Options):\n((?:[ \t]+.*\n?|\n)+)", document, re.MULTILINE)
    if not section:
        return {}
    lines = textwrap.dedent(section.group(1)).splitlines()
    entries: dict[str, str] = {}
    name = ""
    for line in lines:
        start = re.match(r"(\w+)(?: \([^)]*\))?: (.*)", line)
        if start:
            name = start.group(1)
            entries[name] = start.group(2)
        elif name and line.strip():
            entries[name] += " " + line.strip()
    return entries
