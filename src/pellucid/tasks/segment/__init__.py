# SPDX-License-Identifier: Apache-2.0
"""segment: to which class does each pixel belong?"""

from pellucid.tasks.segment.segment import Segment

__all__ = ["Segment"]
