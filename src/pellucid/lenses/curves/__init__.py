# SPDX-License-Identifier: Apache-2.0
"""curves: how the losses and measures of one or more trainings went, and in plain words what that says."""

from pellucid.lenses.curves.curves import Curves

__all__ = ["Curves"]
