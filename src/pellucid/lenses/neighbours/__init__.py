# SPDX-License-Identifier: Apache-2.0
"""neighbours: the images that a model finds most similar to an image, and images duplicated across splits."""

from pellucid.lenses.neighbours.neighbours import Neighbours

__all__ = ["Neighbours"]
