# SPDX-License-Identifier: Apache-2.0
"""Fast R-CNN with region proposals of its own: one pass over the image, then two heads on what is pooled from its map."""

from pellucid.models.fast_rcnn.fast_rcnn import FastRcnn

__all__ = ["FastRcnn"]
