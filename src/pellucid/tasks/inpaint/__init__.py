# SPDX-License-Identifier: Apache-2.0
"""inpaint: what belongs in a picture's holes?"""

from pellucid.tasks.inpaint.inpaint import Inpaint

__all__ = ["Inpaint"]
