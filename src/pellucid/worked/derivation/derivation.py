# SPDX-License-Identifier: Apache-2.0
"""Derivations: a derivative found one named rule a line, brought to its known form, each line checked at random points.

`derive("exp(z_j)/sum(exp(z_k), k)", by="z_l")` ends with f_j·(δ_jl − f_l) and its two cases. The proofs of
`pellucid.worked.derivation.proofs` print alike.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import sympy

from pellucid.errors import UnknownNameError, UsageError
from pellucid.worked.derivation.rules import INDICES, Step, differentiate, index_of, renamed, value, written
from pellucid.worked.expressions.expression import Add, Call, Const, Div, Expr, Mul, Name, Neg, Pow, walk
from pellucid.worked.notation.notation import parse_expression

__all__ = ["Derivation", "derive", "to_sympy"]

_LARGEST_POWER = 64  # of a number to a number, which is worked out in full
_POINTS, _SIZE = 5, 4  # random points, components of each vector
TOLERANCE = 1e-7
"""What a line's derivative may differ from the central difference, relative to the larger of it and 1."""


@dataclass(frozen=True)
class Derivation:
    """A derivative with the way to it.

    Args:
        function: what is differentiated, in print.
        by: the name it is differentiated by.
        steps: the rules, the outermost first.
        result: the derivative as the rules give it, in print.
        known: the derivative by the function itself, such as f·(1 − f), or simplified.
        cases: with indices, the derivative where they are equal and where not.
        difference: the largest relative difference of any line from central differences.
    """

    function: str
    by: str
    steps: tuple[Step, ...]
    result: str
    known: str
    cases: tuple[tuple[str, str], ...]
    difference: float

    def __str__(self) -> str:
        name = self.known.split(" = ")[0] if " = " in self.known else "f"
        lines = [f"{name.removeprefix('∂').split('/')[0]} = {self.function}", ""]
        rows = [(step.rule, f"{step.left} = {step.right}") for step in self.steps]
        rows.append(("put together", f"{name} = {self.result}"))
        rows.append(("simplified", self.known))
        width = max(len(rule) for rule, _ in rows)
        digits = len(str(len(rows)))
        lines += [f"{number:{digits}}  {rule:{width}}  {words}" for number, (rule, words) in enumerate(rows, 1)]
        lines += [f"{'':{digits}}  {'case ' + case:{width}}  {words}" for case, words in self.cases]
        lines += [
            "",
            f"checked: each line against central differences at {_POINTS} random points, largest difference {self.difference:.0e}",
        ]
        return "\n".join(lines)


def derive(text: str, by: str) -> Derivation:
    """Differentiate an expression by a name, one named rule a line.

    >>> found = derive("exp(z_j)/sum(exp(z_k), k)", "z_l")
    >>> found.known, found.cases
    ('∂f_j/∂z_l = f_j·(δ_jl − f_l)', (('l = j', 'f_j·(1 − f_j)'), ('l ≠ j', '−f_j·f_l')))

    Args:
        text: an expression in the notation of worksheets; names such as z_j with an index of one of the letters i to t are
            components, and sum(…, k) runs over all k.
        by: a name that stands in it, for components with an index that is not in it.

    Raises:
        UsageError: no expression, or none that the rules reach.
    """
    node = parse_expression(text)
    stem, index = index_of(by)
    used = sorted({each.name for each in walk(node) if isinstance(each, Name)})
    indices = sorted({index_of(name)[1] for name in used} - {""})
    if by not in used and (not index or stem not in {index_of(name)[0] for name in used if index_of(name)[1]}):
        raise UnknownNameError("by", by, [name for name in used if name not in INDICES])
    if index and any(isinstance(each, Call) and each.args[1:] == (Name(index),) for each in walk(node)):
        raise UsageError(f"by={by!r}: {index} is what the sum runs over; take another index, such as l.")
    result, steps = differentiate(node, by)
    with np.errstate(all="ignore"):  # what is no number at a random point is refused below
        difference = max(_difference(step.node, step.result, by) for step in steps) if steps else 0.0
    if not difference < TOLERANCE:
        raise UsageError(
            f"function={text!r}: at random points between 0.3 and 1.7 it has no derivative that a difference confirms."
        )
    bound = {each.args[1].name for each in walk(node) if _is_sum(each) and isinstance(each.args[1], Name)}  # type: ignore[attr-defined]
    free = [letter for letter in indices if letter not in bound and letter != index]
    # f is what the expression is called, unless a name in it is called so
    letter = next((each for each in "fghuv" if each not in {index_of(name)[0] for name in used}), "F")
    name = f"{letter}_{free[0]}" if len(free) == 1 else letter
    known, cases = _known_form(node, result, name, free, index)
    return Derivation(
        written(node), by, tuple(steps), written(result), f"∂{name}/∂{by} = {_print(known)}", cases, difference
    )


def _is_sum(node: Expr) -> bool:
    return isinstance(node, Call) and node.function == "sum" and len(node.args) == 2


def to_sympy(node: Expr, sums: dict[Expr, Any] | None = None) -> Any:
    """An expression as SymPy's, built node by node; a sum over an index becomes a symbol of its own.

    >>> to_sympy(parse_expression("2*x^2 - exp(x)"))
    2*x**2 - exp(x)

    Args:
        node: the expression.
        sums: takes the symbol of every sum that was met.

    Raises:
        UsageError: a function that SymPy is not told of here.
    """
    table = {} if sums is None else sums

    def inner(each: Expr) -> Any:
        return to_sympy(each, table)

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
                    f"{written(node)}: a power of numbers has an exponent of at most {_LARGEST_POWER}; write its value."
                )
            return under**up
        case Call(function="sum"):
            return table.setdefault(node, sympy.Symbol(f"({written(node)})", positive=True))
        case Call(function="sigmoid", args=(one,)):
            return sympy.Function("sigmoid")(inner(one))
        case Call(function=("exp" | "log" | "sqrt" | "tanh") as function, args=(one,)):
            return getattr(sympy, function)(inner(one))
    raise UsageError(f"{written(node)}: is not simplified here; write it with exp, log, sqrt, tanh or sigmoid.")


def _known_form(
    node: Expr, result: Expr, name: str, free: list[str], index: str
) -> tuple[Any, tuple[tuple[str, str], ...]]:
    """The derivative in terms of the function where that makes it shorter, and its cases."""
    sums: dict[Expr, Any] = {}
    function, slope = to_sympy(node, sums), to_sympy(result, sums)
    own = sympy.Symbol(name, real=True)
    simple = sympy.simplify(slope)
    candidates = [sympy.factor(simple), sympy.expand(simple)]
    if isinstance(node, Div) and "_" in name and index and _is_sum(node.bottom):
        other = sympy.Symbol(f"{name[0]}_{index}", real=True)
        total = sums[node.bottom]
        tops = {to_sympy(node.top, sums): own * total, to_sympy(renamed(node.top, free[0], index), sums): other * total}
        candidates.append(own * sympy.cancel(sympy.expand(slope.subs(tops)) / own))
    elif "_" not in name:
        candidates += _by_itself(function, slope, own)
    best = min(
        (each for each in candidates if not each.has(sympy.nan, sympy.zoo)),
        key=lambda each: (len(str(each)), str(each)),
    )
    if not index or not free:
        return best, ()
    delta = sympy.Symbol(f"δ_{free[0]}{index}", real=True)
    if delta not in best.free_symbols:
        return best, ()
    stem_pairs = {sympy.Symbol(str(s), real=True): s for s in best.free_symbols}
    alike = {
        s: sympy.Symbol(f"{index_of(str(s))[0]}_{free[0]}", real=True)
        for s in stem_pairs
        if index_of(str(s))[1] == index
    }
    equal, unequal = best.subs(delta, 1).subs(alike), best.subs(delta, 0)
    return best, ((f"{index} = {free[0]}", _print(equal)), (f"{index} ≠ {free[0]}", _print(sympy.simplify(unequal))))


def _by_itself(function: Any, slope: Any, own: Any) -> list[Any]:
    """The derivative with the function's own value in it: f·(1 − f) for the sigmoid."""
    found = [sympy.factor(sympy.simplify(slope.subs(function, own)))]
    atoms = sorted(function.atoms(sympy.exp), key=str)
    if atoms and len(function.free_symbols) == 1:
        power = sympy.Dummy("t", positive=True)
        unit = atoms[-1].args[0]
        ratios = [(each.args[0] / unit).simplify() for each in (function + slope).atoms(sympy.exp)]
        if all(ratio.is_Integer for ratio in ratios):
            swap = {
                each: power ** int((each.args[0] / unit).simplify()) for each in (function + slope).atoms(sympy.exp)
            }
            for root in sympy.solve(sympy.Eq(function.subs(swap), own), power)[:2]:
                form = sympy.factor(sympy.simplify(slope.subs(swap).subs(power, root)))
                found.append(form)
    # (1 − f)(1 + f) reads better as 1 − f², f(1 − f) as it is
    found = [
        sympy.expand(each) if sum(part.is_Add for part in sympy.Mul.make_args(each)) > 1 else each for each in found
    ]
    return [each for each in found if own in each.free_symbols and not (each.free_symbols - slope.free_symbols - {own})]


def _print(expression: Any) -> str:
    """SymPy's expression in one line."""
    if expression.is_Mul:
        sign = "−" if expression.could_extract_minus_sign() else ""
        size = -expression if sign else expression
        if not size.is_Mul:
            return f"{sign}({_print(size)})" if size.is_Add else sign + _print(size)
        if sympy.fraction(size)[1] == 1:
            parts = sorted(size.as_ordered_factors(), key=lambda part: part.is_Add)
            # −f·(f − 1) reads better as f·(1 − f)
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
    """The largest difference of a derivative from the central difference, relative to it or 1, at random points."""
    random = np.random.default_rng(0)
    stem, index = index_of(by)
    used = {
        each.name for each in (*walk(node), *walk(result)) if isinstance(each, Name) and not each.name.startswith("δ_")
    }
    worst = 0.0
    for number in range(_POINTS):
        places = {letter: int(random.integers(_SIZE)) for letter in sorted(INDICES)}
        numbers: dict[str, Any] = {
            index_of(name)[0]: random.uniform(0.3, 1.7, _SIZE) if index_of(name)[1] else float(random.uniform(0.3, 1.7))
            for name in sorted(used | {by})
        }
        if number == 0 and index:  # one point at which all indices are equal
            places = dict.fromkeys(places, places[index])

        def at(t: float, numbers: Mapping[str, Any] = numbers, places: Mapping[str, int] = places) -> float:
            moved = dict(numbers)
            if index:
                moved[stem] = numbers[stem].copy()
                moved[stem][places[index]] += t
            else:
                moved[stem] = numbers[stem] + t
            return value(node, moved, places)

        h = 1e-3
        coarse, fine = (at(h) - at(-h)) / (2 * h), (at(h / 2) - at(-h / 2)) / h
        expected = (4 * fine - coarse) / 3  # Richardson's extrapolation: the error is of order h⁴
        found = value(result, numbers, places)
        worst = max(worst, abs(found - expected) / max(1.0, abs(expected)))
        if not np.isfinite(found + expected):
            return float("inf")
    return worst
