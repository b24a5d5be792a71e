# SPDX-License-Identifier: Apache-2.0
"""Expressions with indexed names as text on one line: Σ_k exp(z_k)."""

from __future__ import annotations

import re
from typing import Final

from pellucid.worked.expressions.expression import Add, Call, Const, Div, Expr, Mul, Name, Neg, Pow

__all__ = ["bracketed_text", "factor_text", "indexed", "to_text"]

_SEVERAL: Final = re.compile(r"\b([^\W\d_]\w*?)((?:_[ijklmnpqrst]){2,})\b")


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
            return indexed(name)
        case Neg(term=term):
            return f"−{factor_text(term)}"
        case Add(terms=terms):
            words = to_text(terms[0])
            for term in terms[1:]:
                inner = to_text(term)
                words += f" − {inner[1:]}" if inner.startswith("−") else f" + {inner}"
            return words
        case Mul(factors=factors):
            return "·".join(f"({to_text(part)})" if isinstance(part, Div) else factor_text(part) for part in factors)
        case Div(top=top, bottom=bottom):
            below = f"({to_text(bottom)})" if isinstance(bottom, (Mul, Div)) else factor_text(bottom)
            return f"{factor_text(top)}/{below}"
        case Pow(base=base, exponent=exponent):
            inner = to_text(exponent)
            up = inner if isinstance(exponent, (Const, Name)) and "/" not in inner else f"({inner})"
            under = (
                f"({to_text(base)})" if isinstance(base, (Pow, Div, Mul, Add, Neg)) or _is_sum(base) else to_text(base)
            )
            return f"{under}^{up}"
        case Call(function="sum", args=(body, Name(name=index))):
            return f"Σ_{index} {factor_text(body)}"
        case Call(function=function, args=args):
            return f"{function}({', '.join(map(to_text, args))})"
    return str(node)


def indexed(text: str) -> str:
    """Names with several indices in a text, with commas between these.

    >>> indexed("w_j_k·x_k")
    'w_{j,k}·x_k'
    """
    return _SEVERAL.sub(lambda match: f"{match[1]}_{{{match[2][1:].replace('_', ',')}}}", text)


def factor_text(node: Expr) -> str:
    """The same as a factor: sums and negative numbers in brackets."""
    closed = not isinstance(node, (Add, Neg)) and not (isinstance(node, Const) and node.value < 0)
    return to_text(node) if closed else f"({to_text(node)})"


def bracketed_text(node: Expr) -> str:
    """The same after ∂/∂x: everything but a name or a call in square brackets."""
    return to_text(node) if isinstance(node, (Name, Call)) else f"[{to_text(node)}]"


def _is_sum(node: Expr) -> bool:
    return isinstance(node, Call) and node.function == "sum"
