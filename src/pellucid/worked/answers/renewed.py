# SPDX-License-Identifier: Apache-2.0
"""Updated parameters as people call them: w_new = 0.55, w' = 0.55, and w = 0.55 where the worksheet asks for w after a step."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from pellucid.worked.answers.entry import Target
from pellucid.worked.expressions.expression import Const, Expr
from pellucid.worked.notation.questions import Question
from pellucid.worked.worksheet.worksheet import Worksheet

__all__ = ["as_update", "updated"]

_NEW: Final = re.compile(
    r"(\s*)(?:new\s+)?(\w+?(?:\[[\d, ]+\])?)(?:_\{?(?:new|neu|next)\}?|\^\{?\(?new\)?\}?|'|⁺|\s+new|\s*\(new\))\s*"
)


def as_update(left: str, sheet: Worksheet, asked: Sequence[Question]) -> str:
    """w_new as `w after sgd(lr=0.1) on L`, if the worksheet asks for one update of w.

    >>> sheet = Worksheet("w = 2; L = w^2; ? w after sgd(lr=0.1) on L")
    >>> as_update("w_new", sheet, sheet.questions)
    'w after sgd(lr=0.1) on L'
    """
    match = _NEW.fullmatch(left) or re.fullmatch(r"(\s*)new\s+(\w+)\s*", left)
    if match is None:
        return left
    names = sheet.components(match[2].replace("[", "_").replace("]", "").replace(",", "_").replace(" ", ""))
    found = _question(names, asked)
    if found is None or left.strip() in sheet.equations:
        return left
    return f"{match[1]}{match[2]} after {found.title.split(' after ', 1)[1]}"


def updated(
    targets: Sequence[Target], given: Sequence[Expr], sheet: Worksheet, asked: Sequence[Question]
) -> list[Target]:
    """The same targets, but those of the one update that the worksheet asks for where given numbers get other ones.

    >>> sheet = Worksheet("w = 2; L = w^2; ? w after sgd(lr=0.1) on L")
    >>> [target.key for target in updated([Target("w")], [sheet.w * 0.8], sheet, sheet.questions)]
    ['w after sgd(lr=0.1) on L']
    """
    kept = [*targets]
    if not targets or any(target.of or target.update for target in targets):
        return kept
    found = _question([target.name for target in targets], asked)
    rights = [sheet.equations[target.name].right for target in targets]
    if found is None or not all(isinstance(right, Const) for right in rights):
        return kept
    if len(given) == len(rights) and all(one == two for one, two in zip(given, rights, strict=True)):
        return kept  # the given number itself
    return [Target(target.name, found.of, found) for target in targets]


def _question(names: Sequence[str], asked: Sequence[Question]) -> Question | None:
    """The one update that is asked for all of these names."""
    found = [question for question in asked if question.rule and {*names} <= {*question.names}]
    return found[0] if len(found) == 1 else None
