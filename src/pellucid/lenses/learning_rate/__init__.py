# SPDX-License-Identifier: Apache-2.0
"""learning_rate: the range test for learning rates, before a training begins (Smith 2017, section 3.3)."""

from pellucid.lenses.learning_rate.learning_rate import LearningRate

__all__ = ["LearningRate"]
