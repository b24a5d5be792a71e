# SPDX-License-Identifier: Apache-2.0
"""adversarial: how little has to change for a wrong answer (Goodfellow, Shlens & Szegedy 2015)."""

from pellucid.lenses.adversarial.adversarial import Adversarial

__all__ = ["Adversarial"]
