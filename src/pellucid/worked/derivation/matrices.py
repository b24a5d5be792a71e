# SPDX-License-Identifier: Apache-2.0
"""Second derivatives, gradients, Jacobian and Hessian matrices of a few functions of a few variables, entry by entry."""

from __future__ import annotations

import html
import re
from dataclasses import dataclass
from typing import Final, final

from pellucid.errors import UnknownNameError, UsageError
from pellucid.worked.derivation.derivation import Derivation, derive_node
from pellucid.worked.derivation.indexed import INDICES, apart, indices_of
from pellucid.worked.derivation.naming import separated
from pellucid.worked.derivation.parts import Parts, is_sigmoid
from pellucid.worked.derivation.sums import shortest
from pellucid.worked.derivation.symbolic import Table, simplest, to_sympy
from pellucid.worked.derivation.terms import ZERO, add, divide, negate
from pellucid.worked.derivation.text import indexed, pending, to_text
from pellucid.worked.expressions.expression import Call, Expr, Mul, Name, walk
from pellucid.worked.notation.notation import parse_expression

__all__ = ["Derivatives", "derive_all"]

_ENTRIES: Final = 25
_SOFTMAX: Final = re.compile(r"softmax\((.+)\)")


@final
@dataclass(frozen=True)
class Derivatives:
    """Several derivatives, and the matrix that they make.

    Args:
        title: of the matrix, such as "Jacobian matrix".
        symbol: what the matrix is called, such as J.
        each: the derivations, one after the other.
        entries: the matrix, a row for each function.
        heads: of each derivation, what it finds, such as ∂f_1/∂x.
        single: of a single entry, what it is: ∂/∂x ∂f/∂x.
        origins: of each derivation of a first derivative, what that is: ∂f/∂x; None for others.
    """

    title: str
    symbol: str
    each: tuple[Derivation, ...]
    entries: tuple[tuple[Expr, ...], ...]
    heads: tuple[str, ...]
    single: Expr | None = None
    origins: tuple[Expr | None, ...] = ()

    @property
    def difference(self) -> float:
        """The largest relative difference of all lines."""
        return max((each.difference for each in self.each), default=0.0)

    @property
    def matrix(self) -> str:
        """The matrix as text, with its title."""
        cells = [[to_text(entry) for entry in row] for row in self.entries]
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        if len(cells) == len(cells[0]) == 1:
            return f"{self.title} = {cells[0][0]}"
        rows = ["  ".join(f"{cell:>{width}}" for cell, width in zip(row, widths, strict=True)) for row in cells]
        ends = [("⎡", "⎤"), *[("⎢", "⎥")] * (len(rows) - 2), ("⎣", "⎦")] if len(rows) > 1 else [("[", "]")]
        lines = [f"  {left} {row} {right}" for (left, right), row in zip(ends, rows, strict=True)]
        return "\n".join([self.title, *lines])

    def _repr_html_(self) -> str:
        return f"<pre>{html.escape(str(self))}</pre>"

    def __str__(self) -> str:
        parts = [f"{head}\n\n{each}" for head, each in zip(self.heads, self.each, strict=True)]
        return "\n\n".join([*parts, self.matrix])


def derive_all(text: str, by: str, order: int = 1, names: str = "") -> Derivatives:
    """The derivatives of one or several functions with respect to one or several names.

    >>> print("\\n".join(str(derive_all("x^2*y", "x, y", order=2)).splitlines()[-3:]))
    Hessian matrix
      ⎡ 2·y  2·x ⎤
      ⎣ 2·x    0 ⎦

    Args:
        text: an expression, or several in square brackets; softmax(z_1, z_2) is a vector too.
        by: a name, or several between commas.
        order: 1, or 2 for second derivatives.
        names: what the function is called.

    Raises:
        UsageError: too many entries, second derivatives of several functions, or an expression that has no derivative.
    """
    nodes, variables = _components(text), separated(by)
    if order not in (1, 2):
        raise UsageError(f"order={order}: must be 1 or 2; write 2 for second derivatives.")
    if order == 2 and len(nodes) > 1:
        raise UsageError("order=2: is for one function; give one of them at a time.")
    if len(nodes) * len(variables) > _ENTRIES or (order == 2 and len(variables) ** 2 > _ENTRIES):
        raise UsageError(f"by={by!r}: gives more than {_ENTRIES} entries; choose fewer functions or variables.")
    used = {part.name for node in nodes for part in walk(node) if isinstance(part, Name)}
    for variable in variables:
        if indices_of(variable)[1] and order == 2:
            return _second_of_components(nodes[0], variables, names)
        if indices_of(variable)[1] and (len(variables) > 1 or len(nodes) > 1):
            raise UsageError(f"by={variable!r}: is any component; name single ones, as in z_1, z_2, or add --order 2.")
        if variable not in used:
            raise UnknownNameError("by", variable, sorted(used - INDICES))
    if names and (not names.isidentifier() or names in used):
        raise UsageError(f"as={names!r}: is one name for the functions here, which they do not use; write f.")
    stems = {indices_of(part.name)[0].split("_")[0] for node in nodes for part in walk(node) if isinstance(part, Name)}
    letter = next((letter for letter in "fghuv" if letter not in stems), "F")
    if order == 2:
        return _second(nodes[0], variables, names or letter)
    each, entries, heads = [], [], []
    for place, node in enumerate(nodes, 1):
        own = f"{names or letter}_{place}" if len(nodes) > 1 else names or letter
        row: list[Expr] = []
        for variable in variables:
            if not _has(node, variable):
                row.append(ZERO)
                continue
            each.append(derive_node(node, variable, own))
            heads.append(f"{each[-1].title}")
            row.append(_with_others(each[-1], nodes, names or letter))
        entries.append(tuple(row))
    title = f"{'Jacobian matrix' if len(nodes) > 1 else 'gradient'}, a column for each of {', '.join(map(indexed, variables))}"
    return Derivatives(title, "J", tuple(each), tuple(entries), tuple(heads))


def _second(node: Expr, variables: list[str], name: str) -> Derivatives:
    """The second derivatives of one function: the derivatives of its derivatives."""
    each: list[Derivation] = []
    heads: list[str] = []
    origins: list[Expr | None] = []
    firsts: list[Expr] = []
    # f·(1 − f) is differentiated as it is, other derivatives without f
    known = Parts({name: node}, frozenset({name})) if is_sigmoid(node) else None
    for variable in variables:
        if not _has(node, variable):
            firsts.append(ZERO)
            continue
        each.append(derive_node(node, variable, name))
        heads.append(f"first derivative {each[-1].title}")
        origins.append(None)
        firsts.append(each[-1].simple if known else _plain(each[-1]))
    entries: list[list[Expr]] = [[ZERO] * len(variables) for _ in variables]
    stems = {indices_of(part.name)[0] for part in walk(node) if isinstance(part, Name)}
    letter = next(letter for letter in "ghuvFGH" if letter not in stems | {name})
    for row, first in enumerate(firsts):
        for column in range(row, len(variables)):
            if not _has(known.written_out(first) if known else first, variables[column]):
                continue
            found = derive_node(first, variables[column], letter, known=known)
            each.append(found)
            origins.append(pending(Name(name), variables[row]))
            below = [indexed(variables[column]), indexed(variables[row])]
            squared = f"∂{below[0]}²" if row == column else f"∂{below[0]}∂{below[1]}"
            heads.append(f"second derivative ∂²{name}/{squared}, with {letter} = ∂{name}/∂{below[1]}")
            entries[row][column] = entries[column][row] = found.simple if known else _plain(found)
    several = len(variables) > 1
    title = "Hessian matrix" if several else f"∂²{name}/∂{indexed(variables[0])}²"
    single = None if several else pending(pending(Name(name), variables[0]), variables[0])
    return Derivatives(title, "H", tuple(each), tuple(map(tuple, entries)), tuple(heads), single, tuple(origins))


def _second_of_components(node: Expr, variables: list[str], names: str) -> Derivatives:
    """∂²f/∂x_m∂x_l: the derivative by any component, differentiated by any other one."""
    used = {part.name for part in walk(node) if isinstance(part, Name)}
    first = derive_node(node, variables[0], names)
    stem, own = indices_of(first.by)
    if len(variables) == 1:
        # a second letter for each index: l, m
        taken = {letter for name in used for letter in indices_of(name)[1]} | used | {*own}
        free = [letter for letter in "mnpqrsijkl" if letter not in taken]
        variables = [first.by, "_".join([stem, *free[: len(own)]])]
    if len(variables) != 2 or not indices_of(variables[1])[1]:
        raise UsageError(
            f"by={', '.join(variables)!r}: give one component or two for a second derivative, as in x_l, x_m."
        )
    if variables[1] == variables[0]:
        raise UsageError(f"by={', '.join(variables)!r}: give the second component an index of its own, as in x_l, x_m.")
    stems = {indices_of(name)[0] for name in used} | {indices_of(to_text(first.name).partition("(")[0])[0]}
    letter = next(letter for letter in "ghuvFGH" if letter not in stems)
    second = derive_node(_plain(first), variables[1], letter)
    name, below = to_text(first.name), [indexed(second.by), indexed(first.by)]
    title = f"∂²{name}/∂{below[0]}∂{below[1]}"
    heads = (f"first derivative {first.title}", f"second derivative {title}, with {letter} = {first.title}")
    single = pending(pending(first.name, first.by), second.by)
    return Derivatives(
        title, "H", (first, second), ((second.simple,),), heads, single, (None, pending(first.name, first.by))
    )


def _plain(found: Derivation) -> Expr:
    """A derivative without the function's own name."""
    own = {part.name for part in walk(found.name) if isinstance(part, Name)}
    if not any(isinstance(part, Name) and part.name in own for part in walk(found.simple)):
        return found.naming.parts.written_out(found.simple)
    return shortest(found.naming.parts.written_out(found.total))


def _with_others(found: Derivation, nodes: list[Expr], letter: str) -> Expr:
    """A derivative that is −f_1·f_2, as softmax's is, written so; else in its simplest form."""
    table: Table = {}
    if len(nodes) < 2:
        return found.simple
    slope = to_sympy(found.naming.parts.written_out(found.total), table)
    here = to_sympy(found.naming.parts.written_out(found.node), table)
    for place, other in enumerate(nodes, 1):
        if simplest(slope + here * to_sympy(other, table)) == 0:
            return negate(Mul((found.name, Name(f"{letter}_{place}"))))
    return found.simple


def _has(node: Expr, name: str) -> bool:
    return any(isinstance(part, Name) and part.name == name for part in walk(node))


def _components(text: str) -> list[Expr]:
    """The functions in a text: one, or those of a list, or the components of a softmax."""
    inner = text.strip()
    if called := _SOFTMAX.fullmatch(inner):
        powers = [Call("exp", (apart(parse_expression(entry)),)) for entry in separated(called[1].strip("[]"))]
        if len(powers) > 1:
            return [divide(power, add([*powers])) for power in powers]
    if inner.startswith("[") and inner.endswith("]"):
        return [apart(parse_expression(entry)) for entry in separated(inner[1:-1])]
    return [apart(parse_expression(inner))]
