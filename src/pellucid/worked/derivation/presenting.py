# SPDX-License-Identifier: Apache-2.0
"""Derivations and proofs in the formats of worksheets: terminal, Markdown, LaTeX, HTML, JSON."""

from __future__ import annotations

import json
from typing import TypeAlias

from pellucid.worked.derivation.derivation import Derivation
from pellucid.worked.derivation.matrices import Derivatives
from pellucid.worked.derivation.proofs import Proof
from pellucid.worked.derivation.text import pending
from pellucid.worked.expressions.expression import Expr, Name, replace
from pellucid.worked.showing.grids import Matrix, MatrixEquation, as_json, show_grid
from pellucid.worked.showing.lines import Answer, Block, Heading, Remark, Sheet, Step
from pellucid.worked.showing.showing import show
from pellucid.worked.showing.wrapping import fold, packed, width_of

__all__ = ["Shown", "present"]

Shown: TypeAlias = Derivation | Derivatives | Proof


def present(shown: Shown, form: str = "terminal", width: int = 0) -> str:
    """A derivation or proof as text.

    >>> from pellucid.worked.derivation.derivation import derive
    >>> print(present(derive("x^2", "x"), "markdown").splitlines()[4])
    1. power rule: $\\frac{\\partial}{\\partial x} (x^{2}) = 2 \\cdot x$

    Args:
        shown: what `derive`, `derive_all` or `prove` gives.
        form: terminal, markdown, latex, html, fragment or json.
        width: of a terminal, in columns; 0 for lines of any length.
    """
    if form == "terminal":
        text = str(shown)
        return text if not width or max(map(width_of, text.split("\n"))) <= width else _narrow(shown, width)
    text = show(_sheet(shown), form)
    if not isinstance(shown, Derivatives):
        return text
    grid = MatrixEquation(shown.title, ((shown.symbol, "=", Matrix(_spaced(shown.entries))),))
    if shown.single is not None:
        grid = MatrixEquation("second derivative", ((shown.single, "=", _deltas(shown.entries[0][0])),))
    if form == "json":
        return json.dumps(json.loads(text) | {"grids": [as_json(grid)]}, ensure_ascii=False, indent=1)
    end = {"html": "<footer>", "latex": "\\end{document}", "fragment": "<footer>"}.get(form, "")
    drawn = show_grid(grid, "html" if form == "fragment" else form)
    head, mark, tail = text.rpartition(end) if end else (text, "", "")
    return f"{head}\n\n{drawn}\n{mark}{tail}"


def _spaced(rows: tuple[tuple[Expr, ...], ...]) -> tuple[tuple[Expr, ...], ...]:
    return tuple(tuple(map(_deltas, row)) for row in rows)


def _deltas(node: Expr) -> Expr:
    """The expression with δ_jl as a name with two indices."""

    def change(part: Expr) -> Expr | None:
        found = isinstance(part, Name) and part.name.startswith("δ_") and len(part.name) == 4
        return Name(f"δ_{part.name[2]}_{part.name[3]}") if found and isinstance(part, Name) else None

    return replace(node, change)


def _sheet(shown: Shown) -> Sheet:
    if isinstance(shown, Proof):
        worst = shown.check()
        blocks: list[Block] = []
        for chain in shown.chains:
            # each chain of equal lines is one equation
            blocks += [Heading((chain[0].words.partition(" = ")[0],))]
            blocks += [
                Step(f"{line.rule} ({line.shape})" if line.shape else line.rule, (line.words,)) for line in chain
            ]
        answer = Answer((shown.title,), shown.title, tuple(blocks))
        return Sheet((answer,), {}, title=shown.title, note=shown.note(worst))
    each = shown.each if isinstance(shown, Derivatives) else (shown,)
    origins = shown.origins if isinstance(shown, Derivatives) and shown.origins else (None,) * len(each)
    answers = tuple(map(_answer, each, origins))
    return Sheet(answers, {}, title="Derivation", note=f"Checked: {each[-1].check}.")


def _answer(found: Derivation, origin: Expr | None = None) -> Answer:
    # of a second derivative, what the first one is called
    blocks: list[Block] = [] if origin is None else [Remark(("with ", _deltas(found.name), " = ", _deltas(origin)))]
    for row in found.definitions:
        left, right = map(_deltas, row.forms)
        blocks.append(Remark((f"{row.rule} " if row.rule else "", left, " = ", right)))
    rows = found.rows
    count = len(rows) - len(found.special)
    for number, row in enumerate(rows, 1):
        blocks.append(Step(row.rule, tuple(map(_deltas, row.forms)), number if number <= count else 0))
    blocks += [Remark((sentence,)) for sentence in found.remarks]
    return Answer((_deltas(pending(found.name, found.by)),), found.title, tuple(blocks))


def _narrow(shown: Shown, width: int) -> str:
    """For a terminal that is narrower than the lines: each rule above what it says."""
    if isinstance(shown, Derivatives):
        parts = [f"{head}\n\n{_narrow(each, width)}" for head, each in zip(shown.heads, shown.each, strict=True)]
        return "\n\n".join([*parts, *([shown.matrix] if shown.entries else [])])
    if isinstance(shown, Proof):
        lines = fold(shown.title, width, width, prose=True)
        for chain in shown.chains:
            lines.append("")
            for line in chain:
                rule = f"{line.rule}{f', {line.shape}' if line.shape else ''}"
                lines += [f"  {piece}" for piece in fold(rule, width - 2, width - 2, prose=True)]
                lines += [f"      {piece}" for piece in fold(line.words, width - 6, width - 8)]
        return "\n".join([*lines, "", *fold(shown.note(shown.check()), width, width, prose=True)])
    rows = shown.rows
    count = len(rows) - len(shown.special)
    digits = len(str(count))
    lines = [piece for row in shown.definitions for piece in fold(f"{row.rule} {row.words}".strip(), width, width)]
    for number, row in enumerate(rows, 1):
        mark = f"{number:>{digits}}" if number <= count else " " * digits
        lines += ["", f"{mark}  {row.rule}"] if number == 1 else [f"{mark}  {row.rule}"]
        first, *others = row.words.split(" = ")
        lines += packed(first, [("=", other) for other in others], width, digits + 6)
    remarks = [piece for sentence in shown.remarks for piece in fold(sentence, width, width, prose=True)]
    check = fold(f"checked: {shown.check}", width, width, prose=True)
    return "\n".join([*lines, *(["", *remarks] if remarks else []), "", *check])
