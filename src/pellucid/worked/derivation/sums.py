# SPDX-License-Identifier: Apache-2.0
"""Sums whose terms have a factor δ_kl in some of their parts: of these the term k = l is left, the others stay a sum."""

from __future__ import annotations

import sympy

from pellucid.worked.derivation.indexed import rename_index
from pellucid.worked.derivation.symbolic import Table, from_sympy, simplest, to_sympy
from pellucid.worked.derivation.terms import ONE, ZERO, add, multiply, negate, tidied
from pellucid.worked.expressions.expression import Call, Expr, Name, Neg, replace, walk

__all__ = ["shortest", "split_sum", "without_delta"]


def without_delta(node: Expr, delta: Expr) -> Expr:
    """What is left of an expression where a δ is 0.

    >>> without_delta(Name("δ_kl") * Name("x"), Name("δ_kl"))
    Const(value=Fraction(0, 1))
    """
    return tidied(replace(node, {delta: ZERO}))


def split_sum(inner: Expr, index: str, wanted: str) -> tuple[Expr, Expr]:
    """The term of a sum simplified, and the sum: a + Σ_k b for Σ_k (a_k·δ_kl + b_k), what is free of k before the Σ.

    >>> from pellucid.worked.derivation.text import to_text
    >>> inner, total = split_sum(Name("y_k") * (Name("δ_kl") - Name("p_l")), "k", "l")
    >>> to_text(total)
    'y_l − p_l·Σ_k y_k'
    """
    table: Table = {}
    term = to_sympy(inner, table)
    simple = min(
        (sympy.factor(simplest(term)), sympy.cancel(term)),
        key=lambda form: (len(str(form)), not form.is_Mul, str(form)),
    )
    same = sympy.Symbol(f"δ_{index}{wanted}", real=True)
    rest = simplest(simple.subs(same, 0))
    single = simplest(simple.subs(same, 1) - rest)
    parts = [rename_index(from_sympy(single, table), index, wanted)]
    for part in sympy.Add.make_args(sympy.expand(rest)):
        factors = [from_sympy(factor, table) for factor in sympy.Mul.make_args(part)]
        inside = [factor for factor in factors if _has(factor, index)]
        outside = [factor for factor in factors if factor not in inside]
        negative = sum(isinstance(factor, Neg) or factor == negate(ONE) for factor in outside) % 2
        outside = [factor.term if isinstance(factor, Neg) else factor for factor in outside if factor != negate(ONE)]
        if ZERO in factors:
            continue
        total = multiply(*outside, Call("sum", (multiply(*inside), Name(index))))
        parts.append(negate(total) if negative else total)
    return from_sympy(simple, table), add(parts)


def _has(node: Expr, index: str) -> bool:
    """Whether an expression depends on an index."""
    names = (part.name for part in walk(node) if isinstance(part, Name))
    return any(index in name.split("_")[1:] or (name.startswith("δ_") and index in name[2:]) for name in names)


def shortest(node: Expr, own: str = "") -> Expr:
    """The shortest form of an expression, factored or expanded; sums over an index stay as they are.

    >>> from pellucid.worked.derivation.text import to_text
    >>> from pellucid.worked.notation.notation import parse_expression
    >>> to_text(shortest(parse_expression("-(y_l - p_l*sum(y_k, k))")))
    'p_l·Σ_k y_k − y_l'

    Args:
        node: the expression.
        own: the name that comes first in p·(1 − p).
    """
    table: Table = {}
    simple = simplest(to_sympy(node, table))
    forms = (sympy.factor(simple), sympy.expand(simple))
    return from_sympy(min(forms, key=lambda form: (len(str(form)), not form.is_Mul, str(form))), table, own)
