# SPDX-License-Identifier: Apache-2.0
"""compress: how few bytes does a picture need?"""

from pellucid.tasks.compress.compress import Compress

__all__ = ["Compress"]
