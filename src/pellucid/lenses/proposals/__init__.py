# SPDX-License-Identifier: Apache-2.0
"""proposals: the way of an image through a detector, from the grid of boxes to what is left after suppression."""

from pellucid.lenses.proposals.proposals import Proposals

__all__ = ["Proposals"]
