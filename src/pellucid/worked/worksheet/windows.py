# SPDX-License-Identifier: Apache-2.0
"""The sliding windows of convolutions and poolings: how many there are and what each contains."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final, Literal

import numpy as np

from pellucid.errors import UsageError
from pellucid.worked.expressions.expression import Call, as_expr
from pellucid.worked.worksheet.tensors import Tensor, summed

__all__ = ["per_axis", "pooled", "size_formula", "unfold", "window_counts"]

PRODUCTS: Final = 25_000  # terms of all outputs together


def per_axis(value: int | Sequence[int], dimensions: int, name: str, least: int) -> tuple[int, ...]:
    """One integer per axis; a single number counts for all axes.

    >>> per_axis(2, 2, "stride", 1)
    (2, 2)

    Raises:
        UsageError: another number of values, or a value that is too small.
    """
    numbers = tuple(value) if isinstance(value, Sequence) else (value,) * dimensions
    if len(numbers) == 1:
        numbers *= dimensions
    if len(numbers) != dimensions or any(isinstance(n, bool) or n != int(n) or n < least for n in numbers):
        raise UsageError(
            f"{name}={value}: must be a whole number of at least {least}, or {dimensions} of them; change it."
        )
    return tuple(map(int, numbers))


def window_counts(
    size: Sequence[int], kernel: Sequence[int], stride: Sequence[int], padding: Sequence[int], dilation: Sequence[int]
) -> tuple[int, ...]:
    """The number of windows along each axis, ⌊(n + 2p − d(f − 1) − 1)/s⌋ + 1 (Dumoulin and Visin 2016, relationship 15).

    >>> window_counts((5,), (3,), (2,), (1,), (1,))
    (3,)

    Raises:
        UsageError: a window that is larger than the padded image.
    """
    counts = []
    for n, f, s, p, d in zip(size, kernel, stride, padding, dilation, strict=True):
        reach = n + 2 * p - d * (f - 1) - 1
        if reach < 0:
            raise UsageError(
                f"kernel={f}: with dilation {d} it spans {d * (f - 1) + 1}, more than the {n + 2 * p} of the padded image; "
                "take a smaller kernel or more padding."
            )
        counts.append(reach // s + 1)
    return tuple(counts)


def size_formula(
    size: Sequence[int], kernel: Sequence[int], stride: Sequence[int], padding: Sequence[int], dilation: Sequence[int]
) -> str:
    """The formula of the output size with its numbers, for each axis.

    >>> size_formula((5,), (3,), (2,), (1,), (1,))
    'size: ⌊(5 + 2·1 − 1·(3 − 1) − 1)/2⌋ + 1 = 3'
    """
    counts = window_counts(size, kernel, stride, padding, dilation)
    parts = [
        f"⌊({n} + 2·{p} − {d}·({f} − 1) − 1)/{s}⌋ + 1 = {m}"
        for n, f, s, p, d, m in zip(size, kernel, stride, padding, dilation, counts, strict=True)
    ]
    return "size: " + (f"{parts[0]} each way" if len(parts) > 1 and len({*parts}) == 1 else ", ".join(parts))


def unfold(
    x: Tensor, kernel: Sequence[int], stride: Sequence[int], padding: Sequence[int], dilation: Sequence[int]
) -> Tensor:
    """The windows of an image, (C, …) -> (positions…, C, K…), with None where a window reaches into the padding.

    >>> unfold(np.array([["a", "b"]], dtype=object), (2,), (1,), (1,), (1,))[:, 0].tolist()
    [[None, 'a'], ['a', 'b'], ['b', None]]

    Raises:
        UsageError: a window that is larger than the padded image, or too many products for a worksheet.
    """
    out = window_counts(x.shape[1:], kernel, stride, padding, dilation)
    products = math.prod(out) * x.shape[0] * math.prod(kernel)
    if products > PRODUCTS:
        raise UsageError(
            f"image.shape={x.shape}: its {math.prod(out):,} windows make {products:,} products, more than the {PRODUCTS:,} of a "
            "worksheet; take a smaller image or less padding."
        )
    windows = np.full((*out, x.shape[0], *kernel), None, dtype=object)  # (positions…, C, K…)
    for where in np.ndindex(*out):
        for channel, *offset in np.ndindex(x.shape[0], *kernel):
            # the pixel under offset k of window i: i·s + k·d − p
            at = [i * s + k * d - p for i, k, s, d, p in zip(where, offset, stride, dilation, padding, strict=True)]
            if all(0 <= n < size for n, size in zip(at, x.shape[1:], strict=True)):
                windows[(*where, channel, *offset)] = x[(channel, *at)]
    return windows


def pooled(windows: Tensor, kind: Literal["max", "average"]) -> Tensor:
    """The maximum or the mean of each window of `unfold`; the channels come first, (C, positions…).

    >>> from pellucid.worked.expressions.expression import Name
    >>> pooled(np.array([[[Name("a"), None]], [[Name("b"), Name("c")]]], dtype=object), "max")[0, 1]
    Call(function='max', args=(Name(name='b'), Name(name='c')), index=0)

    Args:
        windows: (positions…, C, K…) with None in the padding.
        kind: max or average.
    """
    dimensions = windows.ndim // 2
    outputs = np.empty((windows.shape[dimensions], *windows.shape[:dimensions]), dtype=object)
    for channel, *where in np.ndindex(*outputs.shape):
        window = windows[(*where, channel)].reshape(-1)
        inside = tuple(value for value in window if value is not None)
        if kind == "max":
            outputs[(channel, *where)] = inside[0] if len(inside) == 1 else Call("max", inside)
        else:
            outputs[(channel, *where)] = summed(inside) / as_expr(window.size)  # the padding counts as zeros
    return outputs
