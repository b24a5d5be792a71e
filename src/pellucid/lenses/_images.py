# SPDX-License-Identifier: Apache-2.0
"""Images and maps of several sizes: as one array, and as pictures."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, final

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from pellucid._following import Followed
from pellucid.lenses._axes import bare

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["Counted", "blurred", "outline", "picture", "show", "stacked"]

_BLOCKY = 96  # px: a smaller image is drawn with its pixels visible
_BLUR = 16  # px that become one


@final
class Counted:
    """An iterable whose length is known beforehand, so that `Part.progress` can draw a bar."""

    def __init__(self, items: Iterable[Any], count: int) -> None:
        self._items, self._count = items, count

    def __iter__(self) -> Iterator[Any]:
        return iter(self._items)

    def __len__(self) -> int:
        return self._count


def stacked(arrays: Sequence[NDArray[Any]]) -> NDArray[Any]:
    """(N, …): arrays of several sizes as one, filled up with NaN (or -1 for whole numbers).

    >>> stacked([np.zeros((1, 2)), np.ones((2, 1))])[1].tolist()
    [[1.0, nan], [1.0, nan]]
    """
    shape = tuple(max(sides) for sides in zip(*(array.shape for array in arrays), strict=True))
    kind = np.result_type(*arrays)  # whole numbers have no NaN
    whole = np.full((len(arrays), *shape), np.nan if kind.kind == "f" else -1, kind)
    for row, array in zip(whole, arrays, strict=True):
        row[tuple(slice(side) for side in array.shape)] = array
    return whole


def blurred(image: Tensor) -> Tensor:
    """(C, H, W) of (C, H, W): the image without detail, as a part of it that shows nothing in particular."""
    small = F.interpolate(image[None], [max(1, side // _BLUR) for side in image.shape[1:]], mode="area")
    return F.interpolate(small, image.shape[1:], mode="bilinear")[0]


def picture(image: Tensor) -> NDArray[np.float32]:
    """(H, W) or (H, W, 3) in [0, 1], as matplotlib draws it, of an image (C, H, W); of more than three planes the first three."""
    flat: NDArray[np.float32] = image.detach().float().clamp(0, 1).cpu().numpy()
    return flat[:3].transpose(1, 2, 0) if len(flat) >= 3 else flat[0]


def show(axes: Axes, image: Tensor, title: str = "", **style: Any) -> None:
    """Draw an image (C, H, W) in [0, 1] without axes, with its title as plain text."""
    flat = picture(image)
    smooth = None if max(flat.shape[:2]) > _BLOCKY else "nearest"  # None: matplotlib's antialiasing
    axes.imshow(flat, cmap="gray", vmin=0, vmax=1, interpolation=smooth)
    bare(axes)
    if title:
        axes.set_title(title, **{"fontsize": 7.5, "pad": 3, "parse_math": False, **style})


def outline(axes: Axes, followed: Followed | None) -> None:
    """The box of what is followed, if it has one, seen on dark and on light ground."""
    from matplotlib.patches import Rectangle

    if followed is None or followed.box is None:
        return
    x0, y0, x1, y1 = (end - 0.5 for end in followed.box)  # matplotlib's pixel j covers [j − ½, j + ½)
    for colour, width in (("black", 2.0), ("#ffd000", 1.1)):
        axes.add_patch(Rectangle((x0, y0), x1 - x0, y1 - y0, fill=False, edgecolor=colour, linewidth=width))
