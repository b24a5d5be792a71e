# SPDX-License-Identifier: Apache-2.0
"""The functions that a text may call: other spellings of their names, and those that are short for an expression."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from typing import Final

from pellucid.worked.expressions.expression import Add, Call, Condition, Const, Div, Expr, Mul, Neg, Piecewise, Pow
from pellucid.worked.expressions.functions import ALIASES, FUNCTIONS

__all__ = ["INSTEAD", "KNOWN", "OVER_COMPONENTS", "SHORT", "TAKES", "combined", "function_named", "loss_of", "mean_of"]

ZERO, ONE, TWO = (Const(Fraction(n)) for n in (0, 1, 2))

_SPELLINGS: Final = {
    "logistic": "sigmoid",
    "expit": "sigmoid",
    "lrelu": "leaky_relu",
    "silu": "swish",
    "squareroot": "sqrt",
    "maximum": "max",
    "minimum": "min",
    "average": "mean",
    "variance": "var",
    "stddev": "std",
    "absolute": "abs",
    "fabs": "abs",
    "lg": "log10",
    "ld": "log2",
    "matmul": "dot",
    "tensor": "array",
    "matrix": "array",
    "binarycrossentropy": "bce",
    "meansquarederror": "mse",
    "pow": "power",
    "product": "prod",
    "identity": "eye",
    "tr": "trace",
    "concatenate": "concat",
    "step": "heaviside",
    "signum": "sign",
    "sgn": "sign",
    "lse": "logsumexp",
    "innerproduct": "dot",
    "amax": "max",
    "amin": "min",
}
"""Other words, in small letters without _, -> the function."""


def _swish(z: Expr) -> Expr:
    return Mul((z, Call("sigmoid", (z,))))


def _gelu(z: Expr) -> Expr:
    # z·Φ(z) with the normal distribution's Φ (Hendrycks and Gimpel 2016), not its tanh approximation
    inner = Call("erf", (Div(z, Call("sqrt", (TWO,))),))
    return Div(Mul((z, Add((ONE, inner)))), TWO)


def _base(base: int) -> Callable[[Expr], Expr]:
    return lambda x: Div(Call("log", (x,)), Call("log", (Const(Fraction(base)),)))


def _cases(x: Expr, below: Expr, above: Expr, at_zero: Expr | None = None) -> Expr:
    """One value for negative x, another for positive x; the one at 0 is that of negative x unless it is given."""
    branches = [(above, Condition(x, ">", ZERO))]
    if at_zero is not None:
        branches.append((below, Condition(x, "<", ZERO)))
    return Piecewise(tuple(branches), below if at_zero is None else at_zero)


def _elu(x: Expr) -> Expr:
    return _cases(x, Add((Call("exp", (x,)), Neg(ONE))), x)


def _selu(x: Expr) -> Expr:
    # Klambauer et al. 2017, with their 17 digits of λ and α
    scale, alpha = (Const(Fraction(digits)) for digits in ("1.0507009873554805", "1.6732632423543772"))
    return Mul((scale, _cases(x, Mul((alpha, Add((Call("exp", (x,)), Neg(ONE))))), x)))


SHORT: Final[Mapping[str, Callable[[Expr], Expr]]] = {
    "swish": _swish,
    "gelu": _gelu,
    "log2": _base(2),
    "log10": _base(10),
    "square": lambda x: Pow(x, TWO),
    "tan": lambda x: Div(Call("sin", (x,)), Call("cos", (x,))),
    "elu": _elu,
    "selu": _selu,
    "relu6": lambda x: Call("clip", (x, ZERO, Const(Fraction(6)))),
    "hardtanh": lambda x: Call("clip", (x, Neg(ONE), ONE)),
    "softsign": lambda x: Div(x, Add((ONE, Call("abs", (x,))))),
    "logsigmoid": lambda x: Neg(Call("softplus", (Neg(x),))),
    "mish": lambda x: Mul((x, Call("tanh", (Call("softplus", (x,)),)))),
    "heaviside": lambda x: _cases(x, ZERO, ONE),
    "sign": lambda x: _cases(x, Neg(ONE), ONE, ZERO),
    "sinh": lambda x: Div(Add((Call("exp", (x,)), Neg(Call("exp", (Neg(x),))))), TWO),
    "cosh": lambda x: Div(Add((Call("exp", (x,)), Call("exp", (Neg(x),)))), TWO),
}
"""Functions of one number that are short for an expression; a worksheet shows the expression."""

OVER_COMPONENTS: Final = (
    *("sum", "prod", "softmax", "logsumexp", "max", "min", "mean", "var", "std", "norm", "bce", "mse", "dot"),
    *("trace", "concat"),
)
"""Functions of all components of a vector or matrix."""

TAKES: Final[Mapping[str, tuple[int, int]]] = {
    **dict.fromkeys((*SHORT, "array", "transpose", "trace", "eye"), (1, 1)),
    **dict.fromkeys(("mean", "var", "std", "norm", "sum", "prod", "logsumexp", "concat"), (1, 1000)),
    **dict.fromkeys(("zeros", "ones"), (1, 2)),
    "bce": (2, 2),
    "mse": (2, 2),
    "dot": (2, 2),
    "power": (2, 2),
}
"""How many arguments the functions take that are not in `FUNCTIONS`."""

_FOLDED: Final = {name.replace("_", "").lower(): name for name in (*FUNCTIONS, *TAKES)} | _SPELLINGS
KNOWN: Final = frozenset({*FUNCTIONS, *ALIASES, *TAKES, "piecewise"})


INSTEAD: Final[Mapping[str, str]] = {
    "outer": "x y^T",
    "multiply": "x*y, which works component by component",
    "subtract": "x - y",
    "add": "x + y",
    "divide": "x/y",
    "log1p": "log(1 + x)",
    "expm1": "exp(x) - 1",
    "where": "piecewise(a if x > 0, b otherwise)",
    "len": "the number itself",
    "logsoftmax": "log(softmax(z))",
    "logit": "log(p/(1 - p))",
    "rmse": "sqrt(mse(p, y))",
    "mae": "mean(abs(p - y))",
    "l1loss": "mean(abs(p - y))",
    "kl": "sum(p*log(p/q))",
    "kldiv": "sum(p*log(p/q))",
    **dict.fromkeys(("crossentropy", "ce", "nll", "nllloss"), "-sum(y*log(p)) with p = softmax(z)"),
    **dict.fromkeys(("hinge", "hingeloss"), "max(0, 1 - y*s)"),
    **dict.fromkeys(("argmax", "argmin"), "max or min: a worksheet has the value, which names its place"),
    **dict.fromkeys(("inv", "inverse"), "the numbers themselves: a worksheet does not invert matrices"),
}
"""What to write instead of functions that a worksheet does not have, by their names in small letters without _."""


def function_named(name: str) -> str:
    """The function of a name in any spelling, or the name itself.

    >>> function_named("LeakyReLU"), function_named("RELU"), function_named("ln"), function_named("h_1")
    ('leaky_relu', 'relu', 'log', 'h_1')
    """
    if name in ALIASES:
        return ALIASES[name]
    return _FOLDED.get(name.replace("_", "").lower(), name)


def mean_of(items: Sequence[Expr]) -> Expr:
    """Σ x/n."""
    total = items[0] if len(items) == 1 else Add(tuple(items))
    return total if len(items) == 1 else Div(total, Const(Fraction(len(items))))


def combined(function: str, items: Sequence[Expr]) -> Expr:
    """The mean, variance, standard deviation, norm, product or log-sum-exp of some numbers.

    >>> from pellucid.worked.expressions.expression import Name
    >>> combined("mean", [Name("a"), Name("b")])
    Div(top=Add(terms=(Name(name='a'), Name(name='b'))), bottom=Const(value=Fraction(2, 1)))
    """
    if function == "mean":
        return mean_of(items)
    if function == "prod":
        return items[0] if len(items) == 1 else Mul(tuple(items))
    if function == "logsumexp":
        powers = [Call("exp", (item,)) for item in items]
        return Call("log", (powers[0] if len(powers) == 1 else Add(tuple(powers)),))
    if function == "norm":
        return (
            Call("sqrt", (Add(tuple(Pow(item, TWO) for item in items)),))
            if len(items) > 1
            else Call("abs", (items[0],))
        )
    mean = mean_of(items)
    # the variance of a batch divides by n, as batch norm does
    spread = mean_of([Pow(Add((item, Neg(mean))), TWO) for item in items])
    return spread if function == "var" else Call("sqrt", (spread,))


def loss_of(function: str, predictions: Sequence[Expr], targets: Sequence[Expr]) -> Expr:
    """The mean squared error or binary cross-entropy of predictions, in that order of arguments.

    >>> from pellucid.worked.expressions.expression import Name
    >>> loss_of("mse", [Name("p")], [Name("y")])
    Pow(base=Add(terms=(Name(name='p'), Neg(term=Name(name='y')))), exponent=Const(value=Fraction(2, 1)))
    """
    pairs = zip(predictions, targets, strict=True)
    if function == "mse":
        return mean_of([Pow(Add((p, Neg(y))), TWO) for p, y in pairs])
    terms = [
        Neg(
            Add(
                (
                    Mul((y, Call("log", (p,)))),
                    Mul((Add((ONE, Neg(y))), Call("log", (Add((ONE, Neg(p))),)))),
                )
            )
        )
        for p, y in pairs
    ]
    return mean_of(terms)
