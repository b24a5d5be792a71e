# SPDX-License-Identifier: Apache-2.0
"""roi_align: the mean of bilinear samples in each bin of a box (He et al. 2017, section 3), and where the gradient goes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass, replace
from fractions import Fraction
from random import Random
from typing import Any, Final, final

import numpy as np

from pellucid.errors import UsageError
from pellucid.worked.builders._objective import put_upstream
from pellucid.worked.builders._pooling import gradient_map
from pellucid.worked.builders._quantities import exact
from pellucid.worked.builders._symbols import (
    first_index,
    has_symbols,
    in_weights,
    only_numbers,
    read_symbols,
    weighted_images,
)
from pellucid.worked.expressions.expression import Add, Call, Const, Div, Expr, Mul, Name, Neg
from pellucid.worked.forms.contract import Builder
from pellucid.worked.forms.exercise import by_hand
from pellucid.worked.forms.numbers import read_number, read_tensor, read_vector, typed
from pellucid.worked.notation.arrays import component_name
from pellucid.worked.showing.grids import Grid, Table
from pellucid.worked.worksheet.solution import Solution
from pellucid.worked.worksheet.tensors import Numbers, Tensor, as_tensor, ask_gradient, ask_values, define
from pellucid.worked.worksheet.windows import per_axis
from pellucid.worked.worksheet.worksheet import Worksheet

__all__ = ["RoIAlign"]

_SAMPLES: Final = 144
ONE: Final = Const(Fraction(1))


@final
@dataclass(frozen=True)
class _Axis:
    """Rows or columns: where a box begins on the map, how large a bin is, and the points at which it is sampled.

    Args:
        start: of the box, in pixels of the map, where 0 is the centre of the first.
        bin: the size of a bin.
        bins: their number.
        samples: points of a bin.
        size: of the map.
    """

    start: Fraction
    bin: Fraction
    bins: int
    samples: int
    size: int

    def place(self, n: int) -> Fraction:
        """Sampling point n, counted from 0 over all bins, before it is moved into the map."""
        return self.start + self.share(n) * self.bin

    def share(self, n: int) -> Fraction:
        """The same in bins from the box's start: 1/4, 3/4, … for two samples a bin."""
        return Fraction(2 * n + 1, 2 * self.samples)

    def inside(self, n: int) -> Fraction:
        """The sampling point, on the map."""
        return min(max(self.place(n), Fraction(0)), Fraction(self.size - 1))

    def low(self, n: int) -> int:
        """The pixel before the point; the last one where none is behind it."""
        return math.floor(self.inside(n))

    def weights(self) -> list[list[Fraction]]:
        """How much of each pixel is in the mean of a bin: (bins, size)."""
        rows = [[Fraction(0)] * self.size for _ in range(self.bins)]
        for n in range(self.bins * self.samples):
            row, low = rows[n // self.samples], self.low(n)
            past = self.inside(n) - low
            row[low] += (1 - past) / self.samples
            if past:
                row[low + 1] += past / self.samples
        return rows


@final
@dataclass(frozen=True)
class RoIAlign(Builder):
    """Work RoIAlign by hand: the sampling points of a box, their bilinear weights, the mean of each bin, and the gradient."""

    topic = "detection and segmentation"
    question = (
        "Which numbers does RoIAlign sample from a feature map, with which weights, and where does the gradient go?"
    )
    keeps = ("scale", "size", "samples", "aligned")

    image: str = "1 0 2 5; 4 2 8 1; 0 3 1 9"
    """rows of a feature map, as in "1 2 3; 4 5 6"; names such as "x_0 x_1; x_2 x_3" ask for the form alone"""
    _: KW_ONLY
    box: str = "1 2 5 6"
    """left, top, right and bottom of the box in pixels of the image"""
    scale: str = "1/2"
    """size of a pixel of the image on the feature map, 1/16 after four halvings"""
    size: tuple[int, ...] = (2,)
    """bins down and across, one number or two"""
    samples: int = 1
    """sampling points of a bin down and across"""
    aligned: bool = True
    """pixels are points at their centres, half a pixel from the edges, as in Detectron2; --no-aligned is the first version"""
    delta: str | None = None
    """∂L/∂z in rows, which arrives from above; by default 1 everywhere"""
    target: str | None = None
    """target of the output, in rows, instead of delta; then L = Σ (z − t)²"""

    @staticmethod
    def build(
        image: Numbers,
        box: Sequence[Any],
        size: int | Sequence[int] = 2,
        *,
        scale: float | Fraction = 1,
        samples: int = 1,
        aligned: bool = True,
        delta: Numbers | None = None,
        target: Numbers | None = None,
    ) -> Worksheet:
        """The worksheet of RoIAlign, as `torchvision.ops.roi_align` does it.

        >>> sheet = RoIAlign.build([[0, 4], [8, 12]], (0, 0, 2, 2), 1)
        >>> print(sheet.solve().value("z_1_1"))
        6

        Args:
            image: (H, W), a channel of the feature map.
            box: left, top, right, bottom in pixels of the image.
            size: bins down and across.
            scale: of the image's pixels on the map.
            samples: sampling points of a bin down and across, `sampling_ratio` in torchvision.
            aligned: subtract half a pixel from the box's sides.
            delta: δ = ∂L/∂z, which arrives from above; then L = Σ δ·z.
            target: of the output; then L = Σ (z − t)².

        Raises:
            UsageError: a box that is none or leaves the map, or too many samples.
        """
        given = as_tensor(image, "image", 2)
        corners = [exact(number) for number in as_tensor(box, "box", 1)]
        axes = _axes(given.shape, corners, size, exact(scale), samples, aligned)
        sheet = Worksheet()
        x = define(sheet, "x", given)
        _put_points(sheet, axes, corners, exact(scale), aligned)
        s = np.empty([axis.bins * axis.samples for axis in axes], dtype=object)
        for m, n in np.ndindex(*s.shape):
            s[m, n] = _sample(x, (m, n), axes)
        s = define(sheet, "s", s)
        means = np.empty([axis.bins for axis in axes], dtype=object)
        for i, j in np.ndindex(*means.shape):
            means[i, j] = _mean([*s[i * samples : (i + 1) * samples, j * samples : (j + 1) * samples].flat])
        z = define(sheet, "z", means)
        sheet.hold_back(*(item.name for item in (*s.flat, *z.flat)))  # which pixels a sample has is the exercise
        ask_values(sheet, z)
        if put_upstream(sheet, z, delta, target):
            rows, columns = ([n for n in range(axis.size) if any(row[n] for row in axis.weights())] for axis in axes)
            ask_gradient(sheet, "L", x[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1])
        return sheet

    def worksheet(self) -> Worksheet:
        """The worksheet of the options."""
        if has_symbols(self.image):
            only_numbers(delta=self.delta, target=self.target)
            return Worksheet()
        delta: Numbers | None = None if self.delta is None else read_tensor(self.delta, "delta")
        target = None if self.target is None else read_tensor(self.target, "target")
        if delta is None and target is None:
            delta = np.ones(per_axis(self.size, 2, "size", 1), dtype=int)
        image, box = read_tensor(self.image, "image"), read_vector(self.box, "box")
        options: dict[str, Any] = {"samples": self.samples, "aligned": self.aligned, "delta": delta, "target": target}
        return self.build(image, box, self.size, scale=read_number(self.scale, "scale"), **options)

    def grids(self, solution: Solution) -> Sequence[Grid]:
        """The sampling points, the bins as a product of matrices, and the gradient in its places."""
        symbols = has_symbols(self.image)
        image = (
            read_symbols(self.image, "image") if symbols else as_tensor(read_tensor(self.image, "image"), "image", 2)
        )
        box, scale = read_vector(self.box, "box"), read_number(self.scale, "scale")
        axes = _axes(image.shape, [exact(side) for side in box], self.size, exact(scale), self.samples, self.aligned)
        weights = [axis.weights() for axis in axes]
        title = "as a product of matrices: each bin has weights for the rows and for the columns, which sum to 1"
        if symbols:
            return [_points(axes, first_index(image)), *weighted_images(image, weights, "z", title)]
        shown = in_weights(solution, "x", image.shape, weights, "z", title)
        return [_points(axes), shown, gradient_map(solution)]

    def draw(self, random: Random) -> RoIAlign:
        """A map of 3×4 whole numbers, and a box whose sampling points lie at quarters of a pixel."""
        scale = read_number(self.scale, "scale")

        def draw() -> RoIAlign:
            image = [[4 * random.randint(0, 3) for _ in range(4)] for _ in range(3)]
            down, across = per_axis(self.size, 2, "size", 1)
            left, top = Fraction(random.randint(1, 3), 2), Fraction(random.randint(1, 2), 2)
            sides = (left, top, left + Fraction(across, 1), top + Fraction(down, 2))
            return replace(self, image=typed(image), box=typed([side / scale for side in sides]))

        return by_hand(draw)


def _axes(
    shape: Sequence[int],
    box: Sequence[Fraction],
    size: int | Sequence[int],
    scale: Fraction,
    samples: int,
    aligned: bool,
) -> tuple[_Axis, _Axis]:
    """Rows and columns."""
    counts = per_axis(size, 2, "size", 1)
    if len(shape) != 2:
        raise UsageError("image: has one row; a feature map has several, as in 1 2; 3 4.")
    if len(box) != 4 or box[0] >= box[2] or box[1] >= box[3] or scale <= 0:
        words = " ".join(f"{float(number):g}" for number in box)
        raise UsageError(f"box={words}: must be left, top, right and bottom, at a scale above 0; correct it.")
    if samples < 1 or samples**2 * counts[0] * counts[1] > _SAMPLES:
        raise UsageError(f"samples={samples}: must be at least 1, and at most {_SAMPLES} points are worked by hand.")
    shift = Fraction(1, 2) if aligned else Fraction(0)
    found = []
    for low, high, count, pixels in ((box[1], box[3], counts[0], shape[0]), (box[0], box[2], counts[1], shape[1])):
        extent = (high - low) * scale if aligned else max((high - low) * scale, Fraction(1))
        axis = _Axis(low * scale - shift, extent / count, count, samples, pixels)
        ends = axis.place(0), axis.place(count * samples - 1)
        if ends[0] < -1 or ends[1] > pixels:
            raise UsageError(f"box: has sampling points beyond the map of {shape[0]}×{shape[1]}; take a box inside it.")
        found.append(axis)
    return found[0], found[1]


def _put_points(
    sheet: Worksheet, axes: Sequence[_Axis], box: Sequence[Fraction], scale: Fraction, aligned: bool
) -> None:
    """Where the box begins, how large its bins are, and the row and column of each sampling point."""
    half = Const(Fraction(1, 2))
    sheet["scale"] = Const(scale)
    sides = (("top", "bottom", box[1], box[3], "h", "r", "a"), ("left", "right", box[0], box[2], "w", "c", "b"))
    for (low, high, first, last, size, point, part), axis in zip(sides, axes, strict=True):
        sheet[low], sheet[high] = Const(first), Const(last)
        start = sheet[low] * sheet["scale"]
        sheet[f"{point}_0"] = start - half if aligned else start
        extent: Expr = (sheet[high] - sheet[low]) * sheet["scale"]
        if not aligned and (last - first) * scale < 1:
            extent = Call("max", (extent, ONE))
        sheet[size] = Div(extent, Const(Fraction(axis.bins))) if axis.bins > 1 else extent
        for n in range(axis.bins * axis.samples):
            place: Expr = Add((Name(f"{point}_0"), Mul((Const(axis.share(n)), Name(size)))))
            if axis.place(n) != axis.inside(n):  # beyond the outermost centres their value goes on
                place = Call("clip", (place, Const(Fraction(0)), Const(Fraction(axis.size - 1))))
            sheet[f"{point}_{n + 1}"] = place
            below = axis.low(n)
            own = Name(f"{point}_{n + 1}")
            sheet[f"{part}_{n + 1}"] = Add((own, Neg(Const(Fraction(below))))) if below else own
    sheet.remark(
        Name("r"), " and ", Name("c"), " are the rows and columns of the sampling points, counted from 0 at the centre of the first "
        "pixel; ", Name("a"), " and ", Name("b"), " are their fractional parts. A sample ", Name("s"), " weighs the four pixels "
        "around it by ", Mul((1 - Name("a"), 1 - Name("b"))), ", ", Mul((1 - Name("a"), Name("b"))), ", ",
        Mul((Name("a"), 1 - Name("b"))), " and ", Mul((Name("a"), Name("b"))), "; ", Name("z"), " is the mean of a bin.",
    )  # fmt: skip


def _sample(x: Tensor, where: tuple[int, int], axes: Sequence[_Axis]) -> Expr:
    """The pixels around a point with their weights; at the last row or column there is none behind it."""
    sides: list[list[tuple[int, Expr | None]]] = []
    for letter, n, axis in zip("ab", where, axes, strict=True):
        low, part = axis.low(n), Name(f"{letter}_{n + 1}")
        sides.append([(low, 1 - part), (low + 1, part)] if low + 1 < axis.size else [(low, None)])
    terms: list[Expr] = []
    for row, above in sides[0]:
        for column, beside in sides[1]:
            pixel: Any = x[row, column]
            factors = [weight for weight in (above, beside) if weight is not None]
            terms.append(Mul((*factors, pixel)) if factors else pixel)
    return terms[0] if len(terms) == 1 else Add(tuple(terms))


def _mean(items: Sequence[Expr]) -> Expr:
    return items[0] if len(items) == 1 else Div(Add(tuple(items)), Const(Fraction(len(items))))


def _points(axes: Sequence[_Axis], first: int = 1) -> Table:
    """The sampling points of each bin."""
    rows: list[tuple[Expr | str, ...]] = []
    for i, j in np.ndindex(*(axis.bins for axis in axes)):
        places = [
            ", ".join(f"{float(axis.inside(n)):.6g}" for n in range(k * axis.samples, (k + 1) * axis.samples))
            for k, axis in zip((i, j), axes, strict=True)
        ]
        rows.append((Name(component_name("z", [i + first, j + first])), *places))
    title = "the sampling points of each bin, rows and columns counted from 0 at the centre of the first pixel"
    return Table(title, ("bin", "rows", "columns"), tuple(rows))
