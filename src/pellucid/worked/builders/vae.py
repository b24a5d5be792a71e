# SPDX-License-Identifier: Apache-2.0
"""vae: the latent code of a variational autoencoder: the sample, the Kullback–Leibler divergence, and its gradients."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass, replace
from fractions import Fraction
from random import Random
from typing import final

import numpy as np

from pellucid.errors import UsageError
from pellucid.worked.expressions.expression import as_expr
from pellucid.worked.forms.contract import Builder
from pellucid.worked.forms.exercise import by_hand, nonzero_tenth
from pellucid.worked.forms.numbers import read_number, read_vector, typed_options
from pellucid.worked.notation.operations import exp, log
from pellucid.worked.worksheet.tensors import Numbers, Tensor, as_tensor, ask_gradient, ask_values, define, dot, summed
from pellucid.worked.worksheet.worksheet import Worksheet

__all__ = ["VAE"]


@final
@dataclass(frozen=True)
class VAE(Builder):
    """Work a VAE's latent code by hand: the sample z = μ + σ·ε, D_KL = ½(μ² + σ² − ln σ² − 1), and its gradients."""

    topic = "generative models"
    question = "Which latent code is drawn, how far is it from the normal distribution, and what are the gradients?"

    mu: str = "1 -0.5"
    """means, one number per dimension of the code"""
    sigma: str | None = None
    """standard deviations, above 0; by default 0.5 and 2"""
    _: KW_ONLY
    epsilon: str = "0.5 -1"
    """sample of the standard normal distribution, one number per dimension"""
    log_variance: str | None = None
    """ln σ², which is what networks output, instead of sigma"""
    delta: str | None = None
    """∂R/∂z, which arrives from the decoder; with it L = R + β·D_KL and its gradients are worked out"""
    beta: str = "1"
    """weight of D_KL in L"""

    @staticmethod
    def build(
        mu: Numbers,
        sigma: Numbers | None = None,
        epsilon: Numbers | None = None,
        *,
        log_variance: Numbers | None = None,
        delta: Numbers | None = None,
        beta: float | Fraction = 1,
    ) -> Worksheet:
        """The worksheet of a VAE's latent code: the sample z = μ + σ·ε, the loss D_KL, and its gradient by μ and σ.

        D_KL(q‖p) = Σ ½(μ² + σ² − ln σ² − 1) for q = N(μ, σ²) and p = N(0, 1) (Kingma and Welling 2014, appendix B).

        >>> solution = VAE.build([1, 0], [1, 2], [0.5, -1]).solve()
        >>> print(solution.value("z_2"), solution.value("D_1"), solution.derivative("D_KL", "mu_1"))
        -2 1/2 1

        Args:
            mu: μ, one number per dimension of the code.
            sigma: σ, above 0; or give `log_variance`.
            epsilon: ε, a sample of N(0, 1); by default 0, so that z = μ.
            log_variance: ln σ², which is what networks output, instead of σ.
            delta: ∂R/∂z, which arrives from the decoder's loss R; then L = R + β·D_KL with R = Σ δ·z to first order.
            beta: β, the weight of D_KL in L.

        Raises:
            UsageError: counts that differ, or a σ that is not positive.
        """
        if (sigma is None) == (log_variance is None):
            raise UsageError("sigma, log_variance: either gives the width of the distribution; give one of them.")
        given = {"mu": as_tensor(mu, "mu", 1)}
        if sigma is not None:
            given["sigma"] = as_tensor(sigma, "sigma", 1)
        else:
            assert log_variance is not None
            given["s"] = as_tensor(log_variance, "log_variance", 1)
        size = len(given["mu"])
        given["epsilon"] = as_tensor(np.zeros(size, int) if epsilon is None else epsilon, "epsilon", 1)
        if delta is not None:
            given["delta"] = as_tensor(delta, "delta", 1)
        for name, numbers in given.items():
            if len(numbers) != size:
                raise UsageError(f"{name}: has {len(numbers)} numbers and mu {size}; give as many.")
        # ln σ² has no value for σ = 0, and σ < 0 is no width
        if sigma is not None and not all(float(number.value) > 0 for number in given["sigma"]):
            raise UsageError("sigma: is a standard deviation; give numbers above 0.")
        sheet = Worksheet()
        placed = {name: define(sheet, name, numbers) for name, numbers in given.items()}  # (dimensions,) each
        if sigma is None:
            sheet.remark("s is ln σ²: σ = e^(s/2) is positive for any output of the network.")
            # a network outputs any real number; e^(s/2) makes a standard deviation of it
            widths: Tensor = np.array([exp(s / 2) for s in placed["s"]], dtype=object)
            placed["sigma"] = define(sheet, "sigma", widths)
        m, d, e = placed["mu"], placed["sigma"], placed["epsilon"]
        # the reparametrisation: chance is in ε alone, so that z has gradients by μ and σ
        z = define(sheet, "z", m + d * e)
        # one term a dimension, since both Gaussians have diagonal covariances
        terms = [(m[n] ** 2 + d[n] ** 2 - log(d[n] ** 2) - 1) / 2 for n in range(size)]
        sheet["D_KL"] = summed(list(define(sheet, "D", np.array(terms, dtype=object))))
        ask_values(sheet, z)
        sheet.ask("D_KL")
        width = placed["s" if sigma is None else "sigma"]
        ask_gradient(sheet, "D_KL", m)
        ask_gradient(sheet, "D_KL", width)
        if delta is not None:
            sheet["beta"] = as_expr(beta)
            # the decoder's loss to first order: its gradient by z is δ
            sheet["L"] = dot(list(placed["delta"]), list(z)) + sheet["beta"] * sheet["D_KL"]
            ask_gradient(sheet, "L", m)
            ask_gradient(sheet, "L", width)
        return sheet

    def worksheet(self) -> Worksheet:
        """The worksheet of the options."""
        sigma = "0.5 2" if self.sigma is None and self.log_variance is None else self.sigma
        return self.build(
            read_vector(self.mu, "mu"),
            None if sigma is None else read_vector(sigma, "sigma"),
            read_vector(self.epsilon, "epsilon"),
            log_variance=None if self.log_variance is None else read_vector(self.log_variance, "log_variance"),
            delta=None if self.delta is None else read_vector(self.delta, "delta"),
            beta=read_number(self.beta, "beta"),
        )

    def draw(self, random: Random) -> VAE:
        """A code of two dimensions, with the gradient that arrives from the decoder."""

        def draw() -> VAE:
            numbers = typed_options(
                mu=[Fraction(random.choice([-4, -3, -2, -1, 1, 2, 3, 4]), 2) for _ in range(2)],
                # two different widths; at σ = 1, ln σ² is 0
                sigma=random.sample([Fraction(1, 2), 1, Fraction(3, 2), 2, 3], 2),
                epsilon=[nonzero_tenth(random) for _ in range(2)],
                delta=[random.choice([-2, -1, 1, 2]) for _ in range(2)],
            )
            return replace(self, **numbers)

        return by_hand(draw)
