# SPDX-License-Identifier: Apache-2.0
"""embedding: images as points in the plane, near each other where the model finds them similar."""

from pellucid.lenses.embedding.embedding import Embedding

__all__ = ["Embedding"]
