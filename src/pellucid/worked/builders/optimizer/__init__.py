# SPDX-License-Identifier: Apache-2.0
"""optimizer: steps of SGD, momentum, Nesterov's momentum and Adam, as lines and as tables."""

from pellucid.worked.builders.optimizer.optimizer import Optimizer

__all__ = ["Optimizer"]
