# SPDX-License-Identifier: Apache-2.0
"""embedding: images as points of the plane, near each other where the model finds them alike."""

from pellucid.lenses.embedding.embedding import Embedding

__all__ = ["Embedding"]
