# SPDX-License-Identifier: Apache-2.0
"""What colours mean, the same on every picture that compares a model with simpler answers."""

from __future__ import annotations

__all__ = ["MODEL", "OTHER", "SIMPLE", "TRAINING"]

MODEL = "#d1662b"
"""The model, on images that it was not trained on."""

SIMPLE = "#4a6fa5"
"""The best of the simpler methods, which the model has to beat."""

OTHER = "#8a8f98"
"""The other simpler methods."""

TRAINING = "#5f6773"
"""The model on the images that it learns from."""
