# SPDX-License-Identifier: Apache-2.0
"""A derivative in its textbook form: the shortest of several, with the function itself in it where that helps."""

from __future__ import annotations

from fractions import Fraction
from typing import Any, Final

import sympy

from pellucid.worked.derivation.indexed import indices_of, rename_index
from pellucid.worked.derivation.parts import share_of_sum
from pellucid.worked.derivation.symbolic import Table, from_sympy, simplest, to_sympy
from pellucid.worked.derivation.terms import multiply, negate, tidied
from pellucid.worked.expressions.expression import Call, Const, Div, Expr, Mul, Neg, Piecewise, walk

__all__ = ["as_sigmoid", "simplified"]

MINUS: Final = Const(Fraction(-1))


def simplified(node: Expr, result: Expr, name: str, index: str) -> tuple[Expr, tuple[tuple[str, Expr], ...]]:
    """The derivative in its shortest form, and its cases where indices may be equal.

    >>> from pellucid.worked.derivation.text import to_text
    >>> from pellucid.worked.notation.notation import parse_expression
    >>> sigmoid, slope = parse_expression("1/(1 + exp(-x))"), parse_expression("exp(-x)/(1 + exp(-x))^2")
    >>> to_text(simplified(sigmoid, slope, "f", "")[0])
    'f·(1 − f)'

    Args:
        node: the function.
        result: its derivative.
        name: what the function is called, with its index.
        index: the index of the variable, if it has one.
    """
    table: Table = {}
    function, slope = to_sympy(node, table), to_sympy(result, table)
    own = sympy.Symbol(name, real=True)
    stem, letters = indices_of(name)
    simple = simplest(slope)
    candidates = [sympy.factor(simple), sympy.expand(simple)]
    if isinstance(node, Div) and len(letters) == 1 and index and share_of_sum(node):
        # f_j = u_j/Σ: replace u_j by f_j·Σ and u_l by f_l·Σ, and the sums cancel
        other = sympy.Symbol(f"{stem}_{index}", real=True)
        total = table[node.bottom]
        tops = {
            to_sympy(node.top, table): own * total,
            to_sympy(rename_index(node.top, letters[0], index), table): other * total,
        }
        candidates.append(own * sympy.cancel(sympy.expand(slope.subs(tops)) / own))
    elif not letters:
        candidates += _by_itself(function, slope, simple, own)
    best = min(
        (form for form in candidates if not form.has(sympy.nan, sympy.zoo)),
        key=lambda form: (len(str(form)), not form.is_Mul, str(form)),
    )
    shown = _branches_outside(from_sympy(best, table, name))
    if not index or not letters:
        return shown, ()
    delta = sympy.Symbol(f"δ_{letters[0]}{index}", real=True)
    if delta not in best.free_symbols:
        return shown, ()
    # in the case l = j every z_l is z_j
    equal = rename_index(from_sympy(best.subs(delta, 1), table, name), index, letters[0])
    unequal = from_sympy(simplest(best.subs(delta, 0)), table, name)
    again: Table = {}
    equal = from_sympy(sympy.factor(to_sympy(equal, again)), again, name)
    return shown, ((f"{index} = {letters[0]}", equal), (f"{index} ≠ {letters[0]}", unequal))


def _by_itself(function: Any, slope: Any, simple: Any, own: Any) -> list[Any]:
    """The derivative in terms of the function itself: f·(1 − f) for the sigmoid, n·f/x for x^n."""
    forms = [sympy.factor(simplest(slope.subs(function, own)))]
    if function.has(sympy.exp) or any(not power.exp.is_number for power in function.atoms(sympy.Pow)):
        ratio = simplest(simple / function)
        if not ratio.has(sympy.exp):
            forms.append(own * ratio)
    for atom in sorted(function.atoms(sympy.exp), key=str)[::-1][:3]:
        forms += _by_power(function, slope, own, atom)
    # (1 − f)(1 + f) is expanded to 1 − f², but f(1 − f) is kept
    forms = [
        sympy.expand(form)
        if sum(own in part.free_symbols for part in sympy.Mul.make_args(form) if part.is_Add) > 1
        else form
        for form in forms
    ]
    return [form for form in forms if not (form.free_symbols - slope.free_symbols - {own}) and _reads_well(form, own)]


def _reads_well(form: Any, own: Any) -> bool:
    """Whether f stands by itself, in 1 − f, or in 1 − f^2, and not in a sum with other names."""
    if own not in form.free_symbols:
        return False
    return all(part.free_symbols <= {own} for part in form.atoms(sympy.Add) if own in part.free_symbols)


def _by_power(function: Any, slope: Any, own: Any, atom: Any) -> list[Any]:
    """With t = exp(u), solve f = f(t) for t and put the solution into the derivative."""
    power, unit = sympy.Dummy("t", positive=True), atom.args[0]
    swap = {}
    for other in (function + slope).atoms(sympy.exp):
        ratio = (other.args[0] / unit).simplify()
        if ratio.is_Integer:
            swap[other] = power ** int(ratio)
    changed = function.subs(swap)
    if power not in changed.free_symbols:
        return []
    roots = sympy.solve(sympy.Eq(changed, own), power)[:2]
    return [sympy.factor(simplest(slope.subs(swap).subs(power, root))) for root in roots]


def _branches_outside(node: Expr) -> Expr:
    """A product with the factors of a function with branches inside of it: {2·x if x > 0, 0 otherwise}."""
    negative, inner = isinstance(node, Neg), node.term if isinstance(node, Neg) else node
    cased = [part for part in inner.factors if isinstance(part, Piecewise)] if isinstance(inner, Mul) else [inner]
    if not isinstance(inner, (Mul, Piecewise)) or len(cased) != 1 or not isinstance(cased[0], Piecewise):
        return node
    others = [part for part in inner.factors if part is not cased[0]] if isinstance(inner, Mul) else []

    def times(value: Expr) -> Expr:
        whole = tidied(multiply(*others, value) if value != MINUS else negate(multiply(*others)))
        return negate(whole) if negative else whole

    return Piecewise(tuple((times(value), test) for value, test in cased[0].branches), times(cased[0].otherwise))


def as_sigmoid(node: Expr) -> Expr | None:
    """The u of σ(u) that a fraction of exponentials is, a − b for exp(a)/(exp(a) + exp(b)); None for anything else.

    >>> from pellucid.worked.derivation.text import to_text
    >>> from pellucid.worked.notation.notation import parse_expression
    >>> to_text(as_sigmoid(parse_expression("exp(a)/(exp(a) + exp(b))")))
    'a − b'
    """
    if not isinstance(node, Div) or any(isinstance(part, Call) and part.function == "sum" for part in walk(node)):
        return None
    table: Table = {}
    form = to_sympy(node, table)
    if not form.has(sympy.exp):
        return None
    # f/(1 − f) = exp(u)
    odds = sympy.powsimp(simplest(form / (1 - form)))
    inner = sympy.expand_log(sympy.log(odds), force=True)
    if odds.func is not sympy.exp or inner.has(sympy.log):
        return None
    return from_sympy(inner, table)
