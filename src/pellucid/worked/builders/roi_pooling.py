# SPDX-License-Identifier: Apache-2.0
"""roi_pooling: the largest number of each bin of a box (Girshick 2015, section 2.1), and where the gradient goes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass, replace
from fractions import Fraction
from itertools import product
from random import Random
from typing import Any, final

import numpy as np

from pellucid.errors import UsageError
from pellucid.worked.builders._objective import put_upstream
from pellucid.worked.builders._pooling import gradient_map
from pellucid.worked.builders._quantities import exact
from pellucid.worked.builders._symbols import has_symbols, only_numbers, read_symbols
from pellucid.worked.expressions.expression import Call, Expr, Name
from pellucid.worked.forms.contract import Builder
from pellucid.worked.forms.exercise import by_hand
from pellucid.worked.forms.numbers import read_number, read_tensor, read_vector, typed
from pellucid.worked.notation.arrays import component_name
from pellucid.worked.showing.grids import Grid, MatrixEquation, Table
from pellucid.worked.worksheet.solution import Solution
from pellucid.worked.worksheet.tensors import Numbers, Tensor, as_tensor, ask_gradient, ask_values, define
from pellucid.worked.worksheet.windows import per_axis
from pellucid.worked.worksheet.worksheet import Worksheet

__all__ = ["RoIPooling"]


@final
@dataclass(frozen=True)
class RoIPooling(Builder):
    """Work an RoI pooling by hand: the bins of a box, the largest number of each, and where the gradient goes."""

    topic = "detection and segmentation"
    question = "Which numbers of a feature map does RoI pooling keep of a box, and where does the gradient go?"
    keeps = ("scale", "size")

    image: str = "1 0 2 5 3; 4 2 8 1 0; 0 3 1 9 4; 5 1 0 2 6"
    """rows of a feature map, as in "1 2 3; 4 5 6"; names such as "x_0 x_1; x_2 x_3" ask for the form alone"""
    _: KW_ONLY
    box: str = "2 0 8 4"
    """left, top, right and bottom of the box in pixels of the image; the last pixels belong to it"""
    scale: str = "1/2"
    """size of a pixel of the image on the feature map, 1/16 after four halvings"""
    size: tuple[int, ...] = (2,)
    """bins down and across, one number or two"""
    delta: str | None = None
    """∂L/∂z in rows, which arrives from above; by default 1, 2, 3, … row by row"""
    target: str | None = None
    """target of the output, in rows, instead of delta; then L = Σ (z − t)²"""

    @staticmethod
    def build(
        image: Numbers,
        box: Sequence[Any],
        size: int | Sequence[int] = 2,
        *,
        scale: float | Fraction = 1,
        delta: Numbers | None = None,
        target: Numbers | None = None,
    ) -> Worksheet:
        """The worksheet of RoI pooling, as `torchvision.ops.roi_pool` does it.

        >>> sheet = RoIPooling.build([[1, 5, 2], [7, 3, 4], [0, 6, 8]], (0, 0, 2, 2))
        >>> [str(sheet.solve().value(name)) for name in ("z_1_1", "z_1_2", "z_2_1", "z_2_2")]
        ['7', '5', '7', '8']

        A side of 3 px has the bins 0 to 1 and 1 to 2: the pixel in the middle is in both.

        Args:
            image: (H, W), a channel of the feature map.
            box: left, top, right, bottom in pixels of the image, counted from 0; the last pixels belong to the box.
            size: bins down and across.
            scale: of the image's pixels on the map.
            delta: δ = ∂L/∂z, which arrives from above; then L = Σ δ·z.
            target: of the output; then L = Σ (z − t)².

        Raises:
            UsageError: a box that is none or leaves the map.
        """
        given = as_tensor(image, "image", 2)
        numbers = [exact(number) for number in as_tensor(box, "box", 1)]
        bins = _bins(given.shape, numbers, size, exact(scale))
        sheet = Worksheet()
        x = define(sheet, "x", given)
        outputs = np.empty(tuple(map(len, bins)), dtype=object)
        for where in np.ndindex(*outputs.shape):
            (top, bottom), (left, right) = bins[0][where[0]], bins[1][where[1]]
            window = tuple(x[top:bottom, left:right].flat)
            outputs[where] = window[0] if len(window) == 1 else Call("max", window)
        z = define(sheet, "z", outputs)
        # which pixels a bin has is the exercise
        sheet.hold_back(*(item.name for item in z.flat))
        words = [f"{float(number):g}" for number in (*numbers, exact(scale))]
        sheet.remark(
            f"The box goes from column {words[0]} and row {words[1]} to column {words[2]} and row {words[3]} of the image, counted "
            f"from 0. Times {words[4]} and rounded, these are its first and last pixels on the map. Bin i of k on a side of n pixels, "
            "i = 0, 1, …, goes from pixel ⌊i·n/k⌋ to pixel ⌈(i + 1)·n/k⌉ − 1 of the box."
        )
        sheet.remark("Neighbouring bins share a pixel where n/k is not whole.", hint=True)
        ask_values(sheet, z)
        if put_upstream(sheet, z, delta, target):
            rows, columns = ((side[0][0], side[-1][1]) for side in bins)
            ask_gradient(sheet, "L", x[slice(*rows), slice(*columns)])  # nothing comes back outside the box
        return sheet

    def worksheet(self) -> Worksheet:
        """The worksheet of the options."""
        if has_symbols(self.image):
            only_numbers(delta=self.delta, target=self.target)
            return Worksheet()
        delta: Numbers | None = None if self.delta is None else read_tensor(self.delta, "delta")
        target = None if self.target is None else read_tensor(self.target, "target")
        if delta is None and target is None:  # different numbers show which of them returns
            down, across = per_axis(self.size, 2, "size", 1)
            delta = np.arange(1, 1 + down * across).reshape(down, across).tolist()
        image, box = read_tensor(self.image, "image"), read_vector(self.box, "box")
        scale = read_number(self.scale, "scale")
        return self.build(image, box, self.size, scale=scale, delta=delta, target=target)

    def grids(self, solution: Solution) -> Sequence[Grid]:
        """The bins with their rows and columns, and the gradient in its places."""
        symbols = has_symbols(self.image)
        image = (
            read_symbols(self.image, "image") if symbols else as_tensor(read_tensor(self.image, "image"), "image", 2)
        )
        if image.ndim != 2:
            raise UsageError("image: has one row; a feature map has several, as in a b; c d.")
        bins = _bins(image.shape, read_vector(self.box, "box"), self.size, read_number(self.scale, "scale"))
        rows: list[tuple[Expr | str, ...]] = []
        for i, j in product(*(range(len(side)) for side in bins)):
            spans = [f"{bins[0][i][0] + 1} to {bins[0][i][1]}", f"{bins[1][j][0] + 1} to {bins[1][j][1]}"]
            rows.append((Name(component_name("z", [i + 1, j + 1])), *spans))
        table = Table(
            "the bins on the feature map, rows and columns counted from 1", ("bin", "rows", "columns"), tuple(rows)
        )
        return [table, _in_symbols(image, bins) if symbols else gradient_map(solution)]

    def draw(self, random: Random) -> RoIPooling:
        """A map of 5×6 digits, a box without ties in a bin, and small whole numbers that arrive from above."""
        bins = per_axis(self.size, 2, "size", 1)
        scale = read_number(self.scale, "scale")

        def draw() -> RoIPooling:
            image = [[random.randint(0, 9) for _ in range(6)] for _ in range(5)]
            left, top = random.randint(0, 2), random.randint(0, 1)
            right, bottom = random.randint(left + 2, 5), random.randint(top + 2, 4)
            box = [round(side / scale, 1) for side in (left, top, right, bottom)]
            delta = [[random.choice([-2, -1, 1, 2, 3]) for _ in range(bins[1])] for _ in range(bins[0])]
            arrives = typed(delta) if bins[0] > 1 else str(delta)  # one row needs brackets, else it reads as a vector
            return replace(self, image=typed(image), box=typed(box), delta=arrives)

        return by_hand(draw)


def _in_symbols(image: Tensor, bins: Sequence[Sequence[tuple[int, int]]]) -> MatrixEquation:
    """Every output as the maximum of the names in its bin."""
    lines = []
    for i, j in product(*(range(len(side)) for side in bins)):
        (top, bottom), (left, right) = bins[0][i], bins[1][j]
        window = tuple(image[top:bottom, left:right].flat)
        name = Name(component_name("z", [i + 1, j + 1]))
        lines.append((name, "=", window[0] if len(window) == 1 else Call("max", window)))
    return MatrixEquation("each output is the largest of a bin; its gradient goes to that pixel alone", tuple(lines))


def _bins(
    shape: Sequence[int], box: Sequence[Fraction], size: int | Sequence[int], scale: Fraction
) -> tuple[list[tuple[int, int]], ...]:
    """First pixel and the one after the last, of each bin down and across."""
    counts = per_axis(size, 2, "size", 1)
    if len(box) != 4 or box[0] > box[2] or box[1] > box[3] or scale <= 0:
        words = " ".join(f"{float(number):g}" for number in box)
        raise UsageError(f"box={words}: must be left, top, right and bottom, at a scale above 0; correct it.")
    left, top, right, bottom = (math.floor(number * scale + Fraction(1, 2)) for number in box)
    if left < 0 or top < 0 or right >= shape[1] or bottom >= shape[0]:
        raise UsageError(
            f"box: covers columns {left} to {right} and rows {top} to {bottom} of the map, which has {shape[1]} and {shape[0]}; "
            "take a box inside it."
        )
    found = []
    for first, last, count in ((top, bottom, counts[0]), (left, right, counts[1])):
        n = last - first + 1
        found.append([(first + i * n // count, first - (-(i + 1) * n // count)) for i in range(count)])
    return tuple(found)
