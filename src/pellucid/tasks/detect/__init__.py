# SPDX-License-Identifier: Apache-2.0
"""detect: which objects does an image show, and where?"""

from pellucid.tasks.detect.detect import Detect

__all__ = ["Detect"]
