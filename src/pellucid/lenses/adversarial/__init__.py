# SPDX-License-Identifier: Apache-2.0
"""adversarial: how small a change makes the answer wrong (Goodfellow, Shlens & Szegedy 2015)."""

from pellucid.lenses.adversarial.adversarial import Adversarial

__all__ = ["Adversarial"]
