# SPDX-License-Identifier: Apache-2.0
"""Parts of an expression with names of their own: the p_i of a cross-entropy, the g and h of a quotient."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import sympy

from pellucid.worked.derivation.indexed import indices_of, rename_index
from pellucid.worked.derivation.sums import split_sum
from pellucid.worked.derivation.symbolic import Table, from_sympy, simplest, to_sympy
from pellucid.worked.derivation.terms import ONE
from pellucid.worked.expressions.expression import Add, Call, Div, Expr, Name, Neg, replace, walk

__all__ = ["Parts", "found_parts", "is_sigmoid", "share_of_sum"]


@dataclass(frozen=True)
class Parts:
    """Names and what they stand for.

    Args:
        defined: by name, with the index that the name has.
        kept: names that stay in the result, because it is shorter with them.
    """

    defined: Mapping[str, Expr] = field(default_factory=dict)
    kept: frozenset[str] = frozenset()

    def definition(self, name: Name) -> Expr | None:
        """What a name stands for, with its own index: of p_j if p_i is defined."""
        if name.name in self.defined:
            return self.defined[name.name]
        stem, indices = indices_of(name.name)
        for other, node in self.defined.items():
            base, letters = indices_of(other)
            if base == stem and len(letters) == len(indices):
                for before, after in zip(letters, indices, strict=True):
                    node = rename_index(node, before, after)
                return node
        return None

    def written_out(self, node: Expr, keep: bool = False) -> Expr:
        """An expression with the definitions in place of the names.

        Args:
            node: the expression.
            keep: leave the names in `kept`.
        """

        def change(part: Expr) -> Expr | None:
            if not isinstance(part, Name) or (keep and indices_of(part.name)[0] in self.kept):
                return None
            definition = self.definition(part)
            return None if definition is None else self.written_out(definition, keep)

        return replace(node, change)

    def named(self, node: Expr) -> Expr:
        """An expression with names for its parts."""

        def change(part: Expr) -> Expr | None:
            for name, definition in self.defined.items():
                if part == definition:
                    return Name(name)
                _, letters = indices_of(name)
                shared = share_of_sum(part)
                if shared and letters and rename_index(part, shared, letters[0]) == definition:
                    return Name("_".join([indices_of(name)[0], shared]))
            return None

        return replace(node, change)

    def in_own_terms(self, name: Name, slope: Expr, by: str) -> Expr:
        """The derivative of a part with the part itself in it: p_i·(δ_ij − p_j), or p·(1 − p)."""
        definition = self.definition(name)
        stem, indices = indices_of(name.name)
        if definition is None or stem not in self.kept or not isinstance(definition, Div):
            return slope
        table: Table = {}
        own, form = sympy.Symbol(name.name, real=True), to_sympy(slope, table)
        if not indices:  # 1/(1 + exp(−u)): with exp(−u) = 1/p − 1
            power = definition.bottom.terms[1] if isinstance(definition.bottom, Add) else ONE
            form = sympy.factor(simplest(form.subs(to_sympy(power, table), 1 / own - 1)))
            return from_sympy(form, table, name.name)
        wanted = indices_of(by)[1]
        if len(wanted) != 1:
            return slope
        total = to_sympy(definition.bottom, table)
        other = sympy.Symbol(f"{stem}_{wanted[0]}", real=True)
        tops = {
            to_sympy(definition.top, table): own * total,
            to_sympy(rename_index(definition.top, indices[0], wanted[0]), table): other * total,
        }
        return from_sympy(own * sympy.cancel(sympy.expand(form.subs(tops)) / own), table, name.name)

    def summed(self, inner: Expr, index: str, wanted: str) -> tuple[Expr, Expr]:
        """The term of a sum simplified, and the sum itself; see `split_sum`."""
        return split_sum(self.written_out(inner, keep=True), index, wanted)


def share_of_sum(node: Expr) -> str:
    """The index j of exp(z_j)/Σ_k exp(z_k), or of another number divided by the sum of all of its kind; nothing for any other node.

    >>> from pellucid.worked.notation.notation import parse_expression
    >>> share_of_sum(parse_expression("exp(z_j)/sum(exp(z_k), k)"))
    'j'
    """
    match node:
        case Div(top=top, bottom=Call(function="sum", args=(body, Name(name=index)))):
            for part in walk(top):
                letters = indices_of(part.name)[1] if isinstance(part, Name) else ()
                if len(letters) == 1 and rename_index(body, index, letters[0]) == top:
                    return letters[0]
    return ""


def found_parts(node: Expr, taken: set[str]) -> Parts:
    """The softmax and the sigmoids inside an expression, under names that it does not use.

    >>> from pellucid.worked.notation.notation import parse_expression
    >>> list(found_parts(parse_expression("log(exp(z_i)/sum(exp(z_k), k))"), set()).defined)
    ['p_i']

    Args:
        node: the expression.
        taken: names that are in use.
    """
    defined: dict[str, Expr] = {}
    free = (letter for letter in "pqsuvabc" if letter not in taken)
    for part in walk(node):
        if part == node or not isinstance(part, Div):
            continue
        index = share_of_sum(part)
        known = Parts(defined).named(part)
        if isinstance(known, Name) or not (index or is_sigmoid(part)):
            continue
        letter = next(free, "")
        if letter:
            defined[f"{letter}_{index}" if index else letter] = part
    return Parts(defined, frozenset(indices_of(name)[0] for name in defined))


def is_sigmoid(node: Expr) -> bool:
    """Whether a node is 1/(1 + exp(−u))."""
    match node:
        case Div(top=top, bottom=Add(terms=(one, Call(function="exp", args=(Neg(),))))):
            return top == one == ONE
    return False
