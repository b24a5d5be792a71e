# SPDX-License-Identifier: Apache-2.0
"""Indices as numbers: the name of a component once the loop variables have their values."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import TypeAlias

from pellucid.errors import UsageError
from pellucid.worked.expressions.expression import Add, At, Const, Expr, Index, Mul, Name, Neg
from pellucid.worked.expressions.position import position
from pellucid.worked.notation.arrays import component_name

__all__ = ["Bindings", "index_name", "index_subscripts", "whole_number"]

Bindings: TypeAlias = Mapping[str, int]  # the values of the loop variables


def index_name(index: Index, bindings: Bindings) -> str:
    """The name of a component: of `W_{i,j}` with i = 1 and j = 2 it is `W_1_2`, of `W_{hh}` it is `W_hh`.

    >>> index_name(Index("W", (Name("i"), Name("h")), words=True), {"i": 3})
    'W_3_h'

    Raises:
        UsageError: an index that is neither a number nor, in braces, a word.
    """
    parts: list[int | str] = []
    for place in index.places:
        if index.words and isinstance(place, Name) and place.name not in bindings:
            # W_{ij} has two indices where i and j are loop variables
            letters = [*place.name] if all(letter in bindings for letter in place.name) else []
            parts += [bindings[letter] for letter in letters] or [index_subscripts(place.name, bindings)]
        else:
            parts.append(whole_number(place, bindings, index.at))
    return component_name(index.base, parts)


def whole_number(what: Expr, bindings: Bindings, at: At | None) -> int:
    """The value of an index or a range's end, such as t − 1: a whole number of at least 0."""
    value = _number(what, bindings)
    if value is None or value.denominator != 1 or not 0 <= value <= 1_000_000:
        raise UsageError(f"{position(at)}index: must be a whole number of at least 0; use numbers and loop variables.")
    return int(value)


def _number(what: Expr, bindings: Bindings) -> Fraction | None:
    """The value of an expression of numbers and loop variables; None for anything else."""
    match what:
        case Const(value=Fraction() as value):
            return value
        case Name(name=name):
            return Fraction(bindings[name]) if name in bindings else None
        case Neg(term=term):
            inner = _number(term, bindings)
            return None if inner is None else -inner
        case Add(terms=parts) | Mul(factors=parts):
            numbers = [_number(part, bindings) for part in parts]
            if any(number is None for number in numbers):
                return None
            total = Fraction(0 if isinstance(what, Add) else 1)
            for number in numbers:
                assert number is not None
                total = total + number if isinstance(what, Add) else total * number
            return total
    return None


def index_subscripts(name: str, bindings: Bindings) -> str:
    """`z_i` with i = 2 is `z_2`; subscripts that are not loop variables stay.

    >>> index_subscripts("W_i_x", {"i": 2}), index_subscripts("W_ij", {"i": 1, "j": 2})
    ('W_2_x', 'W_1_2')
    """
    base, *parts = name.split("_")
    if not parts or not bindings:
        return name
    found: list[str] = []
    for part in parts:
        if part in bindings:
            found.append(str(bindings[part]))
        elif len(part) > 1 and all(letter in bindings for letter in part):
            found += [str(bindings[letter]) for letter in part]
        else:
            found.append(part)
    return "_".join([base, *found])
