# SPDX-License-Identifier: Apache-2.0
"""flow: how large activations and gradients are by layer and during training, what that means, and what would help."""

from pellucid.lenses.flow.flow import Flow

__all__ = ["Flow"]
