# SPDX-License-Identifier: Apache-2.0
"""Functions of many numbers, such as sum, max, softmax and mean: over a vector, or along the rows or columns of a matrix."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from pellucid.errors import UsageError
from pellucid.worked.expressions.expression import Add, At, Call, Expr
from pellucid.worked.expressions.position import position
from pellucid.worked.notation.arrays import Array, broadcast_item, size_of
from pellucid.worked.notation.calls import combined, loss_of

__all__ = ["over_components", "softmax_of"]

ROWS: Final = (
    "The softmax of a matrix runs along each row (axis=1); axis=0 runs down the columns, axis=all over all numbers."
)


def over_components(
    what: Call,
    parts: Sequence[Expr | Array],
    spend: Callable[[int, At | None], None],
    notes: dict[str, None],
    axis: str = "",
) -> Expr | Array:
    """`sum(x)` and `max(x)` of a vector are one number, `max(0, x)` and `softmax(z)` vectors, of a matrix one per row.

    Args:
        what: the call.
        parts: its arguments, written out.
        spend: counts what is written out.
        notes: takes a sentence for the reader.
        axis: 0, 1, -1 or all; by default all, of softmax the last.

    Raises:
        UsageError: an axis that the argument does not have.
    """
    function, at = what.function, what.at
    if function in ("bce", "mse"):
        return _loss(function, parts, at)
    arrays = [part for part in parts if isinstance(part, Array)]
    if function == "concat":
        items = tuple(item for part in parts for item in (part.items if isinstance(part, Array) else (part,)))
        if any(len(array.shape) > 1 for array in arrays):
            raise UsageError(f"{position(at)}concat: puts vectors and numbers one after the other, not matrices.")
        return Array((len(items),), items)
    if function == "trace":
        if not arrays or len(arrays[0].shape) < 2 or arrays[0].shape[0] != arrays[0].shape[1]:
            raise UsageError(f"{position(at)}trace: needs a matrix with as many rows as columns.")
        return _one("sum", arrays[0].items[:: arrays[0].shape[1] + 1], at)
    if arrays and len(parts) > 1 and not axis and function in ("max", "min"):
        # max(0, W x) is a vector, as ReLU: component by component
        shape = max((array.shape for array in arrays), key=len)
        spend(size_of(shape) * len(parts), at)
        pairs = [[broadcast_item(part, n, shape, at) for part in parts] for n in range(size_of(shape))]
        return Array(shape, tuple(Call(function, tuple(pair), 0, at) for pair in pairs))
    if arrays and len(arrays) < len(parts):
        raise UsageError(
            f"{position(at)}{function}: it is unclear what a number beside a vector or matrix means; "
            f"write axis=0 for an axis, or [x, 1] for one more component."
        )
    matrix = parts[0] if len(parts) == 1 and isinstance(parts[0], Array) and len(parts[0].shape) == 2 else None
    if axis in ("0", "1") and matrix is None and not (axis == "0" and len(parts) == 1 and isinstance(parts[0], Array)):
        raise UsageError(f"{position(at)}axis={axis}: needs a matrix; leave it out, the vector has one axis.")
    items = tuple(item for part in parts for item in (part.items if isinstance(part, Array) else (part,)))
    if matrix is None or axis == "all" or (not axis and function != "softmax"):
        if function == "softmax":
            spend(len(items) ** 2, at)
            shape = matrix.shape if matrix is not None else (len(items),)
            return Array(shape, softmax_of(items, at))
        return _one(function, items, at)
    rows, columns = matrix.shape
    down = axis == "0"
    lines = (
        [items[j::columns] for j in range(columns)] if down else [items[i * columns :][:columns] for i in range(rows)]
    )
    if function != "softmax":
        return Array((len(lines),), tuple(_one(function, line, at) for line in lines))
    if not axis:
        notes[ROWS] = None
    spend(sum(len(line) ** 2 for line in lines), at)
    done = [item for line in lines for item in softmax_of(line, at)]
    return Array((columns, rows), tuple(done)).T if down else Array(matrix.shape, tuple(done))


def softmax_of(items: Sequence[Expr], at: At | None = None) -> tuple[Expr, ...]:
    """The components of the softmax of some numbers.

    >>> from pellucid.worked.expressions.expression import Name
    >>> len(softmax_of([Name("a"), Name("b")]))
    2
    """
    return tuple(Call("softmax", tuple(items), n + 1, at) for n in range(len(items)))


def _one(function: str, items: Sequence[Expr], at: At | None) -> Expr:
    if function == "sum":
        return items[0] if len(items) == 1 else Add(tuple(items))
    if function in ("max", "min"):
        return Call(function, tuple(items), 0, at)
    return combined(function, items)


def _loss(function: str, parts: Sequence[Expr | Array], at: At | None) -> Expr:
    """bce(predictions, targets) and mse(predictions, targets), the mean over the components."""
    shape = max((part.shape for part in parts if isinstance(part, Array)), key=len, default=None)
    if shape is None:
        return loss_of(function, *([part] for part in parts if isinstance(part, Expr)))
    if any(isinstance(part, Array) and part.shape != shape for part in parts):
        raise UsageError(f"{position(at)}{function}: predictions and targets must have one size; make them equal.")
    return loss_of(function, *([broadcast_item(part, n, shape, at) for n in range(size_of(shape))] for part in parts))
