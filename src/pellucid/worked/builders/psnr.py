# SPDX-License-Identifier: Apache-2.0
"""psnr: the peak signal-to-noise ratio of two images, in dB."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass, replace
from fractions import Fraction
from random import Random
from typing import final

from pellucid.errors import UsageError
from pellucid.worked.builders._objective import mean_of
from pellucid.worked.expressions.expression import as_expr
from pellucid.worked.forms.contract import Builder
from pellucid.worked.forms.exercise import by_hand
from pellucid.worked.forms.numbers import read_number, read_tensor, typed
from pellucid.worked.notation.operations import log
from pellucid.worked.worksheet.tensors import Numbers, as_tensor, ask_gradient, define
from pellucid.worked.worksheet.worksheet import Worksheet

__all__ = ["PSNR"]


@final
@dataclass(frozen=True)
class PSNR(Builder):
    """Work the peak signal-to-noise ratio by hand, in dB."""

    topic = "autoencoders and compression"
    question = "How good is a reconstruction, in dB?"
    keeps = ("gradient",)

    image: str = "100 110; 120 130"
    """rows of pixels, as in "100 110; 120 130\""""
    reference: str = "101 108; 120 133"
    """the image that it should be"""
    _: KW_ONLY
    peak: str = "255"
    """largest value that a pixel can have: 255 for bytes, 1 for images in [0, 1]"""
    gradient: bool = False
    """work out the derivative by every pixel of the image too"""

    @staticmethod
    def build(image: Numbers, reference: Numbers, *, peak: float | Fraction = 255, gradient: bool = False) -> Worksheet:
        """The worksheet of the peak signal-to-noise ratio in dB: 10·log₁₀(M²/MSE), M being the largest value of a pixel.

        >>> print(round(PSNR.build([[100, 110]], [[101, 108]]).solve().value("PSNR"), 4))
        44.1514

        Args:
            image: rows of pixels.
            reference: the image that it should be.
            peak: M, 255 for bytes and 1 for images in [0, 1].
            gradient: ask for the derivative by every pixel of the image too.

        Raises:
            UsageError: shapes that differ, or equal images, whose ratio is infinite.
        """
        x, y = as_tensor(image, "image", 1, 2, 3), as_tensor(reference, "reference", 1, 2, 3)
        if x.shape != y.shape:
            raise UsageError(f"reference.shape={y.shape}: the image's is {x.shape}; give images of one size.")
        # MSE = 0, and the logarithm of M²/0 does not exist
        if all(a == b for a, b in zip(x.flat, y.flat, strict=True)):
            raise UsageError(
                "reference: equals the image, so that the error is 0 and the ratio infinite; change a pixel."
            )
        if not float(peak) > 0:
            raise UsageError(f"peak={peak}: is the largest value that a pixel can have; give a number above 0.")
        sheet = Worksheet()
        X, Y = define(sheet, "x", x), define(sheet, "y", y)  # (N,), (H, W) or (C, H, W)
        sheet["M"] = as_expr(peak)
        sheet["MSE"] = mean_of([(a - b) ** 2 for a, b in zip(X.flat, Y.flat, strict=True)])
        # a worksheet has the natural logarithm alone
        sheet["PSNR"] = 10 * log(sheet["M"] ** 2 / sheet["MSE"]) / log(as_expr(10))
        sheet.remark("PSNR is in dB; log₁₀ u = ln u/ln 10.")
        sheet.ask("MSE", "PSNR")
        if gradient:
            ask_gradient(sheet, "PSNR", X)
        return sheet

    def worksheet(self) -> Worksheet:
        """The worksheet of the options."""
        image, reference = read_tensor(self.image, "image"), read_tensor(self.reference, "reference")
        return self.build(image, reference, peak=read_number(self.peak, "peak"), gradient=self.gradient)

    def draw(self, random: Random) -> PSNR:
        """Two images of 2×2 pixels in [0, 1], multiples of 0.1 that differ by at most 0.2."""

        def draw() -> PSNR:
            x = [[Fraction(random.randint(2, 8), 10) for _ in range(2)] for _ in range(2)]
            # a difference of 0 in every pixel is not drawn: the ratio would be infinite
            y = [[pixel + Fraction(random.choice([-2, -1, 1, 2]), 10) for pixel in row] for row in x]
            return replace(self, image=typed(x), reference=typed(y), peak="1")

        return by_hand(draw)
