# SPDX-License-Identifier: Apache-2.0
"""neighbours: the images that a model finds most like an image, and copies that stand in two splits."""

from pellucid.lenses.neighbours.neighbours import Neighbours

__all__ = ["Neighbours"]
