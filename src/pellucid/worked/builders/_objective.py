# SPDX-License-Identifier: Apache-2.0
"""The losses that end a network's worksheet: squared error, binary cross-entropy, cross-entropy with softmax; and means."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Any, Final

from pellucid.errors import UsageError
from pellucid.worked.builders._quantities import check_name, shape_of
from pellucid.worked.expressions.expression import Add, Expr, Name, Partial, as_expr
from pellucid.worked.notation.operations import log, softmax
from pellucid.worked.worksheet.tensors import Numbers, Tensor, as_tensor, define, dot, summed
from pellucid.worked.worksheet.worksheet import Worksheet

__all__ = ["LOSSES", "mean_of", "mean_or_sum", "one_hot", "probabilities", "put_end", "put_loss", "put_upstream"]

LOSSES: Final = ("squared_error", "binary_cross_entropy", "cross_entropy")


def put_loss(sheet: Worksheet, name: str, loss: str, outputs: Sequence[str], targets: Sequence[str]) -> None:
    """Write the loss of one sample, `name`, from its outputs and targets by their names.

    squared_error          Σ (ŷ_k − y_k)²
    binary_cross_entropy   Σ −(y_k·ln ŷ_k + (1 − y_k)·ln(1 − ŷ_k)),  0 < ŷ_k < 1
    cross_entropy          −Σ y_k·ln p_k,  where the outputs are p = softmax(z) already

    >>> w = Worksheet("yhat = 3; y = 1")
    >>> put_loss(w, "L", "squared_error", ["yhat"], ["y"])
    >>> print(w.solve().value("L"))
    4

    Raises:
        UnknownNameError: no such loss.
    """
    check_name("loss", loss, LOSSES)
    pairs = [(sheet[output], sheet[target]) for output, target in zip(outputs, targets, strict=True)]
    terms: list[Expr]
    if loss == "squared_error":
        terms = [(output - target) ** 2 for output, target in pairs]
    elif loss == "binary_cross_entropy":
        terms = [
            -(target * log(output) + (1 - target) * log(1 - output)) for output, target in pairs
        ]  # −ln of the probability that the label has
    else:
        # terms of classes with y = 0 stay, so that the sum is the formula with numbers
        products = [target * log(output) for output, target in pairs]
        terms = [-(products[0] if len(products) == 1 else Add(tuple(products)))]
    sheet[name] = terms[0] if len(terms) == 1 else Add(tuple(terms))


def mean_or_sum(sheet: Worksheet, name: str, parts: Sequence[str], reduction: str) -> None:
    """Write the loss of several samples from the losses of each, `parts`.

    Raises:
        UnknownNameError: a reduction other than mean and sum.
    """
    check_name("reduction", reduction, ("mean", "sum"))
    # one sum of N terms, not a chain of N − 1 additions
    whole = Add(tuple(sheet[part] for part in parts)) if len(parts) > 1 else sheet[parts[0]]
    sheet[name] = whole / len(parts) if reduction == "mean" else whole


def mean_of(terms: list[Expr]) -> Expr:
    """The mean of terms; of one term, the term itself.

    >>> mean_of([Name("a")])
    Name(name='a')
    """
    return summed(terms) / as_expr(len(terms)) if len(terms) > 1 else summed(terms)


def one_hot(name: str, target: Any, classes: int) -> list[Any]:
    """The target of a cross-entropy: a class, counted from 1, as a vector of zeros and a one; a vector stays.

    >>> one_hot("y", 2, 3)
    [0, 1, 0]

    Raises:
        UsageError: a class that does not exist, or probabilities that do not sum to 1.
    """
    if shape_of(name, target) == ():
        if target not in range(1, classes + 1):
            raise UsageError(f"{name}={target}: is a class and must be 1 to {classes}; choose one of them.")
        return [int(k == target) for k in range(1, classes + 1)]  # (classes,)
    # 0.7 + 0.2 + 0.1 is 1 in decimals, and not in floats
    values = [Fraction(str(probability)) for probability in target]
    if len(values) != classes or sum(values) != 1 or min(values) < 0:
        raise UsageError(
            f"{name}={[float(v) for v in values]}: must be {classes} probabilities that sum to 1; correct them."
        )
    return values


def probabilities(sheet: Worksheet, name: str, logits: Sequence[str]) -> None:
    """Write p = softmax(z) of the logits, by their names."""
    sheet[name] = softmax(*(sheet[logit] for logit in logits))


def put_end(sheet: Worksheet, outputs: Sequence[str], target: Any, delta: Any, symbol: str = "t") -> bool:
    """Write the loss of a layer's outputs: L = Σ (y − t)² with a target, L = Σ δ·y with a given gradient δ = ∂L/∂y.

    >>> w = Worksheet("y = [3, 5]")
    >>> put_end(w, ["y_1", "y_2"], [1, 5], None)
    True
    >>> print(w.solve().value("L"))
    4

    Args:
        sheet: gets the equations.
        outputs: the names of the layer's outputs, row by row.
        target: of the outputs, in their shape; None for none.
        delta: the gradient that arrives from the layers after; None for none.
        symbol: the name of the target.

    Returns:
        Whether there is a loss.

    Raises:
        UsageError: both, or another number of them than of outputs.
    """
    if target is None and delta is None:
        return False
    if target is not None and delta is not None:
        raise UsageError("delta: follows from a target; give one of the two.")
    name, value = (symbol, target) if delta is None else ("delta", delta)
    sheet[name] = value
    given = sheet.components(name)
    if len(given) != len(outputs):
        raise UsageError(f"{name}: has {len(given)} numbers, and there are {len(outputs)} outputs; give one for each.")
    if delta is None:
        put_loss(sheet, "L", "squared_error", outputs, given)
    else:
        # the simplest loss whose gradient by y is δ
        terms = [sheet[slope] * sheet[output] for slope, output in zip(given, outputs, strict=True)]
        sheet["L"] = terms[0] if len(terms) == 1 else Add(tuple(terms))
        gradient = (Name("delta"), " = ", Partial("L", "y"), " arrives from the layers after; ")
        sheet.remark(*gradient, Name("L"), " = Σ ", Name("delta") * Name("y"), " has this very gradient.")
    return True


def put_upstream(sheet: Worksheet, z: Tensor, delta: Numbers | None, target: Numbers | None) -> bool:
    """Write L = Σ δ·z or L = Σ (z − t)² of an output of any shape, and ask for it; returns whether there is a loss.

    >>> import numpy as np
    >>> sheet = Worksheet("z_1 = 3")
    >>> put_upstream(sheet, np.array([Name("z_1")]), [2], None), str(sheet.solve().value("L"))
    (True, '6')

    Raises:
        UsageError: both are given, or another shape than the output's.
    """
    if delta is not None and target is not None:
        raise UsageError("delta, target: each defines a loss; give one of them.")
    name, value = ("target", target) if delta is None else ("delta", delta)
    if value is None:
        return False
    given = as_tensor(value, name)
    # flattening would hide a transposed delta
    if given.shape != z.shape:
        raise UsageError(f"{name}.shape={given.shape}: the output's is {z.shape}; give as many numbers.")
    if name == "delta":
        sheet["L"] = dot(list(define(sheet, "delta", given).flat), list(z.flat))  # ∂L/∂z = δ
    else:
        sheet["L"] = summed([(a - t) ** 2 for a, t in zip(z.flat, define(sheet, "t", given).flat, strict=True)])
    sheet.ask("L")
    return True
