# SPDX-License-Identifier: Apache-2.0
"""Expressions with indexed names as text on one line: Σ_k exp(z_k), ∂/∂z_l exp(z_j)."""

from __future__ import annotations

import re
from typing import Final

from pellucid.worked.expressions.expression import (
    Add,
    Call,
    Condition,
    Const,
    Div,
    Expr,
    Mul,
    Name,
    Neg,
    Piecewise,
    Pow,
)
from pellucid.worked.expressions.functions import FUNCTIONS
from pellucid.worked.showing.numerals import GREEK

__all__ = ["bracketed_text", "factor_text", "indexed", "pending", "to_text"]

_SEVERAL: Final = re.compile(r"\b([^\W\d_]\w*?)((?:_[ijklmnpqrst]){2,})\b")


def pending(node: Expr, by: str) -> Expr:
    """The derivative of an expression, not carried out yet: ∂/∂x u.

    >>> to_text(pending(Name("u"), "x"))
    '∂u/∂x'
    """
    return Call("derivative", (node, Name(by)))


def to_text(node: Expr) -> str:
    """An expression on one line.

    >>> from pellucid.worked.notation.notation import parse_expression
    >>> to_text(parse_expression("exp(z_j)/sum(exp(z_k), k) - 1"))
    'exp(z_j)/Σ_k exp(z_k) − 1'
    """
    match node:
        case Const(value=number):
            return str(number).replace("-", "−")
        case Name(name=name):
            stem, *rest = name.split("_")
            return indexed("_".join([GREEK.get(stem, stem), *rest]))
        case Neg(term=term):
            return f"−{factor_text(term)}"
        case Add(terms=terms):
            # a Σ reaches over the product behind it, so a sum needs no brackets around it
            words = to_text(terms[0])
            for term in terms[1:]:
                inner = to_text(term)
                words += f" − {inner[1:]}" if inner.startswith("−") else f" + {inner}"
            return words
        case Mul(factors=(Neg(term=term), *rest)) if not isinstance(term, (Add, Neg)):
            return "−" + to_text(Mul((term, *rest)))
        case Mul(factors=factors):
            return "·".join(_factor(part, n == len(factors) - 1) for n, part in enumerate(factors))
        case Div(top=top, bottom=bottom):
            below = f"({to_text(bottom)})" if isinstance(bottom, (Mul, Div)) else factor_text(bottom)
            return f"{factor_text(top) if not _reaches(top) else f'({to_text(top)})'}/{below}"
        case Pow(base=base, exponent=exponent):
            inner = to_text(exponent)
            up = inner if isinstance(exponent, (Const, Name)) and "/" not in inner else f"({inner})"
            open_ended = isinstance(base, (Pow, Div, Mul, Add, Neg)) or _reaches(base)
            return f"({to_text(base)})^{up}" if open_ended else f"{to_text(base)}^{up}"
        case Call(function="sum", args=(body, Name(name=index))):
            return f"Σ_{index} {factor_text(body)}"
        case Call(function="derivative", args=(inner_node, Name(name=by))):
            named = isinstance(inner_node, Name) or _is_named(inner_node)
            return (
                f"∂{to_text(inner_node)}/∂{indexed(by)}" if named else f"∂/∂{indexed(by)} {bracketed_text(inner_node)}"
            )
        case Call(function="abs", args=(inner_node,)):
            return f"|{to_text(inner_node)}|"
        case Call(function="pi"):
            return "π"
        case Call(function=function, args=args):
            return f"{function}({', '.join(map(to_text, args))})"
        case Piecewise(branches=branches, otherwise=otherwise):
            parts = [f"{to_text(value)} if {_condition(test)}" for value, test in branches]
            return "{" + ", ".join([*parts, f"{to_text(otherwise)} otherwise"]) + "}"
    return str(node)


def indexed(text: str) -> str:
    """Names with several indices in a text, with commas between these.

    >>> indexed("w_j_k·x_k")
    'w_{j,k}·x_k'
    """
    return _SEVERAL.sub(lambda match: f"{match[1]}_{{{match[2][1:].replace('_', ',')}}}", text)


def factor_text(node: Expr) -> str:
    """The same as a factor: sums and negative numbers in brackets."""
    text = to_text(node)
    return f"({text})" if isinstance(node, Add) or text.startswith("−") else text


def bracketed_text(node: Expr) -> str:
    """The same after ∂/∂x: everything but a name or a call in square brackets."""
    return to_text(node) if isinstance(node, (Name, Call)) else f"[{to_text(node)}]"


def _factor(node: Expr, last: bool) -> str:
    """A factor of a product; what would reach over the factors behind it is put in brackets."""
    if isinstance(node, Div) or (_reaches(node) and not last):
        return f"({to_text(node)})"
    return factor_text(node)


def _reaches(node: Expr) -> bool:
    """Whether an expression ends open, as a sum or ∂/∂x does: what is behind it would belong to it."""
    if isinstance(node, Mul):
        return _reaches(node.factors[-1])
    if not isinstance(node, Call) or node.function not in ("sum", "derivative"):
        return False
    return node.function == "sum" or not (isinstance(node.args[0], Name) or _is_named(node.args[0]))


def _is_named(node: Expr) -> bool:
    """Whether a node is a function's own name with its argument, as f_sm(z_j) is."""
    return isinstance(node, Call) and node.function not in FUNCTIONS and node.function not in ("sum", "derivative")


def _condition(test: Condition) -> str:
    sign = {"<=": "≤", ">=": "≥"}.get(test.sign, test.sign)
    return f"{to_text(test.left)} {sign} {to_text(test.right)}"
