# SPDX-License-Identifier: Apache-2.0
"""Images and maps of several sizes: as one array, and as pictures."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, final

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["Known", "picture", "show", "stacked"]

_BLOCKY = 96  # px: smaller images are drawn with their pixels to be seen


@final
class Known:
    """What is made one by one, of a number that is known: what `Subject.progress` needs for a bar."""

    def __init__(self, items: Iterable[Any], count: int) -> None:
        self._items, self._count = items, count

    def __iter__(self) -> Iterator[Any]:
        return iter(self._items)

    def __len__(self) -> int:
        return self._count


def stacked(arrays: Sequence[NDArray[Any]]) -> NDArray[Any]:
    """(N, …): arrays of several sizes in one, NaN (or -1 for whole numbers) beyond the smaller ones.

    >>> stacked([np.zeros((1, 2)), np.ones((2, 1))])[1].tolist()
    [[1.0, nan], [1.0, nan]]
    """
    shape = tuple(max(sides) for sides in zip(*(array.shape for array in arrays), strict=True))
    kind = np.result_type(*arrays)
    whole = np.full((len(arrays), *shape), np.nan if kind.kind == "f" else -1, kind)
    for row, array in zip(whole, arrays, strict=True):
        row[tuple(slice(side) for side in array.shape)] = array
    return whole


def picture(image: Tensor) -> NDArray[np.float32]:
    """(H, W) or (H, W, 3) in [0, 1], as matplotlib draws it, of an image (C, H, W); of more planes the first are drawn."""
    flat: NDArray[np.float32] = image.detach().float().clamp(0, 1).cpu().numpy()
    return flat[:3].transpose(1, 2, 0) if len(flat) >= 3 else flat[0]


def show(axes: Axes, image: Tensor, title: str = "", **style: Any) -> None:
    """Draw an image (C, H, W) in [0, 1] without axes, and its title as it is written."""
    flat = picture(image)
    smooth = None if max(flat.shape[:2]) > _BLOCKY else "nearest"
    axes.imshow(flat, cmap="gray", vmin=0, vmax=1, interpolation=smooth)
    axes.set_axis_off()
    if title:
        axes.set_title(title, **{"fontsize": 7.5, "pad": 3, "parse_math": False, **style})
