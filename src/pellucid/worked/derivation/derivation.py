# SPDX-License-Identifier: Apache-2.0
"""Derivations: a derivative with one named rule per line, simplified to its textbook form, each line checked at random points.

`derive("exp(z_j)/sum(exp(z_k), k)", by="z_l")` ends with f_j·(δ_jl − f_l) and its two cases. The proofs in
`pellucid.worked.derivation.proofs` look the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import sympy

from pellucid.errors import UnknownNameError, UsageError
from pellucid.worked.derivation.indexed import INDICES, apart, evaluate_at, indices_of, rename_index
from pellucid.worked.derivation.rules import Step, differentiate
from pellucid.worked.derivation.text import indexed, to_text
from pellucid.worked.expressions.expression import Add, Call, Const, Div, Expr, Mul, Name, Neg, Pow, walk
from pellucid.worked.notation.notation import parse_expression

__all__ = ["Derivation", "derive", "to_sympy"]

_LARGEST_POWER = 64  # SymPy computes a power of two numbers in full: 9^9^9 would take forever
_POINTS, _SIZE = 5, 4  # random points, components of each vector
TOLERANCE = 1e-7
"""The difference allowed between a derivative and the central difference, relative to the larger of it and 1."""


@dataclass(frozen=True)
class Derivation:
    """A derivative with every step that leads to it.

    Args:
        function: the function, as text.
        by: the variable.
        steps: the rules, the outermost first.
        result: the derivative as the rules give it, as text.
        simplified: the derivative simplified, in terms of the function if that is shorter, such as f·(1 − f).
        cases: with indices, the derivative where they are equal and where they differ.
        difference: the largest relative difference between a line and its central difference.
    """

    function: str
    by: str
    steps: tuple[Step, ...]
    result: str
    simplified: str
    cases: tuple[tuple[str, str], ...]
    difference: float

    def __str__(self) -> str:
        name = self.simplified.split(" = ")[0] if " = " in self.simplified else "f"
        lines = [f"{name.removeprefix('∂').split('/')[0]} = {self.function}", ""]
        rows = [(step.rule, f"{step.left} = {step.right}") for step in self.steps]
        rows.append(("put together", f"{name} = {self.result}"))
        rows.append(("simplified", self.simplified))
        width = max(len(rule) for rule, _ in rows)
        digits = len(str(len(rows)))
        lines += [f"{number:{digits}}  {rule:{width}}  {words}" for number, (rule, words) in enumerate(rows, 1)]
        lines += [f"{'':{digits}}  {'case ' + case:{width}}  {words}" for case, words in self.cases]
        lines += [
            "",
            f"checked: every line against central differences at {_POINTS} random points, largest difference {self.difference:.0e}",
        ]
        return "\n".join(lines)


def derive(text: str, by: str) -> Derivation:
    """Differentiate an expression with respect to a name, with one named rule per line.

    >>> softmax = derive("exp(z_j)/sum(exp(z_k), k)", "z_l")
    >>> softmax.simplified, softmax.cases
    ('∂f_j/∂z_l = f_j·(δ_jl − f_l)', (('l = j', 'f_j·(1 − f_j)'), ('l ≠ j', '−f_j·f_l')))

    Args:
        text: an expression in the notation of worksheets. Names such as z_j, with an index among the letters i to t, are
            components, and sum(…, k) runs over all k.
        by: a name in the expression; for a component, with an index that the expression does not use.

    Raises:
        UsageError: not an expression, or one without a differentiation rule.
    """
    node = apart(parse_expression(text))
    # by w_{l,m} as well as w_l_m
    variable = parse_expression(by)
    by = variable.name if isinstance(variable, Name) else by
    stem, own = indices_of(by)
    used = sorted({part.name for part in walk(node) if isinstance(part, Name)})
    indices = sorted({letter for name in used for letter in indices_of(name)[1]})
    bound = {_sum_index(part) for part in walk(node)} - {""}
    carried = {(other, len(theirs)) for other, theirs in map(indices_of, used) if theirs}
    head, _, last = by.rpartition("_")
    if not own and by not in used and (head, len(last)) in carried:
        by = "_".join([head, *last])  # by w_lm
        stem, own = indices_of(by)
    if by not in used and (stem, len(own)) not in carried:
        raise UnknownNameError("by", by, [indexed(name) for name in used if name not in INDICES])
    for letter in own:
        if letter in bound:
            raise UsageError(f"by={by!r}: {letter} is the index of the sum; choose another index, such as l.")
    result, steps = differentiate(node, by)
    with np.errstate(all="ignore"):  # NaN at a random point fails the comparison below
        difference = max(_difference(step.node, step.result, by) for step in steps) if steps else 0.0
    if not difference < TOLERANCE:
        raise UsageError(
            f"function={text!r}: its derivative fails the check by central differences; use a function that is smooth between "
            "0.3 and 1.7."
        )
    free = [letter for letter in indices if letter not in bound and letter not in own]
    index = own[0] if len(own) == 1 else ""
    # the function is called f, or the next letter that the expression does not use
    stems = {indices_of(name)[0] for name in used}
    letter = next((letter for letter in "fghuv" if letter not in stems), "F")
    name = f"{letter}_{free[0]}" if len(free) == 1 else letter
    simplified, cases = _simplified(node, result, name, free, index)
    return Derivation(
        to_text(node),
        indexed(by),
        tuple(steps),
        to_text(result),
        f"∂{name}/∂{indexed(by)} = {_shown(simplified)}",
        cases,
        difference,
    )


def _sum_index(node: Expr) -> str:
    """The index k of sum(…, k); nothing for any other node."""
    match node:
        case Call(function="sum", args=(_, Name(name=index))):
            return index
    return ""


def to_sympy(node: Expr, sums: dict[Expr, Any] | None = None) -> Any:
    """An expression as SymPy's, converted node by node; a sum over an index becomes a single symbol.

    >>> to_sympy(parse_expression("2*x^2 - exp(x)"))
    2*x**2 - exp(x)

    Args:
        node: the expression.
        sums: receives the symbol of every sum.

    Raises:
        UsageError: a function without a conversion.
    """
    table = {} if sums is None else sums

    def inner(child: Expr) -> Any:
        return to_sympy(child, table)

    match node:
        case Const(value=number):
            return sympy.Rational(str(number))
        case Name(name=name):
            return sympy.Symbol(name, real=True)
        case Neg(term=term):
            return -inner(term)
        case Add(terms=terms):
            return sympy.Add(*map(inner, terms))
        case Mul(factors=factors):
            return sympy.Mul(*map(inner, factors))
        case Div(top=top, bottom=bottom):
            return inner(top) / inner(bottom)
        case Pow(base=base, exponent=exponent):
            under, up = inner(base), inner(exponent)
            if under.is_number and up.is_number and abs(up) > _LARGEST_POWER:
                raise UsageError(
                    f"{to_text(node)}: a power of numbers has an exponent of at most {_LARGEST_POWER}; write its value."
                )
            return under**up
        case Call(function="sum"):
            return table.setdefault(node, sympy.Symbol(f"({to_text(node)})", positive=True))
        case Call(function="sigmoid", args=(one,)):
            return sympy.Function("sigmoid")(inner(one))
        case Call(function=("exp" | "log" | "sqrt" | "tanh") as function, args=(one,)):
            return getattr(sympy, function)(inner(one))
    raise UsageError(f"{to_text(node)}: cannot be simplified; write it with exp, log, sqrt, tanh or sigmoid.")


def _simplified(
    node: Expr, result: Expr, name: str, free: list[str], index: str
) -> tuple[Any, tuple[tuple[str, str], ...]]:
    """The shortest of several forms of the derivative, with the function itself in it if that helps, and its cases."""
    sums: dict[Expr, Any] = {}
    function, slope = to_sympy(node, sums), to_sympy(result, sums)
    own = sympy.Symbol(name, real=True)
    simple = sympy.simplify(slope)
    candidates = [sympy.factor(simple), sympy.expand(simple)]
    if isinstance(node, Div) and "_" in name and index and _sum_index(node.bottom):
        # f_j = u_j/Σ: replace u_j by f_j·Σ and u_l by f_l·Σ, and the sums cancel
        other = sympy.Symbol(f"{name[0]}_{index}", real=True)
        total = sums[node.bottom]
        tops = {
            to_sympy(node.top, sums): own * total,
            to_sympy(rename_index(node.top, free[0], index), sums): other * total,
        }
        candidates.append(own * sympy.cancel(sympy.expand(slope.subs(tops)) / own))
    elif "_" not in name:
        candidates += _by_itself(function, slope, own)
    best = min(
        (form for form in candidates if not form.has(sympy.nan, sympy.zoo)),
        key=lambda form: (len(str(form)), str(form)),
    )
    if not index or not free:
        return best, ()
    delta = sympy.Symbol(f"δ_{free[0]}{index}", real=True)
    if delta not in best.free_symbols:
        return best, ()
    # in the case l = j every z_l is z_j
    alike = {
        sympy.Symbol(str(symbol), real=True): sympy.Symbol(
            "_".join([stem, *(free[0] if letter == index else letter for letter in indices)]), real=True
        )
        for symbol in best.free_symbols
        for stem, indices in [indices_of(str(symbol))]
        if index in indices
    }
    equal, unequal = best.subs(delta, 1).subs(alike), best.subs(delta, 0)
    return best, ((f"{index} = {free[0]}", _shown(equal)), (f"{index} ≠ {free[0]}", _shown(sympy.simplify(unequal))))


def _by_itself(function: Any, slope: Any, own: Any) -> list[Any]:
    """The derivative in terms of the function itself: f·(1 − f) for the sigmoid."""
    forms = [sympy.factor(sympy.simplify(slope.subs(function, own)))]
    atoms = sorted(function.atoms(sympy.exp), key=str)
    if atoms and len(function.free_symbols) == 1:
        # with t = exp(u), solve f = f(t) for t and put the solution into the derivative
        power = sympy.Dummy("t", positive=True)
        unit = atoms[-1].args[0]
        powers = {atom: (atom.args[0] / unit).simplify() for atom in (function + slope).atoms(sympy.exp)}
        if all(ratio.is_Integer for ratio in powers.values()):
            swap = {atom: power ** int(ratio) for atom, ratio in powers.items()}
            for root in sympy.solve(sympy.Eq(function.subs(swap), own), power)[:2]:
                forms.append(sympy.factor(sympy.simplify(slope.subs(swap).subs(power, root))))
    # (1 − f)(1 + f) is expanded to 1 − f², but f(1 − f) is kept
    forms = [
        sympy.expand(form) if sum(part.is_Add for part in sympy.Mul.make_args(form)) > 1 else form for form in forms
    ]
    return [form for form in forms if own in form.free_symbols and not (form.free_symbols - slope.free_symbols - {own})]


def _shown(expression: Any) -> str:
    """A SymPy expression on one line, w_j_k as w_{j,k}."""
    return indexed(_print(expression))


def _print(expression: Any) -> str:
    """A SymPy expression on one line."""
    if expression.is_Mul:
        sign = "−" if expression.could_extract_minus_sign() else ""
        size = -expression if sign else expression
        if not size.is_Mul:
            return f"{sign}({_print(size)})" if size.is_Add else sign + _print(size)
        if sympy.fraction(size)[1] == 1:
            parts = sorted(size.as_ordered_factors(), key=lambda part: part.is_Add)
            # −f·(f − 1) becomes f·(1 − f)
            if sign and parts[-1].is_Add:
                parts[-1], sign = -parts[-1], ""
            return sign + "·".join(f"({_print(part)})" if part.is_Add else _print(part) for part in parts)
    if expression.is_Add:
        terms = sorted(expression.as_ordered_terms(), key=lambda term: term.could_extract_minus_sign())
        words = _print(terms[0])
        for term in terms[1:]:
            minus = term.could_extract_minus_sign()
            words += f" − {_print(-term)}" if minus else f" + {_print(term)}"
        return words
    return str(expression).replace("**", "^").replace("*", "·").replace(" - ", " − ").replace("-", "−")


def _difference(node: Expr, result: Expr, by: str) -> float:
    """The largest difference between a derivative and its central difference at random points, relative to it or 1."""
    random = np.random.default_rng(0)
    stem, own = indices_of(by)
    used = {
        part.name for part in (*walk(node), *walk(result)) if isinstance(part, Name) and not part.name.startswith("δ_")
    }
    worst = 0.0
    for number in range(_POINTS):
        places = {letter: int(random.integers(_SIZE)) for letter in sorted(INDICES)}
        numbers: dict[str, Any] = {}
        for name in sorted(used | {by}):
            base, letters = indices_of(name)
            numbers[base] = (
                random.uniform(0.3, 1.7, (_SIZE,) * len(letters)) if letters else float(random.uniform(0.3, 1.7))
            )
        if number == 0 and own:  # one point at which all indices are equal
            places = dict.fromkeys(places, places[own[0]])
        place = tuple(places[letter] for letter in own)

        def at(
            t: float,
            numbers: Mapping[str, Any] = numbers,
            places: Mapping[str, int] = places,
            place: tuple[int, ...] = place,
        ) -> float:
            moved = dict(numbers)
            if place:
                moved[stem] = numbers[stem].copy()
                moved[stem][place] += t
            else:
                moved[stem] = numbers[stem] + t
            return evaluate_at(node, moved, places)

        h = 1e-3
        coarse, fine = (at(h) - at(-h)) / (2 * h), (at(h / 2) - at(-h / 2)) / h
        expected = (4 * fine - coarse) / 3  # Richardson extrapolation: the error is of order h⁴
        slope = evaluate_at(result, numbers, places)
        worst = max(worst, abs(slope - expected) / max(1.0, abs(expected)))
        if not np.isfinite(slope + expected):
            return float("inf")
    return worst
