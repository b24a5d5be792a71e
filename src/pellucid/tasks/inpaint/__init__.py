# SPDX-License-Identifier: Apache-2.0
"""What stands in a picture's holes?"""

from pellucid.tasks.inpaint.inpaint import Inpaint

__all__ = ["Inpaint"]
