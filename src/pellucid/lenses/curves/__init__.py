# SPDX-License-Identifier: Apache-2.0
"""curves: losses and measures of one or more trainings, and in plain words what they say."""

from pellucid.lenses.curves.curves import Curves

__all__ = ["Curves"]
