# SPDX-License-Identifier: Apache-2.0
"""The windows that convolutions and poolings slide over an image: how many there are, and what stands in each."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final, Literal

import numpy as np

from pellucid.errors import UsageError
from pellucid.worked.expressions.expression import Call, as_expr
from pellucid.worked.worksheet.tensors import Tensor, summed

__all__ = ["pair", "pooled", "positions", "size_text", "unfold"]

PRODUCTS: Final = 25_000


def pair(value: int | Sequence[int], dimensions: int, name: str, least: int) -> tuple[int, ...]:
    """One whole number a dimension.

    >>> pair(2, 2, "stride", 1)
    (2, 2)

    Raises:
        UsageError: another count of them, or a number that is too small.
    """
    found = tuple(value) if isinstance(value, Sequence) else (value,) * dimensions
    if len(found) == 1:
        found *= dimensions
    if len(found) != dimensions or any(isinstance(n, bool) or n != int(n) or n < least for n in found):
        raise UsageError(
            f"{name}={value}: must be one whole number from {least} on, or {dimensions} of them; choose such numbers."
        )
    return tuple(map(int, found))


def positions(
    size: Sequence[int], kernel: Sequence[int], stride: Sequence[int], padding: Sequence[int], dilation: Sequence[int]
) -> tuple[int, ...]:
    """How many windows there are along each dimension: ⌊(n + 2p − d(f − 1) − 1)/s⌋ + 1.

    >>> positions((5,), (3,), (2,), (1,), (1,))
    (3,)

    Raises:
        UsageError: a window that is larger than what it slides over.
    """
    found = []
    for n, f, s, p, d in zip(size, kernel, stride, padding, dilation, strict=True):
        reach = n + 2 * p - d * (f - 1) - 1
        if reach < 0:
            raise UsageError(
                f"kernel={f}: with dilation {d} it spans {d * (f - 1) + 1} and the image with its padding only "
                f"{n + 2 * p}; take a smaller kernel or more padding."
            )
        found.append(reach // s + 1)
    return tuple(found)


def size_text(
    size: Sequence[int], kernel: Sequence[int], stride: Sequence[int], padding: Sequence[int], dilation: Sequence[int]
) -> str:
    """The size of the output with numbers, one formula a dimension.

    >>> size_text((5,), (3,), (2,), (1,), (1,))
    'size: ⌊(5 + 2·1 − 1·(3 − 1) − 1)/2⌋ + 1 = 3'
    """
    found = positions(size, kernel, stride, padding, dilation)
    parts = [
        f"⌊({n} + 2·{p} − {d}·({f} − 1) − 1)/{s}⌋ + 1 = {m}"
        for n, f, s, p, d, m in zip(size, kernel, stride, padding, dilation, found, strict=True)
    ]
    return "size: " + (f"{parts[0]} each way" if len(parts) > 1 and len({*parts}) == 1 else ", ".join(parts))


def unfold(
    x: Tensor, kernel: Sequence[int], stride: Sequence[int], padding: Sequence[int], dilation: Sequence[int]
) -> Tensor:
    """The windows of an image (C, …): (positions…, C, K…), None where a window reaches into the padding.

    >>> unfold(np.array([["a", "b"]], dtype=object), (2,), (1,), (1,), (1,))[:, 0].tolist()
    [[None, 'a'], ['a', 'b'], ['b', None]]

    Raises:
        UsageError: a window that is larger than the padded image, or more products than a worksheet has.
    """
    out = positions(x.shape[1:], kernel, stride, padding, dilation)
    products = math.prod(out) * x.shape[0] * math.prod(kernel)
    if products > PRODUCTS:
        raise UsageError(
            f"image.shape={x.shape}: {math.prod(out):,} windows make {products:,} products, and a worksheet, worked by hand, has "
            f"at most {PRODUCTS:,}; take a smaller image or less padding."
        )
    found = np.full((*out, x.shape[0], *kernel), None, dtype=object)
    for where in np.ndindex(*out):
        for channel, *offset in np.ndindex(x.shape[0], *kernel):
            at = [i * s + k * d - p for i, k, s, d, p in zip(where, offset, stride, dilation, padding, strict=True)]
            if all(0 <= n < size for n, size in zip(at, x.shape[1:], strict=True)):
                found[(*where, channel, *offset)] = x[(channel, *at)]
    return found


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
