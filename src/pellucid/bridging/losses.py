# SPDX-License-Identifier: Apache-2.0
"""The losses in the worksheet of a torch module: squared error, binary cross-entropy, cross-entropy, as torch defines them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from pellucid.errors import DataError, UnknownNameError, UsageError
from pellucid.worked.expressions.expression import Expr, as_expr
from pellucid.worked.notation.operations import log, sigmoid, softmax
from pellucid.worked.worksheet.tensors import as_tensor, define, summed

if TYPE_CHECKING:
    from pellucid.worked.worksheet.tensors import Tensor as Names
    from pellucid.worked.worksheet.worksheet import Worksheet

__all__ = ["LOSSES", "add_loss", "tensor_numbers"]

LOSSES = {
    "mse": ("mse_loss", "MSELoss"),
    "bce": ("binary_cross_entropy", "BCELoss"),
    "bce_with_logits": ("binary_cross_entropy_with_logits", "BCEWithLogitsLoss"),
    "cross_entropy": ("cross_entropy", "CrossEntropyLoss"),
}
"""The name of each loss -> torch's function and torch's class."""


def tensor_numbers(tensor: Any) -> Names:
    """The numbers of a tensor, each as the shortest decimal that its precision tells apart.

    >>> import torch
    >>> print(tensor_numbers(torch.tensor([0.1]))[0])
    Const(value=Fraction(1, 10))
    """
    array = tensor.detach().cpu().numpy() if hasattr(tensor, "detach") else np.asarray(tensor)
    if not np.isfinite(array).all():
        raise DataError("tensor: has a number that is not finite; replace it.")
    # through str: a float32 of 0.1 is 0.1, not 0.10000000149
    flat = [float(str(number)) for number in array.reshape(-1)]
    return as_tensor(np.array(flat, dtype=object).reshape(array.shape), "tensor")


def add_loss(sheet: Worksheet, output: Names, target: Any, loss: str | Callable[..., Any]) -> None:
    """Add the target t and the loss L to a worksheet.

    >>> from pellucid.worked.expressions.expression import Name
    >>> from pellucid.worked.worksheet.worksheet import Worksheet
    >>> sheet = Worksheet("yhat_1 = 3")
    >>> add_loss(sheet, np.array([[Name("yhat_1")]]), [[1.0]], "mse")
    >>> print(sheet.solve().value("L"))
    4

    Args:
        sheet: the worksheet.
        output: the names of the module's outputs, (N, …).
        target: values in the output's shape, or class numbers (N,).
        loss: as in `from_torch`.

    Raises:
        UsageError: an unknown loss, or one with weights.
        DataError: a target that does not fit.
    """
    name, reduction = _known(loss)
    if name == "cross_entropy":
        terms = _cross_entropy(sheet, output, target)
    else:
        given = tensor_numbers(target)
        if given.shape != output.shape:
            raise DataError(f"target.shape={given.shape}: the output's is {output.shape}; make them equal.")
        # a batch of one has no index for its sample: t_1 rather than t_1_1
        t = define(sheet, "t", given[0] if len(given) == 1 else given).reshape(output.shape)
        if name == "mse":
            terms = [(a - b) ** 2 for a, b in zip(output.flat, t.flat, strict=True)]
        else:
            p = output
            if name == "bce_with_logits":
                made: Any = np.array([sigmoid(z) for z in output.flat], dtype=object)
                p = define(sheet, "p", made)
            terms = [-(b * log(a) + (1 - b) * log(1 - a)) for a, b in zip(p.flat, t.flat, strict=True)]
    total = summed(terms)
    sheet["L"] = total if reduction == "sum" or len(terms) == 1 else total / as_expr(len(terms))


def _cross_entropy(sheet: Worksheet, output: Names, target: Any) -> list[Expr]:
    """−ln p_y of each sample, where p is the softmax of its outputs and y its class."""
    classes = np.asarray(target.detach().cpu() if hasattr(target, "detach") else target)
    if output.ndim != 2 or classes.shape != output.shape[:1] or not np.issubdtype(classes.dtype, np.integer):
        raise DataError(
            f"target.shape={classes.shape}: cross_entropy needs outputs (N, classes), here {output.shape}, and one class "
            "number for each sample; give these."
        )
    if classes.min() < 0 or classes.max() >= output.shape[1]:
        raise DataError(
            f"target={classes.min()}…{classes.max()}: the classes are 0 to {output.shape[1] - 1}; correct the targets."
        )
    made: Any = np.array([list(softmax(*row)) for row in output], dtype=object)  # (N, classes)
    p = define(sheet, "p", made[0] if len(made) == 1 else made).reshape(output.shape)
    return [-log(p[n, c]) for n, c in enumerate(classes.tolist())]


def _known(loss: str | Callable[..., Any]) -> tuple[str, str]:
    """The name of a loss and its reduction over the samples."""
    if isinstance(loss, str):
        if loss not in LOSSES:
            raise UnknownNameError("loss", loss, LOSSES)
        return loss, "mean"
    called = getattr(loss, "__name__", type(loss).__name__)
    for name, known in LOSSES.items():
        if called in known:
            reduction = str(getattr(loss, "reduction", "mean"))
            plain = getattr(loss, "weight", None) is None and getattr(loss, "pos_weight", None) is None
            plain &= int(getattr(loss, "ignore_index", -1)) < 0
            if reduction not in ("mean", "sum") or not plain or float(getattr(loss, "label_smoothing", 0.0)):
                raise UsageError(
                    f"loss={called}: must be a mean or sum without weights, smoothing and ignore_index; choose such a loss."
                )
            return name, reduction
    raise UsageError(f"loss={called}: is not known; choose one of {', '.join(LOSSES)}, or torch's version of these.")
