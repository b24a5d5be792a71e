# SPDX-License-Identifier: Apache-2.0
"""landmarks: where are the points of an object?"""

from pellucid.tasks.landmarks.landmarks import Landmarks

__all__ = ["Landmarks"]
