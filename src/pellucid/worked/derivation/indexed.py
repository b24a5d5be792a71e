# SPDX-License-Identifier: Apache-2.0
"""Names with an index, such as z_j: which they are, with another index, and their values as components of vectors."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import Any

from pellucid.worked.derivation.terms import ONE, ZERO, tidied
from pellucid.worked.expressions.expression import Call, Const, Expr, Name, replace, walk
from pellucid.worked.expressions.numeric import numpy_value

__all__ = ["INDICES", "evaluate_at", "index_of", "rename_index"]

INDICES = frozenset("ijklmnpqrst")  # z_j has an index; h and x are left out, so W_h and W_x are plain names


def index_of(name: str) -> tuple[str, str]:
    """The stem of a name and its index, which may be empty.

    >>> index_of("z_j"), index_of("W_h")
    (('z', 'j'), ('W_h', ''))
    """
    stem, _, last = name.rpartition("_")
    return (stem, last) if stem and last in INDICES else (name, "")


def rename_index(node: Expr, index: str, to: str, also: Mapping[Expr, Expr] | None = None) -> Expr:
    """The expression with one index replaced by another; a δ whose indices become equal is 1.

    >>> from pellucid.worked.derivation.text import to_text
    >>> to_text(rename_index(Name("z_k"), "k", "l"))
    'z_l'

    Args:
        node: the expression.
        index: the index to replace.
        to: its replacement.
        also: further replacements, by expression.
    """

    def change(part: Expr) -> Expr | None:
        if also and part in also:
            return also[part]
        if not isinstance(part, Name):
            return None
        if part.name == index:
            return Name(to)
        stem, last = index_of(part.name)
        if part.name.startswith("δ_"):
            first, second = (to if letter == index else letter for letter in part.name[2:])
            return ONE if first == second else Name(f"δ_{first}{second}")
        return Name(f"{stem}_{to}") if last == index else None

    return tidied(replace(node, change))


def evaluate_at(node: Expr, numbers: Mapping[str, Any], places: Mapping[str, int]) -> float:
    """The value of an expression whose indexed names are components of vectors.

    >>> from pellucid.worked.notation.notation import parse_expression
    >>> evaluate_at(parse_expression("sum(z_k^2, k) + z_j"), {"z": [1.0, 2.0]}, {"j": 1})
    7.0

    Args:
        node: the expression.
        numbers: by stem, a vector for names with an index and a number for those without.
        places: the value of each index, from 0.
    """

    def change(part: Expr) -> Expr | None:
        match part:
            case Call(function="sum", args=(body, Name(name=index))):
                # the index runs over the length of the vectors that carry it
                stems = {
                    index_of(n.name)[0] for n in walk(body) if isinstance(n, Name) and index_of(n.name)[1] == index
                }
                count = next((len(numbers[stem]) for stem in stems if stem in numbers), 1)
                return Const(Fraction(sum(evaluate_at(body, numbers, {**places, index: k}) for k in range(count))))
            case Name(name=name) if name.startswith("δ_"):  # Kronecker's δ_jl
                return ONE if places[name[2]] == places[name[3]] else ZERO
            case Name(name=name):
                stem, index = index_of(name)
                return Const(Fraction(float(numbers[stem][places[index]]) if index else float(numbers[stem])))
        return None

    return float(numpy_value(replace(node, change), {}))
