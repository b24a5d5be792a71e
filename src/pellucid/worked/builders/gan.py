# SPDX-License-Identifier: Apache-2.0
"""gan: the losses of a GAN's two players on the same images (Goodfellow et al. 2014, eq. 1 and section 3)."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass, replace
from fractions import Fraction
from random import Random
from typing import Literal, final

import numpy as np

from pellucid.errors import UsageError
from pellucid.worked.builders._objective import mean_of
from pellucid.worked.forms.contract import Builder
from pellucid.worked.forms.exercise import by_hand
from pellucid.worked.forms.numbers import read_vector, typed
from pellucid.worked.notation.operations import log, sigmoid
from pellucid.worked.worksheet.tensors import Numbers, Tensor, as_tensor, ask_gradient, define
from pellucid.worked.worksheet.worksheet import Worksheet

__all__ = ["GAN"]


@final
@dataclass(frozen=True)
class GAN(Builder):
    """Work the losses of a GAN's two players by hand, real = 1, and their gradients."""

    topic = "generative models"
    question = "What are the losses of generator and discriminator, and what are their gradients?"
    keeps = ("probabilities", "generator")

    real: str = "1 2"
    """the discriminator's logits of real images"""
    fake: str = "-1 0.5"
    """the discriminator's logits of generated images"""
    _: KW_ONLY
    probabilities: bool = False
    """the numbers are probabilities of being real instead of logits"""
    generator: Literal["non_saturating", "minimax"] = "non_saturating"
    """the generator's loss: −mean ln D(G(z)), or mean ln(1 − D(G(z))) of the minimax game"""

    @staticmethod
    def build(
        real: Numbers,
        fake: Numbers,
        *,
        probabilities: bool = False,
        generator: Literal["non_saturating", "minimax"] = "non_saturating",
    ) -> Worksheet:
        """The worksheet of a GAN's two losses, real = 1: the discriminator's and the generator's, with their gradients.

        L_D = −mean ln D(x) − mean ln(1 − D(G(z))); L_G = −mean ln D(G(z)), or mean ln(1 − D(G(z))) of the minimax game, whose
        gradient vanishes where the discriminator is certain.

        >>> solution = GAN.build([0], [0]).solve()
        >>> print(round(solution.value("L_D"), 6), solution.derivative("L_G", "s_fake_1"))
        1.386294 -1/2

        Args:
            real: the discriminator's logits of real images, or its probabilities.
            fake: its logits or probabilities of generated images.
            probabilities: the numbers are probabilities of being real instead of logits.
            generator: which loss the generator minimises.

        Raises:
            UsageError: no numbers, or probabilities that are not between 0 and 1.
        """
        given = {"real": as_tensor(real, "real", 1), "fake": as_tensor(fake, "fake", 1)}  # (N,) each
        sheet = Worksheet()
        D: dict[str, Tensor] = {}
        inner: dict[str, Tensor] = {}  # what the gradients are by: logits or probabilities
        for name, numbers in given.items():
            if probabilities and not all(0 < number.value < 1 for number in numbers):
                raise UsageError(
                    f"{name}: are probabilities; give numbers between 0 and 1, or leave --probabilities out."
                )
            inner[name] = define(sheet, f"D_{name}" if probabilities else f"s_{name}", numbers)
            squashed: Tensor = np.array([sigmoid(logit) for logit in inner[name]], dtype=object)
            D[name] = inner[name] if probabilities else define(sheet, f"D_{name}", squashed)
        # both halves of the discriminator's binary cross-entropy
        sheet["L_real"] = mean_of([-log(p) for p in D["real"]])
        sheet["L_fake"] = mean_of([-log(1 - p) for p in D["fake"]])
        sheet["L_D"] = sheet["L_real"] + sheet["L_fake"]
        if generator == "minimax":
            # flat where D is near 0: the generator learns least when it is worst
            sheet["L_G"] = mean_of([log(1 - p) for p in D["fake"]])
        else:
            sheet["L_G"] = mean_of([-log(p) for p in D["fake"]])
        meaning = "D is" if probabilities else "s is the discriminator's logit, D = σ(s)"
        sheet.remark(
            f"{meaning} the probability that an image is real. For the discriminator real images have the target 1 and "
            "generated ones 0; the generator aims for 1 on its own images."
        )
        sheet.ask("L_D", "L_G")
        for name in ("real", "fake"):
            ask_gradient(sheet, "L_D", inner[name])
        # the generator reaches the loss through its own images alone
        ask_gradient(sheet, "L_G", inner["fake"])
        return sheet

    def worksheet(self) -> Worksheet:
        """The worksheet of the options."""
        real, fake = read_vector(self.real, "real"), read_vector(self.fake, "fake")
        return self.build(real, fake, probabilities=self.probabilities, generator=self.generator)

    def draw(self, random: Random) -> GAN:
        """Two real and two generated images."""
        # probabilities are multiples of 0.1 between 0 and 1, logits multiples of 0.5 between −2 and 2
        choices = (
            [Fraction(n, 10) for n in range(1, 10)] if self.probabilities else [Fraction(n, 2) for n in range(-4, 5)]
        )
        return by_hand(
            lambda: replace(self, real=typed(random.sample(choices, 2)), fake=typed(random.sample(choices, 2)))
        )
