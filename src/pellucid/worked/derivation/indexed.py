# SPDX-License-Identifier: Apache-2.0
"""Names with an index, such as z_j: which they are, with another index, and their values as components of vectors."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fractions import Fraction
from typing import Any

import numpy as np

from pellucid.worked.derivation.terms import ONE, ZERO, tidied
from pellucid.worked.expressions.expression import Call, Const, Expr, Name, rebuild, replace, walk
from pellucid.worked.expressions.numeric import numpy_value

__all__ = ["INDICES", "apart", "delta", "evaluate_at", "indices_of", "rename_index"]

INDICES = frozenset("ijklmnpqrst")  # z_j has an index; h and x are left out, so W_h and W_x are plain names


def indices_of(name: str) -> tuple[str, tuple[str, ...]]:
    """The stem of a name and its indices, of which there may be none.

    >>> indices_of("z_j"), indices_of("w_j_k"), indices_of("W_h")
    (('z', ('j',)), ('w', ('j', 'k')), ('W_h', ()))
    """
    stem, *parts = name.split("_")
    here = len(parts)
    while here and parts[here - 1] in INDICES:
        here -= 1
    return ("_".join([stem, *parts[:here]]), tuple(parts[here:])) if stem else (name, ())


def apart(node: Expr, bound: str = "") -> Expr:
    """The expression with w_jk as w_j_k, where a sum runs over j or k.

    >>> apart(Call("sum", (Name("w_jk"), Name("k"))))
    Call(function='sum', args=(Name(name='w_j_k'), Name(name='k')), index=0)
    """
    if isinstance(node, Name):
        stem, _, last = node.name.rpartition("_")
        several = stem and len(last) > 1 and {*last} <= INDICES and {*last} & {*bound}
        return Name("_".join([stem, *last])) if several else node
    if isinstance(node, Call) and node.function == "sum" and isinstance(index := node.args[-1], Name):
        return Call("sum", (*(apart(arg, bound + index.name) for arg in node.args[:-1]), index))
    return rebuild(node, lambda inner: apart(inner, bound))


def delta(pairs: Iterable[tuple[str, str]]) -> list[Expr]:
    """Kronecker's δ for each pair of indices that may be equal; one for a pair that is.

    >>> delta([("j", "l"), ("k", "k")])
    [Name(name='δ_jl')]
    """
    return [Name(f"δ_{first}{second}") for first, second in pairs if first != second]


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
        if part.name.startswith("δ_"):
            first, second = (to if letter == index else letter for letter in part.name[2:])
            return ONE if first == second else Name(f"δ_{first}{second}")
        stem, indices = indices_of(part.name)
        renamed = [to if letter == index else letter for letter in indices]
        return Name("_".join([stem, *renamed])) if index in indices else None

    return tidied(replace(node, change))


def evaluate_at(node: Expr, numbers: Mapping[str, Any], places: Mapping[str, int]) -> float:
    """The value of an expression whose indexed names are components of vectors.

    >>> from pellucid.worked.notation.notation import parse_expression
    >>> evaluate_at(parse_expression("sum(z_k^2, k) + z_j"), {"z": [1.0, 2.0]}, {"j": 1})
    7.0

    Args:
        node: the expression.
        numbers: by stem, a vector for names with an index, a matrix for those with two, a number for those without.
        places: the value of each index, from 0.
    """

    def change(part: Expr) -> Expr | None:
        match part:
            case Call(function="sum", args=(body, Name(name=index))):
                # the index runs over the length of the vectors that carry it
                carriers = [indices_of(n.name) for n in walk(body) if isinstance(n, Name)]
                sizes = [
                    np.shape(numbers[stem])[indices.index(index)]
                    for stem, indices in carriers
                    if index in indices and stem in numbers
                ]
                # a term without an index is added as often as there are components
                counts = [*sizes, *(len(value) for value in numbers.values() if np.ndim(value))]
                count = next(iter(counts), 1)
                return Const(Fraction(sum(evaluate_at(body, numbers, {**places, index: k}) for k in range(count))))
            case Name(name=name) if name.startswith("δ_"):  # Kronecker's δ_jl
                return ONE if places[name[2]] == places[name[3]] else ZERO
            case Name(name=name):
                stem, indices = indices_of(name)
                return Const(Fraction(float(np.asarray(numbers[stem])[tuple(places[letter] for letter in indices)])))
        return None

    return float(numpy_value(replace(node, change), {}))
