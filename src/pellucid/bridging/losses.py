# SPDX-License-Identifier: Apache-2.0
"""The losses of a torch module's worksheet: squared error, binary cross-entropy, cross-entropy, as torch defines them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from pellucid.errors import DataError, UnknownNameError, UsageError
from pellucid.worked.expressions.expression import Expr, as_expr
from pellucid.worked.notation.operations import log, sigmoid, softmax
from pellucid.worked.worksheet.tensors import as_tensor, place, summed

if TYPE_CHECKING:
    from pellucid.worked.worksheet.tensors import Tensor as Names
    from pellucid.worked.worksheet.worksheet import Worksheet

__all__ = ["LOSSES", "numbers", "put_loss"]

LOSSES = {
    "mse": ("mse_loss", "MSELoss"),
    "bce": ("binary_cross_entropy", "BCELoss"),
    "bce_with_logits": ("binary_cross_entropy_with_logits", "BCEWithLogitsLoss"),
    "cross_entropy": ("cross_entropy", "CrossEntropyLoss"),
}
"""A loss's name -> torch's function and class of it."""


def numbers(tensor: Any) -> Names:
    """A tensor's numbers, each as the shortest decimal that stands for it in its own precision.

    >>> import torch
    >>> print(numbers(torch.tensor([0.1]))[0])
    Const(value=Fraction(1, 10))
    """
    array = tensor.detach().cpu().numpy() if hasattr(tensor, "detach") else np.asarray(tensor)
    if not np.isfinite(array).all():
        raise DataError("tensor: has a number that is not finite; a worksheet has none such, mend it.")
    flat = [float(str(each)) for each in array.reshape(-1)]
    return as_tensor(np.array(flat, dtype=object).reshape(array.shape), "tensor")


def put_loss(sheet: Worksheet, output: Names, target: Any, loss: str | Callable[..., Any]) -> None:
    """Add the target t and the loss L to a worksheet.

    >>> from pellucid.worked.expressions.expression import Name
    >>> from pellucid.worked.worksheet.worksheet import Worksheet
    >>> sheet = Worksheet("yhat_1 = 3")
    >>> put_loss(sheet, np.array([[Name("yhat_1")]]), [[1.0]], "mse")
    >>> print(sheet.solve().value("L"))
    4

    Args:
        sheet: where they go.
        output: the names of what the module gives, (N, …).
        target: values in the output's shape, or class numbers (N,).
        loss: as for `from_torch`.

    Raises:
        UsageError: a loss that is not known, or one with weights.
        DataError: a target that does not fit.
    """
    name, reduction = _known(loss)
    if name == "cross_entropy":
        terms = _cross_entropy(sheet, output, target)
    else:
        given = numbers(target)
        if given.shape != output.shape:
            raise DataError(f"target.shape={given.shape}: the output's is {output.shape}; make them equal.")
        t = place(sheet, "t", given[0] if len(given) == 1 else given).reshape(output.shape)
        if name == "mse":
            terms = [(a - b) ** 2 for a, b in zip(output.flat, t.flat, strict=True)]
        else:
            p = output
            if name == "bce_with_logits":
                made: Any = np.array([sigmoid(each) for each in output.flat], dtype=object)
                p = place(sheet, "p", made)
            terms = [-(b * log(a) + (1 - b) * log(1 - a)) for a, b in zip(p.flat, t.flat, strict=True)]
    total = summed(terms)
    sheet["L"] = total if reduction == "sum" or len(terms) == 1 else total / as_expr(len(terms))


def _cross_entropy(sheet: Worksheet, output: Names, target: Any) -> list[Expr]:
    """−ln p_y of each sample, p being the softmax of its outputs."""
    classes = np.asarray(target.detach().cpu() if hasattr(target, "detach") else target)
    if output.ndim != 2 or classes.shape != output.shape[:1] or not np.issubdtype(classes.dtype, np.integer):
        raise DataError(
            f"target.shape={classes.shape}: cross_entropy takes outputs (N, classes), which are {output.shape}, and one whole "
            "number a sample; give these."
        )
    if classes.min() < 0 or classes.max() >= output.shape[1]:
        raise DataError(
            f"target={classes.min()}…{classes.max()}: there are classes 0 to {output.shape[1] - 1}; mend it."
        )
    made: Any = np.array([list(softmax(*row)) for row in output], dtype=object)
    p = place(sheet, "p", made[0] if len(made) == 1 else made).reshape(output.shape)
    return [-log(p[n, c]) for n, c in enumerate(classes.tolist())]


def _known(loss: str | Callable[..., Any]) -> tuple[str, str]:
    """The name of a loss, and how the losses of samples become one."""
    if isinstance(loss, str):
        if loss not in LOSSES:
            raise UnknownNameError("loss", loss, LOSSES)
        return loss, "mean"
    called = getattr(loss, "__name__", type(loss).__name__)
    for name, known in LOSSES.items():
        if called in known:
            reduction = str(getattr(loss, "reduction", "mean"))
            plain = getattr(loss, "weight", None) is None and getattr(loss, "pos_weight", None) is None
            if reduction not in ("mean", "sum") or not plain or float(getattr(loss, "label_smoothing", 0.0)):
                raise UsageError(
                    f"loss={called}: must be the plain mean or sum, without weights or smoothing; take that."
                )
            return name, reduction
    raise UsageError(f"loss={called}: is not known; take one of {', '.join(LOSSES)}, or torch's of these.")
