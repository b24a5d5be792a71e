# SPDX-License-Identifier: Apache-2.0
"""batch_norm: batch normalisation in training and at test time (Ioffe and Szegedy 2015, algorithms 1 and 2)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from random import Random
from typing import Any, final

from pellucid.errors import UsageError
from pellucid.worked.builders._normalising import put_per_feature, with_square_variance
from pellucid.worked.builders._objective import put_end
from pellucid.worked.builders._quantities import ask_update, from_texts, shape_of
from pellucid.worked.expressions.expression import Name, Operand, Partial
from pellucid.worked.forms.contract import Builder
from pellucid.worked.forms.exercise import by_hand
from pellucid.worked.forms.numbers import typed_options
from pellucid.worked.notation.operations import sqrt, total
from pellucid.worked.worksheet.worksheet import Worksheet

__all__ = ["BatchNorm"]


@final
@dataclass(frozen=True, kw_only=True)
class BatchNorm(Builder):
    """Work batch normalisation: mean, variance, outputs, gradients, and the running statistics if they are given."""

    topic = "regularisation and normalisation"
    question = "How does batch normalisation change a batch, in training and at test time, and what are the gradients?"

    x: str = "1 5 2 4"
    """a batch of one feature, as "1 5 2 4"; of several features one row a sample, "1 0; 5 2; 2 1\""""
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
    running_mean: str | None = None
    """running mean before this batch; by default there are no running statistics"""
    running_var: str | None = None
    """running variance before this batch"""
    momentum: float = 0.1
    """weight of the batch in the running statistics"""
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
        running_mean: Any = None,
        running_var: Any = None,
        momentum: Operand = 0.1,
        learning_rate: Operand = 0.01,
    ) -> Worksheet:
        """The worksheet of batch normalisation, each feature (channel) over the batch.

            μ = Σ x_n/N,  v = Σ (x_n − μ)²/N,  x̂_n = (x_n − μ)/√(v + ε),  y_n = γ·x̂_n + β
            running:  μ_run ← (1 − k)·μ_run + k·μ,  v_run ← (1 − k)·v_run + k·v·N/(N − 1)    with k = momentum, as in torch
            at test time:  y = γ·(x − μ_run)/√(v_run + ε) + β

        >>> solution = BatchNorm.build([1, 3, 5, 7], 2, 1, eps=4).solve()
        >>> [str(solution.value(name)) for name in ("mu", "v", "y_1", "y_4")]
        ['4', '5', '-1', '3']

        Args:
            x: N numbers of one feature, or N rows of C features; N at least 2.
            gamma: the scale, a number, or C of them.
            beta: the shift, a number, or C of them.
            eps: ε.
            target: of y, in the shape of x, L = Σ (y − t)²; None for no loss.
            delta: ∂L/∂y instead of a target.
            running_mean: μ_run before this batch, a number, or C; with running_var, both are updated, and y at test time is
                worked out.
            running_var: v_run before this batch.
            momentum: k, the weight of the batch in the running statistics.
            learning_rate: of the update of γ and β.

        Raises:
            UsageError: shapes that do not fit, or one running statistic without the other.
        """
        shape = shape_of("x", x)
        if len(shape) not in (1, 2) or shape[0] < 2:
            raise UsageError("x: must be two or more numbers, or rows of features; one sample alone has no variance.")
        features = shape[1] if len(shape) == 2 else None
        if (running_mean is None) != (running_var is None):
            raise UsageError("running_mean, running_var: go together; give both or none.")
        sheet = Worksheet()
        sheet.x = x  # (N,) or (N, C)
        # (C,) each; a number for one feature
        for name, value in {"gamma": gamma, "beta": beta, "mu_run": running_mean, "v_run": running_var}.items():
            put_per_feature(sheet, name, value, features)
        sheet["epsilon"] = eps
        if running_mean is not None:
            sheet["k"] = momentum
        # the index of the feature comes last: x_n_c, mu_c
        ends = [f"_{c}" for c in range(1, features + 1)] if features else [""]
        for c, end in enumerate(ends, 1):
            # statistics are over the batch, so the sheet goes column by column
            column = [sheet.x[n, c] if features else sheet.x[n] for n in range(1, shape[0] + 1)]
            places = [f"_{n}_{c}" if features else f"_{n}" for n in range(1, shape[0] + 1)]
            _put_feature(sheet, column, end, places)
        outputs = [f"y_{n}{end}" for n in range(1, shape[0] + 1) for end in ends]
        sheet.ask(*outputs)
        if running_mean is not None:
            _put_running(sheet, shape[0], ends, features)
        if put_end(sheet, outputs, target, delta):
            sheet.remark(
                "Each x reaches every y of its feature by three paths: directly, through the mean and through the variance. "
                "That is why so many paths lead to ", Partial("L", "x"), ".", hint=True,
            )  # fmt: skip
            sheet.ask("L", *(f"dL/d{name}" for name in sheet.components("x")))
            ask_update(sheet, [f"{name}{end}" for name in ("gamma", "beta") for end in ends], learning_rate)
        return sheet

    def worksheet(self) -> Worksheet:
        """The worksheet of the options."""
        numbers = from_texts(x=self.x, gamma=self.gamma, beta=self.beta, target=self.target, delta=self.delta)
        numbers |= from_texts(running_mean=self.running_mean, running_var=self.running_var)
        return self.build(**numbers, eps=self.eps, momentum=self.momentum, learning_rate=self.learning_rate)

    def draw(self, random: Random) -> BatchNorm:
        """Four whole numbers whose variance is a square, so that no root is left over."""

        def draw() -> BatchNorm:
            x = with_square_variance(random)
            target = [random.choice([-1, 0, 1, 2]) for _ in x]
            gamma, beta = random.choice([-1, 1, 2]), random.choice([-1, 0, 1])
            numbers = typed_options(x=x, target=target, gamma=gamma, beta=beta)
            return replace(self, **numbers, eps=0, learning_rate=0.1)

        return by_hand(draw)


def _put_feature(sheet: Worksheet, column: list[Any], end: str, places: list[str]) -> None:
    """Write down the equations of one feature in training."""
    count = len(column)
    sheet[f"mu{end}"] = total(*column) / count
    mean = sheet[f"mu{end}"]
    sheet[f"v{end}"] = total(*((x - mean) ** 2 for x in column)) / count  # biased: divided by N
    # a name of its own: the gradient passes through s once for every sample
    sheet[f"s{end}"] = sqrt(sheet[f"v{end}"] + sheet["epsilon"])
    for x, place in zip(column, places, strict=True):
        sheet[f"xhat{place}"] = (x - mean) / sheet[f"s{end}"]
        sheet[f"y{place}"] = sheet[f"gamma{end}"] * sheet[f"xhat{place}"] + sheet[f"beta{end}"]


def _put_running(sheet: Worksheet, count: int, ends: list[str], features: int | None) -> None:
    """Write down the running statistics after the batch, and the outputs at test time."""
    sheet.remark(
        "The running variance takes the unbiased one, ", Name("v") * count / (count - 1),
        ", while the batch is normalised by ", Name("v"), " itself; at test time only the running statistics count.",
    )  # fmt: skip
    # as in torch, the weight of the new value; other libraries mean 1 − k by momentum
    k = sheet["k"]
    for c, end in enumerate(ends, 1):
        sheet[f"mu_new{end}"] = (1 - k) * sheet[f"mu_run{end}"] + k * sheet[f"mu{end}"]
        sheet[f"v_new{end}"] = (1 - k) * sheet[f"v_run{end}"] + k * sheet[f"v{end}"] * count / (count - 1)
        sheet.ask(f"mu_new{end}", f"v_new{end}")
        # at test time a sample does not depend on its batch
        for n in range(1, count + 1):
            x = sheet.x[n, c] if features else sheet.x[n]
            scaled = (x - sheet[f"mu_new{end}"]) / sqrt(sheet[f"v_new{end}"] + sheet["epsilon"])
            sheet[f"y_test_{n}{end}"] = sheet[f"gamma{end}"] * scaled + sheet[f"beta{end}"]
            sheet.ask(f"y_test_{n}{end}")
