# SPDX-License-Identifier: Apache-2.0
"""The equations of transposed convolutions: each number spreads over its kernel's window (Dumoulin and Visin 2016, chapter 4)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from pellucid.errors import DataError
from pellucid.worked.expressions.expression import Expr, Mul, as_expr
from pellucid.worked.worksheet.tensors import summed

if TYPE_CHECKING:
    from pellucid.bridging.naming import Naming
    from pellucid.worked.worksheet.tensors import Tensor as Names

__all__ = ["transposed_convolution"]


def transposed_convolution(writer: Naming, inner: Any, path: str, x: Names) -> Names:
    """(N, C, …) -> (N, O, positions…), with (n − 1)·s − 2p + d(f − 1) + 1 positions and those of `output_padding`.

    Raises:
        DataError: a padding other than zeros.
    """
    if inner.padding_mode != "zeros":
        raise DataError(f"module.{path}: pads with {inner.padding_mode}, a worksheet with zeros only; use zeros.")
    W = writer.parameter(f"{path}.weight" if path else "weight")  # (C, O/groups, K…)
    b = writer.parameter(f"{path}.bias" if path else "bias") if inner.bias is not None else None
    sizes = zip(
        x.shape[2:], inner.kernel_size, inner.stride, inner.padding, inner.dilation, inner.output_padding, strict=True
    )
    shape = tuple((n - 1) * s - 2 * p + d * (f - 1) + 1 + extra for n, f, s, p, d, extra in sizes)
    per = W.shape[1]  # output channels of a group
    made = np.empty((len(x), per * inner.groups, *shape), dtype=object)
    for n in range(len(x)):
        terms: dict[tuple[int, ...], list[Expr]] = {place: [] for place in np.ndindex(*made.shape[1:])}
        for c, *where in np.ndindex(*x.shape[1:]):
            first = c // (x.shape[1] // inner.groups) * per  # of this channel's group
            for o, *offset in np.ndindex(*W.shape[1:]):
                steps = zip(where, offset, inner.stride, inner.padding, inner.dilation, strict=True)
                place = (first + o, *(i * s + k * d - p for i, k, s, p, d in steps))
                if place in terms:
                    terms[place].append(Mul((W[(c, o, *offset)], x[(n, c, *where)])))
        for place, products in terms.items():
            whole = summed(products)
            if b is not None:
                whole = whole + b[place[0]] if products else summed([b[place[0]]])
            made[(n, *place)] = whole if products or b is not None else as_expr(0)
    return made
