# SPDX-License-Identifier: Apache-2.0
"""unet: the sizes of a U-Net's maps, what is cropped at each skip, and which images fit (Ronneberger et al. 2015, figure 1)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Final, final

from pellucid.errors import UsageError
from pellucid.worked.expressions.expression import Expr
from pellucid.worked.forms.contract import Builder
from pellucid.worked.forms.exercise import by_hand
from pellucid.worked.showing.grids import Grid, Table
from pellucid.worked.worksheet.solution import Solution
from pellucid.worked.worksheet.worksheet import Worksheet

__all__ = ["UNet"]

_LARGEST: Final = 100_000  # px
_DEEPEST: Final = 8


@final
@dataclass(frozen=True, kw_only=True)
class UNet(Builder):
    """Work the sizes of a U-Net's maps: down, up, and what is cropped at each skip."""

    topic = "detection and segmentation"
    question = "How large is the answer of a U-Net, what is cropped on the way, and which images fit?"
    keeps = ("channels", "classes")

    size: int = 572
    """height or width of the image in pixels"""
    depth: int = 4
    """how often the size is halved"""
    convolutions: int = 2
    """convolutions at each level"""
    kernel: int = 3
    """size of their kernels in pixels"""
    padding: int = 0
    """zeros at either end; half of the kernel keeps the size"""
    channels: int = 64
    """channels of the first level, which double at each further one"""
    classes: int = 2
    """channels of the output, one a class"""

    @staticmethod
    def build(
        size: int = 572, *, depth: int = 4, convolutions: int = 2, kernel: int = 3, padding: int = 0
    ) -> Worksheet:
        """The worksheet of a U-Net's sizes.

            s = c·(k − 1 − 2p);  down:  e_l = d_(l−1) − s,  d_l = e_l/2;  up:  u_l = 2·f_(l+1),  r_l = (e_l − u_l)/2,  f_l = u_l − s

        >>> solution = UNet.build(572).solve()
        >>> [str(solution.value(name)) for name in ("e_1", "d_1", "f_5", "u_4", "r_4", "y")]
        ['568', '284', '28', '56', '4', '388']

        Args:
            size: of the image in pixels.
            depth: how often the size is halved.
            convolutions: at each level, c.
            kernel: their size, k.
            padding: zeros at either end, p.

        Raises:
            UsageError: a size that cannot be halved as often; the sentence names the nearest that can.
        """
        numbers = {"size": size, "depth": depth, "convolutions": convolutions, "kernel": kernel, "padding": padding}
        for name, value in numbers.items():
            least, most = (0 if name == "padding" else 1), (_DEEPEST if name in ("depth", "convolutions") else _LARGEST)
            if not least <= value <= most:
                raise UsageError(f"{name}={value}: must be from {least} to {most:,}; choose such a number.")
        lost = convolutions * (kernel - 1 - 2 * padding)
        if lost < 0:
            raise UsageError(
                f"padding={padding}: makes the maps grow; take at most half of the kernel, {(kernel - 1) // 2}."
            )
        if not _fits(size, depth, lost):
            near = [n for n in range(1, size + 4 * 2**depth * (lost + 1)) if _fits(n, depth, lost)]
            below, above = ([n for n in near if n < size][-1:], [n for n in near if n > size][:1])
            raise UsageError(
                f"size={size}: a map on the way has an odd size, or nothing is left of it; take {' or '.join(map(str, below + above))}."
            )
        sheet = Worksheet()
        sheet["n"], sheet["c"], sheet["k"], sheet["p"] = size, convolutions, kernel, padding
        # what the convolutions of a level take off a side
        sheet["s"] = sheet.c * (sheet.k - 1 - 2 * sheet.p)
        entering: Expr = sheet.n
        for level in range(1, depth + 1):
            sheet[f"e_{level}"] = entering - sheet.s
            sheet[f"d_{level}"] = sheet[f"e_{level}"] / 2
            entering = sheet[f"d_{level}"]
        sheet[f"f_{depth + 1}"] = entering - sheet.s
        for level in range(depth, 0, -1):
            sheet[f"u_{level}"] = 2 * sheet[f"f_{level + 1}"]
            sheet[f"r_{level}"] = (sheet[f"e_{level}"] - sheet[f"u_{level}"]) / 2
            sheet[f"f_{level}"] = sheet[f"u_{level}"] - sheet.s
        sheet["y"] = sheet.f_1
        sheet["m"] = (sheet.n - sheet.y) / 2
        sheet.remark(
            "Sizes in pixels of one side: e after the convolutions of a level on the way down, d after the pooling, u after the step up, "
            "r what is cropped at each side of e before it is joined with u, f after the convolutions on the way up."
        )
        sheet.remark(
            "m is the border of the image for which there is no answer; an image that is mirrored by m px has an answer everywhere.",
            hint=True,
        )
        levels = range(1, depth + 1)
        sheet.ask(*(name for level in levels for name in (f"e_{level}", f"d_{level}")), f"f_{depth + 1}")
        sheet.ask(
            *(name for level in reversed(levels) for name in (f"u_{level}", f"r_{level}", f"f_{level}")), "y", "m"
        )
        return sheet

    def worksheet(self) -> Worksheet:
        """The worksheet of the options."""
        more = {"depth": self.depth, "convolutions": self.convolutions, "kernel": self.kernel, "padding": self.padding}
        return self.build(self.size, **more)

    def grids(self, solution: Solution) -> Sequence[Grid]:
        """Every map with its size and channels, from the image to the answer."""
        rows: list[tuple[str, ...]] = []

        def row(what: str, name: str, channels: int) -> None:
            side = str(solution.value(name))
            rows.append((what, f"{side}×{side}", str(channels)))

        for level in range(1, self.depth + 1):
            wide = self.channels * 2 ** (level - 1)
            row(f"level {level}, convolved", f"e_{level}", wide)
            row("pooled", f"d_{level}", wide)
        row("at the bottom, convolved", f"f_{self.depth + 1}", self.channels * 2**self.depth)
        for level in range(self.depth, 0, -1):
            wide = self.channels * 2 ** (level - 1)
            row(f"level {level}, upsampled", f"u_{level}", wide)
            row("joined with the cropped map", f"u_{level}", 2 * wide)
            row("convolved", f"f_{level}", wide)
        row("the answer, by a 1×1 convolution", "y", self.classes)
        return [Table("every map from the image to the answer", ("map", "size", "channels"), tuple(rows))]

    def draw(self, random: Random) -> UNet:
        """A small image, one or two halvings, with or without padding."""

        def draw() -> UNet:
            options = {
                "depth": random.choice([1, 2]),
                "convolutions": random.choice([1, 2]),
                "kernel": random.choice([3, 3, 5]),
            }
            padding = random.choice([0, 0, options["kernel"] // 2])
            lost = options["convolutions"] * (options["kernel"] - 1 - 2 * padding)
            sizes = [n for n in range(6, 16) if _fits(n, options["depth"], lost)]
            return replace(self, size=random.choice(sizes), padding=padding, **options) if sizes else draw()

        return by_hand(draw)


def _fits(size: int, depth: int, lost: int) -> bool:
    """Whether every map can be halved and something is left of the answer."""
    for _ in range(depth):
        size -= lost
        if size < 2 or size % 2:
            return False
        size //= 2
    size -= lost
    for _ in range(depth):
        if size < 1:
            return False
        size = 2 * size - lost
    return size >= 1
