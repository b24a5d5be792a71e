# SPDX-License-Identifier: Apache-2.0
"""classify: which class does an image show?"""

from pellucid.tasks.classify.classify import Classify

__all__ = ["Classify"]
