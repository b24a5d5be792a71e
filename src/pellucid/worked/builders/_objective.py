# SPDX-License-Identifier: Apache-2.0
"""The losses that end a network's worksheet: squared error, binary cross-entropy, cross-entropy with softmax."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Any, Final

from pellucid.errors import UsageError
from pellucid.worked.builders._given import one_of, shape_of
from pellucid.worked.expressions.expression import Add, Expr, Name, Partial
from pellucid.worked.notation.operations import log, softmax
from pellucid.worked.worksheet.worksheet import Worksheet

__all__ = ["LOSSES", "mean_or_sum", "one_hot", "probabilities", "put_end", "put_loss"]

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
    one_of("loss", loss, LOSSES)
    pairs = [(sheet[one], sheet[two]) for one, two in zip(outputs, targets, strict=True)]
    terms: list[Expr]
    if loss == "squared_error":
        terms = [(output - target) ** 2 for output, target in pairs]
    elif loss == "binary_cross_entropy":
        terms = [-(target * log(output) + (1 - target) * log(1 - output)) for output, target in pairs]
    else:
        products = [target * log(output) for output, target in pairs]
        terms = [-(products[0] if len(products) == 1 else Add(tuple(products)))]
    sheet[name] = terms[0] if len(terms) == 1 else Add(tuple(terms))


def mean_or_sum(sheet: Worksheet, name: str, parts: Sequence[str], reduction: str) -> None:
    """Write the loss of several samples from those of each; of one sample there is nothing to do.

    Raises:
        UnknownNameError: a reduction other than mean and sum.
    """
    one_of("reduction", reduction, ("mean", "sum"))
    whole = Add(tuple(sheet[part] for part in parts)) if len(parts) > 1 else sheet[parts[0]]
    sheet[name] = whole / len(parts) if reduction == "mean" else whole


def one_hot(name: str, target: Any, classes: int) -> list[Any]:
    """The target of a cross-entropy: a class, counted from 1, as a vector of zeros and a one; a vector stays.

    >>> one_hot("y", 2, 3)
    [0, 1, 0]

    Raises:
        UsageError: a class that there is not, or probabilities that do not sum to 1.
    """
    if shape_of(name, target) == ():
        if target not in range(1, classes + 1):
            raise UsageError(f"{name}={target}: is a class and must be 1 to {classes}; choose one of them.")
        return [int(k == target) for k in range(1, classes + 1)]
    values = [Fraction(str(each)) for each in target]
    if len(values) != classes or sum(values) != 1 or min(values) < 0:
        raise UsageError(
            f"{name}={[float(v) for v in values]}: must be {classes} probabilities that sum to 1; mend them."
        )
    return values


def probabilities(sheet: Worksheet, name: str, logits: Sequence[str]) -> None:
    """Write p = softmax(z) of the logits, by their names."""
    sheet[name] = softmax(*(sheet[each] for each in logits))


def put_end(sheet: Worksheet, outputs: Sequence[str], target: Any, delta: Any, symbol: str = "t") -> bool:
    """Write what a layer's outputs lead to: L = Σ (y − t)² with a target, L = Σ δ·y with given slopes δ = ∂L/∂y.

    >>> w = Worksheet("y = [3, 5]")
    >>> put_end(w, ["y_1", "y_2"], [1, 5], None)
    True
    >>> print(w.solve().value("L"))
    4

    Args:
        sheet: where to.
        outputs: the names of the layer's outputs, row by row.
        target: what they should be, in their shape; None for none.
        delta: the slopes that arrive from the layers after; None for none.
        symbol: the name of the target.

    Returns:
        Whether there is a loss.

    Raises:
        UsageError: both, or another number of them than of outputs.
    """
    if target is None and delta is None:
        return False
    if target is not None and delta is not None:
        raise UsageError("delta: is what a target leads to; give one of the two.")
    name, value = (symbol, target) if delta is None else ("delta", delta)
    sheet[name] = value
    there = sheet.components(name)
    if len(there) != len(outputs):
        raise UsageError(f"{name}: has {len(there)} numbers, and there are {len(outputs)} outputs; give one for each.")
    if delta is None:
        put_loss(sheet, "L", "squared_error", outputs, there)
    else:
        terms = [sheet[slope] * sheet[output] for slope, output in zip(there, outputs, strict=True)]
        sheet["L"] = terms[0] if len(terms) == 1 else Add(tuple(terms))
        slopes = (Name("delta"), " = ", Partial("L", "y"), " arrives from the layers after; ")
        sheet.remark(*slopes, Name("L"), " = Σ ", Name("delta") * Name("y"), " has just these slopes.")
    return True
