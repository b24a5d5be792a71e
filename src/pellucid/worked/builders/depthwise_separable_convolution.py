# SPDX-License-Identifier: Apache-2.0
"""depthwise_separable_convolution: a kernel a channel, then a mixture of channels at each pixel (Howard et al. 2017, section 3.1)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass, replace
from random import Random
from typing import Any, final

import numpy as np

from pellucid.errors import UsageError
from pellucid.worked.builders._objective import put_upstream
from pellucid.worked.expressions.expression import Const, Expr, Name
from pellucid.worked.forms.contract import Builder
from pellucid.worked.forms.exercise import by_hand
from pellucid.worked.forms.numbers import read_tensor
from pellucid.worked.showing.grids import Grid, Table
from pellucid.worked.worksheet.solution import Solution
from pellucid.worked.worksheet.tensors import Numbers, Tensor, as_tensor, ask_gradient, ask_values, define, dot
from pellucid.worked.worksheet.windows import unfold
from pellucid.worked.worksheet.worksheet import Worksheet

__all__ = ["DepthwiseSeparableConvolution"]


@final
@dataclass(frozen=True)
class DepthwiseSeparableConvolution(Builder):
    """Work a depth-wise separable convolution by hand: each channel by its own kernel, their mixtures, and what it saves."""

    topic = "convolution"
    question = "What do a depth-wise and a point-wise convolution give in sequence, and how much do they save?"
    keeps = ("stride", "padding")

    image: str = "[[[1, 0, 2], [3, 1, 0], [0, 2, 1]], [[2, 1, 0], [0, 1, 1], [1, 0, 3]]]"
    """channels of rows of numbers, in nested lists"""
    _: KW_ONLY
    depthwise: str = "[[[1, 0], [0, -1]], [[1, 1], [0, 1]]]"
    """a kernel for each channel, in nested lists"""
    pointwise: str = "1 2; 0 1; -1 1"
    """weights of the mixtures: a row for each output channel, a number for each input channel"""
    stride: int = 1
    """pixels from one window to the next"""
    padding: int = 0
    """pixels of zeros at either end"""
    delta: str | None = None
    """∂L/∂z as channels of rows, which arrives from above; with it the gradients of both kernels are worked out"""

    @staticmethod
    def build(
        image: Numbers,
        depthwise: Numbers,
        pointwise: Numbers,
        *,
        stride: int = 1,
        padding: int = 0,
        delta: Numbers | None = None,
        target: Numbers | None = None,
    ) -> Worksheet:
        """The worksheet of a depth-wise separable convolution without biases.

            u_c = x_c ∗ w_c for each channel,   z_o = Σ_c v_oc·u_c at each pixel

        >>> solution = DepthwiseSeparableConvolution.build([[[1, 2]], [[3, 4]]], [[[1, 1]], [[0, 1]]], [[1, 10]]).solve()
        >>> [str(solution.value(name)) for name in ("u_1_1_1", "u_2_1_1", "z_1_1_1")]
        ['3', '4', '43']

        Args:
            image: (C, H, W).
            depthwise: (C, k, k'), a kernel a channel.
            pointwise: (O, C).
            stride: of the depth-wise convolution.
            padding: zeros at either end.
            delta: δ = ∂L/∂z, (O, H', W'); then L = Σ δ·z.
            target: of z; then L = Σ (z − t)².

        Raises:
            UsageError: shapes that do not fit.
        """
        given, kernels = as_tensor(image, "image", 3), as_tensor(depthwise, "depthwise", 3)
        mixtures = as_tensor(pointwise, "pointwise", 2)
        if len(given) != len(kernels) or mixtures.shape[1] != len(given):
            raise UsageError(
                f"depthwise, pointwise: the image has {len(given)} channels; give as many kernels, and as many numbers in each row."
            )
        if stride < 1 or padding < 0:
            raise UsageError(f"stride={stride}, padding={padding}: must be at least 1 and 0; change them.")
        sheet = Worksheet()
        x, w, v = define(sheet, "x", given), define(sheet, "w", kernels), define(sheet, "v", mixtures)
        maps = []
        for c in range(len(x)):
            windows = unfold(x[c][None], kernels.shape[1:], [stride] * 2, [padding] * 2, [1, 1])  # (H', W', 1, k, k')
            out = np.empty(windows.shape[:2], dtype=object)
            for where in np.ndindex(*out.shape):
                out[where] = _weighted(w[c], windows[where][0])
            maps.append(out)
        u = define(sheet, "u", np.array(maps, dtype=object))  # (C, H', W')
        mixed: Tensor = np.empty((len(v), *u.shape[1:]), dtype=object)
        for o, i, j in np.ndindex(*mixed.shape):
            mixed[o, i, j] = dot(list(v[o]), list(u[:, i, j]))
        z = define(sheet, "z", mixed)  # (O, H', W')
        ask_values(sheet, u)
        ask_values(sheet, z)
        _put_savings(sheet, kernels.shape, len(mixtures))
        if put_upstream(sheet, z, delta, target):
            for names in (w, v, x):
                ask_gradient(sheet, "L", names)
        return sheet

    def worksheet(self) -> Worksheet:
        """The worksheet of the options."""
        delta: Any = None if self.delta is None else read_tensor(self.delta, "delta")
        numbers = [read_tensor(getattr(self, name), name) for name in ("image", "depthwise", "pointwise")]
        if not isinstance(numbers[2][0], list):
            numbers[2] = [numbers[2]]
        return self.build(*numbers, stride=self.stride, padding=self.padding, delta=delta)

    def grids(self, solution: Solution) -> Sequence[Grid]:
        """Parameters of the separable and of the ordinary convolution."""
        rows: list[tuple[str | Expr, ...]] = [
            ("depth-wise", "k·k'·C", Const(solution.value("P_d"))),
            ("point-wise", "C·O", Const(solution.value("P_p"))),
            ("both", "k·k'·C + C·O", Const(solution.value("P_s"))),
            ("ordinary", "k·k'·C·O", Const(solution.value("P_c"))),
        ]
        return [Table("parameters without biases", ("convolution", "formula", Name("P")), tuple(rows))]

    def draw(self, random: Random) -> DepthwiseSeparableConvolution:
        """Two channels of 3×3 digits, kernels of 2×2, two mixtures."""

        def numbers(shape: Sequence[int], choices: Sequence[int]) -> str:
            return str(np.array([random.choice(choices) for _ in range(int(np.prod(shape)))]).reshape(shape).tolist())

        def draw() -> DepthwiseSeparableConvolution:
            image, kernels = numbers((2, 3, 3), range(4)), numbers((2, 2, 2), (-1, 0, 1, 2))
            return replace(self, image=image, depthwise=kernels, pointwise=numbers((2, 2), (-2, -1, 1, 2)))

        return by_hand(draw)


def _weighted(kernel: Tensor, window: Tensor) -> Expr:
    """The sum of a window; what lies in the padding is left out."""
    pairs = [(a, b) for a, b in zip(kernel.flat, window.flat, strict=True) if b is not None]
    return dot([a for a, _ in pairs], [b for _, b in pairs])


def _put_savings(sheet: Worksheet, kernels: Sequence[int], outputs: int) -> None:
    """Write down the numbers of parameters, and their ratio 1/O + 1/(k·k')."""
    sheet["C"], sheet["O"], sheet["k"], sheet["k_2"] = kernels[0], outputs, kernels[1], kernels[2]
    sheet["P_d"] = sheet["k"] * sheet["k_2"] * sheet["C"]
    sheet["P_p"] = sheet["C"] * sheet["O"]
    sheet["P_s"] = sheet["P_d"] + sheet["P_p"]
    sheet["P_c"] = sheet["k"] * sheet["k_2"] * sheet["C"] * sheet["O"]
    sheet["R"] = sheet["P_s"] / sheet["P_c"]
    sheet.remark(
        "w_c is the kernel of channel c, v_oc the weight of channel c in output o. P counts parameters; R is the share that remains, "
        "1/O + 1/(k·k'), also of the multiplications."
    )
    sheet.ask("P_s", "P_c", "R")
