# SPDX-License-Identifier: Apache-2.0
"""layer_norm: layer normalisation, each sample over its own features (Ba et al. 2016, equation 3)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from random import Random
from typing import Any, final

from pellucid.errors import UsageError
from pellucid.worked.builders._normalising import put_per_feature, with_square_variance
from pellucid.worked.builders._objective import put_end
from pellucid.worked.builders._quantities import ask_update, from_texts, shape_of
from pellucid.worked.expressions.expression import Operand, Partial
from pellucid.worked.forms.contract import Builder
from pellucid.worked.forms.exercise import by_hand
from pellucid.worked.forms.numbers import typed_options
from pellucid.worked.notation.operations import sqrt, total
from pellucid.worked.worksheet.solution import Solution
from pellucid.worked.worksheet.worksheet import Worksheet

__all__ = ["LayerNorm"]


@final
@dataclass(frozen=True, kw_only=True)
class LayerNorm(Builder):
    """Work layer normalisation: mean and variance of each sample, outputs and gradients."""

    topic = "regularisation and normalisation"
    question = "How does layer normalisation change a sample, and what are the gradients?"

    x: str = "1 5 2 4"
    """the features of a sample, as "1 5 2 4"; of several samples one row each, "1 0 5; 2 2 1\""""
    gamma: str = "2"
    """scale, one number per feature, or one for all"""
    beta: str = "1"
    """shift, one number per feature, or one for all"""
    eps: float = 0.00001
    """added to the variance"""
    target: str | None = "0 3 0 2"
    """target of y, in the shape of x; None for no loss"""
    delta: str | None = None
    """gradient of L by y, instead of a target (then --target None)"""
    learning_rate: float = 0.01
    """learning rate of the update of gamma and beta"""

    @staticmethod
    def build(
        x: Any,
        gamma: Any = 1,
        beta: Any = 0,
        *,
        eps: Operand = 0.00001,
        target: Any = None,
        delta: Any = None,
        learning_rate: Operand = 0.01,
    ) -> Worksheet:
        """The worksheet of layer normalisation.

            μ = Σ x_c/C,  v = Σ (x_c − μ)²/C,  x̂_c = (x_c − μ)/√(v + ε),  y_c = γ_c·x̂_c + β_c

        >>> solution = LayerNorm.build([1, 3, 5, 7], [1, 1, 2, 2], 1, eps=4).solve()
        >>> [str(solution.value(name)) for name in ("mu", "v", "y_1", "y_4")]
        ['4', '5', '0', '3']

        Args:
            x: C numbers of a sample, or N rows of them; C at least 2.
            gamma: the scale, a number, or C of them.
            beta: the shift, a number, or C of them.
            eps: ε.
            target: of y, in the shape of x, L = Σ (y − t)²; None for no loss.
            delta: ∂L/∂y instead of a target.
            learning_rate: of the update of γ and β.

        Raises:
            UsageError: shapes that do not fit.
        """
        shape = shape_of("x", x)
        if not shape or shape[-1] < 2:
            raise UsageError("x: must be two or more features, or rows of them; one feature alone has no variance.")
        features = shape[-1]
        sheet = Worksheet()
        sheet.x = x  # (C,) or (N, C)
        put_per_feature(sheet, "gamma", gamma, features)
        put_per_feature(sheet, "beta", beta, features)
        sheet["epsilon"] = eps
        # the index of the sample comes first: x_n_c, mu_n
        for n in range(1, shape[0] + 1) if len(shape) > 1 else (0,):
            _put_sample(sheet, f"_{n}" if n else "", features)
        outputs = [f"y{name[1:]}" for name in sheet.components("x")]
        sheet.ask(*outputs)
        sheet.remark(
            "Mean and variance are computed for each sample alone: other samples and running averages play no part.",
            hint=True,
        )
        if put_end(sheet, outputs, target, delta):
            sheet.remark(
                "Each x reaches every y of its sample by three paths: directly, through the mean and through the variance. "
                "That is why so many paths lead to ", Partial("L", "x"), ".", hint=True,
            )  # fmt: skip
            sheet.ask("L", *(f"dL/d{name}" for name in sheet.components("x")))
            ask_update(sheet, ["gamma", "beta"], learning_rate)
        return sheet

    def worksheet(self) -> Worksheet:
        """The worksheet of the options."""
        numbers = from_texts(x=self.x, gamma=self.gamma, beta=self.beta, target=self.target, delta=self.delta)
        return self.build(**numbers, eps=self.eps, learning_rate=self.learning_rate)

    def draw(self, random: Random) -> LayerNorm:
        """Four whole numbers whose variance is a square, so that no root is left over."""

        def draw() -> LayerNorm:
            x = with_square_variance(random)
            target = [random.choice([-1, 0, 1, 2]) for _ in x]
            gamma = [random.choice([-1, 1, 2]) for _ in x]
            numbers = typed_options(x=x, target=target, gamma=gamma, beta=random.choice([-1, 0, 1]))
            return replace(self, **numbers, eps=0, learning_rate=0.1)

        def moves(solution: Solution) -> bool:
            """Something is to be learned: the targets are not met already."""
            return any(solution.graph.backward("L").get(f"x_{c}") for c in range(1, 5))

        return by_hand(draw, moves)


def _put_sample(sheet: Worksheet, where: str, features: int) -> None:
    """Write down the equations of one sample."""
    row = [sheet[f"x{where}_{c}"] for c in range(1, features + 1)]
    sheet[f"mu{where}"] = total(*row) / features
    mean = sheet[f"mu{where}"]
    sheet[f"v{where}"] = total(*((x - mean) ** 2 for x in row)) / features  # divided by C, not by C − 1
    sheet[f"s{where}"] = sqrt(sheet[f"v{where}"] + sheet["epsilon"])
    for c, x in enumerate(row, 1):
        sheet[f"xhat{where}_{c}"] = (x - mean) / sheet[f"s{where}"]
        sheet[f"y{where}_{c}"] = sheet[f"gamma_{c}"] * sheet[f"xhat{where}_{c}"] + sheet[f"beta_{c}"]
