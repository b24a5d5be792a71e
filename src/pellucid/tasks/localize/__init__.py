# SPDX-License-Identifier: Apache-2.0
"""localize: which object does an image show, and where, if it shows one?"""

from pellucid.tasks.localize.localize import Localize

__all__ = ["Localize"]
