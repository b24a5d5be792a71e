# SPDX-License-Identifier: Apache-2.0
"""Expressions as SymPy's and back: sums over an index and functions with branches become single symbols."""

from __future__ import annotations

from fractions import Fraction
from typing import Any, Final, TypeAlias

import sympy

from pellucid.errors import UsageError
from pellucid.worked.derivation.indexed import indices_of
from pellucid.worked.derivation.terms import ONE, add, divide, multiply, negate
from pellucid.worked.derivation.text import to_text
from pellucid.worked.expressions.expression import Add, Call, Const, Div, Expr, Mul, Name, Neg, Piecewise, Pow

__all__ = ["Table", "from_sympy", "simplest", "to_sympy"]

Table: TypeAlias = dict[Expr, Any]  # what is one symbol for SymPy -> the symbol
_LARGEST_POWER: Final = 64  # SymPy computes a power of two numbers in full: 9^9^9 would take forever
_SAME: Final = ("exp", "log", "sqrt", "tanh", "sin", "cos", "erf")  # of one name here and in SymPy


def to_sympy(node: Expr, table: Table | None = None) -> Any:
    """An expression as SymPy's, converted node by node; what SymPy does not know becomes a single symbol.

    >>> from pellucid.worked.notation.notation import parse_expression
    >>> to_sympy(parse_expression("2*x^2 - exp(x)"))
    2*x**2 - exp(x)

    Args:
        node: the expression.
        table: receives the symbol of every sum and of every function with branches.

    Raises:
        UsageError: a power of numbers that is too large.
    """
    known: Table = {} if table is None else table

    def inner(child: Expr) -> Any:
        return to_sympy(child, known)

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
        case Call(function="pi"):
            return sympy.pi
        case Call(function="softplus", args=(one,)):
            return sympy.log(1 + sympy.exp(inner(one)))
        case Call(function="sigmoid", args=(one,)):
            return sympy.Function("sigmoid", real=True)(inner(one))
        case Call(function=function, args=(one,)) if function in _SAME:
            return getattr(sympy, function)(inner(one))
        case Call(function="sum", args=(body, *_)):
            # √S² is S for a sum of powers of e alone
            sign = {"positive": True} if _positive(body) else {"real": True}
            return known.setdefault(node, sympy.Symbol(f"({to_text(node)})", **sign))
        case Call() | Piecewise():
            return known.setdefault(node, sympy.Symbol(f"({to_text(node)})", real=True))
    raise UsageError(f"{to_text(node)}: cannot be simplified; write it with functions of one number.")


def _positive(node: Expr) -> bool:
    """Whether an expression is positive for all real numbers."""
    match node:
        case Const(value=number):
            return number > 0
        case Call(function="exp" | "sigmoid" | "softplus"):
            return True
        case Add(terms=parts) | Mul(factors=parts):
            return all(map(_positive, parts))
        case Div(top=one, bottom=two):
            return _positive(one) and _positive(two)
        case Pow(base=base):
            return _positive(base)
    return False


def from_sympy(form: Any, table: Table | None = None, own: str = "") -> Expr:
    """The reverse: numbers in front, sums last in a product, positive terms first in a sum.

    >>> x = sympy.Symbol("x", real=True)
    >>> to_text(from_sympy(x * (x - 1) * -3))
    '3·x·(1 − x)'

    Args:
        form: SymPy's expression.
        table: the symbols that are sums and functions with branches.
        own: the name of a function that comes first in f·(1 − f)·x.
    """
    symbols = {symbol: node for node, symbol in (table or {}).items()}
    return _back(form, symbols, indices_of(own)[0] if own else "")


def simplest(form: Any) -> Any:
    """SymPy's simplification, without the hyperbolic functions that it makes of exponentials."""
    hyperbolic = sympy.functions.elementary.hyperbolic.HyperbolicFunction
    simple = sympy.simplify(form)
    if simple.atoms(hyperbolic) - form.atoms(hyperbolic):
        simple = sympy.simplify(form, doit=False) if not form.has(sympy.exp) else sympy.factor(sympy.together(form))
    return simple


def _back(form: Any, symbols: dict[Any, Expr], own: str) -> Expr:
    def inner(part: Any) -> Expr:
        return _back(part, symbols, own)

    if form in symbols:
        return symbols[form]
    if form.is_Symbol:
        return Name(str(form))
    if form.is_Rational:
        return Const(Fraction(int(form.p), int(form.q)))
    if form == sympy.pi:
        return Call("pi", ())
    if form == sympy.E:
        return Call("exp", (ONE,))
    if form.is_Add:
        terms = sorted(form.as_ordered_terms(), key=lambda term: bool(term.could_extract_minus_sign()))
        return add([*map(inner, terms)])
    if form.is_Mul:
        return _product(form, symbols, own)
    if form.is_Pow:
        if form.exp == sympy.Rational(1, 2):
            return Call("sqrt", (inner(form.base),))
        if form.exp.could_extract_minus_sign():
            return divide(ONE, inner(1 / form))
        return Pow(inner(form.base), inner(form.exp))
    name = "sign" if form.func is sympy.sign else str(form.func)
    return Call("abs" if name == "Abs" else name, tuple(map(inner, form.args)))


def _product(form: Any, symbols: dict[Any, Expr], own: str) -> Expr:
    """A product with its sign in front, or turned into 1 − f where that takes it away."""
    # SymPy multiplies −2·(t − y) by −1 to 2·t − 2·y, so the number is taken off first
    number, rest = form.as_coeff_Mul()
    negative = bool(number.is_negative)
    above, below = sympy.fraction(rest)
    bottoms = [sympy.Integer(number.q)]
    for part in sympy.Mul.make_args(below):
        flipped = part.is_Add and part.as_coeff_Add()[0].is_negative  # 1 − p rather than p − 1 below
        bottoms.append(-part if flipped else part)
        negative ^= bool(flipped)
    factors = [sympy.Integer(abs(number.p)), *(above.as_ordered_factors() if above.is_Mul else [above])]
    together = any(part.is_Add and _has_own(part, own) for part in factors)
    factors.sort(key=lambda part: _place(part, symbols, own, together))
    sums = [n for n, part in enumerate(factors) if part.is_Add]
    # (f − 1)·(2·f − 1) becomes (1 − f)·(1 − 2·f), and −f·(f − 1) becomes f·(1 − f)
    turned = [n for n in sums if _has_own(factors[n], own) and factors[n].as_coeff_Add()[0].is_negative]
    if negative and sums and not turned:
        turned = sums[-1:]
    for n in turned:
        factors[n], negative = -factors[n], not negative
    top = multiply(*(_back(part, symbols, own) for part in factors))
    whole = divide(top, multiply(*(_back(part, symbols, own) for part in bottoms)))
    return negate(whole) if negative else whole


def _has_own(form: Any, own: str) -> bool:
    return bool(own) and any(indices_of(str(symbol))[0] == own for symbol in form.free_symbols)


def _place(part: Any, symbols: dict[Any, Expr], own: str, together: bool) -> int:
    """Where a factor belongs: numbers, f beside its 1 − f, names, f alone, other sums, Σ."""
    if part.is_number:
        return 0
    if part in symbols:
        return 5
    if part.is_Add:
        return 2 if _has_own(part, own) else 5
    if _has_own(part, own) and part.is_Symbol:
        return 1 if together else 4
    return 3
